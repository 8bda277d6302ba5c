"""The result of a solver: the image, the status of the iteration, and its residuals."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from textwrap import fill
from typing import TYPE_CHECKING, Any, final

from .types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ConvergenceError", "Solution", "Status"]


@final
class Status(Enum):
    """How an iteration ended, from best to worst; the value says what to do next, and so does ``str(status)``."""

    CONVERGED = (
        "The tolerance was reached: the equation, or the condition for a minimum, holds at the image that is returned."
    )
    NOISE_LEVEL = (
        "The residual fell to the stated noise level, where a data term ends: further steps would only fit the noise."
    )
    MAX_ITERATIONS = (
        "The iteration limit came before the tolerance, the normal end of a truncated series and of a schedule of rho. "
        "While the residual still falls, more iterations or a larger tol help; but where y is noisy and there is no "
        "prior, stop early instead (noise_level), since later iterates fit the noise."
    )
    STAGNATED = (
        "The true residual stopped falling above the tolerance, which is as far as this precision goes: "
        "use float64 or a larger tol."
    )
    STALLED = (
        "No step came closer to a solution, so that the image or its residual is (nearly) that of the start: look for "
        "an operator or adjoint that returns zeros, zeros in x0 (richardson_lucy cannot leave them), a rho that is too "
        "large, or a step length that is too small."
    )
    WRONG_ADJOINT = (
        "The method came to rest, but A.adjoint is not the transpose of A, so this is no minimum of the problem: "
        "look at blurphys.check(A), which compares <A x, y> with <x, A.adjoint(y)>."
    )
    INDEFINITE = (
        "A direction p with p^T A p <= 0 was met, so the matrix (or the preconditioner) is not symmetric positive "
        "definite and conjugate gradients do not apply: in cg use solvers.cgls, which takes any A with an adjoint; in "
        "hqs and admm A.adjoint is not the transpose of A, which blurphys.check(A) shows."
    )
    DIVERGED = (
        "The residual grew past the stated multiple of its minimum, or ended far above that of the start, so the best "
        "iterate is returned: an eigenvalue of I - damping A lies outside the unit circle (a smaller damping helps), "
        "or none does and this is the transient growth of a non-normal A (a larger divergence_factor lets it pass; "
        "blurphys.certificate(A) tells), or A is not symmetric positive definite, which cg needs, or A.adjoint is not "
        "the transpose of A (blurphys.check(A) shows it); solvers.cgls and solvers.hqs take any A with an adjoint."
    )
    NONFINITE = (
        "A value became infinite or NaN, so the last finite iterate with the smallest residual is returned: check the "
        "operator's maps and the prior for overflow, or use float64."
    )

    def __init__(self, sentence: str) -> None:
        self.__doc__ = sentence

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


# help() truncates the values of an enumeration, so the sentences are added to the docstring of the class.
Status.__doc__ = f"{Status.__doc__}\n\n" + "\n\n".join(
    fill(str(status), 100, subsequent_indent="    ") for status in Status
)


class ConvergenceError(RuntimeError):
    """Raised by `Solution.raise_for_status`, never by a solver."""


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Solution:
    """The result of a solver.

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
        The recovered image, in the namespace, dtype and device of y. For an image of a batch that converged, its
        iterate at that moment; for one that diverged or became non-finite, the finite iterate with the smallest
        residual; otherwise the last iterate.
    status : Status
        The worst status in the batch.
    iterations : int
        Steps taken.
    residuals : tuple of float
        ||y - A x_k|| / ||y|| for k = 0..iterations, the largest over the batch (absolute where y = 0). Once an image
        has stopped iterating, it counts with the residual of the iterate returned for it.
    residual : float
        The same for x, the returned image; it differs from the last of `residuals` where x is an earlier iterate.
    item_status : tuple of Status
        The status of each image, with the leading axes in row-major order (one entry without a batch).
    operator_applications : int
        Applications of A and of its adjoint, each to the whole batch, including those for measuring the residual.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> y = np.full((1, 2, 2), 3.0)
    >>> solution = solvers.fixed_point(lambda x: 0.5 * x, y, tol=1e-3)
    >>> solution
    Solution(CONVERGED after 9 iterations, 10 operator applications, relative residual 0.000977)
    >>> float(solution.raise_for_status().x[0, 0, 0])
    5.994140625
    """

    x: Array
    status: Status
    iterations: int
    residuals: tuple[float, ...]
    residual: float
    item_status: tuple[Status, ...]
    operator_applications: int

    @property
    def converged(self) -> bool:
        """Whether every image of the batch reached the tolerance, or the noise level."""
        return self.status in (Status.CONVERGED, Status.NOISE_LEVEL)

    def raise_for_status(self) -> Solution:
        """Return the solution itself if it converged.

        Raises
        ------
        ConvergenceError
            For every other status, with its explanation.
        """
        if not self.converged:
            raise ConvergenceError(f"{self._summary()}. {self.status.value}")
        return self

    def plot(self, ax: Axes | None = None, **line: Any) -> Axes:
        """Draw the relative residual against the iterations on a logarithmic axis.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure if omitted.
        **line
            Passed on to `Axes.semilogy`, e.g. ``label="fixed point"``.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots()[1]
        ax.semilogy(range(len(self.residuals)), self.residuals, **{"marker": ".", **line})
        ax.set(xlabel="iteration", ylabel=r"relative residual $\|y - A x_k\| / \|y\|$", title=self._summary())
        ax.grid(visible=True, which="both", alpha=0.3)
        return ax

    def _summary(self) -> str:
        return (
            f"{self.status.name} after {self.iterations} iterations, {self.operator_applications} operator "
            f"applications, relative residual {self.residual:.3g}"
        )

    def __repr__(self) -> str:
        return f"Solution({self._summary()})"
