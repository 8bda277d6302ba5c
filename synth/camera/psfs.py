"""The PSFs of a camera: from its pupil with colour, diffraction and cat eyes, or the published kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import blurphys as bp

from .. import optics

if TYPE_CHECKING:
    from .camera import Camera

__all__ = ["bank_of", "field_banks_of", "reach_of"]


def bank_of(camera: Camera, views: Sequence[str]) -> bp.PSFBank:
    """Make the PSFs of a camera, all radii up to its `max_radius`; see `Camera.bank`."""
    if camera.published is not None:
        if not set(views) <= {"left", "right", "combined"}:
            raise ValueError(
                f"Camera: the published kernels of camera {camera.name} are of the left and right view, got "
                f"{', '.join(views)}"
            )
        return _published_bank(*camera.published, max_radius=math.floor(camera.max_radius))
    flaws = camera.imperfections
    if flaws.chromatic == (1.0, 1.0, 1.0):
        bank = bp.PSFBank(camera.pupil, max_radius=camera.max_radius, step=camera.step)
    else:
        bank = optics.chromatic_bank(
            camera.pupil, max_radius=camera.max_radius, step=camera.step, scale=flaws.chromatic, views=_parts(views)
        )  # fmt: skip
    return _softened(camera, bank, views)


def reach_of(camera: Camera) -> int:
    """How far from its middle a PSF of a camera goes at most, px."""
    if camera.published is not None:
        order, cutoff, floor = camera.published
        radius = max(1, math.floor(camera.max_radius))
        return int(bp.psf.butterworth(radius, order=order, cutoff=cutoff, floor=floor).shape[-1] // 2)
    reach = math.ceil(max(0.0, camera.pupil.extent * camera.max_radius - 0.5))
    return reach if camera.imperfections.diffraction_nm is None else reach + math.ceil(4 * _airy_sigma(camera))


def field_banks_of(
    camera: Camera, aspect: float, views: Sequence[str]
) -> tuple[tuple[bp.PSFBank, ...], ...] | None:  # fmt: skip
    """Make the PSFs of 3 x 5 places over a frame of this width / height; see `Camera.field_banks`."""
    flaws = camera.imperfections
    if not flaws.cat_eye:
        return None
    if camera.published is not None or flaws.chromatic != (1.0, 1.0, 1.0):
        raise ValueError("Camera: cat eyes cannot be had together with published kernels or chromatic defocus yet")
    banks = optics.cat_eye_banks(
        partial(_clipped, camera.pupil), rows=3, cols=5, strength=flaws.cat_eye, max_radius=camera.max_radius,
        step=camera.step, aspect=aspect,
    )  # fmt: skip
    return tuple(tuple(_softened(camera, bank, views) for bank in row) for row in banks)


def _softened(camera: Camera, bank: bp.PSFBank, views: Sequence[str]) -> bp.PSFBank:
    if camera.imperfections.diffraction_nm is None:
        return bank
    return optics.softened(bank, _airy_sigma(camera), views=(*_parts(views), "combined"))


def _airy_sigma(camera: Camera) -> float:
    wavelength, lens = camera.imperfections.diffraction_nm, camera.lens
    if wavelength is None:
        return 0.0
    magnification = 1 / (1e3 * lens.focus_distance_m / lens.focal_length_mm - 1)
    return optics.diffraction_sigma(
        wavelength, lens.f_number, magnification, pixel_pitch_um=lens.pixel_pitch_um
    )  # fmt: skip


def _parts(views: Sequence[str]) -> tuple[str, ...]:
    """The views that combined is the mean of: those asked for, or left and right."""
    return tuple(view for view in views if view != "combined") or ("left", "right")


def _clipped(pupil: bp.Pupil, *, cat_eye: tuple[float, float]) -> bp.Pupil:
    return bp.Pupil.measured(
        pupil.intensity, extent=pupil.extent, split=pupil.split, cross_talk=pupil.cross_talk, angle=pupil.angle,
        cat_eye=cat_eye,
    )  # fmt: skip


def _published_bank(order: int, cutoff: float, floor: float, *, max_radius: int) -> bp.PSFBank:
    radii = list(range(-max_radius, max_radius + 1))
    size = bp.psf.butterworth(max_radius, order=order, cutoff=cutoff, floor=floor).shape[0]
    psfs: dict[str, np.ndarray] = {}
    for view, behind in (("combined", "combined"), ("left", "right"), ("right", "left")):
        levels = []
        for radius in radii:
            chosen = behind if radius < 0 else view
            kernel = bp.psf.butterworth(max(1, abs(radius)), order=order, cutoff=cutoff, floor=floor, view=chosen)
            levels.append(np.pad(kernel, (size - kernel.shape[0]) // 2))
        psfs[view] = np.stack(levels)
    return bp.PSFBank(psfs=psfs, radii=radii)
