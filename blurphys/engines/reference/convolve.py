"""Valid convolutions and their transposes, direct or by FFT: what the reference primitives are made of."""

from __future__ import annotations

from array_api_compat import array_namespace, device, is_torch_array

from ...frozen import transformed
from ...types import Array, Shape
from ..dynamic_range import BLOCK, REACH, Way, way_of

__all__ = ["PSFConvolver", "accumulate", "conv1d_adjoint", "conv1d_valid", "way_for", "zeros_for"]

DIRECT_TAPS = 49
"""Kernels of at most this many taps are applied as shifted slices, larger ones by FFT. A shifted multiply-add moves
about as much memory as 1/50 of a forward and inverse real FFT of the same image."""


def _along(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[..., start:stop] if axis == -1 else x[..., start:stop, :]


def zeros_for(x: Array, shape: Shape, *others: Array | None) -> Array:
    """Zeros to write what is made of `x` and `others` into; under `torch.func.vmap` they have the batches of all."""
    if is_torch_array(x):
        zeros = x.new_zeros(shape)
        for other in others:
            if other is not None and transformed(other):
                zeros = zeros + other.reshape(-1)[:0].sum()
        return zeros
    return array_namespace(x).zeros(shape, dtype=x.dtype, device=device(x))


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
    t, n = taps.shape[-1], v.shape[axis]
    shape = list(v.shape)
    shape[axis] = n + t - 1
    out = zeros_for(v, tuple(shape))
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


def _block_means(size: Array) -> Array:
    """Average `BLOCK` neighbours along the last axis, one block after the other; the last one ends with the axis."""
    xp = array_namespace(size)
    n = size.shape[-1]
    block = min(BLOCK, n)
    parts = xp.reshape(size[..., : n // block * block], (*size.shape[:-1], n // block, block))
    return xp.concat([xp.mean(parts, axis=-1), xp.mean(size[..., n - block :], axis=-1, keepdims=True)], axis=-1)


def _ratios(x: Array, weights: Array | None) -> tuple[float, float, float, bool]:
    """Return (peak, mean square, darkest mean square, black blocks) of the worst channel, squares over the peak's."""
    xp = array_namespace(x)
    size = xp.abs(x)
    if weights is not None:
        size = size * xp.sum(xp.abs(weights), axis=-3)[..., None, :, :]
    peak = float(xp.max(size))
    if not 0 < peak < float("inf"):
        return peak, 0.0, 0.0, False
    size = size / peak
    square = xp.mean(size * size, axis=(-2, -1))
    blocks = _block_means(xp.matrix_transpose(_block_means(size)))
    lit = xp.where(blocks > 0, blocks, xp.ones_like(blocks))
    darkest = xp.min(xp.min(lit, axis=-1), axis=-1)
    worst = float(xp.min(xp.where(square > 0, darkest / xp.sqrt(xp.where(square > 0, square, 1)), 1)))
    highest = float(xp.max(square))
    return peak, highest, highest * worst * worst, bool(xp.any(blocks == 0))


def way_for(x: Array, psfs: Array, weights: Array | None = None) -> Way:
    """Choose how an image (*N, C, H, W), times the weights (*B, L, H, W) of all levels, is filtered.

    Direct sums serve, too, where nobody can look at values: under `torch.vmap`, and in double precision on devices
    without it.
    """
    xp = array_namespace(x)
    bits = xp.finfo(x.dtype).bits
    if 0 in x.shape:
        return "direct"
    x, psfs, weights = (getattr(a, "detach", lambda a=a: a)() for a in (x, psfs, weights))
    try:
        heaviest = float(xp.max(xp.sum(xp.abs(psfs), axis=(-2, -1))))
        peak, square, darkest, black = _ratios(x, weights)
    except RuntimeError:
        return "direct"
    points = x.shape[-2] * x.shape[-1]
    if peak == 0 and heaviest < REACH[32] ** 0.5:
        return "single" if bits == 32 else "double"
    way = way_of(square * points, points, darkest, black, bits)
    for name in ("single", "double"):
        limit = REACH[32 if name == "single" else 64] ** 0.5
        if way == name and not (1 / limit < peak < limit and heaviest < limit):
            way = "double" if name == "single" else "direct"
    return "direct" if way == "double" and "mps" in str(device(x)) else way


class PSFConvolver:
    """Convolutions of one image size with one bank of PSFs.

    Parameters
    ----------
    psfs : array of shape (V, L, 1 or C, h, w)
    shape : (int, int)
        H, W of the valid output; the extended plane is (H + h - 1, W + w - 1).
    way : str
        What `way_for` says of the image.
    keep : bool
        Keep the spectra of the kernels for later calls: for tiles, where they are small and come again.

    Notes
    -----
    Cost model: kernels of at most `DIRECT_TAPS` taps go as h w shifted multiply-adds; larger ones through real FFTs of
    the plane, one forward for the image, one inverse per kernel. Transforms are for images whose values do not reach
    too far (`dynamic_range`).
    """

    def __init__(self, psfs: Array, shape: Shape, *, way: Way, keep: bool = False) -> None:
        self.psfs = psfs
        self.shape = shape
        h, w = psfs.shape[-2:]
        self.before = (h - 1 - h // 2, w - 1 - w // 2)
        self.after = (h // 2, w // 2)
        self.margin = (h - 1, w - 1)
        self.plane = (shape[0] + h - 1, shape[1] + w - 1)
        self.size = (_fast_length(self.plane[0]), _fast_length(self.plane[1]))
        self.direct = h * w <= DIRECT_TAPS or way == "direct"
        self.double = way == "double"
        self.keep = keep
        self._spectra: dict[tuple[int, int, bool], Array] = {}

    def _fft(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.fft.rfftn(xp.astype(x, xp.float64) if self.double else x, s=self.size, axes=(-2, -1))

    def _ifft(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.astype(xp.fft.irfftn(x, s=self.size, axes=(-2, -1)), self.psfs.dtype, copy=False)

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
        psf = self.psfs[view, level, :, :, :]
        h, w = psf.shape[-2:]
        out = zeros_for(prepared, (*prepared.shape[:-2], *self.plane))
        for i in range(h):
            for j in range(w):
                a, b = h - 1 - i, w - 1 - j
                out[..., a : a + self.shape[0], b : b + self.shape[1]] += psf[:, i, j][:, None, None] * prepared
        return out
