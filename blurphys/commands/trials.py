"""Run small operators in each installed engine and compare the results with the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from ..engines import reference
from ..engines.dispatch import kernel
from ..engines.loading import cpu_engine_missing
from ..types import Array

__all__ = ["Trial", "try_engines"]

TOLERANCE = 1e-10
"""Largest difference from the reference, float64, values of order one."""


@dataclass(frozen=True)
class Trial:
    """Result of one engine.

    Attributes
    ----------
    engine : str
    error : str
        Why it cannot be used; empty if its results equal the reference.
    """

    engine: str
    error: str = ""


class _Problem:
    """A mixture of Gaussians and one of PSFs, with the results of the reference in both directions."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.x = rng.random((2, 3, 12, 13))
        self.maps = rng.random((2, 12, 13))
        self.arguments: dict[str, tuple[Any, ...]] = {
            "gaussian_mixture": (self.maps, np.array([[[1.0, 0, 0], [0.4, 0.2, 0.1]]]), (0, 2), "reflect", None),
            "psf_gather": (rng.random((1, 2, 1, 5, 3)), self.maps, "reflect"),
        }
        self.expected = {
            name + part: getattr(reference, name + part)(self.x, *arguments)
            for name, arguments in self.arguments.items()
            for part in ("", "_adjoint")
        }

    def compare(self, name: str, found: Array) -> None:
        off = float(np.abs(np.asarray(found) - self.expected[name]).max())
        if not off <= TOLERANCE:
            raise ArithmeticError(f"{name} differs from the reference by {off:.1e}")

    def run(self, put: Callable[[Array], Any], take: Callable[[Any], Array]) -> None:
        """Run every primitive in both directions on arrays that `put` converts, and `take` converts back."""
        x = put(self.x)
        for name, arguments in self.arguments.items():
            placed = [put(a) if isinstance(a, np.ndarray) else a for a in arguments]
            for part in ("", "_adjoint"):
                self.compare(name + part, take(kernel(name + part, x)(x, *placed)))

    def run_torch(self, device: str) -> None:
        """Run on tensors, then as in training: the gradient with respect to the image is the adjoint."""
        import torch

        put = partial(torch.tensor, device=device)
        self.run(put, lambda t: t.cpu().numpy())
        x = put(self.x).requires_grad_()
        for name, arguments in self.arguments.items():
            placed = [put(a) if isinstance(a, np.ndarray) else a for a in arguments]
            (gradient,) = torch.autograd.grad(kernel(name, x)(x, *placed), x, put(self.x))
            self.compare(f"{name}_adjoint", gradient.cpu().numpy())

    def check_reference(self) -> None:
        """Compare the reference with explicit sums: the PSF of one pixel, and the dot test."""
        psfs, maps, boundary = self.arguments["psf_gather"]
        window = self.x[:, :, 4:9, 5:8][..., ::-1, ::-1]  # around pixel (6, 6), mirrored: a convolution
        weighted = sum(maps[level, 6, 6] * psfs[0, level, 0] for level in range(2))
        off = np.abs((window * weighted).sum(axis=(-2, -1)) - self.expected["psf_gather"][..., 6, 6]).max()
        for name in self.arguments:
            there, back = self.expected[name], self.expected[f"{name}_adjoint"]
            off = max(off, abs((there * self.x).sum() / (back * self.x).sum() - 1))
        if not off <= TOLERANCE:
            raise ArithmeticError(f"the reference is off by {off:.1e}")


class _MissingError(Exception):
    """The engine is not available; the message says why."""


def _brief(error: BaseException) -> str:
    kind = "" if isinstance(error, _MissingError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())[:200]


def _engines(problem: _Problem) -> Iterator[tuple[str, Callable[[], None]]]:
    def cpu() -> None:
        if missing := cpu_engine_missing():
            raise _MissingError(missing)
        problem.run(lambda a: a, lambda a: a)

    def cuda(kind: Literal["cupy", "torch"]) -> None:
        from ..engines.cuda.engine import diagnosis

        if missing := diagnosis(kind):
            raise _MissingError(missing)
        if kind == "torch":
            problem.run_torch("cuda")
            return
        cupy: Any = import_module("cupy")
        problem.run(cupy.asarray, cupy.asnumpy)

    yield "reference", problem.check_reference
    yield "cpu", cpu
    if find_spec("torch") is None:
        return
    try:
        import torch
    except Exception:  # reported with the packages
        return
    yield "torch", lambda: problem.run_torch("cpu")
    if torch.cuda.is_available():
        yield "torch cuda", lambda: cuda("torch")
    if find_spec("cupy") is not None and torch.cuda.is_available():
        yield "cupy", lambda: cuda("cupy")


def try_engines() -> list[Trial]:
    """Run a small operator in every engine that this machine has; nothing is raised.

    Returns
    -------
    list of Trial
        ``reference``, ``cpu``, ``torch`` (autograd on the CPU), ``torch cuda``, ``cupy``: those that are available.
        Kernels that were never compiled are compiled, which takes some seconds.
    """
    problem, found = _Problem(), []
    for engine, run in _engines(problem):
        try:
            run()
        except Exception as error:
            found.append(Trial(engine, _brief(error)))
        else:
            found.append(Trial(engine))
    return found
