"""The preset cameras, as the arguments of `Camera`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import blurphys as bp

from .noise import ShotReadNoise

__all__ = ["PRESETS"]


def _canon_r6ii() -> dict[str, Any]:
    return dict(
        lens=bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=36000 / 768),
        pupil=bp.Pupil.disk(split=0.15),
        noise=ShotReadNoise.typical(2e-4),
        focus_range_m=(0.8, 3.0),
        f_number_range=(2.8, 8.0),
        gain_range=(0.5, 8.0),
        name="canon-r6ii",
    )


def _pixel4() -> dict[str, Any]:
    return dict(
        lens=bp.ThinLens(focal_length_mm=4.38, f_number=1.7, focus_distance_m=0.5, pixel_pitch_um=2.8),
        pupil=bp.Pupil.disk(split=0.45),
        noise=ShotReadNoise.typical(1e-3),
        focus_range_m=(0.2, 1.5),
        gain_range=(0.25, 4.0),
        name="pixel4",
    )


# Focal length f, f-number N, focus u of the published sets, and the largest radius they reach beyond 250 m or up close.
# The published code mixes metres and millimetres, so only A s' / u = f^2 / (N (u - f)) has a meaning: the radius at
# infinity in px. It takes what is a diameter for the radius; so do these.
_ICCV2021 = ((4.0, 6.0, 5.0), (5.0, 8.0, 6.0), (7.0, 5.0, 8.0), (10.0, 13.0, 12.0), (22.0, 10.0, 30.0))


def _iccv2021(number: int) -> dict[str, Any]:
    f, stop, focus = _ICCV2021[number]
    radius_at_infinity = f * f / (stop * (focus - f))
    # Any thin lens with this radius at infinity and this focus gives the same map; 50 mm f/4 fixes the pitch.
    probe = bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=focus, pixel_pitch_um=1.0)
    lens = replace(probe, pixel_pitch_um=probe.radius_at_infinity / radius_at_infinity)
    return dict(
        lens=lens, pupil=bp.Pupil.butterworth(order=3, cutoff=0.8, floor=0.1, split=0.5), max_radius=40.0, step=1.0,
        published=(3, 0.8, 0.1), name=f"iccv2021-{number}",
    )  # fmt: skip


def _syndof() -> dict[str, Any]:
    return dict(
        lens=bp.ThinLens(focal_length_mm=70.0, f_number=4.0, focus_distance_m=4.0, pixel_pitch_um=36000 / 1024),
        pupil=bp.Pupil.measured(_gaussian_pupil(), extent=2.0, split=0.0),
        max_radius=14.0,
        focus_range_m=(1.5, 12.0),
        f_number_range=(1.4, 8.0),
        name="syndof",
    )


def _gaussian_pupil() -> np.ndarray:
    """A Gaussian of standard deviation 1/2 in units of the pupil: sigma = D / 4 for a circle of diameter D."""
    line = (np.arange(96) - 47.5) / 24
    grid: np.ndarray = np.exp(-2 * (line[:, None] ** 2 + line**2))
    return grid


PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    "canon-r6ii": _canon_r6ii,
    "pixel4": _pixel4,
    "syndof": _syndof,
    **{f"iccv2021-{number}": partial(_iccv2021, number) for number in range(len(_ICCV2021))},
}
