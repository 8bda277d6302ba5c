"""RKR: the recursive kernel representation."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Self, final

from array_api_compat import array_namespace, device

from ..boundary import check_boundary, check_extension
from ..engines.dispatch import kernel
from ..engines.reference.convolve import conv1d_adjoint
from ..files.stored import stand_in
from ..inputs import require_same_kind
from ..linop.base import LinearOperator
from ..maps import check_maps, check_simplex
from ..types import Array, BoundaryName, Shape
from .mixing import check_channels, check_mix, flat_colours, mixed_psf, padded_psf

__all__ = ["RKR"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class RKR(LinearOperator):
    """Recursive kernel representation: kernels of growing size, each one the previous one convolved with a small atom.

    Parameters
    ----------
    gamma : array of shape (*B, J, H, W)
        Coefficient maps, the same for all colours.
    atoms : array of shape (J-1, t) or (J-1, C, t)
        1-D taps, t odd; the kernel of step j is the outer product ``a_j a_j^T``. With taps of unit sum and gamma on the
        simplex, every pixel has a PSF.
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.
    stagewise : bool
        False: extend once and filter the extended image (exact for the cascade). True: extend again before each atom,
        as the authors' networks do; the same for ``circular``.
    mix : array of shape (D, C, J), optional
        Weights of a channel mix after each kernel; by default the colours are not mixed.

    Raises
    ------
    ValueError
        J of gamma and atoms disagree; an even number of taps; atoms of the wrong shape; an extension beyond the limit.
    TypeError
        Arrays of different namespaces, dtypes or devices.

    Notes
    -----
    forward  ``u_1 = x``, ``u_j = (a_j a_j^T) * u_(j-1)``, ``y = sum_j gamma_j . u_j``.
    adjoint  ``v = gamma_J . y``, then ``v = (a_j a_j^T)^T v + gamma_(j-1) . y`` for j = J..2, then the extension's
    transpose: Horner's rule in reverse, without storing intermediate images.

    Cost: O(J t) per pixel for supports up to (J-1)(t-1) + 1; memory O(image). A symmetric atom (a, 1-2a, a) has a
    non-negative frequency response only for a <= 1/4.

    References
    ----------
    Quan, Wu, Ji, "Neumann Network with Recursive Kernels for Single Image Defocus Deblurring", CVPR 2023.

    Examples
    --------
    >>> import numpy as np
    >>> A = RKR(np.full((3, 6, 8), 1 / 3), atoms=np.array([[0.25, 0.5, 0.25], [0.2, 0.6, 0.2]]))
    >>> A.halo, bool(np.allclose(A(np.ones((3, 6, 8))), 1.0))
    (2, True)
    """

    _maps: ClassVar[str] = "gamma"

    gamma: Array
    _: KW_ONLY
    atoms: Array
    channels: int = 3
    boundary: BoundaryName = "reflect"
    stagewise: bool = False
    mix: Array | None = None

    def __post_init__(self) -> None:
        check_maps("RKR", "gamma", self.gamma, "(*B, J, H, W)")
        check_boundary(self.boundary, "RKR")
        check_channels("RKR", self.channels)
        require_same_kind("RKR", "atoms", self.atoms, "gamma", self.like)
        levels = self.gamma.shape[-3]
        shape = tuple(self.atoms.shape)
        if len(shape) not in (2, 3) or shape[0] != levels - 1:
            raise ValueError(
                f"RKR: expected atoms of shape ({levels - 1}, t) or ({levels - 1}, {self.channels}, t) for J = "
                f"{levels} maps in gamma {tuple(self.gamma.shape)}, got {shape}; the first kernel is the Dirac and has "
                f"no atom"
            )
        if len(shape) == 3 and shape[1] != self.channels:
            raise ValueError(f"RKR: expected atoms for {self.channels} colours on axis 1, got shape {shape}")
        if shape[-1] % 2 == 0:
            raise ValueError(f"RKR: expected atoms with an odd number of taps (they have a centre), got {shape[-1]}")
        check_mix("RKR", self.mix, self.like, self.channels, levels)
        reach = shape[-1] // 2 if self.stagewise else self.halo
        check_extension(self.in_shape, (reach, reach), (reach, reach), self.boundary, "RKR")

    @property
    def in_shape(self) -> Shape:
        return (self.channels, *self.gamma.shape[-2:])

    @property
    def out_shape(self) -> Shape:
        return (self.channels if self.mix is None else self.mix.shape[0], *self.gamma.shape[-2:])

    @property
    def batch_shape(self) -> Shape:
        return tuple(self.gamma.shape[:-3])

    @property
    def like(self) -> Array:
        return stand_in(self.gamma)

    @property
    def halo(self) -> int:
        return (self.gamma.shape[-3] - 1) * (self.atoms.shape[-1] // 2)

    def _colour_atoms(self) -> Array:
        return self.atoms if self.atoms.ndim == 3 else self.atoms[:, None, :]

    def _forward(self, x: Array) -> Array:
        run = kernel("recursive_mixture", x)
        return run(x, self.gamma, self._colour_atoms(), self.boundary, self.stagewise, self.mix)

    def _adjoint(self, y: Array) -> Array:
        run = kernel("recursive_mixture_adjoint", y)
        return run(y, self.gamma, self._colour_atoms(), self.boundary, self.stagewise, self.mix)

    def _psf_at(self, row: int, col: int) -> Array:
        xp, atoms = array_namespace(self.like), self._colour_atoms()
        size = 2 * self.halo + 1
        psf = xp.ones((atoms.shape[1], 1, 1), dtype=self.gamma.dtype, device=device(self.like))
        total: Array = None
        for j in range(self.gamma.shape[-3]):
            if j:
                flipped = xp.flip(atoms[j - 1, :, :], axis=-1)  # the transpose of a correlation is a convolution
                psf = conv1d_adjoint(conv1d_adjoint(psf, flipped, -1), flipped, -2)
            full = padded_psf(psf, size)
            part = self.gamma[..., j, row, col][..., None, None, None] * mixed_psf(full, self.mix, j)
            total = part if total is None else total + part
        return flat_colours(total)

    def validate(self) -> Self:
        """Check that gamma lies on the simplex and the atoms are finite, non-negative and sum to one."""
        check_simplex("RKR", "gamma", self.gamma)
        xp = array_namespace(self.atoms)
        check_simplex("RKR", "atoms", xp.permute_dims(self._colour_atoms(), (2, 0, 1)))
        return self
