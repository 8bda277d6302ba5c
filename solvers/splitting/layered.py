"""Restoration of layers that occlude each other: the colours of all layers, including their hidden parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, final

import numpy as np
from array_api_compat import array_namespace

from blurphys.inputs import require_same_kind
from blurphys.operators.layered import LayeredDefocus
from blurphys.operators.packed_layers import PackedLayers

from ..core.arrays import to_host
from ..core.checks import check_image, check_number, prox_of
from ..core.problem import Problem, problem
from ..core.solution import Solution
from ..core.types import Array, Preconditioner, Prox
from ..estimation.noise import noise_level
from ..prox.packed_tv import PackedTV
from ..prox.total_variation import tv
from .admm import ADMMState, admm
from .strength import strength_for

__all__ = ["layered"]

SMOOTH_RADIUS, SMOOTH_PIXELS = 2.5, 1000
"""Radius (px) from which a disk blur leaves hardly any second differences, and the number of pixels a median needs."""


def layered(
    A: LayeredDefocus,
    y: Array,
    *,
    prox: Prox = tv,
    strength: float | Literal["auto"] = "auto",
    rho: float = 3e-3,
    x0: Array | None = None,
    inner_tol: float = 1e-5,
    inner_iterations: int = 10,
    tol: float = 1e-3,
    max_iterations: int = 8,
    mask: Array | None = None,
    on_step: Callable[[int, Array], object] | None = None,
) -> Solution:
    """Restore the colours of every layer of a scene in which nearer layers occlude farther ones.

    Minimises ``1/2 ||A x - y||^2 + strength sum_k phi(x_k)`` by ADMM, where x_k holds the colours of layer k at the
    pixels that it covers. The picture without blur is ``A.composite(solution.x)``.

    Parameters
    ----------
    A : LayeredDefocus
        The layers, nearest first, and the views. With ``per_layer=False``, ``A.replace(per_layer=True)`` is used
        instead.
    y : array of shape (*B, V C, H, W)
        The recorded image: one or several views, in the order of `A.views`, linear light, nominal range [0, 1].
    prox : callable
        (image, s) -> argmin_z 1/2 ||z - image||^2 + s phi(z), applied to each layer separately. `tv` couples the
        colours and takes differences between pixels of the same layer only. Any other callable gets the layer as an
        image (*B, C, h, w), extended beyond its edges by the nearest pixel that the layer covers.
    strength : float or "auto"
        Weight of the prior. "auto" is 15 times the variance of the noise, between 1e-5 and 1e-2, which suits `tv`. The
        noise is estimated from y (`estimation.noise_level`), if possible from pixels that show only layers far out of
        focus.
    rho : float
        Coupling of data and prior step; it affects the speed of convergence, not the limit.
    x0 : array of shape (*B, K C, H, W) or (*B, C, H, W), optional
        Initial guess of every layer, or one for all of them; the mean of the views if omitted.
    inner_tol, inner_iterations, tol, max_iterations, mask
        As for `admm`. The defaults give a good picture in the time of some 180 applications of A; reaching CONVERGED
        takes several times as many.
    on_step : callable, optional
        Called as on_step(k, picture) after outer iteration k = 1, 2, ..., the composite (*B, C, H, W).

    Returns
    -------
    Solution
        x of shape (*B, K C, H, W), the input of ``A.replace(per_layer=True)``; 0 where a layer covers nothing.

    Raises
    ------
    ValueError
        y or x0 of another shape, or with NaN; a setting out of range.
    TypeError
        A not a LayeredDefocus; y of another namespace, dtype or device than A.

    Notes
    -----
    The unknowns are those pixels of each layer that it covers (`PackedLayers`), so that cost and memory grow with the
    layers' area rather than with their number. The transmittances are computed once. Hidden pixels have little or no
    influence on y, which makes the data step ill-conditioned: conjugate gradients are preconditioned by the row sums of
    A^T A, that is, by how much of each pixel's light is recorded. Parts that no view shows are filled in by the prior.
    With the true layers, radii up to 6 px and noise of .005 in both views of a dual pixel, discs in six planes
    (224 x 320) go from 20.9 to 26.9 dB and leaning boards from 22.9 to 31.3 dB; one view alone reaches 24.2 and 27.7.
    The gather operator of the true defocus map makes the discs worse than the recorded image (19.8 dB).
    `bp.layers_from_map` makes layers from a picture and its defocus map.
    Memory: 11 packed images, the weights of `PackedLayers`, and a picture for each call of `on_step`.

    Examples
    --------
    A pole before a wall, far out of focus, in both views of a dual pixel:

    >>> import numpy as np, blurphys as bp, solvers
    >>> rng = np.random.default_rng(0)
    >>> pole = np.zeros((48, 64)); pole[:, 28:36] = 1
    >>> bank = bp.PSFBank(bp.Pupil.disk(split=0.45), max_radius=4.0, step=0.5)
    >>> A = bp.LayeredDefocus(
    ...     np.stack([pole, np.ones((48, 64))]), radii=(-3.5, 0.0), bank=bank, views=("left", "right"), per_layer=True
    ... )
    >>> colours = np.repeat(rng.random((6, 12, 16)), 4, axis=1).repeat(4, axis=2)
    >>> sharp, recorded = A.composite(colours), A(colours)
    >>> restored = A.composite(solvers.layered(A, recorded, strength=1e-4).x)
    >>> before, after = (np.abs(image - sharp)[:, :, 28:36].mean() for image in (recorded[:3], restored))
    >>> bool(after < before / 6)
    True
    """
    name = "layered"
    if not isinstance(A, LayeredDefocus):
        raise TypeError(
            f"{name}: expected a LayeredDefocus, got {type(A).__name__}; other operators have no layers, hqs takes them"
        )
    prox_of(name, prox)
    packed = PackedLayers(A)
    given = problem(
        name, packed.layers, y, None, adjoint=True, tol=tol, max_iterations=max_iterations, mask=mask, on_step=on_step
    )
    start = _start(name, packed.layers, given.y, x0)
    if isinstance(strength, str):
        if strength != "auto":
            raise ValueError(f'{name}: strength must be a number or "auto", got {strength!r}.')
        strength = strength_for(_noise_of(packed, given) ** 2)
    check_number(name, "rho", rho)
    recorded = packed.adjoint(packed(array_namespace(start).ones_like(packed.pack(start))))

    def precondition(coupling: float) -> Preconditioner:
        scale = 1 / (recorded + coupling)
        return lambda r: scale * r

    def show(k: int, state: ADMMState) -> None:
        assert on_step is not None
        on_step(k, packed.composite(state.x))

    solution = admm(
        packed, y, prox=PackedTV(packed) if prox is tv else _OnEachLayer(packed, prox), rho=rho, strength=strength,
        x0=packed.pack(start), inner_tol=inner_tol, inner_iterations=inner_iterations, tol=tol,
        max_iterations=max_iterations, preconditioner=precondition, mask=mask,
        on_step=None if on_step is None else show,
    )  # fmt: skip
    return replace(solution, x=packed.unpack(solution.x))


def _noise_of(packed: PackedLayers, given: Problem) -> float:
    """Return the noise of y, from the pixels that show nothing but layers far out of focus, if there are enough."""
    smooth = packed.shows_only(lambda radius: abs(radius) >= SMOOTH_RADIUS)
    if given.A.mask is not None:
        observed = np.broadcast_to(to_host(given.A.mask) > 0, tuple(given.y.shape))
        smooth &= observed.all(axis=tuple(range(observed.ndim - 2)))
    return noise_level(given.y, mask=smooth if smooth.sum() >= SMOOTH_PIXELS else None)


def _start(name: str, A: LayeredDefocus, y: Array, x0: Array | None) -> Array:
    """Return the initial guess of all layers, (*B, K C, H, W)."""
    xp, count = array_namespace(y), len(A.radii)
    if x0 is None:
        views = xp.reshape(y, (*y.shape[:-3], len(A.views), A.channels, *y.shape[-2:]))
        x0 = xp.mean(views, axis=-4)
    check_image(name, "x0", x0)
    require_same_kind(name, "x0", x0, "y", y)
    channels = x0.shape[-3]
    if tuple(x0.shape[:-3]) != tuple(y.shape[:-3]) or x0.shape[-2:] != y.shape[-2:] or channels not in (
        A.channels, count * A.channels
    ):  # fmt: skip
        raise ValueError(
            f"{name}: x0 must have shape {(*y.shape[:-3], *A.in_shape)}, or {A.channels} channels for all layers, "
            f"got {tuple(x0.shape)}."
        )
    return x0 if channels == A.in_shape[0] else xp.concat([x0] * count, axis=-3)


@final
class _OnEachLayer:
    """A proximal operator of images, applied to each layer, extended beyond its edges by the nearest pixels."""

    def __init__(self, packed: PackedLayers, prox: Prox) -> None:
        self._packed, self._prox = packed, prox

    def __call__(self, x: Array, strength: Any, /) -> Array:
        return self._packed.map_layers(lambda image: self._prox(image, strength), x)
