"""Reports on what commands wrote as JSON: solutions, scores, trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blurphys import plot
from blurphys.plot.panels import new_figure

from ..training.log import Log
from .page import Page

__all__ = ["is_scores", "is_solution", "read_json", "report_scores", "report_solution", "report_training"]


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; ValueError if it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"report: {path} is no JSON: {error}") from error


def is_solution(content: Any) -> bool:
    """Whether it is what ``blurphys solve --report`` writes."""
    return isinstance(content, dict) and {"residuals", "method", "operator", "status"} <= set(content)


def is_scores(content: Any) -> bool:
    """Whether it is what ``blurphys evaluate --out`` writes."""
    return isinstance(content, dict) and {"scores", "protocol"} <= set(content)


def report_solution(path: Path, content: dict[str, Any]) -> Page:
    """Return the page of a solution."""
    page = Page(title=path.name, kind=f"solution by {content['method']}")
    page.verdict = f"{content['status']}: {content.get('advice', '')}"
    if (after := content.get("psnr_restored")) is not None:
        before = content.get("psnr_blurred")
        gain = "" if before is None else f", {after - before:+.2f} dB on the blurred image"
        page.verdict += f" PSNR {after:.2f} dB{gain} (linear light)."
        page.tone = "good" if before is None or after >= before else "bad"
    page.section("What was solved")
    page.table([(key, value) for key, value in content.items() if key not in ("residuals", "advice")])
    curve = [value for value in content["residuals"] if value]
    if curve:
        figure = new_figure(7.5, 4.2)
        plot.residuals(curve, labels=[content["method"]], ax=figure.subplots())
        page.section("Convergence")
        page.figure(figure, f"Relative residual, {curve[0]:.3g} at the start, {curve[-1]:.3g} at the end")
    return page


def report_scores(path: Path, content: dict[str, Any]) -> Page:
    """Return the page of an evaluation."""
    rows = content["scores"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    measures = [key for key in rows[0] if key not in ("method", "image")] if rows else []
    page = Page(title=path.name, kind="evaluation")
    means = content["means"]
    if "psnr" in measures:
        best = max(methods, key=lambda method: means[method]["psnr"])
        page.verdict = f"Best mean PSNR: {best}, {means[best]['psnr']:.2f} dB over {len(rows) // len(methods)} images."
    page.section("Means")
    page.table([(method, *(means[method].get(m) for m in measures)) for method in methods], ("method", *measures))
    if "psnr" in measures and rows:
        figure = new_figure(9, 4.4)
        axes = figure.subplots()
        for method in methods:
            own = [row["psnr"] for row in rows if row["method"] == method]
            axes.plot(own, marker=".", label=method)
        axes.set(xlabel="image", ylabel="PSNR (dB)")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=9)
        page.figure(figure, "PSNR of every image")
    page.section("Protocol")
    protocol = content["protocol"]
    page.table(protocol.items() if isinstance(protocol, dict) else [("protocol", protocol)])
    page.section("Every image")
    page.table([(row["method"], row["image"], *(row[m] for m in measures)) for row in rows],
               ("method", "image", *measures))  # fmt: skip
    return page


def report_training(folder: Path) -> tuple[Page, list[Path]]:
    """Return the page of the folder of a training."""
    rows = Log.read(folder)
    page = Page(title=folder.name, kind="training")
    if not rows:
        raise ValueError(f"report: {folder / 'log.jsonl'} has no steps yet")
    scored = [row for row in rows if row.get("validation_psnr") is not None]
    if scored:
        best = max(scored, key=lambda row: float(row["validation_psnr"]))
        reference = best.get("input_psnr")
        page.verdict = f"Best validation PSNR {best['validation_psnr']:.2f} dB at step {best['step']}"
        if reference is not None:
            gain = best["validation_psnr"] - reference
            page.verdict += f", {gain:+.2f} dB on the input"
            page.tone = "good" if gain > 0 else "bad"
        page.verdict += "."
    figure = new_figure(12, 4.4)
    left, right = figure.subplots(1, 2)
    left.semilogy([row["step"] for row in rows if row.get("loss")], [row["loss"] for row in rows if row.get("loss")])
    left.set(xlabel="step", ylabel="loss", title="training")
    right.plot([row["step"] for row in scored], [row["validation_psnr"] for row in scored], marker=".", label="network")
    unchanged = [row for row in scored if row.get("input_psnr") is not None]
    right.plot(
        [row["step"] for row in unchanged], [row["input_psnr"] for row in unchanged], "--", color="0.5",
        label="input, unchanged",
    )  # fmt: skip
    right.set(xlabel="step", ylabel="PSNR (dB)", title="validation")
    right.legend(fontsize=9)
    for axes in (left, right):
        axes.grid(visible=True, alpha=0.3)
    page.section("Learning curves")
    page.figure(figure, f"Loss and validation PSNR up to step {rows[-1]['step']}")
    seconds = rows[-1].get("seconds")
    page.table([("steps", rows[-1]["step"]), ("seconds", seconds), ("last loss", rows[-1].get("loss"))])
    files = [
        file for name in ("log.jsonl", "log.csv", "config.toml", "config.json") if (file := folder / name).is_file()
    ]
    for file in files:
        if file.stem == "config":
            page.details("Configuration", list(read_json(file).items()))
    return page, files
