"""Operators derived from another: a part of the image, other fields, another precision, or for another package."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self, cast, final

from .extensions import extensions

if TYPE_CHECKING:
    from .base import LinearOperator

__all__ = ["Derived"]


class Derived:
    """The part of `LinearOperator` with the methods that return a changed operator, or one of another package."""

    @final
    def crop(self, rows: slice, cols: slice) -> LinearOperator:
        """Return the operator of a part of the image: the same PSFs at the same points of the scene.

        Parameters
        ----------
        rows, cols : slice
            The part, as in indexing (bounds may be negative or missing), without a step; at least one pixel.

        Returns
        -------
        LinearOperator
            Of the same kind, for images (..., C, h, w). Its maps are windows of the maps of this one: views if they are
            in memory, read if they are on disk. PSFs that depend on the position in the frame keep their position.

        Raises
        ------
        ValueError
            An empty part, a step, or a part too small for its boundary rule to extend it by the halo.
        TypeError
            Not slices; an operator, or one in a combination, that has no windows: one of your own has to name its maps,
            see `LinearOperator`.

        Notes
        -----
        For a full image ``x``, ``A.crop(rows, cols)(x[..., rows, cols])`` equals ``A(x)[..., rows, cols]`` except
        within `halo` px of those edges of the part that lie inside the frame; so does the adjoint. There the boundary
        rule replaces pixels that were cut off: to avoid it, crop wider by `halo` + 1 px and cut the result. Edges of
        the frame are treated as before, except that under ``circular`` only a full axis wraps around. An operator with
        unknown boundary (`unknown_boundary`) is cropped in its output, and its input shrinks accordingly.

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
        """Return the operator in another precision or on another device, with the operators and learned banks in it.

        Parameters
        ----------
        *where
            A dtype, a device, both, or an array with both: ``A.to("cuda")``, ``A.to(torch.float64)``, ``A.to(x)``.
        dtype : dtype or str, optional
            float32 or float64, of any namespace or by name.
        device : device or str, optional
            A device of the operator's namespace; NumPy has "cpu" only, which converts CuPy arrays to NumPy.

        Returns
        -------
        LinearOperator
            Of the same kind; the operator itself if nothing changes, as for tensors. Arrays that were shared stay
            shared, and gradients of torch flow through the conversion.

        Raises
        ------
        TypeError
            Another dtype; maps on disk; an operator of your own that has arrays and is not a dataclass.
        ValueError
            A device that the namespace does not have; values that the constructor rejects in the new precision.

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
        """Return a `deepinv.physics.LinearPhysics` on tensors (B, C, H, W); needs deepinv and a torch operator."""
        return extensions.as_deepinv(cast("LinearOperator", self))
