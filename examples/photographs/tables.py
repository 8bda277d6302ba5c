"""The tables of docs/results.md, from the figures of every method on every case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from photographs.cases import SHARP, SKIMAGE
from photographs.methods import INPUT, KNOWN, PAIR, RESTORE, TRIVIAL

__all__ = ["replace_between", "tables"]

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

COSTED = "board"
"""The case whose seconds and memory stand in the tables; the others are in the JSON."""

HELD_OUT = "held out"
Records = Mapping[str, Mapping[str, Mapping[str, Any]]]
Row = Mapping[str, Mapping[str, Any]]


def replace_between(page: str, text: str) -> str:
    """Return a page with `text` between its two markers; ValueError unless each is there once, in order."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"expected a page with one line {BEGIN} and one line {END} after it")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{rest.split(END)[1]}"


def tables(records: Records) -> str:
    """Return the tables as Markdown; those without figures are left out."""
    rows = {label: records[label] for label in sorted(records, key=_place)}
    parts = [_pairs(rows), _sharp(rows), _maps(rows), _unreferenced(rows), _failures(rows)]
    return "\n\n".join(part for part in parts if part)


def _place(label: str) -> int:
    order = [INPUT, TRIVIAL, "", RESTORE, PAIR, KNOWN]
    return order.index(label if label in order else "")


def _value(row: Row, cases: Sequence[str], key: str) -> float | None:
    """Return the mean of a figure over cases; None unless all of them have it."""
    found = [row.get(case, {}).get(key) for case in cases]
    return mean(found) if found and None not in found else None


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table without its empty columns and rows."""
    rows = [row for row in rows if any(row[1:])]
    if not rows:
        return ""
    kept = [i for i in range(len(header)) if i == 0 or any(row[i] for row in rows)]
    lines = [[header[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def _pairs(rows: Mapping[str, Row]) -> str:
    samples = list(dict.fromkeys(case for row in rows.values() for case in row if case.startswith(HELD_OUT)))
    columns = {
        "board": ["board"], "board, left view": ["board, left"], "board, right view": ["board, right"],
        "Pixel 4, 013": ["Pixel 4, 013"], "Pixel 4, 001": ["Pixel 4, 001"], f"held out, {len(samples)}": samples,
    }  # fmt: skip
    before = rows.get(INPUT, {})

    def cell(row: Row, cases: Sequence[str]) -> str:
        psnr, ssim, start = _value(row, cases, "psnr"), _value(row, cases, "ssim"), _value(before, cases, "psnr")
        if psnr is None or ssim is None:
            return ""
        gain = "" if start is None or row is before else f" ({psnr - start:+.2f})"
        return f"{psnr:.2f}{gain}, {_short(ssim, 3)}"

    def cost(row: Row, key: str, form: Callable[[float], str]) -> str:
        value = _value(row, [COSTED], key)
        return "" if value is None else form(value)

    body = [
        [label, *(cell(row, cases) for cases in columns.values()), cost(row, "cpu_seconds", lambda v: f"{v:.1f}"),
         cost(row, "bytes", lambda v: f"{v / 1e6:.0f}")]
        for label, row in rows.items()
    ]  # fmt: skip
    return _table("Pairs: PSNR in dB (gain), SSIM", ["", *columns, "CPU s", "MB"], body)


def _sharp(rows: Mapping[str, Row]) -> str:
    columns = {"board at f/20": ["board at f/20"], **{n: [n] for n in SKIMAGE}, **{f"{n} (CC0)": [n] for n in SHARP}}

    def cell(row: Row, cases: Sequence[str]) -> str:
        psnr = _value(row, cases, "psnr")
        return "" if psnr is None else "equal" if psnr >= 99 else f"{psnr:.1f}"

    body = [[label, *(cell(row, cases) for cases in columns.values())] for label, row in rows.items()]
    return _table("Photographs that are sharp already: PSNR towards the input, dB", ["", *columns], body)


def _maps(rows: Mapping[str, Row]) -> str:
    depth, masks = ("Canon 001", "Canon 003", "Canon 004"), ("CUHK 0504", "CUHK 0537")
    samples = list(dict.fromkeys(case for row in rows.values() for case in row if case.startswith(HELD_OUT)))
    header = [
        *(f"{case}: rank correlation, median error" for case in depth),
        f"held out, {len(samples)}: median error",
        "board: radius (4.0)",
        "board at f/20: radius",
        *(f"{case}: blurred, sharp, AUC" for case in masks),
    ]

    def cells(row: Row) -> list[str]:
        found = []
        for case in depth:
            rho, error = _value(row, [case], "rank_correlation"), _value(row, [case], "median_error")
            found.append("" if rho is None or error is None else f"{_short(rho, 2)}, {_short(error, 2)}")
        error = _value(row, samples, "median_error")
        found.append("" if error is None else _short(error, 2))
        for case in ("board", "board at f/20"):
            radius = _value(row, [case], "map_radius")
            found.append("" if radius is None else f"{radius:.1f}")
        for case in masks:
            figures = [_value(row, [case], key) for key in ("inside", "outside", "auc")]
            known = [v for v in figures if v is not None]
            found.append(f"{known[0]:.1f}, {known[1]:.1f}, {_short(known[2], 3)}" if len(known) == 3 else "")
        return found

    def constant(case: str) -> str:
        value = next((v for row in rows.values() if (v := row.get(case, {}).get("constant_error")) is not None), None)
        return "" if value is None else f"0, {_short(value, 2)}"

    errors = [v for c in samples if (v := _value(rows.get(INPUT, {}), [c], "constant_error")) is not None]
    best = [*(constant(case) for case in depth), _short(mean(errors), 2) if errors else "", "", "", "", ""]
    body = [["best constant", *best], *([label, *cells(row)] for label, row in rows.items())]
    return _table("Maps: radii in px", ["", *header], body)


def _unreferenced(rows: Mapping[str, Row]) -> str:
    cases = ("Canon 001", "Canon 003", "Canon 004")

    def cell(row: Row, case: str) -> str:
        explained, changed = _value(row, [case], "reblurred"), _value(row, [case], "changed")
        if explained is None or changed is None:
            return ""
        return f"{explained:.1f}, {'equal' if changed >= 99 else f'{changed:.1f}'}"

    body = [[label, *(cell(row, case) for case in cases)] for label, row in rows.items()]
    return _table("Without a sharp photograph: reblurred, changed, dB", ["", *cases], body)


def _failures(rows: Mapping[str, Row]) -> str:
    lines = [
        f"- {label}, {case}: {figures['error']}"
        for label, row in rows.items() for case, figures in row.items() if "error" in figures
    ]  # fmt: skip
    return "\n".join(["### Calls that failed", "", *lines]) if lines else ""
