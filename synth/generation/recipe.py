"""What a dataset is made from, so that any sample of it can be made anywhere: scenes by name, camera, arguments."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np

import blurphys as bp
from blurphys.files.publishing import PathLike

from .. import scenes as scene_readers
from ..camera.camera import Camera
from ..io import Encoding
from ..io.depth import Stereo, metres_per_unit
from ..rendering.render import VIEWS, Model, Sample, blurred, check_model, check_views, exposed
from ..scenes import Scene, with_background
from ..scenes.folders import holds_pair

__all__ = [
    "DRAWN",
    "MIN_VALID",
    "SPLITS",
    "Optics",
    "Recipe",
    "Source",
    "Stage",
    "foreseen_clamping",
    "make_recipe",
    "optics_of",
    "prepared",
    "sample_of",
    "shoot",
    "sources_of",
    "stream",
]

SPLITS = ("train", "val", "test")
DRAWN = ("dead-leaves", "slanted-planes", "thin-occluders", "highlights", "text-chart")
"""Scenes that are drawn by rule; `NAME:N` stands for N of them, with the seeds 0 to N - 1."""
_LAYERS = {"dead-leaves": 6, "slanted-planes": 4, "thin-occluders": 4, "highlights": 5, "text-chart": 2}

Invalid = Literal["error", "nearest", "far"]
MOST_PSFS = 4 << 30
"""Bytes that the PSFs of a camera may take."""
KEPT = 8
"""Scenes that a process keeps in memory."""
MIN_VALID = 0.005
"""Least share of a sample's pixels whose depth is known; low enough for the sparse depth of a laser scanner."""


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
    layers : int
        How many exact layers it has; 0 for a photograph.
    sharp : bool
        Whether it is in focus everywhere, see `Scene`.
    """

    name: str
    kind: str
    place: str = ""
    arguments: tuple[tuple[str, Any], ...] = ()
    shape: tuple[int, int] = (0, 0)
    source: str = ""
    digest: str = ""
    scene: Scene | None = None
    layers: int = 0
    sharp: bool = True

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
        scene = scene_readers.read_folder(self.place, stereo=rig, **options)
        return replace(scene, name=self.name)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the scene itself, ready for JSON."""
        told = {
            "name": self.name, "kind": self.kind, "place": self.place,
            "arguments": {key: dict(value) if key == "stereo" else value for key, value in self.arguments},
            "source": self.source, "height": self.shape[0], "width": self.shape[1], "digest": self.digest,
        }  # fmt: skip
        return told if self.sharp else {**told, "sharp": False}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Source:
        """Undo `to_dict`; a scene in memory is then missing."""
        return cls(
            name=fields["name"], kind=fields["kind"], place=fields["place"],
            arguments=tuple(
                (key, tuple(sorted(value.items())) if key == "stereo" else value)
                for key, value in sorted(fields["arguments"].items())
            ), shape=(fields["height"], fields["width"]),
            source=fields["source"], digest=fields["digest"], sharp=fields.get("sharp", True),
            layers=_LAYERS.get(fields["place"], 0) if fields["kind"] == "drawn" else 0,
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
    depth_unit: str | float | None = None,
    stereo: Stereo | None = None,
    encoding: Encoding | None = None,
    size: tuple[int, int] | None = None,
    on_note: Callable[[str, bool], None] | None = None,
) -> tuple[Source, ...]:
    """Find out what a list of scenes stands for.

    Parameters
    ----------
    scenes : Scene, str, path, or a sequence of them
        A scene; an RGB-D folder (`synth.scenes.read_folder`) or a folder of such folders; "motorcycle"; or the name of
        a drawn scene, see `DRAWN`.
    depth_unit, stereo, encoding
        Of all folders, see `synth.scenes.read_folder`.
    size : (int, int), optional
        Height and width of drawn scenes; 720 x 1280 without it.
    on_note : callable, optional
        Called with a sentence, and whether it is a warning: which folders inside a folder were taken and which were
        not, which photographs are not in focus everywhere.

    Returns
    -------
    tuple of Source
        Of different names: of two folders called alike the second is called NAME-2.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        No scene, one of them twice, a folder that cannot be read, or a depth unit that is none.
    """
    if depth_unit is not None:
        metres_per_unit(depth_unit)
    say = (lambda sentence, warning: None) if on_note is None else on_note
    single = isinstance(scenes, Scene | str | os.PathLike) or not isinstance(scenes, Iterable)
    listed = cast(Iterable[Scene | PathLike], [scenes] if single else scenes)
    drawn_size = (720, 1280) if size is None else _two("size", size)
    found: list[Source] = []
    for item in listed:
        if not isinstance(item, Scene | str | os.PathLike):
            raise TypeError(f"generate: expected scenes, or paths or names of some, got {item!r}")
        if item == "":
            raise ValueError("generate: expected a folder or the name of a scene, got an empty text")
        if isinstance(item, Scene):
            found.append(
                Source(
                    name=item.name, kind="memory", shape=item.shape, source=item.source, digest=_digest(item),
                    scene=item, layers=len(item.layers), sharp=item.sharp,
                )
            )  # fmt: skip
        else:
            found += _named(str(item), depth_unit, stereo, encoding, drawn_size, say)
    if not found:
        raise ValueError("generate: expected at least one scene, got none")
    found = _numbered(found)
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"generate: expected scenes of different names, got {', '.join(twice)} more than once")
    if blurred_before := [source.name for source in found if not source.sharp]:
        say(
            f"{_listed(blurred_before)}: the photograph is out of focus in places itself, so its all_in_focus is not, "
            "and what is rendered from it is blurred twice",
            True,
        )
    return tuple(found)


