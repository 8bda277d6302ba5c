"""The same operators in plain code, written as one would without this package.

Each function returns a callable from an image (C, H, W) to the blurred image, boundary "reflect". Shapes: `gamma`
(J, H, W), `atoms` (J-1, t), `beta` (K, H, W), `kernels` K 1-D symmetric kernels, `levels` (H, W) integer, `bank` a list
of (V, s, s) PSFs with odd s, one for each level. Arguments given as torch tensors are differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "deepinv_mixture",
    "filter_loop_opencv",
    "filter_loop_torch",
    "gaussian_lines",
    "hat_weights",
    "masks",
    "mixture_dense",
    "mixture_grouped",
    "mixture_separable",
    "mixture_slices",
    "pylops_mixture",
    "recursive_depthwise",
    "recursive_scipy",
    "recursive_slices",
    "scipy_mixture",
]

Function = Callable[[Any], Any]

DIRECT_SIZE = 11
"""OpenCV's filter2D filters directly up to this kernel size and by FFT beyond it."""


def _reflect(x: Any, reach: int) -> Any:
    from torch.nn.functional import pad

    return pad(x[None], (reach,) * 4, mode="reflect")[0]


def _numbers(a: Any) -> Any:
    """The taps of a 1-D tensor: plain numbers, or tensors if a gradient is recorded."""
    return a.unbind() if a.requires_grad else a.tolist()


