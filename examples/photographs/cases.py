"""What the methods of `real_pairs.py` are tried on: photographs, and whatever is known about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from estimate_defocus import pixel4_banks, pixel4_pair
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

import blurphys as bp
import synth
from blurphys.colour import linear_to_srgb, srgb_to_linear
from solvers.estimation import register
from synth.io import read_image

BOARD, PIXEL4 = "canon_r6m2_flat_0600mm", "pixel4_dp"
BORDER = 64
"""Width of the rim of a pair that is not scored, px: the frames of the board do not show the same at their edges."""

CANON = bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1.0, pixel_pitch_um=36000 / 768)
CANON_PUPIL = bp.Pupil.disk(split=0.15)
BOARD_RADIUS = 4.0
"""Radius of the disk with which the board at f/20 comes closest to the board at f/4, px; thin lens: 4.7 px."""

NEAREST_MM = 200
"""The depth camera's values below are no measurements."""

HELD_OUT, HELD_OUT_SEED = 12, 2026
TEXTURE, TEXTURE_WINDOW = 0.03, 16
"""Standard deviation of the sharp picture's sRGB values over a window (px) from which a radius can be told."""

SKIMAGE = ("astronaut", "coffee", "chelsea", "rocket")
SHARP = ("sand", "path", "grass", "city", "mies")
"""Photographs of photos_cc0 in which a Gaussian of 1 px takes away at least .3 of the local contrast in the median
over blocks of 32 px, and .14 in nine blocks of ten, without the noisy one (rain)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """One photograph.

    Attributes
    ----------
    photo : ndarray of shape (3, H, W)
        Linear light, float32: the mean of the views, where there are two. Grey ones have three equal colours.
    reference : ndarray of shape (3, H, W), optional
        The sharp photograph, in the exposure of `photo` up to a gain and an offset.
    border : int
        Rim that is not scored, px.
    sharp : bool
        Whether the photograph is in focus already: a method should return it as it is.
    true_map : ndarray of shape (H, W), optional
        Radii, px; `known` says where.
    flat_radius : float, optional
        The radius everywhere, px.
    mask : ndarray of bool of shape (H, W), optional
        Where the photograph is blurred.
    views : (ndarray, ndarray), optional
        Left and right, (1 or 3, H, W), linear light.
    pupil : Any
        Of the views, as for `solvers.all_in_focus`; `nodes` of a grid of banks.
    search : float or (float, float)
        Radii among which a map of the pair is looked for, px.
    view : str
        Which view `photo` is: "left", "right", or "combined" for all else.
    """

    photo: np.ndarray
    reference: np.ndarray | None = None
    border: int = 0
    sharp: bool = False
    true_map: np.ndarray | None = None
    known: np.ndarray | None = None
    flat_radius: float | None = None
    mask: np.ndarray | None = None
    views: tuple[np.ndarray, np.ndarray] | None = None
    pupil: Any = field(default_factory=bp.Pupil.disk)
    nodes: str = "corners"
    search: float | tuple[float, float] = 8.0
    view: str = "combined"

    def corner(self, side: int = 96) -> Case:
        """Return the central square alone, to load and compile with what a method needs."""
        height, width = self.photo.shape[-2:]
        rows, cols = (slice((n - min(n, side)) // 2, (n + min(n, side)) // 2) for n in (height, width))
        views = None if self.views is None else (self.views[0][:, rows, cols], self.views[1][:, rows, cols])
        planes = {
            name: None if plane is None else plane[..., rows, cols]
            for name in ("reference", "true_map", "known", "mask")
            for plane in (getattr(self, name),)
        }
        return replace(self, photo=self.photo[:, rows, cols], views=views, border=0, **planes)


def board(folder: Path, view: str, aperture: str = "f4") -> Case:
    """The Canon board at f/4, 4 px in front of focus, towards the same board at f/20."""
    left, right = (read_image(folder / BOARD / f"{aperture}_{side}.png") for side in "lr")
    photo = {"left": left, "right": right, "combined": (left + right) / 2}[view]
    if aperture != "f4":
        return Case(photo=photo, sharp=True, border=BORDER, flat_radius=0.0)
    sharp = (read_image(folder / BOARD / "f20_l.png") + read_image(folder / BOARD / "f20_r.png")) / 2
    pair = {"views": (left, right), "pupil": CANON_PUPIL, "search": 7.0} if view == "combined" else {}
    return Case(photo=photo, reference=sharp, border=BORDER, flat_radius=BOARD_RADIUS, view=view, **pair)


def canon_scene(folder: Path, scene: str) -> Case:
    """A dual-pixel pair of a Canon with a depth camera's map, without a sharp photograph."""
    place = folder / f"canon_r6m2_scene_{scene}"
    left, right = (read_image(place / f"{side}.png") for side in "lr")
    depth = np.asarray(Image.open(place / "d.png")).astype(np.float64)
    known = depth > NEAREST_MM
    radii = CANON.defocus_map(np.where(known, depth, np.nan) / 1000, invalid="nearest")
    return Case(
        photo=(left + right) / 2, true_map=radii.astype(np.float32), known=known,
        views=(left, right), pupil=CANON_PUPIL, search=7.0,
    )  # fmt: skip


