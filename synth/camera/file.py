"""Cameras in TOML files: lens, pupil, sensor and ranges, under the names in the configuration of a dataset."""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import blurphys as bp
from blurphys.files.publishing import PathLike, existing_file

from .camera import Camera
from .distortion import RadialDistortion
from .imperfections import Imperfections
from .noise import ShotReadNoise
from .pupils import pupil_from_dict, pupil_to_dict
from .sensor import Sensor
from .tone import ToneCurve

__all__ = ["camera_named", "is_camera_file", "read_camera"]

_TABLES: dict[str, type[Any]] = {
    "lens": bp.ThinLens,
    "noise": ShotReadNoise,
    "imperfections": Imperfections,
    "readout": Sensor,
    "tone": ToneCurve,
}
_PUPILS = ("disk", "butterworth", "polygon", "measured")


def read_camera(path: PathLike) -> Camera:
    """Read a camera from a TOML file.

    ::

        preset = "canon-r6ii"            # optional: camera to start from
        name = "my camera"
        max_radius = 12.0                # px
        focus_range_m = [0.8, 3.0]

        [lens]
        focal_length_mm = 85.0
        f_number = 1.8
        focus_distance_m = 1.5
        pixel_pitch_um = 24.0            # of the stored image

        [pupil]
        kind = "polygon"                 # or disk, butterworth, measured: the makers of blurphys.Pupil
        n = 9                            # and their arguments
        split = 0.3

        [imperfections]
        vignetting = 0.6
        cat_eye = 0.5

    Parameters
    ----------
    path : path
        TOML with the keys of `Camera.to_dict`, at the top level or in a table ``[camera]``; or the ``config.json`` of a
        dataset, for its camera.

    Returns
    -------
    Camera
        What the file does not set is as in the preset; without one `lens` must be complete, the pupil is a disk, and
        the rest has the defaults of `Camera`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Not TOML, an unknown key (with the closest known one), or a value that the camera refuses; the message begins
        with the file.
    """
    file = existing_file(path)
    try:
        return _camera(_table(file), file.stem)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from None


def is_camera_file(text: str) -> bool:
    """Whether a text names a file rather than a preset."""
    return text.lower().endswith((".toml", ".json")) or Path(text).is_file()


def camera_named(text: str) -> Camera:
    """Return the camera of a preset's name or of a file, see `read_camera`."""
    if is_camera_file(text):
        return read_camera(text)
    try:
        return Camera.preset(text)
    except ValueError as error:
        raise ValueError(f"{error}; a camera of your own is a file such as my.toml") from None


def _table(file: Path) -> Mapping[str, Any]:
    text = file.read_text(encoding="utf-8")
    if file.suffix.lower() == ".json":
        content = json.loads(text)
        recipe = content.get("recipe", content) if isinstance(content, dict) else None
        if not isinstance(recipe, dict) or "camera" not in recipe:
            raise ValueError("expected the config.json of a dataset that was not merged, with its camera")
        return {key: value for key, value in recipe["camera"].items() if value is not None}
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not a TOML file ({error})") from None
    if set(table) == {"camera"} and isinstance(table["camera"], dict):
        inner: dict[str, Any] = table["camera"]
        return inner
    return table


def _camera(table: Mapping[str, Any], stem: str) -> Camera:
    values = dict(table)
    _known("the camera", values, ("preset", *(field.name for field in fields(Camera))))
    _check_numbers("the camera", Camera, values)
    preset = values.pop("preset", None)
    base = None if preset is None else Camera.preset(str(preset))
    for name, kind in _TABLES.items():
        if name in values:
            values[name] = _part(name, kind, values[name], None if base is None else getattr(base, name))
    if "pupil" in values:
        values["pupil"] = _pupil(values["pupil"], None if base is None else base.pupil)
    for name in ("focus_range_m", "f_number_range", "gain_range", "published"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    if base is not None:
        return replace(base, **values)
    if "lens" not in values:
        raise ValueError("expected a table [lens], or a preset to start from")
    made: dict[str, Any] = {"pupil": bp.Pupil.disk(), "name": stem, **values}
    return Camera(**made)


def _part(name: str, kind: type[Any], table: Any, base: Any) -> Any:
    """Make one part of a camera; what its table does not set is as in `base`, or has its default."""
    if not isinstance(table, Mapping):
        raise ValueError(f"expected {name} as a table, [{name}], got {table!r}")
    values = {key: value for key, value in table.items() if value is not None}
    names = [field.name for field in fields(kind)]
    _known(f"[{name}]", values, names)
    _check_numbers(f"[{name}]", kind, values)
    if "distortion" in values:
        values["distortion"] = RadialDistortion.from_dict(values["distortion"])
    if isinstance(values.get("noise"), Mapping):  # the noise of a readout, which is ignored
        values["noise"] = ShotReadNoise(**values["noise"])
    if base is not None:
        return replace(base, **values)
    needed = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    if missing := [key for key in needed if key not in values]:
        raise ValueError(f"[{name}] lacks {', '.join(missing)}")
    return kind(**values)


def _pupil(table: Any, base: bp.Pupil | None) -> bp.Pupil:
    if not isinstance(table, Mapping):
        raise ValueError(f"expected pupil as a table, [pupil], got {table!r}")
    values, made = dict(table), {} if base is None else pupil_to_dict(base)
    kind = values.pop("kind", made.get("kind", "disk"))
    if kind not in _PUPILS:
        raise ValueError(f"[pupil]: expected kind among {', '.join(_PUPILS)}, got {kind!r}")
    takes = [name.replace("grid", "intensity") for name in inspect.signature(getattr(bp.Pupil, kind)).parameters]
    where = f"[pupil] of kind {kind!r}"
    _known(where, values, dict.fromkeys((*takes, "extent")))
    if made.get("kind") == kind:
        values = made | values
    values = {key: value for key, value in values.items() if key in (*takes, "extent")}
    for name, value in values.items():
        if name == "cat_eye":
            good, wanted = _are_numbers(value, 2), "2 numbers, [...]"
        elif name == "intensity":
            rows = value if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple) else ((),)
            good = all(_are_numbers(row, len(rows[0])) for row in rows) and len(rows[0]) > 0
            wanted = "rows of numbers, equally many in each"
        else:
            good, wanted = _is_number(value), "a number"
        if not good:
            raise ValueError(f"{where}: expected {name} as {wanted}, got {repr(value)[:80]}")
    needed = {"measured": "intensity", "polygon": "n"}.get(kind)
    if needed is not None and needed not in values:
        raise ValueError(f"{where} lacks {needed}")
    return pupil_from_dict({"kind": kind, **values})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count and all(map(_is_number, value))


def _check_numbers(where: str, kind: type[Any], values: Mapping[str, Any]) -> None:
    for field in fields(kind):
        value, wanted = values.get(field.name), str(field.type)
        if value is None:
            continue
        if wanted.startswith(("float", "int")) and not _is_number(value):
            raise ValueError(f"{where}: expected {field.name} as a number, got {value!r}")
        if wanted.startswith("tuple"):
            count = wanted.partition("]")[0].count(",") + 1
            if not _are_numbers(value, count):
                raise ValueError(f"{where}: expected {field.name} as {count} numbers, [...], got {value!r}")


def _known(where: str, table: Mapping[str, Any], names: Any) -> None:
    known = tuple(names)
    for key in table:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"{where} has no {key!r}; {meant}known are {', '.join(known)}")
