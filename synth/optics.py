"""What real lenses add to an ideal one: PSFs by colour and by place in the frame, diffraction, shading.

Banks made here go into `blurphys.DualPixel`, `blurphys.LayeredDefocus` and, as grids, into
`blurphys.FieldDefocus`. Places are measured from the centre of the frame in units of the distance of its corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, isfinite
from typing import Literal

import numpy as np

import blurphys as bp
from blurphys.optics.psf_sampling import fitted, scaled, without_floor

__all__ = [
    "cat_eye_banks",
    "chromatic_bank",
    "diffraction_sigma",
    "field_curvature",
    "measured_banks",
    "softened",
    "stack_bank",
    "view_shading",
    "vignetting",
]
__dir__ = __all__.copy  # what completion offers

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
        Opposite halves or the four quarters, see `Pupil.seen`.

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
    Where the clipping sets in, the colours draw level: let max_radius exceed the radii in use by the largest shift.

    Examples
    --------
    >>> import blurphys as bp
    >>> chromatic_bank(bp.Pupil.disk(), max_radius=3, step=1.0, shift_px=(0.5, 0, -0.5)).psfs("left").shape
    (7, 3, 7, 7)
    """
    scales, shifts = [float(s) for s in scale], [float(s) for s in shift_px]
    if len(scales) != len(shifts) or not scales:
        raise ValueError(
            f"chromatic_bank: expected one scale and one shift_px for each colour, got {len(scales)} and {len(shifts)}"
        )
    if not all(isfinite(s) and s > 0 for s in scales):
        raise ValueError(f"chromatic_bank: expected finite scales > 0, about 1, got {scales}")
    if not all(map(isfinite, shifts)):
        raise ValueError(f"chromatic_bank: expected finite shifts in px, got {shifts}")
    radii = _levels("chromatic_bank", max_radius, step)
    by_colour = [np.clip(a * radii + b, -max_radius, max_radius) for a, b in zip(scales, shifts, strict=True)]
    known: dict[tuple[str, float], np.ndarray] = {}

    def psf(view: str, radius: float) -> np.ndarray:
        if (view, radius) not in known:
            known[view, radius] = pupil.psf(radius, view)
        return known[view, radius]

    size = max(psf(views[0], float(r)).shape[0] for line in by_colour for r in line)
    psfs = {
        view: np.stack([[fitted(psf(view, float(r)), size) for r in line] for line in by_colour], axis=1)
        for view in views
    }
    if not {"left", "right"} <= set(psfs):
        psfs["combined"] = np.mean(list(psfs.values()), axis=0)
    return bp.PSFBank(psfs=psfs, radii=radii.tolist())


def diffraction_sigma(
    wavelength_nm: float, f_number: float, magnification: float = 0.0, *, pixel_pitch_um: float
) -> float:
    """Return the standard deviation, px, of the Gaussian that comes closest to the core of the diffraction disk.

    Parameters
    ----------
    wavelength_nm : float
        Wavelength of the light, nm; about 610, 540 and 460 for red, green and blue.
    f_number : float
        Nominal f-number, focal length over aperture.
    magnification : float
        Image size over object size at the plane of focus, ``f / (u - f)``: 0 for far focus.
    pixel_pitch_um : float
        Pitch of the pixels of the stored image, um.

    Returns
    -------
    float
        ``0.42 lambda N (1 + m) / pitch``; the first dark ring has the radius ``1.22 lambda N (1 + m)``.

    Raises
    ------
    ValueError
        A length or the f-number not positive, a negative magnification.

    Notes
    -----
    The sensor's own pixel is not in it: PSFs of this package are integrated over the pixel already.

    Examples
    --------
    >>> round(diffraction_sigma(540, 22, pixel_pitch_um=4.0), 2)
    1.25
    """
    given = (("wavelength_nm", wavelength_nm), ("f_number", f_number), ("pixel_pitch_um", pixel_pitch_um))
    for name, value in given:
        if not (isfinite(value) and value > 0):
            raise ValueError(f"diffraction_sigma: expected {name} > 0, got {value}")
    if wavelength_nm < 10:
        raise ValueError(f"diffraction_sigma: expected wavelength_nm such as 540, got {wavelength_nm}; is it um?")
    if not (isfinite(magnification) and magnification >= 0):
        raise ValueError(f"diffraction_sigma: expected magnification >= 0, got {magnification}")
    return 0.42 * wavelength_nm * 1e-3 * f_number * (1 + magnification) / pixel_pitch_um


