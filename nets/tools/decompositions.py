"""The operators of blurphys as convolutions of torch: slower and larger in memory, but available everywhere.

Written for exported programs (`nets.tools.exporting`), which need few nodes, no in-place writes and no dependence on
values: a mixture of K kernels is one grouped convolution and holds K filtered images. Shapes are those of
`blurphys.engines.reference`, which says what is computed. Inside, leading axes are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import blurphys.engines.torch_ops.operators  # noqa: F401  registers the operators
from blurphys.boundary import extend

__all__ = ["PLAIN", "decompositions"]

_MODES = {"zero": "constant", "reflect": "reflect", "replicate": "replicate"}
"""Our boundary rules that torch.nn.functional.pad has, too."""

Reach = tuple[int, int]


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return the decomposition of each operator, for `torch.export.ExportedProgram.run_decompositions`.

    Returns
    -------
    dict
        ``torch.ops.blurphys.<primitive>.default``, and its adjoint, to a function of torch operators. The operators of
        gradients have none: they occur in training only.
    """
    return {getattr(torch.ops.blurphys, name).default: plain for name, plain in PLAIN.items()}


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-3:])


def _shared(maps: Tensor, x: Tensor) -> Tensor:
    """Maps (*B, K, H, W) for each image of (*N, C, H, W), leading axes made one."""
    return _flat(maps.expand(*x.shape[:-3], *maps.shape[-3:]))


def _like(y: Tensor, x: Tensor) -> Tensor:
    return y.reshape(*x.shape[:-3], *y.shape[-3:])


def _extend(x: Tensor, before: Reach, after: Reach, boundary: str) -> Tensor:
    if boundary in _MODES:
        return functional.pad(x, (before[1], after[1], before[0], after[0]), mode=_MODES[boundary])
    plane: Tensor = extend(x, before, after, boundary)
    return plane


def _fold(v: Tensor, before: Reach, after: Reach, boundary: str) -> Tensor:
    """The transpose of `_extend`."""
    for axis in (-1, -2):
        size = v.shape[axis] - before[axis] - after[axis]
        if boundary == "zero":
            v = v.narrow(axis, before[axis], size)
        elif before[axis] or after[axis]:
            pixels = torch.arange(size, device=v.device)[None]
            sources = extend(pixels, (0, before[axis]), (0, after[axis]), boundary)[0]
            shape = [*v.shape]
            shape[axis] = size
            v = v.new_zeros(shape).index_add(axis, sources, v)
    return v


def _weight_levels(levels: Tensor, maps: Tensor, mix: Tensor | None) -> Tensor:
    """Sum over levels (N, C, K, H, W) with maps (N, K, H, W), colours mixed by (D, C, K)."""
    found = levels * maps[:, None]
    return found.sum(2) if mix is None else functional.conv2d(found.flatten(1, 2), mix.flatten(1)[:, :, None, None])


def _weight_levels_adjoint(y: Tensor, maps: Tensor, mix: Tensor | None) -> Tensor:
    """The levels (N, C, K, H, W) of an image (N, D, H, W)."""
    if mix is None:
        return y[:, :, None] * maps[:, None]
    levels = functional.conv2d(y, mix.flatten(1).T[:, :, None, None])
    return levels.unflatten(1, mix.shape[1:]) * maps[:, None]


def _lines(taps: Tensor, halves: Sequence[int], channels: int) -> Tensor:
    """Two-sided taps (C, K, 2 h + 1) from one-sided ones, zeros beyond the half-widths."""
    h = max(halves)
    # Not torch.tensor(halves): where a program is recorded, that is a write to memory.
    runs = [torch.full((len([*run]), 1), half, device=taps.device) for half, run in groupby(halves)]
    taps = torch.where(torch.arange(h + 1, device=taps.device) <= torch.cat(runs), taps[..., : h + 1], 0)
    return torch.cat([taps[..., 1:].flip(-1), taps], dim=-1).expand(channels, -1, -1)


