"""Where settings come from: TOML files, recipes that come with the package, and single settings of a command line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .fields import plain

__all__ = ["RECIPES", "read_toml", "recipes", "with_settings"]

RECIPES = Path(__file__).parents[1] / "recipes"


def recipes() -> tuple[str, ...]:
    """Names of the recipes that come with blurphys."""
    return tuple(sorted(file.stem for file in RECIPES.glob("*.toml")))


def read_toml(path: object) -> dict[str, Any]:
    """Read a TOML file, or a recipe by its name."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"train: expected a TrainConfig, a mapping or the path of a TOML file, got {path!r}")
    file = Path(path)
    if not file.exists() and file.name == str(path) and file.name.removesuffix(".toml") in recipes():
        file = RECIPES / f"{file.name.removesuffix('.toml')}.toml"
    if not file.is_file():
        raise FileNotFoundError(
            f"train: there is no file {file} and no recipe of that name; recipes: {', '.join(recipes())}"
        )
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not a TOML file ({error})") from None


def with_settings(config: Mapping[str, Any] | str | os.PathLike[str], settings: Sequence[str]) -> dict[str, Any]:
    """Change single settings of a configuration that is not checked yet.

    Parameters
    ----------
    config : mapping, path of a TOML file or name of a recipe
    settings : sequence of str
        ``"key=value"``; the key may lead through tables and lists, ``data.path`` or ``losses.0.weight``, the value is
        read as TOML and taken as a text where it is none.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        No ``=``, or the key leads through something that is no table.

    Examples
    --------
    >>> with_settings({"batch": 4, "data": {"path": "a"}}, ["batch=2", "data.path=b"])
    {'batch': 2, 'data': {'path': 'b'}}
    """
    values: dict[str, Any] = plain(config if isinstance(config, Mapping) else read_toml(config))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"train: expected a setting of the form key=value, got {setting!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        parts = key.strip().split(".")
        place: Any = values
        for depth, part in enumerate(parts, start=1):
            into: Any = int(part) if isinstance(place, list) and part.isdecimal() else part
            if not isinstance(place, dict) and not (
                isinstance(place, list) and isinstance(into, int) and into < len(place)
            ):
                raise ValueError(f"train: {setting!r} leads nowhere at {part!r}")
            if depth == len(parts):
                place[into] = value
            else:
                place = place.setdefault(into, {}) if isinstance(place, dict) else place[into]
    return values
