"""The parts of the page as HTML: pictures, figures and the words beside them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

import blurphys as bp
from blurphys.plot.panels import new_figure

from .pictures import figure_address, map_address, photo_address, psf_addresses
from .state import Exposure, Lab, Restoration

__all__ = [
    "SHOWN",
    "certificate",
    "heading",
    "note",
    "outcome",
    "picture",
    "psf",
    "radii",
    "residuals",
    "score",
    "title",
]

SHOWN: Mapping[str, str] = {
    "photo": "Recorded picture",
    "left": "Left view",
    "right": "Right view",
    "sharp": "Picture in focus",
    "map": "Defocus map",
}
"""What the picture can show, and its name for screen readers."""


def heading(lab: Lab) -> str:
    """Return the title with the scene and the lens."""
    (height, width), lens = lab.scene.shape, lab.camera.lens
    facts = f"{lab.scene.name}, {width} x {height} px; {lens.focal_length_mm:g} mm lens"
    return f'<h1 class="lab">blurphys lab</h1>{note(facts)}'


def title(words: str) -> str:
    """Return the title of a panel."""
    return f'<h2 class="lab">{escape(words)}</h2>'


def note(words: str, tone: str = "") -> str:
    """Return a sentence in small type."""
    return f'<p class="lab note {tone}">{escape(words)}</p>'


def picture(exposure: Exposure, name: str) -> str:
    """Return the address of one of `SHOWN`."""
    if name == "map":
        return map_address(exposure.A.defocus_map, exposure.A.bank.max_radius)
    if name == "sharp":
        return photo_address(exposure.truth)
    return photo_address(exposure.view("combined" if name == "photo" else name))


def radii(exposure: Exposure) -> str:
    """Return the range of the blur radii."""
    signed = exposure.A.defocus_map
    words = f"Blur radius {signed.min():+.1f} px (nearest) to {signed.max():+.1f} px (farthest); 0 in focus."
    if exposure.clamped:
        words += (
            f" {exposure.clamped:.1%} of the pixels would exceed {exposure.A.bank.max_radius:g} px and are clamped."
        )
    return note(words)


def psf(lab: Lab, exposure: Exposure, row: int, col: int) -> str:
    """Return the PSFs of a pixel, and where its depth is."""
    psfs = exposure.psf(row, col)
    radius, depth = float(exposure.A.defocus_map[row, col]), float(lab.scene.depth_m[row, col])
    side = "in front of" if radius < 0 else "behind"
    where = f"{depth:.2f} m away, " if np.isfinite(depth) else "depth unknown, "
    words = f"{where}blur radius {abs(radius):.1f} px, {side} the plane of focus" if radius else f"{where}in focus"
    size = "{1} x {0} px".format(*psfs["combined"].shape[-2:])
    items = "".join(_figure(address, f"PSF, {name} view", name) for name, address in psf_addresses(psfs).items())
    return (
        f"{title(f'PSF at row {row}, column {col}')}{note(f'{words}; {size}, one scale')}"
        f'<div class="lab psfs">{items}</div>'
    )


def residuals(restoration: Restoration) -> str:
    """Return the curve of the residuals."""
    figure = new_figure(3.4, 3.0)
    _, ax = bp.plot.residuals(restoration.residuals, ax=figure.subplots())
    ax.xaxis.get_major_locator().set_params(integer=True)
    return _figure(figure_address(figure), f"Residual of {restoration.method} against the step")


def score(restoration: Restoration, k: int) -> str:
    """Return the figures of one step."""
    return f"step {k}: PSNR {restoration.psnr[k]:.1f} dB, residual {restoration.residuals[k]:.2g}"


def outcome(exposure: Exposure, restoration: Restoration) -> str:
    """Return how a restoration ended, and whether the picture is still the one that was restored."""
    if restoration.settings != exposure.settings:
        return note("Of the picture before the change. Press Restore.", tone="stale")
    best = int(np.argmax(restoration.psnr))
    words = f"{restoration.method}: {restoration.steps} steps in {restoration.seconds:.1f} s. "
    words += f"PSNR {restoration.psnr[0]:.1f} dB recorded, best {restoration.psnr[best]:.1f} dB at step {best}."
    return note(words)


def certificate(
    exposure: Exposure, mark: tuple[int, int], certified: Exposure, at: tuple[int, int], found: bp.Certificate
) -> str:
    """Return a certificate, and whether picture and mark are still those it belongs to."""
    tone = "good" if found.converges else "bad" if found.diverges else ""
    rows, cols = certified.square(*at)
    words = f"Of {rows.stop - rows.start} x {cols.stop - cols.start} px around the mark only, to be quick."
    stale = certified.settings != exposure.settings or at != mark
    after = note("Of the picture or mark before the change. Press Certify.", tone="stale") if stale else note(words)
    return f'<p class="lab verdict {tone}">{escape(found.verdict)}</p>{after}'


def _figure(address: str, name: str, caption: str = "") -> str:
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{address}" alt="{escape(name)}">{words}</figure>'
