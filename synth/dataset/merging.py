"""Merging and comparing datasets."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blurphys.files.publishing import PathLike, refusal

from .beginning import sync
from .config import config_text, find_difference, read_config
from .folder import FolderReader
from .folder import open as open_dataset
from .manifest import rebuild
from .reader import Reader
from .schema import CONFIG, FOLDER_FORMAT, FOLDER_VERSION, shard_name
from .verify import check_dataset
from .virtual import make_virtual
from .writer import library_version

__all__ = ["difference", "merge"]


class _Form(NamedTuple):
    """Names, shapes and types of the arrays of a folder, which must agree to merge it."""

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtypes: dict[str, str]
    layers: int


def merge(folders: Iterable[PathLike], out: PathLike) -> int:
    """Concatenate datasets in a new folder, by copying their shards.

    The samples of the first folder come first, numbered from 0, then those of the second, and so on, with unchanged
    pixels, parameters and configuration. The parts may differ in scenes, camera, model, tone curve and seed; those
    of a sample are ``data.attrs_of(i)``, ``data.configuration_of(i)`` and ``data.camera(i)`` of the merged folder.

    Parameters
    ----------
    folders : iterable of path
        Two or more folders that `synth.generate` or `merge` made, all with the same arrays: the same views, size and
        dtype, and alpha masks of as many layers or none.
    out : path
        The folder to make; it must not exist.

    Returns
    -------
    int
        The number of samples of the new folder.

    Raises
    ------
    FileExistsError
        `out` exists.
    FileNotFoundError
        There is no such dataset, or no folder to make `out` in.
    OSError
        The disk is full; `out` is removed again.
    ValueError
        Fewer than two datasets; a damaged shard; arrays that differ (the message names the option to change); the same
        folder twice, also under another path, or folders that share samples, which would then count twice.

    Notes
    -----
    Samples are identical when all their checksums are, as in two datasets of one seed, camera and list of scenes. A
    merged folder cannot be resumed; repair its parts and merge them again. Cost: every shard is read, verified and
    copied.

    Examples
    --------
    >>> merge(["photos", "leaves"], "both")  # doctest: +SKIP
    200
    """
    if isinstance(folders, str | os.PathLike):
        raise ValueError(f"merge: expected a list of two or more datasets, got the one path {folders}")
    folders = list(folders)
    if len(folders) < 2:
        raise ValueError(f"merge: expected at least two datasets, got {len(folders)}")
    root = Path(out)
    if root.exists():
        raise FileExistsError(f"{root} exists already; name a new folder")
    if not root.parent.is_dir():
        raise FileNotFoundError(f"cannot make {root}: there is no folder {root.parent}")
    configs = [read_config(Path(folder)) for folder in folders]
    _refuse_one_folder_twice(folders)
    _refuse_other_forms(folders)
    for folder in folders:
        for verdict in check_dataset(folder):
            if verdict.problem == "missing":
                raise ValueError(f"merge: {folder}: {verdict.name} is missing; resume it first")
            if verdict.problem:
                raise ValueError(f"merge: {verdict.problem}; repair it first")
    _refuse_shared_samples(folders, configs)
    counts: list[int] = [count for config in configs for count in config["shards"]]
    config: dict[str, Any] = {
        "format": FOLDER_FORMAT, "version": FOLDER_VERSION, "generator": f"blurphys {library_version()}",
        "recipe": None, "storage": None, "merged": [{"from": c["recipe"], "storage": c["storage"]} for c in configs],
        "shards": counts,
    }  # fmt: skip
    half_done = root.with_name(f"{root.name}.{secrets.token_hex(4)}.part")
    try:
        half_done.mkdir()
        number = 0
        for folder, part in zip(folders, configs, strict=True):
            for i in range(len(part["shards"])):
                shutil.copyfile(Path(folder) / shard_name(i), half_done / shard_name(number))
                sync(half_done / shard_name(number))
                number += 1
        (half_done / CONFIG).write_text(config_text(config))
        rebuild(half_done)
        make_virtual(half_done, counts)
        os.replace(half_done, root)
    except BaseException as error:
        shutil.rmtree(half_done, ignore_errors=True)
        if reason := refusal(error):
            raise OSError(f"could not make {root}: {reason}; nothing was left behind") from error
        raise
    return sum(counts)


def _refuse_one_folder_twice(folders: Sequence[PathLike]) -> None:
    known: dict[tuple[int, int], PathLike] = {}
    for folder in folders:
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity in known:
            also = "is given twice" if str(known[identity]) == str(folder) else f"and {known[identity]} are one folder"
            raise ValueError(f"merge: {folder} {also}, so that each of its samples would count twice; give it once")
        known[identity] = folder


def _refuse_other_forms(folders: Sequence[PathLike]) -> None:
    forms = [_form_of(folder) for folder in folders]
    for folder, form in zip(folders[1:], forms[1:], strict=True):
        if reason := _form_difference(form, forms[0]):
            raise ValueError(f"merge: {folder} does not fit {folders[0]}: {reason}")


def _form_of(folder: PathLike) -> _Form:
    with FolderReader(folder) as data:
        dtypes = {name: str(data.stored_dtype(name)) for name in data.names}
        layers = data.read(0, names=("alpha",))["alpha"].shape[0] if "alpha" in data.names else 0
        return _Form(data.names, data.shape, dtypes, layers)


def _form_difference(one: _Form, first: _Form) -> str:
    """Say how a form differs from the first one, and which option to change; empty if they are equal."""
    if one.layers != first.layers:
        counts = [f"alpha masks of {n} layers" if n else "no alpha masks" for n in (one.layers, first.layers)]
        return f"it has {counts[0]}, the other {counts[1]}; make both without them (--no-alpha, alpha=False)"
    if one.names != first.names:
        more = [", ".join(sorted(set(a) - set(b))) for a, b in ((one.names, first.names), (first.names, one.names))]
        parts = [text for text, there in ((f"it has {more[0]}", more[0]), (f"it lacks {more[1]}", more[1])) if there]
        return f"{' and '.join(parts)}; make both with the same --views (views=...)"
    if one.shape != first.shape:
        sizes = [f"{height} x {width}" for height, width in (one.shape, first.shape)]
        return f"its samples have {sizes[0]} px, those of the other {sizes[1]}; make both with one --size (size=...)"
    for name in one.names:
        if one.dtypes[name] != first.dtypes[name]:
            return (
                f"it stores {name} in {one.dtypes[name]}, the other in {first.dtypes[name]}; make both with one "
                "--dtype (dtype=...)"
            )
    return ""


def _refuse_shared_samples(folders: Sequence[PathLike], configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse samples that two folders share, by their checksums; repetitions within one folder are allowed."""
    known: dict[bytes, tuple[PathLike, int]] = {}
    for folder, config in zip(folders, configs, strict=True):
        first, own = 0, dict[bytes, int]()
        for number in range(len(config["shards"])):
            with Reader(Path(folder) / shard_name(number)) as data:
                own |= {key: first + row for row, key in enumerate(data.fingerprints())}
                first += len(data)
        if shared := sorted((own[key], key) for key in own if key in known):
            row, key = shared[0]
            other, there = known[key]
            raise ValueError(
                f"merge: {len(shared)} of the {first} samples of {folder} are in {other} too (sample {row} is sample "
                f"{there} there), so that they would count twice; was one copied from the other, or made with the same "
                "seed? Leave it out, or make it with another --seed"
            )
        known |= {key: (folder, row) for key, row in own.items()}


