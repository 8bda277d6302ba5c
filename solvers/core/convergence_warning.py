"""What a certificate says about an iteration, said to the user before it starts."""

from __future__ import annotations

import math
import warnings
from typing import Any

__all__ = ["ConvergenceWarning", "allowed_growth", "warn_if_divergent"]

MARGIN = 100.0
"""How many times the growth of a certificate, an estimate from below, a residual may grow before it has diverged."""


class ConvergenceWarning(UserWarning):
    """An iteration will not converge (a certificate says so), or did not where a gradient needs it (`implicit`)."""


def warn_if_divergent(name: str, certificate: Any, *, damping: float) -> None:
    """Warn with the sentence of a certificate that says the iteration diverges; never refuse.

    Parameters
    ----------
    name : str
        The solver, for messages.
    certificate : blurphys.Certificate or None
        What `blurphys.certificate` made of the operator.
    damping : float
        Step length of the iteration; a certificate of another one says nothing about it (ValueError).
    """
    if certificate is None:
        return
    missing = [word for word in ("diverges", "verdict", "damping") if not hasattr(certificate, word)]
    if missing:
        raise ValueError(
            f"{name}: certificate must come from blurphys.certificate(A), got {type(certificate).__name__}."
        )
    if not math.isclose(certificate.damping, damping, rel_tol=1e-9):
        raise ValueError(
            f"{name}: the certificate was made for damping {certificate.damping:g}, but the damping here is "
            f"{damping:g}; make it with blurphys.certificate(A, damping={damping:g})."
        )
    if certificate.diverges:
        warnings.warn(f"{name}: {certificate.verdict}", ConvergenceWarning, stacklevel=3)


def allowed_growth(certificate: Any, divergence_factor: float) -> float:
    """Return the divergence factor, raised to what a certificate that says "converges" leaves room for.

    Parameters
    ----------
    certificate : blurphys.Certificate or None
        Where its growth is known from below only, the factor is at least `MARGIN` times that growth.
    divergence_factor : float
        What the caller says.
    """
    if not getattr(certificate, "converges", False) or certificate.transient_bounded:
        return divergence_factor
    return max(divergence_factor, MARGIN * certificate.transient_bound)
