"""Least squares for the PSFs at the nodes of a grid over the frame, all of them together, from dots that lie apart."""

from __future__ import annotations

from typing import Any, final

import numpy as np

__all__ = ["FieldLeastSquares", "node_weights"]

Array = np.ndarray[Any, Any]


@final
class FieldLeastSquares:
    """Patches around dots as the dot of each, convolved with a PSF that is interpolated between nodes.

    Because no patch shows two dots, the model is diagonal in the Fourier domain of the patches, and the blocks of the
    normal equations are Toeplitz matrices: sums of autocorrelations of dots.

    Parameters
    ----------
    patches : ndarray of shape (n, m, m)
        Share of the light that is missing around each dot.
    spectra : complex ndarray of shape (n, m, m // 2 + 1)
        ``rfft2`` of the sampled dots; `dot_spectra` gives them.
    weights : ndarray of shape (n, nodes)
        Weight of the PSF of each node at each dot.
    support : int
        Odd width of the PSFs; below m.
    cells : (int, int)
        Rows and columns of nodes.
    """

    def __init__(self, patches: Array, spectra: Array, weights: Array, support: int, cells: tuple[int, int]) -> None:
        from scipy import fft
        from scipy.sparse import csr_array

        self.n, self.m, self.cells, self.patches = support, patches.shape[-1], cells, patches
        self.nodes = weights.shape[1]
        self.weights = csr_array(weights)
        self.spectra = spectra.reshape(len(patches), -1)
        self.power = np.abs(self.spectra) ** 2
        self.data = fft.rfft2(patches).reshape(len(patches), -1)
        self.right = self._crop(self.weights.T @ (np.conj(self.spectra) * self.data))
        own = self.weights.multiply(self.weights).T @ self.power  # (nodes, frequencies): the blocks of the diagonal
        correlations = fft.irfft2(own.reshape(self.nodes, self.m, -1), (self.m, self.m))
        self.correlation = correlations.mean(axis=0)
        self.energies = correlations[:, 0, 0]
        self.scale = float(self.energies.mean())

    def _crop(self, spectra: Array) -> Array:
        """Return the adjoint of `_transform` up to the FFT's factor: (k, frequencies) to (k, n, n)."""
        from scipy import fft

        full = fft.irfft2(spectra.reshape(len(spectra), self.m, -1), (self.m, self.m))
        rolled: Array = np.roll(full, (self.n // 2, self.n // 2), (1, 2))[:, : self.n, : self.n]
        return rolled

    def _transform(self, psfs: Array) -> Array:
        """Return the spectra of PSFs (k, n, n) with their centre at the origin: (k, frequencies)."""
        from scipy import fft

        padded = np.zeros((len(psfs), self.m, self.m))
        padded[:, : self.n, : self.n] = psfs
        return fft.rfft2(np.roll(padded, (-(self.n // 2), -(self.n // 2)), (1, 2))).reshape(len(psfs), -1)

    def normal(self, psfs: Array) -> Array:
        """Return A^T A of PSFs (nodes, n, n)."""
        return self._crop(self.weights.T @ (self.power * (self.weights @ self._transform(psfs))))

    def model(self, psfs: Array) -> Array:
        """Return the patches (n, m, m) that PSFs (nodes, n, n) make."""
        from scipy import fft

        made = self.spectra * (self.weights @ self._transform(psfs))
        patches: Array = fft.irfft2(made.reshape(len(made), self.m, -1), (self.m, self.m))
        return patches

    def solve(
        self, smooth: float, alike: float, *, start: Array | None = None, tol: float = 1e-4, most: int = 100
    ) -> Array:
        """Return the PSFs (nodes, n, n), not normalised, by preconditioned conjugate gradients.

        Parameters
        ----------
        smooth : float
            Weight of the squared differences of neighbouring samples of a PSF, in units of `scale`.
        alike : float
            Weight of the squared differences of the PSFs of neighbouring nodes, likewise.
        """
        from scipy.linalg import cho_factor, cho_solve

        n = self.n
        links = self.scale * alike * _laplacian(self.cells)
        i, j = np.divmod(np.arange(n * n), n)
        rows, cols = i[:, None] - i, j[:, None] - j
        prior = self.scale * smooth * _gradient_penalty(n)
        # Nodes see about the same dots, some more and some fewer of them: one factor serves all.
        shares = self.energies / self.scale
        block = self.correlation[rows, cols] + prior
        block[np.diag_indices(n * n)] += links.trace() / self.nodes + 1e-9 * self.scale
        factor = cho_factor(block, lower=True, overwrite_a=True, check_finite=False)

        def left(x: Array) -> Array:
            flat = x.reshape(self.nodes, -1)
            total: Array = self.normal(x) + (flat @ prior + links @ flat).reshape(x.shape)
            return total

        def preconditioned(r: Array) -> Array:
            solved: Array = cho_solve(factor, r.reshape(self.nodes, -1).T, check_finite=False).T.reshape(r.shape)
            return solved / shares[:, None, None]

        x = np.zeros((self.nodes, n, n)) if start is None else start
        r = self.right - (0 if start is None else left(x))
        z = preconditioned(r)
        p, size = z, float((r * z).sum())
        first = float((self.right * preconditioned(self.right)).sum())
        for _ in range(most):
            if size <= tol**2 * first:
                break
            applied = left(p)
            step = size / float((p * applied).sum())
            x, r = x + step * p, r - step * applied
            z = preconditioned(r)
            new = float((r * z).sum())
            p, size = z + (new / size) * p, new
        return x


def node_weights(positions: Array, frame: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Weights of the nodes at the centres of equal cells at positions (n, 2), bilinear: (n, rows * cols)."""
    hats = []
    for axis in (0, 1):
        place = np.clip((positions[:, axis] + 0.5) * (cells[axis] / frame[axis]) - 0.5, 0, cells[axis] - 1)
        hats.append(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells[axis]))))
    weights: Array = (hats[0][:, :, None] * hats[1][:, None, :]).reshape(len(positions), -1)
    return weights


def _path(n: int) -> Array:
    """Return the matrix of the sum of squared differences of n neighbours in a row."""
    difference = np.diff(np.eye(n), axis=0)
    matrix: Array = difference.T @ difference
    return matrix


def _laplacian(cells: tuple[int, int]) -> Array:
    rows, cols = cells
    matrix: Array = np.kron(_path(rows), np.eye(cols)) + np.kron(np.eye(rows), _path(cols))
    return matrix


def _gradient_penalty(n: int) -> Array:
    """Squared differences along both axes, PSFs being zero outside: (n^2, n^2)."""
    one = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    penalty: Array = np.kron(one, np.eye(n)) + np.kron(np.eye(n), one)
    return penalty
