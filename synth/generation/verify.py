"""Datasets read back and compared with their checksums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blurphys.files.publishing import PathLike

from ..dataset.config import read_config
from ..dataset.verify import Verdict, check_dataset
from .recipe import Recipe

__all__ = ["verify"]


def verify(folder: PathLike, on_progress: Callable[[int, int], None] | None = None) -> list[Verdict]:
    """Read every shard of a folder, or a single file, and report which are intact.

    Parameters
    ----------
    folder : path
        A file or folder that `synth.generate` or `synth.merge` wrote.
    on_progress : callable, optional
        Called with the number of shards that are done, and of all.

    Returns
    -------
    list of Verdict
        One for each shard, missing ones included.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such dataset, or its configuration cannot be read.
    """
    if Path(folder).is_dir() and (recipe := read_config(Path(folder))["recipe"]) is not None:
        Recipe.from_dict(recipe)
    return check_dataset(folder, on_progress)
