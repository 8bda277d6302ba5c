"""Curves: frequency response, edge response, residuals of solvers, and eigenvalues of an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .panels import Plane, host, panels, values

__all__ = ["edge_spread", "radial_spectrum", "residuals", "ritz_values", "spectrum"]

SAMPLES = 256
"""Frequencies from 0 to Nyquist."""


def spectrum(*psfs: Any, labels: Sequence[str] = (), noise: float | None = None, ax: Any = None) -> tuple[Any, Any]:
    """Draw the modulation transfer function: the modulus of a PSF's frequency response against frequency.

    Parameters
    ----------
    *psfs : arrays of shape (h, w)
    labels : sequence of str
        One for each PSF.
    noise : float, optional
        Noise-to-signal ratio, drawn as a line: frequencies whose response lies below it cannot be restored.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Raises
    ------
    ValueError
        No PSF, one that is no (h, w), or a number of labels other than that of the PSFs.

    Notes
    -----
    Horizontal (solid) and vertical (dotted) frequencies, in cycles per px up to Nyquist, .5, computed directly from the
    definition, without padding or windows. A PSF of unit sum starts at 1.

    Examples
    --------
    >>> import blurphys as bp
    >>> fig, ax = bp.plot.spectrum(bp.psf.disk(3.0), bp.psf.gaussian(1.5, 13), labels=("disk", "Gaussian"))
    >>> len(ax.get_lines())
    4
    """
    name = "spectrum"
    planes, names = _psfs(name, psfs, labels)
    figure, axes = panels(name, ax, 1, 1, size=(5.6, 3.8))
    place = axes[0, 0]
    frequency = np.linspace(0, 0.5, SAMPLES)
    for k, (psf, label) in enumerate(zip(planes, names, strict=True)):
        for axis, style in ((1, "-"), (0, ":")):
            line = psf.sum(axis=1 - axis)
            phase = np.exp(-2j * np.pi * np.outer(frequency, np.arange(len(line))))
            own = label if axis == 1 and label else None
            place.plot(frequency, np.abs(phase @ line), style, color=f"C{k}", label=own)
    if noise is not None:
        place.axhline(noise, color="0.4", linestyle="--", linewidth=1, label="noise / signal")
    place.set(xlabel="frequency (cycles / px); solid horizontal, dotted vertical", ylabel="MTF", xlim=(0, 0.5))
    _finish(place)
    return figure, place


def edge_spread(*psfs: Any, labels: Sequence[str] = (), ax: Any = None) -> tuple[Any, Any]:
    """Draw what a PSF makes of a vertical edge, dark on the left, and its 10 to 90 % width.

    Parameters
    ----------
    *psfs : arrays of shape (h, w)
    labels : sequence of str
        One for each PSF.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Raises
    ------
    ValueError
        No PSF, one that is no (h, w) or has no positive sum, or a number of labels other than that of the PSFs.

    Examples
    --------
    >>> import blurphys as bp
    >>> fig, ax = bp.plot.edge_spread(bp.psf.disk(4.0), labels=("disk",))
    >>> ax.get_legend_handles_labels()[1]
    ['disk, 10 to 90 %: 5.6 px']
    """
    name = "edge_spread"
    planes, names = _psfs(name, psfs, labels)
    figure, axes = panels(name, ax, 1, 1, size=(5.6, 3.8))
    place = axes[0, 0]
    for psf, label in zip(planes, names, strict=True):
        line = psf.sum(axis=0)
        if not line.sum() > 0:
            raise ValueError(f"{name}: expected PSFs with a positive sum, got {line.sum():g}")
        # A pixel of the PSF is a box: the response is known at the borders of pixels and linear between them.
        response = np.concatenate([[0.0], np.cumsum(line)]) / line.sum()
        x = np.arange(len(line) + 1) - len(line) // 2 - 0.5
        low, high = (float(np.interp(level, response, x)) for level in (0.1, 0.9))
        text = f"10 to 90 %: {high - low:.1f} px"
        place.plot(x, response, label=f"{label}, {text}" if label else text)
    place.set(xlabel="distance from the edge (px)", ylabel="response")
    _finish(place)
    return figure, place


def radial_spectrum(*images: Any, labels: Sequence[str] = (), ax: Any = None) -> tuple[Any, Any]:
    """Draw the power of an image's frequencies, averaged over directions and colours.

    Parameters
    ----------
    *images : arrays of shape (C, H, W) or (H, W)
        One or more, of any sizes.
    labels : sequence of str
        One for each image.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Raises
    ------
    ValueError
        No image, one of fewer than 8 px, or a number of labels other than that of the images.

    Notes
    -----
    Periodogram with a Hann window, mean removed, up to Nyquist, .5 cycles per px. White noise is a horizontal line at
    its variance.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> noise = np.random.default_rng(0).standard_normal((64, 64))
    >>> fig, ax = bp.plot.radial_spectrum(noise, labels=("noise of variance 1",))
    >>> bool(0.9 < np.mean(ax.get_lines()[0].get_ydata()) < 1.1)
    True
    """
    name = "radial_spectrum"
    if not images:
        raise ValueError(f"{name}: expected at least one image, got none")
    names = list(labels) or [""] * len(images)
    if len(names) != len(images):
        raise ValueError(f"{name}: expected {len(images)} labels, one for each image, got {len(names)}")
    figure, axes = panels(name, ax, 1, 1, size=(5.6, 3.8))
    for image, label in zip(images, names, strict=True):
        planes = host(name, "an image", image, 2, 3)
        if min(planes.shape[-2:]) < 8:
            raise ValueError(f"{name}: expected images of at least 8 x 8 px, got {planes.shape}")
        axes[0, 0].semilogy(*_radial_power(planes), label=label or None)
    axes[0, 0].set(xlabel="frequency (cycles / px)", ylabel="power", xlim=(0, 0.5))
    _finish(axes[0, 0])
    return figure, axes[0, 0]


def _radial_power(planes: Plane) -> tuple[Plane, Plane]:
    height, width = planes.shape[-2:]
    window = np.outer(np.hanning(height), np.hanning(width))
    centred = planes - planes.mean(axis=(-2, -1), keepdims=True)
    power = np.abs(np.fft.fft2(centred * window)) ** 2 / (window**2).sum()
    power = power.reshape(-1, height, width).mean(axis=0)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    bins = max(4, min(height, width) // 2)
    index = np.minimum((radius * 2 * bins).astype(int), bins)  # the last bin holds the corners, beyond Nyquist
    count = np.bincount(index.ravel(), minlength=bins + 1)[1:bins]
    total = np.bincount(index.ravel(), power.ravel(), minlength=bins + 1)[1:bins]
    return (np.arange(1, bins) + 0.5) / (2 * bins), total / np.maximum(count, 1)


def _psfs(name: str, psfs: Sequence[Any], labels: Sequence[str]) -> tuple[list[Plane], list[str]]:
    if not psfs:
        raise ValueError(f"{name}: expected at least one PSF (h, w), got none")
    names = list(labels) or [""] * len(psfs)
    if len(names) != len(psfs):
        raise ValueError(f"{name}: expected {len(psfs)} labels, one for each PSF, got {len(names)}")
    return [host(name, "a PSF (h, w)", psf, 2) for psf in psfs], names


def residuals(
    *solutions: Any, labels: Sequence[str] = (), times: Sequence[Any] = (), ax: Any = None
) -> tuple[Any, Any]:
    """Draw the relative residuals of solvers on a logarithmic axis, against steps or time.

    Parameters
    ----------
    *solutions : Solution or sequence of float
        What solvers return, or their residuals.
    labels : sequence of str
        One for each.
    times : sequence of sequences of float
        Seconds at each residual, one sequence for each solution; steps on the axis if omitted.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Raises
    ------
    ValueError
        Nothing to draw; labels or times that do not match.

    Examples
    --------
    >>> import blurphys as bp
    >>> fig, ax = bp.plot.residuals([1.0, 0.4, 0.2], [1.0, 0.1], labels=("Landweber", "CGLS"))
    >>> ax.get_yscale()
    'log'
    """
    name = "residuals"
    curves = [values(name, "residuals", getattr(solution, "residuals", solution)) for solution in solutions]
    if not curves:
        raise ValueError(f"{name}: expected at least one solution, got none")
    names = list(labels) or [""] * len(curves)
    if len(names) != len(curves):
        raise ValueError(f"{name}: expected {len(curves)} labels, one for each solution, got {len(names)}")
    clocks = [values(name, "times", clock) for clock in times] or [tuple(range(len(curve))) for curve in curves]
    if [len(clock) for clock in clocks] != [len(curve) for curve in curves]:
        raise ValueError(f"{name}: expected as many times as residuals for each solution")
    figure, axes = panels(name, ax, 1, 1, size=(5.6, 3.8))
    place = axes[0, 0]
    for curve, clock, label in zip(curves, clocks, names, strict=True):
        place.semilogy(clock, curve, marker=".", label=label or None)
    place.set(xlabel="time (s)" if len(times) else "iteration", ylabel=r"residual $\|y - A x_k\| / \|y\|$")
    _finish(place)
    return figure, place


def ritz_values(certificate: Any, *, ax: Any = None) -> tuple[Any, Any]:
    """Draw the eigenvalues of an iteration as far as they were computed, with the unit circle.

    Parameters
    ----------
    certificate : Certificate
        From `blurphys.certificate`.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Notes
    -----
    Ritz values of M = I - damping A: approximations from a Krylov space, best at the border of the spectrum. The
    iteration converges if all eigenvalues lie inside the circle; the dominant one is marked.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> A = bp.Convolution(np.array([[0.3, 0.4, 0.3]]), shape=(1, 6, 8), boundary="circular")
    >>> fig, ax = bp.plot.ritz_values(bp.certificate(A))
    """
    name = "ritz_values"
    if not hasattr(certificate, "ritz_values"):
        raise TypeError(f"{name}: expected a Certificate, from bp.certificate(A), got {type(certificate).__name__}")
    found = np.asarray(certificate.ritz_values, dtype=complex)
    largest = complex(certificate.eigenvalue)
    figure, axes = panels(name, ax, 1, 1, size=(4.6, 4.6))
    place = axes[0, 0]
    angle = np.linspace(0, 2 * np.pi, 361)
    place.fill(np.cos(angle), np.sin(angle), color="#4cc9f0", alpha=0.12)
    place.plot(np.cos(angle), np.sin(angle), color="#0b5cad", linewidth=1)
    place.plot(found.real, found.imag, ".", color="0.35", markersize=5, label="Ritz values")
    both = np.array([largest, largest.conjugate()])
    colour = "#d1495b" if abs(largest) >= 1 else "#2a9d8f"
    place.plot(both.real, both.imag, "o", color=colour, markersize=8, fillstyle="none", markeredgewidth=2,
               label=f"dominant, |.| = {abs(largest):.4f}")  # fmt: skip
    reach = 1.08 * max(1.0, float(np.abs(found).max(initial=0.0)), abs(largest))
    place.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="real part", ylabel="imaginary part")
    place.set_aspect("equal")
    _finish(place, loc="upper left")
    return figure, place


def _finish(place: Any, loc: str = "best") -> None:
    place.grid(visible=True, alpha=0.3)
    place.spines[["top", "right"]].set_visible(False)
    if place.get_legend_handles_labels()[1]:
        place.legend(fontsize=9, loc=loc)
