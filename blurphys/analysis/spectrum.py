"""Extreme eigenvalues of large operators, matrix-free: Arnoldi iteration with Chebyshev filters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple, final

import numpy as np
from array_api_compat import array_namespace

from ..types import Array
from .linalg import norm, to_numpy

__all__ = ["Counter", "Ellipse", "Extreme", "Krylov", "extreme_eigenvalues", "apply_filter", "finite_norm"]

Host = np.ndarray[Any, Any]
Apply = Callable[[Array], Array]

RANK = 24
"""Size of a Krylov basis, in images: it determines the memory and the size of the dense matrices."""
MAX_DEGREE = 64
"""Largest degree of a Chebyshev filter."""
WANTED = 4
"""Number of Ritz values that a filter does not damp."""
NOISE = 0.1
"""Share of white noise in every restart, so that eigenvectors missing in the first vector can still appear."""


@final
class Counter:
    """Forward and adjoint of an operator, with a count of applications, a limit and a progress bar."""

    def __init__(self, forward: Apply, adjoint: Apply, limit: int, advance: Callable[[], None] = lambda: None) -> None:
        self._forward, self._adjoint, self._advance = forward, adjoint, advance
        self.limit, self.used = limit, 0

    def forward(self, x: Array) -> Array:
        """Return A x."""
        self.used += 1
        self._advance()
        return self._forward(x)

    def adjoint(self, y: Array) -> Array:
        """Return A^T y."""
        self.used += 1
        self._advance()
        return self._adjoint(y)

    def left(self, share: float = 1.0) -> int:
        """Return the applications that remain until this share of the limit is used."""
        return int(share * self.limit) - self.used


def finite_norm(x: Array, what: str = "values from the operator") -> float:
    """Return ||x||; raise ValueError if it is NaN or infinite."""
    size = norm(x)
    if not np.isfinite(size):
        raise ValueError(f"certificate: expected finite {what}, got NaN or inf")
    return size


@final
class Krylov:
    """An orthonormal basis V of span(v, A v, A^2 v, ...) with A V = V S + residual, real throughout.

    Parameters
    ----------
    apply : callable
        x -> A x.
    start : array
        v, of any shape and batch; not zero.
    rank : int
        Vectors at most; one more is kept.

    Notes
    -----
    Classical Gram-Schmidt, twice. If the span is invariant under A (`closed`), S has exact eigenvalues: all those whose
    eigenvectors are components of v.
    """

    def __init__(self, apply: Apply, start: Array, rank: int = RANK) -> None:
        xp = array_namespace(start)
        self.shape, self.size = tuple(start.shape), finite_norm(start)
        flat = xp.reshape(start, (-1,)) / self.size
        rank = max(1, min(rank, flat.shape[0]))
        self.basis = xp.empty((rank + 1, flat.shape[0]), dtype=flat.dtype, device=getattr(flat, "device", None))
        self.basis[0, :] = flat
        self.S = np.zeros((rank + 1, rank))
        self.count, self.closed = 0, False
        eps = float(xp.finfo(flat.dtype).eps)
        while self.count < rank and not self.closed:
            self._expand(xp, apply, eps)

    def _expand(self, xp: Any, apply: Apply, eps: float) -> None:
        j = self.count
        w = xp.reshape(apply(xp.reshape(self.basis[j, :], self.shape)), (-1,))
        whole = finite_norm(w)
        known = self.basis[: j + 1, :]
        for _ in range(2):
            h = known @ w
            w = w - h @ known
            self.S[: j + 1, j] += to_numpy(h)
        rest = norm(w)
        self.count += 1
        if rest <= 20 * eps * max(whole, float(np.max(np.abs(self.S)))):
            self.closed = True
            return
        self.S[j + 1, j] = rest
        self.basis[j + 1, :] = w / rest

    @property
    def projected(self) -> Host:
        """V^T A V."""
        return self.S[: self.count, : self.count]

    def residual(self, value: complex) -> tuple[float, Host]:
        """Return min ||A u - value u|| over the unit vectors u of the span, and the coefficients of that u.

        The refined Ritz vector: its residual is never larger than that of the Ritz vector.
        """
        m = self.count
        shifted = self.S[: m + 1, :m] - value * np.eye(m + 1, m)
        _, sizes, rows = np.linalg.svd(shifted)
        return float(sizes[-1]), rows[-1].conj()

    def image(self, coefficients: Host) -> Array:
        """Return the image with these real coefficients in the basis."""
        xp = array_namespace(self.basis)
        weights = xp.asarray(coefficients, dtype=self.basis.dtype, device=getattr(self.basis, "device", None))
        return xp.reshape(weights @ self.basis[: self.count, :], self.shape)


class Ellipse(NamedTuple):
    """Confocal ellipses: their centre on the real axis, the square of the focal distance (negative: upright)."""

    centre: float
    focal2: float

    def growth(self, z: Any) -> Any:
        """Return the growth of the Chebyshev polynomials of the ellipse at z, per degree."""
        c = np.sqrt(complex(self.focal2))
        w = (np.asarray(z) - self.centre) / c
        root = np.sqrt(w - 1) * np.sqrt(w + 1)
        return np.maximum(np.abs(w + root), np.abs(w - root)) * abs(c)

    @classmethod
    def separating(cls, wanted: Host, rest: Host) -> tuple[Ellipse, float]:
        """Return the ellipse that best separates `wanted` from `rest`, and the ratio of the two growths."""
        low, high, tall = rest.real.min(), rest.real.max(), np.abs(rest.imag).max()
        wide = max((high - low) / 2, 1e-3 * np.max(np.abs(wanted)), 1e-12)
        best, ratio = cls(float((low + high) / 2), float(wide) ** 2), 0.0
        for shift in np.linspace(-1.0, 1.0, 9):
            for scale in (1.0, 0.8, 0.5, 0.2, 1e-3):
                for focal2 in (scale * wide**2, scale * (wide**2 - tall**2), -scale * tall**2):
                    tried = cls(float((low + high) / 2 + shift * wide), float(focal2) or 1e-6 * float(wide) ** 2)
                    found = float(np.min(tried.growth(wanted)) / max(np.max(tried.growth(rest)), 1e-300))
                    if found > ratio:
                        best, ratio = tried, found
        return best, ratio


def apply_filter(apply: Apply, x: Array, ellipse: Ellipse, wanted: complex, degree: int) -> Array:
    """Return T_degree((A - centre) / focal) x, scaled to modulus one at `wanted`.

    Source: Saad, Y., Chebyshev acceleration techniques for solving nonsymmetric eigenvalue problems, Mathematics of
    Computation 42, 1984; the recurrence is kept real by scaling with a real point of equal growth.
    """
    centre, focal2 = ellipse
    growth = float(ellipse.growth(wanted))
    point = (growth + focal2 / growth) / 2
    tau = 1 / point
    previous, current = x, (apply(x) - centre * x) * tau
    for _ in range(degree - 1):
        following = 1 / (2 * point - focal2 * tau)
        step = apply(current) - centre * current
        previous, current = current, (2 * following) * step - (focal2 * tau * following) * previous
        tau = following
    return current


@final
@dataclass(frozen=True)
class Extreme:
    """An approximate eigenvalue with the residual of its vector and an error bound.

    bound : residual times the condition of the eigenvalue in the projected matrix. For a normal operator that
        condition is 1 and an exact eigenvalue lies within the residual; otherwise this is an estimate, too small where
        the space misses the left eigenvector.
    change : change of its key in the last cycle; 0 if there was only one
    """

    value: complex
    residual: float
    bound: float
    change: float = 0.0


Key = Callable[[Any], Any]
Pair = tuple[Array, Array]


def _extreme(krylov: Krylov, key: Key) -> tuple[Extreme, Host]:
    """Return the Ritz value of largest key, and the coefficients of its vector."""
    S = krylov.projected
    values = np.linalg.eigvals(S)
    value = complex(values[int(np.argmax(key(values)))])
    residual, coefficients = krylov.residual(value)
    bound = float(residual * _condition(S, value)) if residual > 0 else 0.0
    return Extreme(value, residual, bound), coefficients


def _parts(krylov: Krylov, coefficients: Host) -> Pair:
    return krylov.image(coefficients.real), krylov.image(coefficients.imag)


def _condition(S: Host, value: complex) -> float:
    """Condition number 1 / |left . right| of an eigenvalue of a small matrix, from its unit eigenvectors."""
    shifted = S - value * np.eye(len(S))
    left, _, right = np.linalg.svd(shifted)
    overlap = abs(np.vdot(left[:, -1], right[-1].conj()))
    return float(1 / overlap) if overlap > 1e-8 else inf


def extreme_eigenvalues(
    apply: Apply,
    start: Array,
    keys: dict[str, Key],
    tols: dict[str, float],
    left: Callable[[float], int],
    shares: tuple[float, float] = (0.75, 1.0),
) -> tuple[dict[str, Extreme], Host, Pair]:
    """Find the eigenvalues that maximize the given keys.

    Parameters
    ----------
    apply : callable
        x -> A x, a real operator.
    start : array
        Start vector, preferably white noise.
    keys : dict
        Name -> function of the eigenvalues, equal for conjugate ones. The first has priority.
    tols : dict
        Name -> error bound at which an eigenvalue counts as converged.
    left : callable
        share -> applications that remain until this share of the limit is used.
    shares : (float, float)
        For the first key, and for all.

    Returns
    -------
    dict of Extreme
        Name -> the eigenvalue, converged or not.
    array of shape (m, m)
        A on the first Krylov space, that of `start`.
    (array, array)
        Real and imaginary part of the eigenvector of the first key.

    Notes
    -----
    Arnoldi-Chebyshev: an Arnoldi process of `RANK` vectors; then, for each key in turn, a Chebyshev filter that damps
    the ellipse of the other Ritz values, applied to the vector found plus some white noise, and Arnoldi again. Blurs
    have a near-continuum of eigenvalues; at its end such a filter gains as much per application as Arnoldi without
    restarts, in the memory of Arnoldi with restarts. That no eigenvalue further out was missed is likely (every restart
    contains white noise) but not proven.
    """
    krylov = Krylov(apply, start)
    projected, closed = krylov.projected, krylov.closed
    first = {name: _extreme(krylov, key) for name, key in keys.items()}
    leading = _parts(krylov, next(iter(first.values()))[1])
    starts = {name: krylov.image(c.real + c.imag) for name, (_, c) in first.items()}
    del krylov  # so that there is one basis in memory at a time
    bulk = np.linalg.eigvals(projected)
    found: dict[str, Extreme] = {}
    for number, (name, key) in enumerate(keys.items()):
        best, vector = first[name][0], starts[name]
        known = max(found.values(), key=lambda e: float(key(e.value)), default=None)
        if known is not None and key(known.value) + known.bound >= key(best.value):
            best = known
        settled = closed or (number > 0 and best.bound < tols[name])
        other, share = bulk, shares[min(number, 1)]
        while not settled and left(share) > RANK + 8:
            seen = np.concatenate([bulk, other])
            vector = vector / norm(vector) + start * (NOISE / norm(start))
            filtered = _filter_vector(apply, vector, best.value, key, seen, left(share) - RANK)
            if filtered is None:
                break
            cycle, before = Krylov(apply, filtered), best
            (candidate, c), other = _extreme(cycle, key), np.linalg.eigvals(cycle.projected)
            vector = cycle.image(c.real + c.imag)
            leading = _parts(cycle, c) if number == 0 else leading
            del cycle
            further = key(candidate.value) - candidate.bound > key(best.value)
            best = candidate if candidate.bound < best.bound or further else best
            change = float(abs(key(best.value) - key(before.value)))
            best = replace(best, change=change)
            settled = best.bound < tols[name] and change < 0.25 * tols[name]
        found[name] = best
    return found, projected, leading


def _filter_vector(apply: Apply, vector: Array, value: complex, key: Key, seen: Host, left: int) -> Array | None:
    """Return the vector filtered to enhance `value` over the Ritz values seen; None if the filter leaves nothing."""
    order = np.argsort(-key(seen))
    cut = key(seen[order[min(WANTED, len(seen) - 1)]])
    rest = seen[key(seen) < min(cut, key(value)) * (1 - 1e-12)]
    wanted = np.append(seen[key(seen) > cut], value)
    if not len(rest):
        return None
    ellipse, ratio = Ellipse.separating(wanted, rest)
    degree = int(np.clip(np.log(1e6) / np.log(max(ratio, 1.0 + 1e-6)), 6, min(MAX_DEGREE, left)))
    vector = apply_filter(apply, vector, ellipse, value, degree)
    return vector if finite_norm(vector) > 0 else None
