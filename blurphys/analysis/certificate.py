"""Does the plain iteration x <- x + damping (y - A x) converge for this operator, how fast, and if not, what does?"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf, isfinite, isinf
from typing import Any, NamedTuple, final

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from ..adapters import wrap
from ..linop.base import detached, require_same_kind
from ..progress import watch
from ..types import Array
from .decay import STEPS, Decay, measure_decay
from .growth import growth, lanczos_largest, numerical_radius
from .linalg import dot, full_shapes, norm, random_image
from .spectrum import RANK, Counter, Extreme, Pair, extreme_eigenvalues, finite_norm

__all__ = ["Certificate", "EigenvalueInterval", "certificate"]

LEAST = 4 * RANK + STEPS
"""Applications without which nothing can be said."""
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
    decay : blurphys.analysis.decay.Decay
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
        if isinstance(tol, bool) or not (isinstance(tol, int | float) and 0 < tol < inf):
            raise ValueError(f"predicted_iterations: expected tol > 0, got {tol!r}")
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


def certificate(
    A: Any,
    *,
    damping: float = 1.0,
    y: Array | None = None,
    tol: float = 1e-3,
    seed: int = 0,
    max_applications: int = 1000,
) -> Certificate:
    """Find out in advance whether the fixed-point iteration, or the Neumann series, converges for a square operator.

    Parameters
    ----------
    A : LinearOperator, or a foreign one
        Square: images (*B, C, H, W) to the same shape. With batched maps all figures are those of the whole block.
        SciPy, PyLops and deepinv operators are taken as in `blurphys.check`.
    damping : float
        Step length of the iteration, positive; 1 for the Neumann series.
    y : array of shape (*B, C, H, W), optional
        The observed image, for `predicted_iterations`; white noise if omitted.
    tol : float
        The bound on the error of the dominating eigenvalue, to which it is iterated.
    seed : int
        Of the random start; the result is reproducible.
    max_applications : int
        Limit on the applications of A and its transpose together. Where it is too low, the bounds stay larger than tol.

    Returns
    -------
    Certificate
        Prints as a table with a verdict. `solvers.fixed_point` and `solvers.neumann` take it as ``certificate=``.

    Raises
    ------
    ValueError
        A not square; damping, tol or max_applications out of range; y of another shape or with NaN; NaN or infinite
        values from A.
    TypeError
        A no linear operator; y of another namespace, device or dtype than A.

    Notes
    -----
    No matrix of the image's size is built. The eigenvalues come from `spectrum.extreme_eigenvalues` (Arnoldi with
    Chebyshev filters), the leftmost point and the norm from Lanczos, the iterations from `decay.measure_decay`.
    With M = I - damping A: the error of step k is M^k e, so it vanishes for every e if and only if all eigenvalues of M
    lie inside the unit circle, but ||M^k|| may exceed 1 on the way where A is not normal.
    What the eigenvalue says of a non-normal A depends on its condition, for which its left vector is sought as well.
    Cost: some 200 to 800 applications; memory: about 40 images.

    References
    ----------
    Saad, Y., Numerical Methods for Large Eigenvalue Problems, 2nd edition, SIAM 2011, chapters 6 and 7.
    Trefethen, L. N. and Embree, M., Spectra and Pseudospectra, Princeton 2005, for transient growth (Berger's theorem
    in section 17).

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> from blurphys import certificate
    >>> blur = bp.Convolution(np.array([[0.3, 0.4, 0.3]]), shape=(1, 6, 8), boundary="circular")
    >>> found = certificate(blur)
    >>> found.diverges, round(found.spectral_radius, 6), found.safe_damping
    (True, 1.2, 0.0)
    """
    operator = wrap(A)
    if operator.in_shape != operator.out_shape:
        raise ValueError(
            f"certificate: expected a square operator, got {operator.in_shape} -> {operator.out_shape}; "
            f"solvers.cgls and solvers.hqs take any shape"
        )
    for name, value in (("damping", damping), ("tol", tol)):
        if isinstance(value, bool) or not (isinstance(value, int | float) and 0 < value < inf):
            raise ValueError(f"certificate: expected {name} as a positive number, got {value!r}")
    if isinstance(max_applications, bool) or not isinstance(max_applications, int) or max_applications < LEAST:
        raise ValueError(f"certificate: expected max_applications >= {LEAST}, got {max_applications!r}")
    noise = random_image(operator, full_shapes(operator)[0], seed)
    if y is None:
        y = noise
    else:
        y = detached(y)
        require_same_kind("certificate", "y", y, "the operator", noise)
        finite_norm(y, "y")
    title = f"{type(A).__name__}: {operator.in_shape} -> {operator.out_shape}"
    with _no_gradients(noise), watch("certificate", max_applications) as advance:
        count = Counter(operator.forward, operator.adjoint, max_applications, advance)
        return _certify(count, title, y, noise, float(damping), float(tol), len(operator.in_shape))


def _no_gradients(x: Array) -> Any:
    """Return torch's no_grad for tensors, a context that does nothing for other arrays."""
    if not is_torch_array(x):
        return nullcontext()
    import torch

    return torch.no_grad()


