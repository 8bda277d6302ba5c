"""What is computed: the three operators of the benchmark, with their inputs and everyone who computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bank import PSFBank
from ..defocus import DualPixel
from ..gkm import GKM, gkm_bank
from ..pupil import Pupil
from ..rkr import RKR
from . import opponents as plain
from .contestant import Contestant, ours, torch_function

__all__ = ["NAMES", "Problem", "problem"]

REFERENCES = ("ours: reference, NumPy", "ours: reference, torch")
CHANNELS, ATOMS, WIDEST, RADIUS = 3, 19, 21, 20
Entry = Callable[[], Contestant]
Arrays = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One operator of the benchmark.

    Attributes
    ----------
    name, title : str
    levels : int
        K, the number of full images that a dense formulation holds.
    image_bytes : int
        Size of one image (C, H, W).
    entries : tuple of (name, callable)
        Who takes part; the callable makes the contestant and raises ImportError if its package is missing. The first
        is ours on NumPy and the judge of the others, the second ours on torch.
    """

    name: str
    title: str
    levels: int
    image_bytes: int
    entries: tuple[tuple[str, Entry], ...]


def _reference(name: str, primitive: str, arguments: tuple[Any, ...], x: Any, u: Any) -> Contestant:
    """Enter the readable engine, whatever faster one is registered; torch runs it where autograd records."""
    from ..engines import reference

    forward, adjoint = getattr(reference, primitive), getattr(reference, primitive + "_adjoint")
    return Contestant(
        name=name,
        family="ours",
        forward=lambda: forward(x, *arguments),
        adjoint=lambda: lambda: adjoint(u, *arguments),
        note="the readable engine, array by array",
    )


def _tensors(*arrays: Any) -> list[Any]:
    import torch

    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


