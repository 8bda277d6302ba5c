"""What changes over the frame: the radius by field curvature, the light by vignetting and by shading of the views."""

from __future__ import annotations

import numpy as np

from blurphys.inputs import require_number

__all__ = ["field_curvature", "view_shading", "vignetting"]


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
    require_number("field_curvature", "radius_px_at_corner", radius_px_at_corner)
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
    require_number("vignetting", "order", order, above=0)
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
        require_number("view_shading", name, ratio, above=0, unit="(left view over right view)")
    ratios = np.exp(np.linspace(np.log(ratio_left), np.log(ratio_right), width))
    left = 2 * ratios / (1 + ratios)
    lines = {"left": left, "right": 2 - left}
    return {view: np.tile(line.astype(np.float32), (height, 1)) for view, line in lines.items()}


def _check_shape(owner: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"{owner}: expected a shape (H, W) of at least one pixel, got {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def _radius_squared(shape: tuple[int, int]) -> np.ndarray:
    """Square of the distance from the centre of the frame, 1 at the centres of the corner pixels: (H, W)."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    squared = y[:, None] ** 2 + x[None, :] ** 2
    return squared / max(float(squared[0, 0]), np.finfo(float).tiny)
