"""Rendering: from a scene and a camera to a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

import blurphys as bp
from blurphys.inputs import require_choice, require_window

from ..camera.camera import Camera
from ..camera.psf_models import Banks
from ..camera.recording import record
from ..camera.views import SUB_APERTURES, VIEWS, check_views, sub_apertures_of
from ..scenes import Scene
from ..scenes.windows import widen
from .aperture import render_by_aperture
from .layering import layers_of
from .models import MODELS, Model

__all__ = [
    "Sample",
    "apply_blur",
    "expose",
    "gather_operator",
    "render",
    "render_window",
]

_PLANES = ("defocus_map", "depth_m", "valid", "alpha")


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """One rendered exposure, with its ground truth.

    Attributes
    ----------
    all_in_focus : ndarray of shape (3, H, W)
        The sharp scene, linear light.
    combined, left, right, top, bottom, top_left, top_right, bottom_left, bottom_right : ndarray (3, H, W), or None
        What was recorded, linear light, noisy, not clipped; None where it was not asked for.
    defocus_map : ndarray of shape (H, W)
        Signed circle-of-confusion radius, px, as rendered: unknown depths filled, clamped to the camera's limit.
    depth_m : ndarray of shape (H, W)
        Depth of the scene, m; NaN where unknown.
    valid : ndarray of bool of shape (H, W)
        Where the depth is known and its radius was not clamped.
    alpha : ndarray of shape (L, H, W), or None
        Share of each pixel that each surface covers, also where nearer surfaces hide it, nearest first; for a scene of
        exact layers.
    camera : Camera
        The camera, with its settings.
    model : str
        The rendering model, see `render`.
    parameters : dict
        Settings of the camera, and counts: ``unknown_pixels``, ``clamped_pixels`` (known depth, radius beyond the
        limit), and ``mirrored_top``, ``_bottom``, ``_left``, ``_right``: width in px of the rim into which the mirrored
        photograph is blurred, in place of light from outside the photograph.
    """

    all_in_focus: np.ndarray
    combined: np.ndarray | None
    left: np.ndarray | None
    right: np.ndarray | None
    defocus_map: np.ndarray
    depth_m: np.ndarray
    valid: np.ndarray
    camera: Camera
    top: np.ndarray | None = None
    bottom: np.ndarray | None = None
    top_left: np.ndarray | None = None
    top_right: np.ndarray | None = None
    bottom_left: np.ndarray | None = None
    bottom_right: np.ndarray | None = None
    alpha: np.ndarray | None = None
    model: Model = "gather"
    parameters: dict[str, float | int] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are not None, by name."""
        names = ("all_in_focus", "combined", *(view for part in SUB_APERTURES for view in part), *_PLANES)
        return {name: array for name in names if (array := getattr(self, name)) is not None}

    def window(self, top: int, left: int, height: int, width: int) -> Sample:
        """Cut out a window of whole pixels and update the counts; ValueError if it leaves the image."""
        H, W = self.valid.shape
        rows, columns = require_window("Sample", (top, left, height, width), (H, W))
        cut = {name: array[..., rows, columns] for name, array in self.arrays.items()}
        spare = {"top": top, "left": left, "bottom": H - top - height, "right": W - left - width}
        mirrored = {
            f"mirrored_{side}": max(0, int(self.parameters[f"mirrored_{side}"]) - n) for side, n in spare.items()
        }
        counts = _counts(cut["depth_m"], cut["valid"])
        changes: dict[str, Any] = {**cut, "parameters": {**self.parameters, **counts, **mirrored}}
        return replace(self, **changes)


