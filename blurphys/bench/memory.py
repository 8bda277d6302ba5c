"""Peak memory of every contestant, measured in a process of its own: ``python -m blurphys.bench.memory``.

The kernel keeps the high-water mark of a process's resident memory (VmHWM) and resets it on request. The mark after a
call, minus the resident memory before it, is what the call needed beyond its inputs, result included. It counts
whatever allocated it: NumPy, torch or a C library. In that process, malloc returns large blocks at once.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .contestant import Contestant
from .problems import contestants, problem

__all__ = ["METHOD", "peaks"]

METHOD = "VmHWM after the call - VmRSS before it, in a process of its own; result included, inputs not"
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_BLOCK = "262144"
Peaks = dict[str, dict[str, dict[str, int | None]]]


def _resident(mark: str) -> int:
    """Return VmRSS or VmHWM in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(mark):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {mark}")


def _peak(run: Callable[[], Any]) -> int | None:
    gc.collect()
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


def _of(contestant: Contestant) -> dict[str, int | None]:
    """Measure both directions; the adjoint includes its preparation, where autograd stores what it needs."""
    found = {"forward": _peak(contestant.forward)}
    prepare = contestant.adjoint
    if prepare is not None:
        found["adjoint"] = _peak(lambda: prepare()())
    return found


def _everyone(name: str, shape: tuple[int, int]) -> dict[str, dict[str, int | None]]:
    found: dict[str, dict[str, int | None]] = {}
    for size in (min(shape[0], 48), min(shape[1], 64)), shape:  # the small one loads and compiles what will be needed
        for who, contestant in contestants(problem(name, size)):
            if isinstance(contestant, str):
                continue
            try:
                found[who] = _of(contestant)
            except Exception as error:
                print(f"{who}: {type(error).__name__}: {error}", file=sys.stderr)
                found.pop(who, None)
    return found


def peaks(names: Sequence[str], shape: tuple[int, int]) -> Peaks:
    """Measure the peak memory of everyone.

    Parameters
    ----------
    names : sequence of str
        Problems.
    shape : (int, int)
        H, W.

    Returns
    -------
    dict
        Problem to contestant to direction to bytes; None where the system has no such figures (they need Linux).

    Raises
    ------
    OSError
        If the process that measures fails.
    """
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": _BLOCK, "MALLOC_TRIM_THRESHOLD_": _BLOCK}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "blurphys.bench.memory", f"{shape[0]}x{shape[1]}", *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise OSError(f"the process that measures memory failed: {lines[-1]}")
    found: Peaks = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    size = tuple(int(n) for n in sys.argv[1].split("x"))
    print(json.dumps({name: _everyone(name, (size[0], size[1])) for name in sys.argv[2:]}))
