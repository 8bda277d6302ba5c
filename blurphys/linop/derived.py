"""What is made of one operator: that of a part of the picture, in another precision, with other maps, elsewhere."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self, cast, final

from .extensions import extensions

if TYPE_CHECKING:
    from .base import LinearOperator

__all__ = ["Derived"]


class Derived:
    """The methods of `LinearOperator` that return another operator of the same kind, or of another package."""

    @final
    def crop(self, rows: slice, cols: slice) -> LinearOperator:
        """Return the operator of a part of the picture: the same PSFs at the same points of the scene.

        Parameters
        ----------
        rows, cols : slice
            Which part, as for indexing (negative and missing bounds too), without a step; at least one pixel.

        Returns
        -------
        LinearOperator
            Of the same kind, on images (..., C, h, w). Its maps are those of the window, views of the ones here where
            they are in memory, and read where they lie on disk. PSFs that depend on the place in the frame stay where
            they are.

        Raises
        ------
        ValueError
            An empty part, a step, or a part so small that the boundary rule cannot extend it by the halo.
        TypeError
            Something else than slices; an operator (or one under it) that does not say what it does on a window: an
            own one has to name its maps, see `LinearOperator`.

        Notes
        -----
        With ``x`` a whole image, ``A.crop(rows, cols)(x[..., rows, cols])`` equals ``A(x)[..., rows, cols]`` further
        than `halo` px from those outermost rows and columns of the part that are not the frame's; so does the adjoint.
        Nearer, the boundary rule acts at edges that the scene does not have: crop wider by the halo and one, and cut
        the result. The edges of the frame stay what they were, but under ``circular``, where only a whole axis wraps
        around. An operator that observes a window of a larger scene (`unknown_boundary`) is cropped in what is
        observed, and takes the scene that belongs to it.

        Examples
        --------
        >>> import numpy as np, blurphys as bp
        >>> A = bp.GKM(np.full((2, 60, 80), 0.5), sigmas=(0.0, 1.5))
        >>> x = np.random.default_rng(0).random((3, 60, 80))
        >>> part = A.crop(slice(20, 50), slice(-40, None))
        >>> part.in_shape, part.halo
        ((3, 30, 40), 5)
        >>> bool(np.allclose(part(x[:, 20:50, -40:])[:, 5:-5, 5:], A(x)[:, 25:45, 45:], rtol=0, atol=1e-14))
        True
        """
        return extensions.crop(cast("LinearOperator", self), rows, cols)

    @final
    def replace(self, **changes: Any) -> Self:
        """Return a new operator with some fields changed, for example ``A.replace(beta=new_maps)``."""
        if not dataclasses.is_dataclass(self):
            raise TypeError(f"{type(self).__name__}.replace: this operator has no named fields")
        names = [f.name for f in dataclasses.fields(self) if f.init]
        unknown = sorted(set(changes) - set(names))
        if unknown:
            raise ValueError(f"{type(self).__name__}.replace: expected fields among {names}, got {unknown}")
        return dataclasses.replace(self, **changes)

    @final
    def to(self, *where: Any, dtype: Any = None, device: Any = None) -> Self:
        """Return the operator in another precision or on another device, with all operators and learned banks in it.

        Parameters
        ----------
        *where
            A dtype, a device, both, or an array that has them: ``A.to("cuda")``, ``A.to(torch.float64)``, ``A.to(x)``.
        dtype : dtype or str, optional
            float32 or float64, of any namespace or by name.
        device : device or str, optional
            One of the operator's namespace; NumPy knows "cpu" only, and CuPy goes to NumPy by it.

        Returns
        -------
        LinearOperator
            Of the same kind; the operator itself where nothing changes, as tensors do. What it shares stays shared, and
            torch records the conversion.

        Raises
        ------
        TypeError
            Another dtype; maps on disk; an own operator that is no dataclass and has arrays.
        ValueError
            A device that the namespace does not have; values that the constructor refuses in the new precision.

        Examples
        --------
        >>> import numpy as np, blurphys as bp
        >>> A = bp.GKM(np.full((2, 6, 8), 0.5), sigmas=(0.0, 1.5))
        >>> A.dtype, A.to("float32").dtype
        (dtype('float64'), dtype('float32'))
        """
        return cast(Self, extensions.convert(cast("LinearOperator", self), where, dtype, device))

    @final
    def as_scipy(self) -> Any:
        """Return a `scipy.sparse.linalg.LinearOperator` on flattened images; see `blurphys.adapters`."""
        return extensions.as_scipy(cast("LinearOperator", self))

    @final
    def as_pylops(self) -> Any:
        """Return a `pylops.LinearOperator` on flattened images; needs PyLops."""
        return extensions.as_pylops(cast("LinearOperator", self))

    @final
    def as_deepinv(self) -> Any:
        """Return a `deepinv.physics.LinearPhysics` on (B, C, H, W) tensors; needs deepinv and a torch operator."""
        return extensions.as_deepinv(cast("LinearOperator", self))
