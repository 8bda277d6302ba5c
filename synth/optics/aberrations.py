"""PSFs that differ by colour and over the frame: longitudinal chromatic aberration and cat eyes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

import blurphys as bp
from blurphys.inputs import require_choice, require_integer, require_number
from blurphys.optics.bank import bank_radii
from blurphys.optics.psf_sampling import fit_to_size

__all__ = ["cat_eye_banks", "chromatic_bank"]

Placement = Literal["corners", "centres"]


def chromatic_bank(
    pupil: bp.Pupil,
    *,
    max_radius: float,
    step: float = 0.5,
    scale: Sequence[float] = (1.0, 1.0, 1.0),
    shift_px: Sequence[float] = (0.0, 0.0, 0.0),
    views: Sequence[str] = ("left", "right"),
) -> bp.PSFBank:
    """Return PSFs whose radius differs by colour: longitudinal chromatic aberration.

    Parameters
    ----------
    pupil : blurphys.Pupil
        The pupil, the same for all colours.
    max_radius : float
        Largest CoC radius, px.
    step : float
        Largest distance of two levels, px.
    scale, shift_px : sequence of C floats
        Colour c of a pixel with radius r has the PSF of radius ``scale[c] r + shift_px[c]``, clipped to max_radius.
    views : sequence of str
        Dual-pixel views, or the four views of a quad pixel, see `Pupil.seen`.

    Returns
    -------
    blurphys.PSFBank
        Of these views and combined, their mean, with PSFs of shape (L, C, h, w).

    Raises
    ------
    ValueError
        No or different numbers of colours, a scale that is not positive, a shift that is not finite, max_radius or step
        not positive.

    Notes
    -----
    A thin lens that focuses colour c at the distance u_c, and the others at u, shifts its radii by
    ``c_inf (u / u_c - 1)``, c_inf the radius at infinity (`ThinLens.radius_at_infinity`), and does not scale them.
    Clipped colours lose their difference: let max_radius exceed the radii in use by the largest shift.

    Examples
    --------
    >>> import blurphys as bp
    >>> chromatic_bank(bp.Pupil.disk(), max_radius=3, step=1.0, shift_px=(0.5, 0, -0.5)).psfs("left").shape
    (7, 3, 7, 7)
    """
    scales = [require_number("chromatic_bank", "scale", s, above=0, unit="(about 1)") for s in scale]
    shifts = [require_number("chromatic_bank", "shift_px", s, unit="px") for s in shift_px]
    if len(scales) != len(shifts) or not scales:
        raise ValueError(
            f"chromatic_bank: expected one scale and one shift_px for each colour, got {len(scales)} and {len(shifts)}"
        )
    radii = bank_radii("chromatic_bank", max_radius, step)
    by_colour = [np.clip(a * radii + b, -max_radius, max_radius) for a, b in zip(scales, shifts, strict=True)]
    known: dict[tuple[str, float], np.ndarray] = {}

    def psf(view: str, radius: float) -> np.ndarray:
        if (view, radius) not in known:
            known[view, radius] = pupil.psf(radius, view)
        return known[view, radius]

    size = max(psf(views[0], float(r)).shape[0] for line in by_colour for r in line)
    psfs = {
        view: np.stack([[fit_to_size(psf(view, float(r)), size) for r in line] for line in by_colour], axis=1)
        for view in views
    }
    if not {"left", "right"} <= set(psfs):
        psfs["combined"] = np.mean(list(psfs.values()), axis=0)
    return bp.PSFBank(psfs=psfs, radii=radii.tolist())


def cat_eye_banks(
    make: Callable[..., bp.Pupil] = bp.Pupil.disk,
    *,
    rows: int,
    cols: int,
    strength: float,
    max_radius: float,
    step: float = 0.5,
    aspect: float = 1.5,
    nodes: Placement = "corners",
) -> tuple[tuple[bp.PSFBank, ...], ...]:
    """Return a grid of banks whose pupil the lens barrel clips more and more towards the corners.

    Parameters
    ----------
    make : callable
        Makes a pupil from ``cat_eye=(x, y)``: `Pupil.disk`, or ``partial(Pupil.polygon, 7, split=0.3)``.
    rows, cols : int
        Nodes of the grid.
    strength : float
        How far the clipping disk has moved in the corners of the frame, pupil radii; it grows linearly from the centre.
        Positive moves it away from the centre of the frame, as seen in PSFs behind the plane of focus: they lose their
        inner side (a rear element that clips). Negative clips their outer side (a front element).
    max_radius, step : float
        Of each bank, px.
    aspect : float
        Width of the frame over its height.
    nodes : {"corners", "centres"}
        Where the nodes lie, as in `FieldDefocus`.

    Returns
    -------
    tuple of tuples of blurphys.PSFBank
        For ``FieldDefocus(..., banks=...)``.

    Raises
    ------
    ValueError
        No rows or columns, strength not between -2 and 2, aspect, max_radius or step not positive, unknown nodes.

    Notes
    -----
    The combined PSF sums to one everywhere: light that is lost is `vignetting`'s. Left and right sum to what their half
    of the clipped pupil sees, so that they differ in brightness off axis, as real ones do; their mean is combined.
    Cost: a bank for each node.

    Examples
    --------
    >>> banks = cat_eye_banks(rows=1, cols=3, strength=0.8, max_radius=2.0, step=1.0)
    >>> [round(bank.pupil.parameters["cat_eye"][0], 2) for bank in banks[0]]
    [-0.67, 0.0, 0.67]
    """
    if not abs(strength) < 2:
        raise ValueError(f"cat_eye_banks: expected strength between -2 and 2 pupil radii, got {strength}")
    require_number("cat_eye_banks", "aspect", aspect, above=0, unit="(width over height)")
    diagonal = float(np.hypot(aspect, 1.0))

    def bank(y: float, x: float) -> bp.PSFBank:
        pupil = make(cat_eye=(strength * x * aspect / diagonal, strength * y / diagonal))
        return bp.PSFBank(pupil, max_radius=max_radius, step=step)

    down, right = _node_places(rows, "rows", nodes), _node_places(cols, "cols", nodes)
    return tuple(tuple(bank(float(y), float(x)) for x in right) for y in down)


def _node_places(count: int, name: str, nodes: str) -> np.ndarray:
    """Places of the nodes on one axis, -1 to 1 from border to border."""
    require_integer("cat_eye_banks", name, count)
    require_choice("cat_eye_banks", "nodes", nodes, get_args(Placement))
    if count == 1 or nodes == "centres":
        return (2 * np.arange(count) + 1) / count - 1
    return np.linspace(-1, 1, count)
