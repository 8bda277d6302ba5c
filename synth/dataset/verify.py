"""Reading shards back and comparing them with their checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurphys.files.publishing import PathLike

from .config import find_difference, read_config
from .reader import Reader
from .schema import CONFIG, VIRTUAL, shard_name

__all__ = ["ForeignError", "Verdict", "check_dataset", "check_shard"]


class ForeignError(ValueError):
    """An intact shard of another recipe, which must not be overwritten."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `synth.verify` found for one shard; `problem` is None for an intact one."""

    shard: int
    name: str
    samples: int
    problem: str | None

    @property
    def whole(self) -> bool:
        """Whether every sample is intact."""
        return self.problem is None


def check_shard(
    path: PathLike, *, samples: int | None = None, recipe: Mapping[str, Any] | None = None, first: int | None = None
) -> str:  # fmt: skip
    """Read every sample of a shard and compare it with its checksums.

    Returns
    -------
    str
        A digest of all arrays and parameters.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is not a dataset, is damaged, or holds another number of samples than `samples`, samples of another recipe,
        or others than those from number `first` on.
    """
    with Reader(path) as data:
        if samples is not None and len(data) != samples:
            raise ValueError(f"{path}: expected {samples} samples, got {len(data)}")
        if recipe is not None and (field := find_difference(recipe, data.configuration)):
            raise ForeignError(f"{path}: it was made with another {field} than the folder's")
        for row in range(len(data)):
            data.read(row)
            if first is not None and data.parameters(row)["sample"] != first + row:
                number = data.parameters(row)["sample"]
                raise ValueError(f"{path}: it holds sample {number} in the place of {first + row}; was it renamed?")
        return data.digest


def check_dataset(folder: PathLike, on_progress: Callable[[int, int], None] | None = None) -> list[Verdict]:
    """Do what `synth.verify` does, without checking the recipe itself."""
    root = Path(folder)
    if root.is_file():
        if root.name != VIRTUAL or not (root.parent / CONFIG).is_file():
            return [_verdict_of(root, on_progress)]
        root = root.parent
    config = read_config(root)
    recipe = config["recipe"]
    verdicts = []
    for number, count in enumerate(config["shards"]):
        path, problem = root / shard_name(number), None
        try:
            first = None if recipe is None else sum(config["shards"][:number])
            check_shard(path, samples=count, recipe=recipe, first=first)
        except FileNotFoundError:
            problem = "missing"
        except ValueError as error:
            problem = str(error)
        verdicts.append(Verdict(shard=number, name=path.name, samples=count, problem=problem))
        if on_progress is not None:
            on_progress(number + 1, len(config["shards"]))
    return verdicts


def _verdict_of(file: Path, on_progress: Callable[[int, int], None] | None) -> Verdict:
    """Verify a single file."""
    samples, problem = 0, None
    try:
        with Reader(file) as data:
            samples = len(data)
        check_shard(file)
    except ValueError as error:
        problem = str(error)
    if on_progress is not None:
        on_progress(1, 1)
    return Verdict(shard=0, name=file.name, samples=samples, problem=problem)
