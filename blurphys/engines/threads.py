"""The thread pool that runs `nogil` kernels on strips of rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

__all__ = ["run_tasks", "thread_count"]


def thread_count() -> int:
    """Return how many threads to use: BLURPHYS_NUM_THREADS, else torch's setting where torch is loaded, else all cores.

    Raises
    ------
    ValueError
        If the environment variable is not a whole number >= 1.
    """
    given = os.environ.get("BLURPHYS_NUM_THREADS")
    if given is not None:
        if not (given.isascii() and given.isdigit() and int(given) >= 1):
            raise ValueError(f"BLURPHYS_NUM_THREADS: expected a whole number >= 1, got {given!r}")
        return int(given)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the pool of this process: a forked child must not use its parent's threads."""
    return ThreadPoolExecutor(max_workers=threads, thread_name_prefix="blurphys")


def run_tasks(work: Callable[..., object], tasks: Sequence[tuple[int, ...]]) -> None:
    """Call ``work(*task)`` for every task, in parallel where there is more than one thread."""
    threads = thread_count()
    if threads == 1 or len(tasks) <= 1:
        for task in tasks:
            work(*task)
        return
    list(_pool(os.getpid(), threads).map(lambda task: work(*task), tasks))
