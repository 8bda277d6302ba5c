"""A check of the choices that networks, losses and metrics take, of texts and of other values."""

from __future__ import annotations

__all__ = ["check_choice"]


def check_choice(owner: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """ValueError unless `value` is one of `choices`."""
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        expected = ", ".join(map(repr, choices))
        raise ValueError(f"{owner}: expected {name} to be one of {expected}, got {value!r}")
