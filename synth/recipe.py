"""What a dataset is made from, so that any sample of it can be made anywhere: scenes by name, camera, arguments."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

import blurphys as bp
from blurphys.publishing import PathLike

from . import scenes as scene_readers
from .camera import Camera
from .depth import Stereo
from .render import VIEWS, Model, Sample, blurred, check_model, check_views, exposed
from .scenes import Scene, with_background

__all__ = [
    "DRAWN",
    "SPLITS",
    "Recipe",
    "Source",
    "Stage",
    "make_recipe",
    "prepared",
    "sample_of",
    "shoot",
    "sources_of",
    "split_scenes",
    "stream",
]

SPLITS = ("train", "val", "test")
DRAWN = ("dead-leaves", "slanted-planes", "thin-occluders", "highlights", "text-chart")
"""Scenes that are drawn by rule; `NAME:N` stands for N of them, with the seeds 0 to N - 1."""

Invalid = Literal["error", "nearest", "far"]


class Stage(IntEnum):
    """What a stream of random numbers is for; the numbers are part of the data's identity and never change."""

    CAMERA = 0
    WINDOW = 1
    NOISE = 2


def stream(seed: int, split: str, scene: int, sample: int, stage: Stage) -> np.random.Generator:
    """Return the random stream of one stage of one sample: Philox, keyed by all five and by nothing else."""
    key = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), scene, sample, int(stage)))
    return np.random.Generator(np.random.Philox(key))


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a scene comes from.

    Attributes
    ----------
    name : str
        Different for every scene of a dataset.
    kind : {"folder", "drawn", "motorcycle", "memory"}
        What `place` means: a folder, the name of a drawn scene, nothing.
    place : str
        The folder, absolute, or what is drawn.
    arguments : tuple of (str, value)
        Of the reader or of the drawing.
    shape : (int, int)
        Height and width, px.
    source : str
        What the scene says of its origin.
    digest : str
        Hash of what the scene shows, so that another one under the same name is noticed.
    scene : Scene, optional
        With kind "memory": the scene itself, which no file knows.
    """

    name: str
    kind: str
    place: str = ""
    arguments: tuple[tuple[str, Any], ...] = ()
    shape: tuple[int, int] = (0, 0)
    source: str = ""
    digest: str = ""
    scene: Scene | None = None

    def load(self) -> Scene:
        """Read or draw the scene.

        Raises
        ------
        FileNotFoundError, ValueError
            The folder is gone or cannot be read; the scene was in memory and is not given.
        """
        options = dict(self.arguments)
        if self.kind == "memory":
            if self.scene is None:
                raise ValueError(
                    f"scene {self.name} was given in memory and is in no file; pass the same scenes to synth.generate "
                    "to go on"
                )
            return self.scene
        if self.kind == "motorcycle":
            return scene_readers.stereo_motorcycle()
        if self.kind == "drawn":
            draw = getattr(scene_readers, self.place.replace("-", "_"))
            return replace(cast(Scene, draw(**options)), name=self.name)
        stereo = options.pop("stereo", None)
        rig = None if stereo is None else Stereo(**dict(stereo))
        return replace(scene_readers.read_folder(self.place, options.get("depth_unit"), stereo=rig), name=self.name)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the scene itself, ready for JSON."""
        return {
            "name": self.name, "kind": self.kind, "place": self.place,
            "arguments": {key: dict(value) if key == "stereo" else value for key, value in self.arguments},
            "source": self.source, "height": self.shape[0], "width": self.shape[1], "digest": self.digest,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Source:
        """Undo `to_dict`; a scene in memory is then missing."""
        return cls(
            name=fields["name"], kind=fields["kind"], place=fields["place"],
            arguments=tuple(
                (key, tuple(sorted(value.items())) if key == "stereo" else value)
                for key, value in sorted(fields["arguments"].items())
            ), shape=(fields["height"], fields["width"]),
            source=fields["source"], digest=fields["digest"],
        )  # fmt: skip


def _digest(scene: Scene) -> str:
    seen = hashlib.sha256()
    planes = [scene.all_in_focus, scene.depth_m]
    for layer in scene.layers:
        planes += [layer.colour, layer.alpha, layer.depth_m]
    for plane in planes:
        seen.update(repr((plane.shape, plane.dtype.str)).encode())
        seen.update(np.ascontiguousarray(plane).tobytes())
    return seen.hexdigest()[:32]


def sources_of(
    scenes: Scene | PathLike | Sequence[Scene | PathLike],
    *,
    depth_unit: str | None = None,
    stereo: Stereo | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Source, ...]:
    """Find out what a list of scenes stands for.

    Parameters
    ----------
    scenes : Scene, str, path, or a sequence of them
        A scene; an RGB-D folder (`synth.scenes.read_folder`) or a folder of such folders; "motorcycle"; or the name of
        a drawn scene, see `DRAWN`.
    depth_unit, stereo
        Of all folders, see `synth.scenes.read_folder`.
    size : (int, int), optional
        Height and width of drawn scenes; 720 x 1280 without it.

    Returns
    -------
    tuple of Source

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        No scene, two of one name, or a folder that cannot be read.
    """
    listed = [scenes] if isinstance(scenes, Scene | str | Path) else list(scenes)  # type: ignore[arg-type]
    found: list[Source] = []
    for item in listed:
        if isinstance(item, Scene):
            found.append(
                Source(
                    name=item.name, kind="memory", shape=item.shape, source=item.source, digest=_digest(item),
                    scene=item,
                )
            )  # fmt: skip
        else:
            found += _named(str(item), depth_unit, stereo, size or (720, 1280))
    if not found:
        raise ValueError("generate: expected at least one scene, got none")
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"generate: expected scenes of different names, got {', '.join(twice)} more than once")
    return tuple(found)


