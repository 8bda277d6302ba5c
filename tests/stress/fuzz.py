"""Feed mutated files to every reader: a result or a typed error, within five seconds and within bounded memory.

Each reader runs in a child process with a limit on its address space; a child that hangs is ended by SIGALRM, and one
that crashes is noticed. Input number i depends on the seed and i alone, so that `--only` shows a single one again.

    python -m tests.stress.fuzz --count 10000 --shards 2000 --seed 0
    python -m tests.stress.fuzz --reader png --only 1234        # write the input to the current folder, and read it
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import resource
import signal
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.stress.common import generate, scratch

EXTRA_BYTES = 2 << 30
SECONDS = 5
SLOTS = 4  # next input, results, ValueError, FileNotFoundError
ODD = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1)
WORDS = (
    b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"[]", b"{}", b'""', b'"x"', b"9" * 30, b"9" * 5000,
    b"0.5", b"[[[[", b"\\ud800", b"\xff\xfe", b"\0", b"\n", b"\r", b",", b":", b"}", b"{", b" ",
)  # fmt: skip
Mutate = Callable[[bytes, np.random.Generator], bytes]


# ---- mutations ------------------------------------------------------------------------------------------------------


def scrambled(data: bytes, rng: np.random.Generator, words: tuple[bytes, ...] = ()) -> bytes:
    """Change one to four places, more often near the beginning, where the headers are."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        reach = len(out) if rng.random() < 0.5 else min(len(out), 200)
        at = int(rng.integers(reach + 1))
        kind = int(rng.integers(9 if words else 8))
        if kind == 0:
            out[at : at + 1] = bytes(byte ^ 1 << int(rng.integers(8)) for byte in out[at : at + 1])
        elif kind == 1:
            out[at : at + 1] = rng.bytes(1)
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + int(rng.integers(1, 30))]
        elif kind == 4:
            out[at:at] = rng.bytes(int(rng.integers(1, 30)))
        elif kind == 5:
            out[at:at] = out[at : at + int(rng.integers(1, 60))]
        elif kind == 6:
            width, order = int(rng.choice((1, 2, 4, 8))), str(rng.choice(("little", "big")))
            value = int(rng.choice(np.array(ODD, np.uint64))) & ((1 << 8 * width) - 1)
            out[at : at + width] = value.to_bytes(width, "little" if order == "little" else "big")
        elif kind == 7:
            out[at : at + 8] = bytes(8)
        else:
            word = words[int(rng.integers(len(words)))]
            out[at : at + (len(word) if rng.random() < 0.5 else 0)] = word
    return bytes(out)


def texts(data: bytes, rng: np.random.Generator) -> bytes:
    """Change text: anywhere, or one value of a JSON object, line by line."""
    if rng.random() < 0.5:
        return scrambled(data, rng, WORDS)
    lines = data.split(b"\n") if data.count(b"\n}\n") == 0 else [data]
    at = int(rng.integers(len(lines)))
    try:
        tree = json.loads(lines[at])
    except ValueError:
        return scrambled(data, rng, WORDS)
    changed = _changed(tree, rng)
    if isinstance(changed, dict) and "crc32" in changed and rng.random() < 0.7:
        # With its own checksum right, so that what stands in the line is looked at.
        rest = {key: value for key, value in changed.items() if key != "crc32"}
        changed["crc32"] = zlib.crc32(json.dumps(rest, sort_keys=True).encode())
    lines[at] = json.dumps(changed, sort_keys=True).encode()
    return b"\n".join(lines)


def _changed(tree: Any, rng: np.random.Generator) -> Any:
    """Replace, drop or descend: one change somewhere in a JSON value."""
    odd: tuple[Any, ...] = (
        None,
        True,
        -1,
        0,
        2**70,
        10**400,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "x" * 300,
        [],
        {},
        [1],
        {"a": 1},
    )
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    if not keys or rng.random() < 0.1:
        return odd[int(rng.integers(len(odd)))]
    key = keys[int(rng.integers(len(keys)))]
    copy = tree.copy()
    if rng.random() < 0.1:
        del copy[key]
    else:
        copy[key] = _changed(tree[key], rng)
    return copy


