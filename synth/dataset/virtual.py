"""All shards of a folder as one virtual HDF5 file, for plain HDF5 readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blurphys.files.publishing import publish

from .schema import CHECKSUMS, FIELDS, VIRTUAL, shard_name
from .writer import put_text

__all__ = ["make_virtual"]


def make_virtual(root: Path, counts: Sequence[int]) -> None:
    """Make a virtual file that shows all shards as one, for plain HDF5 readers.

    Attributes in which the shards of a merged folder differ are left out: they would be wrong for some samples.
    """
    import h5py

    with publish(root / VIRTUAL, overwrite=True) as part, h5py.File(part, "w", libver=("v110", "v110")) as whole:
        with h5py.File(root / shard_name(0), "r") as first:
            for key, value in _common_attributes(root, len(counts)).items():
                if isinstance(value, bytes):
                    put_text(whole, key, value.decode())
                else:
                    whole.attrs[key] = value
            names = [
                *(n for n in FIELDS if n in first),
                *(f"{g}/{n}" for g in ("parameters", "crc32") for n in first[g]),
            ]
            shapes = {name: (first[name].shape[1:], first[name].dtype, dict(first[name].attrs)) for name in names}
        whole.attrs["virtual"] = 1
        for group in ("parameters", CHECKSUMS):
            whole.create_group(group)
        for name, (inner, dtype, attributes) in shapes.items():
            shape, start = (sum(counts), *inner), 0
            kept = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            kept.set_layout(h5py.h5d.VIRTUAL)
            # Equal data then have equal bytes; h5py's high-level interface cannot set this.
            kept.set_obj_track_times(False)
            for number, count in enumerate(counts):
                target, source = h5py.h5s.create_simple(shape), h5py.h5s.create_simple((count, *inner))
                target.select_hyperslab((start, *(0 for _ in inner)), (count, *inner))
                kept.set_virtual(target, shard_name(number).encode(), name.encode(), source)
                start += count
            made = h5py.h5d.create(
                whole.id, name.encode(), h5py.h5t.py_create(dtype, logical=1), h5py.h5s.create_simple(shape), dcpl=kept
            )
            for key, value in attributes.items():
                put_text(h5py.Dataset(made), key, value.decode())


def _common_attributes(root: Path, shards: int) -> dict[str, Any]:
    import h5py

    common: dict[str, Any] = {}
    for number in range(shards):
        with h5py.File(root / shard_name(number), "r") as shard:
            found = dict(shard.attrs)
        if number == 0:
            common = found
        common = {key: value for key, value in common.items() if key in found and found[key] == value}
    return common
