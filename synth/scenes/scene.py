"""A scene: a sharp photograph with depth, and the layers behind the visible surfaces, where they are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from blurphys.inputs import require_window

__all__ = ["Layer", "Scene"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One surface of a scene, also where nearer surfaces hide it.

    Parameters
    ----------
    colour : ndarray of shape (3, H, W)
        float32 or float64, linear light, finite and not negative; not multiplied by alpha.
    alpha : ndarray of shape (H, W)
        Share of each pixel that the surface covers, 0 to 1, same dtype.
    depth_m : ndarray of shape (H, W)
        float64, metres along the optical axis, known wherever alpha > 0.

    Raises
    ------
    ValueError
        Shapes that do not fit each other, or values outside the ranges above.
    """

    colour: np.ndarray
    alpha: np.ndarray
    depth_m: np.ndarray

    def __post_init__(self) -> None:
        colour, alpha, depth = self.colour, self.alpha, self.depth_m
        if colour.ndim != 3 or colour.shape[0] != 3 or not colour.shape[1:] == alpha.shape == depth.shape:
            raise ValueError(
                f"Layer: expected colour (3, H, W) with alpha and depth (H, W), got {colour.shape}, {alpha.shape}, "
                f"{depth.shape}"
            )
        if colour.dtype not in (np.float32, np.float64) or alpha.dtype != colour.dtype or depth.dtype != np.float64:
            raise ValueError(
                "Layer: expected colour and alpha of one float type and float64 depth, got "
                f"{colour.dtype}, {alpha.dtype}, {depth.dtype}"
            )
        if not np.isfinite(colour).all() or colour.min() < 0:
            raise ValueError("Layer: the colour holds values that are negative or not finite")
        if not ((alpha >= 0) & (alpha <= 1)).all():
            raise ValueError(f"Layer: expected alpha from 0 to 1, got {alpha.min()} to {alpha.max()}")
        used = depth[alpha > 0]
        if not (np.isfinite(used) & (used > 0)).all():
            raise ValueError("Layer: expected a depth > 0 m wherever alpha > 0; is one unknown?")

    def window(self, top: int, left: int, height: int, width: int) -> Layer:
        """Cut out a window of whole pixels; ValueError if it leaves the image."""
        rows, columns = require_window("Layer", (top, left, height, width), self.shape)
        return Layer(
            colour=self.colour[:, rows, columns], alpha=self.alpha[rows, columns], depth_m=self.depth_m[rows, columns]
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.alpha.shape[0], self.alpha.shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """An all-in-focus photograph and the depth of what it shows.

    Parameters
    ----------
    all_in_focus : ndarray of shape (3, H, W)
        float32 or float64, linear light, finite and not negative; white is 1, highlights may exceed it.
    depth_m : ndarray of shape (H, W)
        float64, metres along the optical axis; NaN where unknown.
    name : str
        Short name, used in reports and stored with the data.
    source : str
        Where it comes from and what was done to it.
    layers : tuple of Layer
        The surfaces, nearest first, with their hidden parts; usually from `from_layers`. Empty for a photograph.
    hidden : Layer, optional
        For a photograph: a guess of the second surface behind each pixel (`with_background`).
    sharp : bool
        False for a photograph that is known to be partly out of focus; what is rendered from it is blurred twice.
    focal_px : float, optional
        Focal length of the camera that took the photograph, in px of this photograph, where a calibration says it.
    depth_levels : tuple of float
        The depths that neighbouring codes of an 8-bit depth file stand for, m, nearest first; empty for other depth.

    Raises
    ------
    ValueError
        Shapes that do not fit each other, values outside the ranges above, or no pixel of known depth.
    """

    all_in_focus: np.ndarray
    depth_m: np.ndarray
    name: str
    source: str = ""
    layers: tuple[Layer, ...] = ()
    hidden: Layer | None = None
    sharp: bool = True
    focal_px: float | None = None
    depth_levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        image, depth = self.all_in_focus, self.depth_m
        if image.ndim != 3 or image.shape[0] != 3:
            hint = "; is the image channels-last?" if image.ndim == 3 and image.shape[-1] == 3 else ""
            raise ValueError(f"Scene {self.name}: expected an image of shape (3, H, W), got {image.shape}{hint}")
        if depth.shape != image.shape[1:]:
            raise ValueError(
                f"Scene {self.name}: expected one depth per pixel, got an image of {image.shape[1]} x {image.shape[2]} "
                f"and a depth map of shape {depth.shape}; do the two files belong together?"
            )
        if image.dtype not in (np.float32, np.float64) or depth.dtype != np.float64:
            raise ValueError(
                f"Scene {self.name}: expected a float image and float64 depth, got {image.dtype}, {depth.dtype}"
            )
        if not np.isfinite(image).all() or image.min() < 0:
            raise ValueError(f"Scene {self.name}: the image holds values that are negative or not finite")
        known = ~np.isnan(depth)
        if not known.any():
            raise ValueError(f"Scene {self.name}: no pixel has a known depth")
        nearest, farthest = depth[known].min(), depth[known].max()
        if not (nearest > 0 and math.isfinite(farthest)):
            raise ValueError(
                f"Scene {self.name}: expected depths > 0 m and NaN where unknown, got {nearest} to {farthest}; "
                "to_metres turns the usual marks of unknown depth into NaN"
            )
        if any(layer.shape != depth.shape for layer in self.layers):
            raise ValueError(
                f"Scene {self.name}: expected layers of {depth.shape}, got {[x.shape for x in self.layers]}"
            )

    @classmethod
    def from_layers(cls, layers: Sequence[Layer], *, name: str, source: str = "") -> Scene:
        """Make the scene that a pinhole camera sees of these surfaces, nearest first.

        Parameters
        ----------
        layers : sequence of Layer
            Their alphas have to cover every pixel: the last one is usually 1 everywhere.
        name, source : str
            As for `Scene`.

        Returns
        -------
        Scene
            The image is the composite of the layers; the depth of a pixel is that of the first layer down to which at
            least half of it is covered.

        Raises
        ------
        ValueError
            No layers, layers of different sizes, or a pixel that is not covered.
        """
        if not layers or any(layer.shape != layers[0].shape for layer in layers):
            raise ValueError(f"Scene {name}: expected layers of one size, got {[layer.shape for layer in layers]}")
        image = np.zeros_like(layers[0].colour)
        depth = np.full(layers[0].shape, np.nan)
        open_share = np.ones_like(layers[0].alpha)
        for layer in layers:
            image += open_share * layer.alpha * layer.colour
            open_share = open_share * (1 - layer.alpha)
            depth = np.where(np.isnan(depth) & (open_share <= 0.5), layer.depth_m, depth)
        if open_share.max() > 1e-5:
            raise ValueError(
                f"Scene {name}: the layers leave {open_share.max():.2%} of a pixel open; the last one should cover all"
            )
        return cls(all_in_focus=image, depth_m=depth, name=name, source=source, layers=tuple(layers))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.depth_m.shape[0], self.depth_m.shape[1]

    @property
    def valid(self) -> np.ndarray:
        """Mask of shape (H, W): where the depth is known."""
        known: np.ndarray = ~np.isnan(self.depth_m)
        return known

    def window(self, top: int, left: int, height: int, width: int) -> Scene:
        """Cut out a window of whole pixels; ValueError if it leaves the image."""
        rows, columns = require_window(f"Scene {self.name}", (top, left, height, width), self.shape)
        return replace(
            self,
            all_in_focus=self.all_in_focus[:, rows, columns],
            depth_m=self.depth_m[rows, columns],
            layers=tuple(layer.window(top, left, height, width) for layer in self.layers),
            hidden=None if self.hidden is None else self.hidden.window(top, left, height, width),
        )