def softened(bank: bp.PSFBank, sigma_px: float | Sequence[float], *, views: Sequence[str] | None = None) -> bp.PSFBank:
    """Return a bank whose every PSF is blurred by a Gaussian: diffraction, and what else keeps a focused point wide.

    Parameters
    ----------
    bank : blurphys.PSFBank
        PSFs from a pupil or in NumPy arrays.
    sigma_px : float or sequence of C floats
        Standard deviation, px, for all colours or for each; see `diffraction_sigma`.
    views : sequence of str, optional
        Views of the new bank; by default those of the old one. The new one has no pupil to make others from.

    Returns
    -------
    blurphys.PSFBank
        The same radii. Sums stay as they are, and so do centroids.

    Raises
    ------
    ValueError
        Sigma negative or not finite, a number of sigmas that does not fit the colours, an unknown view.
    TypeError
        A bank of tensors.

    Notes
    -----
    The Gaussian is `blurphys.psf.gaussian`, integrated over the pixel; the variance along an axis grows by its own,
    ``sigma_px^2 + 1/12`` from half a pixel upwards. It reaches four sigma, and the PSFs grow by that. A sigma of 0
    changes nothing.

    Examples
    --------
    >>> import blurphys as bp
    >>> soft = softened(bp.PSFBank(bp.Pupil.disk(), max_radius=2.0), 0.5)
    >>> bool(soft.psfs()[4].max() < 0.5), round(float(soft.psfs()[4].sum()), 12)
    (True, 1.0)
    """
    if not bank.fixed:
        raise TypeError("softened: expected a bank of a pupil or of NumPy arrays, got tensors; soften them yourself")
    sigmas = [float(s) for s in sigma_px] if isinstance(sigma_px, Sequence) else [float(sigma_px)]
    if not sigmas or not all(isfinite(s) and s >= 0 for s in sigmas):
        raise ValueError(f"softened: expected finite sigma_px >= 0, got {sigma_px}")
    lines = [bp.psf.gaussian(s, 2 * ceil(4 * max(sigmas)) + 1).sum(axis=0) for s in sigmas]
    psfs = {view: np.asarray(bank.psfs(view), np.float64) for view in (bank.views if views is None else views)}
    return bp.PSFBank(psfs={view: _softened(levels, lines) for view, levels in psfs.items()}, radii=bank.radii.tolist())


