"""Every operator once: a builder from a drawn `Setup` to the operator and its dense twin.

Adding an operator to the package is adding a builder under `case`; all laws of `test_conformance.py` then hold for it.
The twins come from `oracles.py`, which shares no code with the operators.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

import blurphys as bp
from blurphys.operators.field import FieldDefocus
from tests import oracles
from tests.profiles import NIGHTLY
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


CASES: dict[str, Callable[[Setup], Built]] = {}
FAMILIES: dict[str, tuple[str, ...]] = {}
"""Rows of one operator: the laws draw the row, so that every operator and law gets its full number of examples."""

GATHER: list[str] = []
"""Gather form with maps on the simplex: every row sums to one, so constants and non-negativity are kept."""

ROWS_ARE_PSFS: list[str] = []
"""Operators whose output pixel (c, m, n) sees only colour c, through the PSF that `psf_at` returns."""

OFF_FRAME: list[str] = []
"""Operators whose two sides do not lie on the same frame, so that tiles and halos have no meaning for them."""

Builder = Callable[..., Built]


def case(family: str, name: str, *kinds: list[str], **options: Any) -> Callable[[Builder], Builder]:
    """Register the builder below, called with these options, as a row of a family and of these kinds."""

    def register(builder: Builder) -> Builder:
        assert name not in CASES
        CASES[name] = partial(builder, **options)
        FAMILIES[family] = (*FAMILIES.get(family, ()), name)
        for kind in kinds:
            kind.append(name)
        return builder

    return register


@lru_cache(maxsize=8)
def build(family: str, s: Setup, rows: tuple[str, ...] | None = None) -> Built:
    """Operator of the row that the setup draws, among `rows` only if given; the same one for all laws."""
    names = [name for name in FAMILIES[family] if rows is None or name in rows]
    return CASES[names[s.variant % len(names)]](s)


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


@case("GKM", "gkm", GATHER, ROWS_ARE_PSFS)
@case("GKM", "gkm_supports", GATHER, ROWS_ARE_PSFS, explicit=True)
@case("GKM", "gkm_sigma_array", GATHER, ROWS_ARE_PSFS, explicit=True, tensor=True)
@case("GKM", "gkm_per_colour", GATHER, ROWS_ARE_PSFS, explicit=True, coloured=True)
@case("GKM", "gkm_mix", mixed=True)
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


@case("SymmetricMixture", "symmetric")
@case("SymmetricMixture", "symmetric_per_colour", coloured=True)
@case("SymmetricMixture", "symmetric_mix", mixed=True)
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


@case("RKR", "rkr", GATHER, ROWS_ARE_PSFS)
@case("RKR", "rkr_per_colour", GATHER, ROWS_ARE_PSFS, coloured=True)
@case("RKR", "rkr_mix", mixed=True)
@case("RKR", "rkr_stagewise", GATHER, stagewise=True)
@case("RKR", "rkr_stagewise_mix", stagewise=True, coloured=True, mixed=True)
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


@case("PSFStack", "psf_stack", GATHER, ROWS_ARE_PSFS)
@case("PSFStack", "psf_stack_per_colour", GATHER, ROWS_ARE_PSFS, coloured=True)
@case("PSFStack-scatter", "scatter", form="scatter")
@case("PSFStack-scatter", "scatter_per_colour", coloured=True, form="scatter")
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


@case("PixelPSF", "pixel_psf", GATHER, ROWS_ARE_PSFS)
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


@case("Convolution", "convolution", GATHER, ROWS_ARE_PSFS)
@case("Convolution", "convolution_per_colour", GATHER, ROWS_ARE_PSFS, coloured=True)
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


@case("DefocusBlur", "defocus_blur", GATHER, ROWS_ARE_PSFS)
@case("DefocusBlur", "defocus_blur_per_colour", GATHER, ROWS_ARE_PSFS, coloured=True)
@case("DualPixel", "dual_pixel", GATHER, views=("left", "right"))
@case("DualPixel", "dual_pixel_three_views", GATHER, coloured=True, views=("combined", "right", "left"))
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


@case("FieldDefocus", "field_defocus", GATHER)
@case("FieldDefocus", "field_defocus_per_colour", GATHER, coloured=True)
@case("FieldDefocus", "field_defocus_views", GATHER, views=("right", "left"), nodes="centres")
def _field_defocus(s: Setup, *, coloured=False, views=("combined",), nodes="corners") -> Built:
    rng = np.random.default_rng([s.seed, 18])
    size, (rows, cols) = s.supports(), rng.integers((1, 2), 4)
    shape = (len(RADII), s.channels, *size) if coloured else (len(RADII), *size)
    psfs = [[{v: s.rounded(unit_psfs(rng, shape)) for v in views} for _ in range(cols)] for _ in range(rows)]
    arrays = [[{v: s.array(p) for v, p in node.items()} for node in row] for row in psfs]
    defocus = s.rounded(rng.uniform(-2.4, 1.9, (*s.batch, s.height, s.width)))
    defocus.flat[0] = 0.75  # a pixel exactly on a level
    given = s.array(defocus)
    banks = [[bp.PSFBank(psfs=node, radii=RADII) for node in row] for row in arrays]
    A = FieldDefocus(given, banks=banks, channels=s.channels, boundary=s.boundary, views=views, nodes=nodes)
    levels = [[[node[v] for v in views] for node in row] for row in psfs]
    given_too = (RADII, s.channels, s.boundary, nodes)
    return Built(
        A=A,
        twin=lambda: _batched(lambda c: oracles.field_defocus(c, levels, *given_too), s.batch, defocus),
        taps=size[0] * size[1],
        arrays=(given, *(p for row in arrays for node in row for p in node.values())),
        in_shape=_shape(s),
        out_shape=_shape(s, len(views) * s.channels),
        batch=s.batch,
        lead=_lead(s),
    )


@case("LayeredDefocus", "layered")
@case("LayeredDefocus", "layered_views", per_layer=True, views=("left", "right"))
@case(
    "LayeredDefocus", "layered_per_colour", coloured=True, per_layer=True, normalize=False, views=("right", "combined")
)
def _layered(s: Setup, *, coloured=False, per_layer=False, normalize=True, views=("combined",)) -> Built:
    rng, size = np.random.default_rng([s.seed, 17]), s.supports()
    shape = (len(RADII), s.channels, *size) if coloured else (len(RADII), *size)
    psfs = {view: s.rounded(unit_psfs(rng, shape)) for view in ("left", "right", "combined")}
    alphas = s.rounded(
        rng.uniform(0.1, 1, (s.count, s.height, s.width)) * (rng.random((s.count, s.height, s.width)) > 0.3)
    )
    alphas[0, :, : s.width // 2] = 0
    alphas[-1] = 1  # a background without gaps, or rounding would decide what the cover is divided by
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


@case("Identity", "identity", GATHER)
def _identity(s: Setup) -> Built:
    n = s.channels * s.height * s.width
    return Built(A=bp.Identity(_shape(s)), twin=lambda: np.eye(n), taps=1, in_shape=_shape(s), out_shape=_shape(s))


@case("Window", "window", OFF_FRAME)
def _window(s: Setup) -> Built:
    (rows, cols), shape = (s.support[0] % 3, s.support[1] % 3), _shape(s)
    wide = (s.channels, s.height + 2 * rows, s.width + 2 * cols)

    def twin() -> np.ndarray:
        number = np.arange(np.prod(wide)).reshape(wide)
        return np.eye(number.size)[number[:, rows : rows + s.height, cols : cols + s.width].ravel()]

    return Built(A=bp.Window(shape, margin=(rows, cols)), twin=twin, taps=1, in_shape=wide, out_shape=shape)


@case("Window", "observed", OFF_FRAME)
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


@case("algebra", "composed", GATHER)
def _composed(s: Setup) -> Built:
    parts = [_psf_stack(s), _gkm(s, explicit=True)]
    return _algebra(s, parts, parts[0].A @ parts[1].A, np.matmul)


@case("algebra", "sum")
def _sum(s: Setup) -> Built:
    parts = [_rkr(s), _psf_stack(s, form="scatter")]
    return _algebra(s, parts, parts[0].A + parts[1].A, np.add)


@case("algebra", "scaled")
def _scaled(s: Setup) -> Built:
    part = _psf_stack(s, coloured=True)
    return _algebra(s, [part], -1.5 * part.A, lambda D: -1.5 * D)


@case("algebra", "stacked")
def _stacked(s: Setup) -> Built:
    parts = [_psf_stack(s), _gkm(s, mixed=True)]
    shape = _shape(s, 2 * s.channels + 1)
    stacked = bp.stack([p.A for p in parts])
    return _algebra(s, parts, stacked, lambda *D: np.concatenate(D, axis=-2), out_shape=shape)


@case("algebra", "adjoint")
def _adjoint(s: Setup) -> Built:
    part = _psf_stack(s, coloured=True)
    return _algebra(s, [part], part.A.H, lambda D: np.swapaxes(D, -1, -2))


@case("algebra", "nested")
def _nested(s: Setup) -> Built:
    """(A.H @ D @ 2 I + A): adjoints inside compositions inside sums, between different colour counts."""
    a, d, b = _psf_stack(s), _defocus(s), _rkr(s, stagewise=True)
    A = a.A.H @ d.A @ (2.0 * bp.Identity(_shape(s))) + b.A
    return _algebra(s, [a, d, b], A, lambda P, Q, R: 2.0 * np.matmul(np.swapaxes(P, -1, -2), Q) + R)


@case("Tiled", "tiled_gkm", GATHER, ROWS_ARE_PSFS, of="gkm_sigma_array")
@case("Tiled", "tiled_rkr", GATHER, ROWS_ARE_PSFS, of="rkr")
@case("Tiled", "tiled_rkr_stagewise", of="rkr_stagewise_mix")
@case("Tiled", "tiled_psf_stack", GATHER, of="psf_stack_per_colour")
@case("Tiled", "tiled_scatter", of="scatter")
@case("Tiled", "tiled_pixel_psf", GATHER, of="pixel_psf")
@case("Tiled-more", "tiled_convolution", GATHER, ROWS_ARE_PSFS, of="convolution")
@case("Tiled-more", "tiled_defocus_blur", GATHER, ROWS_ARE_PSFS, of="defocus_blur")
@case("Tiled-more", "tiled_dual_pixel", GATHER, of="dual_pixel_three_views")
@case("Tiled-more", "tiled_field_defocus", GATHER, of="field_defocus_per_colour")
@case("Tiled-more", "tiled_stacked", of="stacked")
@case("Tiled-more", "tiled_adjoint", of="adjoint")
@case("Tiled-more", "tiled_nested", of="nested")
def _tiled(s: Setup, *, of: str) -> Built:
    """Another row tile by tile; tiles of any size, down to one pixel."""
    built = CASES[of](s)
    rng = np.random.default_rng([s.seed, 17])
    tile = (int(rng.integers(1, s.height + 1)), int(rng.integers(1, s.width + 1)))
    return dataclasses.replace(built, A=bp.tiled(built.A, tile))


DAILY = list(CASES) if NIGHTLY else [rows[0] for family, rows in FAMILIES.items() if not family.startswith("Tiled")]
"""For laws that say the same of every row, and are slow: by day the most general row of each family, all at night."""
