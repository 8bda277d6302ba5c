"""Systems with known answers, and small operators whose matrices are known from elsewhere.

Nothing here uses the operators of the package: images are rolled or multiplied by a matrix, in any namespace.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tests.strategies import simplex, to_namespace


class Small:
    """Base of the operators below: what the solvers ask for, and a count of the applications."""

    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]

    def __call__(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return self.forward(x)

    def forward(self, x):
        raise NotImplementedError

    def adjoint(self, y):
        raise NotImplementedError


class CircularBlur(Small):
    """y = sum_k taps[k] roll(x, shift_k): diagonal in the Fourier basis, with the eigenvalues `response`."""

    def __init__(self, taps: dict[tuple[int, int], float], shape: tuple[int, int, int]) -> None:
        self.taps, self.in_shape, self.out_shape = taps, shape, shape

    def forward(self, x):
        xp = array_namespace(x)
        return sum(weight * xp.roll(x, shift, axis=(-2, -1)) for shift, weight in self.taps.items())

    def adjoint(self, y):
        xp = array_namespace(y)
        return sum(weight * xp.roll(y, (-r, -c), axis=(-2, -1)) for (r, c), weight in self.taps.items())

    @property
    def response(self) -> np.ndarray:
        """Frequency response (H, W), complex."""
        height, width = self.in_shape[-2:]
        psf = np.zeros((height, width))
        for (r, c), weight in self.taps.items():
            psf[r % height, c % width] += weight
        return np.fft.fft2(psf)

    def inverse(self, y: np.ndarray, *, mu: float = 0.0) -> np.ndarray:
        """(A^T A + mu I)^-1 A^T y by FFT; the inverse of A for mu = 0."""
        h = self.response
        return np.fft.ifft2(np.conj(h) * np.fft.fft2(y) / (np.abs(h) ** 2 + mu)).real


class VaryingBlur(Small):
    """y = sum_k maps[k] . roll(x, shift_k): one PSF per output pixel (gather form), not symmetric."""

    def __init__(self, maps: Any, shifts: tuple[tuple[int, int], ...], channels: int = 1) -> None:
        self.maps, self.shifts = maps, shifts
        self.in_shape = self.out_shape = (channels, *maps.shape[-2:])

    def forward(self, x):
        xp = array_namespace(x)
        terms = [xp.roll(x, s, axis=(-2, -1)) * self.maps[..., k, None, :, :] for k, s in enumerate(self.shifts)]
        return sum(terms[1:], terms[0])

    def adjoint(self, y):
        xp = array_namespace(y)
        terms = [
            xp.roll(y * self.maps[..., k, None, :, :], (-r, -c), axis=(-2, -1)) for k, (r, c) in enumerate(self.shifts)
        ]
        return sum(terms[1:], terms[0])


class Matrix(Small):
    """A matrix (n_out, n_in), or a batch of them (*B, n_out, n_in), on flattened images."""

    def __init__(self, matrix: Any, in_shape: tuple[int, int, int], out_shape: tuple[int, int, int] | None = None):
        self.matrix, self.in_shape, self.out_shape = matrix, in_shape, out_shape or in_shape

    def _apply(self, matrix, x, shape):
        xp = array_namespace(x)
        lead = tuple(x.shape[:-3])
        return xp.reshape((matrix @ xp.reshape(x, (*lead, -1, 1)))[..., 0], (*lead, *shape))

    def forward(self, x):
        return self._apply(self.matrix, x, self.out_shape)

    def adjoint(self, y):
        return self._apply(array_namespace(y).matrix_transpose(self.matrix), y, self.in_shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """An operator with an image and what the operator makes of it."""

    A: Any
    x: Any
    y: Any


def problem(A: Any, x: np.ndarray, namespace: str, dtype: str) -> Problem:
    x = to_namespace(np.asarray(x, dtype=dtype), namespace)
    return Problem(A=A, x=x, y=A.forward(x))


def gaussian_taps(sigma: float, radius: int) -> dict[tuple[int, int], float]:
    """Point-sampled Gaussian on (2 radius + 1)^2, unit sum."""
    offsets = range(-radius, radius + 1)
    values = {(r, c): float(np.exp(-(r * r + c * c) / (2 * sigma * sigma))) for r in offsets for c in offsets}
    total = sum(values.values())
    return {shift: value / total for shift, value in values.items()}


def random_image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 1.0, shape)


def identity(namespace="numpy", dtype="float64", batch=()) -> Problem:
    """A = I: solved before the first step."""
    A = CircularBlur({(0, 0): 1.0}, (2, 4, 5))
    return problem(A, random_image((*batch, 2, 4, 5)), namespace, dtype)


def circular_gaussian(namespace="numpy", dtype="float64", batch=(), sigma=0.6) -> Problem:
    """A mild symmetric blur with all eigenvalues in (0, 1]: every solver converges to the FFT inverse."""
    A = CircularBlur(gaussian_taps(sigma, 2), (2, 6, 7))
    assert A.response.real.min() > 0.1
    return problem(A, random_image((*batch, 2, 6, 7)), namespace, dtype)


def varying(namespace="numpy", dtype="float64", batch=(), centre=2.0) -> Problem:
    """A spatially varying blur, not symmetric, dominated by its centre tap: I - A contracts in the maximum norm."""
    shifts = ((0, 0), (0, 1), (1, 0), (2, -1))
    maps = simplex(np.random.default_rng(3), (4, 5, 6))
    maps[0] += centre
    maps = np.asarray(maps / maps.sum(axis=0), dtype=dtype)
    assert maps[0].min() > 0.5
    return problem(
        VaryingBlur(to_namespace(maps, namespace), shifts, 2), random_image((*batch, 2, 5, 6)), namespace, dtype
    )


def spd(namespace="numpy", dtype="float64", batch=(), condition=50.0, seed=5) -> Problem:
    """A dense symmetric positive definite matrix with eigenvalues from 1 to `condition`, one for each image."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(*batch, 24, 24)))[0]
    eigenvalues = np.geomspace(1.0, condition, 24)
    matrix = np.asarray((q * eigenvalues) @ np.swapaxes(q, -1, -2), dtype=dtype)
    A = Matrix(to_namespace(matrix, namespace), (2, 3, 4))
    return problem(A, random_image((*batch, 2, 3, 4)), namespace, dtype)


def rectangular(namespace="numpy", dtype="float64", batch=(), rows=(2, 4, 5), columns=(1, 4, 5), seed=7) -> Problem:
    """A dense matrix from `columns` to `rows`, well conditioned; y lies in its range."""
    rng = np.random.default_rng(seed)
    size = (int(np.prod(rows)), int(np.prod(columns)))
    matrix = rng.normal(size=size) + 3 * np.eye(*size)
    A = Matrix(to_namespace(np.asarray(matrix, dtype=dtype), namespace), columns, rows)
    return problem(A, random_image((*batch, *columns)), namespace, dtype)


def divergent(namespace="numpy", dtype="float64", batch=()) -> Problem:
    """Eigenvalue 3: x <- x + y - A x multiplies its error by -2 there, and by 0.5 elsewhere; y lies near the latter."""
    eigenvalues = np.full(24, 0.5)
    eigenvalues[0] = 3.0
    A = Matrix(to_namespace(np.asarray(np.diag(eigenvalues), dtype=dtype), namespace), (2, 3, 4))
    x = random_image((*batch, 2, 3, 4))
    x[..., 0, 0, 0] = 1e-4
    return problem(A, x, namespace, dtype)
