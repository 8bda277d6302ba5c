"""The page: a title, a verdict, sections of text, tables, figures and wipe sliders, in one HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from blurphys.colour import linear_to_srgb

__all__ = ["MAX_SIDE", "Page"]

MAX_SIDE = 1800
"""Longest side of a picture in the page, px: 2 megapixels."""

QUALITY = 90

Image = NDArray[np.floating]


@dataclass
class Page:
    """A report under construction; every method appends to it, all text is escaped.

    Attributes
    ----------
    title, kind : str
        Name of what is reported, and what it is.
    verdict : str
        The one sentence a reader should take away.
    tone : {"plain", "good", "bad"}
        How the verdict is coloured.
    """

    title: str
    kind: str
    verdict: str = ""
    tone: Literal["plain", "good", "bad"] = "plain"
    parts: list[str] = field(default_factory=list)

    def section(self, title: str) -> None:
        """Begin a section."""
        self.parts.append(f"<h2>{escape(title)}</h2>")

    def text(self, words: str) -> None:
        """Add a paragraph."""
        self.parts.append(f"<p>{escape(words)}</p>")

    def table(self, rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> None:
        """Add a table; numbers are aligned to the right, the first column of a table without header names the rows."""
        lines = []
        if header:
            cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
            lines.append(f"<thead><tr>{cells}</tr></thead>")
        body = []
        for row in rows:
            line = [_cell(value, align=bool(header)) for value in row]
            if not header and line:
                line[0] = f'<th scope="row">{escape(str(row[0]))}</th>'
            body.append(f"<tr>{''.join(line)}</tr>")
        self.parts.append(f'<div class="scroll"><table>{"".join(lines)}<tbody>{"".join(body)}</tbody></table></div>')

    def details(self, summary: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add a table that is folded away."""
        self.parts.append(f"<details><summary>{escape(summary)}</summary>")
        self.table(rows)
        self.parts.append("</details>")

    def figure(self, figure: Any, caption: str) -> None:
        """Add a figure of matplotlib; the caption is also what a screen reader says."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", facecolor="white")
        source = _uri("png", buffer.getvalue())
        self.parts.append(
            f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
        )

    def wipe(self, before: Image, after: Image, names: tuple[str, str], *, encoded: bool = False) -> None:
        """Add two pictures on top of each other with a slider between them.

        Parameters
        ----------
        before, after : ndarray of shape (C, H, W) or (H, W)
            Of one size; linear light unless `encoded`.
        names : (str, str)
        encoded : bool
        """
        left, right = (_picture(image, encoded=encoded) for image in (before, after))
        first, second = (escape(name) for name in names)
        self.parts.append(
            f'<figure class="wipe"><div class="names"><span>{first}</span><span>{second}</span></div>'
            f'<div class="pictures"><img src="{left}" alt="{first}" draggable="false">'
            f'<img class="over" src="{right}" alt="{second}" draggable="false"><div class="handle"></div></div>'
            f'<input type="range" min="0" max="100" step="0.5" value="50" '
            f'aria-label="Border between {first} and {second}, percent of the width"></figure>'
        )

    def html(self) -> str:
        """Return the document."""
        assets = files(__package__) / "assets"
        style, script = ((assets / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
        verdict = f'<p class="verdict {self.tone}">{escape(self.verdict)}</p>' if self.verdict else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}: {escape(self.kind)}</title><style>{style}</style></head>\n"
            f'<body><main><p class="kind">{escape(self.kind)}</p><h1>{escape(self.title)}</h1>{verdict}\n'
            + "\n".join(self.parts)
            + f"\n</main><script>{script}</script></body></html>\n"
        )


def _cell(value: Any, *, align: bool = True) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td>{ {True: 'yes', False: 'no', None: ''}[value] }</td>"
    if isinstance(value, int | float):
        return f'<td class="number">{value:.6g}</td>' if align else f"<td>{value:.6g}</td>"
    return f"<td>{escape(_words(value))}</td>"


def _words(value: Any) -> str:
    """Return any content of JSON as words, numbers with four digits."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _picture(image: Image, *, encoded: bool) -> str:
    """Return an image as a data address: JPEG, at most MAX_SIDE px wide and high."""
    from PIL import Image as PILImage

    values = np.clip(np.nan_to_num(np.asarray(image, np.float64)), 0, 1)
    values = values if encoded else linear_to_srgb(values)
    levels = np.rint(values * 255).astype(np.uint8)
    levels = levels if levels.ndim == 2 else levels[0] if len(levels) == 1 else levels[:3].transpose(1, 2, 0)
    picture = PILImage.fromarray(np.ascontiguousarray(levels))
    picture.thumbnail((MAX_SIDE, MAX_SIDE), PILImage.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return _uri("jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
