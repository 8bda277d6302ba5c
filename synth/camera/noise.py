"""Photon and read noise of a sensor, in linear light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from blurphys.inputs import require_number

__all__ = ["ShotReadNoise"]


@dataclass(frozen=True)
class ShotReadNoise:
    """Poisson photon noise and Gaussian read noise: variance `shot` y + `read` at signal y.

    Parameters
    ----------
    shot : float
        Variance per unit of signal: one over the electrons a pixel of one view holds at white. 0 for none.
    read : float
        Variance without light: (read noise / electrons at white) squared. 0 for none.

    Raises
    ------
    ValueError
        A number is negative or not finite, or `shot` lies between 0 and 1e-12 (more electrons than can be counted).

    Notes
    -----
    y' = shot Poisson(y / shot) + sqrt(read) N(0, 1), with y in units of white. The Poisson law is drawn as such, since
    a Gaussian with the same variance goes below zero and loses its skew when y / shot < 20.

    A dual-pixel view collects half the electrons of its pixel, hence twice the `shot` of the whole pixel; `shot` and
    `read` here are those of one view. The two views are read out independently, and the combined image is formed from
    the noisy views, (L + R) / 2, which halves both numbers: `combined`.

    Examples
    --------
    >>> import numpy as np
    >>> noise = ShotReadNoise(shot=1e-3, read=1e-6)
    >>> y = noise.add(np.full((3, 64, 64), 0.25), np.random.default_rng(0))
    >>> bool(abs(y.var() / (1e-3 * 0.25 + 1e-6) - 1) < 0.1)
    True
    """

    shot: float = 0.0
    read: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("shot", self.shot), ("read", self.read)):
            require_number("ShotReadNoise", name, value, least=0)
        if 0 < self.shot < 1e-12:
            raise ValueError(f"ShotReadNoise: expected shot 0 or at least 1e-12, got {self.shot}")

    @classmethod
    def from_electrons(cls, full_well: float, read_noise: float = 0.0) -> ShotReadNoise:
        """Noise of a view that holds `full_well` electrons at white and is read with `read_noise` electrons rms."""
        require_number("ShotReadNoise", "full_well", full_well, above=0, unit="electrons")
        return cls(1.0 / full_well, (read_noise / full_well) ** 2)

    @classmethod
    def typical(cls, shot: float) -> ShotReadNoise:
        """Pair `shot` with the read noise typical of phone sensors: ln read = 2.18 ln shot + 1.20.

        The line that Brooks et al. (Unprocessing Images for Learned Raw Denoising, CVPR 2019) draw from, without its
        scatter; their `shot` runs from 1e-4 to 1.2e-2. ValueError beyond 1, less than one electron at white.
        """
        if not 0 <= shot <= 1:
            raise ValueError(f"ShotReadNoise: expected shot from 0 to 1, got {shot}")
        return cls(shot, math.exp(2.18 * math.log(shot) + 1.20) if shot > 0 else 0.0)

    @property
    def combined(self) -> ShotReadNoise:
        """Noise of the mean of two views that are noisy independently."""
        return ShotReadNoise(self.shot / 2, self.read / 2)

    def scaled(self, gain: float) -> ShotReadNoise:
        """Give the noise when 1 / `gain` of the light reaches white: `shot` times gain, `read` times its square."""
        return ShotReadNoise(self.shot * gain, self.read * gain * gain)

    def variance(self, image: np.ndarray) -> np.ndarray:
        """Variance of the noise at each value of a noise-free image, in units of white squared."""
        return self.shot * image + self.read

    def add(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one noisy exposure of a noise-free image.

        Parameters
        ----------
        image : ndarray
            Floats, linear light in units of white, finite and not negative.
        rng : numpy.random.Generator
            Source of randomness; it advances.

        Returns
        -------
        ndarray
            Same shape and dtype. Not clipped: read noise can push a value below zero, shot noise above white.

        Raises
        ------
        ValueError
            Values that are negative or not finite.

        Notes
        -----
        Two calls with one `rng` are independent: call once per view, never reuse one noise field for several.
        """
        if not (np.isfinite(image).all() and (image >= 0).all()):
            raise ValueError(
                "noise: expected finite values >= 0 (linear light); was the image sharpened or noisy already?"
            )
        noisy: np.ndarray = image.astype(np.float64)
        if self.shot > 0:
            noisy = self.shot * rng.poisson(noisy / self.shot)
        if self.read > 0:
            noisy = noisy + rng.normal(0.0, math.sqrt(self.read), noisy.shape)
        return noisy.astype(image.dtype)
