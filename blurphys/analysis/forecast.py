"""What is known in advance of the iteration x <- x + damping (y - A x): its figures, and the verdict in a sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf, isfinite, isinf
from typing import Any, NamedTuple, final

from ..inputs import require_number
from .decay import STEPS, Decay
from .spectrum import RANK

__all__ = ["Certificate", "EigenvalueInterval"]

NEARLY_NORMAL = 10.0
"""Largest condition of the dominating eigenvalue at which the eigenvalues found are called those of A."""


class EigenvalueInterval(NamedTuple):
    """Where the eigenvalues of A lie, as found: smallest and largest real part, largest imaginary part."""

    lowest: float
    highest: float
    imaginary: float


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Certificate:
    """What `certificate` found out about M = I - damping A, which every step applies to the error.

    Attributes
    ----------
    operator : str
        Its description.
    damping : float
        The step length that was looked at.
    eigenvalue : complex
        The eigenvalue of M of largest modulus, as found; its conjugate is one too.
    spectral_radius : float
        Its modulus.
    interval : (float, float)
        Where the spectral radius lies. For a normal A the modulus, minus and plus the residual of the eigenvector (or
        the change in the last cycle, if that is larger): an exact eigenvalue lies within it. Otherwise a residual r
        says that an operator within r of M has that eigenvalue, and M itself has one within about condition * r. The
        lower end is condition^2 * r below the modulus, to cover nearly defective eigenvalues too; it is 0, so nothing
        is claimed, where that is more than the modulus. The upper end is no bound: that no eigenvalue lies further out
        is likely, not proven.
    residual : float
        ||M v - eigenvalue v|| of the unit vector v found: an operator within that of M has exactly that eigenvalue.
    condition : float
        Of the eigenvalue: 1 / |u . v| of its left and right unit vectors as found. 1 for a normal A; inf where the
        budget did not bring both to residuals of tol. Where it is large, A is strongly non-normal: all the eigenvalues
        reported here are those of operators near A (its pseudospectrum), and those of A may lie far inside.
    leftmost, leftmost_bound : float
        Leftmost point of the numerical range of A, the smallest eigenvalue of (A + A^T) / 2; one lies within the bound.
        A is positive (x^T A x > 0 for all x) where it is positive.
    norm : float
        ||M||, from below.
    safe_damping : float
        The iteration converges for dampings between 0 and this; 0.0: for none, an eigenvalue of A has a real part that
        is negative (or one that cannot be told from 0, with an imaginary part that can). From the eigenvalues found.
    transient_bound : float
        Growth of an error on its way, sup_k ||M^k||: a bound on it, or where `transient_bounded` is False an estimate
        from below. The bound is 1 where norm <= 1 and 2 where the numerical radius of M is <= 1 (Berger), up to the
        accuracy of these figures; inf where the radius is above 1. The estimate is the largest of ||M||, ||M^2||,
        ||M^4||, ... that the budget allows, of the growth of the residual in `decay`, and of (radius - 1) / residual
        (Kreiss): too low by some per cent where the peak is early, many times where growth goes on for long.
    transient_bounded : bool
        Whether errors grow no further than `transient_bound`; False: they grow at least that far.
    eigenvalue_interval : EigenvalueInterval
        Of A: smallest and largest real part (the latter with its bound) and largest imaginary part, for
        Chebyshev acceleration.
    applications : int
        Applications of A and of A^T that it cost.
    decay : blurphys.decay.Decay
        What `predicted_iterations` reads.
    """

    operator: str
    damping: float
    eigenvalue: complex
    interval: tuple[float, float]
    residual: float
    condition: float
    leftmost: float
    leftmost_bound: float
    norm: float
    safe_damping: float
    transient_bound: float
    transient_bounded: bool
    eigenvalue_interval: EigenvalueInterval
    applications: int
    decay: Decay

    @property
    def spectral_radius(self) -> float:
        """Modulus of the dominating eigenvalue of I - damping A."""
        return abs(self.eigenvalue)

    @property
    def converges(self) -> bool:
        """Whether the upper end of `interval` is below 1: then the iteration converges for every y.

        With a large `transient_bound` the residual grows first: give `solvers.fixed_point` this certificate.
        """
        return self.interval[1] < 1

    @property
    def diverges(self) -> bool:
        """Whether the lower end of `interval` is above 1: then the iteration diverges for almost every y."""
        return self.interval[0] > 1

    def predicted_iterations(self, tol: float = 1e-3) -> float:
        """Return the number of iterations of `solvers.fixed_point` from x0 = y until ||y - A x|| <= tol ||y||.

        Parameters
        ----------
        tol : float
            Positive.

        Returns
        -------
        float
            A whole number; `math.inf` if the residual never gets there. With a radius above 1 it may still be finite,
            for a y in which the growing components are small: the iteration passes the tolerance before it diverges.
            It is the number for the y that the certificate was made with; without one, for white noise, which is the
            slowest. Measured up to 64, extrapolated beyond: by some per cent for a nearly normal A, a rough figure
            where `condition` is large.

        Raises
        ------
        ValueError
            If tol is not a positive number.
        """
        require_number("predicted_iterations", "tol", tol, above=0)
        return self.decay.iterations(tol)

    @property
    def verdict(self) -> str:
        """One sentence: what happens, and which solver to use."""
        radius = f"spectral radius {self.spectral_radius:.6g} of {_iteration(self.damping)}"
        if self.converges:
            steps = self.predicted_iterations(1e-3)
            if self.condition > NEARLY_NORMAL:
                radius = f"spectral radius of {_iteration(self.damping)}, at most about {self.interval[1]:.4g},"
            about = "very roughly" if self._is_rough(steps) else "about"
            count = (
                f"{about} {steps:.0f} iterations to a residual of 1e-3" if isfinite(steps) else "1e-3 is out of reach"
            )
            growth = f", errors may grow {self._growth} first" if self.transient_bound > 1.05 else ""
            if self.transient_bound > 2 and not self.transient_bounded:
                growth += " (give fixed_point this certificate, so that it does not stop there)"
            slow = "" if steps <= 200 else "; solvers.cgls is faster, solvers.hqs with a prior takes the noise"
            return f"fixed_point converges: {radius} is below 1, {count}{growth}{slow}."
        if self.safe_damping > 1.001 * self.damping:
            other = "and no other damping does much better"
        elif self.safe_damping > 0:
            other = f"a damping below {self.safe_damping:.4g} would converge"
        else:
            other = "no damping helps, an eigenvalue of A has no positive real part"
        advice = "use solvers.cgls, or solvers.hqs with a prior"
        if self.diverges:
            pace = self.spectral_radius**100
            return f"fixed_point diverges: {radius} is above 1 ({pace:.3g}-fold in 100 steps), {other}; {advice}."
        low, high = self.interval
        if self.condition > NEARLY_NORMAL:
            return (
                f"fixed_point may diverge: A is far from normal, {_iteration(self.damping)} is within "
                f"{self.residual:.1e} of an operator of spectral radius {self.spectral_radius:.6g}, and errors may "
                f"grow {self._growth}; whether they vanish afterwards cannot be told; {advice}."
            )
        return (
            f"fixed_point is marginal: {radius} cannot be told from 1 ({low:.6g} to {high:.6g}), some components "
            f"hardly change, {other}; stop it early, or {advice}."
        )

    @property
    def _growth(self) -> str:
        return f"{self.transient_bound:.3g}-fold" + ("" if self.transient_bounded else " or more")

    def _is_rough(self, steps: float) -> bool:
        """Whether this prediction lies beyond what was measured or follows from it, for an A far from normal."""
        return STEPS + RANK < steps < inf and self.condition > NEARLY_NORMAL

    def to_json(self) -> str:
        """Return the figures as a JSON object; infinite ones as null."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and isinf(value) else value

        return json.dumps(
            {
                "operator": self.operator,
                "damping": self.damping,
                "spectral_radius": self.spectral_radius,
                "interval": [plain(value) for value in self.interval],
                "residual": self.residual,
                "condition": plain(self.condition),
                "eigenvalue": [self.eigenvalue.real, self.eigenvalue.imag],
                "norm": self.norm,
                "leftmost": self.leftmost,
                "leftmost_bound": self.leftmost_bound,
                "safe_damping": plain(self.safe_damping),
                "transient_bound": plain(self.transient_bound),
                "transient_bounded": self.transient_bounded,
                "eigenvalue_interval": self.eigenvalue_interval._asdict(),
                "predicted_iterations": {f"{tol:g}": plain(self.predicted_iterations(tol)) for tol in (1e-2, 1e-3)},
                "applications": self.applications,
                "converges": self.converges,
                "diverges": self.diverges,
                "verdict": self.verdict,
            },
            indent=2,
        )

    def __str__(self) -> str:
        low, high = self.interval
        value, where = self.eigenvalue, self.eigenvalue_interval
        steps = [(self.predicted_iterations(tol), tol) for tol in (1e-1, 1e-2, 1e-3)]
        predicted = ", ".join(f"{n:g} to {tol:g}" if isfinite(n) else f"never to {tol:g}" for n, tol in steps)
        if any(self._is_rough(n) for n, _ in steps):
            predicted = f"very roughly {predicted}"
        imaginary = f" +- {abs(value.imag):.6g} i" if value.imag else ""
        radius, bracket, near = "spectral radius of M", f"between {low:.6g} and {high:.6g}", "eigenvalues of A"
        safe = "converges below it" if self.safe_damping else ""
        if self.condition > NEARLY_NORMAL:
            bracket = f"of an operator within {self.residual:.1e} of M; that of M is likely {bracket}"
            radius, near, safe = "spectral radius", "eigenvalues near A's", "for these eigenvalues"
        most = "at most" if self.transient_bounded else "at least"
        growth = "without limit" if isinf(self.transient_bound) else f"{most} {self.transient_bound:.4g}-fold"
        leftmost = f"leftmost point of the numerical range, within {self.leftmost_bound:.1e}"
        rows = (
            (radius, f"{self.spectral_radius:.6g}", bracket),
            ("at the eigenvalue", f"{value.real:.6g}{imaginary}", ""),
            ("norm of M", f"{self.norm:.6g}", f"errors grow {growth}"),
            ("least x^T A x / x^T x", f"{self.leftmost:.6g}", leftmost),
            (near, f"{where.lowest:.6g}", f"to {where.highest:.6g}, +- {where.imaginary:.3g} i"),
            ("safe damping", f"{self.safe_damping:.4g}" if self.safe_damping else "none", safe),
            ("iterations", predicted, ""),
            ("operator applications", f"{self.applications}", ""),
        )
        lines = [f"{self.operator}, M = {_iteration(self.damping)}"]
        lines += [f"{name:<24}{figure:<14}{meaning}".rstrip() for name, figure, meaning in rows]
        return "\n".join([*lines, self.verdict])

    def __repr__(self) -> str:
        low, high = self.interval
        return f"Certificate(damping {self.damping:g}, spectral radius {low:.6g} to {high:.6g}: {self.verdict})"


def _iteration(damping: float) -> str:
    """The matrix that one step applies to the error."""
    return "I - A" if damping == 1 else f"I - {damping:g} A"
