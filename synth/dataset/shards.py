"""A dataset as a folder of shards: published shards stay, whatever happens, and missing ones can be made again.

::

    DIR/config.json        the first file written: the recipe, the storage, and how many samples each shard holds
    DIR/manifest.jsonl     one line for each published shard, appended; can be rebuilt from the shards
    DIR/shard-00000.h5     a dataset file of its own (`synth.dataset.schema`); `*.h5.part` while it is being written
    DIR/dataset.h5         all shards as one virtual HDF5 file, made after the last shard
    DIR/.lock              held by the process that makes shards

A shard is written as ``.part``, closed, read back and compared with the checksums of what was rendered, flushed to the
disk (fsync) and renamed. A file ``shard-*.h5`` is therefore complete; its checksums reveal later damage.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blurphys.files.publishing import PathLike, refusal, refused, uninterrupted

from .beginning import KEPT, begin, claim, sync, undo_on_error
from .config import Storage
from .manifest import append_line, line_of, read_manifest, scan
from .reader import VersionError
from .schema import VIRTUAL, Header, Row, shard_name
from .statistics import Statistics
from .verify import ForeignError, check_shard
from .virtual import make_virtual
from .writer import writing

__all__ = ["fill", "write_file", "write_shard"]

Make = Callable[[Sequence[int], Statistics], Generator[Mapping[str, Any], None, None]]
"""Makes the shards of these numbers, given the statistics of the existing ones, and yields their manifest lines."""


def write_file(
    path: PathLike,
    rows: Iterable[Row],
    *,
    header: Header,
    samples: int,
    dtype: str,
    compression: int | None,
    overwrite: bool,
    max_clamped: float | None,
) -> Statistics:
    """Write samples to one file, which appears whole or not at all; arguments and errors as for `writing`.

    ValueError also where a larger share of the pixels of known depth was clamped than `max_clamped`.
    """
    with writing(
        path, samples=samples, dtype=dtype, compression=compression, overwrite=overwrite, **vars(header)
    ) as writer:
        statistics = writer.write_all(rows)
        statistics.check(max_clamped)
    return statistics


def write_shard(
    folder: PathLike,
    number: int,
    rows: Callable[[range], Iterable[Row]],
    *,
    header: Header,
    samples: int,
    storage: Storage,
) -> dict[str, Any]:
    """Write one shard of a folder, read it back and publish it.

    Parameters
    ----------
    folder : path
        The folder.
    number : int
        Which shard.
    rows : callable
        The indices of its samples -> the samples.
    header : Header
        What all samples of the folder have in common.
    samples : int
        How many samples the folder holds.
    storage : Storage
        How they are kept.

    Returns
    -------
    dict
        Its line of the manifest.

    Raises
    ------
    OSError
        The disk is full or refuses; nothing is published.
    ValueError
        What is read back differs from what was written; or an error of `rows`.
    """
    target = Path(folder) / shard_name(number)
    # A unique name: a worker that outlives a killed parent must not write to the file of its successor.
    part = target.with_name(f"{target.stem}.{secrets.token_hex(4)}.h5.part")
    first, count = number * storage.shard_size, storage.counts(samples)[number]
    try:
        with part.open("wb"):
            pass
        with writing(
            target, samples=count, dtype=storage.dtype, compression=storage.compression, part=part, **vars(header)
        ) as writer:
            statistics = writer.write_all(rows(range(first, first + count)))
        digest = check_shard(part, samples=count, recipe=header.configuration, first=first)
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
    return line_of(target, number, digest, statistics)


def fill(
    root: Path,
    config: dict[str, Any],
    make: Make,
    *,
    resume: bool,
    alone: bool,
    on_damage: Callable[[str], None] | None = None,
) -> tuple[Statistics, int]:
    """Make the missing shards of a folder.

    Parameters
    ----------
    root : Path
        The folder, which is created if necessary.
    config : dict
        Its configuration, see `config_of`.
    make : callable
        Makes shards, and yields a line after each is published.
    resume : bool
        Whether to go on with a folder that was begun with the same configuration.
    alone : bool
        Whether no other process can still be writing after an error.
    on_damage : callable, optional
        Called with a sentence for every damaged shard, which is made again.

    Returns
    -------
    Statistics, int
        Of all samples; the number of samples that existed already.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError, ValueError
        As for `synth.generate`.
    """
    new = begin(root, config, resume)
    counts, limit = config["shards"], config["storage"]["max_clamped"]
    with undo_on_error(root, new, alone=alone), claim(root) as writable:
        _remove_parts(root, writable)
        statistics, missing = _whole_shards(root, config, writable, on_damage)
        kept = statistics.samples
        if missing and not writable:
            raise OSError(
                f"cannot write to {root}: the folder is read-only, and {len(missing)} of its {len(counts)} "
                f"shards are missing or damaged (the first is {shard_name(missing[0])})"
            )
        try:
            with contextlib.closing(make(missing, statistics)) as lines:
                for line in lines:
                    append_line(root, line)
                    statistics.merge(Statistics.of_line(line))
                    pixels = sum(counts) * statistics.pixels // statistics.samples
                    # No shard to come can undo it, so that their order does not decide whether this ends early.
                    if limit is not None and statistics.clamped > limit * pixels:
                        statistics.check(limit)
            alone = True  # the other processes have finished
        finally:
            # Left behind by killed workers; after an error those of an executor may still be writing.
            _remove_parts(root, writable and alone)
        if writable:
            _finish(root, counts)
        statistics.check(limit)
    return statistics, kept


def _whole_shards(
    root: Path, config: Mapping[str, Any], writable: bool, on_damage: Callable[[str], None] | None
) -> tuple[Statistics, list[int]]:
    """Check every existing shard: the statistics of the intact ones, and the numbers of the others."""
    known, statistics, missing, first = {line["shard"]: line for line in read_manifest(root)}, Statistics(), [], 0
    for number, count in enumerate(config["shards"]):
        path = root / shard_name(number)
        try:
            digest = check_shard(path, samples=count, recipe=config["recipe"], first=first) if path.exists() else None
        except (ForeignError, VersionError):
            raise
        except ValueError as problem:
            digest = None
            if on_damage is not None:
                on_damage(f"{problem}; it is made again")
        first += count
        if digest is None:
            missing.append(number)
            continue
        line = known.get(number)
        if line is None or line.get("digest") != digest:
            line = line_of(path, number, digest, scan(path))
            if writable:
                append_line(root, line)
        statistics.merge(Statistics.of_line(line))
    return statistics, missing


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
                f"could not write {root / VIRTUAL}: {reason}; all {len(counts)} shards are intact and can be read, "
                f"`blurphys synth resume {root}` makes this last file"
            ) from error
        raise
