"""The operator of a stored sample: the linear part of what made its views from its sharp image."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import blurphys as bp

from ..camera.camera import Camera
from ..camera.noise import ShotReadNoise
from ..camera.psf_models import Banks, banks_of
from ..camera.recording import compute_gains
from ..camera.views import QUAD_PIXEL, sub_apertures_of
from ..dataset.folder import FolderReader
from ..dataset.reader import Reader
from ..rendering.render import gather_operator
from .recipe import Recipe

__all__ = ["OperatorWarning", "layered_operator_of", "noise_of", "operator_of"]


class OperatorWarning(UserWarning):
    """The operator of a sample leaves out a part of how its views were made."""


def operator_of(
    reader: Reader | FolderReader, index: int, views: Sequence[str] | str | None = None
) -> bp.LinearOperator:
    """Return the operator that made the views of a stored sample from its sharp image.

    Parameters
    ----------
    reader : Reader or FolderReader
        What `synth.open` returns.
    index : int
        Which sample.
    views : sequence of str, or str
        Which of the stored views, in this order, "combined" also where it is not stored; the stored ones without it.

    Returns
    -------
    blurphys.LinearOperator
        From the sharp image (3, H, W) to the views (3 len(views), H, W), all colours of the first view, then of the
        second; linear light, float32. It has the PSFs of the sample's camera (pupil, colours, diffraction, cat eyes,
        published kernels) at the stored radii, vignetting and shading.

    Raises
    ------
    IndexError, TypeError
        No such sample.
    ValueError
        A view that the sample does not have; a configuration without the recipe of the sample.

    Warns
    -----
    OperatorWarning
        The sample was not made by an operator of this kind. Occlusion (``model`` "layered" or "aperture"): the operator
        is the gather form, correct inside surfaces but not at their edges. Lens distortion: the operator blurs after
        the distortion, with undistorted PSFs. A colour mosaic: the operator does not include demosaicing.

    Notes
    -----
    For noiseless data of ``model="gather"`` ``operator_of(data, i, v)(data[i]["all_in_focus"])`` is what is stored, to
    rounding (and the steps of a converter), but for the rim where light from outside the frame came in: as wide as the
    widest PSF on the sides where the scene goes on, see the columns ``top`` and ``left``. Where the tone curve is not
    "linear", decode both images with ``data.camera(i).tone.invert`` first. It does not include noise, see `noise_of`.

    Cost: the PSFs are made at the first call and kept for the following ones of the same camera.

    Examples
    --------
    >>> import synth
    >>> with synth.open("data") as data:  # doctest: +SKIP
    ...     A = synth.operator_of(data, 0, ("left", "right"))
    ...     x = solvers.cgls(A, np.concatenate([data[0]["left"], data[0]["right"]])).x
    """
    configuration = reader.configuration_of(index)
    recipe, parameters, camera = Recipe.from_dict(configuration), reader.parameters(index), reader.camera(index)
    chosen = _choose_views(recipe.views, views)
    if shortcoming := _shortcoming(recipe, occlusion=False):
        warnings.warn(shortcoming, OperatorWarning, stacklevel=2)
    defocus_map = reader.read(index, names=("defocus_map",))["defocus_map"]
    banks = banks_of(recipe.camera, recipe.views, recipe.size)
    if recipe.camera.imperfections.distortion is not None:  # its radii may exceed what was rendered
        defocus_map = np.clip(defocus_map, float(banks.bank.radii[0]), float(banks.bank.radii[-1]))
    frame = _Frame(defocus_map, camera, recipe, banks, _margins(recipe, banks, parameters))
    gains, apertures = compute_gains(recipe.size, camera), sub_apertures_of(recipe.views)
    if len({id(gains[view]) for view in apertures or chosen}) > 1:
        return bp.stack([_one_view(frame, view, gains, apertures) for view in chosen])
    return _apply_gain(frame.blur(chosen), gains["combined"])


def layered_operator_of(
    reader: Reader | FolderReader, index: int, views: Sequence[str] | str | None = None, *, slabs: int = 24
) -> bp.LayeredDefocus:
    """Return the operator of the views of a stored sample with occlusion: layers of its defocus map.

    Parameters
    ----------
    reader, index, views
        As for `operator_of`.
    slabs : int
        At most as many layers, see `blurphys.layers_from_map`.

    Returns
    -------
    blurphys.LayeredDefocus
        From the colours of all layers (3 K, H, W) to the views, as `solvers.layered` takes it; linear light, float32.

    Raises
    ------
    IndexError, TypeError, ValueError
        As `operator_of`. ValueError also where PSFs differ over the frame (cat eyes), or the light does (vignetting,
        shading): layers do not have that.

    Warns
    -----
    OperatorWarning
        Lens distortion, or a colour mosaic, as for `operator_of`.

    Notes
    -----
    The layers are those that the stored map shows, with guesses of how they continue behind nearer ones; the scene had
    others. Nothing of the sharp image is used.
    """
    recipe, camera = Recipe.from_dict(reader.configuration_of(index)), reader.camera(index)
    chosen = _choose_views(recipe.views, views)
    if shortcoming := _shortcoming(recipe, occlusion=True):
        warnings.warn(shortcoming, OperatorWarning, stacklevel=2)
    banks = banks_of(recipe.camera, recipe.views, recipe.size)
    gains = compute_gains(recipe.size, camera)
    if banks.grid is not None or any(isinstance(gains[view], np.ndarray) for view in chosen):
        raise ValueError(
            "layered_operator_of: expected PSFs and exposure that are the same all over the frame, got a camera with "
            "cat eyes, vignetting or shading; operator_of has them, without occlusion"
        )
    names = tuple(view for view in chosen if view in recipe.views) or tuple(sub_apertures_of(recipe.views))
    data = reader.read(index, names=("defocus_map", *names))
    bank = banks.bank
    defocus_map = np.clip(data["defocus_map"], float(bank.radii[0]), float(bank.radii[-1]))
    picture = np.mean([data[name] for name in names], axis=0, dtype=defocus_map.dtype)
    layers = bp.layers_from_map(picture, defocus_map, slabs=slabs)
    return bp.LayeredDefocus(layers.alphas, radii=layers.radii, bank=bank, views=chosen, per_layer=True)


def noise_of(reader: Reader | FolderReader, index: int, view: str = "combined") -> ShotReadNoise:
    """Return the noise of one view of a stored sample.

    The camera's noise is that of a dual-pixel view; the combined image has half its variance, a quad-pixel view twice
    its shot and four times its read noise.
    """
    noise = reader.camera(index).noise
    if view == "combined":
        return noise.combined
    return noise.scaled(2) if view in QUAD_PIXEL else noise


def _choose_views(stored: Sequence[str], views: Sequence[str] | str | None) -> tuple[str, ...]:
    chosen = tuple(stored) if views is None else (views,) if isinstance(views, str) else tuple(views)
    known = dict.fromkeys((*stored, "combined"))
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
        raise ValueError(f"operator_of: expected views among {', '.join(known)}, each once, got {views!r}")
    return chosen


def _shortcoming(recipe: Recipe, *, occlusion: bool) -> str:
    """Say what an operator, with occlusion or without, leaves out of how the samples were made; empty for nothing."""
    found = []
    if recipe.model != "gather" and not occlusion:
        found.append(
            f"the data were rendered with model {recipe.model!r}, this operator is the gather form: right inside "
            "surfaces, not at their edges, where a restoration may get worse than the blurred image; the method "
            "`layered` (synth.layered_operator_of) knows what hides what"
        )
    if recipe.camera.imperfections.distortion is not None:
        found.append("the lens distorts, and the operator blurs after the distortion instead of before it")
    if recipe.camera.readout.mosaic is not None:
        found.append("the sensor has a colour mosaic, and the operator leaves out what demosaicing changed")
    return "; ".join(found)


def _margins(recipe: Recipe, banks: Banks, parameters: dict[str, float | int]) -> tuple[tuple[int, int], ...]:
    """Return the rendered margins: rows above and below, columns left and right of what is stored."""
    source = recipe.sources[int(parameters["scene"])]
    reach = banks.bank.psfs(recipe.views[0]).shape[-1] // 2
    return tuple(
        (min(reach, start), min(reach, whole - start - size))
        for start, whole, size in zip(
            (int(parameters["top"]), int(parameters["left"])), source.shape, recipe.size, strict=True
        )
    )


class _Frame:
    """The blur of one sample for any of its views."""

    def __init__(
        self, defocus_map: np.ndarray, camera: Camera, recipe: Recipe, banks: Banks, margins: Sequence[Sequence[int]]
    ) -> None:
        self.map, self.camera, self.size, self.banks, self.margins = defocus_map, camera, recipe.size, banks, margins

    def blur(self, views: tuple[str, ...]) -> bp.LinearOperator:
        bank, grid = self.banks
        if grid is None:
            return gather_operator(self.map, self.camera, views, bank, None)
        # PSFs that differ over the frame refer to the frame that was rendered; the stored image is a window of it.
        (above, below), (before, after) = self.margins
        canvas = np.pad(self.map, ((above, below), (before, after)), mode="edge")
        A = gather_operator(canvas, self.camera, views, bank, grid)
        return A.crop(slice(above, above + self.size[0]), slice(before, before + self.size[1]))


def _one_view(frame: _Frame, view: str, gains: dict[str, Any], parts: tuple[str, ...]) -> bp.LinearOperator:
    """Return blur and gain of a view; combined is the mean of the views, each with its gain."""
    if view != "combined" or not parts:
        return _apply_gain(frame.blur((view,)), gains[view])
    total: Any = None
    for part in parts:
        one = _apply_gain(frame.blur((part,)), gains[part])
        total = one if total is None else total + one
    mean: bp.LinearOperator = (1 / len(parts)) * total
    return mean


def _apply_gain(blur: bp.LinearOperator, gain: np.ndarray | float) -> bp.LinearOperator:
    """Multiply what an operator returns, pixel by pixel."""
    if not isinstance(gain, np.ndarray):
        return blur if math.isclose(gain, 1.0) else gain * blur
    spot = np.ones((1, 1, 1), np.float32)
    return bp.PSFStack(spot, weights=gain.astype(np.float32)[None], channels=blur.out_shape[0]) @ blur
