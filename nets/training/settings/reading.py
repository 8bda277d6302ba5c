"""Reading settings: files, recipes of the package, and single settings from the command line."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .fields import plain

__all__ = ["RECIPES", "changed_settings", "generation_commands", "read_settings", "recipes", "with_settings"]

RECIPES = Path(__file__).parents[2] / "recipes"


def recipes() -> tuple[str, ...]:
    """Names of the recipes that come with blurphys."""
    return tuple(sorted(file.stem for file in RECIPES.glob("*.toml")))


def generation_commands(path: str) -> str | None:
    """Return the commands that generate the missing data of a recipe, or None for data of no recipe.

    Parameters
    ----------
    path : str
        Path of the data, as in a recipe.
    """
    for recipe in recipes():
        lines = (RECIPES / f"{recipe}.toml").read_text(encoding="utf-8").splitlines()
        commands = [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]
        targets = [command.rpartition(" --out ")[2] for command in commands]
        if path in targets:
            return " && ".join(c for c, target in zip(commands, targets, strict=True) if not Path(target).exists())
    return None


def read_settings(path: object) -> dict[str, Any]:
    """Read a TOML file, the ``config.json`` of a training, or a recipe by its name."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"train: expected a TrainConfig, a mapping or the path of a TOML file, got {path!r}")
    file = Path(path)
    if not file.exists() and file.name == str(path) and file.name.removesuffix(".toml") in recipes():
        file = RECIPES / f"{file.name.removesuffix('.toml')}.toml"
    if not file.is_file():
        raise FileNotFoundError(
            f"train: there is no file {file} and no recipe of that name; recipes: {', '.join(recipes())}"
        )
    kind = "JSON" if file.suffix.lower() == ".json" else "TOML"
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"{file}: not a {kind} file ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected the settings of a training, got {type(values).__name__}")
    return values


def with_settings(config: Mapping[str, Any] | str | os.PathLike[str], settings: Sequence[str]) -> dict[str, Any]:
    """Change single settings of a configuration before it is checked.

    Parameters
    ----------
    config : mapping, path of a TOML or JSON file, or name of a recipe
    settings : sequence of str
        ``"key=value"``; the key may lead through tables and lists, ``data.path`` or ``losses.0.weight``, the value is
        read as TOML, or as text where it is not valid TOML. Settings that a new one excludes are removed: ``steps``
        takes the place of
        ``epochs``, a ``path`` of data that of a ``reader`` with its ``root`` and ``split``, and conversely.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        No ``=``, or the key leads through something that is not a table.

    Examples
    --------
    >>> with_settings({"batch": 4, "data": {"path": "a"}}, ["batch=2", "data.path=b"])
    {'batch': 2, 'data': {'path': 'b'}}
    """
    return changed_settings(config, settings)[0]


READER = ("reader", "root", "split", "encoding")

EXCLUDES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("", "steps", ("epochs",)),
    ("", "epochs", ("steps",)),
    *((table, "path", (*READER, "stream")) for table in ("data.", "validation.data.")),
    *((table, "reader", ("path", "stream")) for table in ("data.", "validation.data.")),
    *((table, "stream", ("path", *READER, "augment", "repeats", "cache")) for table in ("data.", "validation.data.")),
)
"""Table, setting, and the settings that it excludes."""


def changed_settings(
    config: Mapping[str, Any] | str | os.PathLike[str], settings: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """As `with_settings`, and also return notes on the settings that were removed."""
    values: dict[str, Any] = plain(config if isinstance(config, Mapping) else read_settings(config))
    changed: set[str] = set()
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"train: expected a setting of the form key=value, got {setting!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        parts = key.strip().split(".")
        changed.add(".".join(parts))
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
    return values, tuple(_exclude(values, changed))


def _exclude(values: dict[str, Any], changed: set[str]) -> list[str]:
    """Remove what the changed settings exclude, unless some of that was changed too; return notes."""
    notes = []
    for table, new, old in EXCLUDES:
        if table + new not in changed or any(table + name in changed for name in old):
            continue
        place: Any = values
        for part in table.split(".")[:-1]:
            place = place[part]
        gone = [table + name for name in old if place.pop(name, None)]
        if gone:
            unit = "" if table else f"; schedules and validation.every count in {new} now"
            notes.append(f"{table + new} takes the place of {', '.join(gone)}{unit}")
    return notes
