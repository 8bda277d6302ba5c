"""Checks of single settings, and records of settings from mappings."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = [
    "as_arguments",
    "as_paths",
    "require_flag",
    "require_text",
    "Schedule",
    "as_schedule",
    "build",
    "plain",
    "require_choice",
    "require_number",
    "require_whole",
]

Record = TypeVar("Record")
Schedule = tuple[tuple[int, float], ...]
"""Pairs of (epoch or step from which, value), the first from 0."""


def build(
    record: type[Record],
    values: object,
    where: str,
    more: Mapping[str, object] | None = None,
    /,
    **nested: Callable[[object, str], Any],
) -> Record:
    """Make a record of settings from a mapping.

    Parameters
    ----------
    record : dataclass
        Class of the record.
    values : mapping of str
        The settings; one that is a record already is returned as it is.
    where : str
        Name of the table, for messages.
    more : mapping, optional
        Arguments of the record besides its settings.
    **nested : callable
        For settings that are records themselves: makes one from a value and its table.

    Returns
    -------
    dataclass

    Raises
    ------
    TypeError
        `values` is not a mapping.
    ValueError
        A key is unknown (the message has the nearest known one) or missing.
    """
    if isinstance(values, record):
        return values
    if not isinstance(values, Mapping):
        raise TypeError(f"train: expected {where} to be a table of settings, got {values!r}")
    fields = {field.name: field for field in dataclasses.fields(record)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
            raise ValueError(f"train: unknown setting {key!r} in {where}; {hint}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ValueError(f"train: {where} lacks the setting {name!r}")
    made = {
        key: nested[key](value, f"[{key}]") if key in nested and value is not None else value
        for key, value in values.items()
    }
    return record(**made, **(more or {}))


def plain(value: Any) -> Any:
    """Convert records, tuples and mappings to dicts and lists, as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def require_whole(name: str, value: object, least: int = 0) -> int:
    """Return `value` if it is a whole number of at least `least`; ValueError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"train: expected {name} to be a whole number of at least {least}, got {value!r}")
    return value


def require_number(
    name: str, value: object, low: float = 0.0, high: float = math.inf, *, open_low: bool = False
) -> float:
    """Return a finite number of [low, high], or of (low, high] with `open_low`."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not (low < value if open_low else low <= value) or not value <= high:  # type: ignore[operator]
        reach = f"{'above' if open_low else 'of at least'} {low:g}" + (
            "" if high == math.inf else f", at most {high:g}"
        )
        raise ValueError(f"train: expected {name} to be a number {reach}, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """ValueError unless `value` is one of `choices`; the message has the nearest one."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"train: expected {name} to be one of {', '.join(map(repr, choices))}, got {value!r}{hint}")


def as_schedule(name: str, value: object) -> Schedule:
    """Check a schedule: one positive number, or pairs of (epoch or step, number) that begin at 0 and rise.

    Examples
    --------
    >>> as_schedule("learning_rate", [[0, 1e-4], [2000, 1e-5]])
    ((0, 0.0001), (2000, 1e-05))
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = ((0, value),)
    sentence = f"train: expected {name} to be a positive number or pairs such as [[0, 1e-4], [2000, 1e-5]]"
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{sentence}, got {value!r}")
    pairs = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"{sentence}, got {value!r}")
        pairs.append(
            (require_whole(f"the beginnings in {name}", pair[0]), require_number(name, pair[1], open_low=True))
        )
    starts = [start for start, _ in pairs]
    if starts[0] != 0 or sorted(set(starts)) != starts:
        raise ValueError(f"train: expected {name} to begin at 0 and to rise, got {starts}")
    return tuple(pairs)


def require_text(name: str, value: object) -> None:
    """ValueError unless `value` is a text."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"train: expected {name} to be a text, got {value!r}")


def require_flag(name: str, value: object) -> None:
    """ValueError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"train: expected {name} to be true or false, got {value!r}")


def as_arguments(name: str, value: object) -> dict[str, Any]:
    """Return arguments as JSON would keep them."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"train: expected {name} to be a table, got {value!r}")
    try:
        made: dict[str, Any] = json.loads(json.dumps(plain(value), allow_nan=False))
    except (TypeError, ValueError):
        raise ValueError(f"train: expected {name} to hold what JSON can, got {value!r}") from None
    return made


def as_paths(name: str, value: object) -> tuple[str, ...]:
    """Return one path or several as texts."""
    given = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(given, Sequence) or not all(isinstance(path, str | os.PathLike) for path in given):
        raise ValueError(f"train: expected {name} to be a path or a list of paths, got {value!r}")
    return tuple(os.fspath(path) for path in given)
