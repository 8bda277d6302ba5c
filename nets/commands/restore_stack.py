"""`blurphys restore --stack`: one picture in focus from photographs at several focus distances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["numbers", "restore_stack"]


def numbers(option: str, text: str, count: int) -> list[float]:
    """Return the numbers of an option such as 0.5,0.8,2; ValueError for anything else.

    Examples
    --------
    >>> numbers("--focus-distances", "0.5, 2", 2)
    [0.5, 2.0]
    """
    try:
        found = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"{option}: expected numbers separated by commas, such as 0.5,0.8,2, got {text!r}") from None
    if len(found) not in (1, count):
        raise ValueError(f"{option}: expected {count} numbers, one for each photograph, got {len(found)}")
    return found * count if len(found) == 1 else found


def restore_stack(
    files: Sequence[Path],
    out: Path,
    read: Any,
    *,
    focus_distances: str | None,
    f_numbers: str | None,
    focal_length: float | None,
    pixel_pitch: float | None,
    camera: str,
    near: float | None,
    far: float | None,
    noise: float | None,
    strength: float | None,
    force: bool,
    started: float,
) -> list[str]:
    """Restore a stack and write the results; return lines to print."""
    from blurphys.progress import progress
    from synth.camera.file import camera_named

    from ..classical.stack import STACK_FILES, merge, write_stack

    if len(files) < 2:
        raise ValueError(f"--stack: expected two or more photographs of one scene, got {len(files)}")
    if focus_distances is None:
        raise ValueError("--stack: expected --focus-distances, the plane of focus of each photograph in m: 0.5,0.8,2")
    if near is None or far is None:
        raise ValueError("--stack: expected --near and --far, the range of the scene's depths in m")
    distances = numbers("--focus-distances", focus_distances, len(files))
    shot = camera_named(camera)
    lens = shot.lens
    if focal_length is not None:
        lens = replace(lens, focal_length_mm=focal_length)
    apertures = numbers("--f-number", f_numbers, len(files)) if f_numbers is not None else [lens.f_number] * len(files)
    photos = [np.asarray(read(file), np.float32) for file in files]
    if pixel_pitch is not None:
        lens = replace(lens, pixel_pitch_um=pixel_pitch)
    lenses = [replace(lens, focus_distance_m=u, f_number=n) for u, n in zip(distances, apertures, strict=True)]
    settings = {
        "photographs": [str(file) for file in files], "camera": camera, "focal_length_mm": lens.focal_length_mm,
        "f_numbers": apertures, "pixel_pitch_um": lens.pixel_pitch_um,
    }  # fmt: skip
    with progress("restore", total=1) as advance:
        merged = merge(
            photos, lenses, pupil=shot.pupil, near_m=near, far_m=far, noise=noise, strength=strength,
            settings=settings, say=lambda text: advance(text, 0),
        )  # fmt: skip
        advance("writing")
        write_stack(out, photos, merged, overwrite=force)
    low, middle, high = merged.report["depth_m"].values()
    return [
        f"{'depth':<10}{low:.3g} to {high:.3g} m, median {middle:.3g} (5 % to 95 % of the pixels)",
        f"{'map':<10}measured on {merged.report['confident_share']:.0%} of the frame, completed elsewhere",
        f"{'radius':<10}up to {merged.report['largest_radius_px']:.2f} px",
        f"{'noise':<10}standard deviation {merged.estimate.noise:.3g}",
        f"{'result':<10}{merged.report['verdict']}",
        f"wrote {', '.join(STACK_FILES)} to {out} in {time.perf_counter() - started:.1f} s",
    ]
