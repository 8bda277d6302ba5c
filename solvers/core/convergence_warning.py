"""Warnings about iterations that a certificate says will diverge, and the growth that it allows."""

from __future__ import annotations

import math
import warnings
from typing import Any

__all__ = ["ConvergenceWarning", "allowed_growth", "warn_if_divergent"]

GROWTH_MARGIN = 100.0
"""A residual may grow to this multiple of the transient growth of a certificate, which is a lower bound."""


class ConvergenceWarning(UserWarning):
    """An iteration will diverge (by its certificate), or did not converge where a gradient needs it (`implicit`)."""


def warn_if_divergent(name: str, certificate: Any, *, damping: float) -> None:
    """Warn with the verdict of a certificate that says that the iteration diverges, without raising an error.

    Parameters
    ----------
    name : str
        The solver, for messages.
    certificate : blurphys.Certificate or None
        `blurphys.certificate` of the operator.
    damping : float
        Step length of the iteration; ValueError if the certificate is for another one.
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
    """Return the divergence factor, raised to the transient growth of an iteration that is certain to converge.

    Parameters
    ----------
    certificate : blurphys.Certificate or None
        Where its transient growth is only bounded from below, the factor is at least `GROWTH_MARGIN` times the bound.
    divergence_factor : float
        The one that the caller asks for.
    """
    if not getattr(certificate, "converges", False) or certificate.transient_bounded:
        return divergence_factor
    return max(divergence_factor, GROWTH_MARGIN * certificate.transient_bound)
