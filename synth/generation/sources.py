"""Sources: where the scenes of a dataset come from, as plain data from which any process can load them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from blurphys.files.publishing import PathLike

from .. import scenes as scene_readers
from ..io import Encoding
from ..io.depth import Stereo, metres_per_unit
from ..scenes import Scene
from ..scenes.fitting import DepthResize
from ..scenes.folders import holds_pair
from .arguments import height_and_width

__all__ = ["DRAWN", "Source", "digest_of", "sources_of"]

DRAWN = ("dead-leaves", "slanted-planes", "thin-occluders", "highlights", "text-chart")
"""Procedural scenes; `NAME:N` stands for N of them, with the seeds 0 to N - 1."""
_LAYERS = {"dead-leaves": 6, "slanted-planes": 4, "thin-occluders": 4, "highlights": 5, "text-chart": 2}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a scene comes from.

    Attributes
    ----------
    name : str
        Different for every scene of a dataset.
    kind : {"folder", "drawn", "motorcycle", "memory"}
        What `location` is: a folder, the name of a procedural scene, empty.
    location : str
        Absolute path of the folder, or name of the procedural scene.
    arguments : tuple of (str, value)
        Of the function that reads or draws the scene.
    shape : (int, int)
        Height and width, px.
    source : str
        `Scene.source`.
    digest : str
        Hash of the scene, which detects another scene of the same name.
    scene : Scene, optional
        With kind "memory": the scene itself.
    layers : int
        How many exact layers it has; 0 for a photograph.
    sharp : bool
        `Scene.sharp`.
    """

    name: str
    kind: str
    location: str = ""
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
            The folder is missing or cannot be read; the scene was in memory and is not given.
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
            draw = getattr(scene_readers, self.location.replace("-", "_"))
            return replace(cast(Scene, draw(**options)), name=self.name)
        stereo = options.pop("stereo", None)
        rig = None if stereo is None else Stereo(**dict(stereo))
        scene = scene_readers.read_folder(self.location, stereo=rig, **options)
        return replace(scene, name=self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the scene itself, ready for JSON."""
        fields = {
            "name": self.name, "kind": self.kind, "place": self.location,
            "arguments": {key: dict(value) if key == "stereo" else value for key, value in self.arguments},
            "source": self.source, "height": self.shape[0], "width": self.shape[1], "digest": self.digest,
        }  # fmt: skip
        return fields if self.sharp else {**fields, "sharp": False}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Source:
        """Undo `to_dict`; a scene in memory is then missing."""
        return cls(
            name=fields["name"], kind=fields["kind"], location=fields["place"],
            arguments=tuple(
                (key, tuple(sorted(value.items())) if key == "stereo" else value)
                for key, value in sorted(fields["arguments"].items())
            ), shape=(fields["height"], fields["width"]),
            source=fields["source"], digest=fields["digest"], sharp=fields.get("sharp", True),
            layers=_LAYERS.get(fields["place"], 0) if fields["kind"] == "drawn" else 0,
        )  # fmt: skip


def digest_of(scene: Scene) -> str:
    """Return a hash of the arrays of a scene."""
    hasher = hashlib.sha256()
    planes = [scene.all_in_focus, scene.depth_m]
    for layer in scene.layers:
        planes += [layer.colour, layer.alpha, layer.depth_m]
    for plane in planes:
        hasher.update(repr((plane.shape, plane.dtype.str)).encode())
        hasher.update(np.ascontiguousarray(plane).tobytes())
    return hasher.hexdigest()[:32]


def sources_of(
    scenes: Scene | PathLike | Sequence[Scene | PathLike],
    *,
    depth_unit: str | float | None = None,
    stereo: Stereo | None = None,
    near_m: float | None = None,
    far_m: float | None = None,
    depth_resize: DepthResize = "guided",
    encoding: Encoding | None = None,
    size: tuple[int, int] | None = None,
    on_note: Callable[[str, bool], None] | None = None,
) -> tuple[Source, ...]:
    """Resolve a list of scenes, paths and names to sources.

    Parameters
    ----------
    scenes : Scene, str, path, or a sequence of them
        A scene; an RGB-D folder (`synth.scenes.read_folder`) or a folder of such folders; "motorcycle"; or the name of
        a drawn scene, see `DRAWN`.
    depth_unit, stereo, near_m, far_m, depth_resize, encoding
        Of all folders, see `synth.scenes.read_folder`.
    size : (int, int), optional
        Height and width of drawn scenes; 720 x 1280 without it.
    on_note : callable, optional
        Called with a sentence, and whether it is a warning: which subfolders were taken and which were skipped, and
        which photographs are partly out of focus.

    Returns
    -------
    tuple of Source
        Of different names: the second of two folders of one name is called NAME-2.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        No scene, a scene given twice, a folder that cannot be read, or an invalid depth unit.
    """
    if depth_unit is not None:
        metres_per_unit(depth_unit)
    options: dict[str, Any] = {
        "depth_unit": depth_unit, "near_m": near_m, "far_m": far_m, "encoding": encoding,
        "depth_resize": None if depth_resize == "guided" else depth_resize,
    }  # fmt: skip
    if stereo is not None:
        rig = {key: value for key, value in asdict(stereo).items() if value is not None}
        options["stereo"] = tuple(sorted(rig.items()))  # hashable, as the rest of a source
    options = {key: value for key, value in options.items() if value is not None}
    say = (lambda sentence, warning: None) if on_note is None else on_note
    single = isinstance(scenes, Scene | str | os.PathLike) or not isinstance(scenes, Iterable)
    listed = cast(Iterable[Scene | PathLike], [scenes] if single else scenes)
    drawn_size = (720, 1280) if size is None else height_and_width("size", size)
    found: list[Source] = []
    for item in listed:
        if not isinstance(item, Scene | str | os.PathLike):
            raise TypeError(f"generate: expected scenes, or paths or names of some, got {item!r}")
        if item == "":
            raise ValueError("generate: expected a folder or the name of a scene, got an empty text")
        if isinstance(item, Scene):
            found.append(
                Source(
                    name=item.name, kind="memory", shape=item.shape, source=item.source, digest=digest_of(item),
                    scene=item, layers=len(item.layers), sharp=item.sharp,
                )
            )  # fmt: skip
        else:
            found += _sources_named(str(item), options, drawn_size, say)
    if not found:
        raise ValueError("generate: expected at least one scene, got none")
    found = _number_duplicates(found)
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"generate: expected scenes of different names, got {', '.join(twice)} more than once")
    if blurred_before := [source.name for source in found if not source.sharp]:
        say(
            f"{_list_names(blurred_before)}: parts of the photograph are out of focus already, so its all_in_focus is "
            "not, and what is rendered from it is blurred twice",
            True,
        )
    return tuple(found)


def _number_duplicates(found: Sequence[Source]) -> list[Source]:
    """Append numbers to the names of different folders that are called alike."""
    taken, places = {source.name for source in found}, dict[str, set[str]]()
    named = []
    for source in found:
        name, known = source.name, places.setdefault(source.name, set())
        if source.kind == "folder" and known and source.location not in known:
            number = next(n for n in itertools.count(2) if f"{name}-{n}" not in taken)
            taken.add(f"{name}-{number}")
            source = replace(source, name=f"{name}-{number}")
        known.add(source.location)
        named.append(source)
    return named


def _list_names(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _sources_named(
    text: str,
    options: Mapping[str, Any],
    size: tuple[int, int],
    say: Callable[[str, bool], None],
) -> list[Source]:
    word, _, number = text.partition(":")
    if word in DRAWN and not Path(text).exists():
        if number and not (number.isascii() and number.isdigit() and int(number) > 0):
            raise ValueError(f"generate: expected {word}:N with N >= 1, got {text!r}")
        sources = []
        for seed in range(int(number or 1)):
            drawing: dict[str, Any] = {"height": size[0], "width": size[1], "seed": seed}
            text = json.dumps([word, drawing], sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:32]
            name = f"{word}-{seed}"
            sources.append(
                Source(
                    name=name,
                    kind="drawn",
                    location=word,
                    arguments=tuple(sorted(drawing.items())),
                    shape=size,
                    digest=digest,
                    layers=_LAYERS[word],
                )  # fmt: skip
            )
        return sources
    if text == "motorcycle" and not Path(text).exists():
        scene = scene_readers.stereo_motorcycle()
        return [
            Source(name=scene.name, kind="motorcycle", shape=scene.shape, source=scene.source, digest=digest_of(scene))
        ]
    folder = Path(text)
    if not folder.exists():
        raise FileNotFoundError(
            f"there is no folder {folder}; a scene is an RGB-D folder, motorcycle, or one of {', '.join(DRAWN)}"
        )
    locations = [folder]
    if folder.is_dir() and not holds_pair(folder):
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        if inner and not any(path.is_file() and path.suffix.lower() in _IMAGES for path in folder.iterdir()):
            locations = [path for path in inner if holds_pair(path)] or inner
            skipped = [path.name for path in inner if path not in locations]
            sentence = f"{folder}: took {_list_names([path.name for path in locations])}"
            if skipped:
                sentence += f"; skipped {_list_names(skipped)}, in which no colour and depth pair was found"
            if holds_pair(locations[0]):
                say(sentence, bool(skipped))
    sources = []
    for location in locations:
        made = Source(
            name=location.name, kind="folder", location=str(location.absolute()),
            arguments=tuple(sorted(options.items())),
        )  # fmt: skip
        scene = made.load()
        sources.append(
            replace(made, shape=scene.shape, source=scene.source, digest=digest_of(scene), sharp=scene.sharp)
        )  # fmt: skip
    return sources


_IMAGES = (".png", ".jpg", ".jpeg", ".pfm", ".dpt")
