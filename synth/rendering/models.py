"""How a sample can be rendered, by name."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["MODELS", "Model"]

Model = Literal["gather", "layered", "aperture"]
MODELS: tuple[Model, ...] = get_args(Model)
