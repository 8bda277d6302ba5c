"""Making a dataset from a recipe: one file, a folder of shards, or the missing shards of a folder (`resume`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from blurphys.files.publishing import PathLike
from blurphys.inputs import require_integer

from ..dataset.beginning import is_begun
from ..dataset.config import Storage, config_of, read_config
from ..dataset.schema import CONFIG, Row
from ..dataset.shards import fill, write_file, write_shard
from ..dataset.statistics import Statistics, check_clamping
from ..rendering.render import Sample
from .recipe import Recipe
from .report import Report
from .samples import count_clamped, rows_of
from .workers import run_elsewhere

__all__ = ["make_file", "make_folder", "render_shard", "resume"]

OnSample = Callable[[int, Sample], None]
OnProgress = Callable[[int, int, int], None]


def make_file(
    path: PathLike,
    recipe: Recipe,
    *,
    dtype: str,
    compression: int | None,
    overwrite: bool,
    max_clamped: float | None,
    on_sample: OnSample | None,
    on_progress: OnProgress | None,
) -> Report:
    """Make a dataset in one file; arguments and errors as for `synth.generate`."""
    started, progress = time.perf_counter(), _Progress(recipe.samples, on_sample, on_progress)
    check_foreseen(recipe, max_clamped)
    statistics = write_file(
        path, rows_of(recipe, range(recipe.samples), progress.add_sample), header=recipe.header,
        samples=recipe.samples, dtype=dtype, compression=compression, overwrite=overwrite, max_clamped=max_clamped,
    )  # fmt: skip
    return Report.of(statistics, path, seconds=time.perf_counter() - started, made=recipe.samples)


def make_folder(
    folder: PathLike,
    recipe: Recipe,
    storage: Storage,
    *,
    workers: int = 1,
    executor: Any = None,
    resume: bool = True,
    on_sample: OnSample | None = None,
    on_progress: OnProgress | None = None,
    on_damage: Callable[[str], None] | None = None,
) -> Report:
    """Make the missing shards of a folder; arguments and errors as for `synth.generate`.

    `on_damage` is called with a sentence for every damaged shard, which is made again.
    """
    require_integer("generate", "workers", workers)
    started, root = time.perf_counter(), Path(folder)
    progress = _Progress(recipe.samples, on_sample, on_progress)
    if not is_begun(root):
        check_foreseen(recipe, storage.max_clamped)

    def make(missing: Sequence[int], there: Statistics) -> Generator[dict[str, Any], None, None]:
        progress.add(there.samples, there.clamped)
        if workers == 1 and executor is None:
            for number in missing:
                yield render_shard(root, number, recipe, storage, progress.add_sample)
        elif missing:
            for line in run_elsewhere(render_shard, root, missing, recipe, storage, workers, executor):
                yield line
                progress.add(line["samples"], line["clamped"])

    config = config_of(recipe.to_dict(), recipe.samples, storage)
    statistics, kept = fill(root, config, make, resume=resume, alone=executor is None, on_damage=on_damage)
    return Report.of(statistics, root, seconds=time.perf_counter() - started, made=recipe.samples - kept)


def render_shard(
    folder: PathLike, number: int, recipe: Recipe, storage: Storage, on_sample: OnSample | None = None
) -> dict[str, Any]:
    """Render the samples of one shard and publish it, the task of a worker; returns its line of the manifest."""

    def rows(indices: range) -> Iterator[Row]:
        return rows_of(recipe, indices, on_sample)

    return write_shard(folder, number, rows, header=recipe.header, samples=recipe.samples, storage=storage)


def check_foreseen(recipe: Recipe, limit: float | None) -> None:
    """Check some samples before anything is written; ValueError if they cannot be made, or clamp too much."""
    known, clamped = count_clamped(recipe)
    check_clamping(clamped, known, limit, ahead=True)


class _Progress:
    """Counts samples and clamped pixels, and calls the callbacks."""

    def __init__(self, total: int, on_sample: OnSample | None, on_progress: OnProgress | None) -> None:
        self.total, self.done, self.clamped = total, 0, 0
        self.on_sample, self.on_progress = on_sample, on_progress

    def add(self, samples: int, clamped: int) -> None:
        self.done += samples
        self.clamped += clamped
        if self.on_progress is not None:
            self.on_progress(self.done, self.total, self.clamped)

    def add_sample(self, index: int, sample: Sample) -> None:
        if self.on_sample is not None:
            self.on_sample(index, sample)
        self.add(1, int(sample.parameters["clamped_pixels"]))


def resume(
    folder: PathLike,
    *,
    workers: int = 1,
    executor: Any = None,
    on_progress: Callable[[int, int, int], None] | None = None,
    on_damage: Callable[[str], None] | None = None,
    max_clamped: float | None | Literal["stored"] = "stored",
) -> Report:
    """Continue a folder from its configuration; a complete one is verified and left unchanged.

    Parameters
    ----------
    folder : path
        A folder that `synth.generate` began.
    workers, executor, on_progress
        As for `synth.generate`.
    on_damage : callable, optional
        Called with a sentence for every damaged shard, which is made again.
    max_clamped : float, None or "stored"
        Replaces the stored limit on clamping; see `synth.generate`.

    Returns
    -------
    Report

    Raises
    ------
    FileNotFoundError
        There is no such dataset.
    ValueError
        Its scenes were in memory, or have changed; another process is filling it; a shard is of another version of the
        format.
    """
    config = read_config(Path(folder))
    if config["recipe"] is None:
        raise ValueError(f"{folder} was merged from other datasets; repair those and merge them again")
    recipe = Recipe.from_dict(config["recipe"])
    try:
        storage = Storage(**config["storage"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{Path(folder) / CONFIG}: it does not say how the samples are kept ({error})") from None
    if max_clamped != "stored":
        storage = replace(storage, max_clamped=max_clamped)
    if storage.counts(recipe.samples) != config["shards"]:
        raise ValueError(f"{Path(folder) / CONFIG}: its shards do not hold {recipe.samples} samples")
    return make_folder(
        folder, recipe, storage, workers=workers, executor=executor, resume=True,
        on_progress=on_progress, on_damage=on_damage,
    )  # fmt: skip
