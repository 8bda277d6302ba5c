"""Make one dataset by 1, 2 and 4 processes, threads and dask, in shuffled order: every file has the same bytes.

python -m tests.stress.executors --count 24 --seed 0
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.stress.common import file_digest, generate, scratch

Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Shuffled(ThreadPoolExecutor):
    """Threads that take whichever of the waiting tasks chance names."""

    def __init__(self, workers: int, seed: int):
        super().__init__(workers)
        self._lock, self._tasks, self._random = threading.Lock(), list[Task](), random.Random(seed)
        self.order: list[int] = []

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._tasks.append((future, task, arguments))
        super().submit(self._any)
        return future

    def _any(self) -> None:
        time.sleep(0.1)  # until more than one is waiting
        with self._lock:
            future, task, arguments = self._tasks.pop(self._random.randrange(len(self._tasks)))
            self.order.append(arguments[1])
        try:
            future.set_result(task(*arguments))
        except BaseException as error:
            future.set_exception(error)


class Backwards:
    """Hand the tasks of a dask client on in blocks, last one first."""

    def __init__(self, client: Any, seed: int):
        self._client, self._random = client, random.Random(seed)
        self.order: list[int] = []

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Any:
        self.order.append(arguments[1])
        # Dask runs what has the highest priority first.
        return self._client.submit(task, *arguments, pure=False, priority=self._random.random())


def files(folder: Path) -> dict[str, str]:
    """Return names and hashes of the files of a dataset that hold data."""
    return {path.name: file_digest(path) for path in sorted(folder.glob("*.h5"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=24, help="samples, two in a shard")
    parser.add_argument("--seed", type=int, default=0, help="of the data and of the order")
    parser.add_argument("--compression", type=int, default=None, help="gzip level")
    asked = parser.parse_args()
    started, different = time.monotonic(), list[str]()
    made: dict[str, dict[str, str]] = {}
    with scratch() as place:

        def run(name: str, note: Callable[[], str] = str, **options: Any) -> None:
            began = time.monotonic()
            folder = place / name.replace(" ", "-")
            generate(folder, samples=asked.count, seed=asked.seed, compression=asked.compression, **options)
            made[name] = files(folder)
            reference = made["1 worker"]
            names = sorted({*reference, *made[name]})
            found = [file for file in names if reference.get(file) != made[name].get(file)]
            different.extend(f"{name}: {file}" for file in found)
            same = len(made[name]) - len(found)
            print(
                f"{name}: {same} of {len(reference)} files equal, {time.monotonic() - began:.1f} s{note()}", flush=True
            )

        run("1 worker")
        run("2 workers", workers=2)
        run("4 workers", workers=4)
        with Shuffled(4, asked.seed) as threads:
            run("threads, shuffled", lambda: f", begun in the order {threads.order}", executor=threads)
        if importlib.util.find_spec("distributed") is None:
            print("dask: not run, distributed is not installed")
        else:
            from distributed import Client, LocalCluster

            with (
                LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster) as client,
            ):
                run("dask client", executor=client)
                shuffled = Backwards(client, asked.seed)
                run("dask client, shuffled", executor=shuffled)
    print(f"different files: {len(different)}, in {time.monotonic() - started:.0f} s")
    for line in different:
        print(f"  {line}")
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
