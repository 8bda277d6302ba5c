"""One sample of a stream, as a function of (seed, split, index)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import blurphys as bp
from blurphys.files.publishing import PathLike
from blurphys.inputs import require_choice, require_integer, require_number

from .lenses import Lenses, read_psfs
from .photos import SPLITS, Photos, scenes_of
from .recording import Recording, brighten_lights, finish
from .surfaces import draw_alphas, draw_map, draw_radii, visible_map

__all__ = ["Renderer"]

VIEWS = ("combined", "left", "right")
BLOCK = 8
"""Side of JPEG's blocks: their grid lies anywhere under a crop."""
MAX_RADIUS = 32.0


class Renderer:
    """Render the samples of a stream; arguments and errors as for `synth.Stream`."""

    def __init__(
        self,
        sources: PathLike | Sequence[PathLike] | None = None,
        *,
        crop: int | tuple[int, int] = 128,
        max_radius: float = 8.0,
        views: Sequence[str] = ("combined",),
        seed: int = 0,
        split: str = "train",
        transfer: str = "display",
        occlusion: float = 0.5,
        focus: float = 0.15,
        core: tuple[float, float] = (0.3, 0.7),
        psfs: Any = None,
        noise: tuple[float, float] | None = (0.001, 0.03),
        mosaic: float = 0.5,
        jpeg: float = 0.5,
        sharpening: float = 0.0,
        tone: bool = True,
        bits: int | None = 8,
    ) -> None:
        sides = [crop, crop] if np.ndim(crop) == 0 else list(crop)  # type: ignore[arg-type]
        if len(sides) != 2:
            raise ValueError(f"Stream: expected crop as a size or (height, width), got {crop!r}")
        self.crop = (_side(sides[0]), _side(sides[1]))
        self.max_radius = require_number("Stream", "max_radius", max_radius, above=0, most=MAX_RADIUS, unit="px")
        self.views = _views(views)
        self.seed = require_integer("Stream", "seed", seed, 0)
        self.split = require_choice("Stream", "split", split, SPLITS)
        self.transfer = require_choice("Stream", "transfer", transfer, ("display", "linear"))
        self.occlusion, self.focus = _share("occlusion", occlusion), _share("focus", focus)
        self.core = _range("core", core, 2.0, "px")
        self.noise = None if noise is None else _range("noise", noise, 0.5, "of linear light")
        self.mosaic, self.jpeg = _share("mosaic", mosaic), _share("jpeg", jpeg)
        self.sharpening = _share("sharpening", sharpening)
        if not isinstance(tone, bool):
            raise ValueError(f"Stream: expected tone to be True or False, got {tone!r}")
        self.tone = tone
        self.bits = None if bits is None else require_integer("Stream", "bits", bits, 1)
        if self.bits is not None and self.bits > 16:
            raise ValueError(f"Stream: expected bits from 1 to 16, or None, got {bits}")
        self.photos = Photos(scenes_of(sources, self.split))
        self.lenses = Lenses(
            self.seed, max_radius=self.max_radius, core=self.core, views=self._rendered, psfs=read_psfs(psfs)
        )

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes of the split."""
        return tuple(scene.name for scene in self.photos.scenes)

    @property
    def _rendered(self) -> tuple[str, ...]:
        """The views whose light is computed: with left and right, their mean is the combined one."""
        return tuple(view for view in self.views if view != "combined") or ("combined",)

    def sample(self, index: int) -> dict[str, np.ndarray]:
        """Render a sample; see `Stream.sample`."""
        number = require_integer("Stream.sample", "index", index, 0)
        content, camera, noise = (self._rng(number, part) for part in range(3))
        height, width = (side + BLOCK for side in self.crop)
        reach = self.lenses.reach
        shape = (height + 2 * reach, width + 2 * reach)
        light, sharp, radii, valid = self._blurred(content, shape)
        inner = slice(reach, reach + height), slice(reach, reach + width)
        down, across = content.integers(0, BLOCK + 1, 2).tolist()
        cut = slice(down, down + self.crop[0]), slice(across, across + self.crop[1])
        recording = Recording.draw(
            camera,
            noise=self.noise,
            mosaic=self.mosaic,
            tone=self.tone,
            jpeg=self.jpeg,
            bits=self.bits,
            sharpening=self.sharpening,
        )
        exposed = {view: recording.expose(recording.light(part[:, *inner]), noise) for view, part in light.items()}
        if "combined" in self.views and len(exposed) > 1:
            exposed["combined"] = (exposed["left"] + exposed["right"]) / np.float32(2)
        names = {"combined": "image"}
        images = {
            names.get(view, view): recording.store(recording.encode(exposed[view]))[:, *cut] for view in self.views
        }
        images["sharp"] = recording.encode(recording.light(sharp[:, *inner]))[:, *cut]
        made = finish(images, self.transfer)
        made["defocus_map"] = np.ascontiguousarray(radii[inner][cut][None], np.float32)
        made["valid"] = np.ascontiguousarray(valid[inner][cut][None], np.float32)
        made["noise"] = np.array([recording.noise], np.float32)
        return made

    def bank(self, index: int) -> bp.PSFBank:
        """Return the PSFs of a sample."""
        content = self._rng(require_integer("Stream.bank", "index", index, 0), 0)
        return self.lenses.draw(content)

    def _rng(self, index: int, part: int) -> np.random.Generator:
        key = (SPLITS.index(self.split), part, index)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def _blurred(
        self, rng: np.random.Generator, shape: tuple[int, int]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
        """Return the light of the views, that in focus, the map and where it is valid."""
        bank, views = self.lenses.draw(rng), self._rendered
        layered, focused = rng.random() < self.occlusion, rng.random() < self.focus
        count = int(rng.choice((2, 3, 4), p=(0.5, 0.3, 0.2))) if layered else 1
        colours = np.stack([self._surface(rng, shape, front=k < count - 1) for k in range(count)])
        has_core = bank.pupil is not None and bank.pupil.core > 0
        if layered:
            alphas = draw_alphas(rng, count, shape)
            radii = (0.0,) * count if focused else draw_radii(rng, count, self.max_radius)
            blur: Any = bp.LayeredDefocus(alphas, radii=radii, bank=bank, views=views, per_layer=True)
            flat = colours.reshape(-1, *shape)
            in_focus = bp.LayeredDefocus(alphas, radii=(0.0,) * count, bank=bank, per_layer=True)
            sharp = in_focus(flat) if has_core else in_focus.composite(flat)
            light = blur(flat)
            defocus_map, valid = visible_map(alphas, radii)
        else:
            zero = np.zeros(shape, np.float32)
            defocus_map = zero if focused else draw_map(rng, shape, self.max_radius)
            light = bp.DualPixel(defocus_map, bank=bank, views=views)(colours[0])
            sharp = bp.DefocusBlur(zero, bank=bank)(colours[0]) if has_core else colours[0]
            valid = np.ones(shape, bool)
        return {view: light[3 * k : 3 * k + 3] for k, view in enumerate(views)}, sharp, defocus_map, valid

    def _surface(self, rng: np.random.Generator, shape: tuple[int, int], *, front: bool) -> np.ndarray:
        """Return the colours of a surface: a crop, or sometimes, in front, a plain colour."""
        plain, colour = rng.random() < 0.12, rng.uniform(0.0, 0.9) * rng.uniform(0.3, 1.0, 3)
        if front and plain:
            return np.broadcast_to(colour.astype(np.float32)[:, None, None], (3, *shape))
        return brighten_lights(rng, self.photos.crop(rng, shape))


def _side(value: Any) -> int:
    return require_integer("Stream", "a side of the crop", value, 16, unit="px")


def _share(name: str, value: Any) -> float:
    return require_number("Stream", name, value, least=0, most=1)


def _range(name: str, value: Any, most: float, unit: str) -> tuple[float, float]:
    pair = list(value) if np.ndim(value) == 1 else []
    if len(pair) != 2:
        raise ValueError(f"Stream: expected {name} as (smallest, largest), got {value!r}")
    low, high = (require_number("Stream", name, number, least=0, most=most, unit=unit) for number in pair)
    if low > high:
        raise ValueError(f"Stream: expected {name} as (smallest, largest), got {low:g} before {high:g}")
    return low, high


def _views(views: Any) -> tuple[str, ...]:
    given = (views,) if isinstance(views, str) else tuple(views)
    sides = set(given) - {"combined"}
    if (
        not given
        or len(set(given)) < len(given)
        or not set(given) <= set(VIEWS)
        or sides not in (set(), {"left", "right"})
    ):
        raise ValueError(f"Stream: expected views as 'combined', or 'left' and 'right', or all three, got {views!r}")
    return given
