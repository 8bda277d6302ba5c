"""The RKR problem: J = 20 levels, three asymmetric taps, boundary "reflect"."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...engines import reference as engine
from ...operators.rkr import RKR
from . import opponents as plain
from .contestant import Contestant, differentiated, numpy_function, ours, reference, torch_function
from .problem import CHANNELS, REFERENCES, Entry, Problem, image, simplex, tensors
from .work import rkr_work

__all__ = ["make"]

LEVELS, FEWER, TAPS = 20, 10, 3


def make(shape: tuple[int, int], device: str, fewer: bool) -> Problem:
    """Make inputs and contestants, see `catalogue.problem`."""
    rng = np.random.default_rng(1)
    levels = FEWER if fewer else LEVELS
    atoms = rng.uniform(0.5, 1.5, (levels - 1, TAPS)).astype(np.float32)
    atoms /= atoms.sum(axis=1, keepdims=True)
    gamma = simplex(rng, levels, shape)
    x, u = image(rng, CHANNELS, shape), image(rng, CHANNELS, shape, -0.5)
    g, a, xt, ut = tensors(device, gamma, atoms, x, u)

    def stepped(function: Any) -> Any:
        return differentiated(function, {"image": xt, "maps": g, "kernels": a}, ut)

    def torch_ours() -> Contestant:
        step = stepped(lambda x, gamma, atoms: RKR(gamma, atoms=atoms, channels=CHANNELS)(x))
        return ours("ours: torch", RKR(g, atoms=a, channels=CHANNELS), xt, ut, step)

    def torch_reference() -> Contestant:
        step = stepped(lambda x, maps, taps: engine.recursive_mixture(x, maps, taps[:, None, :], "reflect"))
        return reference(REFERENCES[1], "recursive_mixture", (g, a[:, None, :], "reflect"), xt, ut, step)

    def torch_plain(name: str, build: Any, note: str) -> Entry:
        step = stepped(lambda x, maps, taps: build(maps, taps)(x))
        return name, lambda: torch_function(name, build(g, a), xt, ut, gradients=step, note=note)

    entries: list[Entry] = [
        ("ours: torch", torch_ours),
        (REFERENCES[1], torch_reference),
        torch_plain("torch depthwise", plain.recursive_depthwise, "F.conv2d, rows and columns"),
        torch_plain("torch shifted slices", plain.recursive_slices, "sums of shifted slices"),
    ]
    if device == "cpu":
        arguments = (gamma, atoms[:, None, :], "reflect")
        first = ("ours: NumPy", lambda: ours("ours: NumPy", RKR(gamma, atoms=atoms, channels=CHANNELS), x, u))
        second = (REFERENCES[0], lambda: reference(REFERENCES[0], "recursive_mixture", arguments, x, u))
        entries = [first, entries[0], second, *entries[1:]]
        name = "SciPy convolve1d"
        entries.append((name, lambda: numpy_function(name, plain.recursive_scipy(gamma, atoms), x)))
    return Problem(
        name="rkr",
        title=f"RKR, J = {levels}",
        shape=shape,
        levels=levels,
        image_bytes=x.nbytes,
        map_bytes=gamma.nbytes,
        work=rkr_work(shape[0] * shape[1], CHANNELS, levels, TAPS),
        entries=tuple(entries),
        device=device,
    )
