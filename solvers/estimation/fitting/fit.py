"""The result of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

import blurphys as bp

from ...core.arrays import to_host
from ...core.types import Array
from .inputs import Image
from .pair import Pair
from .registration import Registration

__all__ = ["Fit", "finished", "refuse_underdetermined"]


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Fit:
    """A blur model fitted to a pair of photographs; printed, the held-out score comes first.

    Attributes
    ----------
    heldout_psnr : float
        dB, of the pixels that were held out: how well the model predicts what it has not seen. Peak 1 in linear light,
        all colours together; the prediction is compared with the blurred photograph as recorded.
    train_psnr : float
        dB, of the pixels that it was fitted to. Far above the held-out score, it says that noise was fitted.
    identity_psnr : float
        dB, held-out pixels: the registered sharp photograph itself, without blur. The score to beat.
    operator : blurphys.LinearOperator
        From the light of the sharp photograph to that of the blurred one, apart from the registration.
    registration : Registration
        Shift, scale, rotation, gain, offset and shading between the two photographs, and their tone curve.
    parameters : dict
        What was fitted, by name.
    model : str
        In words.
    unknowns, observations : int
        Numbers fitted, without the registration, and numbers fitted to.
    """

    heldout_psnr: float
    train_psnr: float
    identity_psnr: float
    operator: bp.LinearOperator
    registration: Registration
    parameters: Mapping[str, Any]
    model: str
    unknowns: int
    observations: int

    def predict(self, sharp: Array) -> Image:
        """Return the blurred photograph (C, H, W) that the model predicts for a sharp one, NumPy, as recorded."""
        return self.registration.apply(self.operator(self.registration.light(sharp)))

    def __repr__(self) -> str:
        return (
            f"Fit(held out {self.heldout_psnr:.2f} dB, without blur {self.identity_psnr:.2f} dB, trained on "
            f"{self.train_psnr:.2f} dB; {self.model}, {self.unknowns} unknowns from {self.observations} numbers)"
        )


def refuse_underdetermined(name: str, unknowns: int, observations: int, *, allowed: bool) -> None:
    """Raise ValueError where there are more unknowns than numbers to determine them, unless that is allowed."""
    if unknowns > observations and not allowed:
        raise ValueError(
            f"{name}: {unknowns} unknowns from {observations} numbers: such a fit reproduces any picture, noise "
            f"included, and says nothing; take a model with fewer, or pass allow_underdetermined=True"
        )


def finished(
    pair: Pair, operator: bp.LinearOperator, parameters: Mapping[str, Any], *, model: str, unknowns: int
) -> Fit:
    """Score a fitted operator, with the brightness fitted to the training pixels."""
    like = np.asarray if isinstance(pair.like, np.ndarray) else None

    def blur(x: Image) -> Image:
        given = x.astype(pair.like.dtype) if like else pair.own(x)
        return to_host(operator(given)).astype(np.float64)

    pair = pair.relit(blur(pair.x))
    scores = pair.scores(blur)
    return Fit(
        heldout_psnr=scores.heldout, train_psnr=scores.train, identity_psnr=scores.identity, operator=operator,
        registration=replace(pair.registration), parameters=dict(parameters), model=model, unknowns=unknowns,
        observations=pair.observations,
    )  # fmt: skip
