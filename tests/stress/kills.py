"""Kill `blurphys synth generate` and `resume` at random moments; nothing published may be lost or differ.

Datasets are made round by round: `generate` is killed, then `resume` is killed again and again, at most twelve times or
until one of them gets to the end before its time has come. After every kill each shard that the manifest names, now or
before, must be there, whole, and byte by byte what it was; at the end of a round the dataset must equal an
uninterrupted one. The rounds take turns: one process; two workers, all of them killed; two workers, only their parent
killed, so that the workers are still at it when the next one begins.

    python -m tests.stress.kills --count 100 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tests.stress.common import BLURPHYS, command, environment, generate, published, scratch

MODES = {"one process": (1, True), "two workers": (2, True), "two workers, parent only": (2, False)}


def stop(group: int) -> None:
    """Kill a process group that this script started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def has_begun(pid: int) -> bool:
    """Whether a process holds the lock of its folder, from which on it checks, removes and makes files."""
    try:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(link.endswith("/.lock") for link in links)


def run_for(arguments: list[str], early: float, late: float, *, everyone: bool) -> tuple[int | None, int, str]:
    """Run, and kill `early` seconds after the start or `late` ones after the lock is taken, whichever comes first.

    Returns the exit code (None if killed), the process group, and what was complained of.
    """
    with tempfile.TemporaryFile("w+") as complaint:
        process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=complaint, env=environment(), start_new_session=True
        )
        end = time.monotonic() + early
        begun = False
        while process.poll() is None and time.monotonic() < end:
            if not begun and has_begun(process.pid):
                begun, end = True, min(end, time.monotonic() + late)
            time.sleep(0.005)
        if process.poll() is not None:
            complaint.seek(0)
            return process.returncode, process.pid, complaint.read().strip().rpartition("\n")[2]
        if everyone:
            stop(process.pid)
        else:
            process.kill()
        process.wait()
        return None, process.pid, ""


def check(folder: Path, known: dict[str, str], reference: Path) -> list[str]:
    """Compare what is published with what was, and with the reference; adds to `known` what is new."""
    import synth
    from synth.dataset.manifest import read_manifest
    from synth.dataset.verify import check_shard

    problems, now = [], published(folder)
    for line in read_manifest(folder):
        name = line["name"]
        if name not in now:
            problems.append(f"{name} is in the manifest but gone")
        elif check_shard(folder / name) != line["digest"]:
            problems.append(f"{name} is not what the manifest says")
        else:
            known.setdefault(name, now[name])
    for name, digest in now.items():
        try:
            check_shard(folder / name)
        except ValueError as error:
            problems.append(f"published but not whole: {error}")
            continue
        if known.setdefault(name, digest) != digest:
            problems.append(f"{name} has other bytes than before")
        with synth.open(folder / name) as ours, synth.open(reference / name) as theirs:
            for row in range(len(theirs)):
                one, other = ours[row], theirs[row]
                if any(not np.array_equal(one[key], other[key], equal_nan=True) for key in other):
                    problems.append(f"{name}: sample {row} differs from an uninterrupted run")
    return problems + [f"{name} was lost" for name in known if name not in now]


def one_round(
    folder: Path, reference: Path, mode: str, kills: int, rng: np.random.Generator, options: dict[str, Any]
) -> tuple[Counter[str], list[str]]:
    """Kill up to `kills` times on the way to one whole dataset."""
    import synth
    from synth.dataset.merging import difference

    workers, everyone = MODES[mode]
    seen: Counter[str] = Counter()
    problems: list[str] = []
    known: dict[str, str] = {}
    groups: list[int] = []
    try:
        while True:
            resuming = (folder / "config.json").exists()
            arguments = [*BLURPHYS, "synth", "resume", str(folder), "--workers", str(workers)]
            if not resuming:
                arguments = command(folder, workers=workers, **options)
            # One in ten dies before it has begun, or just then. Workers need some two seconds to start.
            early, late = (
                (rng.uniform(0.0, 2.0), 60.0) if rng.random() < 0.1 else (60.0, rng.uniform(0.0, 2.0 * workers))
            )
            if seen["kills"] >= kills:
                early = late = 300.0
            code, group, complaint = run_for(arguments, early, late, everyone=everyone)
            if code is None:
                seen["kills"] += 1
                seen["kills of resume"] += resuming
                seen["kills with a shard half written"] += any(folder.glob("*.h5.part"))
                groups += [] if everyone else [group]
                before = len(known)
                if folder.exists():
                    problems += [f"{mode}, kill {seen['kills']}: {p}" for p in check(folder, known, reference)]
                seen["shards published by runs that were killed"] += len(known) - before
                if len(groups) > 1:
                    stop(groups.pop(0))
            elif code == 0:
                break
            else:
                seen["runs that ended with an error"] += 1
                problems.append(f"{mode}, kill {seen['kills']}: {'resume' if resuming else 'generate'}: {complaint}")
                problems += check(folder, known, reference) if folder.exists() else []
                while groups:
                    stop(groups.pop())
                if seen["runs that ended with an error"] > 5:
                    break
        time.sleep(0.1)
        problems += [f"{mode}, at the end: {p}" for p in check(folder, known, reference)]
        problems += [f"{mode}, at the end: {v.problem}" for v in synth.verify(folder) if not v.whole]
        try:
            problems += [f"{mode}, at the end: {line}" for line in difference(folder, reference)]
        except ValueError as error:
            problems.append(f"{mode}, at the end: {error}")
        whole = {path.name for path in reference.iterdir()}
        strays = sorted(path.name for path in folder.iterdir() if path.name not in whole)
        seen["files left behind"] += len(strays)
        problems += [f"{mode}, at the end: {name} was left behind" for name in strays]
    finally:
        for group in groups:
            stop(group)
    seen["rounds"] += 1
    return seen, problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which they come")
    parser.add_argument("--samples", type=int, default=60, help="samples of a dataset, two in a shard")
    parser.add_argument("--scenes", default="dead-leaves", help="a drawn scene, or motorcycle")
    parser.add_argument("--mode", choices=list(MODES), action="append", help="only this one; may be given again")
    asked = parser.parse_args()
    rng = np.random.Generator(np.random.Philox(asked.seed))
    started, total, problems = time.monotonic(), Counter[str](), list[str]()
    modes = asked.mode or list(MODES)
    by_mode: dict[str, Counter[str]] = {mode: Counter() for mode in modes}
    with scratch() as place:
        options = {"samples": asked.samples, "seed": 5, "scenes": asked.scenes}
        generate(place / "reference", **options)
        number = 0
        while total["kills"] < asked.count:
            mode = modes[number % len(modes)]
            left = asked.count - total["kills"]
            seen, found = one_round(place / f"data-{number}", place / "reference", mode, min(left, 12), rng, options)
            total += seen
            by_mode[mode] += seen
            problems += found
            number += 1
            print(
                f"{time.monotonic() - started:5.0f} s, {total['kills']} kills: {mode}, {len(found)} problems",
                flush=True,
            )
    for mode, seen in by_mode.items():
        print(f"{mode}: {seen['kills']} kills in {seen['rounds']} rounds")
    for key in sorted(total):
        print(f"{key}: {total[key]}")
    print(f"problems: {len(problems)}, in {time.monotonic() - started:.0f} s")
    for problem in problems:
        print(f"  {problem}")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
