"""GKM: the Gaussian kernel mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import ceil, exp
from typing import Any, ClassVar, Self, final

from array_api_compat import array_namespace, device, is_array_api_obj, is_numpy_array

from ..boundary import check_boundary, check_extension
from ..engines.dispatch import kernel
from ..files.stored import stand_in
from ..frozen import freeze, make_plain
from ..inputs import detach, require_integer, require_integers, require_same_kind, tracing
from ..linop.base import LinearOperator
from ..maps import check_maps, check_simplex
from ..types import Array, BoundaryName, Shape
from .mixing import check_channels, check_mix, flat_colours, symmetric_psf

__all__ = ["GKM", "gkm_bank"]

MAX_DIRAC_SIGMA = 0.02
"""Standard deviation, px, up to which a sampled Gaussian is the Dirac: its next tap, exp(-1250), is zero in float64."""


def gkm_bank(max_width: int = 21) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the Gaussian bank of the GKMNet paper: the Dirac, then two Gaussians for each odd kernel width.

    Parameters
    ----------
    max_width : int
        Largest support M, px; odd.

    Returns
    -------
    sigmas : tuple of M floats
        Standard deviations, px: 0, then (m-2)/4 and (m-1)/4 for m = 3, 5, ..., M.
    supports : tuple of M ints
        Kernel widths m, px: the kernels are truncated at about two sigma.

    Raises
    ------
    ValueError
        If `max_width` is even or smaller than 1.

    Notes
    -----
    Truncation makes the widest kernels poor low-pass filters: at M = 21 the last 1-D frequency response has the minimum
    -0.0168, so ``I - B`` has an eigenvalue of 1.0168 and the plain fixed-point iteration cannot converge.

    Examples
    --------
    >>> sigmas, supports = gkm_bank(5)
    >>> sigmas, supports
    ((0.0, 0.25, 0.5, 0.75, 1.0), (1, 3, 3, 5, 5))
    """
    require_integer("gkm_bank", "max_width", max_width, odd=True, unit="px")
    widths = range(3, max_width + 1, 2)
    sigmas = (0.0, *(s for m in widths for s in ((m - 2) / 4, (m - 1) / 4)))
    return sigmas, (1, *(m for m in widths for _ in range(2)))


def _float_rows(sigmas: Any) -> tuple[Any, bool]:
    """Return `sigmas` as tuples of floats, and whether there is one row for each colour."""
    try:
        rows = sigmas.tolist() if hasattr(sigmas, "tolist") else list(sigmas)
        if any(hasattr(s, "requires_grad") for s in rows):
            raise ValueError("GKM: expected one tensor of sigmas, got a sequence of tensors; stack them")
        if rows and isinstance(rows[0], Sequence):
            return tuple(tuple(float(s) for s in row) for row in rows), True
        return tuple(float(s) for s in rows), False
    except TypeError:
        raise ValueError(f"GKM: expected sigmas as a sequence of numbers (px), got {sigmas!r}") from None