def gaussian_mixture(
    x: Tensor, maps: Tensor, taps: Tensor, halves: Sequence[int], boundary: str, mix: Tensor | None = None
) -> Tensor:
    channels, h = x.shape[-3], max(halves)
    lines = _lines(taps, halves, channels)
    rows = lines.flatten(0, 1)[:, None, :, None]
    levels = functional.conv2d(_extend(_flat(x), (h, h), (h, h), boundary), rows, groups=channels)
    levels = functional.conv2d(levels, rows.transpose(-1, -2), groups=rows.shape[0])
    return _like(_weight_levels(levels.unflatten(1, lines.shape[:2]), _shared(maps, x), mix), x)


def gaussian_mixture_adjoint(
    y: Tensor, maps: Tensor, taps: Tensor, halves: Sequence[int], boundary: str, mix: Tensor | None = None
) -> Tensor:
    channels, h = y.shape[-3] if mix is None else mix.shape[1], max(halves)
    lines = _lines(taps, halves, channels)
    rows = lines.flatten(0, 1)[:, None, :, None]
    levels = _weight_levels_adjoint(_flat(y), _shared(maps, y), mix).flatten(1, 2)
    levels = functional.conv_transpose2d(levels, rows.transpose(-1, -2), groups=rows.shape[0])
    plane = functional.conv_transpose2d(levels, rows, groups=channels)
    return _like(_fold(plane, (h, h), (h, h), boundary), y)


def _squares(atoms: Tensor, channels: int) -> Tensor:
    """Atoms (J-1, 1 or C, t) as kernels of a correlation, (J-1, C, 1, t, t)."""
    lines = atoms.flip(-1).expand(-1, channels, -1)[:, :, None]
    return lines[..., None] * lines[..., None, :]


def recursive_mixture(
    x: Tensor, maps: Tensor, atoms: Tensor, boundary: str, stagewise: bool = False, mix: Tensor | None = None
) -> Tensor:
    h, count, channels = atoms.shape[-1] // 2, maps.shape[-3], x.shape[-3]
    reach, step = (0, h) if stagewise else (h * (count - 1), 0)
    squares = _squares(atoms, channels)
    u = _extend(_flat(x), (reach, reach), (reach, reach), boundary)
    levels = [_crop(u, reach)]
    for j in range(1, count):
        u = functional.conv2d(_extend(u, (step, step), (step, step), boundary), squares[j - 1], groups=channels)
        levels.append(_crop(u, 0 if stagewise else reach - h * j))
    return _like(_weight_levels(torch.stack(levels, dim=2), _shared(maps, x), mix), x)


def recursive_mixture_adjoint(
    y: Tensor, maps: Tensor, atoms: Tensor, boundary: str, stagewise: bool = False, mix: Tensor | None = None
) -> Tensor:
    h, count, channels = atoms.shape[-1] // 2, maps.shape[-3], y.shape[-3] if mix is None else mix.shape[1]
    reach, step = (0, h) if stagewise else (h * (count - 1), 0)
    squares = _squares(atoms, channels)
    levels = _weight_levels_adjoint(_flat(y), _shared(maps, y), mix)
    v = levels[:, :, count - 1]
    for j in range(count - 1, 0, -1):
        v = functional.conv_transpose2d(v, squares[j - 1], groups=channels)
        v = _fold(v, (step, step), (step, step), boundary)
        v = v + functional.pad(levels[:, :, j - 1], [0 if stagewise else h * (count - j)] * 4)
    return _like(_fold(v, (reach, reach), (reach, reach), boundary), y)


def _crop(u: Tensor, margin: int) -> Tensor:
    return u[..., margin : u.shape[-2] - margin, margin : u.shape[-1] - margin]


def _reach(psfs: Tensor) -> tuple[Reach, Reach]:
    """How far an image is extended (above, left) and (below, right)."""
    h, w = psfs.shape[-2:]
    return (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2)


def _level(psfs: Tensor, level: int, channels: int) -> Tensor:
    """PSFs (V, L, 1 or C, h, w) of one level as kernels of a correlation, (C V, 1, h, w), colours first."""
    views = psfs[:, level].flip(-2, -1).expand(-1, channels, -1, -1)
    return views.transpose(0, 1).flatten(0, 1)[:, None]


