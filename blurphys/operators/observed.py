"""`unknown_boundary`: the image as a window of a larger blurred scene, without a boundary rule.

Every boundary rule makes assumptions about the scene outside the frame, from which light enters the image.
`unknown_boundary` instead takes the scene to be larger than the image by the halo of the blur, and returns the operator
from this scene to the image. Solvers then estimate the strip around the frame together with the rest.
"""

from __future__ import annotations

import dataclasses

from array_api_compat import array_namespace

from ..boundary import extend
from ..files.stored import Span
from ..inputs import require_float
from ..linop.algebra import Adjoint, Combination, Composed
from ..linop.base import LinearOperator
from ..linop.elementary import Window, margin_pair
from ..linop.windows import known_halo, leaves, require_operator
from ..types import Array

__all__ = ["extended", "unknown_boundary"]


def unknown_boundary(A: LinearOperator, margin: int | tuple[int, int] | None = None) -> Composed:
    """Return the operator from a larger scene to the image that A returns, without a boundary rule.

    Parameters
    ----------
    A : LinearOperator
        From (C, H, W) to (D, H, W) of the observed frame, with its maps on output pixels: the gather form.
        Combinations are allowed.
    margin : int or (int, int), optional
        Additional rows above and below, columns left and right, of the scene, px; at least the halo of A, which is the
        default. Pixels further out than the halo do not contribute to the image.

    Returns
    -------
    Composed
        ``Window((D, H, W), margin) @ B`` from (C, H + 2 p, W + 2 q) to (D, H, W), with B the blur of the larger scene.

    Raises
    ------
    ValueError
        A has its maps on input pixels (the scatter form, or the adjoint of a gather operator), so that maps outside
        the frame would be needed; A changes H or W; a margin smaller than the halo.
    TypeError
        A, or an operator in it, has no windows.

    Notes
    -----
    forward  ``y = crop(B x)``; adjoint  ``x = B^T (zero-padded y)``. Each output pixel has the same PSF as in A, and no
    pixel of the frame depends on the boundary of the scene, so the model is exact. In a product ``A1 @ A2`` the PSFs of
    A2 are also needed up to the halo of A1 outside the frame; there, those of the nearest pixel of the frame are used.
    The boundary of A has no effect (B has "zero"). Maps on disk are read into memory; `tiled` is removed.

    Such an operator has more unknowns than data: use a solver for any A with an adjoint (`solvers.cgls`,
    `solvers.hqs`), start it from ``extended(y, margin)``, and crop the result with `Window`.
    Cost: that of A on (H + 2 p) x (W + 2 q) pixels.

    References
    ----------
    Almeida, M. S. C. and Figueiredo, M. A. T., Deconvolving images with unknown boundaries using the alternating
    direction method of multipliers, IEEE Transactions on Image Processing 22(8), 2013: the same model y = M A x, M the
    crop, there for uniform blur.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> A = bp.GKM(np.full((2, 20, 30), 0.5), sigmas=(0.0, 1.0))
    >>> U = unknown_boundary(A)
    >>> A.halo, U.in_shape, U.out_shape
    (3, (3, 26, 36), (3, 20, 30))
    """
    owner = "unknown_boundary"
    require_operator(owner, A)
    for leaf in leaves(A).values():
        if not leaf._has_windows:
            raise TypeError(
                f"{owner}: expected an operator of blurphys with windows, or a combination of them, got "
                f"{type(leaf).__name__}; build it for the larger scene and take bp.Window(shape, margin) @ A"
            )
    halo = known_halo(owner, A)
    _check_form(owner, A, transposed=False)
    height, width = A.out_shape[-2:]
    if tuple(A.in_shape[-2:]) != (height, width):
        raise ValueError(f"{owner}: expected an operator that keeps H, W, got {A.in_shape} -> {A.out_shape}")
    rows, cols = margin_pair(owner, halo if margin is None else margin)
    if min(rows, cols) < halo:
        raise ValueError(
            f"{owner}: expected a margin of at least the halo, {halo} px, got ({rows}, {cols}): pixels at the edge "
            f"of the frame would depend on the boundary of the scene"
        )
    taller = A._window(_replicate_edges(height, rows), (slice(0, width),), {})
    larger = taller._window((slice(0, height + 2 * rows),), _replicate_edges(width, cols), {})
    return Composed(Window(A.out_shape, (rows, cols)), _with_zero_boundary(larger, {}))