def difference(one: PathLike, other: PathLike, *, limit: int = 20) -> list[str]:
    """Compare two datasets array by array; returns one sentence per difference, none if they are equal."""
    found: list[str] = []
    with open_dataset(one) as a, open_dataset(other) as b:
        if len(a) != len(b):
            found.append(f"{len(a)} samples in {one}, {len(b)} in {other}")
        if a.names != b.names or a.shape != b.shape:
            return [*found, f"arrays {a.names} of {a.shape} px in {one}, {b.names} of {b.shape} px in {other}"]
        reported = ""
        for index in range(min(len(a), len(b))):
            if (field := find_difference(a.configuration_of(index), b.configuration_of(index))) and field != reported:
                found.append(f"configuration: {field}")
                reported = field
            left, right = a.read(index), b.read(index)
            for name in a.names:
                if left[name].shape != right[name].shape:
                    found.append(f"sample {index}: {name} has shape {left[name].shape} and {right[name].shape}")
                elif not np.array_equal(left[name], right[name], equal_nan=True):
                    worst = np.nanmax(np.abs(left[name].astype(np.float64) - right[name].astype(np.float64)))
                    found.append(f"sample {index}: {name} differs by up to {worst:.3g}")
            ours, theirs = a.parameters(index), b.parameters(index)
            found += [
                f"sample {index}: {name} is {ours.get(name)} and {theirs.get(name)}"
                for name in sorted({*ours, *theirs})
                if ours.get(name) != theirs.get(name)
            ]
            if len(found) >= limit:
                return [*found[:limit], "and perhaps more"]
    return found
