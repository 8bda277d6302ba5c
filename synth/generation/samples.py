"""Any sample of a dataset, made from its recipe and its number alone: what is drawn for it, and the picture taken."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

import blurphys as bp

from ..camera.camera import Camera
from ..rendering.render import Model, Sample, blurred, exposed
from ..scenes import Scene, with_background
from .recipe import SPLITS, Recipe
from .sources import Source, digest_of

__all__ = ["Optics", "Stage", "foreseen_clamping", "optics_of", "prepared", "sample_of", "shoot", "stream"]

KEPT = 8
"""Scenes that a process keeps in memory."""


class Stage(IntEnum):
    """What a stream of random numbers is for; the numbers are part of the data's identity and never change."""

    CAMERA = 0
    WINDOW = 1
    NOISE = 2


def stream(seed: int, split: str, scene: int, sample: int, stage: Stage) -> np.random.Generator:
    """Return the random stream of one stage of one sample: Philox, keyed by all five and by nothing else."""
    key = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), scene, sample, int(stage)))
    return np.random.Generator(np.random.Philox(key))


class Optics(NamedTuple):
    """PSFs of a recipe's camera: one bank, and for cat eyes a grid of banks over the frame."""

    bank: bp.PSFBank
    banks: tuple[tuple[bp.PSFBank, ...], ...] | None


def optics_of(recipe: Recipe) -> Optics:
    """Make the PSFs that all samples of a recipe share; kept, so that a process makes them once for all its shards."""
    key = json.dumps([recipe.camera.to_dict(), recipe.views, recipe.size], sort_keys=True)
    kept = _OPTICS.get(key)
    if kept is None:
        bank = recipe.camera.bank(recipe.views)
        kept = Optics(bank, recipe.camera.field_banks(recipe.size[1] / recipe.size[0], recipe.views))
        _OPTICS.clear()
        _OPTICS[key] = kept
    return kept


_OPTICS: dict[str, Optics] = {}


def sample_of(recipe: Recipe, index: int, *, optics: Optics | None = None) -> tuple[Sample, dict[str, float | int]]:
    """Make one sample of a dataset: the sample, and the parameters that it is stored with.

    ValueError for a scene without a place where enough depth is known.
    """
    scene, drawn, place, noise = _settled(recipe, index)
    sample = shoot(scene, drawn, (*place, *recipe.size), recipe, rng=noise, optics=optics)
    number = index % len(recipe.sources)
    return sample, {"sample": index, "scene": number, "top": place[0], "left": place[1], **sample.parameters}


def _settled(
    recipe: Recipe, index: int, *, background: bool | None = None
) -> tuple[Scene, Camera, tuple[int, int], np.random.Generator]:
    """Everything that is drawn before a sample is rendered: scene, camera, place, and the stream of the noise."""
    number = index % len(recipe.sources)
    background = recipe.model != "gather" if background is None else background
    scene = _loaded(recipe.sources[number], background, _reach(recipe.camera))
    streams = {stage: stream(recipe.seed, recipe.split, number, index, stage) for stage in Stage}
    drawn = recipe.camera.draw(streams[Stage.CAMERA])
    place = _place(scene, recipe.size, streams[Stage.WINDOW], recipe.min_valid)
    return scene, drawn, place, streams[Stage.NOISE]


def foreseen_clamping(recipe: Recipe, *, most: int = 32) -> tuple[int, int]:
    """Count, without rendering, the pixels of known depth in some samples and those of them that will be clamped.

    Up to `most` samples, spread evenly. ValueError as for `sample_of`, and for unknown depths that the recipe refuses.
    """
    known = clamped = 0
    # Backgrounds are not looked at: they are made only where the scenes will be kept for the rendering.
    kept = recipe.model != "gather" and len(recipe.sources) <= KEPT
    for index in np.unique(np.linspace(0, recipe.samples - 1, min(most, recipe.samples)).astype(int)):
        scene, drawn, place, _ = _settled(recipe, int(index), background=kept)
        depth = scene.window(*place, *recipe.size).depth_m
        radii = drawn.defocus_map(depth, invalid=recipe.invalid)
        known += int((~np.isnan(depth)).sum())
        clamped += int((~np.isnan(depth) & (np.abs(radii) > drawn.psf_model.max_radius)).sum())
    return known, clamped


def _reach(camera: Camera) -> int:
    return max(1, int(np.ceil(2 * camera.max_radius)))


def prepared(scene: Scene, model: Model, camera: Camera) -> Scene:
    """Return the scene as a model wants it: with a background for those that know occlusion."""
    return scene if model == "gather" else with_background(scene, reach=_reach(camera))


@lru_cache(maxsize=KEPT)
def _loaded(source: Source, background: bool, reach: int) -> Scene:
    scene = source.load()
    if source.kind != "drawn" and digest_of(scene) != source.digest:
        raise ValueError(f"scene {source.name}: its files ({source.place}) changed since the dataset was begun")
    return with_background(scene, reach=reach) if background else scene


def _place(scene: Scene, size: tuple[int, int], rng: np.random.Generator, min_valid: float) -> tuple[int, int]:
    """Top and left of a window of `size`, among the places where at least this share of the depths is known."""
    height, width = size
    known = np.pad(scene.valid.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    inside = known[height:, width:] - known[:-height, width:] - known[height:, :-width] + known[:-height, :-width]
    places = np.flatnonzero(inside >= max(1, math.ceil(min_valid * height * width)))
    if not places.size:
        raise ValueError(
            f"scene {scene.name}: at no place of {height} x {width} px is the depth known for {min_valid:.2%} of the "
            f"pixels (at best {inside.max() / (height * width):.2%})"
        )
    top, left = np.unravel_index(places[rng.integers(places.size)], inside.shape)
    return int(top), int(left)


def shoot(
    scene: Scene,
    camera: Camera,
    window: tuple[int, int, int, int],
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    optics: Optics | None = None,
) -> Sample:
    """Render a window of a scene on a canvas that is larger by the reach of the blur, as far as the scene goes."""
    optics = optics_of(recipe) if optics is None else optics
    top, left, height, width = window
    H, W = scene.shape
    margin = optics.bank.psfs(recipe.views[0]).shape[-1] // 2
    above, before = min(margin, top), min(margin, left)
    below, after = min(margin, H - top - height), min(margin, W - left - width)
    canvas = scene.window(top - above, left - before, height + above + below, width + before + after)
    sample = blurred(
        canvas, camera, views=recipe.views, invalid=recipe.invalid, model=recipe.model, slabs=recipe.slabs,
        bank=optics.bank, banks=optics.banks,
    )  # fmt: skip
    shown = exposed(sample.window(above, before, height, width), rng)
    if not recipe.layers:
        return replace(shown, alpha=None)
    stored = np.zeros((recipe.layers, height, width), shown.all_in_focus.dtype)
    if shown.alpha is not None:
        stored[: len(shown.alpha)] = shown.alpha
    return replace(shown, alpha=stored)