def _simplex(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> Arrays:
    maps = rng.random((count, *shape), dtype=np.float32) + np.float32(0.01)
    return maps / maps.sum(axis=0)


def _image(rng: np.random.Generator, channels: int, shape: tuple[int, int]) -> Arrays:
    return rng.random((channels, *shape), dtype=np.float32)


def _rkr(shape: tuple[int, int]) -> Problem:
    rng = np.random.default_rng(1)
    atoms = rng.uniform(0.5, 1.5, (ATOMS, 3)).astype(np.float32)
    atoms /= atoms.sum(axis=1, keepdims=True)
    gamma = _simplex(rng, ATOMS + 1, shape)
    x, u = _image(rng, CHANNELS, shape), _image(rng, CHANNELS, shape)
    A = RKR(gamma, atoms=atoms, channels=CHANNELS)
    g, a, xt, ut = _tensors(gamma, atoms, x, u)

    def reference(name: str, maps: Any, taps: Any, image: Any, view: Any) -> Contestant:
        return _reference(name, "recursive_mixture", (maps, taps[:, None, :], "reflect"), image, view)

    return Problem(
        name="rkr",
        title=f"RKR, J = {ATOMS + 1}",
        levels=ATOMS + 1,
        image_bytes=x.nbytes,
        entries=(
            ("ours: NumPy", lambda: ours("ours: NumPy", A, x, u)),
            ("ours: torch", lambda: ours("ours: torch", RKR(g, atoms=a, channels=CHANNELS), xt, ut)),
            (REFERENCES[0], lambda: reference(REFERENCES[0], gamma, atoms, x, u)),
            (REFERENCES[1], lambda: reference(REFERENCES[1], g, a, xt, ut)),
            (
                "torch depthwise",
                lambda: torch_function("torch depthwise", plain.recursive_depthwise(g, a), xt, ut, note="F.conv2d"),
            ),
            (
                "torch shifted slices",
                lambda: torch_function("torch shifted slices", plain.recursive_slices(g, a), xt, ut),
            ),
            ("SciPy convolve1d", lambda: _numpy_function("SciPy convolve1d", plain.recursive_scipy(gamma, atoms), x)),
        ),
    )


def _numpy_function(name: str, function: plain.Function, x: Any, note: str = "") -> Contestant:
    text = "no adjoint" + (f"; {note}" if note else "")
    return Contestant(name=name, family="opponent", forward=lambda: function(x), adjoint=None, note=text)


def _gkm(shape: tuple[int, int]) -> Problem:
    rng = np.random.default_rng(2)
    sigmas, supports = gkm_bank(WIDEST)
    beta = _simplex(rng, len(sigmas), shape)
    x, u = _image(rng, CHANNELS, shape), _image(rng, CHANNELS, shape)
    A = GKM(beta, sigmas=sigmas, supports=supports, channels=CHANNELS)
    kernels = [np.array([*w[:0:-1], *w], dtype=np.float32) for w in A.taps()]
    b, xt, ut = _tensors(beta, x, u)
    tensors = _tensors(*kernels)

    def torch_ours() -> Contestant:
        return ours("ours: torch", GKM(b, sigmas=sigmas, supports=supports, channels=CHANNELS), xt, ut)

    def reference(name: str, maps: Any, image: Any, view: Any) -> Contestant:
        return _reference(name, "gaussian_mixture", (maps, A.taps(), "reflect"), image, view)

    def deepinv(use_fft: bool) -> Contestant:
        name = f"deepinv {'FFT' if use_fft else 'direct'}"
        forward, adjoint = plain.deepinv_mixture(b, tensors, use_fft)
        return Contestant(
            name=name,
            family="opponent",
            forward=lambda: forward(xt),
            adjoint=lambda: lambda: adjoint(ut),
            margin=WIDEST,
            note="product_convolution2d; its adjoint treats the border differently",
        )

    def pylops() -> Contestant:
        operator = plain.pylops_mixture(beta, kernels, CHANNELS)
        return Contestant(
            name="PyLops ConvolveND",
            family="opponent",
            forward=lambda: operator.matvec(x.ravel()).reshape(x.shape),
            adjoint=lambda: lambda: operator.rmatvec(u.ravel()).reshape(x.shape),
            margin=WIDEST,
            note="FFT; zero boundary",
        )

    return Problem(
        name="gkm",
        title=f"GKM, K = {len(sigmas)}, supports up to {WIDEST} x {WIDEST}",
        levels=len(sigmas),
        image_bytes=x.nbytes,
        entries=(
            ("ours: NumPy", lambda: ours("ours: NumPy", A, x, u)),
            ("ours: torch", torch_ours),
            (REFERENCES[0], lambda: reference(REFERENCES[0], beta, x, u)),
            (REFERENCES[1], lambda: reference(REFERENCES[1], b, xt, ut)),
            (
                "torch dense bank",
                lambda: torch_function("torch dense bank", plain.mixture_dense(b, tensors), xt, ut, note="F.conv2d"),
            ),
            (
                "torch separable",
                lambda: torch_function("torch separable", plain.mixture_separable(b, tensors), xt, ut, note="F.conv2d"),
            ),
            (
                "torch shifted slices",
                lambda: torch_function("torch shifted slices", plain.mixture_slices(b, tensors), xt, ut),
            ),
            ("SciPy convolve1d", lambda: _numpy_function("SciPy convolve1d", plain.scipy_mixture(beta, kernels), x)),
            ("deepinv direct", lambda: deepinv(False)),
            ("deepinv FFT", lambda: deepinv(True)),
            ("PyLops ConvolveND", pylops),
        ),
    )


def _defocus_map(shape: tuple[int, int]) -> NDArray[np.int64]:
    """Integer CoC radii of a made-up scene: a slanted floor and fifteen disks of constant depth."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] / max(shape)
    radii = 16.0 - 30.0 * rows * max(shape) / shape[0]
    rng = np.random.default_rng(3)
    for radius in np.linspace(RADIUS, -RADIUS, 15):
        row, col = rng.uniform(0, shape[0] / max(shape)), rng.uniform(0, shape[1] / max(shape))
        radii[np.hypot(rows - row, cols - col) < rng.uniform(0.03, 0.15)] = radius
    return np.rint(radii).astype(np.int64)


def _own_size(psfs: Arrays) -> Arrays:
    """Cut the zero rim that all views (V, s, s) share, so that a plain filter does not pay for it."""
    used = np.argwhere((psfs != 0).any(axis=0))
    rim = min(used.min(), psfs.shape[-1] - 1 - used.max())
    return np.ascontiguousarray(psfs[:, rim : psfs.shape[-2] - rim, rim : psfs.shape[-1] - rim])


def _dual_pixel(shape: tuple[int, int]) -> Problem:
    rng = np.random.default_rng(4)
    views = ("left", "right", "combined")
    bank = PSFBank(Pupil.disk(split=0.5), max_radius=float(RADIUS), step=1.0)
    radii = _defocus_map(shape)
    defocus_map = radii.astype(np.float32)
    x, u = _image(rng, CHANNELS, shape), _image(rng, len(views) * CHANNELS, shape)
    A = DualPixel(defocus_map, bank=bank, channels=CHANNELS, views=views)
    stack = np.stack([bank.psfs(v) for v in views]).astype(np.float32)
    kernels = [_own_size(stack[:, level]) for level in range(stack.shape[1])]
    levels = radii + RADIUS
    c, xt, ut, lt = _tensors(defocus_map, x, u, levels)
    title = f"dual pixel, left + right + combined, {len(kernels)} integer radii up to {RADIUS} px"

    T = DualPixel(c, bank=bank, channels=CHANNELS, views=views)

    def reference(name: str, operator: DualPixel, image: Any, view: Any) -> Contestant:
        arguments = (operator._psfs, *operator._located(), "reflect")
        return _reference(name, "psf_interpolate", arguments, image, view)

    return Problem(
        name="dual-pixel",
        title=title,
        levels=len(kernels) * len(views),
        image_bytes=x.nbytes,
        entries=(
            ("ours: NumPy", lambda: ours("ours: NumPy", A, x, u)),
            ("ours: torch", lambda: ours("ours: torch", T, xt, ut)),
            (REFERENCES[0], lambda: reference(REFERENCES[0], A, x, u)),
            (REFERENCES[1], lambda: reference(REFERENCES[1], T, xt, ut)),
            (
                "filter loop, torch",
                lambda: torch_function(
                    "filter loop, torch",
                    plain.filter_loop_torch(lt, _tensors(*kernels)),
                    xt,
                    ut,
                    note=f"per level: conv2d up to {plain.DIRECT_SIZE} px, FFT beyond",
                ),
            ),
            (
                "filter loop, OpenCV",
                lambda: _numpy_function(
                    "filter loop, OpenCV", plain.filter_loop_opencv(levels, kernels), x, "filter2D per level and view"
                ),
            ),
        ),
    )


_MAKERS: dict[str, Callable[[tuple[int, int]], Problem]] = {"rkr": _rkr, "gkm": _gkm, "dual-pixel": _dual_pixel}
NAMES = tuple(_MAKERS)


def problem(name: str, shape: tuple[int, int]) -> Problem:
    """Make the inputs of one problem.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    shape : (int, int)
        H, W of the images; three colours, float32.

    Raises
    ------
    ValueError
        For an unknown name, or an image smaller than 48 x 48 (the largest PSFs reach 20 px beyond the frame).
    """
    if name not in _MAKERS:
        raise ValueError(f"expected a problem among {', '.join(NAMES)}, got {name!r}")
    if min(shape) < 48:
        raise ValueError(f"expected an image of at least 48 x 48 px, got {shape[0]} x {shape[1]}")
    return _MAKERS[name](shape)


def contestants(task: Problem) -> Iterator[tuple[str, Contestant | str]]:
    """Yield (name, contestant), or (name, why it does not take part)."""
    for name, make in task.entries:
        try:
            yield name, make()
        except ImportError as error:
            package = (error.name or "its package").partition(".")[0]
            yield name, f"{package} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
        except TypeError as error:
            yield name, f"the installed version does not fit: {error}"