def render(
    scene: Scene,
    camera: Camera,
    *,
    rng: np.random.Generator | int,
    views: Sequence[str] = VIEWS,
    invalid: Literal["error", "nearest", "far"] = "nearest",
    model: Model = "layered",
    slabs: int = 24,
    bank: bp.PSFBank | None = None,
) -> Sample:
    """Render what a camera records of a scene.

    Parameters
    ----------
    scene : Scene
        Sharp image in linear light and depth.
    camera : Camera
        Used with its present settings; its ranges are ignored (`Camera.draw` draws from them).
    rng : numpy.random.Generator or int
        Source of the noise, or a seed for one.
    views : sequence of str
        ``("combined",)`` for an ordinary camera, or a set of sub-aperture views: left and right, top and bottom, or the
        four views of a quad pixel, with or without combined, their mean. The pupil's `angle` rotates the directions.
    invalid : {"error", "nearest", "far"}
        Unknown depths are an error, or filled before blurring: from the nearest known pixel, or as infinitely far. They
        stay NaN in `depth_m` and False in `valid`.
    model : {"gather", "layered", "aperture"}
        ``"gather"``: each output pixel averages the sharp image under its own PSF (`blurphys.DualPixel`), as published
        generators do; no occlusion, so a blurred foreground has a hard silhouette. ``"layered"``: the scene is cut into
        slabs, each is blurred and occluded by nearer ones (`blurphys.LayeredDefocus`); a photograph should have a
        background (`synth.scenes.with_background`). ``"aperture"``: the same slabs, as seen from 600 points of the
        pupil; exact for them, and hundreds of times slower.
    slabs : int
        Largest number of slabs for each surface.
    bank : blurphys.PSFBank, optional
        ``camera.bank(views)``, to avoid making it again.

    Returns
    -------
    Sample
        In the dtype of the scene's image.

    Raises
    ------
    ValueError
        Unknown views, unknown depth with ``invalid="error"``, or an image too small to mirror its blur at the border.

    Notes
    -----
    Signed CoC radius c from the depth by the lens, clamped to ``camera.max_radius``; the blur; the lens's distortion,
    vignetting and shading; shot and read noise, drawn for each view independently, and the rest of the sensor. The
    camera's noise is that of a dual-pixel view; a quad-pixel view gets half its light, hence twice the shot and four
    times the read variance. Combined is the mean of the noisy views; alone it is drawn with the noise that
    (left + right) / 2 has. Nothing is clipped unless the sensor has a converter.

    Cost: the blur's, O(H W r^2) at most.
    """
    chosen, model = check_views(views), require_choice("render", "model", model, MODELS)
    sample = apply_blur(scene, camera, views=chosen, invalid=invalid, model=model, slabs=slabs, bank=bank)
    return expose(sample, rng)


def apply_blur(
    scene: Scene,
    camera: Camera,
    *,
    views: Sequence[str] = VIEWS,
    invalid: Literal["error", "nearest", "far"] = "nearest",
    model: Model = "layered",
    slabs: int = 24,
    bank: bp.PSFBank | None = None,
    banks: Sequence[Sequence[bp.PSFBank]] | None = None,
) -> Sample:
    """Render up to the sensor: linear light without noise, distortion or shading.

    Arguments, errors and cost as for `render`; `banks` is `Camera.field_banks`, to avoid making it again. With
    sub-aperture views, `combined` is their noise-free mean.
    """
    bank = camera.bank(views) if bank is None else bank
    image = scene.all_in_focus
    exact = camera.defocus_map(scene.depth_m, invalid=invalid)
    limit = min(camera.max_radius, bank.max_radius)
    defocus_map = np.clip(exact, -limit, limit).astype(image.dtype)
    valid = scene.valid & (np.abs(exact) <= limit)
    apertures = sub_apertures_of(views) or tuple(views)
    if model == "gather":
        defocus_map = camera.settled_map(defocus_map)
        light = _light(gather_operator(defocus_map, camera, apertures, bank, banks)(image))
    else:
        light = _light(_layered(scene, camera, apertures, bank, model=model, slabs=slabs, invalid=invalid, limit=limit))
    recorded: dict[str, Any] = {view: light[3 * i : 3 * i + 3] for i, view in enumerate(apertures)}
    if "combined" in views and len(apertures) > 1:
        recorded["combined"] = _mean([recorded[view] for view in apertures])
    return Sample(
        all_in_focus=image,
        **{"combined": None, "left": None, "right": None, **recorded},
        alpha=np.stack([layer.alpha for layer in scene.layers]) if scene.layers else None,
        defocus_map=defocus_map,
        depth_m=scene.depth_m,
        valid=valid,
        camera=camera,
        model=model,
        parameters={**camera.parameters, **_counts(scene.depth_m, valid), **_mirrored(defocus_map, bank)},
    )


def expose(sample: Sample, rng: np.random.Generator | int) -> Sample:
    """Record the light that `apply_blur` returns: distortion, shading, sensor and tone curve.

    Parameters
    ----------
    sample : Sample
        Light.
    rng : numpy.random.Generator or int
        Source of the noise, or a seed for one.

    Returns
    -------
    Sample
        As recorded.
    """
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    arrays = record(sample.arrays, sample.camera, generator)
    distorted = sample.camera.imperfections.distortion is not None
    counts = _counts(arrays["depth_m"], arrays["valid"]) if distorted else {}
    changes: dict[str, Any] = {**arrays, "parameters": {**sample.parameters, **counts}}
    return replace(sample, **changes)