def chunked(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a PNG: its bytes, or the contents of its chunks and of their deflate stream with checksums that fit."""
    if rng.random() < 0.4:
        return scrambled(data, rng)
    out, at = [data[:8]], 8
    while at < len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        out.append(data[at + 4 : at + 8 + size])
        at += 12 + size
    number = int(rng.integers(1, len(out)))
    kind, body = out[number][:4], out[number][4:]
    if kind == b"IDAT" and rng.random() < 0.7:
        body = zlib.compress(scrambled(zlib.decompress(body), rng))
    elif rng.random() < 0.15:
        kind = bytes(rng.choice([b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"zTXt", b"ABCD"]))
    else:
        body = scrambled(body, rng)
    out[number] = kind + body
    if rng.random() < 0.1:
        del out[number]
    elif rng.random() < 0.1:
        out.insert(number, out[int(rng.integers(1, len(out)))])
    pieces = [struct.pack(">I", len(x) - 4) + x + struct.pack(">I", zlib.crc32(x)) for x in out[1:]]
    return out[0] + b"".join(pieces)


# ---- readers --------------------------------------------------------------------------------------------------------


class Target:
    """A reader with whole files to begin from, and where the mutated one is put."""

    def __init__(self, seeds: list[bytes], mutate: Mutate, place: Path, read: Callable[[], Any]):
        self.seeds, self.mutate, self.place, self.read = seeds, mutate, place, read

    def input(self, seed: int, number: int) -> bytes:
        """Make input `number`."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(number,))))
        return self.mutate(self.seeds[number % len(self.seeds)], rng)


def targets(folder: Path) -> dict[str, Target]:
    """Make the whole files, and what reads them."""
    import synth
    from synth import io
    from synth.dataset.config import read_config
    from synth.dataset.manifest import MANIFEST, read_manifest
    from synth.dataset.schema import CONFIG

    rng = np.random.Generator(np.random.Philox(1))
    made: dict[str, list[bytes]] = {"png": [], "pfm": [], "dpt": []}
    for channels in ((), (1,), (2,), (3,), (4,)):
        io.write_array(folder / "a.png", rng.integers(65536, size=(9, 13, *channels)).astype(np.uint16), overwrite=True)
        made["png"].append((folder / "a.png").read_bytes())
    for channels in ((), (3,)):
        io.write_array(folder / "a.pfm", rng.random((9, 13, *channels), np.float32), overwrite=True)
        made["pfm"].append((folder / "a.pfm").read_bytes())
    made["dpt"].append(b"PIEH" + struct.pack("<ii", 13, 9) + rng.random(117, np.float32).tobytes())
    found = {
        name: Target(seeds, chunked if name == "png" else scrambled, folder / f"in.{name}", _reader(io, folder, name))
        for name, seeds in made.items()
    }

    data = folder / "data"
    generate(data, samples=3, seed=5)
    config, manifest = (data / CONFIG).read_bytes(), (data / MANIFEST).read_bytes()
    only = folder / "only"  # nothing but the file that is read
    only.mkdir()

    def folder_of_config() -> None:
        read_config(only)

    def whole_folder() -> None:
        verdicts = synth.verify(data)
        with synth.open(data) as opened:
            if len(opened) != sum(verdict.samples for verdict in verdicts):
                raise AssertionError("a folder of another length than its shards")

    def shard() -> None:
        with synth.open(packed) as opened:
            for index in range(len(opened)):
                opened.parameters(index)
                with contextlib.suppress(ValueError):
                    opened.read(index)
            opened.read(0)

    found["manifest"] = Target([manifest], texts, only / MANIFEST, lambda: read_manifest(only))
    found["config"] = Target([config], texts, only / CONFIG, folder_of_config)
    found["folder"] = Target([config], texts, data / CONFIG, whole_folder)
    packed = folder / "packed"
    generate(packed, samples=2, seed=5, compression=1)
    plain, name = folder / "plain", "shard-00000.h5"
    generate(plain, samples=2, seed=5)
    seeds = [(packed / name).read_bytes(), (plain / name).read_bytes()]
    found["shard"] = Target(seeds, scrambled, packed / name, shard)
    return found


def _reader(io: Any, folder: Path, name: str) -> Callable[[], Any]:
    return lambda: io.read_array(folder / f"in.{name}")


# ---- children -------------------------------------------------------------------------------------------------------


def address_space() -> int:
    """Bytes of address space this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def work(target: Target, seed: int, first: int, count: int, slots: Any, report: int) -> None:
    """Read inputs one after the other; the body of a child."""
    limit = address_space() + EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # HDF5 speaks of every damage
    for number in range(first, count):
        slots[0] = number
        target.place.write_bytes(target.input(seed, number))
        signal.alarm(SECONDS)
        try:
            target.read()
            slots[1] += 1
        except FileNotFoundError:
            slots[3] += 1
        except ValueError:
            slots[2] += 1
        except BaseException as error:
            os.write(report, f"{number}\t{type(error).__name__}: {str(error)[:200]!r}\n".encode())
        signal.alarm(0)
    slots[0] = count


def fuzz(name: str, target: Target, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Run children until every input has been read."""
    shared = mmap.mmap(-1, 8 * SLOTS)
    slots = memoryview(shared).cast("q")
    reader, report = os.pipe()
    os.set_blocking(reader, False)
    problems, seen, said = list[str](), Counter[str](), b""
    first = 0
    while first < count:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                work(target, seed, first, count, slots, report)
            finally:
                os._exit(0)
        status: int | None = None
        while status is None:
            done, code = os.waitpid(child, os.WNOHANG)
            status = code if done else None
            with contextlib.suppress(BlockingIOError):
                said += os.read(reader, 1 << 16)
            time.sleep(0.01)
        reached, first = first, int(slots[0])
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            what = f"took more than {SECONDS} s" if number == signal.SIGALRM else f"ended by signal {number}"
            seen["hang" if number == signal.SIGALRM else "crash"] += 1
            problems.append(f"{name}, input {first}: {what}")
            first += 1
        elif first < count:
            problems.append(f"{name}, input {first}: the child ended")
            seen["crash"] += 1
            first = max(first, reached) + 1
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(reader, 1 << 16):
            said += piece
    for line in said.decode().splitlines():
        place, _, error = line.partition("\t")
        seen["out of memory" if error.startswith("MemoryError") else "another error"] += 1
        problems.append(f"{name}, input {place}: {error}")
    seen["read"], seen["ValueError"], seen["FileNotFoundError"] = (int(n) for n in slots[1:4])
    os.close(reader)
    os.close(report)
    return seen, problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="inputs for each reader")
    parser.add_argument("--shards", type=int, default=2000, help="inputs for the readers of shards and folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", help="only this one; may be given again")
    parser.add_argument("--only", type=int, help="write this input of one reader to the current folder, and read it")
    asked = parser.parse_args()
    total, problems = Counter[str](), list[str]()
    with scratch() as place:
        every = targets(place)
        if unknown := set(asked.reader or ()) - set(every):
            parser.error(f"expected readers among {', '.join(every)}, got {', '.join(unknown)}")
        if asked.only is not None:
            if len(asked.reader or ()) != 1:
                parser.error("--only needs one --reader")
            target = every[asked.reader[0]]
            data = target.input(asked.seed, asked.only)
            for path in (target.place, Path(f"input-{asked.only}-{target.place.name}")):
                path.write_bytes(data)
            print(target.read())
            return
        for name, target in every.items():
            if asked.reader and name not in asked.reader:
                continue
            began, count = time.monotonic(), asked.shards if name in ("shard", "folder") else asked.count
            seen, found = fuzz(name, target, asked.seed, count)
            total += seen
            problems += found
            words = ", ".join(f"{key} {seen[key]}" for key in sorted(seen) if seen[key])
            print(f"{name}: {count} inputs in {time.monotonic() - began:.0f} s: {words}", flush=True)
    print(f"problems: {len(problems)}")
    kinds = Counter(
        problem.partition(": ")[0].partition(",")[0] + problem.partition(": ")[2][:60] for problem in problems
    )
    shown = Counter[str]()
    for problem in problems:
        kind = problem.partition(",")[0] + problem.partition(": ")[2][:60]
        shown[kind] += 1
        if shown[kind] <= 2:
            print(f"  {problem} ({kinds[kind]} like this)")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
