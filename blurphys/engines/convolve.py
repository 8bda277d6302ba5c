"""Valid convolutions and their transposes, direct or by FFT: what the reference primitives are made of."""

from __future__ import annotations

from array_api_compat import array_namespace, device

from ..types import Array, Shape

__all__ = ["PSFConvolver", "accumulate", "conv1d_adjoint", "conv1d_valid"]

DIRECT_TAPS = 49
"""Kernels of at most this many taps are applied as shifted slices, larger ones by FFT. A shifted multiply-add moves
about as much memory as 1/50 of a forward and inverse real FFT of the same image."""


def _along(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[..., start:stop] if axis == -1 else x[..., start:stop, :]


def accumulate(total: Array | None, part: Array) -> Array:
    """Add `part`, a fresh array that nobody else holds, to a running sum that starts as None."""
    if total is None:
        return part
    total += part
    return total


def conv1d_valid(u: Array, taps: Array, axis: int) -> Array:
    """Convolve with `taps` (1 or C, t) along axis -1 or -2 of (..., C, n, m), keeping the t-1 shorter valid part."""
    t = taps.shape[-1]
    n = u.shape[axis] - t + 1
    total = None
    for i in range(t):
        total = accumulate(total, taps[:, i][:, None, None] * _along(u, axis, t - 1 - i, t - 1 - i + n))
    return total


def conv1d_adjoint(v: Array, taps: Array, axis: int) -> Array:
    """Apply the transpose of `conv1d_valid`; the axis grows by t-1."""
    xp = array_namespace(v)
    t, n = taps.shape[-1], v.shape[axis]
    shape = list(v.shape)
    shape[axis] = n + t - 1
    out = xp.zeros(tuple(shape), dtype=v.dtype, device=device(v))
    for i in range(t):
        part = taps[:, i][:, None, None] * v
        if axis == -1:
            out[..., t - 1 - i : t - 1 - i + n] += part
        else:
            out[..., t - 1 - i : t - 1 - i + n, :] += part
    return out


def _fast_length(n: int) -> int:
    """Return the smallest 2^a 3^b 5^c >= n, a length that every FFT library likes."""
    best, p5 = 1 << (n - 1).bit_length(), 1
    while p5 < best:
        p35 = p5
        while p35 < best:
            quotient = -(-n // p35)
            best = min(best, p35 << (quotient - 1).bit_length())
            p35 *= 3
        p5 *= 5
    return best


class PSFConvolver:
    """Convolutions of one image size with one bank of PSFs.

    Parameters
    ----------
    psfs : array of shape (V, L, 1 or C, h, w)
    shape : (int, int)
        H, W of the valid output; the extended plane is (H + h - 1, W + w - 1).
    keep : bool
        Keep the spectra of the kernels for later calls: for tiles, where they are small and come again.

    Notes
    -----
    Cost model: kernels of at most `DIRECT_TAPS` taps go as h w shifted multiply-adds; larger ones through real FFTs of
    the plane, one forward for the image, one inverse per kernel.
    """

    def __init__(self, psfs: Array, shape: Shape, *, keep: bool = False) -> None:
        self.psfs = psfs
        self.shape = shape
        h, w = psfs.shape[-2:]
        self.before = (h - 1 - h // 2, w - 1 - w // 2)
        self.after = (h // 2, w // 2)
        self.margin = (h - 1, w - 1)
        self.plane = (shape[0] + h - 1, shape[1] + w - 1)
        self.size = (_fast_length(self.plane[0]), _fast_length(self.plane[1]))
        self.direct = h * w <= DIRECT_TAPS
        self.keep = keep
        self._spectra: dict[tuple[int, int, bool], Array] = {}

    def _fft(self, x: Array) -> Array:
        return array_namespace(x).fft.rfftn(x, s=self.size, axes=(-2, -1))

    def _ifft(self, x: Array) -> Array:
        return array_namespace(x).fft.irfftn(x, s=self.size, axes=(-2, -1))

    def _spectrum(self, view: int, level: int, flipped: bool) -> Array:
        key = (view, level, flipped)
        if key in self._spectra:
            return self._spectra[key]
        psf = self.psfs[view, level, :, :, :]
        spectrum = self._fft(array_namespace(psf).flip(psf, axis=(-2, -1)) if flipped else psf)
        if self.keep:
            self._spectra[key] = spectrum
        return spectrum

    def transform(self, plane: Array) -> Array:
        """Prepare an extended plane for `valid`."""
        return plane if self.direct else self._fft(plane)

    def transform_adjoint(self, y: Array) -> Array:
        """Prepare an image for `full_from`."""
        return y if self.direct else self._fft(y)

    def valid_transformed(self, plane: Array, view: int, level: int) -> Array:
        """Convolve a prepared plane; sums of what this returns become images by `finish`."""
        if self.direct:
            psf = self.psfs[view, level, :, :, :]
            h, w = psf.shape[-2:]
            total = None
            for i in range(h):
                for j in range(w):
                    a, b = h - 1 - i, w - 1 - j
                    part = plane[..., a : a + self.shape[0], b : b + self.shape[1]]
                    total = accumulate(total, psf[:, i, j][:, None, None] * part)
            return total
        return plane * self._spectrum(view, level, flipped=False)

    def finish(self, total: Array) -> Array:
        """Turn a sum of `valid_transformed` into the image (..., C, H, W)."""
        if self.direct:
            return total
        a, b = self.margin
        return self._ifft(total)[..., a : a + self.shape[0], b : b + self.shape[1]]

    def valid(self, plane: Array, view: int, level: int) -> Array:
        """Convolve a prepared plane with one PSF: (..., C, H, W)."""
        return self.finish(self.valid_transformed(plane, view, level))

    def full_adjoint(self, z: Array, view: int, level: int) -> Array:
        """Apply the transpose of the valid convolution; sums of what this returns become planes by `restore`."""
        if self.direct:
            return self.full_from(z, view, level)
        return self._fft(z) * self._spectrum(view, level, flipped=True)

    def restore(self, total: Array) -> Array:
        """Turn a sum of `full_adjoint` into the extended plane."""
        return total if self.direct else self._ifft(total)[..., : self.plane[0], : self.plane[1]]

    def full_from(self, prepared: Array, view: int, level: int) -> Array:
        """Apply the transpose of the valid convolution to an image prepared by `transform_adjoint`."""
        if not self.direct:
            return self.restore(prepared * self._spectrum(view, level, flipped=True))
        xp = array_namespace(prepared)
        psf = self.psfs[view, level, :, :, :]
        h, w = psf.shape[-2:]
        out = xp.zeros((*prepared.shape[:-2], *self.plane), dtype=prepared.dtype, device=device(prepared))
        for i in range(h):
            for j in range(w):
                a, b = h - 1 - i, w - 1 - j
                out[..., a : a + self.shape[0], b : b + self.shape[1]] += psf[:, i, j][:, None, None] * prepared
        return out
