"""A dataset as a folder of shards: what was published stays, whatever happens, and the rest can be made again.

::

    DIR/config.json        the first file written: the recipe, the storage, and how many samples each shard holds
    DIR/manifest.jsonl     one line for each published shard, appended; rebuilt from the shards where it is lost
    DIR/shard-00000.h5     a dataset file of its own (`synth.dataset.schema`); `*.h5.part` while it is being written
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
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blurphys.files.publishing import PathLike, refusal, refused, uninterrupted

from .beginning import KEPT, begin, claimed, sync, undone
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
"""Makes the shards of these numbers, given the statistics of those that are there, and yields their lines."""


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
    folder: PathLike, number: int, rows: Iterable[Row], *, header: Header, samples: int, storage: Storage
) -> dict[str, Any]:
    """Write one shard of a folder, read it back and publish it.

    Parameters
    ----------
    folder : path
        The folder.
    number : int
        Which shard.
    rows : iterable of Row
        Its samples.
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
        Data that came back from the disk other than they went, and whatever `rows` raises.
    """
    target = Path(folder) / shard_name(number)
    # A name of its own: a worker that outlives a killed parent must not write where the next one does.
    part = target.with_name(f"{target.stem}.{secrets.token_hex(4)}.h5.part")
    first, count = number * storage.shard_size, storage.counts(samples)[number]
    try:
        with part.open("wb"):
            pass
        with writing(
            target, samples=count, dtype=storage.dtype, compression=storage.compression, part=part, **vars(header)
        ) as writer:
            statistics = writer.write_all(rows)
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
    """Make what is missing of a folder.

    Parameters
    ----------
    root : Path
        The folder, which is made where it is not there.
    config : dict
        What is to be in it, see `config_of`.
    make : callable
        Makes shards; one that is yielded lies in the folder.
    resume : bool
        Whether to go on with a folder that was begun with the same configuration.
    alone : bool
        Whether no other process can still be writing after an error.
    on_damage : callable, optional
        Called with a sentence for every shard that was there, but not whole, and is made again.

    Returns
    -------
    Statistics, int
        Of all samples; how many were there already.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError, ValueError
        As for `synth.generate`.
    """
    new = begin(root, config, resume)
    counts, limit = config["shards"], config["storage"]["max_clamped"]
    with undone(root, new, alone=alone), claimed(root) as writable:
        _remove_parts(root, writable)
        statistics, missing = _whole_shards(root, config, writable, on_damage)
        kept = statistics.samples
        if missing and not writable:
            raise OSError(
                f"cannot write to {root}: this folder is read-only for us, and {len(missing)} of its {len(counts)} "
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
            alone = True  # none of the other processes is needed any more
        finally:
            # What a killed worker has left; those of an executor may still be at work after an error.
            _remove_parts(root, writable and alone)
        if writable:
            _finish(root, counts)
        statistics.check(limit)
    return statistics, kept


def _whole_shards(
    root: Path, config: Mapping[str, Any], writable: bool, on_damage: Callable[[str], None] | None
) -> tuple[Statistics, list[int]]:
    """Check every shard that is there: the statistics of those that are whole, and the numbers of the others."""
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
                f"could not write {root / VIRTUAL}: {reason}; all {len(counts)} shards are whole and can be read, "
                f"`blurphys synth resume {root}` makes this last file"
            ) from error
        raise
