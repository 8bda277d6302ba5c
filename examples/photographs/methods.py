"""The methods that `real_pairs.py` compares, and what a call of one costs in a process of its own."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from photographs.cases import CASES, Case

import blurphys as bp
import nets
import solvers
from blurphys.bench.measure.memory import peak
from nets.evaluation.matching import matched_scores

__all__ = ["INPUT", "KNOWN", "PAIR", "RESTORE", "TRIVIAL", "Call", "Found", "Worker", "applies", "best_radius"]

INPUT, TRIVIAL, KNOWN, RESTORE, PAIR = "input", "disk of 2 px", "known radius", "restore", "dual pixel"
TRIVIAL_RADIUS = 2.0

LARGEST, STEP, CENTRE = 18.0, 0.25, 320
"""Largest of the radii among which the known one is looked for, their distance in the end, and the side of the
centre in which they are compared first, px."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """What a method returns.

    Attributes
    ----------
    image : ndarray of shape (3, H, W), optional
        Linear light.
    defocus_map, confidence : ndarray of shape (H, W), optional
    radius : float, optional
        Of the disk that was used, px.
    """

    image: np.ndarray | None = None
    defocus_map: np.ndarray | None = None
    confidence: np.ndarray | None = None
    radius: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """A result and its cost.

    Attributes
    ----------
    found : Found
    seconds, cpu_seconds : float
        On the clock, and of all cores together, which depends less on what else the machine does.
    bytes : int or None
        Peak of the resident memory beyond what the process held before; None where the system does not report it.
    """

    found: Found
    seconds: float
    cpu_seconds: float
    bytes: int | None


def with_disk(case: Case, radius: float) -> Found:
    """Restore by half-quadratic splitting with total variation, "auto" strength, as if one PSF held everywhere."""
    if radius == 0:
        return Found(image=case.photo, radius=0.0)
    psf = (case.pupil if case.view != "combined" else bp.Pupil.disk()).psf(radius, view=case.view)
    A = bp.Convolution(psf.astype(np.float32), shape=case.photo.shape, boundary="symmetric")
    return Found(image=solvers.hqs(A, case.photo, prox=solvers.tv).x, radius=radius)


def best_radius(case: Case) -> float:
    """Return the radius with which the sharp photograph, blurred, comes closest to the photograph, px; 0 if without.

    To 1 px in the centre, then to `STEP` in the whole frame.
    """
    if case.reference is None:
        return 0.0
    lean = case.view != "combined"
    pupil = case.pupil if lean else bp.Pupil.disk()

    def closeness(part: Case, radius: float) -> float:
        border = part.border or min(ceil(LARGEST), min(part.photo.shape[-2:]) // 8)
        psf = pupil.psf(radius, view=case.view).astype(part.reference.dtype)
        blurred = bp.Convolution(psf, shape=part.reference.shape, boundary="symmetric")(part.reference)
        return matched_scores(blurred, part.photo, border=border)["psnr"]

    coarse = np.arange(1.0, LARGEST + 0.5)
    around = max([*coarse, *(-coarse if lean else [])], key=partial(closeness, case.corner(CENTRE)))
    return float(max(np.arange(around - 0.75, around + 0.76, STEP), key=partial(closeness, case)))


def by_known(case: Case) -> Callable[[Case], Found]:
    """The layers of the true map where there is one, else the best disk."""
    if case.true_map is not None:
        return with_true_map
    radius = best_radius(case)
    return lambda part: with_disk(part, radius)


def with_true_map(part: Case) -> Found:
    """Restore the layers of the true map. The sharp scene was seen by a lens in focus, whose core is put back."""
    radii = part.true_map.astype(part.photo.dtype)
    restored = solvers.all_in_focus(part.photo, radii, pupil=part.pupil, views=("combined",)).restored
    return Found(image=bp.DefocusBlur(np.zeros_like(radii), bank=part.pupil)(restored))


def by_net(name: str) -> Callable[[Case], Found]:
    net = network(name)
    return lambda part: Found(image=nets.deblur(net, part.photo, linear=True))


@cache
def network(name: str) -> Any:
    return nets.load(name)


def by_restore(part: Case) -> Found:
    found = nets.restore(part.photo)
    arrays = {name: np.asarray(getattr(found, name)) for name in ("image", "defocus_map", "confidence")}
    return Found(**arrays)


def by_pair(part: Case) -> Found:
    """Map of the pair, layers, picture; the two views of a grey sensor make one plane."""
    left, right = part.views
    estimate = solvers.estimation.dual_pixel_map(
        left,
        right,
        pupil=part.pupil,
        nodes=part.nodes,
        max_radius=part.search,
        step=0.25 if part.nodes == "corners" else 0.5,
    )
    found = solvers.all_in_focus(
        np.concatenate([left, right]), estimate.defocus_map, pupil=part.pupil, nodes=part.nodes,
        confidence=estimate.confidence,
    )  # fmt: skip
    image = np.repeat(found.image, 3 // len(found.image), axis=0)
    return Found(image=image, defocus_map=estimate.defocus_map, confidence=estimate.confidence)


FIXED: dict[str, Callable[[Case], Callable[[Case], Found]]] = {
    INPUT: lambda case: lambda part: Found(image=part.photo),
    TRIVIAL: lambda case: lambda part: with_disk(part, TRIVIAL_RADIUS),
    KNOWN: by_known,
    RESTORE: lambda case: by_restore,
    PAIR: lambda case: by_pair,
}
"""Name -> case -> method of photographs; what is found out from the case is not part of the cost."""


def applies(method: str, case: Case) -> bool:
    """Whether a method can be scored on a case: it needs a pair, a reference, or a map of its own."""
    if method == INPUT and case.sharp:
        return False  # equal to itself
    if method == PAIR:
        return case.views is not None
    if method == KNOWN:
        return case.reference is not None
    return method == RESTORE or case.mask is None


def perform(method: str, name: str, folder: Path) -> Call:
    """Run a method on a case: once on a small part, which loads what it needs, and then as a whole."""
    warnings.simplefilter("ignore")
    case = CASES[name](folder)
    solve = FIXED[method](case) if method in FIXED else by_net(method)
    with suppress(ValueError):  # a part may show too little
        solve(case.corner())
    done: list[tuple[Found, float, float]] = []

    def timed() -> Found:
        clock, cpu = time.perf_counter(), time.process_time()
        result = solve(case)
        done.append((result, time.perf_counter() - clock, time.process_time() - cpu))
        return result

    needed = peak(timed)
    if not done:  # where memory cannot be measured
        timed()
    found, seconds, cpu_seconds = done[0]
    return Call(found=found, seconds=seconds, cpu_seconds=cpu_seconds, bytes=needed)


class Worker:
    """A process that runs one method; it is started again where it ended."""

    def __init__(self) -> None:
        self.pool = self._pool()

    @staticmethod
    def _pool() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))

    def __call__(self, method: str, name: str, folder: Path) -> Call | str:
        """Return the call, or the first line of what stopped it."""
        try:
            return self.pool.submit(perform, method, name, folder).result()
        except BrokenProcessPool:
            self.pool = self._pool()
            return "the process ended; too little memory?"
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"

    def close(self) -> None:
        self.pool.shutdown()