def split_scenes(
    scenes: Sequence[Scene | PathLike], shares: Mapping[str, float], *, seed: int
) -> dict[str, list[Scene | PathLike]]:  # fmt: skip
    """Divide scenes among splits, so that none is in two.

    Parameters
    ----------
    scenes : sequence of Scene, str or path
        What `synth.generate` takes, each of another name.
    shares : mapping of split to float
        Such as ``{"train": 0.8, "val": 0.1, "test": 0.1}``; they count relative to their sum.
    seed : int
        Which division.

    Returns
    -------
    dict
        The scenes of each split; every split with a positive share has at least one.

    Raises
    ------
    ValueError
        Unknown splits, a share that is negative or none that is positive, fewer scenes than splits, or two scenes of
        one name.

    Notes
    -----
    Scenes are ordered by a hash of the seed and their name, whatever their order in the list, and cut by the shares.
    """
    wanted = {split: float(share) for split, share in shares.items() if share != 0}
    if not wanted or not set(wanted) <= set(SPLITS) or not all(0 < share < np.inf for share in wanted.values()):
        raise ValueError(f"split_scenes: expected positive shares of {', '.join(SPLITS)}, got {dict(shares)}")
    names = [scene.name if isinstance(scene, Scene) else str(scene) for scene in scenes]
    if len(set(names)) < len(names) or len(names) < len(wanted):
        raise ValueError(
            f"split_scenes: expected at least {len(wanted)} scenes of different names, got {len(names)}"
            f"{', some of one name' if len(set(names)) < len(names) else ''}"
        )
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(f"{seed} {names[i]}".encode()).digest())
    ends = np.cumsum(list(wanted.values())) / sum(wanted.values()) * len(names)
    found: dict[str, list[Scene | PathLike]] = {}
    start = 0
    for number, (split, end) in enumerate(zip(wanted, ends, strict=True)):
        stop = min(max(round(float(end)), start + 1), len(names) - (len(wanted) - 1 - number))
        found[split] = [scenes[i] for i in order[start:stop]]
        start = stop
    return found