def _gather(x: Tensor, psfs: Tensor, weights: Callable[[int], Tensor | None], boundary: str) -> Tensor:
    """`psf_gather`, the weights of a level (N, 1, H, W) from a function, so that not all need exist at once."""
    channels = x.shape[-3]
    plane = _extend(_flat(x), *_reach(psfs), boundary)
    y = None
    for level in range(psfs.shape[1]):
        part = functional.conv2d(plane, _level(psfs, level, channels), groups=channels)
        w = weights(level)
        part = part if w is None else w * part
        y = part if y is None else y + part
    assert y is not None  # there is at least one level
    return _like(y.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1, 2), x)


def _gather_adjoint(y: Tensor, psfs: Tensor, weights: Callable[[int], Tensor | None], boundary: str) -> Tensor:
    views = psfs.shape[0]
    channels = y.shape[-3] // views
    image = _flat(y).unflatten(1, (views, channels)).transpose(1, 2).flatten(1, 2)
    plane = None
    for level in range(psfs.shape[1]):
        w = weights(level)
        part = image if w is None else w * image
        part = functional.conv_transpose2d(part, _level(psfs, level, channels), groups=channels)
        plane = part if plane is None else plane + part
    assert plane is not None
    return _like(_fold(plane, *_reach(psfs), boundary), y)


def _given(weights: Tensor | None, x: Tensor) -> Callable[[int], Tensor | None]:
    if weights is None:
        return lambda level: None
    maps = _shared(weights, x)
    return lambda level: maps[:, level, None]


def _hats(index: Tensor, fraction: Tensor, x: Tensor) -> Callable[[int], Tensor]:
    """The weights of an interpolation: 1 - f at the lower level, f at the one above, else zero."""
    i, f = _shared(index[..., None, :, :], x), _shared(fraction[..., None, :, :], x)
    return lambda level: torch.where(i == level, 1 - f, torch.where(i == level - 1, f, 0))


def psf_gather(x: Tensor, psfs: Tensor, weights: Tensor | None, boundary: str) -> Tensor:
    return _gather(x, psfs, _given(weights, x), boundary)


def psf_gather_adjoint(y: Tensor, psfs: Tensor, weights: Tensor | None, boundary: str) -> Tensor:
    return _gather_adjoint(y, psfs, _given(weights, y), boundary)


def psf_interpolate(x: Tensor, psfs: Tensor, index: Tensor, fraction: Tensor, boundary: str) -> Tensor:
    return _gather(x, psfs, _hats(index, fraction, x), boundary)


def psf_interpolate_adjoint(y: Tensor, psfs: Tensor, index: Tensor, fraction: Tensor, boundary: str) -> Tensor:
    return _gather_adjoint(y, psfs, _hats(index, fraction, y), boundary)


def psf_scatter(x: Tensor, psfs: Tensor, weights: Tensor, boundary: str) -> Tensor:
    image, maps, channels = _flat(x), _shared(weights, x), x.shape[-3]
    y = None
    for level in range(psfs.shape[1]):
        plane = _extend(maps[:, level, None] * image, *_reach(psfs), boundary)
        part = functional.conv2d(plane, _level(psfs, level, channels), groups=channels)
        y = part if y is None else y + part
    assert y is not None
    return _like(y, x)


def psf_scatter_adjoint(y: Tensor, psfs: Tensor, weights: Tensor, boundary: str) -> Tensor:
    image, maps, channels = _flat(y), _shared(weights, y), y.shape[-3]
    x = None
    for level in range(psfs.shape[1]):
        plane = functional.conv_transpose2d(image, _level(psfs, level, channels), groups=channels)
        part = maps[:, level, None] * _fold(plane, *_reach(psfs), boundary)
        x = part if x is None else x + part
    assert x is not None
    return _like(x, y)


PLAIN: dict[str, Callable[..., Tensor]] = {
    plain.__name__: plain
    for plain in (
        gaussian_mixture,
        gaussian_mixture_adjoint,
        recursive_mixture,
        recursive_mixture_adjoint,
        psf_gather,
        psf_gather_adjoint,
        psf_interpolate,
        psf_interpolate_adjoint,
        psf_scatter,
        psf_scatter_adjoint,
    )
}
"""Each primitive by its name."""
