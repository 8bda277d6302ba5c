"""Peak memory of every contestant, measured in a separate process: ``python -m blurphys.bench.measure.memory``.

The kernel keeps the high-water mark of a process's resident memory (VmHWM) and resets it on request. The mark after a
call, minus the resident memory before it, is what the call needed beyond its inputs, result included. It counts
whatever allocated it: NumPy, torch or a C library. In that process, malloc returns large blocks at once. On a GPU,
torch's own count of allocated bytes takes the place of the mark.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..problems.catalogue import contestants, problem
from ..problems.contestant import BOTH, FORWARD, WAYS, Contestant
from ..problems.problem import MIN_SIDE, OURS, Problem

__all__ = ["METHODS", "peak", "peaks"]

METHODS = {
    "cpu": "VmHWM after the call - VmRSS before it, in a process of its own; result included, inputs not",
    "cuda": "torch.cuda.max_memory_allocated after the call - memory_allocated before it, in a process of its own",
}
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_BLOCK = "262144"
Left = Mapping[str, Collection[tuple[str, str]]]


def _resident(mark: str) -> int:
    """Return VmRSS or VmHWM in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(mark):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {mark}")


def peak(run: Callable[[], Any], device: str = "cpu") -> int | None:
    """Return how many bytes a call needs beyond those in use before it; None where the system does not report it.

    Parameters
    ----------
    run : callable
        Called once; its result is included.
    device : str
        "cpu": the process's resident memory, so that other threads count too. "cuda": what torch has allocated.

    Returns
    -------
    int or None
    """
    gc.collect()
    if device == "cuda":
        return _cuda_peak(run)
    if hasattr(ctypes, "CDLL") and sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESET.write_text("5")
        before = _resident("VmRSS")
        result = run()
        after = _resident("VmHWM")
    except OSError:
        return None
    del result
    return max(0, after - before)


def _cuda_peak(run: Callable[[], Any]) -> int:
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    torch.cuda.synchronize()
    del result
    return int(torch.cuda.max_memory_allocated() - before)


def _of(contestant: Contestant, way: str, device: str) -> int | None:
    """Measure one way; the adjoint includes its preparation, in which autograd stores what it needs."""

    def run() -> Any:
        prepared = contestant.ready(way)
        return None if prepared is None else prepared()

    return peak(run, device)


def _everyone(
    task: Problem, names: Collection[str], left: Collection[tuple[str, str]], ways: Sequence[str]
) -> dict[str, dict[str, int | None]]:
    """Measure the contestants among `names` (all if it is empty)."""
    found: dict[str, dict[str, int | None]] = {}
    for who, contestant in contestants(task):
        if isinstance(contestant, str) or (names and who not in names):
            continue
        for way in ways:
            if not contestant.has(way) or (who, way) in left:
                continue
            try:
                found.setdefault(who, {})[way] = _of(contestant, way, task.device)
            except Exception as error:
                print(f"{who}, {way}: {type(error).__name__}: {error}", file=sys.stderr)
    return found


def _measured(name: str, shape: tuple[int, int], device: str, left: Collection[tuple[str, str]]) -> Any:
    small = (min(shape[0], MIN_SIDE), min(shape[1], 64))
    _everyone(problem(name, small, device), (), left, WAYS)  # loads and compiles what will be needed
    found = _everyone(problem(name, shape, device), (), left, WAYS)
    fewer = problem(name, small, device, fewer=True)
    _everyone(fewer, OURS[1:], left, (FORWARD, BOTH))
    fewer = problem(name, shape, device, fewer=True)
    peak = _everyone(fewer, OURS[1:], left, (BOTH,)).get(OURS[1], {}).get(BOTH)
    return {"everyone": found, "fewer": {"levels": fewer.levels, "map_bytes": fewer.map_bytes, "peak_bytes": peak}}


def peaks(
    names: Sequence[str], shape: tuple[int, int], device: str = "cpu", left: Left | None = None
) -> dict[str, Any]:
    """Measure the peak memory of every contestant.

    Parameters
    ----------
    names : sequence of str
        Problems.
    shape : (int, int)
        H, W.
    device : str
        "cpu" or "cuda".
    left : dict of problem to (contestant, way) pairs, optional
        What is left out.

    Returns
    -------
    dict
        For each problem, ``everyone``: contestant to way to bytes, None where the system has no such figures (they
        need Linux); ``fewer``: ``levels``, ``map_bytes`` and ``peak_bytes`` of our forward + backward with half as
        many levels.

    Raises
    ------
    OSError
        If the process that measures fails.
    """
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": _BLOCK, "MALLOC_TRIM_THRESHOLD_": _BLOCK}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    asked = {
        "names": list(names),
        "shape": shape,
        "device": device,
        "left": {n: list(v) for n, v in (left or {}).items()},
    }
    command = [sys.executable, "-m", "blurphys.bench.measure.memory", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise OSError(f"the process that measures memory failed: {lines[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _main(text: str) -> None:
    asked = json.loads(text)
    left = {name: {tuple(pair) for pair in pairs} for name, pairs in asked["left"].items()}
    shape = (asked["shape"][0], asked["shape"][1])
    print(json.dumps({n: _measured(n, shape, asked["device"], left.get(n, ())) for n in asked["names"]}))


if __name__ == "__main__":
    _main(sys.argv[1])
