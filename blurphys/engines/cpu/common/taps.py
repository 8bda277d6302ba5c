"""Row arithmetic of the compiled mixtures: symmetric filters, sums over rows, dot products.

Four offsets at a time: each pass over a row reads and writes the result once for four multiply-adds. Slices, not
computed indices, keep the loops free of checks for negative indices, which is what lets the compiler vectorise them.
"""

from __future__ import annotations

from typing import Any

from .compiler import inner_jit, wide_vectors

__all__ = ["add_dots", "add_filtered", "add_pair_sums", "add_symmetric_dots", "dot", "filter_symmetric", "pair_sums"]


@inner_jit
def filter_symmetric(line: Any, taps: Any, half: int, out: Any) -> None:
    """Write ``out[q] = sum_t taps[|t|] line[q + half + t]``; line is 2 half longer than out."""
    wide_vectors()
    n, w0, middle = out.size, taps[0], line[half : half + out.size]
    # The first pass takes the centre and up to four offsets and writes the result; those after it add four each.
    first = (half + 3) % 4 + 1 if half else 0  # offsets in the first pass; the others are a multiple of four
    if first == 0:
        for q in range(n):
            out[q] = w0 * middle[q]
    elif first == 1:
        w1 = taps[1]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        for q in range(n):
            out[q] = w0 * middle[q] + w1 * (a[q] + b[q])
    elif first == 2:
        w1, w2 = taps[1], taps[2]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        c, d = line[half - 2 : half - 2 + n], line[half + 2 : half + 2 + n]
        for q in range(n):
            out[q] = w0 * middle[q] + w1 * (a[q] + b[q]) + w2 * (c[q] + d[q])
    elif first == 3:
        w1, w2, w3 = taps[1], taps[2], taps[3]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        c, d = line[half - 2 : half - 2 + n], line[half + 2 : half + 2 + n]
        e, f = line[half - 3 : half - 3 + n], line[half + 3 : half + 3 + n]
        for q in range(n):
            out[q] = w0 * middle[q] + (w1 * (a[q] + b[q]) + w2 * (c[q] + d[q])) + w3 * (e[q] + f[q])
    else:
        w1, w2, w3, w4 = taps[1], taps[2], taps[3], taps[4]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        c, d = line[half - 2 : half - 2 + n], line[half + 2 : half + 2 + n]
        e, f = line[half - 3 : half - 3 + n], line[half + 3 : half + 3 + n]
        g, h = line[half - 4 : half - 4 + n], line[half + 4 : half + 4 + n]
        for q in range(n):
            out[q] = (
                w0 * middle[q] + (w1 * (a[q] + b[q]) + w2 * (c[q] + d[q])) + (w3 * (e[q] + f[q]) + w4 * (g[q] + h[q]))
            )
    t = first + 1
    while t <= half:
        w1, w2, w3, w4 = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
        a, b = line[half - t : half - t + n], line[half + t : half + t + n]
        c, d = line[half - t - 1 : half - t - 1 + n], line[half + t + 1 : half + t + 1 + n]
        e, f = line[half - t - 2 : half - t - 2 + n], line[half + t + 2 : half + t + 2 + n]
        g, h = line[half - t - 3 : half - t - 3 + n], line[half + t + 3 : half + t + 3 + n]
        for q in range(n):
            out[q] += (w1 * (a[q] + b[q]) + w2 * (c[q] + d[q])) + (w3 * (e[q] + f[q]) + w4 * (g[q] + h[q]))
        t += 4


@inner_jit
def add_filtered(line: Any, taps: Any, half: int, weight: Any, out: Any) -> None:
    """Add ``weight . `` what `filter_symmetric` writes."""
    wide_vectors()
    n, w0, middle = out.size, taps[0], line[half : half + out.size]
    first = (half + 3) % 4 + 1 if half else 0
    if first == 0:
        for q in range(n):
            out[q] += weight[q] * (w0 * middle[q])
    elif first == 1:
        w1 = taps[1]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        for q in range(n):
            out[q] += weight[q] * (w0 * middle[q] + w1 * (a[q] + b[q]))
    elif first == 2:
        w1, w2 = taps[1], taps[2]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        c, d = line[half - 2 : half - 2 + n], line[half + 2 : half + 2 + n]
        for q in range(n):
            out[q] += weight[q] * (w0 * middle[q] + w1 * (a[q] + b[q]) + w2 * (c[q] + d[q]))
    elif first == 3:
        w1, w2, w3 = taps[1], taps[2], taps[3]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        c, d = line[half - 2 : half - 2 + n], line[half + 2 : half + 2 + n]
        e, f = line[half - 3 : half - 3 + n], line[half + 3 : half + 3 + n]
        for q in range(n):
            out[q] += weight[q] * (w0 * middle[q] + (w1 * (a[q] + b[q]) + w2 * (c[q] + d[q])) + w3 * (e[q] + f[q]))
    else:
        w1, w2, w3, w4 = taps[1], taps[2], taps[3], taps[4]
        a, b = line[half - 1 : half - 1 + n], line[half + 1 : half + 1 + n]
        c, d = line[half - 2 : half - 2 + n], line[half + 2 : half + 2 + n]
        e, f = line[half - 3 : half - 3 + n], line[half + 3 : half + 3 + n]
        g, h = line[half - 4 : half - 4 + n], line[half + 4 : half + 4 + n]
        for q in range(n):
            out[q] += weight[q] * (
                w0 * middle[q] + (w1 * (a[q] + b[q]) + w2 * (c[q] + d[q])) + (w3 * (e[q] + f[q]) + w4 * (g[q] + h[q]))
            )
    t = first + 1
    while t <= half:
        w1, w2, w3, w4 = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
        a, b = line[half - t : half - t + n], line[half + t : half + t + n]
        c, d = line[half - t - 1 : half - t - 1 + n], line[half + t + 1 : half + t + 1 + n]
        e, f = line[half - t - 2 : half - t - 2 + n], line[half + t + 2 : half + t + 2 + n]
        g, h = line[half - t - 3 : half - t - 3 + n], line[half + t + 3 : half + t + 3 + n]
        for q in range(n):
            out[q] += weight[q] * (
                (w1 * (a[q] + b[q]) + w2 * (c[q] + d[q])) + (w3 * (e[q] + f[q]) + w4 * (g[q] + h[q]))
            )
        t += 4


