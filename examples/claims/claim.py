"""What the scripts of this folder share: a pair of photographs, PSNR, and a claim that prints itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import blurphys as bp

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the other examples

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BOARD = DATA / "canon_r6m2_flat_0600mm"


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, the figures for it and what they say."""

    said: str
    source: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    verdict: str
    why: str

    def __str__(self) -> str:
        cells = [[_text(cell) for cell in row] for row in (self.header, *self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        lines = [
            "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        return "\n".join([f"claim    {self.said}", f"source   {self.source}", "", *lines, "",
                          f"verdict  {self.verdict}", f"why      {self.why}"])  # fmt: skip

    def value(self, row: str, column: str) -> object:
        """Return a cell by the first cell of its row and the name of its column."""
        return next(cells for cells in self.rows if cells[0] == row)[list(self.header).index(column)]


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def show(run: Callable[[str], Claim], doc: str | None) -> None:
    """Print a claim; the command line chooses the size."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="all of it: minutes")
    size.add_argument("--tiny", action="store_true", help="only to see it run; its figures mean little")
    given = parser.parse_args()
    print(run("full" if given.full else "tiny" if given.tiny else "default"))


def psnr(image: np.ndarray, wanted: np.ndarray, border: int = 0) -> float:
    """PSNR in dB, peak 1, without a border of some pixels."""
    inner = (..., slice(border, image.shape[-2] - border), slice(border, image.shape[-1] - border))
    return float(-10 * np.log10(np.mean((image - wanted)[inner].astype(float) ** 2)))


def photograph(size: str) -> np.ndarray:
    """Return scikit-image's motorcycle, or a part of it, (3, H, W) in linear light."""
    from skimage import data

    rows, cols = {"tiny": (48, 64), "default": (192, 256), "full": (368, 440)}[size]
    image = data.stereo_motorcycle()[0][130 : 130 + rows, 300 : 300 + cols]
    return bp.colour.srgb_to_linear(np.ascontiguousarray(image.transpose(2, 0, 1)) / 255.0)


def pair(size: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return a sharp and a blurred photograph, linear light, and what they are: the board, or a rendered pair."""
    if size != "tiny" and BOARD.is_dir():
        from canon_deblur import linear_light

        window = (slice(None), slice(None), slice(None))
        if size == "default":
            window = (slice(None), slice(96, 352), slice(128, 512))
        sharp, blurred = (np.ascontiguousarray(linear_light(BOARD, name)[window]) for name in ("f20", "f4"))
        return sharp.astype(float), blurred.astype(float), "a board photographed at f/20 and at f/4 (Canon R6 Mark II)"
    sharp = photograph(size)
    blur = bp.Convolution(bp.psf.disk(2.0 if size == "tiny" else 4.0), shape=sharp.shape)
    blurred = blur(sharp) + 0.004 * np.random.default_rng(0).standard_normal(sharp.shape)
    return sharp, blurred, "a RENDERED pair (disk, noise .004), since no photographs were found; it proves less"