def recursive_depthwise(gamma: Any, atoms: Any) -> Function:
    """RKR by torch depthwise convolutions, rows then columns."""
    from torch.nn.functional import conv2d

    flipped = atoms.flip(-1)  # conv2d correlates
    reach = (atoms.shape[-1] // 2) * len(atoms)

    def run(x: Any) -> Any:
        channels, rows, cols = x.shape
        u = _reflect(x, reach)[None]
        y = gamma[0] * x
        for j, a in enumerate(flipped, start=1):
            u = conv2d(u, a.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
            u = conv2d(u, a.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
            m = reach - (atoms.shape[-1] // 2) * j
            y = y + gamma[j] * u[0, :, m : m + rows, m : m + cols]
        return y

    return run


def recursive_slices(gamma: Any, atoms: Any) -> Function:
    """RKR by sums of shifted slices."""
    taps = [_numbers(a) for a in atoms.flip(-1)]
    size = atoms.shape[-1]
    reach = (size // 2) * len(taps)

    def run(x: Any) -> Any:
        rows, cols = x.shape[-2:]
        u = _reflect(x, reach)
        y = gamma[0] * x
        for j, a in enumerate(taps, start=1):
            n, m = u.shape[-2] - size + 1, u.shape[-1] - size + 1
            u = sum(a[t] * u[:, t : t + n, :] for t in range(size))
            u = sum(a[t] * u[:, :, t : t + m] for t in range(size))
            k = reach - (size // 2) * j
            y = y + gamma[j] * u[:, k : k + rows, k : k + cols]
        return y

    return run


def recursive_scipy(gamma: Any, atoms: Any) -> Function:
    """RKR by `scipy.ndimage.convolve1d` on the extended plane; NumPy arrays."""
    import numpy as np
    from scipy.ndimage import convolve1d

    reach = (atoms.shape[-1] // 2) * len(atoms)

    def run(x: Any) -> Any:
        rows, cols = x.shape[-2:]
        u = np.pad(x, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        y = gamma[0] * x
        for j, a in enumerate(atoms, start=1):
            u = convolve1d(convolve1d(u, a, axis=-2), a, axis=-1)
            y += gamma[j] * u[:, reach : reach + rows, reach : reach + cols]
        return y

    return run


def gaussian_lines(sigmas: Any, supports: Sequence[int]) -> list[Any]:
    """Sampled Gaussians of unit sum from a tensor of standard deviations (K,); a support of 1 is the Dirac."""
    import torch

    lines = []
    for sigma, size in zip(sigmas, supports, strict=True):
        t = torch.arange(size, dtype=sigmas.dtype, device=sigmas.device) - size // 2
        values = torch.ones_like(t) if size == 1 else torch.exp(-0.5 * (t / sigma) ** 2)
        lines.append(values / values.sum())
    return lines


def _padded(kernels: Sequence[Any]) -> Any:
    """Give all kernels the width of the widest: (K, s)."""
    import torch

    size = max(len(k) for k in kernels)
    rows = [torch.nn.functional.pad(k, ((size - len(k)) // 2,) * 2) for k in kernels]
    return torch.stack(rows)


def mixture_dense(beta: Any, kernels: Sequence[Any]) -> Function:
    """GKM by one convolution with all K dense kernels, the colours as the batch, then the weighted sum."""
    from torch.nn.functional import conv2d

    lines = _padded(kernels)
    bank = (lines[:, :, None] * lines[:, None, :])[:, None]

    def run(x: Any) -> Any:
        return (conv2d(_reflect(x, bank.shape[-1] // 2)[:, None], bank) * beta).sum(1)

    return run


def mixture_grouped(beta: Any, kernels: Sequence[Any]) -> Function:
    """GKM by one grouped convolution, each colour with all K dense kernels, then the weighted sum.

    The image is channels-last: otherwise torch on CPUs takes several times as long.
    """
    import torch
    from torch.nn.functional import conv2d

    lines = _padded(kernels)
    bank = (lines[:, :, None] * lines[:, None, :])[:, None]

    def run(x: Any) -> Any:
        channels, rows, cols = x.shape
        plane = _reflect(x, bank.shape[-1] // 2)[None].contiguous(memory_format=torch.channels_last)
        levels = conv2d(plane, bank.repeat(channels, 1, 1, 1), groups=channels)
        return (levels.reshape(channels, -1, rows, cols) * beta).sum(1)

    return run


def mixture_separable(beta: Any, kernels: Sequence[Any]) -> Function:
    """GKM by column and row convolutions of all K kernels at once, then the weighted sum."""
    from torch.nn.functional import conv2d

    lines = _padded(kernels)
    count, size = lines.shape

    def run(x: Any) -> Any:
        plane = _reflect(x, size // 2)[:, None]  # the colours are the batch
        columns = conv2d(plane, lines.view(count, 1, size, 1))
        return (conv2d(columns, lines.view(count, 1, 1, size), groups=count) * beta).sum(1)

    return run


def mixture_slices(beta: Any, kernels: Sequence[Any]) -> Function:
    """GKM by sums of shifted slices, kernel by kernel, each with its own support."""
    taps = [_numbers(k) for k in kernels]
    reach = max(len(k) for k in taps) // 2

    def run(x: Any) -> Any:
        rows, cols = x.shape[-2:]
        plane = _reflect(x, reach)
        y = 0.0
        for weight, a in zip(beta, taps, strict=True):
            first = reach - len(a) // 2
            u = sum(a[t] * plane[:, first + t : first + t + rows, :] for t in range(len(a)))
            u = sum(a[t] * u[:, :, first + t : first + t + cols] for t in range(len(a)))
            y = y + weight * u
        return y

    return run


def scipy_mixture(beta: Any, kernels: Sequence[Any]) -> Function:
    """GKM by `scipy.ndimage.convolve1d`; NumPy arrays. SciPy calls this boundary "mirror"."""
    from scipy.ndimage import convolve1d

    def run(x: Any) -> Any:
        y = 0.0
        for weight, a in zip(beta, kernels, strict=True):
            blurred = x if len(a) == 1 else convolve1d(convolve1d(x, a, axis=-2, mode="mirror"), a, -1, mode="mirror")
            y = y + weight * blurred
        return y

    return run


def deepinv_mixture(beta: Any, kernels: Sequence[Any], use_fft: bool) -> tuple[Function, Function]:
    """GKM by deepinv's product convolution, weights after the filter: forward and adjoint."""
    try:
        from deepinv.physics.functional import product_convolution2d, product_convolution2d_adjoint
    except RuntimeError as error:  # its torchvision was built for another torch
        raise ImportError(f"deepinv is installed but does not load: {error}") from error

    lines = _padded(kernels)
    bank = (lines[:, :, None] * lines[:, None, :])[None, None]
    options = {"padding": "reflect", "use_fft": use_fft, "mask_first": False}
    maps = beta[None, None]
    return (
        lambda x: product_convolution2d(x[None], maps, bank, **options)[0],
        lambda u: product_convolution2d_adjoint(u[None], maps, bank, **options)[0],
    )


def pylops_mixture(beta: Any, kernels: Sequence[Any], channels: int) -> Any:
    """GKM as a PyLops operator, ``sum_k Diagonal(beta_k) ConvolveND(g_k)``, zero boundary."""
    import numpy as np
    import pylops

    dims = (channels, *beta.shape[-2:])
    dtype = str(beta.dtype)
    total: Any = None
    for weight, a in zip(beta, kernels, strict=True):
        half = len(a) // 2
        options = {"offset": (0, half, half), "axes": (0, 1, 2), "dtype": dtype}
        blur = pylops.signalprocessing.ConvolveND(dims, (a[:, None] * a[None, :])[None], **options)
        part = pylops.Diagonal(np.broadcast_to(weight, dims).ravel(), dtype=dtype) @ blur
        total = part if total is None else total + part
    return total


def masks(levels: Any) -> Function:
    """Return the function from a level to 1 where a pixel has it and 0 elsewhere."""
    return lambda level: (levels == level).float()


def hat_weights(position: Any, count: int) -> Function:
    """Return the function from a level to its weight in linear interpolation at real-valued positions (H, W)."""
    import torch

    index = position.detach().floor().clamp(0, count - 2)
    fraction = position - index

    def weight(level: int) -> Any:
        return torch.where(index == level, 1 - fraction, torch.where(index == level - 1, fraction, 0.0))

    return weight


def filter_loop_torch(weight: Function, bank: Sequence[Any]) -> Function:
    """Dual pixel like the ICCV 2021 generator: filter the whole image for every level and view, multiply by a mask.

    torch convolution up to 11 x 11, FFT beyond (the rule of OpenCV), with the spectrum of the image shared. `weight`
    is `masks` or `hat_weights`.
    """
    import torch
    from torch.nn.functional import conv2d

    reach = max(psfs.shape[-1] for psfs in bank) // 2
    views = bank[0].shape[0]

    def run(x: Any) -> Any:
        channels, rows, cols = x.shape
        plane = _reflect(x, reach)
        size = (plane.shape[-2] + 2 * reach, plane.shape[-1] + 2 * reach)
        spectrum = torch.fft.rfft2(plane, s=size)
        y = torch.zeros((views, channels, rows, cols), dtype=x.dtype, device=x.device)
        for level, psfs in enumerate(bank):
            half = psfs.shape[-1] // 2
            if psfs.shape[-1] <= DIRECT_SIZE:
                m = reach - half
                inner = plane[:, m : plane.shape[-2] - m, m : plane.shape[-1] - m]
                filtered = conv2d(inner[:, None], psfs.flip(-1, -2)[:, None]).transpose(0, 1)
            else:
                product = spectrum * torch.fft.rfft2(psfs, s=size)[:, None]
                first = reach + half
                filtered = torch.fft.irfft2(product, s=size)[..., first : first + rows, first : first + cols]
            y = y + weight(level) * filtered
        return y.reshape(views * channels, rows, cols)

    return run


def filter_loop_opencv(levels: Any, bank: Sequence[Any]) -> Function:
    """Dual pixel like the ICCV 2021 generator, by OpenCV's filter2D; NumPy arrays."""
    import cv2
    import numpy as np

    views = bank[0].shape[0]
    mirrored = [np.ascontiguousarray(psfs[:, ::-1, ::-1]) for psfs in bank]  # filter2D correlates

    def run(x: Any) -> Any:
        image = np.ascontiguousarray(np.moveaxis(x, 0, -1))
        y = np.zeros((views, *image.shape), dtype=x.dtype)
        for level, psfs in enumerate(mirrored):
            mask = (levels == level).astype(x.dtype)[..., None]
            for v in range(views):
                y[v] += mask * cv2.filter2D(image, -1, psfs[v], borderType=cv2.BORDER_REFLECT_101)
        return np.moveaxis(y, -1, 1).reshape(-1, *x.shape[-2:])

    return run
