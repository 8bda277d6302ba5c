"""What a folder's `config.json` says: how its samples are kept, and whether two descriptions agree."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..dataset.reader import FOLDER_FORMAT, FOLDER_VERSION, config_sum
from ..dataset.writer import library_version
from .recipe import Recipe

__all__ = ["Storage", "config_of", "config_text", "difference_of", "without_limit"]


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a folder keeps its samples: arguments of `synth.generate`."""

    dtype: str = "float32"
    compression: int | None = None
    shard_size: int = 256
    max_clamped: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float16"):
            raise ValueError(f"generate: expected dtype 'float32' or 'float16', got {self.dtype!r}")
        if self.compression is not None and not 0 <= self.compression <= 9:
            raise ValueError(f"generate: expected compression None or 0 to 9, got {self.compression}")
        if operator.index(self.shard_size) < 1:
            raise ValueError(f"generate: expected shard_size >= 1, got {self.shard_size}")
        if self.max_clamped is not None and not 0 <= self.max_clamped <= 1:
            raise ValueError(f"generate: expected max_clamped from 0 to 1, got {self.max_clamped}")

    def counts(self, samples: int) -> list[int]:
        """Samples in each shard."""
        return [min(self.shard_size, samples - first) for first in range(0, samples, self.shard_size)]


def config_of(recipe: Recipe, storage: Storage) -> dict[str, Any]:
    """Describe a folder that is to be made: its recipe, its storage, and what each shard will hold."""
    return {
        "format": FOLDER_FORMAT,
        "version": FOLDER_VERSION,
        "generator": f"blurphys {library_version()}",
        "recipe": recipe.to_dict(),
        "storage": asdict(storage),
        "shards": storage.counts(recipe.samples),
    }


def config_text(config: Mapping[str, Any]) -> str:
    """Return what stands in a folder's `config.json`, its checksum included."""
    return json.dumps({**config, "sha256": config_sum(config)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def difference_of(ours: Any, theirs: Any, name: str = "") -> str:
    """Name the first field in which two descriptions differ; empty if they agree."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            inner = f"{name}.{key}" if name else str(key)
            if key not in ours or key not in theirs:
                return inner
            if found := difference_of(ours[key], theirs[key], inner):
                return found
        return ""
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if found := difference_of(one, other, f"{name}[{i}]"):
                return found
        return ""
    return "" if ours == theirs else f"{name} ({theirs!r} there, {ours!r} now)"


def without_limit(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what does not change the data: the limit on clamping."""
    storage = {name: value for name, value in (config["storage"] or {}).items() if name != "max_clamped"}
    return {**config, "storage": storage}
