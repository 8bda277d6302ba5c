"""Restore an observed image with a known operator, and report how the solver ended."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

import blurphys as bp
import solvers
from solvers.splitting.strength import strength_for

from .problem import Image, Problem
from .quality import psnr

__all__ = ["METHODS", "PRIORS", "RHO", "TERMS", "SolveReport", "note_on_noise", "solve"]

RHO = (0.003, 0.01, 0.03, 0.1)
"""Coupling of the four outer iterations of half-quadratic splitting, if none is given: the default of `solvers.hqs` but
for its last two steps, which gain up to 0.3 dB with total variation and lose up to 1.2 dB with hyper_laplacian."""

STRENGTH = 3e-4
"""Weight of the prior where there is no noise."""

TERMS = 3
"""Highest power of the Neumann series, if none is given."""

PRIORS: Mapping[str, Callable[..., Any]] = {
    "tv": partial(solvers.tv, joint=True, iterations=20),
    "tv-anisotropic": partial(solvers.tv, isotropic=False, iterations=20),
    "hyper-laplacian": solvers.hyper_laplacian,
    "wavelet": solvers.l1_wavelet,
}

_STOP = frozenset({"tol", "max_iterations", "noise_level"})
_PRIOR = frozenset({"tol", "max_iterations", "strength", "prior", "rho"})

METHODS: Mapping[str, frozenset[str]] = {
    "fixed-point": _STOP | {"damping", "accelerate"},
    "neumann": frozenset({"terms", "noise_level"}),
    "landweber": _STOP | {"damping"},
    "cgls": _STOP,
    "lsqr": _STOP,
    "gmres": _STOP,
    "bicgstab": _STOP,
    "richardson-lucy": _STOP | {"tv_strength"},
    "hqs": _PRIOR,
    "admm": _PRIOR,
    "fista": _PRIOR - {"rho"},
    "layered": _PRIOR,
}
"""Every method and its options. Methods with a prior take its weight from the noise instead of stopping there."""

SLOW = frozenset({"landweber", "richardson-lucy"})
"""Methods without a prior that approach the noise level slowly: stopping at their step limit gives some 2 dB more on
rendered samples than stopping at the noise level of the sample."""


@dataclass(frozen=True, kw_only=True)
class SolveReport:
    """The result of a restoration, as `blurphys solve --report` writes it.

    Attributes
    ----------
    source, operator, method : str
        Source of the image, operator and method.
    options : dict
        The options that were used, given or not.
    noise_level : float or None
        Standard deviation of the noise in linear light at which the method was to stop, or that set its strength; None
        where neither.
    status, advice : str
        Name and advice of the solver's status, or that a schedule or series was completed.
    iterations, operator_applications : int
        Steps, and applications of A and of its adjoint.
    residuals : list of float
        ``||y - A x_k|| / ||y||`` from the start on.
    residual : float
        That of the restored image, which is not the last one where the method diverged.
    seconds : float
        Wall time of the solver.
    psnr_blurred, psnr_restored : float or None
        Against the image in focus in linear light (dB, peak 1), where it is known.
    """

    source: str
    operator: str
    method: str
    options: dict[str, Any]
    noise_level: float | None
    status: str
    advice: str
    iterations: int
    operator_applications: int
    residuals: list[float]
    residual: float
    seconds: float
    psnr_blurred: float | None
    psnr_restored: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def solve(
    given: Problem, method: str, *, mask: Image | None = None, unknown_boundary: bool = False, **options: Any
) -> tuple[Image, solvers.Solution, SolveReport]:
    """Restore an image by one of `METHODS`.

    Parameters
    ----------
    given : Problem
        The problem.
    method : str
        A key of `METHODS`.
    mask : ndarray of bool, optional
        Where the image was observed.
    unknown_boundary : bool
        Estimate the scene around the frame too, instead of assuming a boundary rule for it. For methods that take an
        operator that is not square.
    **options
        Those of the method; None means that it was not given.

    Returns
    -------
    x : ndarray of shape (C, H, W)
        The restored image, linear light, not clipped.
    solution : solvers.Solution
        Where `unknown_boundary`, of the larger scene.
    report : SolveReport

    Raises
    ------
    ValueError
        No such method, an option it does not take, or one out of range.
    """
    if method not in METHODS:
        raise ValueError(f"--method: expected one of {', '.join(METHODS)}, got {method!r}")
    chosen = {key: value for key, value in options.items() if value is not None}
    for key in chosen:
        if key not in METHODS[method]:
            takers = [name for name, takes in METHODS.items() if key in takes]
            raise ValueError(f"--{key.replace('_', '-')} is an option of {', '.join(takers)}, not of {method}")
    A, y = given.A, given.y
    square = method in ("fixed-point", "neumann", "gmres", "bicgstab")
    more: dict[str, Any] = {} if mask is None else {"mask": mask}
    if method == "layered":
        if not isinstance(A, bp.LayeredDefocus):
            raise ValueError(
                f"--method layered: expected layers, a dataset of blurphys synth or a file of a LayeredDefocus, got "
                f"{type(given.A).__name__}; hqs takes any operator"
            )
        A = A.replace(per_layer=True)
    if unknown_boundary:
        if method == "layered":
            raise ValueError("--unknown-boundary: layered has no scene around the frame; hqs does it without occlusion")
        if square:
            raise ValueError(f"--unknown-boundary makes the operator wider than tall, which {method} cannot solve")
        A = bp.unknown_boundary(A)
        more["x0"] = _start(A, y)
    elif A.in_shape != A.out_shape and not square and method != "layered":
        more["x0"] = _start(A, y)
    arguments = _arguments(method, chosen, given)
    started = time.perf_counter()
    solution = getattr(solvers, method.replace("-", "_"))(A, y, **arguments, **more)
    seconds = time.perf_counter() - started
    if isinstance(A, bp.LayeredDefocus) and method == "layered":
        x = np.asarray(A.composite(solution.x))
    else:
        x = _middle(np.asarray(solution.x), given.A.in_shape)
    return x, solution, _report(given, method, chosen, arguments, solution, seconds, x)


def note_on_noise(given: Problem, method: str, **options: Any) -> str | None:
    """Return a note that a method without a prior fits noise whose level is not known; None where it does not apply."""
    takes = "noise_level" in METHODS.get(method, ()) and method not in SLOW
    if given.noise_level is not None or not takes or options.get("tv_strength"):
        return None
    return (
        f"the noise of {given.source} is not known, and a method without a prior, such as {method}, fits the noise if "
        "it goes on long enough: --noise-level ends it where only noise is left"
    )


def _arguments(method: str, chosen: Mapping[str, Any], given: Problem) -> dict[str, Any]:
    arguments = dict(chosen)
    if "noise_level" in METHODS[method] and method not in SLOW and given.noise_level:
        arguments.setdefault("noise_level", given.noise_level)
    if "prior" in METHODS[method]:
        prior = arguments.pop("prior", "tv")
        if prior not in PRIORS:
            raise ValueError(f"--prior: expected one of {', '.join(PRIORS)}, got {prior!r}")
        arguments["prox"] = solvers.tv if (method, prior) == ("layered", "tv") else PRIORS[prior]
        if "strength" not in arguments:
            level = given.noise_level
            arguments["strength"] = "auto" if level is None else strength_for(level**2) if level else STRENGTH
    if method == "hqs":
        arguments.setdefault("rho", RHO)
    if method == "admm":
        arguments.setdefault("rho", RHO[-1])
    if method == "neumann":
        arguments.setdefault("terms", TERMS)
    if arguments.get("accelerate") == "chebyshev":
        arguments["certificate"] = bp.certificate(given.A, damping=arguments.get("damping", 1.0))
    return arguments


def _report(
    given: Problem,
    method: str,
    chosen: Mapping[str, Any],
    arguments: Mapping[str, Any],
    solution: solvers.Solution,
    seconds: float,
    x: Image,
) -> SolveReport:
    used = {key: value for key, value in arguments.items() if key not in ("prox", "certificate")}
    weighed = "prior" in METHODS[method] and "strength" not in chosen
    known = given.truth is not None and given.y.shape == given.truth.shape
    return SolveReport(
        source=given.source,
        operator=repr(given.A),
        method=method,
        options={"prior": "tv", **chosen, **used} if "prior" in METHODS[method] else used,
        noise_level=given.noise_level if weighed else used.get("noise_level"),
        status=solution.status.name,
        advice=_advice_here(method, arguments, solution) or solution.status.value,
        iterations=solution.iterations,
        operator_applications=solution.operator_applications,
        residuals=[float(r) for r in solution.residuals],
        residual=solution.residual,
        seconds=seconds,
        psnr_blurred=_psnr(given.y, given) if known else None,
        psnr_restored=_psnr(x, given),
    )


def _advice_here(method: str, arguments: Mapping[str, Any], solution: solvers.Solution) -> str | None:
    """Return the advice for a completed schedule or series, or an unchanged image; None for any other end."""
    steps, rho = solution.iterations, arguments.get("rho")
    if solution.status is solvers.Status.NOISE_LEVEL and steps == 0:
        return (
            "The observed image is as near to its own blur as the noise is strong, so that it is returned as it was: "
            "a method with a prior, such as hqs, can do more."
        )
    usual = inspect.signature(solvers.layered).parameters["max_iterations"].default
    if solution.status is solvers.Status.MAX_ITERATIONS and method == "layered" and steps == usual:
        return f"the {steps} outer iterations that it takes unless --max-iterations says otherwise, its normal end."
    if solution.status is solvers.Status.MAX_ITERATIONS and arguments.get("terms") == steps:
        return f"the {steps} terms of the series, its normal end."
    if solution.status is solvers.Status.MAX_ITERATIONS and isinstance(rho, tuple) and len(rho) == steps:
        return f"the {steps} steps of the schedule of rho, its normal end."
    return None


def _psnr(image: Image, given: Problem) -> float | None:
    """PSNR against the truth in linear light, not clipped; None where the truth is not known."""
    if given.truth is None:
        return None
    return psnr(np.asarray(image, np.float64), np.asarray(given.truth, np.float64), encoding="linear", clip=False)


def _start(A: bp.LinearOperator, y: Image) -> Image:
    """The observed image, or the mean of the views, repeated around the frame where the scene is larger."""
    margin = tuple((n - m) // 2 for n, m in zip(A.in_shape[1:], y.shape[1:], strict=True))
    return np.asarray(bp.extended(y, margin, channels=A.in_shape[0]))


def _middle(x: Image, shape: tuple[int, ...]) -> Image:
    down, right = x.shape[-2] - shape[-2], x.shape[-1] - shape[-1]
    return x[..., down // 2 : down // 2 + shape[-2], right // 2 : right // 2 + shape[-1]]
