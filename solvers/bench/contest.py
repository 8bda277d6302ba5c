"""The solvers compared on one photo: operator applications, seconds and memory.

Everything runs in one process on the same image and operators. Applications count A and its adjoint alike; absolute
seconds say less than ratios, since the machine may have other work.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

import blurphys as bp

from ..core.solution import Solution
from ..iterative.fixed_point import fixed_point, fixed_point_init, fixed_point_step
from ..krylov.bicgstab import bicgstab
from ..krylov.cg import cg
from ..krylov.cgls import cgls
from ..krylov.gmres import gmres
from ..krylov.lsqr import lsqr
from ..preconditioners.approximate_inverses import diagonal, local_fourier
from ..prox.total_variation import tv
from ..splitting.hqs import hqs

__all__ = ["STEPS", "Finding", "Results", "Row", "Table", "defocused", "measure", "photo"]

RHO, TOL = 1e-3, 1e-3
BLUR, MODERATE = (0.5, 2.5), (0.5, 1.5)
STEPS = 19


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one problem."""

    method: str
    status: str
    iterations: int
    applications: int
    residual: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A target, and what was measured."""

    what: str
    target: str
    measured: str
    met: bool | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """One problem: its title, and a row for each method."""

    title: str
    rows: list[Row]


@dataclass(kw_only=True)
class Results:
    """What was measured."""

    shape: tuple[int, int]
    tables: list[Table] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """Return the tables and targets as Markdown."""
        lines = []
        for table in self.tables:
            lines += [f"### {table.title}", "", "| method | status | steps | applications | residual | seconds |"]
            lines += ["|---|---|---|---|---|---|"]
            for r in table.rows:
                cells = (r.method, r.status, str(r.iterations), str(r.applications), f"{r.residual:.2e}")
                lines.append(f"| {' | '.join(cells)} | {r.seconds:.2f} |")
            lines.append("")
        lines += ["### Targets", "", "| | target | measured | |", "|---|---|---|---|"]
        for f in self.findings:
            verdict = "n/a" if f.met is None else "met" if f.met else "missed"
            lines.append(f"| {f.what} | {f.target} | {f.measured} | {verdict} |")
        return "\n".join(lines) + "\n"


def photo(height: int, width: int) -> np.ndarray:
    """Scikit-image's motorcycle, linear light, (3, H, W) float32: its centre, mirrored beyond its edges."""
    from skimage import data

    left = bp.colour.srgb_to_linear(data.stereo_motorcycle()[0].astype(np.float64) / 255).transpose(2, 0, 1)
    spare = [max(n - m, 0) for n, m in zip((height, width), left.shape[1:], strict=True)]
    left = np.pad(left, ((0, 0), *((s // 2, s - s // 2) for s in spare)), mode="symmetric")
    top, side = ((m - n) // 2 for n, m in zip((height, width), left.shape[1:], strict=True))
    return np.ascontiguousarray(left[:, top : top + height, side : side + width], dtype=np.float32)


def defocused(height: int, width: int, low: float, high: float, *, levels: int = 8) -> bp.GKM:
    """Gaussian blur whose standard deviation goes from `low` px at the left to `high` px at the right, in waves."""
    row, col = np.mgrid[0:height, 0:width].astype(np.float64)
    share = 0.5 + 0.5 * np.sin(2 * np.pi * (col / width + 0.25 * np.sin(2 * np.pi * row / height)))
    sigmas = np.linspace(low, high, levels)
    # defocus_to_beta takes signed radii; a Gaussian of sigma stands for a radius of 2 sigma
    beta = bp.maps.defocus_to_beta((2 * (low + (high - low) * share)).astype(np.float32), tuple(sigmas.tolist()))
    return bp.GKM(beta, sigmas=tuple(sigmas.tolist()))


def _row(method: str, solve: Callable[[], Solution]) -> Row:
    started = time.perf_counter()
    found = solve()
    return Row(
        method=method,
        status=found.status.name,
        iterations=found.iterations,
        applications=found.operator_applications,
        residual=found.residuals[-1],
        seconds=time.perf_counter() - started,
    )


def measure(shape: tuple[int, int], *, on_start: Callable[[str], object]) -> Results:
    """Run every comparison.

    Parameters
    ----------
    shape : (int, int)
        Height and width, px.
    on_start : callable
        Called `STEPS` times, with the name of what starts.

    Returns
    -------
    Results
    """
    results = Results(shape=shape)
    x = photo(*shape)
    A = defocused(*shape, *BLUR)
    for part in (_square, _normal, _splitting, _differentiation):
        part(results, x, A, on_start)
    return results


def _square(results: Results, x: np.ndarray, A: bp.GKM, on_start: Callable[[str], object]) -> None:
    """Solve A x = y to a relative residual: plain, accelerated, Krylov, preconditioned."""
    y = A(x)
    limit: dict[str, Any] = {"tol": TOL, "max_iterations": 1000}
    on_start("A x = y: preconditioner")
    M = local_fourier(A, rho=RHO, inverse_of="operator")
    methods: dict[str, Callable[[], Solution]] = {
        "fixed point": lambda: fixed_point(A, y, **limit),
        "Anderson": lambda: fixed_point(A, y, accelerate="anderson", **limit),
        "GMRES": lambda: gmres(A, y, **limit),
        "GMRES + local Wiener": lambda: gmres(A, y, preconditioner=M, **limit),
        "BiCGSTAB": lambda: bicgstab(A, y, **limit),
        "BiCGSTAB + local Wiener": lambda: bicgstab(A, y, preconditioner=M, **limit),
        "CGLS": lambda: cgls(A, y, **limit),
        "LSQR": lambda: lsqr(A, y, **limit),
    }
    rows = []
    for name, solve in methods.items():
        on_start(f"A x = y: {name}")
        rows.append(_row(name, solve))
    title = f"A x = y, Gaussian sigma {BLUR[0]} to {BLUR[1]} px, residual {TOL:g}"
    results.tables.append(Table(title=title, rows=rows))
    plain, others = rows[0], [r for r in rows[1:] if r.status == "CONVERGED"]
    best = min(others, key=lambda r: r.applications)
    share = best.applications / plain.applications
    results.findings.append(
        Finding(
            what=f"best accelerated method ({best.method})",
            target="at most 1/5 of the applications of fixed point",
            measured=f"{best.applications} of {plain.applications}: 1/{1 / share:.1f}",
            met=share <= 1 / 5 if plain.status == "CONVERGED" else None,
        )
    )


def _normal(results: Results, x: np.ndarray, A: bp.GKM, on_start: Callable[[str], object]) -> None:
    """(A^T A + rho I) x = A^T y, the data step of splitting methods, for a moderate and the stronger blur."""
    _data_step(results, x, defocused(*results.shape, *MODERATE), MODERATE, "at most 1/3 of those without", on_start)
    _data_step(results, x, A, BLUR, "", on_start)


def _data_step(
    results: Results,
    x: np.ndarray,
    A: bp.GKM,
    blur: tuple[float, float],
    target: str,
    on_start: Callable[[str], object],
) -> None:
    """The data step with and without preconditioners."""
    y = A.adjoint(A(x))
    solve = partial(cg, A.H @ A + RHO * bp.Identity(A.in_shape), y, tol=1e-4, max_iterations=1000)
    on_start("data step: CG")
    rows = [_row("CG", solve)]
    on_start("data step: diagonal preconditioner")
    rows.append(_row("CG + diagonal", partial(solve, preconditioner=diagonal(A, rho=RHO))))
    on_start("data step: local preconditioner")
    started = time.perf_counter()
    M = local_fourier(A, rho=RHO)
    made = time.perf_counter() - started
    rows.append(_row("CG + local Fourier", partial(solve, preconditioner=M)))
    where = f"sigma {blur[0]} to {blur[1]} px"
    title = f"(A^T A + {RHO:g} I) x = A^T y, {where}, residual 1e-4 (local model made in {made:.1f} s)"
    results.tables.append(Table(title=title, rows=rows))
    gain = rows[0].iterations / rows[2].iterations
    results.findings.append(
        Finding(
            what=f"CG steps with the local preconditioner, rho = {RHO:g}, {where}",
            target=target,
            measured=f"{rows[2].iterations} of {rows[0].iterations}: 1/{gain:.1f}",
            met=gain >= 3 if target else None,
        )
    )


def _splitting(results: Results, x: np.ndarray, A: bp.GKM, on_start: Callable[[str], object]) -> None:
    """HQS with total variation, 10 x 10 steps: the time beyond its applications and proximal operators."""
    noisy = A(x) + np.float32(0.01) * np.random.default_rng(0).standard_normal(x.shape, dtype=np.float32)
    spent = {"A": 0.0, "prox": 0.0}

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            started = time.perf_counter()
            found = work(*arguments)
            spent[part] += time.perf_counter() - started
            return found

        return run

    class Timed:
        in_shape, out_shape = A.in_shape, A.out_shape
        __call__ = staticmethod(timed("A", A.forward))
        adjoint = staticmethod(timed("A", A.adjoint))

    def run() -> Solution:
        return hqs(
            Timed(), noisy,
            prox=timed("prox", partial(tv, joint=True, iterations=20)), rho=0.01, strength=1e-3,
            inner_tol=1e-30, inner_iterations=10, tol=1e-30, max_iterations=10,
        )  # fmt: skip

    on_start("HQS + TV, first call")
    A.adjoint(noisy)
    spent.update({"A": 0.0, "prox": 0.0})
    on_start("HQS + TV")
    row = _row("HQS + TV, 10 x 10", run)
    results.tables.append(Table(title="HQS with total variation", rows=[row]))
    parts = spent["A"] + spent["prox"]
    results.findings.append(
        Finding(
            what="time of HQS + TV, 10 x 10",
            target="under 1.1 times its applications and proximal operators",
            measured=f"{row.seconds / parts:.2f} times ({spent['A']:.1f} s and {spent['prox']:.1f} s)",
            met=row.seconds < 1.1 * parts,
        )
    )
    on_start("memory of HQS + TV")
    tracemalloc.start()
    hqs(A, noisy, prox=partial(tv, joint=True, iterations=2), rho=0.01, max_iterations=2, tol=1e-30)
    peak = tracemalloc.get_traced_memory()[1] / noisy.nbytes
    tracemalloc.stop()
    results.findings.append(
        Finding(
            what="peak memory of HQS + TV beyond its arguments",
            target="at most 8 images",
            measured=f"{peak:.1f} images",
            met=peak <= 8,
        )
    )


def _differentiation(results: Results, x: np.ndarray, A: bp.GKM, on_start: Callable[[str], object]) -> None:
    """What autograd keeps for the gradient of a solution with respect to the maps, for growing numbers of steps."""
    import torch

    from ..differentiation.differentiate import checkpointed, implicit, saved_bytes, unrolled

    on_start("gradients: what is kept")
    height, width = min(x.shape[1], 96), min(x.shape[2], 128)
    mild = defocused(height, width, 0.3, 0.6)
    B = bp.GKM(torch.from_numpy(mild.beta).requires_grad_(), sigmas=mild.sigmas)
    y = torch.from_numpy(np.ascontiguousarray(x[:, :height, :width]))
    step, start = partial(fixed_point_step, B, y), fixed_point_init(B, y)
    ways: dict[str, Callable[[int], Any]] = {
        "unrolled": lambda n: unrolled(step, start, steps=n).x,
        "checkpointed": lambda n: checkpointed(step, start, steps=n).x,
        "implicit": lambda n: implicit(step, start, tol=10.0**-n).x,
    }
    for name, way in ways.items():
        counts, unit = ((1, 2, 4), "digits") if name == "implicit" else ((10, 40, 160), "steps")
        sizes = [saved_bytes(partial(way, n)) / (y.numel() * y.element_size()) for n in counts]
        text = ", ".join(f"{size:.1f}" for size in sizes)
        what = f"kept for the gradient, {name}, {', '.join(map(str, counts))} {unit}"
        results.findings.append(Finding(what=what, target="", measured=f"{text} images", met=None))
