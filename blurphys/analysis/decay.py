"""Decay of the residual of the fixed-point iteration: measured at first, predicted from a small matrix afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from typing import Any, final

import numpy as np
from array_api_compat import array_namespace

from ..types import Array
from .linalg import to_numpy
from .spectrum import RANK, Krylov

__all__ = ["Decay", "measure_decay"]

Host = np.ndarray[Any, Any]

STEPS = 64
"""Steps of the iteration that are measured."""
MIN_RESIDUAL = 1e-13
"""Relative residual at which the measurement ends."""
MAX_ITERATIONS = 2**40
"""Iterations after which a tolerance counts as never reached."""


@final
@dataclass(frozen=True, eq=False)
class Decay:
    """Residuals ||y - A x_k|| / ||y|| of x <- x + damping (y - A x) from x0 = y, for every k.

    Parameters
    ----------
    history : array of shape (steps + 1, images)
        Measured, k = 0, 1, ...
    projected : array of shape (m, m)
        I - damping A on a Krylov space of the last measured residual; empty if there is none.
    grams : array of shape (images, m, m)
        Gram matrix of its basis for each image of a batch; the first vector is scaled to the last relative residual.

    Notes
    -----
    r_k = (I - damping A)^k r_0. With K measured steps the Krylov space is exact up to k = K + m - 1. Beyond that it is
    a good approximation up to about K m^2 / 4 steps: after the measured steps little but the slow components is left,
    and these are what the space resolves.
    """

    history: Host
    projected: Host
    grams: Host

    @property
    def growth(self) -> float:
        """Largest growth of the residual of an image between two measured steps: a lower bound of max ||M^k||."""
        lowest = np.minimum.accumulate(self.history, axis=0)
        return float(np.max(self.history[lowest > 0] / lowest[lowest > 0], initial=1.0))

    def relative(self, steps: int) -> Host:
        """Return the relative residual of each image after this many iterations."""
        known = len(self.history) - 1
        if steps <= known or not len(self.projected):
            return np.asarray(self.history[min(steps, known)])
        with np.errstate(all="ignore"):
            power = np.linalg.matrix_power(self.projected, steps - known)[:, 0]
            return self._sizes(power)

    def iterations(self, tol: float) -> float:
        """Return the first k at which every image has had a residual <= tol; inf if there is none."""
        waiting = np.min(self.history, axis=0) > tol
        if not waiting.any():
            return float(np.max(np.argmax(self.history <= tol, axis=0)))
        if not len(self.projected):
            return inf
        known = len(self.history) - 1
        state = np.eye(len(self.projected))[:, 0]
        for k in range(known + 1, known + 4 * STEPS):
            state = self.projected @ state
            waiting &= ~(self._sizes(state) <= tol)
            if not waiting.any():
                return float(k)
        return self._search(tol, known + 4 * STEPS - 1, waiting)

    def _sizes(self, state: Host) -> Host:
        return np.sqrt(np.maximum(np.einsum("i,bij,j->b", state, self.grams, state), 0.0))

    def _search(self, tol: float, low: int, waiting: Host) -> float:
        """Bracket by doubling, then bisect; the residual is assumed to be monotone by now."""

        def arrived(k: int) -> bool:
            return bool(np.all(self.relative(k)[waiting] <= tol))

        high = 2 * low
        while not arrived(high):
            low, high = high, 2 * high
            if high > MAX_ITERATIONS:
                return inf
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if arrived(middle) else (middle, high)
        return float(high)


def measure_decay(
    apply: Callable[[Array], Array], y: Array, *, damping: float, steps: int = STEPS, rank: int = RANK, axes: int = 3
) -> Decay:
    """Run the residual recurrence r <- r - damping A r from r = y - A y, then project A.

    Parameters
    ----------
    apply : callable
        x -> A x.
    y : array of shape (*B, C, H, W)
        The observed images, not zero.
    damping : float
        Step length.
    steps, rank : int
        Measured steps and size of the Krylov space, one application each; one more for the initial residual.
    axes : int
        Trailing axes of one image.

    Returns
    -------
    Decay
    """
    xp = array_namespace(y)
    size = _norms(xp, y, axes)
    scale = np.where(size > 0, size, 1.0)
    r = y - apply(y)
    history = [_norms(xp, r, axes) / scale]
    while len(history) <= steps and history[-1].max() > MIN_RESIDUAL and history[-1].max() < 1e12:
        r = r - damping * apply(r)
        history.append(_norms(xp, r, axes) / scale)
    table = np.stack(history)
    if not MIN_RESIDUAL < table[-1].max() < 1e12:
        return Decay(table, np.zeros((0, 0)), np.zeros((len(scale), 0, 0)))
    krylov = Krylov(apply, r, rank)
    m, items = krylov.count, len(scale)
    vectors = xp.reshape(krylov.basis[:m, :], (m, items, -1))
    grams = np.stack([to_numpy(vectors[:, i, :] @ vectors[:, i, :].T).astype(float) for i in range(items)])
    grams = grams * (krylov.size / scale)[:, None, None] ** 2
    return Decay(table, np.eye(m) - damping * krylov.projected, grams)


def _norms(xp: Any, x: Array, axes: int) -> Host:
    """Return the norm of every image of a batch, as a NumPy array."""
    squares = xp.sum(xp.astype(x * x, xp.float64), axis=tuple(range(-axes, 0)))
    return np.sqrt(np.reshape(to_numpy(squares), (prod(x.shape[:-axes]),)))
