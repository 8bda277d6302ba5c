"""A dataset as a folder of shards: what was published stays, whatever happens, and the rest can be made again.

::

    DIR/config.json        the first file written: the recipe, the storage, and how many samples each shard holds
    DIR/manifest.jsonl     one line for each published shard, appended; rebuilt from the shards where it is lost
    DIR/shard-00000.h5     a dataset file of its own (`synth.dataset.reader`); `*.h5.part` while it is being written
    DIR/dataset.h5         the whole as one virtual HDF5 file, made when the last shard is there
    DIR/.lock              held by the process that makes shards

A shard is written as ``.part``, closed, read back and compared with the checksums of what was rendered, brought to the
disk (fsync) and renamed. A name ``shard-*.h5`` therefore stands for a whole shard, unless the disk changed it later,
which its checksums tell.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from blurphys.files.publishing import PathLike, refusal, refused, uninterrupted

from ..dataset.reader import CONFIG, VIRTUAL, VersionError, read_config, shard_name
from ..dataset.virtual import make_virtual
from ..dataset.writer import writing
from ..rendering.render import Sample
from .beginning import KEPT, begin, claimed, sync, undone
from .config import Storage, config_of
from .manifest import append_line, line_of, read_manifest, tally_of
from .recipe import Recipe
from .report import Report, Tally, check_foreseen
from .samples import optics_of, sample_of
from .verify import ForeignError, check_shard
from .workers import elsewhere

__all__ = ["fill", "make_shard", "resume"]


def make_shard(
    folder: PathLike,
    number: int,
    recipe: Recipe,
    storage: Storage,
    on_sample: Callable[[int, Sample], None] | None = None,
) -> dict[str, Any]:
    """Make one shard of a folder and publish it; what every worker does.

    Parameters
    ----------
    folder : path
        The folder.
    number : int
        Which shard.
    recipe, storage
        What is made, and how it is kept.
    on_sample : callable, optional
        Called with the index and the sample after each is written.

    Returns
    -------
    dict
        Its line of the manifest, and the tally.

    Raises
    ------
    OSError
        The disk is full or refuses; nothing is published.
    ValueError
        A scene that cannot be rendered, or data that came back from the disk other than they went.
    """
    target = Path(folder) / shard_name(number)
    # A name of its own: a worker that outlives a killed parent must not write where the next one does.
    part = target.with_name(f"{target.stem}.{secrets.token_hex(4)}.h5.part")
    first, count = number * storage.shard_size, storage.counts(recipe.samples)[number]
    tally, optics = Tally(), optics_of(recipe)
    try:
        with part.open("wb"):
            pass
        with writing(
            target, samples=count, shape=recipe.size, names=recipe.names, configuration=recipe.to_dict(),
            seed=recipe.seed, dtype=storage.dtype, compression=storage.compression, model=recipe.model,
            transfer=recipe.camera.tone.name, part=part, layers=recipe.layers,
        ) as writer:  # fmt: skip
            for row in range(count):
                sample, parameters = sample_of(recipe, first + row, optics=optics)
                writer.write(row, sample.arrays, parameters)
                tally.add(sample)
                if on_sample is not None:
                    on_sample(first + row, sample)
        digest = check_shard(part, samples=count, recipe=recipe, first=first)
        if digest != writer.digest:
            raise ValueError(f"{target}: what was read back is not what was written; is the disk failing?")
        sync(part)
        with uninterrupted():
            os.replace(part, target)
            sync(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if reason := refusal(error):
            raise refused(f"could not write {target}: {reason}", KEPT) from error
        raise
    size = target.stat().st_size
    return {"shard": number, "name": target.name, "samples": count, "bytes": size, "digest": digest, **asdict(tally)}


def fill(
    folder: PathLike,
    recipe: Recipe,
    storage: Storage,
    *,
    workers: int = 1,
    executor: Any = None,
    resume: bool = True,
    on_sample: Callable[[int, Sample], None] | None = None,
    on_progress: Callable[[int, int, int], None] | None = None,
    on_damage: Callable[[str], None] | None = None,
) -> Report:
    """Make what is missing of a folder; arguments and errors as for `synth.generate`.

    `on_damage` is called with a sentence for every shard that was there, but not whole, and is made again.
    """
    if workers < 1:
        raise ValueError(f"generate: expected at least one worker, got {workers}")
    started, root = time.perf_counter(), Path(folder)
    config = config_of(recipe, storage)
    new = begin(root, config, resume, lambda: check_foreseen(recipe, storage.max_clamped))
    with undone(root, new, alone=executor is None), claimed(root) as writable:
        _remove_parts(root, writable)
        known, tally = {line["shard"]: line for line in read_manifest(root)}, Tally()
        counts = storage.counts(recipe.samples)
        missing, kept = [], 0
        for number, count in enumerate(counts):
            path = root / shard_name(number)
            if path.exists():
                try:
                    digest = check_shard(path, samples=count, recipe=recipe, first=number * storage.shard_size)
                except (ForeignError, VersionError):
                    raise
                except ValueError as problem:
                    if on_damage is not None:
                        on_damage(f"{problem}; it is made again")
                else:
                    line = known.get(number)
                    if line is None or line.get("digest") != digest:
                        line = line_of(path, number, digest)
                        if writable:
                            append_line(root, line)
                    tally.merge(tally_of(line))
                    kept += count
                    continue
            missing.append(number)
        if on_progress is not None:
            on_progress(kept, recipe.samples, tally.clamped)
        done = finished = kept
        clamped = tally.clamped
        if missing and not writable:
            raise OSError(
                f"cannot write to {root}: this folder is read-only for us, and {len(missing)} of its {len(counts)} "
                f"shards are missing or damaged (the first is {shard_name(missing[0])})"
            )

        def published(line: dict[str, Any]) -> None:
            nonlocal done
            append_line(root, line)
            tally.merge(tally_of(line))
            done += line["samples"]
            if on_progress is not None and not each:
                on_progress(done, recipe.samples, tally.clamped)

        def seen(index: int, sample: Sample) -> None:
            nonlocal finished, clamped
            finished += 1
            clamped += int(sample.parameters["clamped_pixels"])
            if on_sample is not None:
                on_sample(index, sample)
            if on_progress is not None:
                on_progress(finished, recipe.samples, clamped)

        def allowed() -> None:
            # What the shards to come hold cannot undo it: so it does not depend on their order whether this ends early.
            everything = recipe.samples * recipe.size[0] * recipe.size[1]
            if storage.max_clamped is not None and tally.clamped > storage.max_clamped * everything:
                tally.check(storage.max_clamped)

        each = workers == 1 and executor is None
        try:
            if each:
                for number in missing:
                    published(make_shard(root, number, recipe, storage, seen))
                    allowed()
            elif missing:
                for line in elsewhere(make_shard, root, missing, recipe, storage, workers, executor):
                    published(line)
                    allowed()
            executor = None  # none of its workers is needed any more
        finally:
            # What a killed worker has left; those of an executor may still be at work after an error.
            _remove_parts(root, writable and executor is None)
        if writable:
            _finish(root, counts)
        tally.check(storage.max_clamped)
    return tally.report(root, time.perf_counter() - started, recipe.samples - kept)


def _remove_parts(root: Path, wanted: bool) -> None:
    for part in root.glob("*.part") if wanted else ():
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _finish(root: Path, counts: Sequence[int]) -> None:
    try:
        make_virtual(root, counts)
    except OSError as error:
        if reason := refusal(error):
            raise OSError(
                f"could not write {root / VIRTUAL}: {reason}; all {len(counts)} shards are whole and can be read, "
                f"`blurphys synth resume {root}` makes this last file"
            ) from error
        raise


def resume(
    folder: PathLike,
    *,
    workers: int = 1,
    executor: Any = None,
    on_progress: Callable[[int, int, int], None] | None = None,
    on_damage: Callable[[str], None] | None = None,
    max_clamped: float | None | Literal["stored"] = "stored",
) -> Report:
    """Go on with a folder from what its configuration says; a finished one is checked and left as it is.

    Parameters
    ----------
    folder : path
        A folder that `synth.generate` began.
    workers, executor, on_progress
        As for `synth.generate`.
    on_damage : callable, optional
        Called with a sentence for every shard that was not whole and is made again.
    max_clamped : float, None or "stored"
        Another limit on clamping than the stored one, which it then replaces; see `synth.generate`.

    Returns
    -------
    Report

    Raises
    ------
    FileNotFoundError
        There is no such dataset.
    ValueError
        Its scenes were in memory, or have changed; another process is at it; a shard is of another version of the
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
    return fill(
        folder, recipe, storage, workers=workers, executor=executor, resume=True,
        on_progress=on_progress, on_damage=on_damage,
    )  # fmt: skip