@inner_jit
def pair_sums(rows: Any, low: int, one: Any, two: Any, count: int, a: Any, b: Any) -> None:
    """Write ``a = sum_t one[t] rows[t, low:]`` and b likewise with `two`, for t < count: each row is read once."""
    wide_vectors()
    n, u, v = a.size, one[0], two[0]
    r0 = rows[0, low : low + n]
    for q in range(n):
        a[q] = u * r0[q]
        b[q] = v * r0[q]
    add_pair_sums(rows[1:], low, one[1:], two[1:], count - 1, a, b)


@inner_jit
def add_pair_sums(rows: Any, low: int, one: Any, two: Any, count: int, a: Any, b: Any) -> None:
    """Add what `pair_sums` writes."""
    wide_vectors()
    n, t = a.size, 0
    while t + 3 < count:
        u0, u1, u2, u3 = one[t], one[t + 1], one[t + 2], one[t + 3]
        v0, v1, v2, v3 = two[t], two[t + 1], two[t + 2], two[t + 3]
        r0, r1 = rows[t, low : low + n], rows[t + 1, low : low + n]
        r2, r3 = rows[t + 2, low : low + n], rows[t + 3, low : low + n]
        for q in range(n):
            a[q] += (u0 * r0[q] + u1 * r1[q]) + (u2 * r2[q] + u3 * r3[q])
            b[q] += (v0 * r0[q] + v1 * r1[q]) + (v2 * r2[q] + v3 * r3[q])
        t += 4
    while t < count:
        u0, v0 = one[t], two[t]
        r0 = rows[t, low : low + n]
        for q in range(n):
            a[q] += u0 * r0[q]
            b[q] += v0 * r0[q]
        t += 1


@inner_jit
def add_dots(line: Any, rows: Any, low: int, count: int, out: Any) -> None:
    """Add ``<line, rows[t, low:]>`` to out[t] for t < count."""
    wide_vectors()
    n, t = line.size, 0
    zero = line[0] * 0
    while t + 3 < count:
        r0, r1 = rows[t, low : low + n], rows[t + 1, low : low + n]
        r2, r3 = rows[t + 2, low : low + n], rows[t + 3, low : low + n]
        s0 = s1 = s2 = s3 = zero
        for q in range(n):
            s0 += line[q] * r0[q]
            s1 += line[q] * r1[q]
            s2 += line[q] * r2[q]
            s3 += line[q] * r3[q]
        out[t] += s0
        out[t + 1] += s1
        out[t + 2] += s2
        out[t + 3] += s3
        t += 4
    while t < count:
        r0 = rows[t, low : low + n]
        s0 = zero
        for q in range(n):
            s0 += line[q] * r0[q]
        out[t] += s0
        t += 1


@inner_jit
def add_symmetric_dots(values: Any, line: Any, half: int, out: Any) -> None:
    """Add ``sum_q values[q] (line[q + half - t] + line[q + half + t])`` to out[t] for t = 0..half, once for t = 0."""
    wide_vectors()
    n = values.size
    zero = values[0] * 0
    middle = line[half : half + n]
    s0 = zero
    for q in range(n):
        s0 += values[q] * middle[q]
    out[0] += s0
    t = 1
    while t + 1 <= half:
        a, b = line[half - t : half - t + n], line[half + t : half + t + n]
        c, d = line[half - t - 1 : half - t - 1 + n], line[half + t + 1 : half + t + 1 + n]
        s0 = s1 = zero
        for q in range(n):
            s0 += values[q] * (a[q] + b[q])
            s1 += values[q] * (c[q] + d[q])
        out[t] += s0
        out[t + 1] += s1
        t += 2
    if t <= half:
        a, b = line[half - t : half - t + n], line[half + t : half + t + n]
        s0 = zero
        for q in range(n):
            s0 += values[q] * (a[q] + b[q])
        out[t] += s0


@inner_jit
def dot(a: Any, b: Any) -> Any:
    """Return ``sum_q a[q] b[q]``."""
    wide_vectors()
    total = a[0] * 0
    for q in range(a.size):
        total += a[q] * b[q]
    return total
