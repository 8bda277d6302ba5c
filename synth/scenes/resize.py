"""Downscaling scenes: light is averaged, depth is the median, and the pixel pitch grows accordingly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import blurphys as bp

from .scene import Layer, Scene

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["average", "reduced_depth", "resized", "scaled_pitch", "shares"]


def resized(scene: Scene, height: int, width: int) -> Scene:
    """Downscale a scene.

    Parameters
    ----------
    scene : Scene
        The scene.
    height, width : int
        New size, px; at most the old one, and of its proportions to within a pixel.

    Returns
    -------
    Scene
        Colours and alphas are averaged over the area of each new pixel. Its depth is one that the old scene has there:
        the median by area, never a mean; NaN where more than half of the area is unknown.

    Raises
    ------
    ValueError
        The new size is larger, empty or of other proportions, too little of the depth is known to keep one pixel of
        it, or the averaged layers no longer cover every pixel.

    Notes
    -----
    The average is over linear light, as a sensor with larger pixels would take it. A circle of confusion shrinks with
    the image, so that **the pixel pitch has to grow by H_old / H_new**: `scaled_pitch` does that to a lens. Sizes need
    not divide each other; parts of pixels count by their area.

    Layers are averaged multiplied by their alpha, as light is, and divided by it after. The depth of a layer is the
    median by area times alpha, so that what the layer hides has no say in it. The image is then what the averaged
    layers show. Where two layers vary inside one pixel this differs a little from the averaged image, since alpha is a
    share of a pixel that does not say which; it keeps image and layers consistent. Layers that meet edge to edge
    with nothing behind (each pixel fully covered, but by none of them everywhere) leave gaps then and are refused.

    Averaging O(H W); medians O(H W log(H / H_new)).

    Examples
    --------
    >>> import numpy as np
    >>> from synth import Scene
    >>> scene = Scene(all_in_focus=np.ones((3, 4, 6)), depth_m=np.array([[1.0, 1, 1, 1, 9, 9]] * 4), name="step")
    >>> resized(scene, 2, 3).depth_m.tolist()
    [[1.0, 1.0, 9.0], [1.0, 1.0, 9.0]]
    """
    H, W = scene.shape
    if not (1 <= height <= H and 1 <= width <= W):
        raise ValueError(f"resized: expected a size from 1 x 1 to {H} x {W} px, got {height} x {width}")
    if abs(height * W / H - width) >= 1 and abs(width * H / W - height) >= 1:
        raise ValueError(
            f"resized: expected the proportions of {H} x {W} px, such as {height} x {max(1, round(height * W / H))}, "
            f"got {height} x {width}; pixels would not stay square, so cut a window first"
        )
    if (height, width) == (H, W):
        return scene
    rows, columns = shares(H, height), shares(W, width)
    source = f"{scene.source}; reduced from {H} x {W} to {height} x {width}".removeprefix("; ")
    if scene.layers:
        layers = [_reduced(layer, rows, columns) for layer in scene.layers]
        return Scene.from_layers(layers, name=scene.name, source=source)
    image = scene.all_in_focus
    return Scene(
        all_in_focus=np.stack([average(plane, rows, columns) for plane in image]).astype(image.dtype),
        depth_m=reduced_depth(scene.depth_m, height, width),
        name=scene.name,
        source=source,
        focal_px=None if scene.focal_px is None else scene.focal_px * height / H,
        depth_levels=scene.depth_levels,
    )


def scaled_pitch(lens: bp.ThinLens, scene: Scene, smaller: Scene) -> bp.ThinLens:
    """Scale the pixel pitch of a lens with a resized scene, so that blur keeps its size relative to the image.

    Parameters
    ----------
    lens : blurphys.ThinLens
        With the pixel pitch that belongs to `scene`.
    scene, smaller : Scene
        Before and after `resized`.

    Returns
    -------
    blurphys.ThinLens
        With the pitch times H_old / H_new; all else alike.

    Examples
    --------
    >>> import blurphys as bp, numpy as np
    >>> from synth import Scene
    >>> scene = Scene(all_in_focus=np.ones((3, 4, 6)), depth_m=np.full((4, 6), 2.0), name="flat")
    >>> lens = bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1.0, pixel_pitch_um=10.0)
    >>> scaled_pitch(lens, scene, resized(scene, 2, 3)).pixel_pitch_um
    20.0
    """
    return replace(lens, pixel_pitch_um=lens.pixel_pitch_um * scene.shape[0] / smaller.shape[0])


def reduced_depth(depth_m: np.ndarray, height: int, width: int) -> np.ndarray:
    """Reduce a depth map by its median by area, float64; NaN where more than half of the area is unknown."""
    rows, columns = shares(depth_m.shape[0], height), shares(depth_m.shape[1], width)
    depth = _median(depth_m, np.ones(depth_m.shape), rows, columns)
    known = average((~np.isnan(depth_m)).astype(np.float64), rows, columns)
    reduced: np.ndarray = np.where(known >= 0.5 - 1e-9, depth, np.nan)
    return reduced


def shares(old: int, new: int) -> csr_array:
    """Return the share of each new pixel that every old one fills: (new, old), rows sum to 1, exact integers inside."""
    from scipy.sparse import csr_array

    start, stop = np.arange(new) * old, (np.arange(new) + 1) * old  # in units of 1/new of an old pixel
    first, last = start // new, -(-stop // new)
    row = np.repeat(np.arange(new), last - first)
    column = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    overlap = np.minimum(stop[row], (column + 1) * new) - np.maximum(start[row], column * new)
    return csr_array((overlap / old, (row, column)), shape=(new, old))


def average(plane: np.ndarray, rows: csr_array, columns: csr_array) -> np.ndarray:
    """Return the average of a plane over the area of each new pixel, float64."""
    result: np.ndarray = rows @ (columns @ plane.astype(np.float64).T).T
    return result


def _reduced(layer: Layer, rows: csr_array, columns: csr_array) -> Layer:
    alpha = average(layer.alpha, rows, columns)
    light = [average(layer.alpha.astype(np.float64) * plane, rows, columns) for plane in layer.colour]
    stored = np.minimum(alpha, 1).astype(layer.alpha.dtype)  # the shares of a pixel sum to 1 up to rounding
    colour = np.stack(light) / np.where(alpha > 0, alpha, 1)
    return Layer(
        colour=colour.astype(layer.colour.dtype),
        alpha=stored,
        depth_m=_median(layer.depth_m, layer.alpha, rows, columns),
    )


def _median(depth: np.ndarray, weight: np.ndarray, rows: csr_array, columns: csr_array) -> np.ndarray:
    """Lower median of the known depths under each new pixel, by area times `weight`; NaN where there are none."""
    (row, row_share), (column, column_share) = _neighbours(rows), _neighbours(columns)
    result = np.empty((rows.shape[0], columns.shape[0]))
    for i in range(len(row)):  # a line at a time, or the gathered neighbours fill the memory
        at = np.ix_(row[i], column.ravel())
        shape = (len(row[i]), *column.shape)
        values = depth[at].reshape(shape)
        shares = weight[at].reshape(shape) * row_share[i][:, None, None] * column_share
        values, shares = (x.transpose(1, 0, 2).reshape(len(column), -1) for x in (values, shares))
        shares = np.where(np.isnan(values), 0.0, shares)
        order = np.argsort(values, axis=1, kind="stable")
        values, shares = (np.take_along_axis(x, order, axis=1) for x in (values, shares))
        sums = np.cumsum(shares, axis=1)
        total = sums[:, -1:]
        chosen = np.argmax((sums >= total * (0.5 - 1e-12)) & (shares > 0), axis=1)
        line = np.take_along_axis(values, chosen[:, None], axis=1)
        result[i] = np.where(total > 0, line, np.nan)[:, 0]
    return result


def _neighbours(shares: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Indices and shares of the old pixels under each new one, both (new, k); those beyond the last have share 0."""
    counts = np.diff(shares.indptr)
    at = np.minimum(shares.indptr[:-1, None] + np.arange(counts.max()), len(shares.indices) - 1)
    return shares.indices[at], np.where(np.arange(counts.max()) < counts[:, None], shares.data[at], 0.0)
