"""Bringing a depth map to the size of its photograph, along the edges of the photograph."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

from blurphys.colour import linear_to_srgb
from blurphys.inputs import require_choice

from ..io.orientation import similar
from .resize import average, reduced_depth, shares

__all__ = ["DepthResize", "fit_depth"]

DepthResize: TypeAlias = Literal["guided", "nearest", "off"]
_JUMP, _SHARE = 0.02, 0.4
"""Two surfaces: the largest gap between the inverse depths of a window is more than these parts of the largest of them
and of their range. Of a plane along the axes the four rows or columns of a window are a third of the range apart."""
_NOISE = 0.02
"""Standard deviation of sRGB values within a surface, at least."""
_REACH, _TRUST = 0.5, 0.5
"""Standard deviation of the weights by place, old pixels, and the weight of the log-likelihood by colour: chosen on two
scenes (motorcycle, Sintel market) reduced by 4 and 8, flat around these values."""
_PIXELS = 1 << 18
"""Pixels that are worked on at a time."""


def fit_depth(depth_m: np.ndarray, image: np.ndarray, *, how: DepthResize = "guided") -> np.ndarray:
    """Bring a depth map to the size of its photograph.

    Parameters
    ----------
    depth_m : ndarray of shape (h, w)
        Metres, NaN where unknown; of the proportions of the photograph, to within a pixel.
    image : ndarray of shape (3, H, W)
        The photograph, linear light.
    how : {"guided", "nearest", "off"}
        Along the edges of the photograph; the depth of the nearest pixel; or refuse another size.

    Returns
    -------
    ndarray of shape (H, W)
        float64. A map of the same size is returned as it is.

    Raises
    ------
    ValueError
        Other proportions, another size with "off", or no known depth is left.

    Notes
    -----
    A larger map is reduced by its median by area (`resized`), NaN where more than half of the area is unknown.

    Of a smaller one each new pixel looks at 4 x 4 old ones. Where their inverse depths fall into two groups, it belongs
    to one of two surfaces: to that whose colour it has, by the likelihood of two normal distributions, and which lies
    nearer in the image, by Gaussian weights. Inverse depth is then interpolated bilinearly among the old pixels of
    that surface alone. So constants stay exact, planes stay planes (their inverse depth is affine in the image), and no
    depth appears between two surfaces. Unknown are exactly the pixels whose nearest old one is unknown.

    Cost O(H W + 16 h w).

    Examples
    --------
    >>> image = np.zeros((3, 8, 8))
    >>> image[:, :, 3:] = 1.0  # the edge is at column 3 of the photograph, and between columns 1 and 2 of the depth
    >>> depth = np.array([[1.0, 1, 4, 4]] * 4)
    >>> fit_depth(depth, image)[0].tolist()
    [1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    """
    require_choice("fit_depth", "how", how, get_args(DepthResize))
    size, wanted = depth_m.shape, image.shape[-2:]
    if size == wanted:
        return depth_m
    (h, w), (H, W) = size, wanted
    if how == "off":
        raise ValueError(
            f"expected depth of the photograph's {H} x {W} px, got {h} x {w} px; guided or nearest resizes it"
        )
    if not similar((h, w), (H, W)):
        raise ValueError(
            f"expected depth of the proportions of the photograph, {H} x {W} px, got {h} x {w} px; was it cropped, "
            "stretched or turned, or is it another photograph's?"
        )
    if how == "nearest":
        taken: np.ndarray = depth_m[np.ix_(_nearest(h, H), _nearest(w, W))]
        return taken
    if h > H or w > W:
        depth_m = reduced_depth(depth_m, min(h, H), min(w, W))
    return depth_m if depth_m.shape == (H, W) else _guided(depth_m, image)


def _nearest(old: int, new: int) -> np.ndarray:
    """Index of the old pixel that the centre of each new one lies in."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _guided(depth_m: np.ndarray, image: np.ndarray) -> np.ndarray:
    (h, w), (H, W) = depth_m.shape, image.shape[-2:]
    guide = linear_to_srgb(image.clip(0.0, 1.0).astype(np.float64))
    windows = _Windows(depth_m, guide)
    result = np.empty((H, W))
    rows, columns = _nearest(h, H), _nearest(w, W)
    step = max(1, _PIXELS // W)
    for top in range(0, H, step):
        part = slice(top, min(top + step, H))
        nearest = depth_m[np.ix_(rows[part], columns)]
        result[part] = np.where(np.isnan(nearest), np.nan, windows.depth(part, nearest, guide[:, part]))
    return result


class _Windows:
    """Windows of 4 x 4 (or fewer) old pixels: whether two surfaces meet in them, and the colours of the two."""

    def __init__(self, depth_m: np.ndarray, guide: np.ndarray) -> None:
        self.depth_m, self.inverse = depth_m, 1.0 / depth_m
        self.shape, self.size = depth_m.shape, guide.shape[1:]
        h, w = self.shape
        down, along = shares(self.size[0], h), shares(self.size[1], w)
        mean = np.stack([average(plane, down, along) for plane in guide])
        square = np.stack([average(plane**2, down, along) for plane in guide]).sum(axis=0)
        self.reach = min(4, h), min(4, w)
        u = self._stack(self.inverse)
        ordered = np.sort(u, axis=-1)  # NaN last
        gaps = np.nan_to_num(np.diff(ordered, axis=-1), nan=-1.0)
        if gaps.shape[-1] == 0:
            gaps = np.zeros((*u.shape[:2], 1))
            ordered = np.concatenate([ordered, ordered], axis=-1)
        at = gaps.argmax(axis=-1)[..., None]
        gap, low = (np.take_along_axis(x, at, axis=-1)[..., 0] for x in (gaps, ordered))
        most = np.fmax.reduce(ordered, axis=-1)
        self.split = (gap > _JUMP * most) & (gap > _SHARE * (most - ordered[..., 0]))
        self.level = np.where(self.split, low + gap / 2, -np.inf)  # nearer surfaces lie above it
        known = ~np.isnan(u)
        near = known & (u > self.level[..., None])
        self.colours, spread = [], np.zeros(self.level.shape)
        colours = [self._stack(plane) for plane in mean]
        within = self._stack(square)
        for member in (near, known & ~near):
            count = np.maximum(member.sum(axis=-1), 1)
            centre = np.stack([(plane * member).sum(axis=-1) / count for plane in colours])
            spread += (within * member).sum(axis=-1) - count * (centre**2).sum(axis=0)
            self.colours.append(centre)
        self.variance = np.maximum(spread, 0.0) / (3 * np.maximum(known.sum(axis=-1), 1)) + _NOISE**2

    def _stack(self, plane: np.ndarray) -> np.ndarray:
        """The pixels of every window, in a last axis."""
        view = np.lib.stride_tricks.sliding_window_view(plane, self.reach)
        return view.reshape(*view.shape[:2], -1)

    def depth(self, rows: slice, nearest: np.ndarray, guide: np.ndarray) -> np.ndarray:
        """Depth of some rows of the photograph; `nearest` is that of the nearest old pixel, NaN where it is unknown."""
        (h, w), (H, W) = self.shape, self.size
        y = (np.arange(H)[rows] + 0.5) * h / H - 0.5
        x = (np.arange(W) + 0.5) * w / W - 0.5
        top = (np.floor(y).astype(int) - 1).clip(0, h - self.reach[0])
        left = (np.floor(x).astype(int) - 1).clip(0, w - self.reach[1])
        window = np.ix_(top, left)
        split, level = self.split[window], self.level[window]
        above = np.where(np.isnan(nearest), 0.0, 1.0 / nearest) > level
        r, c = np.nonzero(split)
        if r.size:
            above[r, c] = self._is_near(y[r], x[c], top[r], left[c], guide[:, r, c])
        result = self._interpolated(y, x, above, level)
        r, c = np.nonzero(np.isnan(result) & ~np.isnan(nearest))
        if r.size:  # its surface has no pixel among the nearest four
            weight, z = self._weights(y[r], x[c], top[r], left[c])
            weight = np.where((1.0 / z > level[r, c, None]) == above[r, c, None], weight, 0.0)
            first = np.take_along_axis(z, weight.argmax(axis=-1)[:, None], axis=-1)
            deviation = (weight * np.where(weight > 0, first / z - 1, 0.0)).sum(axis=-1)
            result[r, c] = first[:, 0] / (1 + deviation / weight.sum(axis=-1))
        return result

    def _weights(
        self, y: np.ndarray, x: np.ndarray, top: np.ndarray, left: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gaussian weights of the old pixels of windows, 0 where unknown, and their depths."""
        down, along = np.arange(self.reach[0]), np.arange(self.reach[1])
        dy, dx = top[:, None] + down - y[:, None], left[:, None] + along - x[:, None]
        weight = np.exp(-(dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / (2 * _REACH**2)).reshape(len(y), -1)
        z = self.depth_m[(top[:, None] + down)[:, :, None], (left[:, None] + along)[:, None, :]].reshape(len(y), -1)
        return np.where(np.isnan(z), 0.0, weight), z

    def _is_near(
        self, y: np.ndarray, x: np.ndarray, top: np.ndarray, left: np.ndarray, colour: np.ndarray
    ) -> np.ndarray:
        """Whether pixels belong to the nearer surface of their window, by colour (3, n) and place."""
        weight, z = self._weights(y, x, top, left)
        near = 1.0 / z > self.level[top, left][:, None]
        place = np.log((weight * near).sum(axis=-1)) - np.log((weight * ~near).sum(axis=-1))
        to_near, to_far = (((colour - centre[:, top, left]) ** 2).sum(axis=0) for centre in self.colours)
        result: np.ndarray = place + _TRUST * (to_far - to_near) / (2 * self.variance[top, left]) > 0
        return result

    def _interpolated(self, y: np.ndarray, x: np.ndarray, above: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Bilinear inverse depth among the old pixels on the same side of the level; NaN where there are none."""
        (h, w) = self.shape
        y, x = y.clip(0, h - 1), x.clip(0, w - 1)
        i, j = np.floor(y).astype(int), np.floor(x).astype(int)
        total, deviation, first = np.zeros(above.shape), np.zeros(above.shape), np.full(above.shape, np.nan)
        for down in (0, 1):
            for along in (0, 1):
                at = (i + down).clip(max=h - 1), (j + along).clip(max=w - 1)
                z, u = self.depth_m[np.ix_(*at)], self.inverse[np.ix_(*at)]
                weight = np.outer(np.abs(1 - down - (y - i)), np.abs(1 - along - (x - j)))
                weight = np.where(np.isnan(u) | ((u > level) != above), 0.0, weight)
                first = np.where(np.isnan(first) & (weight > 0), z, first)
                total += weight
                deviation += weight * np.where(weight > 0, first / z - 1, 0.0)  # 0 for equal depths: these stay exact
        with np.errstate(invalid="ignore", divide="ignore"):
            return first / (1 + deviation / total)
