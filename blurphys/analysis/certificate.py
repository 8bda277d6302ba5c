"""`certificate`: does the fixed-point iteration x <- x + damping (y - A x) converge for an operator, and how fast?"""

from __future__ import annotations

from contextlib import nullcontext
from math import inf, isfinite
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from ..adapters import wrap
from ..inputs import detach, require_integer, require_number, require_same_kind
from ..progress import watch
from ..types import Array
from .certificate_result import Certificate, EigenvalueInterval
from .decay import STEPS, measure_decay
from .growth import lanczos_largest, numerical_radius, transient_growth
from .linalg import dot, full_shapes, norm, random_image
from .spectrum import RANK, Counter, Extreme, Pair, extreme_eigenvalues, finite_norm

__all__ = ["Certificate", "EigenvalueInterval", "certificate"]

MIN_APPLICATIONS = 4 * RANK + STEPS
"""Smallest number of applications allowed for a certificate."""


def certificate(
    A: Any,
    *,
    damping: float = 1.0,
    y: Array | None = None,
    tol: float = 1e-3,
    seed: int = 0,
    max_applications: int = 1000,
) -> Certificate:
    """Determine in advance whether the fixed-point iteration, or the Neumann series, converges for a square operator.

    Parameters
    ----------
    A : LinearOperator, or a foreign one
        Square: from images (*B, C, H, W) to the same shape. With batched maps, all values are those of the
        block-diagonal operator. SciPy, PyLops and deepinv operators are accepted as in `blurphys.check`.
    damping : float
        Step size of the iteration, positive; 1 for the Neumann series.
    y : array of shape (*B, C, H, W), optional
        The observed image, for `predicted_iterations`; white noise if omitted.
    tol : float
        Error bound to which the dominant eigenvalue is iterated.
    seed : int
        Seed of the random start vector; the result is reproducible.
    max_applications : int
        Limit on the applications of A and its transpose together. If it is too low, bounds stay larger than tol.

    Returns
    -------
    Certificate
        Prints as a table with a verdict. `solvers.fixed_point` and `solvers.neumann` take it as ``certificate=``.

    Raises
    ------
    ValueError
        A is not square; damping, tol or max_applications out of range; y of another shape or with NaN; NaN or infinite
        values from A.
    TypeError
        A is not a linear operator; y of another namespace, device or dtype than A.

    Notes
    -----
    Matrix-free. The eigenvalues come from `spectrum.extreme_eigenvalues` (Arnoldi with
    Chebyshev filters), the leftmost point and the norm from Lanczos, the iterations from `decay.measure_decay`.
    With M = I - damping A: the error of step k is M^k e, so it vanishes for every e if and only if all eigenvalues of M
    lie inside the unit circle, but if A is not normal ||M^k|| may exceed 1 before that. What an eigenvalue means for a
    non-normal A depends on its condition number, for which the left eigenvector is computed too.
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
        require_number("certificate", name, value, above=0)
    require_integer("certificate", "max_applications", max_applications, MIN_APPLICATIONS)
    noise = random_image(operator, full_shapes(operator)[0], seed)
    if y is None:
        y = noise
    else:
        y = detach(y)
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
    # The bound is infinite for a defective eigenvalue: then the outermost of a ring of values around it was found.
    margin = max(damping * dominating.bound if isfinite(dominating.bound) else residual, damping * dominating.change)

    # If A is nearly normal, the eigenvector of the dominant eigenvalue is a good start for Lanczos.
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
    # Ritz values lie in the numerical range, so they bound the norm and the leftmost point too.
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
        transient = max(size, measured, transient_growth(forward, adjoint, start, count.left, reserved))
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
        ritz_values=tuple((1 - damping * np.linalg.eigvals(projected)).tolist()),
    )


def _is_normal(count: Counter, x: Array) -> bool:
    """Whether A A^T x = A^T A x, up to rounding, for this white noise."""
    there, back = count.forward(count.adjoint(x)), count.adjoint(count.forward(x))
    return norm(there - back) <= 256 * float(array_namespace(x).finfo(x.dtype).eps) * norm(there)


def _condition(count: Counter, start: Array, right: Pair, key: Any, tol: float) -> tuple[float, float]:
    """Return 1 / |u . v| of the unit left and right vectors of the dominant eigenvalue, and the residual of u."""
    if count.left(0.95) < RANK:
        return inf, inf
    found, _, left = extreme_eigenvalues(
        count.adjoint, start, {"dominating": key}, {"dominating": tol}, count.left, shares=(0.95, 0.95)
    )
    (rr, ri), (ir, ii) = ([dot(a, b) for b in right] for a in left)  # products of real and imaginary parts
    overlap = max(abs(complex(rr - ii, ri + ir)), abs(complex(rr + ii, ri - ir)))  # u or its conjugate
    sizes = [sum(dot(part, part) for part in pair) ** 0.5 for pair in (left, right)]
    return (sizes[0] * sizes[1] / overlap if overlap > 0 else inf), found["dominating"].residual


def _steps(left: int) -> int:
    """Return the number of Lanczos steps, of two applications each, for the applications that are left."""
    return max(8, min(32, left // 2))


def _safe_damping(found: list[Extreme]) -> float:
    """Return the smallest 2 Re l / |l|^2; 0.0 if an eigenvalue l is known not to have a positive real part."""
    known = [e.value for e in found if abs(e.value) > e.bound]  # the others cannot be distinguished from 0
    values = known or [e.value for e in found if e.value != 0]
    return min((max(0.0, 2 * value.real / abs(value) ** 2) for value in values), default=inf)