def _certify(count: Counter, title: str, y: Array, noise: Array, damping: float, tol: float, axes: int) -> Certificate:
    decay = measure_decay(count.forward, y, damping=damping, axes=axes)
    keys = {
        "dominating": lambda z: np.abs(1 - damping * z),
        "rightmost": lambda z: np.real(z),
        "leftmost": lambda z: -np.real(z),
        "uppermost": lambda z: np.abs(np.imag(z)),
    }
    tols = {"dominating": tol / damping, "rightmost": 0.01, "leftmost": 0.01, "uppermost": 0.02}
    found, projected, vector = extreme_eigenvalues(count.forward, noise, keys, tols, count.left, shares=(0.45, 0.6))
    dominating = found["dominating"]
    eigenvalue = 1 - damping * dominating.value
    residual = damping * dominating.residual
    # The bound is infinite where the eigenvalue is defective: then the outermost of a ring around it was found.
    margin = max(damping * dominating.bound if isfinite(dominating.bound) else residual, damping * dominating.change)

    # The vector of the dominating eigenvalue is nearly what Lanczos looks for where A is nearly normal.
    real = vector[0] + vector[1]
    start = real / norm(real) + noise * (0.5 / norm(noise))
    low, leftmost_bound = lanczos_largest(
        lambda x: -0.5 * (count.forward(x) + count.adjoint(x)), start, tol=tol, steps=_steps(count.left(0.75))
    )

    def forward(x: Array) -> Array:
        return x - damping * count.forward(x)

    def adjoint(x: Array) -> Array:
        return x - damping * count.adjoint(x)

    def square(x: Array) -> Array:
        return adjoint(forward(x))

    squared, _ = lanczos_largest(square, start, tol=tol, steps=_steps(count.left(0.85)))
    # Ritz values lie in the numerical range, so that they bound the norm and the leftmost point as well.
    size = max(max(squared, 0.0) ** 0.5, abs(eigenvalue))
    low = max(low, -found["leftmost"].value.real)
    condition, left_residual = 1.0, 0.0
    if residual > 0 and not _is_normal(count, noise):
        condition, left_residual = _condition(count, start, vector, keys["dominating"], tol / damping)
        if max(residual, damping * left_residual) > tol:
            condition = inf
    below = max(margin, condition**2 * max(residual, damping * left_residual)) if residual > 0 else margin
    interval = (max(0.0, abs(eigenvalue) - below), abs(eigenvalue) + margin)
    reach = max(numerical_radius(np.eye(len(projected)) - damping * projected), 1 + damping * low)
    slack = 1 + 64 * float(array_namespace(noise).finfo(noise.dtype).eps)
    measured = decay.growth
    if abs(eigenvalue) > 1:
        measured = max(measured, (abs(eigenvalue) - 1) / max(residual, slack - 1))
    bounded = True
    if interval[0] > 1:
        transient = inf
    elif size <= slack:
        transient = 1.0
    elif reach <= slack and measured <= 2.0:
        transient = 2.0
    else:
        reserved = max(0, count.left() - count.limit // 4)
        transient = max(size, measured, growth(forward, adjoint, start, count.left, reserved))
        bounded = False
    return Certificate(
        operator=title,
        damping=damping,
        eigenvalue=eigenvalue,
        interval=interval,
        residual=residual,
        condition=condition,
        leftmost=-low,
        leftmost_bound=leftmost_bound,
        norm=size,
        safe_damping=_safe_damping(list(found.values())),
        transient_bound=transient,
        transient_bounded=bounded,
        eigenvalue_interval=EigenvalueInterval(
            found["leftmost"].value.real,
            found["rightmost"].value.real + min(found["rightmost"].bound, tols["rightmost"]),
            abs(found["uppermost"].value.imag),
        ),
        applications=count.used,
        decay=decay,
    )


def _is_normal(count: Counter, x: Array) -> bool:
    """Whether A A^T x = A^T A x, up to rounding, for this white noise."""
    there, back = count.forward(count.adjoint(x)), count.adjoint(count.forward(x))
    return norm(there - back) <= 256 * float(array_namespace(x).finfo(x.dtype).eps) * norm(there)


def _condition(count: Counter, start: Array, right: Pair, key: Any, tol: float) -> tuple[float, float]:
    """Return 1 / |u . v| of the unit left and right vectors of the dominating eigenvalue, and the residual of u."""
    if count.left(0.95) < RANK:
        return inf, inf
    found, _, left = extreme_eigenvalues(
        count.adjoint, start, {"dominating": key}, {"dominating": tol}, count.left, shares=(0.95, 0.95)
    )
    (rr, ri), (ir, ii) = ([dot(a, b) for b in right] for a in left)  # of real and imaginary parts
    overlap = max(abs(complex(rr - ii, ri + ir)), abs(complex(rr + ii, ri - ir)))  # u or its conjugate
    sizes = [sum(dot(part, part) for part in pair) ** 0.5 for pair in (left, right)]
    return (sizes[0] * sizes[1] / overlap if overlap > 0 else inf), found["dominating"].residual


def _steps(left: int) -> int:
    """Lanczos steps, of two applications each, for what is left."""
    return max(8, min(32, left // 2))


def _safe_damping(found: list[Extreme]) -> float:
    """Return the smallest 2 Re l / |l|^2; 0.0 if an eigenvalue l is known not to lie right of the imaginary axis."""
    known = [e.value for e in found if abs(e.value) > e.bound]  # the others cannot be told from 0
    values = known or [e.value for e in found if e.value != 0]
    return min((max(0.0, 2 * value.real / abs(value) ** 2) for value in values), default=inf)
