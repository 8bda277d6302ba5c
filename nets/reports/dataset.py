"""Report on a dataset, whole or damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import synth
from blurphys import plot
from blurphys.plot.panels import new_figure

from .page import Page

__all__ = ["report_dataset"]

SHOWN = 3
"""Samples with pictures."""


def report_dataset(path: Path) -> tuple[Page, list[Path]]:
    """Return the page of a dataset of `synth.generate`, and its files; damaged shards are named, the others shown."""
    page = Page(title=path.name, kind="dataset")
    verdicts = synth.verify(path)
    broken = [verdict for verdict in verdicts if not verdict.whole]
    page.section("Shards")
    page.table(
        [(v.name, v.samples, "intact" if v.whole else v.problem) for v in verdicts], ("shard", "samples", "state")
    )
    samples = sum(verdict.samples for verdict in verdicts if verdict.whole)
    if broken:
        page.tone = "bad"
        page.verdict = (
            f"{len(broken)} of {len(verdicts)} shards are damaged or missing, {broken[0].name} first; "
            f"{samples} samples are intact. blurphys synth resume makes the others again."
        )
    else:
        page.tone = "good"
        page.verdict = f"{samples} samples, all intact: every array equals its checksum."
    for part in _intact(path, verdicts):
        with synth.open(part) as data:
            _describe(page, data)
            _show(page, data)
        break
    return page, _files(path)


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.h5")) + sorted(path.glob("*.json*")) if path.is_dir() else [path]


def _intact(path: Path, verdicts: Any) -> list[Path]:
    """Return what can be opened: the whole of an intact dataset, else its intact shards."""
    if all(verdict.whole for verdict in verdicts):
        return [path]
    return [path / verdict.name for verdict in verdicts if verdict.whole] if path.is_dir() else []


def _describe(page: Page, data: Any) -> None:
    first = data.parts[0]
    configuration = data.configuration_of(first)
    height, width = data.shape
    page.section("What is in it")
    page.table(
        [
            ("samples", len(data)),
            ("size", f"{height} x {width} px"),
            ("arrays", ", ".join(sorted(data.names))),
            ("model", str(data.attrs_of(first).get("model"))),
            ("transfer", str(data.attrs_of(first).get("transfer_function"))),
            ("scenes", ", ".join(dict.fromkeys(str(scene["name"]) for scene in configuration["scenes"]))),
        ]
    )
    page.details("Camera and recipe", _flat(configuration))


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flat(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        return [row for k, inner in enumerate(value) for row in _flat(inner, f"{name}[{k}]")]
    return [(name, str(value))]


def _show(page: Page, data: Any) -> None:
    chosen = np.unique(np.linspace(0, len(data) - 1, min(SHOWN, len(data))).round().astype(int))
    encoded = data.attrs_of(int(chosen[0])).get("transfer_function") != "linear"
    page.section("Samples")
    for index in map(int, chosen):
        sample = data[index]
        recorded = sample.get("combined")
        if recorded is None:
            views = [array for name, array in sample.items() if name not in ("all_in_focus",) and array.ndim == 3]
            recorded = sum(views) / len(views) if views else None
        if recorded is not None:
            page.wipe(recorded, sample["all_in_focus"], ("recorded", "in focus"), encoded=encoded)
        figure = new_figure(12, 4.6)
        left, right = figure.subplots(1, 2)
        plot.defocus_map(sample["defocus_map"], ax=left)
        right.hist(sample["defocus_map"].ravel(), bins=60, color="#0b5cad")
        right.set(xlabel="signed radius (px)", ylabel="pixels", title="radii of this sample")
        parameters = data.parameters(index)
        words = ", ".join(f"{key} {value:.4g}" for key, value in parameters.items() if isinstance(value, float))
        page.figure(figure, f"Sample {index}: defocus map and radii; {words}")
    bank = data.camera(int(chosen[0])).bank(("left", "right"))
    figure = new_figure(9, 3.4)
    plot.psf_triptych(bank, float(np.quantile(sample["defocus_map"], 0.95)), ax=figure.subplots(1, 3))
    page.figure(figure, "PSFs of the camera near the largest radius of the last sample")
