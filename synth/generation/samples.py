"""Sample i of a recipe: its random settings and its rendering, a function of (seed, i) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import IntEnum
from functools import lru_cache

import numpy as np

from ..camera.camera import Camera
from ..camera.psf_models import Banks, banks_of
from ..dataset.schema import Row
from ..rendering.models import Model
from ..rendering.render import Sample, render_window
from ..scenes import Scene, with_background
from ..scenes.windows import draw_window
from .recipe import SPLITS, Recipe
from .sources import Source, digest_of

__all__ = ["Stage", "count_clamped", "prepare_scene", "rows_of", "sample_of", "shoot", "stream"]

MAX_SCENES = 8
"""Scenes that a process keeps in memory."""


class Stage(IntEnum):
    """The purposes of random streams; the values are part of the key of the random numbers and must never change."""

    CAMERA = 0
    WINDOW = 1
    NOISE = 2


def stream(seed: int, split: str, scene: int, sample: int, stage: Stage) -> np.random.Generator:
    """Return the random stream of one stage of one sample: Philox, keyed by the five arguments."""
    key = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), scene, sample, int(stage)))
    return np.random.Generator(np.random.Philox(key))


def rows_of(
    recipe: Recipe, indices: Iterable[int], on_sample: Callable[[int, Sample], None] | None = None
) -> Iterator[Row]:
    """Render samples one by one; `on_sample` is called after each was consumed, that is stored.

    ValueError as for `sample_of`.
    """
    banks = banks_of(recipe.camera, recipe.views, recipe.size)
    for index in indices:
        sample, parameters = sample_of(recipe, index, banks)
        yield Row(sample.arrays, parameters)
        if on_sample is not None:
            on_sample(index, sample)


def sample_of(recipe: Recipe, index: int, banks: Banks | None = None) -> tuple[Sample, dict[str, float | int]]:
    """Make one sample of a dataset: the sample, and the parameters that it is stored with.

    ValueError for a scene without a window where enough depth is known.
    """
    scene, drawn, window, noise = _draw_settings(recipe, index)
    sample = shoot(scene, drawn, window, recipe, rng=noise, banks=banks)
    number, (top, left, *_) = index % len(recipe.sources), window
    return sample, {"sample": index, "scene": number, "top": top, "left": left, **sample.parameters}


def _draw_settings(
    recipe: Recipe, index: int, *, background: bool | None = None
) -> tuple[Scene, Camera, tuple[int, int, int, int], np.random.Generator]:
    """Draw the settings of a sample: scene, camera, window, and the stream of its noise."""
    number = index % len(recipe.sources)
    background = recipe.model != "gather" if background is None else background
    scene = _load_scene(recipe.sources[number], background, _reach(recipe.camera))
    streams = {stage: stream(recipe.seed, recipe.split, number, index, stage) for stage in Stage}
    camera = recipe.camera.draw(streams[Stage.CAMERA])
    window = draw_window(scene, recipe.size, streams[Stage.WINDOW], recipe.min_valid)
    return scene, camera, window, streams[Stage.NOISE]


def count_clamped(recipe: Recipe, *, max_samples: int = 32) -> tuple[int, int]:
    """Count, without rendering, the pixels of known depth in some samples and those of them that will be clamped.

    At most `max_samples`, spread evenly. ValueError as for `sample_of`, and for unknown depths that the recipe refuses.
    """
    known = clamped = 0
    # Backgrounds are made only where the scenes stay cached for the rendering.
    kept = recipe.model != "gather" and len(recipe.sources) <= MAX_SCENES
    for index in np.unique(np.linspace(0, recipe.samples - 1, min(max_samples, recipe.samples)).astype(int)):
        scene, camera, window, _ = _draw_settings(recipe, int(index), background=kept)
        top, left, height, width = window
        depth = scene.depth_m[top : top + height, left : left + width]
        radii = camera.defocus_map(depth, invalid=recipe.invalid)
        known += int((~np.isnan(depth)).sum())
        clamped += int((~np.isnan(depth) & (np.abs(radii) > camera.psf_model.max_radius)).sum())
    return known, clamped


def _reach(camera: Camera) -> int:
    return max(1, int(np.ceil(2 * camera.max_radius)))


def prepare_scene(scene: Scene, model: Model, camera: Camera) -> Scene:
    """Return the scene for a rendering model: with a background for models with occlusion."""
    return scene if model == "gather" else with_background(scene, reach=_reach(camera))


@lru_cache(maxsize=MAX_SCENES)
def _load_scene(source: Source, background: bool, reach: int) -> Scene:
    scene = source.load()
    if source.kind != "drawn" and digest_of(scene) != source.digest:
        raise ValueError(f"scene {source.name}: its files ({source.location}) changed since the dataset was begun")
    return with_background(scene, reach=reach) if background else scene


def shoot(
    scene: Scene,
    camera: Camera,
    window: tuple[int, int, int, int],
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    banks: Banks | None = None,
) -> Sample:
    """Render a window of a scene by a recipe, with the number of alpha masks that all its samples have."""
    banks = banks_of(recipe.camera, recipe.views, recipe.size) if banks is None else banks
    sample = render_window(
        scene, camera, window, banks, rng=rng, views=recipe.views, invalid=recipe.invalid, model=recipe.model,
        slabs=recipe.slabs,
    )  # fmt: skip
    if not recipe.layers:
        return replace(sample, alpha=None)
    stored = np.zeros((recipe.layers, *recipe.size), sample.all_in_focus.dtype)
    if sample.alpha is not None:
        stored[: len(sample.alpha)] = sample.alpha
    return replace(sample, alpha=stored)
