"""ThinLens: from depth to the radius of the circle of confusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from ..inputs import require_choice, require_float, require_number
from ..types import Array

__all__ = ["ThinLens"]

MIN_DEPTH_M = 1e-9
"""Depths up to a nanometre count as unknown, like zero: their inverse would overflow."""


@final
@dataclass(frozen=True, kw_only=True)
class ThinLens:
    """A thin lens focused at one distance.

    Parameters
    ----------
    focal_length_mm : float
        Focal length f, mm.
    f_number : float
        N; the aperture diameter is f / N.
    focus_distance_m : float
        Distance u of the plane of focus from the lens, m; beyond the focal length.
    pixel_pitch_um : float
        Sensor width / image width, um, *after* any down-scaling of the image.

    Raises
    ------
    ValueError
        A value that is not positive and finite, or a focus distance inside the focal length.

    Notes
    -----
    An object at distance d along the optical axis has the signed radius ``c = f^2 / (2 N (u - f) p) (1 - u / d)``, all
    lengths in one unit: linear in 1 / d, 0 at d = u, positive behind the plane of focus.

    Examples
    --------
    >>> import numpy as np
    >>> lens = ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1.0, pixel_pitch_um=46.875)
    >>> lens.defocus_map(np.array([[0.6, 1.0, 2.0]])).round(2).tolist()
    [[-4.68, 0.0, 3.51]]
    """

    focal_length_mm: float
    f_number: float
    focus_distance_m: float
    pixel_pitch_um: float

    def __post_init__(self) -> None:
        for name in ("focal_length_mm", "f_number", "focus_distance_m", "pixel_pitch_um"):
            require_number("ThinLens", name, getattr(self, name), above=0)
        if self.focus_distance_m * 1e3 <= self.focal_length_mm:
            raise ValueError(
                f"ThinLens: expected focus_distance_m beyond the focal length ({self.focal_length_mm:g} mm), got "
                f"{self.focus_distance_m:g} m = {self.focus_distance_m * 1e3:g} mm; is the distance in metres?"
            )

    @property
    def radius_at_infinity(self) -> float:
        """CoC radius of an infinitely far point, px: ``f^2 / (2 N (u - f) p)``, all lengths in one unit."""
        f, u = self.focal_length_mm, self.focus_distance_m * 1e3
        return f * f / (2 * self.f_number * (u - f) * self.pixel_pitch_um * 1e-3)

    def defocus_map(self, depth_m: Array, invalid: Literal["error", "nearest", "far"] = "error") -> Array:
        """Turn planar depth into the signed circle-of-confusion radius.

        Parameters
        ----------
        depth_m : array of shape (..., H, W)
            Distance from the lens along the optical axis (not along the ray), m.
        invalid : {"error", "nearest", "far"}
            What to do where depth is NaN, infinite, zero or negative: raise an error, use the depth of the nearest
            valid pixel, or use infinity.

        Returns
        -------
        array of shape (..., H, W)
            Signed radius, px: ``c = c_inf (1 - u / d)``, positive behind the plane of focus. Same namespace and dtype.

        Raises
        ------
        ValueError
            Invalid depths under "error", no valid depth at all under "nearest", an unknown policy.
        TypeError
            If depth is not a floating-point array.
        """
        if "int" in str(getattr(depth_m, "dtype", "")):
            raise TypeError(
                f"ThinLens.defocus_map: expected depth in metres, float32 or float64, got {depth_m.dtype}; "
                f"convert it, for example depth / 1000.0 where it is in mm"
            )
        xp = require_float("ThinLens.defocus_map", "depth_m", depth_m)
        require_choice("ThinLens.defocus_map", "invalid", invalid, ("error", "nearest", "far"))
        if depth_m.ndim < 2:
            raise ValueError(f"ThinLens.defocus_map: expected depth of shape (..., H, W), got {tuple(depth_m.shape)}")
        valid = xp.isfinite(depth_m) & (depth_m > MIN_DEPTH_M)
        if not bool(xp.all(valid)):
            count = int(xp.count_nonzero(~valid))
            if invalid == "error":
                raise ValueError(
                    f"ThinLens.defocus_map: expected finite depths > 0 m, got {count} pixels that are NaN, infinite, "
                    f"zero or negative; choose invalid='nearest' or invalid='far' to accept them"
                )
            if invalid == "nearest":
                depth_m = _fill_nearest(depth_m, valid)
            else:
                inverse = xp.where(valid, 1.0 / xp.where(valid, depth_m, xp.ones_like(depth_m)), xp.zeros_like(depth_m))
                return self.radius_at_infinity * (1.0 - self.focus_distance_m * inverse)
        return self.radius_at_infinity * (1.0 - self.focus_distance_m / depth_m)


def _fill_nearest(values: Array, valid: Array) -> Array:
    """Set each invalid pixel to the value of the nearest valid one in the same image."""
    from scipy.ndimage import distance_transform_edt

    xp = array_namespace(values)
    mask = valid if is_numpy_array(valid) else np.asarray(valid.cpu() if hasattr(valid, "cpu") else valid)
    height, width = mask.shape[-2:]
    flat = xp.reshape(values, (-1, height * width))
    filled = []
    for i, plane in enumerate(mask.reshape(-1, height, width)):
        if not plane.any():
            raise ValueError("ThinLens.defocus_map: expected at least one valid depth in each image, got none")
        rows, cols = distance_transform_edt(~plane, return_distances=False, return_indices=True)
        source = xp.asarray((rows * width + cols).reshape(-1).astype(np.int64))
        filled.append(xp.take(flat[i, :], source))
    return xp.reshape(xp.stack(filled, axis=0), values.shape)
