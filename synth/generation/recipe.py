"""A recipe: everything a dataset depends on, as plain data, so that any process can make any of its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from blurphys.inputs import require_choice, require_integer, require_number

from ..camera.camera import Camera
from ..camera.views import VIEWS, check_views
from ..dataset.schema import Header
from ..rendering.models import MODELS, Model
from .arguments import height_and_width, whole_number
from .sources import Source

__all__ = ["MIN_VALID", "SPLITS", "Recipe", "make_recipe"]

SPLITS = ("train", "val", "test")

Invalid = Literal["error", "nearest", "far"]
MIN_VALID = 0.005
"""Smallest share of known depths in a sample by default; low enough for the sparse depth of a laser scanner."""


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

    @property
    def header(self) -> Header:
        """What all samples have in common, for the files that hold them."""
        return Header(
            shape=self.size, names=self.names, layers=self.layers, model=self.model, transfer=self.camera.tone.name,
            seed=self.seed, configuration=self.to_dict(),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe ready for JSON; scenes in memory by name and digest."""
        # Later fields are left out at their defaults, so that older folders can be resumed.
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
        """Undo `to_dict`; ValueError for anything else."""
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
                model=require_choice("render", "model", fields["model"], MODELS),
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
    """Check the arguments of `synth.generate` and make a recipe; ValueError or TypeError for a wrong one."""
    if not isinstance(camera, Camera):
        hint = "; synth.Camera.preset makes one by its name" if isinstance(camera, str) else ""
        raise TypeError(f"generate: expected a synth.Camera, got {camera!r}{hint}")
    samples, seed, slabs = whole_number("samples", samples), whole_number("seed", seed), whole_number("slabs", slabs)
    require_choice("generate", "split", split, SPLITS)
    require_integer("generate", "samples", samples)
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"generate: expected a seed from 0 to 2^64 - 1, got {seed}")
    model = require_choice("render", "model", model, MODELS)
    require_choice("generate", "invalid", invalid, get_args(Invalid))
    require_integer("generate", "slabs", slabs)
    min_valid = require_number("generate", "min_valid", min_valid, least=0, most=1)
    frame = _size(sources, size)
    chosen = camera.require_views(views, side=min(min(source.shape) for source in sources))
    made = Recipe(
        camera=camera, sources=sources, samples=samples, seed=seed, split=split,
        size=frame, views=chosen, invalid=invalid, model=model,
        slabs=slabs, min_valid=min_valid,
        layers=max(source.layers for source in sources) if alpha else 0,
    )  # fmt: skip
    return made


def _size(sources: Sequence[Source], size: tuple[int, int] | None) -> tuple[int, int]:
    shapes = {source.shape for source in sources}
    if size is None:
        if len(shapes) > 1:
            listed = ", ".join(f"{h} x {w}" for h, w in sorted(shapes))
            raise ValueError(
                f"generate: the scenes differ in size ({listed}); give a size, to cut samples of that size from them"
            )
        return shapes.pop()
    height, width = height_and_width("size", size)
    least = min(h for h, _ in shapes), min(w for _, w in shapes)
    if min(height, width) < 1:
        raise ValueError(f"generate: expected a size of at least 1 x 1 px, got {height} x {width}")
    if not (0 < height <= least[0] and 0 < width <= least[1]):
        raise ValueError(f"generate: expected a size of at most {least[0]} x {least[1]} px, got {height} x {width}")
    return height, width
