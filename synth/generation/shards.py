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
import errno
import json
import operator
import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from blurphys.files.locking import BusyError, locked
from blurphys.files.publishing import PathLike, RefusedError, publish, refusal, refused, uninterrupted

from ..dataset.reader import (
    CONFIG,
    FOLDER_FORMAT,
    FOLDER_VERSION,
    VIRTUAL,
    Reader,
    VersionError,
    config_sum,
    read_config,
    shard_name,
)
from ..dataset.virtual import make_virtual
from ..dataset.writer import library_version, writing
from ..rendering.render import Sample
from .recipe import Recipe, optics_of, sample_of
from .report import Report, Tally, check_foreseen
from .workers import elsewhere

__all__ = [
    "MANIFEST",
    "Storage",
    "Verdict",
    "check_shard",
    "config_text",
    "difference_of",
    "fill",
    "make_shard",
    "read_manifest",
    "rebuild",
    "resume",
    "sync",
    "verify",
]

MANIFEST, LOCK = "manifest.jsonl", ".lock"
_KEPT, _NOTHING = "the shards published before are whole", "nothing was left behind"
_LINE = {"shard", "name", "bytes", "digest", "samples", "pixels", "clamped", "unknown", "low", "high"}


class _ForeignError(ValueError):
    """A shard that is whole, but of another recipe: nothing to be overwritten."""


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


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `verify` found out about one shard: `problem` is None where it is whole."""

    shard: int
    name: str
    samples: int
    problem: str | None

    @property
    def whole(self) -> bool:
        """Whether every sample can be read and is what was written."""
        return self.problem is None


# ---- one shard ------------------------------------------------------------------------------------------------------


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
            raise refused(f"could not write {target}: {reason}", _KEPT) from error
        raise
    size = target.stat().st_size
    return {"shard": number, "name": target.name, "samples": count, "bytes": size, "digest": digest, **asdict(tally)}


def check_shard(
    path: PathLike, *, samples: int | None = None, recipe: Recipe | None = None, first: int | None = None
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
        It is no dataset, damaged, holds another number of samples than `samples`, another recipe's, or others than
        those from number `first` on.
    """
    with Reader(path) as data:
        if samples is not None and len(data) != samples:
            raise ValueError(f"{path}: expected {samples} samples, got {len(data)}")
        if recipe is not None and (field := difference_of(recipe.to_dict(), data.configuration)):
            raise _ForeignError(f"{path}: it was made with another {field} than the folder's")
        for row in range(len(data)):
            data.read(row)
            if first is not None and data.parameters(row)["sample"] != first + row:
                number = data.parameters(row)["sample"]
                raise ValueError(f"{path}: it holds sample {number} in the place of {first + row}; was it renamed?")
        return data.digest


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- the folder -----------------------------------------------------------------------------------------------------


def _config(recipe: Recipe, storage: Storage) -> dict[str, Any]:
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
    config = _config(recipe, storage)
    new = _begin(root, config, resume, lambda: check_foreseen(recipe, storage.max_clamped))
    with _undone(root, new, alone=executor is None), _locked(root) as writable:
        _remove_parts(root, writable)
        known, tally = {line["shard"]: line for line in read_manifest(root)}, Tally()
        counts = storage.counts(recipe.samples)
        missing, kept = [], 0
        for number, count in enumerate(counts):
            path = root / shard_name(number)
            if path.exists():
                try:
                    digest = check_shard(path, samples=count, recipe=recipe, first=number * storage.shard_size)
                except (_ForeignError, VersionError):
                    raise
                except ValueError as problem:
                    if on_damage is not None:
                        on_damage(f"{problem}; it is made again")
                else:
                    line = known.get(number)
                    if line is None or line.get("digest") != digest:
                        line = _line_of(path, number, digest)
                        if writable:
                            _append(root, line)
                    tally.merge(_tally_of(line))
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
            _append(root, line)
            tally.merge(_tally_of(line))
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


def _begin(root: Path, config: dict[str, Any], resume: bool, look: Callable[[], None]) -> bool:
    """Make the folder with its configuration, or see that the one that is there was begun with the same.

    `look` is called before a new one is made. Returns whether it is new.
    """
    if not (root / CONFIG).exists():
        if root.exists() and (not root.is_dir() or any(path.suffix != ".part" for path in root.iterdir())):
            raise FileExistsError(f"{root} exists and is no dataset; name a new or an empty folder")
        if not root.parent.is_dir():
            raise FileNotFoundError(f"cannot make {root}: there is no folder {root.parent}")
        look()
        fresh = not root.exists()
        try:
            root.mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError), publish(root / CONFIG, overwrite=False) as part:
                part.write_text(config_text(config))
                sync(root)
                return True
        except OSError as error:
            if fresh:
                with contextlib.suppress(OSError):
                    root.rmdir()
            if isinstance(error, PermissionError):
                raise OSError(f"cannot write to {root}: {os.strerror(error.errno or errno.EACCES).lower()}") from None
            if error.errno is not None and (reason := refusal(error)):
                raise refused(f"could not make {root}: {reason}", _NOTHING) from error
            raise
    if not resume:
        if _is_locked(root):
            raise FileExistsError(
                f"{root}: another process is making this dataset; wait for it, or name another folder"
            )
        raise FileExistsError(
            f"{root} is a dataset already; `blurphys synth resume {root}` goes on with it, another name begins anew"
        )
    there = read_config(root)
    if field := difference_of(_without_limit(config), _without_limit(there)):
        raise ValueError(f"{root} was begun with another {field}; resume it as it was, or name another folder")
    if config["storage"].get("max_clamped") != (there["storage"] or {}).get("max_clamped"):
        with publish(root / CONFIG, overwrite=True) as part:
            limit = {"max_clamped": config["storage"]["max_clamped"]}
            part.write_text(config_text({**there, "storage": {**there["storage"], **limit}}))
    return False


