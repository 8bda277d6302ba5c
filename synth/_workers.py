"""Shards made by other processes: a pool of this machine, or the executor that is given."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .recipe import Recipe
    from .shards import Storage

__all__ = ["begin_worker", "elsewhere"]


def elsewhere(
    make_shard: Callable[..., dict[str, Any]],
    root: Path,
    missing: Sequence[int],
    recipe: Recipe,
    storage: Storage,
    workers: int,
    executor: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the lines of shards that other processes make, as they finish; few are under way at a time."""
    if executor is not None:
        yield from _collected(make_shard, executor, root, missing, recipe, storage, max(2 * workers, 8))
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(
        min(workers, len(missing)),
        mp_context=get_context("spawn"),
        initializer=begin_worker,
        initargs=(max(1, cores // workers), os.getpid()),
    ) as pool:
        try:
            yield from _collected(make_shard, pool, root, missing, recipe, storage, 2 * workers)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def begin_worker(threads: int, parent: int) -> None:
    """Take a share of the threads, and end when the process that asked for the work does."""
    os.environ["BLURPHYS_NUM_THREADS"] = str(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _collected(
    make_shard: Callable[..., dict[str, Any]],
    executor: Any,
    root: Path,
    missing: Sequence[int],
    recipe: Recipe,
    storage: Storage,
    ahead: int,
) -> Iterator[dict[str, Any]]:
    """Work for any executor whose futures have `done()` and `result()`: concurrent.futures, dask.distributed."""
    waiting, under_way = list(missing)[::-1], list[Any]()
    keep = {"pure": False} if type(executor).__module__.partition(".")[0] == "distributed" else {}
    while waiting or under_way:
        while waiting and len(under_way) < ahead:
            under_way.append(
                executor.submit(make_shard, str(root.absolute()), waiting.pop(), recipe, storage, **keep)
            )  # fmt: skip
        ready = [future for future in under_way if future.done()]
        under_way = [future for future in under_way if future not in ready]
        for future in ready:
            yield future.result()
        if not ready:
            time.sleep(0.02)
