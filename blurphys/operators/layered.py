"""Defocus with occlusion: layers laid over each other, each blurred as light is, before it meets the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import isfinite
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np
from array_api_compat import array_namespace, device

from ..boundary import check_boundary, check_extension
from ..engines.convolve import zeros_for
from ..engines.registry import kernel, lookup
from ..frozen import freeze, plainly, transformed, writes
from ..inputs import detached, require_float, tracing
from ..linop.base import LinearOperator
from ..optics.bank import PSFBank
from ..optics.psf_checks import check_unit_sum, kernel_reach
from ..types import Array, BoundaryName, Shape
from .mixing import check_channels, check_colours, check_views

__all__ = ["LayeredDefocus"]

CLOSED = 8.0
"""Shares of a pixel below this many units of rounding count as nothing: neither is light looked for behind a layer that
leaves no more, nor is a sum divided by a cover of no more."""


class _Piece(NamedTuple):
    """Where a layer can be seen after its blur."""

    layer: int
    rows: slice
    cols: slice
    near: Array  # (1, h, w), 1 within reach of the layer and 0 elsewhere


@final
@dataclass(frozen=True, eq=False, repr=False)
class LayeredDefocus(LinearOperator):
    """What a lens records of surfaces that hide each other; linear in their colours.

    Parameters
    ----------
    alphas : array of shape (K, H, W)
        Share of each pixel that a layer covers, 0 to 1, nearest layer first. Layers go on behind nearer ones: what is
        missing there is missing in the picture, as a dark rim (or, normalised, as what the others show).
    radii : sequence of K floats
        Signed circle-of-confusion radius of each layer, px; positive farther than the plane of focus.
    bank : PSFBank
        PSFs at increasing signed radii; a layer interpolates its two neighbours linearly.
    channels : int
        C of the images.
    boundary : str
        How every layer goes on beyond the frame, see `blurphys.boundary`.
    views : tuple of str
        Any of "left", "right", "combined", in the order of the output; with a pupil's bank any view of `Pupil.seen`.
    per_layer : bool
        False: the operator takes one all-in-focus image (C, H, W), of which every layer shows its part, so nothing but
        its own pixels is known of a hidden surface. True: it takes (K C, H, W), the colours of the first layer, then of
        the second, not multiplied by alpha.
    normalize : bool
        Divide by the cover of all layers together, so that a constant image stays constant where they leave a gap.

    Raises
    ------
    ValueError
        Alphas outside [0, 1] or not finite, a number of radii other than K, radii outside the bank, an unknown or
        repeated view, an extension beyond the limit.
    TypeError
        Alphas that are no floating array, or a bank of tensors that does not live where they live.

    Notes
    -----
    With h_k the PSF of layer k (1 in front) and E the extension,

        y = sum_k T_k . (h_k * E(a_k . x_k)) / (1 - T_(K+1)),    T_1 = 1,    T_(k+1) = T_k . (1 - h_k * E a_k)

    adjoint  ``x_k = a_k . E^T h_k^T (T_k . y / (1 - T_(K+1)))``.

    Light leaves a surface under its own PSF (scatter form), and T_k is the share that gets past the layers in front.
    The product is exact where all but one of the overlapping layers are in focus. Otherwise a layer and its occluder
    are taken as independent over the pupil, where in truth both are sharp shadows in it: 45 dB and better on
    textured two-layer scenes, where the gather form `DefocusBlur` reaches 27 to 32 dB.

    Cost: for each view and layer, the area of its PSF for each pixel it can be seen at, C + 1 times; memory: K masks,
    and a few images; the adjoint K shares more. Where a layer can be seen is found when the operator is made (for
    NumPy and CuPy in each call, and again after a tensor of alphas was written to). torch differentiates in the image,
    the alphas and the PSFs of a learned bank, not in the radii. With gradients in the alphas, and in a compiled graph,
    every layer is taken to be everywhere, because light may come to where it is not. Psfs of one sum to one; `validate`
    checks the bank.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> bank = bp.PSFBank(bp.Pupil.disk(), max_radius=3.0, step=0.5)
    >>> pole = np.zeros((16, 20)); pole[:, 8:11] = 1
    >>> A = LayeredDefocus(np.stack([pole, np.ones((16, 20))]), radii=(-2.5, 0.0), bank=bank, per_layer=True)
    >>> A
    LayeredDefocus((6, 16, 20) -> (3, 16, 20), numpy float64 on cpu)
    >>> bool(np.allclose(A(np.ones((6, 16, 20))), 1.0))
    True
    """

    _maps: ClassVar[str] = "alphas"

    alphas: Array
    _: KW_ONLY
    radii: tuple[float, ...]
    bank: PSFBank
    channels: int = 3
    boundary: BoundaryName = "reflect"
    views: tuple[str | float, ...] = ("combined",)
    per_layer: bool = False
    normalize: bool = True
    _design: tuple[Array, ...] | None = field(init=False, default=None)  # PSFs of each layer, where not learned
    # How often the alphas had been written to, and where the layers were then; for tensors alone, which count that.
    _found: tuple[int, tuple[_Piece, ...]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        owner = "LayeredDefocus"
        _check_alphas(owner, self.alphas)
        freeze(self, views=check_views(owner, self.views))
        if not isinstance(self.bank, PSFBank):
            raise TypeError(f"{owner}: expected bank to be a PSFBank, got {type(self.bank).__name__}")
        freeze(self, radii=_check_radii(owner, self.radii, int(self.alphas.shape[0]), self.bank))
        check_boundary(self.boundary, owner)
        check_channels(owner, self.channels)
        psfs = self._bank
        check_colours(owner, psfs, self.channels)
        if self.bank.fixed:
            freeze(self, _design=plainly(lambda: tuple(_trimmed(psf) for psf in self._interpolated())))
        for psf in self._psfs:
            before, after = kernel_reach((psf.shape[-2], psf.shape[-1]))
            check_extension(self.in_shape, before, after, self.boundary, owner)
        freeze(self, _found=self._find())

    def _find(self) -> tuple[int, tuple[_Piece, ...]] | None:
        """Where the layers are, for `_found`; None where that is not known yet, or could not be seen to change."""
        version = None if tracing() or self._varied else writes(self.alphas)
        return None if version is None else (version, plainly(self._places))

    def _places(self) -> tuple[_Piece, ...]:
        pieces = (self._piece(k, *psf.shape[-2:]) for k, psf in enumerate(self._psfs))
        return tuple(piece for piece in pieces if piece is not None)

    @property
    def _varied(self) -> bool:
        """Whether the alphas may be differentiated, so that what they do where they are zero counts too."""
        return bool(getattr(self.alphas, "requires_grad", False)) or (not tracing() and transformed(self.alphas))

    @property
    def _pieces(self) -> tuple[_Piece, ...]:
        """The layers that are anywhere, for the steps on arrays; the fused forward engine needs none of it."""
        if not (tracing() or self._varied):
            if self._found is not None and self._found[0] == writes(self.alphas):
                return self._found[1]
            return plainly(self._places)
        shape = self.alphas.shape[-2:]
        ones = array_namespace(self.alphas).ones((1, *shape), dtype=self.alphas.dtype, device=device(self.alphas))
        return tuple(_Piece(k, slice(0, shape[0]), slice(0, shape[1]), ones) for k in range(len(self.radii)))

    @property
    def _psfs(self) -> tuple[Array, ...]:
        """PSFs of each layer, (V, 1, 1 or C, h, w): design data as far as it is not zero, learned ones whole."""
        return tuple(self._interpolated()) if self._design is None else self._design

    @property
    def _bank(self) -> Array:
        return self.bank.stacked(self.views, self.like)

    @property
    def like(self) -> Array:
        return self.alphas

    @property
    def in_shape(self) -> Shape:
        return (self.channels * (len(self.radii) if self.per_layer else 1), *self.alphas.shape[-2:])

    @property
    def out_shape(self) -> Shape:
        return (self.channels * len(self.views), *self.alphas.shape[-2:])

    @property
    def halo(self) -> int:
        # Twice the reach of the PSFs: the adjoint needs the open shares where it looks, and they look as far again.
        return 2 * max(max(psf.shape[-2:]) // 2 for psf in self._psfs)

    def _with(self, **changes: Any) -> Self:
        new = super()._with(**changes)
        freeze(new, _found=new._find())
        return new

    def _piece(self, k: int, h: int, w: int) -> _Piece | None:
        """Where layer k can be seen through a PSF of size (h, w); None for a layer that is nowhere."""
        xp, (rows, cols) = array_namespace(self.alphas), (slice(0, n) for n in self.alphas.shape[-2:])
        used = _to_host(self.alphas[k, ...]) > 0
        if self.boundary == "circular":
            near = np.ones_like(used)
        elif not used.any():
            return None
        else:
            near = _dilated(used, h // 2, w // 2)
            # One more than the reach, so that no mirror image of the layer comes in at an edge not the frame's.
            rows, cols = (_span(used.any(axis=1 - axis), (h, w)[axis] // 2 + 1) for axis in (0, 1))
        mask = xp.asarray(near[None, rows, cols].copy(), device=device(self.alphas))
        return _Piece(k, rows, cols, xp.astype(mask, self.alphas.dtype))

    def _interpolated(self) -> Iterator[Array]:
        """Yield the PSFs at the radius of each layer: (V, 1, 1 or C, h, w)."""
        nodes, bank = self.bank.nodes, self._bank
        for radius in self.radii:
            place = min(max(radius, nodes[0]), nodes[-1])
            low = min(sum(node <= place for node in nodes) - 1, len(nodes) - 2)
            f = (place - nodes[low]) / (nodes[low + 1] - nodes[low])
            lower, upper = bank[:, low : low + 1, ...], bank[:, low + 1 : low + 2, ...]
            yield lower if f == 0 else upper if f == 1 else (1 - f) * lower + f * upper

    def _gather(self, planes: Array, piece: _Piece, psf: Array, weights: Array) -> Array:
        """Blur `planes` as a view sees them; one weight for each output pixel, and for each colour of the PSFs."""
        blur = kernel("psf_gather", planes)
        if weights.shape[-3] == 1:
            return blur(planes, psf, weights, self.boundary)
        return weights * blur(planes, psf, piece.near, self.boundary)

    def _open_shares(
        self, view: int, pieces: Sequence[_Piece], psfs: Sequence[Array]
    ) -> Iterator[tuple[_Piece | None, Array]]:
        """Yield for every layer its place and T there (0 out of its sight); last None and T behind all layers.

        `psfs` are those of the view, one for each layer.
        """
        xp = array_namespace(self.alphas)
        colours = psfs[0].shape[-3]
        share = xp.ones((colours, *self.alphas.shape[-2:]), dtype=self.alphas.dtype, device=device(self.alphas))
        closed = CLOSED * float(xp.finfo(self.alphas.dtype).eps)
        for piece in pieces:
            window = (..., piece.rows, piece.cols)
            seen = share[window] * piece.near
            yield piece, seen
            alpha = xp.broadcast_to(self._alpha(piece), (colours, *piece.near.shape[-2:]))
            left = share[window] - self._gather(alpha, piece, psfs[piece.layer], seen)
            share = _replaced(share, piece, xp.where(left > closed, left, xp.zeros_like(left)))
        yield None, share

    def _forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        fused = lookup("layered_over", "numpy") if isinstance(x, np.ndarray) else None
        if fused is not None:
            closed = CLOSED * float(xp.finfo(x.dtype).eps)
            return fused(x, self.alphas, self._psfs, self.channels, self.boundary, self.normalize, closed)
        views, pieces, whole = [], self._pieces, self._psfs
        for view in range(len(self.views)):
            y = zeros_for(x, (*x.shape[:-3], self.channels, *x.shape[-2:]))
            psfs = [psf[view : view + 1, ...] for psf in whole]
            for piece, seen in self._open_shares(view, pieces, psfs):
                if piece is None:
                    y = self._cover(y, seen)
                    break
                light = self._colours(x, piece)[..., piece.rows, piece.cols] * self._alpha(piece)
                part = y[..., piece.rows, piece.cols] + self._gather(light, piece, psfs[piece.layer], seen)
                y = _replaced(y, piece, part)
            views.append(y)
        return views[0] if len(views) == 1 else xp.concat(views, axis=-3)

    def _adjoint(self, y: Array) -> Array:
        xp = array_namespace(y)
        size = (*y.shape[:-3], self.channels, *y.shape[-2:])
        count = len(self.radii) if self.per_layer else 1
        outs = [zeros_for(y, size) for _ in range(count)]
        pieces, whole = self._pieces, self._psfs
        for view in range(len(self.views)):
            psfs = [psf[view : view + 1, ...] for psf in whole]
            *shares, (_, open_share) = list(self._open_shares(view, pieces, psfs))
            u = self._cover(y[..., view * self.channels : (view + 1) * self.channels, :, :], open_share)
            for piece, seen in shares:
                assert piece is not None
                window = (..., piece.rows, piece.cols)
                weights, back = (seen, u[window]) if seen.shape[-3] == 1 else (piece.near, seen * u[window])
                sent = kernel("psf_gather_adjoint", y)(back, psfs[piece.layer], weights, self.boundary)
                place = piece.layer if self.per_layer else 0
                outs[place] = _replaced(outs[place], piece, outs[place][window] + sent * self._alpha(piece))
        return outs[0] if len(outs) == 1 else xp.concat(outs, axis=-3)

    def _alpha(self, piece: _Piece) -> Array:
        return self.alphas[piece.layer, piece.rows, piece.cols]

    def _colours(self, x: Array, piece: _Piece) -> Array:
        k = piece.layer
        return x[..., k * self.channels : (k + 1) * self.channels, :, :] if self.per_layer else x

    def _cover(self, y: Array, open_share: Array) -> Array:
        """Divide by what all layers together cover; a diagonal factor, hence its own transpose."""
        if not self.normalize:
            return y
        xp = array_namespace(y)
        cover = 1 - open_share
        some = cover > CLOSED * float(xp.finfo(y.dtype).eps)
        return y * xp.where(some, 1 / xp.where(some, cover, xp.ones_like(cover)), xp.zeros_like(cover))

    def validate(self) -> Self:
        """Check that every PSF of the bank is finite, non-negative and sums to one."""
        check_unit_sum("LayeredDefocus", self._bank)
        return self


def _check_alphas(owner: str, alphas: Array) -> None:
    xp = require_float(owner, "alphas", alphas)
    if alphas.ndim != 3 or 0 in tuple(alphas.shape):
        raise ValueError(f"{owner}: expected alphas of shape (K, H, W), got {tuple(alphas.shape)}")
    if tracing():
        return
    values = detached(alphas)
    if not bool(xp.all((values >= 0) & (values <= 1))):
        raise ValueError(
            f"{owner}: expected alphas from 0 to 1, got {float(xp.min(values)):g} to {float(xp.max(values)):g}"
        )


def _check_radii(owner: str, radii: Any, count: int, bank: PSFBank) -> tuple[float, ...]:
    try:
        values = tuple(float(r) for r in radii)
    except TypeError:
        raise ValueError(f"{owner}: expected a sequence of radii (px), one for each layer, got {radii!r}") from None
    if len(values) != count:
        raise ValueError(f"{owner}: expected one radius for each of the {count} layers, got {len(values)}")
    for value in values:
        if not (isfinite(value) and bank.holds(value, value)):
            raise ValueError(
                f"{owner}: expected radii within the bank's [{bank.radii[0]:g}, {bank.radii[-1]:g}] px, got {value:g}; "
                f"is it a diameter?"
            )
    return values


def _to_host(x: Array) -> np.ndarray[Any, Any]:
    if hasattr(x, "get"):
        return np.asarray(x.get())
    x = detached(x)
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x if isinstance(x, np.ndarray) else np.from_dlpack(x))


def _dilated(used: np.ndarray[Any, Any], rows: int, cols: int) -> np.ndarray[Any, Any]:
    """Mark every pixel with a used one at most so far away."""
    for axis, reach in ((0, rows), (1, cols)):
        if reach:
            pads = [(0, 0), (0, 0)]
            pads[axis] = (reach + 1, reach)
            sums = np.cumsum(np.pad(used, pads), axis=axis, dtype=np.int32)
            n = used.shape[axis]
            after = sums[2 * reach + 1 :] if axis == 0 else sums[:, 2 * reach + 1 :]
            used = after > (sums[:n] if axis == 0 else sums[:, :n])
    return used


def _span(lines: Any, margin: int) -> slice:
    """Lines from the first to the last that is used, widened by a margin within the frame."""
    found = np.flatnonzero(lines)
    if not found.size:
        return slice(0, 1 if lines.size else 0)
    return slice(max(0, int(found[0]) - margin), min(lines.size, int(found[-1]) + 1 + margin))


def _trimmed(psfs: Array) -> Array:
    """Cut equal margins of zeros off PSFs that are design data."""
    if tracing():
        return psfs
    used = (_to_host(psfs) != 0).any(axis=(0, 1, 2))
    h, w = used.shape
    if not used.any():
        return psfs
    cuts = []
    for lines, n in ((used.any(axis=1), h), (used.any(axis=0), w)):
        found = np.flatnonzero(lines)
        # Centres stay at n // 2: an even PSF reaches one further before the centre than after it.
        cuts.append(max(0, min(int(found[0]), n - 1 - int(found[-1]))))
    (a, b) = cuts
    return psfs[..., a : h - a, b : w - b]


def _replaced(whole: Array, piece: _Piece, part: Array) -> Array:
    """Put `part` in its place; in a new array where torch may be recording."""
    window = (..., piece.rows, piece.cols)
    if part.shape == whole.shape:
        return part
    recorded = any(getattr(a, "requires_grad", False) for a in (part, whole))
    if tracing() or recorded or transformed(part) or transformed(whole):
        whole = whole + 0
    whole[window] = part
    return whole
