"""PSF models: where the PSFs of a camera come from, and what they can be used for.

`PupilPSFs` scale a pupil with the radius, `PublishedKernels` are those of a paper, and `FieldPSFs` differ over the
frame. A camera holds one of them (`Camera.psf_model`) and asks it.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, final

import numpy as np

import blurphys as bp

from .. import optics

if TYPE_CHECKING:
    from .camera import Camera

__all__ = ["Banks", "FieldPSFs", "Grid", "PSFModel", "PublishedKernels", "PupilPSFs", "banks_of", "psf_model_of"]

Grid: TypeAlias = tuple[tuple[bp.PSFBank, ...], ...]
"""Banks at the nodes of a grid over the frame, rows of columns."""
View: TypeAlias = Literal["combined", "left", "right"]
ROWS, COLUMNS = 3, 5
MAX_BYTES = 4 << 30
"""Memory that the PSFs of a camera may take."""


class PSFModel(ABC):
    """Where the PSFs of a camera come from.

    Attributes
    ----------
    max_radius : float
        Largest CoC radius that there is a PSF for, px.
    step : float
        Distance of neighbouring levels, px.
    colours : int
        3 where red, green and blue have PSFs of their own, else 1.
    nodes : int
        Places in the frame that have PSFs of their own.
    gather_only : str
        The reason why only ``model="gather"`` of `synth.render` can use them; empty where every model can.
    default_rendering : {"gather", "layered"}
        The rendering model that the command line uses by default.
    """

    max_radius: float
    step: float
    colours: int = 1
    nodes: int = 1
    gather_only: str = ""
    default_rendering: Literal["gather", "layered"] = "layered"

    @property
    @abstractmethod
    def reach(self) -> int:
        """Distance of the outermost pixel of any PSF from its centre, px."""

    @abstractmethod
    def bank(self, views: Sequence[str]) -> bp.PSFBank:
        """Make the PSFs at the centre of the frame; see `Camera.bank`."""

    @abstractmethod
    def cat_eye_banks(self, strength: float, aspect: float, views: Sequence[str]) -> Grid:
        """Make the PSFs behind a barrel that clips the pupil off axis; ValueError where there is no pupil to clip."""

    def field_banks(self, aspect: float, views: Sequence[str]) -> Grid | None:
        """Make the PSFs at the nodes of a frame of this width / height; None where one bank serves all of it."""
        return None

    def available_radii(self, defocus_map: np.ndarray) -> np.ndarray:
        """Replace each radius of a map by the one that is rendered, px."""
        return defocus_map

    def nbytes(self, views: int) -> float:
        """Estimate the memory that the PSFs of so many views take, bytes."""
        levels = 2 * self.max_radius / self.step + 1
        return 8 * self.nodes * self.colours * views * levels * (2 * self.reach + 1) ** 2

    def check_size(self, side: int, views: int) -> None:
        """Refuse PSFs that reach beyond an image whose shorter side is `side` px, or take more than `MAX_BYTES`."""
        if self.max_radius > 2 * side or self.reach >= side:
            raise ValueError(
                f"generate: blur of max_radius {self.max_radius:g} px reaches beyond the smallest image, whose shorter "
                f"side is {side} px; lower max_radius or give larger images"
            )
        if (size := self.nbytes(views)) > MAX_BYTES:
            raise ValueError(
                f"generate: the PSFs of max_radius {self.max_radius:g} px in steps of {self.step:g} px would take "
                f"{size / 2**30:.0f} GiB, more than {MAX_BYTES / 2**30:.0f}; lower max_radius or make the steps larger"
            )


@final
class PupilPSFs(PSFModel):
    """PSFs of a pupil, scaled by the radius; `chromatic` scales it by colour, and `diffraction_nm` softens them."""

    def __init__(
        self,
        pupil: bp.Pupil,
        lens: bp.ThinLens,
        *,
        max_radius: float,
        step: float,
        chromatic: tuple[float, float, float],
        diffraction_nm: float | None,
    ) -> None:
        self.pupil, self.lens, self.max_radius, self.step = pupil, lens, max_radius, step
        self.chromatic, self.diffraction_nm = chromatic, diffraction_nm
        self.colours = 1 if chromatic == (1.0, 1.0, 1.0) else 3

    @property
    def reach(self) -> int:
        reach = self.pupil.reach(self.max_radius)
        return reach if self.diffraction_nm is None else reach + math.ceil(4 * self._airy_sigma(self.diffraction_nm))

    def bank(self, views: Sequence[str]) -> bp.PSFBank:
        if self.colours == 1:
            bank = bp.PSFBank(self.pupil, max_radius=self.max_radius, step=self.step)
        else:
            bank = optics.chromatic_bank(
                self.pupil, max_radius=self.max_radius, step=self.step, scale=self.chromatic, views=_parts(views)
            )  # fmt: skip
        return self._soften(bank, views)

    def cat_eye_banks(self, strength: float, aspect: float, views: Sequence[str]) -> Grid:
        if self.colours > 1:
            raise ValueError("Camera: expected cat eyes without chromatic defocus, got both; set one of them to none")
        banks = optics.cat_eye_banks(
            partial(_clip_pupil, self.pupil), rows=ROWS, cols=COLUMNS, strength=strength, max_radius=self.max_radius,
            step=self.step, aspect=aspect,
        )  # fmt: skip
        return tuple(tuple(self._soften(bank, views) for bank in row) for row in banks)

    def _soften(self, bank: bp.PSFBank, views: Sequence[str]) -> bp.PSFBank:
        if self.diffraction_nm is None:
            return bank
        return optics.softened(bank, self._airy_sigma(self.diffraction_nm), views=(*_parts(views), "combined"))

    def _airy_sigma(self, wavelength_nm: float) -> float:
        lens = self.lens
        magnification = 1 / (1e3 * lens.focus_distance_m / lens.focal_length_mm - 1)
        return optics.diffraction_sigma(
            wavelength_nm, lens.f_number, magnification, pixel_pitch_um=lens.pixel_pitch_um
        )  # fmt: skip


@final
class PublishedKernels(PSFModel):
    """The published dual-pixel kernels (`blurphys.psf.butterworth`): whole radii from 1 px, left and right view."""

    gather_only = "published kernels"
    default_rendering = "gather"

    def __init__(self, order: int, cutoff: float, floor: float, *, max_radius: float, camera_name: str) -> None:
        self.order, self.cutoff, self.floor, self.camera_name = order, cutoff, floor, camera_name
        self.max_radius, self.step = math.floor(max_radius), 1.0

    def check_pupil(self, pupil: bp.Pupil) -> None:
        """Refuse a pupil that would be stored beside kernels that were not made from it."""
        made = pupil.parameters
        ring = (made["kind"], made.get("order"), made.get("cutoff"), made.get("floor"), made.get("cat_eye"))
        sensor = (pupil.split, pupil.cross_talk, pupil.angle, pupil.core)
        if ring != ("butterworth", self.order, self.cutoff, self.floor, (0.0, 0.0)) or sensor != (0.5, 0.0, 0.0, 0.0):
            raise ValueError(
                f"Camera: the published kernels of camera {self.camera_name} come with a pupil, split and angle of "
                "their own; choose another camera, or set published to None, to change them"
            )

    @property
    def reach(self) -> int:
        return int(self._kernel(max(1, int(self.max_radius))).shape[-1] // 2)

    def bank(self, views: Sequence[str]) -> bp.PSFBank:
        if not set(views) <= {"left", "right", "combined"}:
            raise ValueError(
                f"Camera: expected views left, right or combined for the published kernels of camera "
                f"{self.camera_name}, got {', '.join(views)}"
            )
        most = int(self.max_radius)
        size = self._kernel(most).shape[0]
        psfs: dict[str, np.ndarray] = {}
        behind: tuple[View, ...] = ("combined", "left", "right")
        in_front: tuple[View, ...] = ("combined", "right", "left")
        for view, mirrored in zip(behind, in_front, strict=True):
            kernels = [self._kernel(max(1, abs(r)), mirrored if r < 0 else view) for r in range(-most, most + 1)]
            psfs[view] = np.stack([np.pad(kernel, (size - kernel.shape[0]) // 2) for kernel in kernels])
        return bp.PSFBank(psfs=psfs, radii=list(range(-most, most + 1)))

    def cat_eye_banks(self, strength: float, aspect: float, views: Sequence[str]) -> Grid:
        raise ValueError("Camera: expected cat eyes without published kernels, got both; set one of them to none")

    def available_radii(self, defocus_map: np.ndarray) -> np.ndarray:
        whole: np.ndarray = np.rint(defocus_map)
        return np.where(whole == 0, whole.dtype.type(1), whole)

    def _kernel(self, radius: int, view: View = "combined") -> np.ndarray:
        kernel: np.ndarray = bp.psf.butterworth(
            radius, order=self.order, cutoff=self.cutoff, floor=self.floor, view=view
        )  # fmt: skip
        return kernel


@final
class FieldPSFs(PSFModel):
    """PSFs that differ over the frame (cat eyes): another model, whose pupil is clipped off axis."""

    nodes = ROWS * COLUMNS

    def __init__(self, centre: PSFModel, *, cat_eye: float) -> None:
        self.centre, self.cat_eye = centre, cat_eye
        self.max_radius, self.step, self.colours = centre.max_radius, centre.step, centre.colours
        self.gather_only, self.default_rendering = centre.gather_only or "cat eyes", centre.default_rendering

    @property
    def reach(self) -> int:
        return self.centre.reach

    def bank(self, views: Sequence[str]) -> bp.PSFBank:
        return self.centre.bank(views)

    def cat_eye_banks(self, strength: float, aspect: float, views: Sequence[str]) -> Grid:
        return self.centre.cat_eye_banks(strength, aspect, views)

    def field_banks(self, aspect: float, views: Sequence[str]) -> Grid | None:
        return self.cat_eye_banks(self.cat_eye, aspect, views)

    def available_radii(self, defocus_map: np.ndarray) -> np.ndarray:
        return self.centre.available_radii(defocus_map)


def psf_model_of(camera: Camera) -> PSFModel:
    """Choose the PSF model of a camera; ValueError for a pupil that does not belong to its published kernels."""
    flaws = camera.imperfections
    model: PSFModel
    if camera.published is not None:
        model = published = PublishedKernels(*camera.published, max_radius=camera.max_radius, camera_name=camera.name)
        published.check_pupil(camera.pupil)
    else:
        model = PupilPSFs(
            camera.pupil, camera.lens, max_radius=camera.max_radius, step=camera.step, chromatic=flaws.chromatic,
            diffraction_nm=flaws.diffraction_nm,
        )  # fmt: skip
    return FieldPSFs(model, cat_eye=flaws.cat_eye) if flaws.cat_eye else model


def _parts(views: Sequence[str]) -> tuple[str, ...]:
    """The views that combined is the mean of: those asked for, or left and right."""
    return tuple(view for view in views if view != "combined") or ("left", "right")


def _clip_pupil(pupil: bp.Pupil, *, cat_eye: tuple[float, float]) -> bp.Pupil:
    return bp.Pupil.measured(
        pupil.intensity, extent=pupil.extent, split=pupil.split, cross_talk=pupil.cross_talk, angle=pupil.angle,
        core=pupil.core, cat_eye=cat_eye,
    )  # fmt: skip


class Banks(NamedTuple):
    """The PSFs of a camera: one bank, and where they differ over the frame a grid of banks."""

    bank: bp.PSFBank
    grid: Grid | None


def banks_of(camera: Camera, views: Sequence[str], size: tuple[int, int]) -> Banks:
    """Make the PSFs of a camera for frames of height and width `size`; those of the last camera are kept."""
    key = json.dumps([camera.to_dict(), views, size], sort_keys=True)
    kept = _BANKS.get(key)
    if kept is None:
        kept = Banks(camera.bank(views), camera.field_banks(size[1] / size[0], views))
        _BANKS.clear()
        _BANKS[key] = kept
    return kept


_BANKS: dict[str, Banks] = {}
