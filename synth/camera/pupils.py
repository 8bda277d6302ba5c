"""Pupils as dictionaries: their kind and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import blurphys as bp
from blurphys.inputs import require_choice

__all__ = ["pupil_from_dict", "pupil_to_dict"]


def pupil_to_dict(pupil: bp.Pupil) -> dict[str, Any]:
    """Return kind and parameters of a pupil, ready for JSON."""
    fields = dict(pupil.parameters)
    if fields["kind"] in _FORMULAS:
        return {**fields, "cat_eye": list(fields["cat_eye"])}
    sensor = {"split": pupil.split, "cross_talk": pupil.cross_talk, "angle": pupil.angle}
    if pupil.core:
        sensor["core"] = pupil.core
    return {"kind": "measured", "extent": pupil.extent, **sensor, "intensity": pupil.intensity.tolist()}


def pupil_from_dict(fields: Mapping[str, Any]) -> bp.Pupil:
    """Undo `pupil_to_dict`; KeyError, TypeError or ValueError for anything else."""
    values = dict(fields)
    kind = values.pop("kind")
    if "cat_eye" in values:
        values["cat_eye"] = tuple(values["cat_eye"])
    if kind == "measured":
        return bp.Pupil.measured(values.pop("intensity"), **values)
    require_choice("Camera", "the kind of pupil", kind, (*_FORMULAS, "measured"))
    values.pop("extent", None)  # only measured pupils take it
    pupil: bp.Pupil = getattr(bp.Pupil, kind)(**values)
    return pupil


_FORMULAS = ("disk", "butterworth", "polygon")
