"""SymmetricMixture: a mixture of arbitrary symmetric separable kernels."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Self, final

from array_api_compat import array_namespace

from ..boundary import check_boundary, check_extension
from ..engines.dispatch import kernel
from ..files.stored import stand_in
from ..frozen import freeze
from ..inputs import detach, require_integers, require_same_kind
from ..linop.base import LinearOperator
from ..maps import check_maps, check_simplex
from ..types import Array, BoundaryName, Shape
from .mixing import check_channels, check_mix, flat_colours, symmetric_psf

__all__ = ["SymmetricMixture"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class SymmetricMixture(LinearOperator):
    """Mixture of symmetric separable kernels with arbitrary taps: a generalisation of `GKM`.

    Parameters
    ----------
    beta : array of shape (*B, K, H, W)
        Coefficient maps, the same for all colours.
    taps : array of shape (K, h + 1) or (C, K, h + 1)
        One-sided taps of each kernel, centre first: kernel k is the outer product of
        ``(taps[h], ..., taps[1], taps[0], taps[1], ..., taps[h])`` with itself. Differentiable (torch).
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.
    supports : sequence of K odd ints, optional
        Kernel widths, px, at most 2 h + 1, which is the default. Taps beyond a width are ignored and get no gradient.
    mix : array of shape (D, C, K), optional
        Weights of a channel mix after each kernel; by default the colours are not mixed.

    Raises
    ------
    ValueError
        K of beta, taps, supports and mix disagree; an even or too wide support; an extension beyond the limit.
    TypeError
        Arrays of different namespaces, dtypes or devices.

    Notes
    -----
    forward  ``y_d = sum_k beta_k . sum_c mix_dck (g_ck * x_c)``; the adjoint is its exact transpose. On the simplex
    over K, and with non-negative two-sided taps of unit sum, every pixel has a PSF (see `validate`).
    Cost: O(sum of the supports) per pixel; memory O(image).

    Examples
    --------
    >>> import numpy as np
    >>> A = SymmetricMixture(np.full((2, 6, 8), 0.5), taps=np.array([[1.0, 0.0], [0.5, 0.25]]))
    >>> A.halo, bool(np.allclose(A(np.ones((3, 6, 8))), 1.0))
    (1, True)
    """

    _maps: ClassVar[str] = "beta"

    beta: Array
    _: KW_ONLY
    taps: Array
    channels: int = 3
    boundary: BoundaryName = "reflect"
    supports: tuple[int, ...] | None = None
    mix: Array | None = None

    def __post_init__(self) -> None:
        owner = "SymmetricMixture"
        check_maps(owner, "beta", self.beta)
        check_boundary(self.boundary, owner)
        check_channels(owner, self.channels)
        require_same_kind(owner, "taps", self.taps, "beta", self.like)
        levels, shape = self.beta.shape[-3], tuple(self.taps.shape)
        colours = len(shape) == 3 and shape[:2] == (self.channels, levels)
        if not (colours or (len(shape) == 2 and shape[0] == levels)) or shape[-1] < 1:
            raise ValueError(
                f"{owner}: expected taps of shape ({levels}, h + 1) or ({self.channels}, {levels}, h + 1) to match K = "
                f"{levels} of beta {tuple(self.beta.shape)}, got {shape}; one-sided taps, centre first"
            )
        widest = 2 * shape[-1] - 1
        given = (widest,) * levels if self.supports is None else require_integers(owner, "supports", self.supports)
        if len(given) != levels or any(n < 1 or n > widest or n % 2 == 0 for n in given):
            raise ValueError(
                f"{owner}: expected {levels} odd supports from 1 to the {widest} px of the taps, got {given}"
            )
        freeze(self, supports=given)
        check_mix(owner, self.mix, self.like, self.channels, levels)
        check_extension(self.in_shape, (self.halo,) * 2, (self.halo,) * 2, self.boundary, owner)

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
    def half_widths(self) -> tuple[int, ...]:
        """How far each kernel reaches from its centre, px."""
        return tuple(n // 2 for n in self.supports or ())

    @property
    def halo(self) -> int:
        return max(self.half_widths)

    def _used_taps(self) -> Array:
        """One-sided taps up to the widest support, (1 or C, K, halo + 1), zero beyond each."""
        xp = array_namespace(self.like)
        taps = (self.taps if self.taps.ndim == 3 else self.taps[None, ...])[..., : self.halo + 1]
        if len(set(self.half_widths)) == 1:
            return taps
        inside = [[float(t <= half) for t in range(self.halo + 1)] for half in self.half_widths]
        return taps * xp.asarray(inside, dtype=taps.dtype, device=taps.device)

    def _forward(self, x: Array) -> Array:
        run = kernel("gaussian_mixture", x)
        return run(x, self.beta, self._used_taps(), self.half_widths, self.boundary, self.mix)

    def _adjoint(self, y: Array) -> Array:
        run = kernel("gaussian_mixture_adjoint", y)
        return run(y, self.beta, self._used_taps(), self.half_widths, self.boundary, self.mix)

    def _psf_at(self, row: int, col: int) -> Array:
        return flat_colours(symmetric_psf(self._used_taps(), self.beta[..., :, row, col], self.mix))

    def validate(self) -> Self:
        """Check that beta lies on the simplex and the two-sided taps are finite, non-negative and sum to one."""
        check_simplex("SymmetricMixture", "beta", self.beta)
        xp, taps = array_namespace(self.like), detach(self._used_taps())
        lines = xp.concat([xp.flip(taps[:, :, 1:], axis=-1), taps], axis=-1)
        check_simplex("SymmetricMixture", "taps", xp.permute_dims(lines, (2, 0, 1)))
        return self
