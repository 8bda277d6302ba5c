"""The `config.json` of a folder: recipe, storage and shards; reading, checking and comparing it."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from blurphys.inputs import require_choice, require_number

from .schema import CONFIG, FOLDER_FORMAT, FOLDER_VERSION, MAX_SAMPLES
from .writer import library_version

__all__ = ["Storage", "config_of", "config_sum", "config_text", "find_difference", "read_config", "without_limit"]


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How the samples of a folder are stored; the arguments are those of `synth.generate`."""

    dtype: str = "float32"
    compression: int | None = None
    shard_size: int = 256
    max_clamped: float | None = None

    def __post_init__(self) -> None:
        require_choice("generate", "dtype", self.dtype, ("float32", "float16"))
        if self.compression is not None and not 0 <= self.compression <= 9:
            raise ValueError(f"generate: expected compression None or 0 to 9, got {self.compression}")
        if operator.index(self.shard_size) < 1:
            raise ValueError(f"generate: expected shard_size >= 1, got {self.shard_size}")
        if self.max_clamped is not None:
            require_number("generate", "max_clamped", self.max_clamped, least=0, most=1)

    def counts(self, samples: int) -> list[int]:
        """Samples in each shard."""
        return [min(self.shard_size, samples - first) for first in range(0, samples, self.shard_size)]


def config_of(recipe: Mapping[str, Any], samples: int, storage: Storage) -> dict[str, Any]:
    """Return the configuration of a new folder: recipe, storage, and the number of samples in each shard."""
    return {
        "format": FOLDER_FORMAT,
        "version": FOLDER_VERSION,
        "generator": f"blurphys {library_version()}",
        "recipe": recipe,
        "storage": asdict(storage),
        "shards": storage.counts(samples),
    }


def config_text(config: Mapping[str, Any]) -> str:
    """Return the text of `config.json`, with its checksum."""
    return json.dumps({**config, "sha256": config_sum(config)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def config_sum(config: Mapping[str, Any]) -> str:
    """Return the checksum of a configuration."""
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a folder of shards.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or it has no configuration.
    ValueError
        `folder` is a file; the configuration is damaged, or of another version.
    """
    path = folder / CONFIG
    if folder.is_file():
        raise ValueError(f"expected a folder of shards, got the file {folder}")
    if not path.is_file():
        what = "there is no folder" if not folder.exists() else "expected a dataset, but there is no config.json in"
        raise FileNotFoundError(f"{what} {folder}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] != FOLDER_FORMAT:
            raise ValueError(f"expected format {FOLDER_FORMAT}, got {config['format']!r}")
        if config["version"] != FOLDER_VERSION:
            raise ValueError(f"expected version {FOLDER_VERSION} of the format, got {config['version']!r}")
        shards = config["shards"]
        if not (type(shards) is list and shards and all(type(n) is int and 0 < n < MAX_SAMPLES for n in shards)):
            raise ValueError("it does not say how many samples each shard holds")
        checksum = config.pop("sha256", None)
        if checksum is not None and checksum != config_sum(config):
            raise ValueError("its checksum is wrong; was it edited?")
        if not {"recipe", "storage"} <= set(config):
            raise ValueError("it lacks the recipe or the storage")
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable configuration ({error})") from None
    checked: dict[str, Any] = config
    return checked


def find_difference(ours: Any, theirs: Any, name: str = "") -> str:
    """Return the name of the first field in which two configurations differ; empty if they are equal."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            inner = f"{name}.{key}" if name else str(key)
            if key not in ours or key not in theirs:
                return inner
            if found := find_difference(ours[key], theirs[key], inner):
                return found
        return ""
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if found := find_difference(one, other, f"{name}[{i}]"):
                return found
        return ""
    return "" if ours == theirs else f"{name} ({theirs!r} there, {ours!r} now)"


def without_limit(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration without the limit on clamping, which does not affect the data."""
    storage = {name: value for name, value in (config["storage"] or {}).items() if name != "max_clamped"}
    return {**config, "storage": storage}
