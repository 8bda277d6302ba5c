"""Making shards in other processes: a pool on this machine, or a given executor."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..dataset.config import Storage
    from .recipe import Recipe

__all__ = ["begin_worker", "run_elsewhere"]


def run_elsewhere(
    render_shard: Callable[..., dict[str, Any]],
    root: Path,
    missing: Sequence[int],
    recipe: Recipe,
    storage: Storage,
    workers: int,
    executor: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the manifest lines of shards that other processes make, as they finish; few are in flight at a time."""
    if executor is not None:
        yield from _collect(render_shard, executor, root, missing, recipe, storage, max(2 * workers, 8))
        return
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
    from multiprocessing import get_context

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(
        min(workers, len(missing)),
        mp_context=get_context("spawn"),
        initializer=begin_worker,
        initargs=(max(1, cores // workers), os.getpid()),
    ) as pool:
        try:
            yield from _collect(render_shard, pool, root, missing, recipe, storage, 2 * workers)
        except BrokenExecutor:
            raise ChildProcessError(
                f"a worker process was killed while it made a shard of {root}, perhaps for lack of memory; the "
                f"shards published before are intact, `blurphys synth resume {root}` continues it (fewer --workers "
                "take less memory)"
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def begin_worker(threads: int, parent: int) -> None:
    """Limit the threads of a worker, and end it together with its parent process."""
    os.environ["BLURPHYS_NUM_THREADS"] = str(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _collect(
    render_shard: Callable[..., dict[str, Any]],
    executor: Any,
    root: Path,
    missing: Sequence[int],
    recipe: Recipe,
    storage: Storage,
    ahead: int,
) -> Iterator[dict[str, Any]]:
    """Work for any executor whose futures have `done()` and `result()`: concurrent.futures, dask.distributed."""
    waiting, under_way = list(missing)[::-1], list[Any]()
    keep = {"pure": False} if _is_dask(executor) else {}
    while waiting or under_way:
        while waiting and len(under_way) < ahead:
            with _name_dead_workers(executor, root):
                future = executor.submit(render_shard, str(root.absolute()), waiting.pop(), recipe, storage, **keep)
            under_way.append(future)
        ready = [future for future in under_way if future.done()]
        under_way = [future for future in under_way if future not in ready]
        for future in ready:
            with _name_dead_workers(executor, root):
                line = future.result()
            yield line
        if not ready:
            time.sleep(0.02)


def _is_dask(executor: Any) -> bool:
    return type(executor).__module__.partition(".")[0] == "distributed"


@contextlib.contextmanager
def _name_dead_workers(executor: Any, root: Path) -> Iterator[None]:
    """Turn dask's errors for a lost machine into one sentence; errors of the task itself pass through."""
    try:
        yield
    except Exception as error:
        if not (_is_dask(executor) and _is_of_the_cluster(error)):
            raise
        scheduler = getattr(getattr(executor, "scheduler", None), "address", None)
        who = f"the dask scheduler at {scheduler}" if scheduler else "the dask scheduler"
        what = f"{who} does not answer any more"
        if type(error).__name__ == "KilledWorker":
            address = getattr(getattr(error, "last_worker", None), "address", "")
            what = (
                f"a dask worker{f' at {address}' if address else ''} was killed, and so were the others given its shard"
            )
        raise ConnectionError(
            f"{what} ({type(error).__name__}); the shards published before are intact, `blurphys synth resume {root} "
            f"--scheduler {scheduler or 'ADDRESS'}` continues it"
        ) from error


def _is_of_the_cluster(error: Exception) -> bool:
    module = type(error).__module__.partition(".")[0]
    return module in ("distributed", "tornado") or isinstance(error, CancelledError | ConnectionError | TimeoutError)
