"""Certificate: what is known in advance about the iteration x <- x + damping (y - A x), with a verdict in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf, isfinite, isinf
from typing import Any, NamedTuple, final

from ..inputs import require_number
from .decay import STEPS, Decay
from .spectrum import RANK

__all__ = ["Certificate", "EigenvalueInterval"]

MAX_NEARLY_NORMAL = 10.0
"""Largest condition number of the dominant eigenvalue at which the values found are reported as eigenvalues of A."""


class EigenvalueInterval(NamedTuple):
    """Estimated extent of the eigenvalues of A: smallest and largest real part, largest imaginary part."""

    lowest: float
    highest: float
    imaginary: float


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Certificate:
    """Result of `certificate` about M = I - damping A, the matrix that every step applies to the error.

    Attributes
    ----------
    operator : str
        Its description.
    damping : float
        The step size.
    eigenvalue : complex
        The computed eigenvalue of M of largest modulus; its conjugate is one too.
    spectral_radius : float
        Its modulus.
    interval : (float, float)
        Range of the spectral radius. For a normal A: the modulus, minus and plus the residual of the eigenvector (or
        the change in the last cycle, if that is larger); an exact eigenvalue lies within it. Otherwise a residual r
        means that an operator within r of M has that eigenvalue, and M itself has one within about condition * r. The
        lower end is condition^2 * r below the modulus, to cover nearly defective eigenvalues too, but at least 0, which
        claims nothing. The upper end is not a bound: that no eigenvalue lies further out is likely but not proven.
    residual : float
        ||M v - eigenvalue v|| for the computed unit vector v: an operator within that distance of M has exactly this
        eigenvalue.
    condition : float
        Condition number of the eigenvalue: 1 / |u . v| of its computed left and right unit eigenvectors. 1 for a normal
        A; inf if the limit on applications did not suffice for residuals of tol. If it is large, A is strongly
        non-normal: the eigenvalues reported here are those of operators near A (its pseudospectrum), and those of A may
        be much smaller.
    leftmost, leftmost_bound : float
        Leftmost point of the numerical range of A, the smallest eigenvalue of (A + A^T) / 2, and its error bound. A is
        positive definite (x^T A x > 0 for all x) if it is positive.
    norm : float
        ||M||, a lower bound.
    safe_damping : float
        The iteration converges for dampings between 0 and this, according to the computed eigenvalues. 0.0: for none,
        because an eigenvalue of A has a negative real part (or one that cannot be distinguished from 0, with an
        imaginary part that can).
    transient_bound : float
        Transient growth of an error, sup_k ||M^k||: an upper bound, or a lower estimate if `transient_bounded` is
        False. The bound is 1 if norm <= 1 and 2 if the numerical radius of M is <= 1 (Berger), up to the accuracy of
        these values; inf if the spectral radius is above 1. The estimate is the largest of ||M||, ||M^2||, ||M^4||,
        ... within the limit on applications, of the growth of the residual in `decay`, and of (radius - 1) / residual
        (Kreiss): too low by some per cent if the peak is early, by large factors if growth lasts long.
    transient_bounded : bool
        Whether errors grow by at most `transient_bound`; False: they grow by at least that.
    eigenvalue_interval : EigenvalueInterval
        Of A: smallest and largest real part (the latter with its bound) and largest imaginary part, for
        Chebyshev acceleration.
    applications : int
        Number of applications of A and of A^T.
    decay : blurphys.analysis.decay.Decay
        Measured and predicted residuals, for `predicted_iterations`.
    ritz_values : tuple of complex
        Eigenvalues of M in the Krylov space that was computed, for `blurphys.plot.ritz_values`: approximations, the
        better the nearer to the border of the spectrum.
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
    ritz_values: tuple[complex, ...]

    @property
    def spectral_radius(self) -> float:
        """Modulus of the dominant eigenvalue of I - damping A."""
        return abs(self.eigenvalue)

    @property
    def converges(self) -> bool:
        """Whether the upper end of `interval` is below 1: then the iteration converges for every y.

        With a large `transient_bound` the residual grows first: pass this certificate to `solvers.fixed_point`.
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
            An integer; `math.inf` if the tolerance is never reached. It may be finite with a spectral radius above 1,
            for a y with small growing components: the iteration reaches the tolerance before it diverges. It is valid
            for the y of the certificate; by default white noise, the slowest case. Measured up to 64 iterations,
            extrapolated beyond: accurate to some per cent for a nearly normal A, a rough estimate if `condition` is
            large.

        Raises
        ------
        ValueError
            If tol is not a positive number.
        """
        require_number("predicted_iterations", "tol", tol, above=0)
        return self.decay.iterations(tol)

    @property
    def verdict(self) -> str:
        """One sentence: whether the iteration converges, and which solver to use."""
        radius = f"spectral radius {self.spectral_radius:.6g} of {_iteration(self.damping)}"
        if self.converges:
            steps = self.predicted_iterations(1e-3)
            if self.condition > MAX_NEARLY_NORMAL:
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
        if self.condition > MAX_NEARLY_NORMAL:
            return (
                f"fixed_point may diverge: A is far from normal, {_iteration(self.damping)} is within "
                f"{self.residual:.1e} of an operator of spectral radius {self.spectral_radius:.6g}, and errors may "
                f"grow {self._growth}; whether they vanish afterwards is unknown; {advice}."
            )
        return (
            f"fixed_point is marginal: {radius} cannot be distinguished from 1 ({low:.6g} to {high:.6g}), some "
            f"components hardly change, {other}; stop it early, or {advice}."
        )

    @property
    def _growth(self) -> str:
        return f"{self.transient_bound:.3g}-fold" + ("" if self.transient_bounded else " or more")

    def _is_rough(self, steps: float) -> bool:
        """Whether this prediction is an extrapolation for an A that is far from normal."""
        return STEPS + RANK < steps < inf and self.condition > MAX_NEARLY_NORMAL

    def to_json(self) -> str:
        """Return the values as a JSON object, infinite ones as null."""

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
        if self.condition > MAX_NEARLY_NORMAL:
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
