"""Every operator once: a builder from a drawn `Setup` to the operator and its dense twin.

Adding an operator to the package is adding a row to `CASES`; all laws of `test_conformance.py` then hold for it.
The twins come from `oracles.py`, which shares no code with the operators.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import blurphys as bp
from tests import oracles
from tests.strategies import Setup, simplex, unit_psfs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """An operator with what is known about it from elsewhere."""

    A: Any
    twin: Callable[[], np.ndarray]  # (*batch, n_out, n_in) in float64
    taps: int  # per PSF
    arrays: tuple[Any, ...] = ()  # what the operator was given, to see that nothing writes to it
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    batch: tuple[int, ...] = ()
    lead: tuple[int, ...] = ()  # leading axes of an image that fits: batch with its ones broadcast
    psf: tuple[int, int] | None = None  # size of the PSF of one pixel, where rows of the twin are PSFs


def _batched(twin: Callable[..., np.ndarray], batch: tuple[int, ...], *maps: np.ndarray) -> np.ndarray:
    """twin(one map each) over the leading batch axes of the maps."""
    if not batch:
        return twin(*maps)
    flat = [m.reshape(-1, *m.shape[len(batch) :]) for m in maps]
    matrices = np.stack([twin(*(m[b] for m in flat)) for b in range(len(flat[0]))])
    return matrices.reshape(*batch, *matrices.shape[-2:])


def _maps(s: Setup, count: int) -> np.ndarray:
    shape = (*s.batch, count, s.height, s.width)
    return s.rounded(s.rng.normal(size=shape) if s.signed else simplex(s.rng, shape))


def _mix(s: Setup, count: int) -> np.ndarray:
    rng, shape = np.random.default_rng([s.seed, 16]), (s.channels + 1, s.channels, count)
    return s.rounded(rng.normal(size=shape) if s.signed else rng.uniform(0.1, 1.0, shape))


def _shape(s: Setup, channels: int | None = None) -> tuple[int, int, int]:
    return (s.channels if channels is None else channels, s.height, s.width)


def _lead(s: Setup) -> tuple[int, ...]:
    """A leading shape that ends with the batch, its ones broadcast to three images."""
    return tuple(3 if b == 1 else b for b in s.batch)


def _gkm(s: Setup, *, explicit=False, coloured=False, tensor=False, mixed=False) -> Built:
    rng = np.random.default_rng([s.seed, 10])
    shape = (s.channels, s.count) if coloured else (s.count,)
    reach = min(s.reach())
    if explicit:
        sigmas = rng.uniform(0.3, 2.5, shape)
        supports = 2 * rng.integers(0, min(4, reach) + 1, s.count) + 1  # shared by the colours
    else:
        sigmas, supports = rng.uniform(0.0, min(1.5, reach / 3.0), shape), None
    if not tensor:
        sigmas.flat[0] = 0.0  # the Dirac
    sigmas = s.rounded(sigmas) if tensor else sigmas
    beta = _maps(s, s.count)
    mix = _mix(s, s.count) if mixed else None
    arrays = {"beta": s.array(beta)} | ({"sigmas": s.array(sigmas)} if tensor else {})
    options = {"sigmas": sigmas.tolist()} | arrays
    if explicit:
        options["supports"] = supports.tolist()
    if mixed:
        options["mix"] = arrays["mix"] = s.array(mix)
    A = bp.GKM(options.pop("beta"), channels=s.channels, boundary=s.boundary, **options)
    widths = supports if explicit else np.vectorize(oracles.default_support)(sigmas)
    side = int(widths.max())
    return Built(
        A=A,
        twin=lambda: _batched(lambda b: oracles.gkm(b, sigmas, supports, s.channels, s.boundary, mix), s.batch, beta),
        taps=side * side * (s.count * s.channels if mixed else 1),
        arrays=tuple(arrays.values()),
        in_shape=_shape(s),
        out_shape=_shape(s, s.channels + 1 if mixed else None),
        batch=s.batch,
        lead=_lead(s),
        psf=None if mixed else (side, side),
    )


def _symmetric(s: Setup, *, coloured=False, mixed=False) -> Built:
    rng = np.random.default_rng([s.seed, 23])
    half = min(3, min(s.reach()))
    taps = s.rounded(rng.uniform(-0.3, 1.0, (s.channels, s.count, half + 1) if coloured else (s.count, half + 1)))
    supports = 2 * rng.integers(0, half + 1, s.count) + 1
    beta = _maps(s, s.count)
    mix = _mix(s, s.count) if mixed else None
    arrays = {"beta": s.array(beta), "taps": s.array(taps)} | ({"mix": s.array(mix)} if mixed else {})
    options = {name: value for name, value in arrays.items() if name != "beta"}
    given = None if mixed else supports.tolist()  # None: all as wide as the taps
    A = bp.SymmetricMixture(
        arrays["beta"], channels=s.channels, boundary=s.boundary, supports=given, **options
    )  # fmt: skip
    used = supports if given else np.full(s.count, 2 * half + 1)
    side = int(used.max())
    return Built(
        A=A,
        twin=lambda: _batched(lambda b: oracles.symmetric(b, taps, used, s.channels, s.boundary, mix), s.batch, beta),
        taps=side * side * (s.count * s.channels if mixed else 1),
        arrays=tuple(arrays.values()),
        in_shape=_shape(s),
        out_shape=_shape(s, s.channels + 1 if mixed else None),
        batch=s.batch,
        lead=_lead(s),
        psf=None if mixed else (side, side),
    )


def _rkr(s: Setup, *, coloured=False, stagewise=False, mixed=False) -> Built:
    rng = np.random.default_rng([s.seed, 11])
    reach = min(s.reach())
    count = max(s.count, 2)
    half = min(2 if s.support[0] > 4 else 1, reach // (1 if stagewise else count - 1))  # 0: one-tap atoms
    shape = (count - 1, s.channels, 2 * half + 1) if coloured else (count - 1, 2 * half + 1)
    atoms = rng.uniform(0.05, 1.0, shape) ** 2
    atoms = s.rounded(atoms / atoms.sum(axis=-1, keepdims=True))
    gamma = _maps(s, count)
    mix = _mix(s, count) if mixed else None
    arrays = {"gamma": s.array(gamma), "atoms": s.array(atoms)} | ({"mix": s.array(mix)} if mixed else {})
    options = {name: value for name, value in arrays.items() if name != "gamma"}
    A = bp.RKR(arrays["gamma"], channels=s.channels, boundary=s.boundary, stagewise=stagewise, **options)
    oracle = oracles.rkr_stagewise if stagewise else oracles.rkr
    side = 2 * half * (count - 1) + 1
    return Built(
        A=A,
        twin=lambda: _batched(lambda g: oracle(g, atoms, s.channels, s.boundary, mix), s.batch, gamma),
        taps=side * side * (count * s.channels if mixed else 1),
        arrays=tuple(arrays.values()),
        in_shape=_shape(s),
        out_shape=_shape(s, s.channels + 1 if mixed else None),
        batch=s.batch,
        lead=_lead(s),
        psf=None if mixed else (side, side),
    )


def _psf_stack(s: Setup, *, coloured=False, form="gather") -> Built:
    rng = np.random.default_rng([s.seed, 12])
    size = s.supports()
    psfs = s.rounded(unit_psfs(rng, (s.count, s.channels, *size) if coloured else (s.count, *size)))
    weights = _maps(s, s.count)
    arrays = (s.array(psfs), s.array(weights))
    A = bp.PSFStack(arrays[0], weights=arrays[1], channels=s.channels, boundary=s.boundary, form=form)
    return Built(
        A=A,
        twin=lambda: _batched(lambda w: oracles.psf_stack(psfs, w, s.channels, s.boundary, form), s.batch, weights),
        taps=size[0] * size[1],
        arrays=arrays,
        in_shape=_shape(s),
        out_shape=_shape(s),
        batch=s.batch,
        lead=_lead(s),
        psf=size if form == "gather" else None,
    )


def _pixel_psf(s: Setup) -> Built:
    size = s.supports()
    psfs = s.rounded(unit_psfs(np.random.default_rng([s.seed, 13]), (s.height, s.width, *size)))
    array = s.array(psfs)
    return Built(
        A=bp.PixelPSF(array, channels=s.channels, boundary=s.boundary),
        twin=lambda: oracles.pixel_psf(psfs, s.channels, s.boundary),
        taps=size[0] * size[1],
        arrays=(array,),
        in_shape=_shape(s),
        out_shape=_shape(s),
        psf=size,
    )


def _convolution(s: Setup, *, coloured=False) -> Built:
    size = s.supports()
    psf = s.rounded(unit_psfs(np.random.default_rng([s.seed, 14]), (s.channels, *size) if coloured else size))
    array = s.array(psf)
    return Built(
        A=bp.Convolution(array, shape=_shape(s), boundary=s.boundary),
        twin=lambda: oracles.convolution(psf, _shape(s), s.boundary),
        taps=size[0] * size[1],
        arrays=(array,),
        in_shape=_shape(s),
        out_shape=_shape(s),
        psf=size,
    )


RADII = (-2.5, -1.0, 0.0, 0.75, 2.0)  # levels need not be evenly spaced


def _defocus(s: Setup, *, coloured=False, views=None) -> Built:
    rng = np.random.default_rng([s.seed, 15])
    size = s.supports()
    shape = (len(RADII), s.channels, *size) if coloured else (len(RADII), *size)
    psfs = {view: s.rounded(unit_psfs(rng, shape)) for view in ("left", "right", "combined")}
    arrays = {view: s.array(p) for view, p in psfs.items()}
    defocus = s.rounded(rng.uniform(-2.4, 1.9, (*s.batch, s.height, s.width)))
    defocus.flat[0] = 0.75  # a pixel exactly on a level
    defocus.flat[-1] = -2.5  # and one on the outermost level
    given = s.array(defocus)
    if views is None:
        bank = bp.PSFBank(psfs=arrays["combined"], radii=RADII)
        A = bp.DefocusBlur(given, bank=bank, channels=s.channels, boundary=s.boundary)
        used = ("combined",)
    else:
        bank = bp.PSFBank(psfs=arrays, radii=RADII)
        A = bp.DualPixel(given, bank=bank, channels=s.channels, boundary=s.boundary, views=views)
        used = views
    levels = [psfs[view] for view in used]
    return Built(
        A=A,
        twin=lambda: _batched(lambda c: oracles.dual_pixel(c, levels, RADII, s.channels, s.boundary), s.batch, defocus),
        taps=size[0] * size[1],
        arrays=(given, *arrays.values()),
        in_shape=_shape(s),
        out_shape=_shape(s, len(used) * s.channels),
        batch=s.batch,
        lead=_lead(s),
        psf=size if views is None else None,
    )


def _layered(s: Setup, *, coloured=False, per_layer=False, normalize=True, views=("combined",)) -> Built:
    rng, size = np.random.default_rng([s.seed, 17]), s.supports()
    shape = (len(RADII), s.channels, *size) if coloured else (len(RADII), *size)
    psfs = {view: s.rounded(unit_psfs(rng, shape)) for view in ("left", "right", "combined")}
    alphas = s.rounded(
        rng.uniform(0.1, 1, (s.count, s.height, s.width)) * (rng.random((s.count, s.height, s.width)) > 0.3)
    )
    alphas[-1] = 1  # a background without gaps, or rounding would decide what the cover is divided by
    alphas[0, :, : s.width // 2] = 0
    radii = (0.75, *rng.uniform(-2.4, 1.9, s.count - 1))
    arrays = {view: s.array(p) for view, p in psfs.items()}
    given = s.array(alphas)
    A = bp.LayeredDefocus(
        given, radii=radii, bank=bp.PSFBank(psfs=arrays, radii=RADII), channels=s.channels, boundary=s.boundary,
        views=views, per_layer=per_layer, normalize=normalize,
    )  # fmt: skip
    kinds = {"per_layer": per_layer, "normalize": normalize}
    levels = [psfs[view] for view in views]
    return Built(
        A=A,
        twin=lambda: oracles.layered(alphas, levels, radii, RADII, s.channels, s.boundary, **kinds),
        taps=size[0] * size[1],
        arrays=(given, *arrays.values()),
        in_shape=_shape(s, s.channels * (s.count if per_layer else 1)),
        out_shape=_shape(s, len(views) * s.channels),
    )


def _identity(s: Setup) -> Built:
    n = s.channels * s.height * s.width
    return Built(A=bp.Identity(_shape(s)), twin=lambda: np.eye(n), taps=1, in_shape=_shape(s), out_shape=_shape(s))


def _window(s: Setup) -> Built:
    (rows, cols), shape = (s.support[0] % 3, s.support[1] % 3), _shape(s)
    wide = (s.channels, s.height + 2 * rows, s.width + 2 * cols)

    def twin() -> np.ndarray:
        number = np.arange(np.prod(wide)).reshape(wide)
        return np.eye(number.size)[number[:, rows : rows + s.height, cols : cols + s.width].ravel()]

    return Built(A=bp.Window(shape, margin=(rows, cols)), twin=twin, taps=1, in_shape=wide, out_shape=shape)


def _observed(s: Setup) -> Built:
    """What a blur of a larger scene shows in a window."""
    scene, rows, cols = _psf_stack(s), int(s.height > 2), int(s.width > 2)
    shape = (scene.out_shape[0], s.height - 2 * rows, s.width - 2 * cols)
    number = np.arange(np.prod(scene.out_shape)).reshape(scene.out_shape)
    kept = number[:, rows : s.height - rows, cols : s.width - cols].ravel()
    window = bp.Window(shape, margin=(rows, cols))
    return _algebra(s, [scene], window @ scene.A, lambda D: D[..., kept, :], out_shape=shape)


def _algebra(s: Setup, parts: list[Built], A: Any, twin: Callable[..., np.ndarray], **known: Any) -> Built:
    defaults = {
        "taps": int(np.prod([p.taps for p in parts])),
        "arrays": tuple(a for p in parts for a in p.arrays),
        "in_shape": parts[-1].in_shape,
        "out_shape": parts[0].out_shape,
        "batch": s.batch,
        "lead": _lead(s),
    }
    return Built(A=A, twin=lambda: twin(*(p.twin() for p in parts)), **(defaults | known))


def _composed(s: Setup) -> Built:
    parts = [_psf_stack(s), _gkm(s, explicit=True)]
    return _algebra(s, parts, parts[0].A @ parts[1].A, np.matmul)


def _sum(s: Setup) -> Built:
    parts = [_rkr(s), _psf_stack(s, form="scatter")]
    return _algebra(s, parts, parts[0].A + parts[1].A, np.add)


def _scaled(s: Setup) -> Built:
    part = _psf_stack(s, coloured=True)
    return _algebra(s, [part], -1.5 * part.A, lambda D: -1.5 * D)


def _stacked(s: Setup) -> Built:
    parts = [_psf_stack(s), _gkm(s, mixed=True)]
    shape = _shape(s, 2 * s.channels + 1)
    stacked = bp.stack([p.A for p in parts])
    return _algebra(s, parts, stacked, lambda *D: np.concatenate(D, axis=-2), out_shape=shape)


def _adjoint(s: Setup) -> Built:
    part = _psf_stack(s, coloured=True)
    return _algebra(s, [part], part.A.H, lambda D: np.swapaxes(D, -1, -2))


def _nested(s: Setup) -> Built:
    """(A.H @ D @ 2 I + A): adjoints inside compositions inside sums, between different colour counts."""
    a, d, b = _psf_stack(s), _defocus(s), _rkr(s, stagewise=True)
    A = a.A.H @ d.A @ (2.0 * bp.Identity(_shape(s))) + b.A
    return _algebra(s, [a, d, b], A, lambda P, Q, R: 2.0 * np.matmul(np.swapaxes(P, -1, -2), Q) + R)


def _tiled(s: Setup, *, of: str) -> Built:
    """Another row tile by tile; tiles of any size, down to one pixel."""
    built = CASES[of](s)
    rng = np.random.default_rng([s.seed, 17])
    tile = (int(rng.integers(1, s.height + 1)), int(rng.integers(1, s.width + 1)))
    return dataclasses.replace(built, A=bp.tiled(built.A, tile))


def _row(builder: Callable[..., Built], **options: Any) -> Callable[[Setup], Built]:
    return lambda setup: builder(setup, **options)


CASES: dict[str, Callable[[Setup], Built]] = {
    "gkm": _row(_gkm),
    "gkm_supports": _row(_gkm, explicit=True),
    "gkm_sigma_array": _row(_gkm, explicit=True, tensor=True),
    "gkm_per_colour": _row(_gkm, explicit=True, coloured=True),
    "gkm_mix": _row(_gkm, mixed=True),
    "symmetric": _symmetric,
    "symmetric_per_colour": _row(_symmetric, coloured=True),
    "symmetric_mix": _row(_symmetric, mixed=True),
    "rkr": _row(_rkr),
    "rkr_per_colour": _row(_rkr, coloured=True),
    "rkr_mix": _row(_rkr, mixed=True),
    "rkr_stagewise": _row(_rkr, stagewise=True),
    "rkr_stagewise_mix": _row(_rkr, stagewise=True, coloured=True, mixed=True),
    "psf_stack": _row(_psf_stack),
    "psf_stack_per_colour": _row(_psf_stack, coloured=True),
    "scatter": _row(_psf_stack, form="scatter"),
    "scatter_per_colour": _row(_psf_stack, coloured=True, form="scatter"),
    "pixel_psf": _pixel_psf,
    "convolution": _convolution,
    "convolution_per_colour": _row(_convolution, coloured=True),
    "defocus_blur": _row(_defocus),
    "defocus_blur_per_colour": _row(_defocus, coloured=True),
    "dual_pixel": _row(_defocus, views=("left", "right")),
    "dual_pixel_three_views": _row(_defocus, coloured=True, views=("combined", "right", "left")),
    "layered": _layered,
    "layered_views": _row(_layered, per_layer=True, views=("left", "right")),
    "layered_per_colour": _row(_layered, coloured=True, per_layer=True, normalize=False, views=("right", "combined")),
    "identity": _identity,
    "window": _window,
    "observed": _observed,
    "composed": _composed,
    "sum": _sum,
    "scaled": _scaled,
    "stacked": _stacked,
    "adjoint": _adjoint,
    "nested": _nested,
    "tiled_gkm": _row(_tiled, of="gkm_sigma_array"),
    "tiled_rkr": _row(_tiled, of="rkr"),
    "tiled_rkr_stagewise": _row(_tiled, of="rkr_stagewise_mix"),
    "tiled_psf_stack": _row(_tiled, of="psf_stack_per_colour"),
    "tiled_scatter": _row(_tiled, of="scatter"),
    "tiled_pixel_psf": _row(_tiled, of="pixel_psf"),
    "tiled_convolution": _row(_tiled, of="convolution"),
    "tiled_defocus_blur": _row(_tiled, of="defocus_blur"),
    "tiled_dual_pixel": _row(_tiled, of="dual_pixel_three_views"),
    "tiled_stacked": _row(_tiled, of="stacked"),
    "tiled_adjoint": _row(_tiled, of="adjoint"),
    "tiled_nested": _row(_tiled, of="nested"),
}

# Rows of one operator: the laws draw the row, so that every operator and law gets its full number of examples.
FAMILIES: dict[str, tuple[str, ...]] = {
    "GKM": ("gkm", "gkm_supports", "gkm_sigma_array", "gkm_per_colour", "gkm_mix"),
    "SymmetricMixture": ("symmetric", "symmetric_per_colour", "symmetric_mix"),
    "RKR": ("rkr", "rkr_per_colour", "rkr_mix", "rkr_stagewise", "rkr_stagewise_mix"),
    "PSFStack": ("psf_stack", "psf_stack_per_colour"),
    "PSFStack-scatter": ("scatter", "scatter_per_colour"),
    "PixelPSF": ("pixel_psf",),
    "Convolution": ("convolution", "convolution_per_colour"),
    "DefocusBlur": ("defocus_blur", "defocus_blur_per_colour"),
    "DualPixel": ("dual_pixel", "dual_pixel_three_views"),
    "LayeredDefocus": ("layered", "layered_views", "layered_per_colour"),
    "Identity": ("identity",),
    "algebra": ("composed", "sum", "scaled", "stacked", "adjoint", "nested"),
    "Tiled": (
        *("tiled_gkm", "tiled_rkr", "tiled_rkr_stagewise"),
        *("tiled_psf_stack", "tiled_scatter", "tiled_pixel_psf"),
    ),
    "Tiled-more": (
        *("tiled_convolution", "tiled_defocus_blur", "tiled_dual_pixel"),
        *("tiled_stacked", "tiled_adjoint", "tiled_nested"),
    ),
}


def build(family: str, s: Setup, rows: tuple[str, ...] | None = None) -> Built:
    """Operator of the row that the setup draws, among `rows` only if given."""
    names = [name for name in FAMILIES[family] if rows is None or name in rows]
    return CASES[names[s.variant % len(names)]](s)


# Gather form with maps on the simplex: every row sums to one, so constants and non-negativity are kept.
GATHER = (
    "gkm",
    "gkm_supports",
    "gkm_sigma_array",
    "gkm_per_colour",
    "rkr",
    "rkr_per_colour",
    "rkr_stagewise",
    "psf_stack",
    "psf_stack_per_colour",
    "pixel_psf",
    "convolution",
    "convolution_per_colour",
    "defocus_blur",
    "defocus_blur_per_colour",
    "dual_pixel",
    "dual_pixel_three_views",
    "identity",
    "composed",
    *("tiled_gkm", "tiled_rkr", "tiled_psf_stack", "tiled_pixel_psf"),
    *("tiled_convolution", "tiled_defocus_blur", "tiled_dual_pixel"),
)

# Operators whose two sides do not lie on the same frame, so that tiles and halos have no meaning for them.
OFF_FRAME = ("window", "observed")

# Operators whose output pixel (c, m, n) sees only colour c, through the PSF that `psf_at` returns.
ROWS_ARE_PSFS = (
    "gkm",
    "gkm_supports",
    "gkm_sigma_array",
    "gkm_per_colour",
    "rkr",
    "rkr_per_colour",
    "psf_stack",
    "psf_stack_per_colour",
    "pixel_psf",
    "convolution",
    "convolution_per_colour",
    "defocus_blur",
    "defocus_blur_per_colour",
    *("tiled_gkm", "tiled_rkr", "tiled_convolution", "tiled_defocus_blur"),
)