@final
@dataclass(frozen=True, eq=False, repr=False)
class GKM(LinearOperator):
    """Gaussian kernel mixture: each output pixel has its own weighted sum of Gaussians.

    Parameters
    ----------
    beta : array of shape (*B, K, H, W)
        Coefficient maps, the same for all colours. If they are on the simplex over K, every pixel has a PSF (see
        `validate`), but any values are allowed.
    sigmas : sequence of K floats, array of shape (K,), or one row for each colour: (C, K)
        Standard deviations, px; 0 is the Dirac. An array of `beta`'s namespace is differentiable (torch) and needs
        explicit `supports`; floats keep the dtype of `beta`.
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.
    supports : sequence of K odd ints, optional
        Kernel widths, px; by default 2 ceil(3 sigma) + 1, see `widths`. Smaller ones truncate the Gaussians.
    mix : array of shape (D, C, K), optional
        Weights of a channel mix after each Gaussian; by default the colours are not mixed.

    Raises
    ------
    ValueError
        K of beta, sigmas, supports and mix disagree; a negative or non-finite sigma; an even support; tensor sigmas
        without supports; an extension beyond the limit of the boundary.
    TypeError
        Arrays of different namespaces, dtypes or devices.

    Notes
    -----
    forward  ``y_d = sum_k beta_k . sum_c mix_dck (g_ck * x_c)``: the weights follow the blur, so that each output pixel
    has its own PSF.  adjoint  ``x_c = E^T sum_k g_ck^T sum_d mix_dck (beta_k . y_d)`` with E the extension.

    ``g(sigma) = exp(-t^2 / 2 sigma^2)`` at integer t, truncated to its support and divided by its sum, along rows and
    along columns. Cost: O(sum of supports) per pixel; memory O(image).

    References
    ----------
    Quan, Wu, Ji, "Gaussian Kernel Mixture Network for Single Image Defocus Deblurring", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> beta = np.full((2, 6, 8), 0.5)
    >>> A = GKM(beta, sigmas=(0.0, 1.5))
    >>> A.in_shape, A.halo, bool(np.allclose(A(np.ones((3, 6, 8))), 1.0))
    ((3, 6, 8), 5, True)
    """

    _maps: ClassVar[str] = "beta"

    beta: Array
    _: KW_ONLY
    sigmas: Any
    channels: int = 3
    boundary: BoundaryName = "reflect"
    supports: tuple[int, ...] | None = None
    mix: Array | None = None
    _table: Array | None = field(init=False, default=None)  # the taps, where sigmas are floats

    def __post_init__(self) -> None:
        check_maps("GKM", "beta", self.beta)
        check_boundary(self.boundary, "GKM")
        check_channels("GKM", self.channels)
        levels = self.beta.shape[-3]
        if self.tensor_sigmas:
            require_same_kind("GKM", "sigmas", self.sigmas, "beta", self.like)
            xp, values = array_namespace(self.sigmas), detach(self.sigmas)
            if not tracing() and not bool(xp.all(xp.isfinite(values) & (values >= 0))):
                raise ValueError("GKM: expected finite sigmas >= 0 px, got a tensor with values that are not")
            shape = tuple(self.sigmas.shape)
            if self.supports is None:
                raise ValueError("GKM: expected explicit supports with tensor sigmas, got None; pass odd widths in px")
        else:
            rows, per_colour = _float_rows(self.sigmas)
            freeze(self, sigmas=rows)
            shape = (len(rows), len(rows[0])) if per_colour else (len(rows),)
            flat = [s for row in rows for s in row] if per_colour else list(rows)
            if not all(0 <= s < float("inf") for s in flat):
                raise ValueError(f"GKM: expected finite sigmas >= 0 px, got {flat}")
            if per_colour and len({len(row) for row in rows}) > 1:
                raise ValueError("GKM: expected as many sigmas for each colour, got rows of different lengths")
        if shape[-1] != levels or len(shape) > 2 or (len(shape) == 2 and shape[0] != self.channels):
            raise ValueError(
                f"GKM: expected sigmas of shape ({levels},) or ({self.channels}, {levels}) to match K = {levels} of "
                f"beta {tuple(self.beta.shape)}, got {shape}; is beta (*B, K, H, W)?"
            )
        if self.supports is not None:
            freeze(self, supports=require_integers("GKM", "supports", self.supports))
        self._check_supports(levels)
        check_mix("GKM", self.mix, self.like, self.channels, levels)
        check_extension(self.in_shape, (self.halo,) * 2, (self.halo,) * 2, self.boundary, "GKM")
        if not self.tensor_sigmas:
            freeze(self, _table=make_plain(self._float_taps))

    def _check_supports(self, levels: int) -> None:
        supports = self.widths
        if len(supports) != levels:
            raise ValueError(f"GKM: expected one support for each of K = {levels} kernels, got {len(supports)}")
        if any(n < 1 or n % 2 == 0 for n in supports):
            raise ValueError(f"GKM: expected odd supports >= 1 px (a Gaussian has a centre), got {supports}")

    @property
    def tensor_sigmas(self) -> bool:
        """Whether sigmas is an array of the namespace of beta rather than floats."""
        return is_array_api_obj(self.sigmas) and not is_numpy_array(self.sigmas)

    @property
    def in_shape(self) -> Shape:
        return (self.channels, *self.beta.shape[-2:])

    @property
    def out_shape(self) -> Shape:
        return (self.channels if self.mix is None else self.mix.shape[0], *self.beta.shape[-2:])

    @property
    def batch_shape(self) -> Shape:
        return tuple(self.beta.shape[:-3])

    @property
    def like(self) -> Array:
        return stand_in(self.beta)

    @property
    def halo(self) -> int:
        return max(self.widths) // 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Kernel widths in use, px: `supports` where they were given, else 2 ceil(3 sigma) + 1."""
        if self.supports is not None:
            return self.supports
        rows = self.sigmas if isinstance(self.sigmas[0], tuple) else (self.sigmas,)
        return tuple(2 * ceil(3 * max(column)) + 1 for column in zip(*rows, strict=True))

    @property
    def half_widths(self) -> tuple[int, ...]:
        """How far each kernel reaches from its centre, px."""
        return tuple(n // 2 for n in self.widths)

    def taps(self) -> Array:
        """Return the one-sided taps of the kernels, centre first: (1 or C, K, halo + 1), zero beyond each support.

        The two-sided taps of a kernel sum to one.
        """
        return _tensor_taps(self.sigmas, self.half_widths) if self._table is None else self._table

    def _float_taps(self) -> Array:
        rows = self.sigmas if isinstance(self.sigmas[0], tuple) else (self.sigmas,)
        table = [[_taps(s, half, self.halo) for s, half in zip(row, self.half_widths, strict=True)] for row in rows]
        xp = array_namespace(self.like)
        return xp.asarray(table, dtype=self.beta.dtype, device=device(self.like))

    def _forward(self, x: Array) -> Array:
        run = kernel("gaussian_mixture", x)
        return run(x, self.beta, self.taps(), self.half_widths, self.boundary, self.mix)

    def _adjoint(self, y: Array) -> Array:
        run = kernel("gaussian_mixture_adjoint", y)
        return run(y, self.beta, self.taps(), self.half_widths, self.boundary, self.mix)

    def _psf_at(self, row: int, col: int) -> Array:
        return flat_colours(symmetric_psf(self.taps(), self.beta[..., :, row, col], self.mix))

    def validate(self) -> Self:
        check_simplex("GKM", "beta", self.beta)
        return self


def _taps(sigma: float, half: int, halo: int) -> tuple[float, ...]:
    """Return one-sided taps up to `half`, then zeros up to `halo`."""
    if sigma <= MAX_DIRAC_SIGMA or half == 0:
        return (1.0,) + (0.0,) * halo
    values = [exp(-0.5 * (t / sigma) * (t / sigma)) for t in range(half + 1)]
    total = values[0] + 2 * sum(values[1:])
    return (*(v / total for v in values), *(0.0,) * (halo - half))


def _tensor_taps(sigmas: Array, halves: tuple[int, ...]) -> Array:
    """Return the taps for an array of sigmas, (K,) or (C, K), as a differentiable array (1 or C, K, halo + 1)."""
    xp = array_namespace(sigmas)
    where = {"dtype": sigmas.dtype, "device": device(sigmas)}
    t = xp.arange(max(halves) + 1, **where)
    inside = t[None, :] <= xp.asarray(halves, **where)[:, None]
    sigmas = (sigmas if sigmas.ndim == 2 else sigmas[None, :])[:, :, None]
    wide = sigmas > MAX_DIRAC_SIGMA
    safe = xp.where(wide, sigmas, xp.ones_like(sigmas))  # no division by zero, whose gradient would be NaN
    values = xp.where(wide & inside, xp.exp(-0.5 * (t / safe) ** 2), xp.zeros_like(safe * t))
    values = xp.where(t == 0, xp.ones_like(values), values)
    return values / (2 * xp.sum(values, axis=-1, keepdims=True) - 1)
