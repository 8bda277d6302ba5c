"""The inner loop of the PSF kernels, kept in vector registers: many correlations of the same rows at once.

The compiler's own vectoriser keeps a sum over taps in memory when the run of pixels is short, and then loads and
stores cost more than the arithmetic. Here the sums of a block of pixels stay in registers over all taps, and one loaded
vector of pixels serves several kernels (views, levels, rows). Written as LLVM vectors, which every processor gets in
its own width.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import apart, inner_jit, wide_vectors

__all__ = ["STEPS", "VECTOR_BYTES", "address", "correlate"]


def _vector_bytes() -> int:
    """Width of this processor's vectors: AVX-512, AVX, else 16 bytes (SSE, NEON)."""
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # the platform does not tell
        return 16
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


VECTOR_BYTES = _vector_bytes()

STEPS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "out_step",
            "line_step",
            "taps",
            "group_step",
            "member_step",
            "tap_line",
            "tap_step",
            "spans",
            "span_step",
            "first",
            "stop",
        )
    ]
)
"""What `correlate` needs to walk through memory: `taps` and `spans` are addresses, steps are counted in elements."""


@intrinsic
def address(typing_context: Any, array: Any) -> Any:
    """Return the address of an array's first element; the caller has to keep the array alive."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(found.data, context.get_value_type(numba.types.intp))

    return numba.types.intp(array), generate


@intrinsic(prefer_literal=True)
def _block(
    typing_context: Any, groups: Any, members: Any, vectors: Any, like: Any, out: Any, line: Any, steps: Any
) -> Any:
    """Do what `correlate` does for a block of `vectors` vectors; the first three arguments are literal numbers."""
    kernels, width = groups.literal_value * members.literal_value, vectors.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, integer = context.get_value_type(like), context.get_value_type(numba.types.intp)
        size = 4 if isinstance(number, ir.FloatType) else 8
        vector = ir.VectorType(number, VECTOR_BYTES // size)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), VECTOR_BYTES // size), None)
        fused = ("contract",)  # multiply and add in one instruction
        out, line, packed = arguments[4:]
        one = ir.Constant(integer, 1)

        def times(value: Any, factor: int) -> Any:
            return builder.mul(value, ir.Constant(integer, factor))

        def at(base: Any, offset: int, kind: Any) -> Any:
            return builder.inttoptr(builder.add(base, ir.Constant(integer, offset)), kind.as_pointer())

        step = {name: builder.load(at(packed, 8 * i, integer)) for i, name in enumerate(STEPS.names or ())}
        # One vector of sums for each kernel and vector of the block; the optimiser turns the variables into registers.
        # Inside the loop over taps nothing is written to memory: load pixels, spread a tap over the lanes, multiply and
        # add.
        sums = [cgutils.alloca_once(builder, vector) for _ in range(kernels * width)]  # become registers
        for s in sums:
            builder.store(ir.Constant(vector, None), s)
        offsets = [
            times(builder.add(times(step["group_step"], g), times(step["member_step"], m)), size)
            for g in range(groups.literal_value)
            for m in range(members.literal_value)
        ]
        with cgutils.for_range_slice(builder, step["first"], step["stop"], one, integer) as (k, _):
            span = builder.add(step["spans"], times(builder.mul(k, step["span_step"]), 8))
            a, b = builder.load(at(span, 0, integer)), builder.load(at(span, 8, integer))
            row = builder.add(line, times(builder.mul(k, step["line_step"]), size))
            tap_row = builder.add(step["taps"], times(builder.mul(k, step["tap_line"]), size))
            with cgutils.for_range_slice(builder, a, b, one, integer) as (j, _):
                here = builder.add(row, times(j, size))
                pixels = [builder.load(at(here, i * VECTOR_BYTES, vector), align=size) for i in range(width)]
                tap_here = builder.add(tap_row, times(builder.mul(j, step["tap_step"]), size))
                for m, offset in enumerate(offsets):
                    tap = builder.load(at(builder.add(tap_here, offset), 0, number))
                    first_lane = builder.insert_element(ir.Constant(vector, ir.Undefined), tap, ir.IntType(32)(0))
                    wide = builder.shuffle_vector(first_lane, ir.Constant(vector, ir.Undefined), everywhere)
                    for i, s in enumerate(sums[m * width : (m + 1) * width]):
                        product = builder.fmul(wide, pixels[i], flags=fused)
                        builder.store(builder.fadd(builder.load(s), product, flags=fused), s)
        for m in range(kernels):
            target = builder.add(out, times(step["out_step"], m * size))
            for i, s in enumerate(sums[m * width : (m + 1) * width]):
                pointer = at(target, i * VECTOR_BYTES, vector)
                builder.store(builder.fadd(builder.load(pointer, align=size), builder.load(s)), pointer, align=size)
        return context.get_dummy_value()

    return numba.types.void(groups, members, vectors, like, out, line, steps), generate


@inner_jit
def correlate(like: Any, size: int, groups: int, members: int, count: int, out: int, line: int, steps: int) -> None:
    """Correlate rows of pixels with ``groups x members`` kernels and add the sums to as many rows of results.

    With a record of `STEPS` (spans are int64)::

        out[(g members + m) out_step + q] += sum_k sum_j taps[g group_step + m member_step + k tap_line + j tap_step]
                                                         line[k line_step + j + q]

    for first <= k < stop, and j from spans[k span_step] up to spans[k span_step + 1].

    Parameters
    ----------
    like : float
        Any number of the dtype of all rows.
    size : int
        Bytes of a number.
    groups, members : int
        (1, 1), (2, 1), (1, 3), (2, 2), (2, 3) or (4, 1).
    count : int
        Number of results in each row; the rest of the last vector is read and written too.
    out, line : int
        Addresses of the first result and of the first pixel.
    steps : int
        Address of the record.
    """
    apart()
    wide_vectors()
    done, end = 0, count * size
    widest = 4 if groups * members <= 3 or VECTOR_BYTES == 64 else 2  # what the registers hold
    while done < end:
        left = (end - done + VECTOR_BYTES - 1) // VECTOR_BYTES
        vectors = min(widest, 4 if left >= 4 else 2 if left >= 2 else 1)
        to, at, kernels = out + done, line + done, groups * members
        if kernels == 1:
            if vectors == 4:
                _block(1, 1, 4, like, to, at, steps)
            elif vectors == 2:
                _block(1, 1, 2, like, to, at, steps)
            else:
                _block(1, 1, 1, like, to, at, steps)
        elif kernels == 2:
            if vectors == 4:
                _block(2, 1, 4, like, to, at, steps)
            elif vectors == 2:
                _block(2, 1, 2, like, to, at, steps)
            else:
                _block(2, 1, 1, like, to, at, steps)
        elif kernels == 3:
            if vectors == 4:
                _block(1, 3, 4, like, to, at, steps)
            elif vectors == 2:
                _block(1, 3, 2, like, to, at, steps)
            else:
                _block(1, 3, 1, like, to, at, steps)
        elif kernels == 6:
            if vectors == 4:
                _block(2, 3, 4, like, to, at, steps)
            elif vectors == 2:
                _block(2, 3, 2, like, to, at, steps)
            else:
                _block(2, 3, 1, like, to, at, steps)
        elif groups == 4:
            if vectors == 4:
                _block(4, 1, 4, like, to, at, steps)
            elif vectors == 2:
                _block(4, 1, 2, like, to, at, steps)
            else:
                _block(4, 1, 1, like, to, at, steps)
        else:
            if vectors == 4:
                _block(2, 2, 4, like, to, at, steps)
            elif vectors == 2:
                _block(2, 2, 2, like, to, at, steps)
            else:
                _block(2, 2, 1, like, to, at, steps)
        done += vectors * VECTOR_BYTES
