"""Least squares for the PSFs at the nodes of a grid over the frame, all of them together."""

from __future__ import annotations

from typing import Any, final

import numpy as np

__all__ = ["FieldLeastSquares"]

Array = np.ndarray[Any, Any]


@final
class FieldLeastSquares:
    """The darkness of a photo as the pattern, convolved with PSFs that are interpolated between nodes bilinearly.

    The model is that of `blurphys.FieldDefocus` with ``nodes="centres"``. Normal equations by conjugate gradients,
    preconditioned with the Toeplitz approximation of each node's block.
    """

    def __init__(self, pattern: Array, paper: Array, observed: Array, cells: tuple[int, int], support: int) -> None:
        from scipy import fft

        self.n, self.half, self.shape = support, support // 2, pattern.shape
        self.observed = observed.astype(np.float64)
        rows, cols = (_hats(count, size) for count, size in zip(cells, pattern.shape, strict=True))
        extended = np.pad(pattern, self.half)
        self.windows = []
        for row in rows:
            top, bottom = np.flatnonzero(row)[[0, -1]] + (0, 1)
            for col in cols:
                left, right = np.flatnonzero(col)[[0, -1]] + (0, 1)
                part = extended[top : bottom + 2 * self.half, left : right + 2 * self.half]
                size = tuple(fft.next_fast_len(length, True) for length in part.shape)
                weight = paper[top:bottom, left:right] * np.outer(row[top:bottom], col[left:right])
                self.windows.append((slice(top, bottom), slice(left, right), weight, fft.rfft2(part, size), size, part))
        self.blocks = [self._block(window) for window in self.windows]
        self.scale = float(np.mean([np.trace(block) / self.n**2 for block in self.blocks]))

    def forward(self, psfs: Array) -> Array:
        """Return the darkness that PSFs (nodes, n, n) make."""
        from scipy import fft

        y, h = np.zeros(self.shape), self.half
        for (rows, cols, weight, spectrum, size, _), psf in zip(self.windows, psfs, strict=True):
            full = fft.irfft2(spectrum * fft.rfft2(psf, size), size)
            y[rows, cols] += weight * full[2 * h : 2 * h + weight.shape[0], 2 * h : 2 * h + weight.shape[1]]
        return y

    def adjoint(self, y: Array) -> Array:
        """Return the transpose of `forward`, applied to a photo."""
        from scipy import fft

        psfs, h = np.empty((len(self.windows), self.n, self.n)), self.half
        for node, (rows, cols, weight, spectrum, size, _) in enumerate(self.windows):
            padded = np.zeros(size)
            padded[2 * h : 2 * h + weight.shape[0], 2 * h : 2 * h + weight.shape[1]] = weight * y[rows, cols]
            psfs[node] = fft.irfft2(np.conj(spectrum) * fft.rfft2(padded), size)[: self.n, : self.n]
        return psfs

    def _block(self, window: Any) -> Array:
        from scipy import fft

        rows, cols, weight, _, _, part = window
        h, n = self.half, self.n
        pattern = part[h : h + weight.shape[0], h : h + weight.shape[1]] * weight * self.observed[rows, cols]
        size = tuple(fft.next_fast_len(length + 2 * n, True) for length in pattern.shape)
        correlation = fft.irfft2(np.abs(fft.rfft2(pattern, size)) ** 2, size)
        i, j = np.divmod(np.arange(n * n), n)
        block: Array = correlation[i[:, None] - i, j[:, None] - j]
        return block

    def solve(self, darkness: Array, strength: float, *, tol: float = 1e-4, most: int = 40) -> Array:
        """Return the PSFs (nodes, n, n), not normalised, for a strength in units of the mean of the diagonal."""
        from scipy.linalg import cho_factor, cho_solve

        n, count = self.n, len(self.windows)
        prior = strength * self.scale * _gradient_penalty(n)
        factors = [cho_factor(block + prior) for block in self.blocks]

        def normal(x: Array) -> Array:
            data = self.adjoint(self.observed * self.forward(x.reshape(count, n, n)))
            total: Array = data.reshape(count, -1) + x @ prior
            return total

        x = np.zeros((count, n * n))
        r = self.adjoint(self.observed * darkness).reshape(count, -1)
        z = np.stack([cho_solve(f, v) for f, v in zip(factors, r, strict=True)])
        p, size = z, float((r * z).sum())
        first = size
        for _ in range(most):
            applied = normal(p)
            step = size / float((p * applied).sum())
            x, r = x + step * p, r - step * applied
            z = np.stack([cho_solve(f, v) for f, v in zip(factors, r, strict=True)])
            new = float((r * z).sum())
            if new < tol**2 * first:
                break
            p, size = z + (new / size) * p, new
        return x.reshape(count, n, n)


def _hats(count: int, size: int) -> Array:
    """Weights of the nodes at the centres of `count` equal cells, at every row or column: (count, size)."""
    position = np.clip((np.arange(size) + 0.5) * (count / size) - 0.5, 0, count - 1)
    hats: Array = np.maximum(0, 1 - np.abs(position - np.arange(count)[:, None]))
    return hats


def _gradient_penalty(n: int) -> Array:
    """Squared differences along both axes, PSFs being zero outside, and a little of the squared values: (n^2, n^2)."""
    one = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    penalty: Array = np.kron(one, np.eye(n)) + np.kron(np.eye(n), one) + 1e-3 * np.eye(n * n)
    return penalty