def _named(text: str, depth_unit: str | None, stereo: Stereo | None, size: tuple[int, int]) -> list[Source]:
    word, _, number = text.partition(":")
    if word in DRAWN and not Path(text).exists():
        if number and not (number.isascii() and number.isdigit() and int(number) > 0):
            raise ValueError(f"generate: expected {word}:N with N >= 1, got {text!r}")
        sources = []
        for seed in range(int(number or 1)):
            options: dict[str, Any] = {"height": size[0], "width": size[1], "seed": seed}
            text = json.dumps([word, options], sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:32]
            name = f"{word}-{seed}"
            sources.append(
                Source(
                    name=name,
                    kind="drawn",
                    place=word,
                    arguments=tuple(sorted(options.items())),
                    shape=size,
                    digest=digest,
                )  # fmt: skip
            )
        return sources
    if text == "motorcycle" and not Path(text).exists():
        scene = scene_readers.stereo_motorcycle()
        return [
            Source(name=scene.name, kind="motorcycle", shape=scene.shape, source=scene.source, digest=_digest(scene))
        ]
    folder = Path(text)
    if not folder.exists():
        raise FileNotFoundError(
            f"there is no folder {folder}; a scene is an RGB-D folder, motorcycle, or one of {', '.join(DRAWN)}"
        )
    options = cast(dict[str, Any], {"depth_unit": depth_unit} if depth_unit else {})
    if stereo is not None:
        options["stereo"] = tuple(sorted(asdict(stereo).items()))  # hashable, as the rest of a source
    places = [folder]
    if folder.is_dir():
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        if inner and not any(path.is_file() and path.suffix.lower() in _IMAGES for path in folder.iterdir()):
            places = inner
    sources = []
    for place in places:
        made = Source(
            name=place.name, kind="folder", place=str(place.absolute()), arguments=tuple(sorted(options.items()))
        )  # fmt: skip
        scene = made.load()
        sources.append(replace(made, shape=scene.shape, source=scene.source, digest=_digest(scene)))
    return sources


_IMAGES = (".png", ".jpg", ".jpeg", ".pfm", ".dpt")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a dataset depends on; equal recipes give equal data. Made by `make_recipe`."""

    camera: Camera
    sources: tuple[Source, ...]
    samples: int
    seed: int
    split: str
    size: tuple[int, int]
    views: tuple[str, ...]
    invalid: Invalid
    model: Model
    slabs: int

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays each sample has."""
        return ("all_in_focus", *self.views, "defocus_map", "depth_m", "valid")

    def to_dict(self) -> dict[str, Any]:
        """Give it ready for JSON; scenes in memory by name and digest."""
        return {
            "camera": self.camera.to_dict(),
            "scenes": [source.to_dict() for source in self.sources],
            "samples": self.samples,
            "seed": self.seed,
            "split": self.split,
            "size": list(self.size),
            "views": list(self.views),
            "invalid": self.invalid,
            "model": self.model,
            "slabs": self.slabs,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """Undo `to_dict`; ValueError if the description is not one."""
        try:
            if fields["split"] not in SPLITS or not fields["scenes"] or int(fields["samples"]) < 1:
                raise ValueError("expected the description of a dataset, got one without scenes, samples or split")
            if not 0 <= int(fields["seed"]) < 1 << 64:
                raise ValueError(f"expected a seed from 0 to 2^64 - 1, got {fields['seed']}")
            return cls(
                camera=Camera.from_dict(fields["camera"]),
                sources=tuple(Source.from_dict(source) for source in fields["scenes"]),
                samples=int(fields["samples"]),
                seed=int(fields["seed"]),
                split=fields["split"],
                size=(int(fields["size"][0]), int(fields["size"][1])),
                views=check_views(fields["views"]),
                invalid=fields["invalid"],
                model=check_model(fields["model"]),
                slabs=int(fields["slabs"]),
            )
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"expected the description of a dataset, got something else ({error!r})") from None


def make_recipe(
    sources: tuple[Source, ...],
    *,
    camera: Camera,
    samples: int,
    seed: int,
    split: str = "train",
    size: tuple[int, int] | None = None,
    views: Sequence[str] = VIEWS,
    invalid: Invalid = "nearest",
    model: str = "layered",
    slabs: int = 24,
) -> Recipe:
    """Check the arguments of `synth.generate` and put them together; ValueError for one out of range."""
    if split not in SPLITS:
        raise ValueError(f"generate: expected split 'train', 'val' or 'test', got {split!r}")
    if samples < 1:
        raise ValueError(f"generate: expected at least one sample, got {samples}")
    if not 0 <= operator.index(seed) < 1 << 64:
        raise ValueError(f"generate: expected a seed from 0 to 2^64 - 1, got {seed}")
    if invalid not in ("error", "nearest", "far"):
        raise ValueError(f"generate: expected invalid 'error', 'nearest' or 'far', got {invalid!r}")
    if operator.index(slabs) < 1:
        raise ValueError(f"generate: expected at least one slab, got {slabs}")
    return Recipe(
        camera=camera, sources=sources, samples=operator.index(samples), seed=int(seed), split=split,
        size=_size(sources, size), views=check_views(views), invalid=invalid, model=check_model(model),
        slabs=int(slabs),
    )  # fmt: skip


