"""Defocus blur with occlusion: layers at different depths, each blurred and composited over the ones behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from math import isfinite
from typing import Any, ClassVar, Self, final

import numpy as np
from array_api_compat import array_namespace, device

from ..boundary import check_boundary, check_extension
from ..engines.dispatch import kernel
from ..engines.reference.convolve import zeros_for
from ..engines.reference.layered import VisibleArea, divide_by_coverage, whole_frame
from ..frozen import freeze, make_plain, transformed, write_count
from ..inputs import detach, require_float, require_image, tracing
from ..linop.base import LinearOperator
from ..optics.bank import PSFBank
from ..optics.psf_checks import check_unit_sum, kernel_reach
from ..types import Array, BoundaryName, Shape
from .layer_areas import dilate, span_of, to_host, trim_zeros
from .mixing import check_channels, check_colours, check_views

__all__ = ["LayeredDefocus"]

OPAQUE = 8.0
"""Transmittances and coverages below this multiple of the machine epsilon count as zero: no light is gathered behind a
layer that lets less through, and no sum is divided by a smaller coverage."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class LayeredDefocus(LinearOperator):
    """Defocus blur of surfaces that occlude each other; linear in their colours.

    Parameters
    ----------
    alphas : array of shape (K, H, W)
        Share of each pixel that a layer covers, 0 to 1, nearest layer first. Layers should continue behind nearer ones:
        where they do not, the image has a dark rim (or, with `normalize`, the colours of the other layers).
    radii : sequence of K floats
        Signed circle-of-confusion radius of each layer, px; positive farther than the plane of focus.
    bank : PSFBank
        PSFs at increasing signed radii; each layer interpolates linearly between two of them.
    channels : int
        C of the images.
    boundary : str
        Extension of every layer beyond the frame, see `blurphys.boundary`.
    views : tuple of str
        Any of "left", "right", "combined", in the order of the output; with the bank of a pupil, any view of
        `Pupil.seen`.
    per_layer : bool
        False: the input is one all-in-focus image (C, H, W), from which every layer takes its colours, so that the
        hidden parts of a surface take the colours of what hides them. True: the input is (K C, H, W), the colours of
        the first layer, then of the second, not premultiplied by alpha.
    normalize : bool
        Divide by the coverage of all layers together, so that a constant image stays constant where they leave a gap.

    Raises
    ------
    ValueError
        Alphas outside [0, 1] or not finite, a number of radii other than K, radii outside the bank, an unknown or
        repeated view, an extension beyond the limit.
    TypeError
        Alphas that are not a floating-point array, or a bank of tensors of another namespace, dtype or device.

    Notes
    -----
    With h_k the PSF of layer k (1 in front) and E the extension,

        y = sum_k T_k . (h_k * E(a_k . x_k)) / (1 - T_(K+1)),    T_1 = 1,    T_(k+1) = T_k . (1 - h_k * E a_k)

    adjoint  ``x_k = a_k . E^T h_k^T (T_k . y / (1 - T_(K+1)))``.

    Light from a surface is spread by its own PSF (scatter form), and T_k is the transmittance of the layers in front.
    The product is exact if all but one of the overlapping layers are in focus. Otherwise the blurred masks of a layer
    and of its occluders are treated as independent over the pupil, where in fact each casts a sharp shadow: 45 dB and
    better on textured two-layer scenes, where the gather form `DefocusBlur` reaches 27 to 32 dB.

    Cost: for each view and layer, the area of its PSF times the pixels where it is visible, C + 1 times; memory: K
    masks and a few images, plus K transmittances in the adjoint. The areas where layers are visible are computed when
    the operator is made (for NumPy and CuPy in each call; again after a tensor of alphas has been modified). torch
    differentiates with respect to the image, the alphas and the PSFs of a learned bank, but not the radii. With
    gradients in the alphas, and in a compiled graph, every layer is processed on the full frame, because alphas of zero
    matter too. `validate` checks that the PSFs of the bank sum to one.

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
    _design: tuple[Array, ...] | None = field(init=False, default=None)  # PSFs of each layer, unless they are learned
    # Where the layers are visible, and how often the alphas had been written to by then: only tensors count writes.
    _known_areas: tuple[int, tuple[VisibleArea, ...]] | None = field(init=False, default=None)

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
            freeze(self, _design=make_plain(lambda: tuple(trim_zeros(psf) for psf in self._interpolate_bank())))
        for psf in self._psfs:
            before, after = kernel_reach((psf.shape[-2], psf.shape[-1]))
            check_extension(self.in_shape, before, after, self.boundary, owner)
        freeze(self, _known_areas=self._remember_areas())

    def _remember_areas(self) -> tuple[int, tuple[VisibleArea, ...]] | None:
        """Return the value of `_known_areas`; None if alphas have no values yet, or writes to them are not counted."""
        version = None if tracing() or self._differentiated else write_count(self.alphas)
        return None if version is None else (version, make_plain(self._find_areas))

    def _find_areas(self) -> tuple[VisibleArea, ...]:
        areas = (self._area_of(k, *psf.shape[-2:]) for k, psf in enumerate(self._psfs))
        return tuple(area for area in areas if area is not None)

    @property
    def _differentiated(self) -> bool:
        """Whether the alphas may be differentiated: then pixels with an alpha of zero matter too."""
        return bool(getattr(self.alphas, "requires_grad", False)) or (not tracing() and transformed(self.alphas))

    @property
    def _areas(self) -> tuple[VisibleArea, ...]:
        """Visible areas of the layers that are not empty, for the array code; the fused CPU engine needs none."""
        if not (tracing() or self._differentiated):
            if self._known_areas is not None and self._known_areas[0] == write_count(self.alphas):
                return self._known_areas[1]
            return make_plain(self._find_areas)
        return whole_frame(self.alphas)

    @property
    def _psfs(self) -> tuple[Array, ...]:
        """PSFs of each layer, (V, 1, 1 or C, h, w): without margins of zeros, unless they are learned."""
        return tuple(self._interpolate_bank()) if self._design is None else self._design

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
        # Twice the reach of the PSFs: the adjoint needs T_k within the reach, and T_k alphas within the reach again.
        return 2 * max(max(psf.shape[-2:]) // 2 for psf in self._psfs)

    def _with(self, **changes: Any) -> Self:
        new = super()._with(**changes)
        freeze(new, _known_areas=new._remember_areas())
        return new

    def _area_of(self, k: int, h: int, w: int) -> VisibleArea | None:
        """Return where layer k is visible through a PSF of size (h, w); None for an empty layer."""
        xp, (rows, cols) = array_namespace(self.alphas), (slice(0, n) for n in self.alphas.shape[-2:])
        used = to_host(self.alphas[k, ...]) > 0
        if self.boundary == "circular":
            near = np.ones_like(used)
        elif not used.any():
            return None
        else:
            near = dilate(used, h // 2, w // 2)
            # The reach and one pixel more: the boundary rule also acts at edges of the area inside the frame, and with
            # this margin it mirrors or repeats only empty pixels there.
            rows, cols = (span_of(used.any(axis=1 - axis), (h, w)[axis] // 2 + 1) for axis in (0, 1))
        mask = xp.asarray(near[None, rows, cols].copy(), device=device(self.alphas))
        return VisibleArea(k, rows, cols, xp.astype(mask, self.alphas.dtype))

    def _interpolate_bank(self) -> Iterator[Array]:
        """Yield the PSFs at the radius of each layer: (V, 1, 1 or C, h, w)."""
        nodes, bank = self.bank.nodes, self._bank
        for radius in self.radii:
            r = min(max(radius, nodes[0]), nodes[-1])
            low = min(sum(node <= r for node in nodes) - 1, len(nodes) - 2)
            f = (r - nodes[low]) / (nodes[low + 1] - nodes[low])
            lower, upper = bank[:, low : low + 1, ...], bank[:, low + 1 : low + 2, ...]
            yield lower if f == 0 else upper if f == 1 else (1 - f) * lower + f * upper

    def _forward(self, x: Array) -> Array:
        return kernel("layered_over", x)(x, *self._arguments)

    def _adjoint(self, y: Array) -> Array:
        return kernel("layered_over_adjoint", y)(y, *self._arguments)

    @property
    def _arguments(self) -> tuple[Any, ...]:
        """Arguments of the primitive that follow the image."""
        return (
            self.alphas,
            self._psfs,
            lambda: self._areas,
            self.channels,
            self.boundary,
            self.per_layer,
            self.normalize,
            self._opaque,
        )

    @property
    def _opaque(self) -> float:
        return OPAQUE * float(array_namespace(self.alphas).finfo(self.alphas.dtype).eps)

    def composite(self, x: Array) -> Array:
        """Composite the layers without blur: each pixel shows what is in front.

        Parameters
        ----------
        x : array of shape (..., K C, H, W)
            Colours of all layers, the input of `forward` with ``per_layer=True``.

        Returns
        -------
        array of shape (..., C, H, W)
            ``sum_k t_k . a_k . x_k``, t_k the product of 1 - a_j over the layers in front; with `normalize` divided by
            the coverage, and 0 where there is none.

        Raises
        ------
        ValueError
            The operator has ``per_layer=False``, so that its input already is such a picture, or the shape of x is
            wrong.
        TypeError
            As for `forward`.
        """
        owner = "LayeredDefocus.composite"
        if not self.per_layer:
            raise ValueError(f"{owner}: expected an operator with per_layer=True; the input of this one is the picture")
        require_image(owner, x, self.alphas, self.in_shape, ())
        xp, C = array_namespace(x), self.channels
        clear, picture = xp.ones_like(self.alphas[0, ...]), zeros_for(x, (*x.shape[:-3], C, *x.shape[-2:]))
        for k in range(len(self.radii)):
            picture = picture + clear * self.alphas[k, ...] * x[..., k * C : (k + 1) * C, :, :]
            clear = clear * (1 - self.alphas[k, ...])
        return divide_by_coverage(picture, clear, self._opaque) if self.normalize else picture

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
    values = detach(alphas)
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
