"""The GKM problem: the bank of the paper, K = 21 Gaussians with supports up to 21 px, boundary "reflect"."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...engines import reference as engine
from ...operators.gkm import GKM, gkm_bank
from . import opponents as plain
from .contestant import Contestant, differentiated, numpy_function, ours, reference, torch_function
from .problem import CHANNELS, REFERENCES, Entry, Problem, image, simplex, tensors
from .work import gkm_work

__all__ = ["make"]

WIDEST, FEWER = 21, 11


def make(shape: tuple[int, int], device: str, fewer: bool) -> Problem:
    """Make inputs and contestants, see `catalogue.problem`."""
    rng = np.random.default_rng(2)
    widest = FEWER if fewer else WIDEST
    sigmas, supports = gkm_bank(widest)
    halves = tuple(n // 2 for n in supports)
    beta = simplex(rng, len(sigmas), shape)
    x, u = image(rng, CHANNELS, shape), image(rng, CHANNELS, shape, -0.5)
    A = GKM(beta, sigmas=sigmas, supports=supports, channels=CHANNELS)
    b, xt, ut, st = tensors(device, beta, x, u, np.array(sigmas, dtype=np.float32))
    lines = plain.gaussian_lines(st, supports)

    def stepped(function: Any) -> Any:
        return differentiated(function, {"image": xt, "maps": b, "kernels": st}, ut)

    def operator(maps: Any, sigmas: Any) -> GKM:
        return GKM(maps, sigmas=sigmas, supports=supports, channels=CHANNELS)

    def torch_ours() -> Contestant:
        step = stepped(lambda x, maps, sigmas: operator(maps, sigmas)(x))
        return ours("ours: torch", operator(b, sigmas), xt, ut, step)

    def torch_reference() -> Contestant:
        def forward(x: Any, maps: Any, sigmas: Any) -> Any:
            return engine.gaussian_mixture(x, maps, operator(maps, sigmas).taps(), halves, "reflect")

        arguments = (b, operator(b, sigmas).taps(), halves, "reflect")
        return reference(REFERENCES[1], "gaussian_mixture", arguments, xt, ut, stepped(forward))

    def torch_plain(name: str, build: Any, note: str) -> Entry:
        step = stepped(lambda x, maps, sigmas: build(maps, plain.gaussian_lines(sigmas, supports))(x))
        return name, lambda: torch_function(name, build(b, lines), xt, ut, gradients=step, note=note)

    def torch_grouped() -> Contestant:
        note = "F.conv2d, groups = colours, channels last; its gradient in the kernels takes minutes and is left out"
        return torch_function("torch dense grouped", plain.mixture_grouped(b, lines), xt, ut, note=note)

    def deepinv(use_fft: bool) -> Contestant:
        forward, adjoint = plain.deepinv_mixture(b, lines, use_fft)
        return Contestant(
            name=f"deepinv {'FFT' if use_fft else 'direct'}",
            family="opponent",
            forward=lambda: forward(xt),
            adjoint=lambda: lambda: adjoint(ut),
            margin=WIDEST,
            note="product_convolution2d; its adjoint treats the border differently",
        )

    def pylops() -> Contestant:
        foreign = plain.pylops_mixture(beta, [line.numpy() for line in lines], CHANNELS)
        return Contestant(
            name="PyLops ConvolveND",
            family="opponent",
            forward=lambda: foreign.matvec(x.ravel()).reshape(x.shape),
            adjoint=lambda: lambda: foreign.rmatvec(u.ravel()).reshape(x.shape),
            margin=WIDEST,
            note="FFT; zero boundary",
        )

    entries: list[Entry] = [
        ("ours: torch", torch_ours),
        (REFERENCES[1], torch_reference),
        torch_plain("torch dense bank", plain.mixture_dense, "F.conv2d, the colours as the batch"),
        ("torch dense grouped", torch_grouped),
        torch_plain("torch separable", plain.mixture_separable, "F.conv2d along columns, then rows, all K at once"),
        torch_plain("torch shifted slices", plain.mixture_slices, "sums of shifted slices"),
        ("deepinv direct", lambda: deepinv(False)),
        ("deepinv FFT", lambda: deepinv(True)),
    ]
    if device == "cpu":
        arguments = (beta, A.taps(), halves, "reflect")
        first = ("ours: NumPy", lambda: ours("ours: NumPy", A, x, u))
        second = (REFERENCES[0], lambda: reference(REFERENCES[0], "gaussian_mixture", arguments, x, u))
        entries = [first, entries[0], second, *entries[1:], ("PyLops ConvolveND", pylops)]
        name = "SciPy convolve1d"
        function = plain.scipy_mixture(beta, [line.numpy() for line in lines])
        entries.append((name, lambda: numpy_function(name, function, x)))
    return Problem(
        name="gkm",
        title=f"GKM, K = {len(sigmas)}, supports up to {widest} x {widest}",
        shape=shape,
        levels=len(sigmas),
        image_bytes=x.nbytes,
        map_bytes=beta.nbytes,
        work=gkm_work(shape[0] * shape[1], CHANNELS, halves),
        entries=tuple(entries),
        device=device,
    )