def extended(y: Array, margin: int | tuple[int, int], *, channels: int | None = None) -> Array:
    """Extend an image by its edge pixels: an initial guess for solvers with `unknown_boundary`.

    Parameters
    ----------
    y : array of shape (..., D, H, W)
        The observed image.
    margin : int or (int, int)
        Rows above and below, columns left and right, px; ``A.halo`` if the operator was made without a margin.
    channels : int, optional
        Channels C of the scene, if y has several views, which are averaged. D has to be a multiple of C.

    Returns
    -------
    array of shape (..., C, H + 2 p, W + 2 q)

    Raises
    ------
    ValueError
        A margin that is negative or not an integer; y without the axes (..., D, H, W); D not a multiple of channels.
    TypeError
        y is not a floating-point array.

    Examples
    --------
    >>> import numpy as np
    >>> extended(np.array([[[1.0, 2.0]]]), (0, 2)).tolist()
    [[[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]]]
    """
    require_float("extended", "y", y)
    if y.ndim < 3:
        raise ValueError(f"extended: expected y of shape (..., D, H, W), got {tuple(y.shape)}")
    sides = margin_pair("extended", margin)
    views = y.shape[-3]
    if channels is not None and channels != views:
        if channels < 1 or views % channels:
            raise ValueError(f"extended: expected channels that divide the {views} of y, got {channels}")
        xp = array_namespace(y)
        shape = (*y.shape[:-3], views // channels, channels, *y.shape[-2:])
        y = xp.mean(xp.reshape(y, shape), axis=-4)
    return extend(y, sides, sides, "replicate") if any(sides) else y + 0.0


def _replicate_edges(size: int, margin: int) -> Span:
    """Return the span of an axis whose first and last pixel are repeated."""
    return (slice(0, 1),) * margin + (slice(0, size),) + (slice(size - 1, size),) * margin


def _with_zero_boundary(A: LinearOperator, done: dict[int, LinearOperator]) -> LinearOperator:
    """Return the operator with the boundary "zero"."""

    def replaced(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(replaced(v) for v in value)
        return _with_zero_boundary(value, done) if isinstance(value, LinearOperator) else value

    if id(A) not in done:
        if isinstance(A, Combination):
            fields = dataclasses.fields(A)  # type: ignore[arg-type]
            done[id(A)] = A._with(**{f.name: replaced(getattr(A, f.name)) for f in fields})
        else:
            done[id(A)] = A._with(boundary="zero") if hasattr(A, "boundary") else A
    return done[id(A)]


def _check_form(owner: str, A: LinearOperator, *, transposed: bool) -> None:
    """Raise ValueError if maps belong to pixels of the scene rather than of the image."""
    if isinstance(A, Adjoint):
        transposed = not transposed
    if isinstance(A, Combination):
        for part in A.parts:
            _check_form(owner, part, transposed=transposed)
        return
    scatter = getattr(A, "form", "gather") == "scatter"
    if A._maps is not None and scatter != transposed:
        what = f"the adjoint of {type(A).__name__}" if transposed else f"{type(A).__name__} in scatter form"
        hint = (
            "take the adjoint afterwards, unknown_boundary(A).H"
            if transposed
            else "build it for the larger scene and take bp.Window(shape, margin) @ A"
        )
        raise ValueError(
            f"{owner}: expected maps on the pixels of the image, but {what} has them on those of the scene, and "
            f"outside the frame they are unknown; {hint}"
        )
