"""The dot grid to print."""

from __future__ import annotations

from blurphys.inputs import require_number

__all__ = ["PAPERS", "grid_sheet"]

PAPERS = {"a4": (297.0, 210.0), "a3": (420.0, 297.0), "letter": (279.4, 215.9)}
"""Width and height in mm, landscape."""

MARGIN = 8.0
"""White rim that printers cannot print on, mm."""


def grid_sheet(*, spacing_mm: float = 10.0, dot_mm: float = 3.5, paper: str = "a4") -> str:
    """Return a square grid of black dots as SVG, to be printed without scaling and on matt paper.

    Parameters
    ----------
    spacing_mm, dot_mm : float
        Distance of neighbouring dots, and their diameter: 0.05 to 0.6 of the distance.
    paper : {"a4", "a3", "letter"}

    Raises
    ------
    ValueError
        Another paper, or dots that do not fit.

    Examples
    --------
    >>> grid_sheet(spacing_mm=20, dot_mm=7).count("<circle")
    140
    """
    owner = "grid_sheet"
    if paper not in PAPERS:
        raise ValueError(f"{owner}: expected paper to be one of {', '.join(PAPERS)}, got {paper!r}")
    require_number(owner, "spacing_mm", spacing_mm, above=0)
    require_number(owner, "dot_mm", dot_mm, least=0.05 * spacing_mm, most=0.6 * spacing_mm)
    width, height = PAPERS[paper]
    counts = [int((length - 2 * MARGIN - dot_mm) // spacing_mm) + 1 for length in (width, height)]
    if min(counts) < 5:
        raise ValueError(
            f"{owner}: expected a spacing that leaves room for 5 rows of dots on {paper}, got {spacing_mm:g} mm"
        )
    starts = [(length - (count - 1) * spacing_mm) / 2 for length, count in zip((width, height), counts, strict=True)]
    dots = [
        f'<circle cx="{starts[0] + i * spacing_mm:.4f}" cy="{starts[1] + j * spacing_mm:.4f}" r="{dot_mm / 2:.4f}"/>'
        for j in range(counts[1])
        for i in range(counts[0])
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm"'
    frame = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([f'{head} viewBox="0 0 {width} {height}">', frame, *dots, "</svg>", ""])
