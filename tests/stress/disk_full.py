"""Let the disk fill up while a dataset is made: a clear error, published shards as they were, and a resume that works.

Three disks stand in for the full one: a limit on the size of files that the system enforces (RLIMIT_FSIZE), writes
that fail with ENOSPC after a random number of bytes, and, where this user may mount one, a tmpfs of 1 MiB.

    python -m tests.stress.disk_full --count 40 --seed 0
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.stress.common import generate, published, scratch

SAMPLES, SEED = 12, 5


def in_a_child(work: Callable[[], str]) -> str:
    """Run in a fork, so that limits and patches end with it; what it says, or how it died."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            text = work()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode()[:4096])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    return text if os.WIFEXITED(status) else f"killed by signal {os.WTERMSIG(status)}"


def limited(folder: Path, limit: int) -> str:
    """Generate under a limit on the size of files."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return str(generate(folder, samples=SAMPLES, seed=SEED))


def rationed(folder: Path, budget: int) -> str:
    """Generate on a disk that has room for so many bytes of shards and then is full."""
    from synth.dataset import writer as _writing

    put, left = _writing._Stream._put, budget

    def refused(self: Any, view: memoryview) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = put(self, view[:left])
        left -= done
        return done

    _writing._Stream._put = refused  # type: ignore[method-assign]
    return str(generate(folder, samples=SAMPLES, seed=SEED))


def judge(kind: str, said: str, before: dict[str, str], folder: Path, reference: Path) -> list[str]:
    """Say what is wrong after a disk was full; then resume."""
    import synth
    from synth.dataset.merging import difference
    from synth.dataset.verify import check_shard

    problems = []
    if not (said.startswith("OSError: ") and "could not write" in said) or "\n" in said:
        problems.append(f"{kind}: the error is not clear: {said!r}")
    after = published(folder)
    problems += [f"{kind}: {name} is not what it was" for name, digest in before.items() if after.get(name) != digest]
    for name in after:
        try:
            check_shard(folder / name)
        except ValueError as error:
            problems.append(f"{kind}: {error}")
    if parts := sorted(path.name for path in folder.glob("*.part")):
        problems.append(f"{kind}: left behind {', '.join(parts)}")
    if not folder.exists() or not (folder / "config.json").exists():
        try:
            generate(folder, samples=SAMPLES, seed=SEED)
        except OSError as error:
            return [*problems, f"{kind}: cannot begin again: {error}"]
    else:
        synth.resume(folder)
    return problems + [f"{kind}, resumed: {line}" for line in difference(folder, reference)]


def on_a_small_disk(place: Path, reference: Path) -> tuple[str, list[str]]:
    """Mount a tmpfs, fill it with a dataset, make room, resume."""
    import synth
    from synth.dataset.merging import difference

    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        return "not run, this user may not mount one", []
    try:
        ballast, folder = disk / "ballast", disk / "data"
        ballast.write_bytes(bytes(400_000))
        said = in_a_child(lambda: str(generate(folder, samples=SAMPLES, seed=SEED)))
        before = published(folder)
        problems = (
            []
            if said.startswith("OSError: ") and "could not write" in said
            else [f"tmpfs: the error is not clear: {said!r}"]
        )
        problems += [f"tmpfs: {v.problem}" for v in synth.verify(folder) if v.problem not in (None, "missing")]
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        synth.resume(folder)
        after = published(folder)
        problems += [f"tmpfs: {name} was lost" for name in before if after.get(name) != before[name]]
        problems += [f"tmpfs, resumed: {line}" for line in difference(folder, reference)]
        return f"full after {len(before)} shards: {said}", problems
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40, help="full disks, half of each of the first two kinds")
    parser.add_argument("--seed", type=int, default=0, help="of the bytes that fit")
    asked = parser.parse_args()
    rng = np.random.Generator(np.random.Philox(asked.seed))
    started, problems, seen = time.monotonic(), list[str](), Counter[str]()
    with scratch() as place:
        reference = place / "reference"
        generate(reference, samples=SAMPLES, seed=SEED)
        size = (reference / "shard-00000.h5").stat().st_size
        for number in range(asked.count):
            folder = place / f"data-{number}"
            if number % 2:
                kind, budget = "ENOSPC", int(rng.integers(SAMPLES // 2 * size))
                before: dict[str, str] = {}
                said = in_a_child(partial(rationed, folder, budget))
                seen["ENOSPC: shards published before"] += len(published(folder))
            else:
                kind, limit = "RLIMIT_FSIZE", int(rng.integers(size))
                # Some shards are there before the limit comes.
                generate(folder, samples=SAMPLES, seed=SEED)
                for name in rng.choice(sorted(published(folder)), int(rng.integers(1, 6)), replace=False):
                    (folder / str(name)).unlink()
                before = published(folder)
                said = in_a_child(partial(limited, folder, limit))
                seen["RLIMIT_FSIZE: shards published before"] += len(before)
            found = judge(f"{kind}, run {number}", said, before, folder, reference)
            seen[f"{kind}: runs"] += 1
            seen[f"{kind}: {said.replace(str(place), '').partition(': ')[0]}"] += 1
            problems += found
            if number < 2:
                print(f"{kind} says: {said.replace(str(place) + '/', '')}")
        words, found = on_a_small_disk(place, reference)
        problems += found
        print(f"tmpfs: {words.replace(str(place) + '/', '')}")
    for key in sorted(seen):
        print(f"{key}: {seen[key]}")
    print(f"problems: {len(problems)}, in {time.monotonic() - started:.0f} s")
    for problem in problems:
        print(f"  {problem}")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