def _softened(levels: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
    if len(lines) > 1:
        levels = levels[:, None] if levels.ndim == 3 else levels
        if levels.shape[1] not in (1, len(lines)):
            raise ValueError(f"softened: expected sigma_px for {levels.shape[1]} colours, got {len(lines)} values")
        levels = np.broadcast_to(levels, (len(levels), len(lines), *levels.shape[2:]))
    down = np.stack([_spreading(line, levels.shape[-2]) for line in lines])
    right = np.stack([_spreading(line, levels.shape[-1]) for line in lines])
    if len(lines) == 1:
        down, right = down[0], right[0]
    soft: np.ndarray = down @ levels @ right.swapaxes(-1, -2)
    return soft


def _spreading(line: np.ndarray, n: int) -> np.ndarray:
    """Matrix of the full convolution of n values with `line`."""
    matrix = np.zeros((n + len(line) - 1, n))
    for i in range(n):
        matrix[i : i + len(line), i] = line
    return matrix


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
    if not (isfinite(strength) and abs(strength) < 2):
        raise ValueError(f"cat_eye_banks: expected strength between -2 and 2 pupil radii, got {strength}")
    if not (isfinite(aspect) and aspect > 0):
        raise ValueError(f"cat_eye_banks: expected aspect > 0, width over height, got {aspect}")
    diagonal = float(np.hypot(aspect, 1.0))

    def bank(y: float, x: float) -> bp.PSFBank:
        pupil = make(cat_eye=(strength * x * aspect / diagonal, strength * y / diagonal))
        return bp.PSFBank(pupil, max_radius=max_radius, step=step)

    down, right = _node_places(rows, "rows", nodes), _node_places(cols, "cols", nodes)
    return tuple(tuple(bank(float(y), float(x)) for x in right) for y in down)


def _node_places(count: int, name: str, nodes: str) -> np.ndarray:
    """Places of the nodes on one axis, -1 to 1 from border to border."""
    if count < 1:
        raise ValueError(f"cat_eye_banks: expected {name} >= 1, got {count}")
    if nodes not in ("corners", "centres"):
        raise ValueError(f"cat_eye_banks: expected nodes 'corners' or 'centres', got {nodes!r}")
    if count == 1 or nodes == "centres":
        return (2 * np.arange(count) + 1) / count - 1
    return np.linspace(-1, 1, count)


def field_curvature(defocus_map: np.ndarray, *, radius_px_at_corner: float) -> np.ndarray:
    """Return the radii of a lens whose focus is not a plane: an offset that grows with the square of the image radius.

    Parameters
    ----------
    defocus_map : ndarray of shape (..., H, W)
        Signed CoC radius of the flat-field lens, px.
    radius_px_at_corner : float
        Offset in the corners, px. Positive where the corners focus nearer than the centre.

    Returns
    -------
    ndarray of shape (..., H, W)
        Same dtype. It may exceed a bank that was made for the flat field.

    Raises
    ------
    ValueError
        A map without (H, W), an offset that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> field_curvature(np.zeros((3, 3)), radius_px_at_corner=2.0).tolist()
    [[2.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 2.0]]
    """
    radii = np.asarray(defocus_map)
    if radii.ndim < 2 or not np.issubdtype(radii.dtype, np.floating):
        raise ValueError(f"field_curvature: expected floating radii (H, W), got {radii.dtype} of shape {radii.shape}")
    if not isfinite(radius_px_at_corner):
        raise ValueError(f"field_curvature: expected a finite radius_px_at_corner, got {radius_px_at_corner}")
    shape = _check_shape("field_curvature", radii.shape[-2:])
    bent: np.ndarray = radii + (radius_px_at_corner * _radius_squared(shape)).astype(radii.dtype)
    return bent


def vignetting(shape: tuple[int, int], *, corner: float, order: float = 2) -> np.ndarray:
    """Return the share of light that reaches each pixel.

    Parameters
    ----------
    shape : (int, int)
        (H, W) of the frame.
    corner : float
        Share in the corners, above 0 and at most 1; the centre of the frame has 1.
    order : float
        Exponent of the fall: ``(1 + k rho^2)^-order``. With 2 it is the fourth power of the cosine of the field angle.

    Returns
    -------
    ndarray of shape (H, W)
        float32 factors on linear light.

    Raises
    ------
    ValueError
        Shape, corner or order out of range.

    Examples
    --------
    >>> (1000 * vignetting((3, 3), corner=0.25)).astype(int).tolist()
    [[250, 444, 250], [444, 1000, 444], [250, 444, 250]]
    """
    if not 0 < corner <= 1:
        raise ValueError(f"vignetting: expected corner above 0 and at most 1, got {corner}; is it in percent?")
    if not (isfinite(order) and order > 0):
        raise ValueError(f"vignetting: expected order > 0, got {order}")
    fall = corner ** (-1 / order) - 1
    gain: np.ndarray = ((1 + fall * _radius_squared(_check_shape("vignetting", shape))) ** -order).astype(np.float32)
    return gain


def view_shading(shape: tuple[int, int], *, ratio_left: float, ratio_right: float) -> dict[str, np.ndarray]:
    """Return how a flat field divides between the half-pixels: their shares tilt across the frame.

    Parameters
    ----------
    shape : (int, int)
        (H, W) of the frame.
    ratio_left, ratio_right : float
        Left view over right view at the left and at the right border. Microlenses that are not centred on the chief
        ray make it; 1.0 to 1.5 over the frame of a phone.

    Returns
    -------
    dict
        "left" and "right", float32 gains of shape (H, W) on linear light; their mean is 1 at each pixel, so that the
        combined image keeps its brightness.

    Raises
    ------
    ValueError
        Shape or ratios out of range.

    Notes
    -----
    The logarithm of the ratio goes linearly from border to border.

    Examples
    --------
    >>> gains = view_shading((1, 3), ratio_left=1.0, ratio_right=3.0)
    >>> [(100 * gains[view]).round().astype(int).tolist() for view in ("left", "right")]
    [[[100, 127, 150]], [[100, 73, 50]]]
    """
    height, width = _check_shape("view_shading", shape)
    for name, ratio in (("ratio_left", ratio_left), ("ratio_right", ratio_right)):
        if not (isfinite(ratio) and ratio > 0):
            raise ValueError(f"view_shading: expected {name} > 0, left view over right view, got {ratio}")
    ratios = np.exp(np.linspace(np.log(ratio_left), np.log(ratio_right), width))
    left = 2 * ratios / (1 + ratios)
    lines = {"left": left, "right": 2 - left}
    return {view: np.tile(line.astype(np.float32), (height, 1)) for view, line in lines.items()}


def measured_banks(
    psfs_left: np.ndarray,
    psfs_right: np.ndarray,
    *,
    radius_px: float | np.ndarray,
    max_radius: float,
    step: float = 0.5,
    cut: float = 0.0,
) -> tuple[tuple[bp.PSFBank, ...], ...]:
    """Return a grid of banks from PSFs that were measured at one defocus behind the plane of focus.

    Parameters
    ----------
    psfs_left, psfs_right : ndarray of shape (rows, cols, h, w)
        Convolution kernels of both views over the frame, centre ``h // 2, w // 2``. One view twice where the sensor is
        not divided.
    radius_px : float or ndarray of shape (rows, cols)
        CoC radius at which they were measured, px: positive. The blur of a disk has twice the standard deviation of
        its radius along an axis; one radius for all keeps the wider PSFs of the borders wider.
    max_radius, step : float
        Of each bank, px.
    cut : float
        Values below this share of a PSF's peak count as noise and become zero, and of the regions that are left the one
        with the most light stays; 0 to 1 (not included). The blur is faster by the area that is saved.

    Returns
    -------
    tuple of tuples of blurphys.PSFBank
        For ``FieldDefocus(..., banks=..., nodes="centres")``, of the views left, right and combined, their mean.

    Raises
    ------
    ValueError
        Shapes that are no grid or differ, values that are negative, not finite or all zero, a radius, max_radius or
        step that is not positive, a cut out of range.

    Notes
    -----
    At radius r a PSF is ``k(x / s) / s^2``, s = r / radius_px, the light of each scaled pixel shared out by area, and
    then divided by its sum: each view sums to one. For s = 1 it is the measured one. In front of the plane of focus the
    pupil is seen upside down and every view's PSF is turned by 180 degrees. What does not scale with the defocus, the
    aberrations and the diffraction, is scaled all the same: trust it near radius_px.

    Examples
    --------
    >>> import numpy as np
    >>> left = np.zeros((1, 1, 5, 5)); left[..., 2, 1:3] = 1.0
    >>> ((bank,),) = measured_banks(left, left[..., ::-1], radius_px=2.0, max_radius=4.0, step=2.0)
    >>> bank.radii.tolist(), bank.psfs("left")[3, bank.psfs("left").shape[-2] // 2].round(2).tolist()
    ([-4.0, -2.0, 0.0, 2.0, 4.0], [0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0])
    """
    left, right = (_check_measured("measured_banks", view) for view in (psfs_left, psfs_right))
    if left.ndim != 4 or left.shape != right.shape:
        raise ValueError(
            f"measured_banks: expected PSFs of shape (rows, cols, h, w) for both views, got {left.shape} and "
            f"{right.shape}"
        )
    if not 0 <= cut < 1:
        raise ValueError(f"measured_banks: expected cut from 0 to below 1, a share of the peak, got {cut}")
    nominal = np.asarray(radius_px, np.float64)
    if nominal.shape not in ((), left.shape[:2]) or not np.all(np.isfinite(nominal) & (nominal > 0)):
        raise ValueError(
            f"measured_banks: expected radius_px > 0, one or one for each of {left.shape[0]} x {left.shape[1]} places, "
            f"got {radius_px}; PSFs from in front of focus have to be turned by 180 degrees first"
        )
    nominal = np.broadcast_to(nominal, left.shape[:2])
    radii = _levels("measured_banks", max_radius, step)

    def bank(i: int, j: int) -> bp.PSFBank:
        pair = _trimmed(np.stack([without_floor(view[i, j], cut) for view in (left, right)]))
        made = [[scaled(psf, abs(float(r)) / float(nominal[i, j])) for psf in pair] for r in radii]
        size = max(len(psf) for level in made for psf in level)
        levels = bp.psf.normalize([[fitted(psf, size) for psf in level] for level in made])
        levels[radii < 0] = levels[radii < 0, :, ::-1, ::-1]
        return bp.PSFBank(psfs={"left": levels[:, 0], "right": levels[:, 1]}, radii=radii.tolist())

    return tuple(tuple(bank(i, j) for j in range(left.shape[1])) for i in range(left.shape[0]))


def stack_bank(psfs: np.ndarray, *, radii: Sequence[float], background: float = 0.0) -> bp.PSFBank:
    """Return a bank from PSFs that were measured at many defoci, a focal stack of a point.

    Parameters
    ----------
    psfs : ndarray of shape (L, h, w)
        Recordings in any unit, integers too, centre ``h // 2, w // 2``.
    radii : sequence of L increasing floats
        Signed CoC radius of each, px.
    background : float
        Level of the recordings without light; it is subtracted, and what falls below zero becomes zero.

    Returns
    -------
    blurphys.PSFBank
        Of the combined view; each PSF sums to one.

    Raises
    ------
    ValueError
        Shapes or radii that do not fit, values that are negative, not finite, or nowhere above the background.

    Examples
    --------
    >>> import numpy as np
    >>> stack_bank(np.full((2, 3, 3), 10), radii=(-1.0, 1.0), background=1.0).psfs().sum(axis=(1, 2)).tolist()
    [1.0, 1.0]
    """
    if not isfinite(background):
        raise ValueError(f"stack_bank: expected a finite background, got {background}")
    light = _check_measured("stack_bank", psfs, background)
    if light.ndim != 3:
        raise ValueError(f"stack_bank: expected PSFs of shape (L, h, w), got {light.shape}")
    return bp.PSFBank(psfs=light / light.sum(axis=(-2, -1), keepdims=True), radii=list(radii))


def _check_measured(owner: str, psfs: np.ndarray, background: float = 0.0) -> np.ndarray:
    values = np.asarray(psfs, np.float64)
    if values.ndim < 3 or 0 in values.shape:
        raise ValueError(f"{owner}: expected an array of PSFs (..., h, w), got shape {values.shape}")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{owner}: expected PSFs that are finite and not negative; subtract and clip the dark level")
    light: np.ndarray = np.maximum(values - background, 0)
    if not (light.sum(axis=(-2, -1)) > 0).all():
        raise ValueError(f"{owner}: expected light in every PSF, got one without; is background={background:g} right?")
    return light


def _levels(owner: str, max_radius: float, step: float) -> np.ndarray:
    """Radii as a bank from a pupil has them."""
    for name, value in (("max_radius", max_radius), ("step", step)):
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{owner}: expected {name} > 0 px, got {value}")
    return np.linspace(-max_radius, max_radius, 2 * ceil(max_radius / step - 1e-9) + 1)


def _trimmed(psfs: np.ndarray) -> np.ndarray:
    """Cut to an odd square around the centre ``h // 2, w // 2`` that holds all light."""
    used = (psfs > 0).any(axis=tuple(range(psfs.ndim - 2)))
    row, col = used.shape[0] // 2, used.shape[1] // 2
    there = np.argwhere(used) - (row, col)
    half = int(np.abs(there).max(initial=0))
    wide = np.pad(psfs, [(0, 0)] * (psfs.ndim - 2) + [(half, half)] * 2)
    cut: np.ndarray = wide[..., row : row + 2 * half + 1, col : col + 2 * half + 1]
    return cut


def _check_shape(owner: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"{owner}: expected a shape (H, W) of at least one pixel, got {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def _radius_squared(shape: tuple[int, int]) -> np.ndarray:
    """Square of the distance from the centre of the frame, 1 at the centres of the corner pixels: (H, W)."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    squared = y[:, None] ** 2 + x[None, :] ** 2
    return squared / max(float(squared[0, 0]), np.finfo(float).tiny)
