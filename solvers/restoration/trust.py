"""Where undoing a blur is worth it: shares from 0 (keep the photograph) to 1, and what speaks against it."""

from __future__ import annotations

from typing import Any, final

import numpy as np

__all__ = ["CAUSES", "Trust", "clipped_pixels", "doubted", "misfit_of"]

Plane = np.ndarray[Any, Any]

CAUSES = ("sharp", "uncertain", "clipped", "edge", "noise", "misfit")
"""Why a pixel is kept: it is in focus; its radius is not certain; clipped light reaches it; surfaces of different blur
meet there; noise covers what the blur left; the blur does not explain the photograph."""

SHARP, BLURRED = 0.75, 1.25
"""Radius (px) up to which a pixel counts as in focus, and from which its blur is undone in full."""

UNCERTAIN, CERTAIN = 0.3, 0.6
"""Confidence from which a radius counts, and counts in full."""

REACH = 4
"""Distance (px) within which a change of the radius counts."""

SURFACE, EDGE = 0.7, 1.6
"""Change of the radius (px) within `REACH` up to which it is one surface, and from which it is an edge."""

BARE, TEXTURED = 1.5, 5.0
"""Variance of the photograph, in variances of the noise, from which there is something to restore, and from which it is
restored in full. Less than that is amplified noise, which looks like blotches."""

COARSE = 6e-5
"""Least variance that counts as noise, per unit of light: some 1 / 255 of white in display values, which rounding and
compression leave."""

EXPLAINED, DOUBTED = 0.0126, 0.045
"""Misfit up to which the model holds, and from which it does not. See `misfit_of`."""

WINDOW = 3.0
"""Standard deviation of the window over which misfit and texture are averaged, px."""

WHITE, BLACK = 0.99, 2e-3
"""Values of linear light from which a colour counts as clipped, and below which the misfit is not scaled any more."""


@final
class Trust:
    """Shares (H, W) that one cause after another lowers, and how much of the frame each of them keeps.

    Attributes
    ----------
    share : ndarray of shape (H, W)
        From 0 to 1.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.share: Plane = np.ones(shape, np.float32)
        self._cause: Plane = np.zeros(shape, np.uint8)

    def lower(self, cause: str, factor: Plane) -> None:
        """Multiply by a factor (H, W) from 0 to 1."""
        self.share *= factor.astype(np.float32, copy=False)
        self._cause[(self.share < 0.5) & (self._cause == 0)] = 1 + CAUSES.index(cause)

    def feather(self) -> None:
        """Let what is kept fade in: shares never rise, and 0 stays 0."""
        from scipy.ndimage import gaussian_filter, minimum_filter

        faded = gaussian_filter(minimum_filter(self.share, 5), 2.0)
        self.share = np.minimum(self.share, np.clip((faded - 0.02) / 0.96, 0, 1))

    def kept(self) -> dict[str, float]:
        """Return the share of the frame that each cause keeps."""
        counts = np.bincount(self._cause.ravel(), minlength=1 + len(CAUSES))
        return {cause: float(count / self._cause.size) for cause, count in zip(CAUSES, counts[1:], strict=True)}

    def judge_map(self, radii: Plane, confidence: Plane | None) -> None:
        """Lower the share where the map says that there is no blur, or none that is certain, and along its edges."""
        from scipy.ndimage import maximum_filter, minimum_filter

        self.lower("sharp", rising(np.abs(radii), SHARP, BLURRED))
        if confidence is not None:
            self.lower("uncertain", rising(confidence, UNCERTAIN, CERTAIN))
        side = 2 * REACH + 1
        jump = maximum_filter(radii, side) - minimum_filter(radii, side)
        self.lower("edge", 1 - rising(jump, SURFACE, EDGE))

    def judge_light(self, y: Plane, radii: Plane, variance: Plane, clipped: Plane) -> None:
        """Lower the share where clipped light arrives, and where there is nothing but noise."""
        from scipy.ndimage import distance_transform_edt, gaussian_filter

        if clipped.any():
            away = distance_transform_edt(~clipped).astype(np.float32)
            self.lower("clipped", rising(away - np.abs(radii), 1.0, 3.0))
        mean = [gaussian_filter(plane, WINDOW) for plane in y]
        texture = np.mean([gaussian_filter((p - m) ** 2, WINDOW) for p, m in zip(y, mean, strict=True)], axis=0)
        noise = np.maximum(variance, COARSE * np.maximum(np.mean(mean, axis=0), BLACK))
        self.lower("noise", rising(texture / noise, BARE, TEXTURED))

    def judge_misfit(self, misfit: Plane) -> None:
        """Lower the share where the model does not explain the photograph."""
        self.lower("misfit", 1 - doubted(misfit))


def rising(values: Plane, low: float, high: float) -> Plane:
    """Return 0 up to `low`, 1 from `high`, and a straight line in between."""
    share: Plane = np.clip((values - low) / (high - low), 0, 1)
    return share


def doubted(misfit: Plane) -> Plane:
    """Return how far a misfit (`misfit_of`) speaks against the model, 0 to 1."""
    doubt: Plane = np.log(np.maximum(misfit, 1e-6) / EXPLAINED) / np.log(DOUBTED / EXPLAINED)
    return np.clip(doubt, 0, 1)


def clipped_pixels(y: Plane) -> Plane:
    """Return where any colour of (C, H, W) is clipped, (H, W)."""
    found: Plane = np.any(y >= WHITE, axis=0)
    return found


def misfit_of(error: Plane, variance: Plane, light: Plane) -> Plane:
    """Return the misfit: what a blurred restoration leaves of the photograph beyond the noise, (H, W).

    Parameters
    ----------
    error : ndarray of shape (H, W)
        Mean square of y - A x over the colours, averaged over a window.
    variance, light : ndarray of shape (H, W)
        Variance of the noise, and mean of the photograph, linear light.

    Notes
    -----
    In units of the root of the light, in which photon noise is the same everywhere, and in which the eye sees
    differences nearly alike: .02 is a hundredth of white in display values.
    """
    misfit: Plane = np.sqrt(np.maximum(error - variance, 0) / np.maximum(light, BLACK))
    return misfit
