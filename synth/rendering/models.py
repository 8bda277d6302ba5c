"""How a sample can be rendered, by name."""

from __future__ import annotations

from typing import Literal, cast, get_args

from blurphys.inputs import require_choice

__all__ = ["MODELS", "Model", "check_model"]

Model = Literal["gather", "layered", "aperture"]
MODELS: tuple[Model, ...] = get_args(Model)


def check_model(model: str) -> Model:
    """Return the model; ValueError unless it is one of `MODELS`."""
    require_choice("render", "model", model, MODELS)
    return cast(Model, model)
