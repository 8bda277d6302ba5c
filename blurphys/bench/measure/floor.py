"""The speed of the machine: copy bandwidth and multiply-adds per second, with the threads that our engines use."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...engines.threads import run_tasks, thread_count

__all__ = ["measure_floor"]

CHAINS, DEEP = 12, 4
MEGABYTES, STEPS, REPEAT = 256, 400_000, 7


def measure_floor(device: str = "cpu", *, megabytes: int = MEGABYTES, steps: int = STEPS) -> dict[str, Any]:
    """Measure what bounds every operator, best of several runs.

    Parameters
    ----------
    device : str
        "cpu", or "cuda".
    megabytes : int
        Size of the array that is copied; larger than every cache, so that the bandwidth is that of memory.
    steps : int
        Loop count of the arithmetic, on the CPU.

    Returns
    -------
    dict
        ``bandwidth``: bytes read and written per second. ``rate``: float32 multiply-adds per second. ``method``: how
        they were measured.

    Notes
    -----
    CPU: each thread copies its part of an array with the C library; each thread runs twelve independent chains of
    vector multiply-adds that stay in registers. GPU: `copy_` of a tensor; a matrix product in full float32.
    """
    if device == "cuda":
        return _cuda_floor(megabytes)
    threads, lanes = thread_count(), _lanes()
    return {
        "bandwidth": _bandwidth(megabytes, threads),
        "rate": _rate(steps, threads, lanes),
        "threads": threads,
        "method": f"copy of {megabytes} MB by {threads} threads, read + written; {CHAINS} chains of {lanes}-wide "
        f"float32 multiply-adds in registers, {threads} threads",
    }


def _best(run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _bandwidth(megabytes: int, threads: int) -> float:
    source = np.ones(megabytes * 2**18, dtype=np.float32)
    target = np.zeros_like(source)
    edges = np.linspace(0, source.size, threads + 1).astype(int)
    parts = [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    best = _best(lambda: run_tasks(lambda a, b: np.copyto(target[a:b], source[a:b]), parts))
    return 2 * source.nbytes / best


def _lanes() -> int:
    """Number of float32 values in the widest vector of this processor."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


def _rate(steps: int, threads: int, lanes: int) -> float:
    chains = _chains(lanes)
    chains(1, np.float32(0.5))
    best = _best(lambda: run_tasks(lambda _: chains(steps, np.float32(0.5)), [(i,) for i in range(threads)]))
    return threads * steps * CHAINS * DEEP * lanes / best


@cache
def _chains(lanes: int) -> Any:
    """Compile ``a = a * v + v`` for `CHAINS` vectors in registers, `DEEP` times per step.

    The instructions are stated one by one: if they were left to the optimiser, it would shorten the loop or spill it to
    memory.
    """
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    @intrinsic
    def loop(typing_context: Any, steps: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            steps, value = arguments
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
            vector = ir.VectorType(ir.FloatType(), lanes)
            kind = ir.FunctionType(vector, [vector] * 3)
            fma = builder.module.declare_intrinsic(f"llvm.fma.v{lanes}f32", (), kind)
            lane = ir.IntType(32)
            v = ir.Constant(vector, ir.Undefined)
            for i in range(lanes):
                v = builder.insert_element(v, value, ir.Constant(lane, i))
            before = builder.block
            body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
            builder.branch(body)
            builder.position_at_end(body)
            count = builder.phi(steps.type)
            count.add_incoming(ir.Constant(steps.type, 0), before)
            firsts = [builder.phi(vector) for _ in range(CHAINS)]
            results = list(firsts)
            for _ in range(DEEP):
                results = [builder.call(fma, [a, v, v]) for a in results]
            for c, (first, result) in enumerate(zip(firsts, results, strict=True)):
                first.add_incoming(ir.Constant(vector, [float(c)] * lanes), before)
                first.add_incoming(result, body)
            following = builder.add(count, ir.Constant(steps.type, 1))
            count.add_incoming(following, body)
            builder.cbranch(builder.icmp_signed("<", following, steps), body, after)
            builder.position_at_end(after)
            total = results[0]
            for result in results[1:]:
                total = builder.fadd(total, result)
            return builder.extract_element(total, ir.Constant(lane, 0))

        return numba.float32(numba.int64, numba.float32), generate

    @numba.njit(nogil=True)
    def chains(steps: Any, value: Any) -> Any:
        return loop(steps, value)

    return chains


def _cuda_floor(megabytes: int) -> dict[str, Any]:
    import torch

    size, count = 8192, 16 * megabytes * 2**18
    source = torch.ones(count, device="cuda")
    target = torch.zeros_like(source)
    a, b = torch.rand(2, size, size, device="cuda").unbind()
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        return {
            "bandwidth": 2 * source.nbytes / min(_events(lambda: target.copy_(source)) for _ in range(REPEAT)),
            "rate": size**3 / min(_events(lambda: a @ b) for _ in range(REPEAT)),
            "threads": None,
            "method": f"copy of {16 * megabytes} MB, read + written; product of two {size} x {size} float32 matrices",
        }
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


def _events(run: Callable[[], Any]) -> float:
    from .timing import cuda_seconds

    return cuda_seconds(run)