def pixel4(folder: Path, scene: str, *, registered: bool = True) -> Case:
    """A dual-pixel pair of a Pixel 4 (green alone) with a published picture in focus, which is moved onto the pair."""
    left, right, _ = pixel4_pair(folder / PIXEL4, scene)
    sharp = np.asarray(Image.open(folder / PIXEL4 / f"{scene}_gt_aif.png")).astype(np.float32)[None] / 65535
    photo = (left + right) / 2
    sharp = same_exposure(sharp, photo)
    if registered:
        sharp = moved_onto(photo, sharp, max_radius=18.0)
    white = float(np.quantile(photo, 0.999))
    photo, sharp = (np.repeat(v / white, 3, axis=0).astype(np.float32) for v in (photo, sharp))
    return Case(
        photo=photo, reference=sharp, border=BORDER // 2, views=(left / white, right / white),
        pupil=pixel4_banks(folder / PIXEL4, 0.5), nodes="centres", search=(0.0, 17.0),
    )  # fmt: skip


def moved_onto(photo: np.ndarray, sharp: np.ndarray, *, max_radius: float) -> np.ndarray:
    """Return a sharp picture shifted, scaled and turned onto a blurred one; blur up to `max_radius` px."""
    return register(sharp, photo, max_radius=max_radius, shading=False).move(sharp.astype(np.float64))


def same_exposure(sharp: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Return a sharp picture in the exposure of a blurred one: gain and offset of both under a blur of 6 px."""
    smooth = [np.stack([gaussian_filter(plane, 6.0) for plane in v]) for v in (sharp, photo)]
    gain, offset = np.polyfit(smooth[0].ravel().astype(np.float64), smooth[1].ravel().astype(np.float64), 1)
    return gain * sharp + offset


def cuhk(folder: Path, name: str) -> Case:
    """A photograph with a mask of what is blurred."""
    place = folder / "cuhk_bd"
    mask = np.asarray(Image.open(place / f"out_of_focus{name}_mask.png").convert("L")) > 127
    return Case(photo=read_image(place / f"out_of_focus{name}.jpg"), mask=mask)


def from_skimage(folder: Path, name: str) -> Case:
    """A sharp photograph of scikit-image."""
    import skimage.data

    pixels = getattr(skimage.data, name)()
    return Case(photo=srgb_to_linear(pixels.transpose(2, 0, 1) / np.float32(255)), sharp=True)


def sharp_photo(folder: Path, name: str) -> Case:
    """A sharp photograph of photos_cc0."""
    return Case(photo=read_image(folder / "photos_cc0" / f"gb82_{name}.png"), sharp=True)


def held_out(folder: Path, index: int) -> Case:
    """A sample of the scenes that no training on `synth.Stream` sees, with its true map and its own PSFs."""
    stream = synth.Stream(
        [folder / "photos_cc0", "scikit-image"], split="val", seed=HELD_OUT_SEED, crop=256, transfer="linear"
    )
    sample = stream.sample(index)
    photo, sharp = sample["image"], sample["sharp"]
    grey = linear_to_srgb(np.clip(sharp, 0, 1)).mean(axis=0)
    contrast = uniform_filter(grey**2, TEXTURE_WINDOW) - uniform_filter(grey, TEXTURE_WINDOW) ** 2
    return Case(
        photo=photo, reference=sharp, border=16, true_map=sample["defocus_map"][0],
        known=(sample["valid"][0] > 0.5) & (contrast > TEXTURE**2), pupil=stream.bank(index),
    )  # fmt: skip


CASES: dict[str, Callable[[Path], Case]] = {
    "board": lambda folder: board(folder, "combined"),
    "board, left": lambda folder: board(folder, "left"),
    "board, right": lambda folder: board(folder, "right"),
    "board at f/20": lambda folder: board(folder, "combined", "f20"),
    **{f"Pixel 4, {scene}": partial(pixel4, scene=scene) for scene in ("013", "001")},
    **(
        {f"held out {index}": partial(held_out, index=index) for index in range(HELD_OUT)}
        if hasattr(synth, "Stream")
        else {}
    ),
    **{f"Canon {scene}": partial(canon_scene, scene=scene) for scene in ("001", "003", "004")},
    **{f"CUHK {name}": partial(cuhk, name=name) for name in ("0504", "0537")},
    **{name: partial(from_skimage, name=name) for name in SKIMAGE},
    **{name: partial(sharp_photo, name=name) for name in SHARP},
}
"""The cases by name, in the order of the tables: folder with the photographs -> Case."""

FOLDERS = {
    "board": BOARD,
    "Pixel": PIXEL4,
    "CUHK": "cuhk_bd",
    "held": "photos_cc0",
    **dict.fromkeys(SHARP, "photos_cc0"),
}
"""Folder that a case needs, by the first word of its name; the scenes of the Canon have one each."""


def folder_of(name: str) -> str | None:
    """Return the folder below --data that a case needs, None for those of installed packages."""
    first, _, rest = name.replace(",", "").partition(" ")
    return f"canon_r6m2_scene_{rest}" if first == "Canon" else FOLDERS.get(first)