def render_window(
    scene: Scene,
    camera: Camera,
    window: tuple[int, int, int, int],
    banks: Banks,
    *,
    rng: np.random.Generator,
    views: Sequence[str],
    invalid: Literal["error", "nearest", "far"],
    model: Model,
    slabs: int,
) -> Sample:
    """Render a window (top, left, height, width) of a scene, on a canvas that is larger by the reach of the blur.

    Where the scene goes on beyond the window its true content blurs across the border. Arguments as for `render`.
    """
    canvas, (above, before) = widen(scene, window, margin=banks.bank.psfs(views[0]).shape[-1] // 2)
    sample = apply_blur(
        canvas, camera, views=views, invalid=invalid, model=model, slabs=slabs, bank=banks.bank, banks=banks.grid
    )
    return expose(sample.window(above, before, *window[2:]), rng)


def gather_operator(
    defocus_map: np.ndarray,
    camera: Camera,
    views: Sequence[str],
    bank: bp.PSFBank,
    banks: Sequence[Sequence[bp.PSFBank]] | None,
) -> bp.LinearOperator:
    """Return the blur of model "gather": one bank for the frame, or one for each node where PSFs differ over it."""
    if banks is None:
        banks = camera.field_banks(defocus_map.shape[1] / defocus_map.shape[0], views)
    if banks is None:
        return bp.DualPixel(defocus_map, bank=bank, views=tuple(views))
    return bp.FieldDefocus(defocus_map, banks=tuple(map(tuple, banks)), views=tuple(views))


def _layered(
    scene: Scene,
    camera: Camera,
    views: Sequence[str],
    bank: bp.PSFBank,
    *,
    model: Model,
    slabs: int,
    invalid: Literal["error", "nearest", "far"],
    limit: float,
) -> np.ndarray:
    if what := camera.psf_model.gather_only:
        raise ValueError(f"render: the {what} of camera {camera.name} are for model='gather', got {model!r}")
    flaws = camera.imperfections
    if model == "aperture" and (flaws.chromatic != (1.0, 1.0, 1.0) or flaws.diffraction_nm is not None):
        raise ValueError(
            f"render: coloured defocus and diffraction of camera {camera.name} are for models 'gather' and 'layered', "
            f"got {model!r}"
        )
    colours, alphas, radii = layers_of(scene, camera, slabs=slabs, invalid=invalid, limit=limit)
    if model == "aperture":
        pictures = [render_by_aperture(colours, alphas, radii, camera.pupil, view=view, samples=600) for view in views]
        return np.concatenate(pictures).astype(colours.dtype)
    A = bp.LayeredDefocus(alphas, radii=radii, bank=bank, views=tuple(views), per_layer=True)
    y: np.ndarray = A(colours.reshape(-1, *colours.shape[-2:]))
    return y


def _mean(views: Sequence[np.ndarray]) -> np.ndarray:
    total = views[0]
    for view in views[1:]:
        total = total + view
    mean: np.ndarray = total / total.dtype.type(len(views))
    return mean


def _light(y: np.ndarray) -> np.ndarray:
    """Clip negative values, which rounding in the blur can cause."""
    light: np.ndarray = np.maximum(y, 0)
    return light


def _counts(depth_m: np.ndarray, valid: np.ndarray) -> dict[str, int]:
    known = ~np.isnan(depth_m)
    return {"unknown_pixels": int((~known).sum()), "clamped_pixels": int((known & ~valid).sum())}


def _mirrored(defocus_map: np.ndarray, bank: bp.PSFBank) -> dict[str, int]:
    """Return the width of the rim on each side that the blur of the mirrored photograph reaches, px."""
    # A pixel interpolates the two levels around its radius, so the wider one counts. A PSF is wider than its radius by
    # the extent of the pupil; measured kernels count at full width.
    if bank.pupil is None:
        reach = np.full(defocus_map.shape, bank.psfs("combined").shape[-1] // 2)
    else:
        wider = np.minimum(np.abs(defocus_map) + np.diff(bank.radii).max(), bank.max_radius)
        reach = np.ceil(np.maximum(wider * bank.pupil.extent - 0.5, 0)).astype(int)
    rows, columns = reach.max(axis=1), reach.max(axis=0)
    return {
        "mirrored_top": _depth_of_rim(rows),
        "mirrored_bottom": _depth_of_rim(rows[::-1]),
        "mirrored_left": _depth_of_rim(columns),
        "mirrored_right": _depth_of_rim(columns[::-1]),
    }


def _depth_of_rim(reach: np.ndarray) -> int:
    """Return the last row or column, counted from the border, whose PSF reaches beyond it."""
    touched = np.flatnonzero(reach > np.arange(reach.size))
    return int(touched[-1]) + 1 if touched.size else 0