def _numbered(found: Sequence[Source]) -> list[Source]:
    """Tell folders of one name apart by a number; the same folder twice stays what it is."""
    taken, places = {source.name for source in found}, dict[str, set[str]]()
    named = []
    for source in found:
        name, seen = source.name, places.setdefault(source.name, set())
        if source.kind == "folder" and seen and source.place not in seen:
            number = next(n for n in itertools.count(2) if f"{name}-{n}" not in taken)
            taken.add(f"{name}-{number}")
            source = replace(source, name=f"{name}-{number}")
        seen.add(source.place)
        named.append(source)
    return named


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _named(
    text: str,
    depth_unit: str | float | None,
    stereo: Stereo | None,
    encoding: Encoding | None,
    size: tuple[int, int],
    say: Callable[[str, bool], None],
) -> list[Source]:
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
                    layers=_LAYERS[word],
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
    options = cast(dict[str, Any], {} if depth_unit is None else {"depth_unit": depth_unit})
    if encoding is not None:
        options["encoding"] = encoding
    if stereo is not None:
        rig = {key: value for key, value in asdict(stereo).items() if value is not None}
        options["stereo"] = tuple(sorted(rig.items()))  # hashable, as the rest of a source
    places = [folder]
    if folder.is_dir():
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        if inner and not any(path.is_file() and path.suffix.lower() in _IMAGES for path in folder.iterdir()):
            places = [path for path in inner if holds_pair(path)] or inner
            skipped = [path.name for path in inner if path not in places]
            told = f"{folder}: took {_listed([path.name for path in places])}"
            if skipped:
                told += f"; skipped {_listed(skipped)}, in which no colour and depth pair was found"
            if holds_pair(places[0]):
                say(told, bool(skipped))
    sources = []
    for place in places:
        made = Source(
            name=place.name, kind="folder", place=str(place.absolute()), arguments=tuple(sorted(options.items()))
        )  # fmt: skip
        scene = made.load()
        sources.append(
            replace(made, shape=scene.shape, source=scene.source, digest=_digest(scene), sharp=scene.sharp)
        )  # fmt: skip
    return sources


