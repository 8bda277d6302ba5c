"""What a certificate says about an iteration, said to the user before it starts."""

from __future__ import annotations

import math
import warnings
from typing import Any

__all__ = ["ConvergenceWarning", "heed"]


class ConvergenceWarning(UserWarning):
    """An iteration will not converge (a certificate says so), or did not where a gradient needs it (`implicit`)."""


def heed(name: str, certificate: Any, *, damping: float) -> None:
    """Warn with the sentence of a certificate that says the iteration diverges; never refuse.

    Parameters
    ----------
    name : str
        The solver, for messages.
    certificate : blurphys.certificate.Certificate or None
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
