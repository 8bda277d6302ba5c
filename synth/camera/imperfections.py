"""Imperfections of a lens: colour, diffraction, variation over the frame, distortion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from blurphys.frozen import freeze
from blurphys.inputs import require_number

from .distortion import RadialDistortion

__all__ = ["Imperfections"]


@dataclass(frozen=True, kw_only=True)
class Imperfections:
    """Imperfections of a lens, compared to a thin lens with a flat field; none by default.

    Parameters
    ----------
    chromatic : (float, float, float)
        CoC radius of red, green and blue over the nominal one.
    diffraction_nm : float, optional
        Wavelength; PSFs are softened by the Airy disk of the camera's nominal f-number. None leaves diffraction out.
    cat_eye : float
        How far the lens barrel shifts the pupil's clipping disk in the corners, pupil radii (`optics.cat_eye_banks`).
    field_curvature_px : float
        CoC radius that the corners have when the centre is in focus, px.
    vignetting : float
        Light in the corners divided by light in the centre.
    shading : (float, float)
        Left view divided by right view at the left and at the right border of the frame.
    distortion : RadialDistortion, optional
        Applied to all planes, after the blur and before the sensor.

    Notes
    -----
    Vignetting, shading and distortion refer to the frame of the stored image; cat eye and field curvature to the frame
    that is rendered, the stored image with the margin for its blur. Cat eyes need ``model="gather"``; in a dataset
    their PSFs are made once, for the width and height of the stored image.
    """

    chromatic: tuple[float, float, float] = (1.0, 1.0, 1.0)
    diffraction_nm: float | None = None
    cat_eye: float = 0.0
    field_curvature_px: float = 0.0
    vignetting: float = 1.0
    shading: tuple[float, float] = (1.0, 1.0)
    distortion: RadialDistortion | None = None

    def __post_init__(self) -> None:
        for name, count in (("chromatic", 3), ("shading", 2)):
            values = tuple(float(v) for v in getattr(self, name))
            if len(values) != count or not all(math.isfinite(v) and v > 0 for v in values):
                raise ValueError(f"Imperfections: expected {name} = {count} numbers > 0, got {getattr(self, name)}")
            freeze(self, **{name: values})
        require_number("Imperfections", "vignetting", self.vignetting, above=0, most=1)
        require_number("Imperfections", "field_curvature_px", self.field_curvature_px)
        if not abs(self.cat_eye) < 2:
            raise ValueError(f"Imperfections: expected a cat_eye between -2 and 2, got {self.cat_eye}")
        if self.diffraction_nm is not None:
            require_number("Imperfections", "diffraction_nm", self.diffraction_nm, above=0)

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers and lists, ready for JSON."""
        return {
            **asdict(self),
            "chromatic": list(self.chromatic),
            "shading": list(self.shading),
            "distortion": None if self.distortion is None else self.distortion.to_dict(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Imperfections:
        """Undo `to_dict`."""
        distortion = fields["distortion"]
        return cls(**{**fields, "distortion": None if distortion is None else RadialDistortion.from_dict(distortion)})