_IMAGES = (".png", ".jpg", ".jpeg", ".pfm", ".dpt")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a dataset depends on; equal recipes give equal data. Made by `make_recipe`.

    `layers` is the number of alpha masks stored for each sample, 0 for none.
    """

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
    min_valid: float = 0.0
    layers: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays each sample has."""
        return ("all_in_focus", *self.views, "defocus_map", "depth_m", "valid", *(("alpha",) if self.layers else ()))

    def to_dict(self) -> dict[str, Any]:
        """Give it ready for JSON; scenes in memory by name and digest."""
        # What was added later is left out where it is off, so that what was begun before can be resumed.
        later = {"min_valid": self.min_valid, "layers": self.layers}
        return {name: value for name, value in later.items() if value} | {
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
                min_valid=float(fields.get("min_valid", 0.0)),
                layers=int(fields.get("layers", 0)),
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
    min_valid: float = MIN_VALID,
    alpha: bool = True,
) -> Recipe:
    """Check the arguments of `synth.generate` and put them together; ValueError or TypeError for one that is wrong."""
    if not isinstance(camera, Camera):
        hint = "; synth.Camera.preset makes one by its name" if isinstance(camera, str) else ""
        raise TypeError(f"generate: expected a synth.Camera, got {camera!r}{hint}")
    samples, seed, slabs = _whole("samples", samples), _whole("seed", seed), _whole("slabs", slabs)
    if split not in SPLITS:
        raise ValueError(f"generate: expected split 'train', 'val' or 'test', got {split!r}")
    if samples < 1:
        raise ValueError(f"generate: expected at least one sample, got {samples}")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"generate: expected a seed from 0 to 2^64 - 1, got {seed}")
    if invalid not in ("error", "nearest", "far"):
        raise ValueError(f"generate: expected invalid 'error', 'nearest' or 'far', got {invalid!r}")
    if slabs < 1:
        raise ValueError(f"generate: expected at least one slab, got {slabs}")
    if not 0 <= min_valid <= 1:
        raise ValueError(f"generate: expected min_valid from 0 to 1, got {min_valid}")
    made = Recipe(
        camera=camera, sources=sources, samples=samples, seed=seed, split=split,
        size=_size(sources, size), views=check_views(views), invalid=invalid, model=check_model(model),
        slabs=slabs, min_valid=float(min_valid),
        layers=max(source.layers for source in sources) if alpha else 0,
    )  # fmt: skip
    _check_reach(made)
    return made


def _whole(name: str, value: object) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"generate: expected {name} as a whole number, got {value!r}")


def _two(name: str, value: Iterable[object]) -> tuple[int, int]:
    try:
        height, width = (_whole(name, number) for number in value)
    except (TypeError, ValueError):
        raise TypeError(f"generate: expected {name} as (height, width), two whole numbers, got {value!r}") from None
    return height, width


def _check_reach(recipe: Recipe) -> None:
    """Refuse PSFs that are larger than a scene, which cannot be mirrored at its border that far."""
    camera, least = recipe.camera, min(min(source.shape) for source in recipe.sources)
    if camera.max_radius > 2 * least or camera.reach >= least:
        raise ValueError(
            f"generate: blur of max_radius {camera.max_radius:g} px reaches beyond the smallest image, whose shorter "
            f"side is {least} px; lower max_radius or give larger images"
        )
    flaws = camera.imperfections
    banks = (15 if flaws.cat_eye else 1) * (1 if flaws.chromatic == (1.0, 1.0, 1.0) else 3) * len(recipe.views)
    step = camera.step if camera.published is None else 1.0
    size = 8 * banks * (2 * camera.max_radius / step + 1) * (2 * camera.reach + 1) ** 2
    if size > MOST_PSFS:
        raise ValueError(
            f"generate: the PSFs of max_radius {camera.max_radius:g} px in steps of {step:g} px would take "
            f"{size / 2**30:.0f} GiB, more than {MOST_PSFS / 2**30:.0f}; lower max_radius or make the steps larger"
        )


def _size(sources: Sequence[Source], size: tuple[int, int] | None) -> tuple[int, int]:
    shapes = {source.shape for source in sources}
    if size is None:
        if len(shapes) > 1:
            listed = ", ".join(f"{h} x {w}" for h, w in sorted(shapes))
            raise ValueError(
                f"generate: the scenes differ in size ({listed}); give a size, to cut samples of that size from them"
            )
        return shapes.pop()
    height, width = _two("size", size)
    least = min(h for h, _ in shapes), min(w for _, w in shapes)
    if min(height, width) < 1:
        raise ValueError(f"generate: expected a size of at least 1 x 1 px, got {height} x {width}")
    if not (0 < height <= least[0] and 0 < width <= least[1]):
        raise ValueError(f"generate: expected a size of at most {least[0]} x {least[1]} px, got {height} x {width}")
    return height, width


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
        limit = drawn.max_radius if drawn.published is None else math.floor(drawn.max_radius)
        known += int((~np.isnan(depth)).sum())
        clamped += int((~np.isnan(depth) & (np.abs(radii) > limit)).sum())
    return known, clamped


def _reach(camera: Camera) -> int:
    return max(1, int(np.ceil(2 * camera.max_radius)))


def prepared(scene: Scene, model: Model, camera: Camera) -> Scene:
    """Return the scene as a model wants it: with a background for those that know occlusion."""
    return scene if model == "gather" else with_background(scene, reach=_reach(camera))


@lru_cache(maxsize=KEPT)
def _loaded(source: Source, background: bool, reach: int) -> Scene:
    scene = source.load()
    if source.kind != "drawn" and _digest(scene) != source.digest:
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
