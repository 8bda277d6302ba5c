"""Checks of the arguments of networks, losses and metrics, one sentence each."""

from __future__ import annotations

__all__ = ["check_choice", "check_count"]


def check_choice(owner: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """ValueError unless `value` is one of `choices`."""
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        expected = ", ".join(map(repr, choices))
        raise ValueError(f"{owner}: expected {name} to be one of {expected}, got {value!r}")


def check_count(owner: str, name: str, value: object, of: str = "") -> None:
    """ValueError unless `value`, a number `of` something, is a whole number >= 1.

    Examples
    --------
    >>> check_count("GKMNet", "width", 0, "channels")
    Traceback (most recent call last):
    ValueError: GKMNet: expected width to be a whole number of channels >= 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{owner}: expected {name} to be a whole number{of and f' of {of}'} >= 1, got {value!r}")
