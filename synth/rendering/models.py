"""How a sample can be rendered, by name."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["MODELS", "Model", "check_model"]

Model = Literal["gather", "layered", "aperture"]
MODELS: tuple[Model, ...] = get_args(Model)


def check_model(model: str) -> Model:
    """Return the model; ValueError unless it is one of `MODELS`."""
    if model not in MODELS:
        raise ValueError(f"render: expected model among {', '.join(MODELS)}, got {model!r}")
    return model
