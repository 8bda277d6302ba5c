"""Flip single bits of a shard: every read gives what was written, or raises ValueError.

python -m tests.stress.flips --count 300 --seed 0
python -m tests.stress.flips --count 10000 --outside-arrays     # only where no image or map has its values
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.stress.common import generate, scratch


def contents(folder: Path) -> dict[str, Any]:
    """Read all there is, as a reader of the data would."""
    import synth

    with synth.open(folder) as data:
        found: dict[str, Any] = {"configuration": data.configuration, "names": data.names, "shape": data.shape}
        found["length"] = len(data)
        found["attributes"] = {
            key: getattr(value, "item", lambda value=value: value)() for key, value in data.attrs.items()
        }
        for index in range(len(data)):
            for name, array in data[index].items():
                found[f"sample {index} {name}"] = (array.shape, array.dtype.str, array.tobytes())
            found[f"sample {index} parameters"] = repr(data.parameters(index))
            found[f"sample {index} camera"] = data.camera(index).to_dict()
    return found


def array_bytes(shard: Path) -> np.ndarray:
    """Mark the bytes of the file that hold values of images and maps."""
    import h5py

    from synth.dataset.schema import FIELDS

    taken = np.zeros(shard.stat().st_size, bool)
    with h5py.File(shard, "r") as file:
        for name in FIELDS:
            if name in file:
                for number in range(file[name].id.get_num_chunks()):
                    chunk = file[name].id.get_chunk_info(number)
                    taken[chunk.byte_offset : chunk.byte_offset + chunk.size] = True
    return taken


def runs(places: list[int]) -> Iterator[str]:
    """Name byte ranges, joining places that are at most 8 bytes apart."""
    start = before = None
    for place in sorted(set(places)):
        if before is None or place - before > 8:
            if start is not None:
                yield f"{start}..{before}"
            start = place
        before = place
    if start is not None:
        yield f"{start}..{before}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="flips at random places")
    parser.add_argument("--seed", type=int, default=0, help="of the places")
    parser.add_argument("--outside-arrays", action="store_true", help="only where no image or map has its values")
    parser.add_argument("--compression", type=int, default=None, help="gzip level of the shard")
    asked = parser.parse_args()
    rng = np.random.Generator(np.random.Philox(asked.seed))
    started, seen = time.monotonic(), Counter[str]()
    silent: dict[str, list[int]] = {}
    other: list[str] = []
    with scratch() as place:
        folder = place / "data"
        generate(folder, samples=2, seed=5, compression=asked.compression)
        expected = contents(folder)
        victim = folder / "shard-00000.h5"
        whole, taken = victim.read_bytes(), array_bytes(victim)
        if asked.outside_arrays:
            bits = 8 * rng.choice(np.flatnonzero(~taken), asked.count) + rng.integers(8, size=asked.count)
        else:
            bits = rng.integers(8 * len(whole), size=asked.count)
        for bit in bits.tolist():
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            victim.write_bytes(damaged)
            where = "in an array" if taken[bit // 8] else "run_elsewhere"
            try:
                found = contents(folder)
            except ValueError:
                seen[f"detected, {where}"] += 1
                continue
            except Exception as error:
                seen["other errors"] += 1
                other.append(f"byte {bit // 8}: {error!r}")
                continue
            wrong = [key for key in expected if found.get(key) != expected[key]]
            seen[f"harmless, {where}" if not wrong else "silently wrong"] += 1
            for key in wrong:
                silent.setdefault(key, []).append(bit // 8)
        shutil.rmtree(folder)
    print(f"{len(bits)} flips in a shard of {len(whole)} bytes; {int(taken.sum())} bytes are values of images and maps")
    for key in sorted(seen):
        print(f"{key}: {seen[key]}")
    print(f"silently wrong reads: {seen['silently wrong']}, in {time.monotonic() - started:.0f} s")
    for key, places in silent.items():
        print(f"  {key}: {len(places)} flips, bytes {', '.join(runs(places))}")
    for line in other[:20]:
        print(f"  {line}")
    raise SystemExit(bool(seen["silently wrong"] or other))


if __name__ == "__main__":
    main()