def _size(sources: Sequence[Source], size: tuple[int, int] | None) -> tuple[int, int]:
    shapes = {source.shape for source in sources}
    if size is None:
        if len(shapes) > 1:
            listed = ", ".join(f"{h} x {w}" for h, w in sorted(shapes))
            raise ValueError(
                f"generate: the scenes differ in size ({listed}); pass size=(height, width) to cut samples from them"
            )
        return shapes.pop()
    height, width = (operator.index(n) for n in size)
    least = min(h for h, _ in shapes), min(w for _, w in shapes)
    if not (0 < height <= least[0] and 0 < width <= least[1]):
        raise ValueError(f"generate: expected a size of at most {least[0]} x {least[1]} px, got {height} x {width}")
    return height, width


def sample_of(recipe: Recipe, index: int, *, bank: bp.PSFBank | None = None) -> tuple[Sample, dict[str, float | int]]:
    """Make one sample of a dataset: the sample, and the parameters that it is stored with."""
    number = index % len(recipe.sources)
    scene = _loaded(recipe.sources[number], recipe.model != "gather", _reach(recipe.camera))
    streams = {stage: stream(recipe.seed, recipe.split, number, index, stage) for stage in Stage}
    drawn = recipe.camera.draw(streams[Stage.CAMERA])
    top, left = _place(scene, recipe.size, streams[Stage.WINDOW])
    sample = shoot(scene, drawn, (top, left, *recipe.size), recipe, rng=streams[Stage.NOISE], bank=bank)
    return sample, {"sample": index, "scene": number, "top": top, "left": left, **sample.parameters}


def _reach(camera: Camera) -> int:
    return max(1, int(np.ceil(2 * camera.max_radius)))


def prepared(scene: Scene, model: Model, camera: Camera) -> Scene:
    """Return the scene as a model wants it: with a background for those that know occlusion."""
    return scene if model == "gather" else with_background(scene, reach=_reach(camera))


@lru_cache(maxsize=8)
def _loaded(source: Source, background: bool, reach: int) -> Scene:
    scene = source.load()
    if source.kind != "drawn" and _digest(scene) != source.digest:
        raise ValueError(f"scene {source.name}: its files ({source.place}) changed since the dataset was begun")
    return with_background(scene, reach=reach) if background else scene


def _place(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a window of `size`, among the places with at least one known depth."""
    height, width = size
    known = np.pad(scene.valid.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    inside = known[height:, width:] - known[:-height, width:] - known[height:, :-width] + known[:-height, :-width]
    places = np.flatnonzero(inside)
    top, left = np.unravel_index(places[rng.integers(places.size)], inside.shape)
    return int(top), int(left)


def shoot(
    scene: Scene,
    camera: Camera,
    window: tuple[int, int, int, int],
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    bank: bp.PSFBank | None = None,
) -> Sample:
    """Render a window of a scene on a canvas that is larger by the reach of the blur, as far as the scene goes."""
    bank = camera.bank() if bank is None else bank
    top, left, height, width = window
    H, W = scene.shape
    margin = bank.psfs("combined").shape[-1] // 2
    above, before = min(margin, top), min(margin, left)
    below, after = min(margin, H - top - height), min(margin, W - left - width)
    canvas = scene.window(top - above, left - before, height + above + below, width + before + after)
    sample = blurred(
        canvas, camera, views=recipe.views, invalid=recipe.invalid, model=recipe.model, slabs=recipe.slabs, bank=bank
    )
    return exposed(sample.window(above, before, height, width), rng)
