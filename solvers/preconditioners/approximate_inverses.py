"""Preconditioners: cheap approximate inverses of A^T A + rho I, and of A itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from blurphys.analysis.reach import measure_reach
from blurphys.linop.base import LinearOperator
from blurphys.linop.windows import leaves

from ..core.arrays import to_host
from ..core.checks import check_count, check_number
from ..core.types import Array, Preconditioner
from .tiles import Tiles

__all__ = ["diagonal", "local_fourier"]


def diagonal(A: LinearOperator, *, rho: float, spacing: int = 6, seed: int = 0) -> Preconditioner:
    """Return r -> r / diag(A^T A + rho I), with the diagonal estimated from random signs on a lattice.

    Parameters
    ----------
    A : LinearOperator
        The blur, (C, H, W) -> (D, H, W).
    rho : float
        The multiple of the identity, zero or larger.
    spacing : int
        Spacing of the lattice, px. The diagonal is exact (one channel, or colours that do not mix) if this exceeds
        twice the halo of A; otherwise neighbours add noise.
    seed : int
        Seed of the random signs.

    Returns
    -------
    callable
        Symmetric positive definite, for any batch.

    Raises
    ------
    ValueError
        A not a LinearOperator; rho or spacing out of range; a diagonal that is not positive.

    Notes
    -----
    For an image v of random signs on a lattice, and zero elsewhere, v . A^T A v is the diagonal there plus the
    crosstalk between lattice points. A blur's diagonal varies much less than its frequency response, so this helps
    where the gain of A varies (vignetting, masks); against blur use `local_fourier`. Cost: spacing^2 applications of A
    and of its adjoint, once; then one multiplication per call.

    References
    ----------
    Tang, J. M. and Saad, Y., A probing method for computing the diagonal of a matrix inverse, Numerical Linear Algebra
    with Applications 19(3), 2012 (probing with lattices, there for inverses).
    """
    name = "diagonal"
    xp, where = _location(name, A)
    rho = check_number(name, "rho", rho, positive=False)
    check_count(name, "spacing", spacing, least=1)
    rng = np.random.default_rng(seed)
    shape = (*A.batch_shape, *A.in_shape)
    total: Array = xp.zeros(shape, **where)
    for i in range(min(spacing, shape[-2])):
        for j in range(min(spacing, shape[-1])):
            probe = np.zeros(shape)
            lattice = probe[..., i::spacing, j::spacing]
            lattice[...] = rng.choice([-1.0, 1.0], lattice.shape)
            v = xp.asarray(probe, **where)
            total = total + v * A.adjoint(A.forward(v))
    # the noise may make an entry negative; the true diagonal is not
    mean = xp.mean(total, axis=(-3, -2, -1), keepdims=True)
    entries = xp.maximum(total, 0.01 * mean) + rho
    if not bool(xp.all(entries > 0)):
        raise ValueError(f"{name}: expected a positive diagonal, but A maps everything to zero and rho is {rho:g}.")
    inverse = 1 / entries

    def apply(r: Array) -> Array:
        return inverse * r

    return apply


def local_fourier(
    A: LinearOperator,
    *,
    rho: float,
    tile: int = 16,
    overlap: int | None = None,
    margin: int = 8,
    inverse_of: Literal["normal", "operator"] = "normal",
) -> Preconditioner:
    """Return an approximate inverse of A^T A + rho I that treats A as a convolution around every tile.

    Parameters
    ----------
    A : LinearOperator
        The blur, (C, H, W) -> (D, H, W) with equal height and width on both sides; several views and mixed channels are
        allowed.
    rho : float
        The multiple of the identity, positive.
    tile : int
        Spacing of the tiles, px. Smaller tiles follow maps that vary faster, and cost more.
    overlap : int, optional
        Width over which one tile blends into the next, px, at most `tile`; `tile` if omitted.
    margin : int
        How far beyond its tile a filter sees, px.
    inverse_of : {"normal", "operator"}
        "normal": M close to (A^T A + rho I)^-1, symmetric positive definite, for `cg` and `hqs`. "operator": M close to
        (A^T A + rho I)^-1 A^T, a local Wiener filter, which approximates the inverse of a square A and is not
        symmetric: for `gmres` and `bicgstab`.

    Returns
    -------
    callable
        r -> M r for images of any batch that A takes; differentiable in r.

    Raises
    ------
    ValueError
        A not a LinearOperator, or one whose sides differ in height or width; rho, tile, overlap or margin out of range;
        "operator" for an A that is not square.

    Notes
    -----
    B = sum_t p_t F^-1 (H_t^* H_t + rho I)^(-1/2) F R_t E and M = B B^T. E extends the image by the boundary rule of A,
    R_t cuts a square out of it, F is the discrete Fourier transform on the square, H_t the frequency response (a D x C
    matrix for every frequency) of the PSF at its centre, and p_t are windows that sum to one. Each output pixel of B
    thus has its own filter, blended from those of four tiles, as a blur in gather form does. The PSFs of all tiles are
    obtained from a few applications of the adjoint to a lattice of impulses. "operator" is the sum with (H_t^* H_t +
    rho I)^-1 H_t^* in place of the root. It is weak for maps that jump within a tile and for PSFs with zeros in their
    frequency response (a disk): solvers may then take more steps than without a preconditioner. An unknown halo is
    measured with 13 applications; an unknown boundary rule is taken to be "zero".
    Cost: D applications of the adjoint, more if PSFs are larger than a tile, once; then, per call, batched FFTs of
    ((tile + overlap + 2 margin) / tile)^2 times the image, two for B and two for B^T.

    References
    ----------
    Nagy, J. G. and O'Leary, D. P., Restoring images degraded by spatially variant blur, SIAM Journal on Scientific
    Computing 19(4), 1998 (local circulant preconditioners; the blended roots are ours).

    Examples
    --------
    >>> import numpy as np, blurphys as bp, solvers
    >>> A = bp.Convolution(bp.psf.gaussian(1.5, 9), shape=(1, 64, 96))
    >>> normal = A.H @ A + 1e-3 * bp.Identity(A.in_shape)
    >>> b = np.random.default_rng(0).random(A.in_shape)
    >>> plain = solvers.cg(normal, b, tol=1e-4, max_iterations=500)
    >>> M = solvers.local_fourier(A, rho=1e-3)
    >>> solvers.cg(normal, b, preconditioner=M, tol=1e-4).iterations < plain.iterations / 3
    True
    """
    name = "local_fourier"
    xp, where = _location(name, A)
    rho = check_number(name, "rho", rho)
    check_count(name, "tile", tile, least=4)
    overlap = tile if overlap is None else check_count(name, "overlap", overlap)
    check_count(name, "margin", margin)
    if overlap > tile:
        raise ValueError(f"{name}: overlap must be at most tile = {tile}, got {overlap}.")
    if inverse_of not in ("normal", "operator"):
        raise ValueError(f'{name}: inverse_of must be "normal" or "operator", got {inverse_of!r}.')
    if A.in_shape[1:] != A.out_shape[1:]:
        raise ValueError(f"{name} needs images of equal size on both sides, but A maps {A.in_shape} to {A.out_shape}.")
    if inverse_of == "operator" and A.in_shape != A.out_shape:
        raise ValueError(f'{name}: inverse_of="operator" needs a square A, but A maps {A.in_shape} to {A.out_shape}.')
    _, height, width = A.in_shape
    tiles = Tiles(height, width, tile, overlap, margin, _boundary(A))
    filters, mixed = _filters(_responses(A, tiles, where), rho, inverse_of)
    factors = _to_device(xp, filters, where)
    window = xp.asarray(tiles.window, **where)
    forward, backward = _transforms(xp, window, tiles.size)

    def filtered(squares: Array) -> Array:
        spectrum = forward(squares)
        if mixed:
            return backward(xp.sum(factors * spectrum[..., None, :, :, :, :, :], axis=-5))
        return backward(factors * spectrum)

    def gather(r: Array) -> Array:
        return tiles.join(window * filtered(tiles.cut(r)))

    def root_product(r: Array) -> Array:
        return gather(tiles.cut_adjoint(filtered(window * tiles.join_adjoint(r))))

    return root_product if inverse_of == "normal" else gather


def _location(name: str, A: Any) -> tuple[Any, dict[str, Any]]:
    """Namespace, dtype and device of an operator."""
    if not isinstance(A, LinearOperator):
        raise ValueError(f"{name}: expected an operator of blurphys, got {type(A).__name__}.")
    like = A.like
    if like is None:
        from array_api_compat import numpy as xp

        return xp, {"dtype": np.dtype("float64"), "device": "cpu"}
    return array_namespace(like), {"dtype": like.dtype, "device": device(like)}


def _boundary(A: LinearOperator) -> str:
    """The boundary rule of A; "zero" if it has several or none is known, which costs steps but is never wrong."""
    rules = {getattr(leaf, "boundary", "zero") for leaf in leaves(A).values() if leaf.halo != 0}
    return "reflect" if not rules else rules.pop() if len(rules) == 1 else "zero"


def _responses(A: LinearOperator, tiles: Tiles, where: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Frequency responses of the PSFs at the centres of the tiles, (*B, D, C, th, tw, N, N // 2 + 1), on the host."""
    xp, _ = _location("local_fourier", A)
    N = tiles.size
    halo = measure_reach(A) or 0 if A.halo is None else A.halo
    if isinstance(halo, bool) or halo != int(halo) or halo < 0:
        raise ValueError(f"local_fourier: expected an operator whose halo is a whole number >= 0 of px, got {halo!r}")
    halo = int(halo)
    rows, cols = tiles.centres(halo)
    half = min(halo, (N - 1) // 2)  # PSFs larger than a square are cut
    offsets = np.arange(-half, half + 1)
    found = np.zeros((*A.batch_shape, A.out_shape[0], A.in_shape[0], tiles.down, tiles.across, N, N))
    for some_rows in _group_separated(rows, halo):
        for some_cols in _group_separated(cols, halo):
            for d in range(A.out_shape[0]):
                impulses = np.zeros((*A.batch_shape, *A.out_shape))
                impulses[..., d, rows[some_rows][:, None], cols[some_cols][None, :]] = 1.0
                seen = to_host(A.adjoint(xp.asarray(impulses, **where))).astype(np.float64)
                for i in some_rows:
                    for j in some_cols:
                        r, c = rows[i] - offsets, cols[j] - offsets
                        ok_r, ok_c = (r >= 0) & (r < tiles.height), (c >= 0) & (c < tiles.width)
                        psf = seen[..., r[ok_r][:, None], c[ok_c][None, :]]
                        at = np.ix_(offsets[ok_r] % N, offsets[ok_c] % N)
                        found[..., d, :, i, j, :, :][(..., *at)] = psf
    return np.asarray(np.fft.rfft2(found))


def _group_separated(centres: np.ndarray[Any, Any], halo: int) -> list[list[int]]:
    """Group tiles whose centres are further apart than a PSF is wide: one image holds the impulses of a group."""
    groups: list[list[int]] = []
    for index in range(len(centres)):
        for group in groups:
            if centres[index] - centres[group[-1]] > 2 * halo:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _filters(response: np.ndarray[Any, Any], rho: float, inverse_of: str) -> tuple[np.ndarray[Any, Any], bool]:
    """Return (H^* H + rho)^(-1/2), or its square times H^*, for every frequency, and whether it mixes the colours.

    Shape (*B, C, C, th, tw, N, M) if so, else (*B, C, th, tw, N, M).
    """
    H = np.moveaxis(response, (-6, -5), (-2, -1))  # (*B, th, tw, N, M, D, C)
    C = H.shape[-1]
    adjoint = np.conj(np.swapaxes(H, -1, -2))
    normal = adjoint @ H + rho * np.eye(C)
    if np.abs(normal * (1 - np.eye(C))).max() <= 1e-9 * np.abs(normal).max():
        entries = np.einsum("...cc->...c", normal).real
        found = 1 / np.sqrt(entries) if inverse_of == "normal" else np.einsum("...cc->...c", adjoint) / entries
        return np.moveaxis(found, -1, -5), False
    if inverse_of == "normal":
        values, vectors = np.linalg.eigh(normal)
        found = (vectors / np.sqrt(values)[..., None, :]) @ np.conj(np.swapaxes(vectors, -1, -2))
    else:
        found = np.linalg.solve(normal, adjoint)
    return np.moveaxis(found, (-2, -1), (-6, -5)), True


def _to_device(xp: Any, filters: np.ndarray[Any, Any], where: dict[str, Any]) -> Array:
    """The filters on the device of the operator; real ones as real numbers."""
    if np.isrealobj(filters) or np.abs(filters.imag).max() <= 1e-12 * np.abs(filters).max():
        return xp.asarray(np.ascontiguousarray(filters.real), **where)
    dtype = xp.complex64 if where["dtype"] == xp.float32 else xp.complex128
    return xp.asarray(filters, dtype=dtype, device=where["device"])


def _transforms(xp: Any, like: Array, size: int) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """The real Fourier transform over the last two axes and its inverse; on several cores for NumPy."""
    if is_numpy_array(like):
        import scipy.fft

        return (
            lambda t: scipy.fft.rfft2(t, workers=-1),
            lambda s: scipy.fft.irfft2(s, s=(size, size), workers=-1),
        )
    return (
        lambda t: xp.fft.rfftn(t, axes=(-2, -1)),
        lambda s: xp.fft.irfftn(s, s=(size, size), axes=(-2, -1)),
    )