def _without_limit(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what does not change the data: the limit on clamping."""
    storage = {name: value for name, value in (config["storage"] or {}).items() if name != "max_clamped"}
    return {**config, "storage": storage}


@contextlib.contextmanager
def _undone(root: Path, new: bool, *, alone: bool) -> Iterator[None]:
    """Take back a folder that was just begun, where it ends before there is any shard; say what is left otherwise.

    Either an argument turns out to be bad, or the disk refuses. A worker or a cluster that died leaves the folder, to
    be resumed, and so does a full disk while others (not `alone`) may still be writing.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if isinstance(error, ChildProcessError | ConnectionError | BusyError):
            raise
        shards = sum(1 for _ in root.glob("shard-*.h5"))
        if new and not shards and (alone or not isinstance(error, OSError)):
            with uninterrupted(), contextlib.suppress(OSError):
                for path in (*root.glob("*.part"), root / MANIFEST, root / LOCK, root / CONFIG):
                    path.unlink(missing_ok=True)
                root.rmdir()
        if not isinstance(error, OSError) or (reason := _reason_of(error)) is None:
            raise
        left = f"{_KEPT} ({shards} of them), `blurphys synth resume {root}` goes on"
        raise OSError(f"{reason}; {left if root.exists() else _NOTHING}") from error


def _reason_of(error: OSError) -> str | None:
    """What was being written and why it could not be, without what was said to be left; None for other errors."""
    if error.errno is None:
        return error.reason if isinstance(error, RefusedError) else None
    reason = refusal(error)
    return None if reason is None else f"could not write {error.filename or 'to the folder'}: {reason}"


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[bool]:
    """Keep a second process from making the same shards; the lock goes with the process, however it ends.

    Yields whether the folder can be written to at all.
    """
    with contextlib.ExitStack() as held:
        try:
            refused = f"{root}: another process is making this dataset; wait for it, or stop it"
            held.enter_context(locked(root / LOCK, refused))
            writable = os.access(root, os.W_OK)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            writable = False
        yield writable


def _is_locked(root: Path) -> bool:
    """Whether a process is making shards here."""
    try:
        with _locked(root) if (root / LOCK).exists() else contextlib.nullcontext():
            return False
    except OSError:  # not ours to lock
        return False
    except BusyError:
        return True


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


# ---- manifest and virtual file --------------------------------------------------------------------------------------


def read_manifest(folder: PathLike) -> list[dict[str, Any]]:
    """Return the lines of the manifest, the last for each shard; lines that are cut short or damaged are left out."""
    lines: dict[int, dict[str, Any]] = {}
    try:
        text = (Path(folder) / MANIFEST).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for entry in text.splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
            line = json.loads(entry)
            if isinstance(line, dict) and line.pop("crc32") == _line_sum(line) and set(line) >= _LINE:
                _tally_of(line).report(folder, 0.0, 0)  # numbers that are none fail here
                lines[int(line["shard"])] = line
    return [lines[number] for number in sorted(lines)]


def _line_sum(line: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(line, sort_keys=True).encode())


def _append(root: Path, line: Mapping[str, Any]) -> None:
    text = json.dumps({**line, "crc32": _line_sum(line)}, sort_keys=True)
    path = root / MANIFEST
    with uninterrupted(), path.open("ab+") as file:
        if file.tell() and not _ends_a_line(path):
            file.write(b"\n")
        file.write(text.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _line_of(path: Path, number: int, digest: str) -> dict[str, Any]:
    """Make the line of a shard that is there and whole."""
    tally = Tally()
    with Reader(path) as data:
        for row in range(len(data)):
            parameters, radii = data.parameters(row), data.read(row, names=("defocus_map",))["defocus_map"]
            tally.samples += 1
            tally.pixels += radii.size
            tally.clamped += int(parameters["clamped_pixels"])
            tally.unknown += int(parameters["unknown_pixels"])
            tally.low, tally.high = min(tally.low, float(radii.min())), max(tally.high, float(radii.max()))
    return {"shard": number, "name": path.name, "bytes": path.stat().st_size, "digest": digest, **asdict(tally)}


def _tally_of(line: Mapping[str, Any]) -> Tally:
    return Tally(**{name: line[name] for name in ("samples", "pixels", "clamped", "unknown", "low", "high")})


def rebuild(folder: PathLike) -> int:
    """Write the manifest anew from the shards that are whole; returns how many there are."""
    root = Path(folder)
    counts = read_config(root)["shards"]
    lines = []
    for number, count in enumerate(counts):
        path = root / shard_name(number)
        with contextlib.suppress(ValueError, FileNotFoundError):
            lines.append(_line_of(path, number, check_shard(path, samples=count)))
    with publish(root / MANIFEST, overwrite=True) as part:
        part.write_text("".join(f"{json.dumps({**x, 'crc32': _line_sum(x)}, sort_keys=True)}\n" for x in lines))
    return len(lines)


# ---- looking after --------------------------------------------------------------------------------------------------


def verify(folder: PathLike, on_progress: Callable[[int, int], None] | None = None) -> list[Verdict]:
    """Read every shard of a folder, or a single file, and say which are whole.

    Returns
    -------
    list of Verdict
        One for each shard, missing ones included.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such dataset, or its configuration cannot be read.
    """
    root = Path(folder)
    if root.is_file():
        if root.name != VIRTUAL or not (root.parent / CONFIG).is_file():
            return [_verdict_of(root, on_progress)]
        root = root.parent
    config = read_config(root)
    recipe = None if config["recipe"] is None else Recipe.from_dict(config["recipe"])
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
    """Judge a file that is a dataset of its own."""
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
