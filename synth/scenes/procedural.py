"""Procedural scenes, with the exact colour, alpha and depth of each surface, also where it is hidden."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from blurphys.inputs import require_integer, require_number

from ._arguments import check_depths, start
from ._drawing import (
    Canvas,
    any_colour,
    checks,
    cloth,
    disc,
    grid,
    make_layer,
    sampled,
    space_depths,
    texture,
    wall,
)  # fmt: skip
from ._thin import OCCLUDERS
from .scene import Scene

__all__ = ["dead_leaves", "highlights", "slanted_planes", "thin_occluders"]


def dead_leaves(
    height: int,
    width: int,
    *,
    layers: int = 6,
    seed: int = 0,
    depth_range_m: tuple[float, float] = (0.5, 4.0),
    radius_px: tuple[float, float] | None = None,
    exponent: float = 3.0,
    coverage: float = 0.4,
    textured: bool = True,
) -> Scene:
    """Draw occluding discs in a few planes of depth (dead leaves), with the edge statistics of photographs.

    Parameters
    ----------
    height, width : int
        Size, px; at least 16.
    layers : int
        Number of depth planes, equally spaced in inverse depth; at least 2. The farthest one covers every pixel.
    seed : int
        Same seed, same scene.
    depth_range_m : (float, float)
        Depth of the nearest and of the farthest plane, m.
    radius_px : (float, float), optional
        Smallest and largest disc; 3 px and a fifth of the shorter side without it.
    exponent : float
        The density of radii falls with this power, 0 to 10; 3 makes the scene look alike at every scale.
    coverage : float
        Expected share of the frame that the discs of one plane cover, in (0, 1).
    textured : bool
        Whether each disc bears a piece of texture; plain colours without it.

    Returns
    -------
    Scene
        One layer per plane; colours stay below white.

    Raises
    ------
    ValueError
        An argument is outside what is written above.

    Notes
    -----
    Within a plane a disc lies over those drawn after it. The share of a pixel at the rim is taken as linear in the
    distance of its centre from the circle. The number of discs follows from the coverage: for discs strewn at random
    it is 1 - exp(-n pi E[r^2] / area). Cost O(layers H W log(r_max / r_min)).

    References
    ----------
    A. B. Lee, D. Mumford, J. Huang, Occlusion models for natural images, IJCV 2001.

    Examples
    --------
    >>> scene = dead_leaves(48, 64, layers=3, seed=1)
    >>> len(scene.layers), scene.shape
    (3, (48, 64))
    """
    rng = start("dead_leaves", height, width, seed)
    near, far = check_depths("dead_leaves", depth_range_m)
    planes = require_integer("dead_leaves", "layers", layers, 2)
    low, high = (3.0, max(min(height, width) / 5, 4.0)) if radius_px is None else radius_px
    if not (0.5 <= low <= high and math.isfinite(high)):
        raise ValueError(f"dead_leaves: expected radius_px as 0.5 <= smallest <= largest, got {radius_px}")
    require_number("dead_leaves", "exponent", exponent, least=0, most=10)
    if not 0 < coverage < 1:
        raise ValueError(f"dead_leaves: expected a coverage between 0 and 1, got {coverage}")
    radii = np.geomspace(low, high, 257)
    # weight of each logarithmic step of radius under the density r^-exponent; scaled, or large radii underflow
    share = np.exp((1 - exponent) * (np.log(radii) - np.log(low if exponent > 1 else high)))
    share /= share.sum()
    grain = texture(rng, (256, 256)) if textured else None
    area = (height + 2 * high) * (width + 2 * high)
    number = math.ceil(-math.log(1 - coverage) * area / (math.pi * float((share * radii**2).sum())))
    made = []
    for depth in space_depths(near, far, planes):
        canvas = Canvas(height, width)
        for radius in rng.choice(radii, number, p=share):
            y, x = rng.uniform(-high, height + high), rng.uniform(-high, width + high)
            colour, shift = any_colour(rng), rng.integers(0, 256, 2)
            canvas.under(disc(y, x, radius), (y, x), radius + 1, cloth(colour, grain, shift))
        if depth == far:
            canvas.fill(cloth(any_colour(rng), grain, rng.integers(0, 256, 2)))
        made.append(canvas.layer(depth))
    return Scene.from_layers(
        made,
        name=f"dead_leaves_{seed}",
        source=f"dead leaves, {planes} planes from {near:g} to {far:g} m, radii {low:g} to {high:g} px, seed {seed}",
    )


def slanted_planes(
    height: int,
    width: int,
    *,
    planes: int = 4,
    seed: int = 0,
    depth_range_m: tuple[float, float] = (0.5, 4.0),
) -> Scene:
    """Draw textured boards slanted in depth, one in front of the other, before a slanted wall.

    Parameters
    ----------
    height, width : int
        Size, px; at least 16.
    planes : int
        Number of surfaces, the wall included; at least 1.
    seed : int
        Same seed, same scene.
    depth_range_m : (float, float)
        No point of a board is nearer or farther, m.

    Returns
    -------
    Scene
        One layer per surface; its depth differs from pixel to pixel, and is that of the whole plane, also beside the
        board.

    Raises
    ------
    ValueError
        An argument is outside what is written above.

    Notes
    -----
    A plane seen by a pinhole camera is linear in *inverse* depth: 1 / z = a + b x + c y. So is the circle of confusion
    of a thin lens, which therefore changes linearly across each board. Every surface has its own share of the range of
    inverse depth, so that none cuts through another and nearest first holds in every pixel. The texture lies on the
    plane: it is larger where the plane is nearer. Cost O(planes H W).

    Examples
    --------
    >>> import numpy as np
    >>> inverse = 1 / slanted_planes(32, 48, planes=1, seed=3).depth_m
    >>> bool(np.abs(np.diff(inverse, 2)).max() < 1e-12)
    True
    """
    rng = start("slanted_planes", height, width, seed)
    near, far = check_depths("slanted_planes", depth_range_m)
    count = require_integer("slanted_planes", "planes", planes, 1)
    edges = np.linspace(1 / near, 1 / far, count + 1)
    y, x = grid(height, width)
    made = []
    for k in range(count):
        half = (edges[k] - edges[k + 1]) / 2
        angle = rng.uniform(0, 2 * math.pi)
        slope = rng.uniform(0.5, 1.0) * half
        across = math.cos(angle) * x / (width / 2) + math.sin(angle) * y / (height / 2)
        # half the board's band at the farthest corner of the frame; clipped for the last digit alone
        tilt = slope * across / (abs(math.cos(angle)) + abs(math.sin(angle)))
        depth = 1 / np.clip((edges[k] + edges[k + 1]) / 2 + tilt, edges[k + 1], edges[k])
        if k < count - 1:
            alpha = _board(rng, y, x, height, width)
        else:
            alpha = np.ones((height, width))
        scale = depth / depth.max()
        grain = sampled(texture(rng, (512, 512)), y * scale, x * scale)
        stripes = sampled(checks(rng), y * scale, x * scale)
        light, dark = any_colour(rng)[:, None, None], any_colour(rng)[:, None, None]
        colour = np.clip((stripes * light + (1 - stripes) * dark) * grain, 0.002, 1)
        made.append(make_layer(colour, alpha, depth))
    return Scene.from_layers(
        made,
        name=f"slanted_planes_{seed}",
        source=f"{count} textured slanted planes from {near:g} to {far:g} m, seed {seed}",
    )


def thin_occluders(
    height: int,
    width: int,
    *,
    kinds: Sequence[str] = ("hair", "leaves", "fence"),
    seed: int = 0,
    depth_range_m: tuple[float, float] = (0.4, 4.0),
) -> Scene:
    """Draw occluders thinner than their blur before a textured wall, where defocus without occlusion is wrong.

    Parameters
    ----------
    height, width : int
        Size, px; at least 16.
    kinds : sequence of {"hair", "leaves", "fence"}
        The occluders, nearest first; names may repeat.
    seed : int
        Same seed, same scene.
    depth_range_m : (float, float)
        Depth of the nearest kind and of the wall, m; the others are equally spaced in inverse depth between them.

    Returns
    -------
    Scene
        One layer per kind, and the wall, which covers every pixel.

    Raises
    ------
    ValueError
        An argument is outside what is written above.

    Notes
    -----
    A strand of width w and a pixel whose centre is d from its axis have the share min(w, 1, w / 2 + 1 / 2 - d) in
    common, 0 if that is negative: that of two intervals, so that hairs far below a pixel wide keep their mean. Where
    strands of one hair overlap the larger share counts; different things lie over each other. Cost O(kinds H W), and
    for each hair the rectangle around it.

    Examples
    --------
    >>> [round(float(layer.depth_m[0, 0]), 2) for layer in thin_occluders(32, 48).layers]
    [0.4, 0.57, 1.0, 4.0]
    """
    rng = start("thin_occluders", height, width, seed)
    near, far = check_depths("thin_occluders", depth_range_m)
    if isinstance(kinds, str) or not kinds or any(kind not in OCCLUDERS for kind in kinds):
        raise ValueError(f"thin_occluders: expected kinds among {', '.join(OCCLUDERS)}, got {kinds!r}")
    made = []
    depths = space_depths(near, far, len(kinds) + 1)
    for kind, depth in zip(kinds, depths, strict=False):
        canvas = Canvas(height, width)
        OCCLUDERS[kind](rng, canvas)
        made.append(canvas.layer(depth))
    made.append(wall(rng, height, width, depths[-1], level=0.45))
    return Scene.from_layers(
        made,
        name=f"thin_occluders_{seed}",
        source=f"{', '.join(kinds)} before a textured wall, {near:g} to {far:g} m, seed {seed}",
    )


def highlights(
    height: int,
    width: int,
    *,
    lights: int = 80,
    depths: int = 4,
    seed: int = 0,
    depth_range_m: tuple[float, float] = (0.5, 20.0),
    peak: float = 500.0,
) -> Scene:
    """Draw small lights, far brighter than white, before a dark wall: out of focus each shows the pupil.

    Parameters
    ----------
    height, width : int
        Size, px; at least 16.
    lights : int
        Number of lights over all depths; at least 1.
    depths : int
        Number of depth planes that bear lights; at least 1.
    seed : int
        Same seed, same scene.
    depth_range_m : (float, float)
        Depth of the nearest lights and of the wall, m; planes are equally spaced in inverse depth.
    peak : float
        Linear light of the brightest colour channel, white being 1; more than 4. Lights spread from a fiftieth of it
        (or 4) up to it, equally in the logarithm.

    Returns
    -------
    Scene
        One layer per plane of lights, and the wall, which covers every pixel.

    Raises
    ------
    ValueError
        An argument is outside what is written above.

    Notes
    -----
    A light of peak L and radius about 1 px, spread over a circle of radius r, is still L / r^2 times white: a blur
    of 20 px needs L = 400 to stay white. In a file of 8 bits such lights are clipped *before* they are blurred,
    which turns bright discs into faint ones. Cost O(depths H W).

    Examples
    --------
    >>> scene = highlights(32, 48, lights=5, peak=300)
    >>> bool(4 < scene.all_in_focus.max() <= 300)
    True
    """
    rng = start("highlights", height, width, seed)
    near, far = check_depths("highlights", depth_range_m)
    number = require_integer("highlights", "lights", lights, 1)
    count = require_integer("highlights", "depths", depths, 1)
    require_number("highlights", "peak", peak, above=4, most=1e6)
    steps = space_depths(near, far, count + 1)
    canvases = [Canvas(height, width) for _ in range(count)]
    for k in range(number):
        y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.8, 1.6)
        level = math.exp(rng.uniform(math.log(max(peak / 50, 4.0)), math.log(peak)))
        tint = rng.uniform(0.25, 1.0, 3) ** np.array([0.3, 0.7, 1.2])  # lamps are warm more often than cold
        colour = level * tint / tint.max()
        canvases[k % count].under(disc(y, x, radius), (y, x), radius + 1, cloth(colour, None, None, limit=peak))
    made = [canvas.layer(depth) for canvas, depth in zip(canvases, steps, strict=False)]
    made.append(wall(rng, height, width, steps[-1], level=0.02))
    return Scene.from_layers(
        made,
        name=f"highlights_{seed}",
        source=f"{number} lights up to {peak:g} times white at {count} depths from {near:g} m, dark wall at {far:g} m, "
        f"seed {seed}",
    )


def _board(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw a turned rectangle, as the share of each pixel; a product of its two strips, exact but near the corners."""
    size = min(height, width)
    y0, x0 = rng.uniform(-0.35, 0.35) * height, rng.uniform(-0.35, 0.35) * width
    angle = rng.uniform(0, math.pi)
    tall, wide = rng.uniform(0.12, 0.3) * size, rng.uniform(0.15, 0.4) * size
    u = math.cos(angle) * (x - x0) + math.sin(angle) * (y - y0)
    v = -math.sin(angle) * (x - x0) + math.cos(angle) * (y - y0)
    return np.clip(wide + 0.5 - abs(u), 0, 1) * np.clip(tall + 0.5 - abs(v), 0, 1)
