"""A procedural scene: a board with printed text before a wall."""

from __future__ import annotations

import numpy as np

from blurphys.inputs import require_number

from ._arguments import check_depths, start
from ._drawing import grid, make_layer, sampled, wall
from .scene import Scene

__all__ = ["text_chart"]

_SUBPIXELS = 4  # per side, where a pixel's share is counted rather than computed
_PANGRAMS = (
    "The quick brown fox jumps over the lazy dog",
    "Pack my box with five dozen liquor jugs",
    "Sphinx of black quartz, judge my vow",
    "0123456789 +-*/= (x, y) [px] {mm} 50 % f/1.4",
)


def text_chart(
    height: int,
    width: int,
    *,
    seed: int = 0,
    depth_range_m: tuple[float, float] = (0.8, 1.6),
    background_m: float = 4.0,
) -> Scene:
    """Draw a board of printed lines, from large to small, that leans in depth before a textured wall.

    Parameters
    ----------
    height, width : int
        Size, px; at least 16.
    seed : int
        Same seed, same scene.
    depth_range_m : (float, float)
        Depth of the board's plane at the left and at the right edge of the frame, m; either may be the nearer one,
        and equal depths make a board that faces the camera.
    background_m : float
        Depth of the wall, m; behind the board.

    Returns
    -------
    Scene
        The board, and the wall, which covers every pixel.

    Raises
    ------
    ValueError
        An argument is outside what is written above.

    Notes
    -----
    The board is a rectangle in space: inverse depth is linear along x, and the far side is drawn smaller. Each pixel
    takes the mean of 4 x 4 samples, in linear light. The letters are those of Pillow's own font, so that they can
    differ in the last digits between versions of Pillow; positions, colours and depth do not. Cost O(H W).

    Examples
    --------
    >>> board, wall = text_chart(48, 64, depth_range_m=(1.0, 1.0)).layers
    >>> float(board.depth_m.min()), float(wall.depth_m.max())
    (1.0, 4.0)
    """
    rng = start("text_chart", height, width, seed)
    left, right = check_depths("text_chart", depth_range_m, ordered=False)
    require_number("text_chart", "background_m", background_m, above=max(left, right), unit="m, behind the board")
    y, x = grid(height, width)

    def inverse(column: np.ndarray) -> np.ndarray:
        share = column / width + 0.5
        return (1 - share) / left + share / right

    middle = float(inverse(np.zeros(1))[0])
    edges = middle / inverse(np.array([-0.44, 0.44]) * width)  # z there, relative to the middle of the frame
    tall, wide = 0.44 * height * edges.min(), 0.44 * width * edges.min()  # half sizes, so that all is in the frame
    print_ = _printed(rng, round(4 * tall), round(4 * wide))  # two samples of print per px
    paper, ink = rng.uniform(0.7, 0.9) * rng.uniform(0.9, 1, 3), rng.uniform(0.01, 0.05, 3)
    alpha, light = np.zeros((height, width)), np.zeros((3, height, width))
    offsets = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    for dy in offsets:
        for dx in offsets:
            scale = middle / inverse(x + dx)  # z relative to the middle of the board
            u, v = (x + dx) * scale, (y + dy) * scale
            inside = (abs(u) <= wide) & (abs(v) <= tall)
            covered = sampled(print_, 2 * (v + tall) - 0.5, 2 * (u + wide) - 0.5, wrap=False)
            alpha += inside
            light += inside * (paper[:, None, None] * (1 - covered) + ink[:, None, None] * covered)
    colour = light / np.maximum(alpha, 1)
    depth = np.broadcast_to(1 / inverse(x), (height, width)).copy()
    if left == right:
        depth[:] = left  # a mean of equal inverses may miss it by a rounding
    return Scene.from_layers(
        [
            make_layer(colour, alpha / _SUBPIXELS**2, np.clip(depth, min(left, right), max(left, right))),
            wall(rng, height, width, background_m, level=0.2),
        ],
        name=f"text_chart_{seed}",
        source=f"printed board from {left:g} to {right:g} m before a wall at {background_m:g} m, seed {seed}",
    )


def _printed(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lines of text from large to small: the share of each sample that ink covers."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(sheet)
    y, size = height * 0.05, height / 9
    while size >= 6 and y + 1.2 * size < height:
        line = "   ".join(_PANGRAMS[k] for k in rng.permutation(len(_PANGRAMS)))
        pen.text((width * 0.04, y), line * 3, fill=255, font=ImageFont.load_default(size))
        y, size = y + 1.35 * size, size * 0.86
    edge = round(width * 0.03)
    sheet.paste(0, (width - edge, 0, width, height))  # a margin on the right too: lines are cut, not broken
    return np.asarray(sheet, np.float64) / 255
