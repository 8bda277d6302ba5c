"""A camera: lens, pupil, sensor noise, and the ranges that the settings of samples are drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

import blurphys as bp
from blurphys.frozen import freeze
from blurphys.inputs import require_number

from .. import optics
from ..scenes import Scene
from .fitting import fit_lens_to_scene, fit_lens_to_scenes
from .imperfections import Imperfections
from .noise import ShotReadNoise
from .presets import PRESETS
from .psf_models import PSFModel, psf_model_of
from .pupils import pupil_from_dict, pupil_to_dict
from .sensor import Sensor
from .tone import ToneCurve
from .views import check_views

__all__ = ["Camera"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Camera:
    """A camera, and the ranges of its settings over the samples of a dataset.

    Parameters
    ----------
    lens : blurphys.ThinLens
        Focal length (mm), f-number, focus distance (m) and pixel pitch (um) of the stored image.
    pupil : blurphys.Pupil
        Shape of the blur, and its division into the left and right view.
    noise : ShotReadNoise
        Noise of one dual-pixel view; the combined image has half its variance.
    max_radius : float
        Largest circle-of-confusion radius rendered, px; larger radii are clamped to it and counted.
    step : float
        Distance of neighbouring PSF levels, px; radii between them are interpolated.
    focus_range_m : (float, float), optional
        Nearest and farthest focus distance of the samples, m (uniform in its inverse); that of the lens without it.
    f_number_range : (float, float), optional
        Smallest and largest f-number of the samples (uniform in its logarithm).
    gain_range : (float, float), optional
        Smallest and largest factor on the sensitivity (uniform in its logarithm): `shot` grows with it, `read` with its
        square.
    published : (int, float, float), optional
        Order, cutoff and floor of the published dual-pixel kernels (`blurphys.psf.butterworth`), used instead of the
        pupil: radii are rounded to whole pixels, and 0 to 1.
    imperfections : Imperfections
        Colour, field and diffraction; none by default.
    readout : Sensor
        Mosaic, black level and resolution of the converter; none by default. Its own noise is ignored in favour of
        `noise`.
    tone : ToneCurve
        Applied to the stored images, sharp image and views alike; "linear" stores linear light.
    name : str
        Short name for reports.

    Raises
    ------
    ValueError
        A radius or range that is not positive and increasing, or a focus range inside the focal length.

    Examples
    --------
    >>> from synth import Camera
    >>> camera = Camera.preset("canon-r6ii")
    >>> round(camera.lens.radius_at_infinity, 2), camera.pupil.split
    (7.02, 0.15)
    """

    lens: bp.ThinLens
    pupil: bp.Pupil
    noise: ShotReadNoise = ShotReadNoise()
    max_radius: float = 20.0
    step: float = 0.5
    focus_range_m: tuple[float, float] | None = None
    f_number_range: tuple[float, float] | None = None
    gain_range: tuple[float, float] | None = None
    published: tuple[int, float, float] | None = None
    imperfections: Imperfections = Imperfections()
    readout: Sensor = Sensor()
    tone: ToneCurve = ToneCurve("linear")
    name: str = "camera"

    def __post_init__(self) -> None:
        for field in ("max_radius", "step"):
            require_number("Camera", field, getattr(self, field), above=0, unit="px")
        for field in ("focus_range_m", "f_number_range", "gain_range"):
            bounds = getattr(self, field)
            if bounds is None:
                continue
            low, high = bounds
            if not (0 < low <= high < math.inf):
                raise ValueError(f"Camera: expected {field} = (low, high) with 0 < low <= high, got {bounds}")
            freeze(self, **{field: (float(low), float(high))})
        if self.focus_range_m is not None:
            replace(self.lens, focus_distance_m=self.focus_range_m[0])
        freeze(self, psf_model=psf_model_of(self))

    @cached_property
    def psf_model(self) -> PSFModel:
        """Where the PSFs come from: the pupil, the published kernels, or PSFs that differ over the frame."""
        return psf_model_of(self)

    def require_views(self, views: Sequence[str], *, side: int) -> tuple[str, ...]:
        """Return the views as a tuple.

        ValueError unless they are a set that `synth.render` knows, and the PSFs fit images of `side` px and in memory.
        """
        chosen = check_views(views)
        self.psf_model.check_size(side, views=len(chosen))
        return chosen

    def draw(self, rng: np.random.Generator) -> Camera:
        """Draw the settings of one sample.

        Parameters
        ----------
        rng : numpy.random.Generator
            Three numbers are drawn from it, whichever ranges are given.

        Returns
        -------
        Camera
            With fixed focus distance, f-number and noise, and no ranges.
        """
        focus, stop, gain = rng.random(3)
        lens, noise = self.lens, self.noise
        if self.focus_range_m is not None:
            near, far = self.focus_range_m
            lens = replace(lens, focus_distance_m=1 / ((1 - focus) / near + focus / far))
        if self.f_number_range is not None:
            lens = replace(lens, f_number=_logarithmic(stop, *self.f_number_range))
        if self.gain_range is not None:
            noise = noise.scaled(_logarithmic(gain, *self.gain_range))
        return replace(self, lens=lens, noise=noise, focus_range_m=None, f_number_range=None, gain_range=None)

    def bank(self, views: Sequence[str] = ("left", "right")) -> bp.PSFBank:
        """Make the PSFs of this camera for all radii up to `max_radius`; they do not depend on the lens settings.

        Coloured or softened PSFs are made for `views` (see `synth.render`) and their mean, "combined". ValueError for
        views that the published kernels do not have.
        """
        return self.psf_model.bank(views)

    @property
    def reach(self) -> int:
        """Distance of the outermost pixel of any PSF from its centre, px."""
        return self.psf_model.reach

    def field_banks(
        self, aspect: float, views: Sequence[str] = ("left", "right")
    ) -> tuple[tuple[bp.PSFBank, ...], ...] | None:
        """Make the PSFs at 3 x 5 nodes over a frame of this width / height; None for a lens without cat eyes.

        `views` as for `bank`. Cost: fifteen banks, some seconds for radii of 20 px; make them once for many samples.
        """
        return self.psf_model.field_banks(aspect, views)

    @property
    def sensor(self) -> Sensor:
        """The readout with the noise of one view."""
        return replace(self.readout, noise=self.noise)

    def defocus_map(
        self, depth_m: np.ndarray, invalid: Literal["error", "nearest", "far"] = "error"
    ) -> np.ndarray:  # fmt: skip
        """Return the signed CoC radius, px, of depths (H, W), by the lens and its field curvature; not clamped."""
        radii: np.ndarray = self.lens.defocus_map(depth_m, invalid=invalid)
        offset = self.imperfections.field_curvature_px
        return optics.field_curvature(radii, radius_px_at_corner=offset) if offset else radii

    def settled_map(self, defocus_map: np.ndarray) -> np.ndarray:
        """Return the radii that are rendered: as they are, or rounded where the published kernels are used."""
        return self.psf_model.available_radii(defocus_map)

    @property
    def parameters(self) -> dict[str, float]:
        """The settings that differ from sample to sample, by name with unit."""
        return {
            "focus_distance_m": float(self.lens.focus_distance_m),
            "f_number": float(self.lens.f_number),
            "shot_noise": self.noise.shot,
            "read_noise": self.noise.read,
        }

    def with_parameters(self, parameters: Mapping[str, float]) -> Camera:
        """Return the camera with stored `parameters` and no ranges. KeyError if one is missing."""
        return replace(
            self,
            lens=replace(
                self.lens, focus_distance_m=parameters["focus_distance_m"], f_number=parameters["f_number"]
            ),
            noise=ShotReadNoise(parameters["shot_noise"], parameters["read_noise"]),
            focus_range_m=None,
            f_number_range=None,
            gain_range=None,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the camera as numbers, strings, lists and dictionaries, ready for JSON."""
        return {
            "name": self.name,
            "lens": asdict(self.lens),
            "pupil": pupil_to_dict(self.pupil),
            "noise": asdict(self.noise),
            "max_radius": self.max_radius,
            "step": self.step,
            "focus_range_m": None if self.focus_range_m is None else list(self.focus_range_m),
            "f_number_range": None if self.f_number_range is None else list(self.f_number_range),
            "gain_range": None if self.gain_range is None else list(self.gain_range),
            "published": None if self.published is None else list(self.published),
            "imperfections": self.imperfections.to_dict(),
            "readout": self.readout.to_dict(),
            "tone": self.tone.to_dict(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Camera:
        """Undo `to_dict`; ValueError for anything else."""
        try:
            values = dict(fields)
            values["lens"] = bp.ThinLens(**values["lens"])
            values["pupil"] = pupil_from_dict(values["pupil"])
            values["noise"] = ShotReadNoise(**values["noise"])
            if values.get("published") is not None:
                values["published"] = tuple(values["published"])
            for key, kind in (("imperfections", Imperfections), ("readout", Sensor), ("tone", ToneCurve)):
                if key in values:
                    values[key] = kind.from_dict(values[key])
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"Camera: expected what Camera.to_dict gives, got something else ({error!r})") from None

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Return the names that `preset` takes."""
        return tuple(PRESETS)

    @classmethod
    def preset(cls, name: str) -> Camera:
        """Return a preset camera.

        Parameters
        ----------
        name : str
            One of `presets`. Underscores count as hyphens, and case does not matter.

        Returns
        -------
        Camera
            ``canon-r6ii``: full frame, 50 mm f/4 focused at 1 m, 768 px wide images, split 0.15; lens, pitch and
            split as measured on its photographs. ``pixel4``: 4.38 mm f/1.7 focused at 0.5 m, half-resolution images
            (2.8 um), split 0.45, flat-topped blur; the split as measured on its dual-pixel kernels, the rest from its
            data sheet. The noise of both is typical of phones, not measured. ``iccv2021-0`` to ``iccv2021-4``: the
            five camera sets of the published dual-pixel generator (Abuolaim et al., ICCV 2021), with its kernels,
            without noise; for metres of depth, and ``model="gather"``. ``syndof``: a Gaussian-like blur of at most
            14 px, 36 mm wide sensor, focal lengths and cap as in Lee et al., CVPR 2019.

        Raises
        ------
        ValueError
            Another name.
        """
        key = name.lower().replace("_", "-")
        if key not in PRESETS:
            raise ValueError(f"Camera: expected a preset among {', '.join(PRESETS)}, got {name!r}")
        return Camera(**PRESETS[key]())

    @classmethod
    def for_scenes(
        cls, scenes: Iterable[Scene], *, base: Camera | None = None, max_radius: float = 8.0, outliers: float = 0.005
    ) -> Camera:
        """Fit a camera and its ranges to several scenes, so that hardly any radius exceeds `max_radius`.

        Parameters
        ----------
        scenes : iterable of Scene
            Read one after the other; each has the same weight, whatever its size.
        base : Camera, optional
            Lens, pupil, noise and the ranges of f-number and gain; the ``canon-r6ii`` preset without it.
        max_radius : float
            Limit of the camera, px.
        outliers : float
            Share of the known depths that may exceed it at the strongest setting, 0 to 0.5.

        Returns
        -------
        Camera
            Focus drawn between the depths that a quarter and three quarters of the pixels are nearer than, or the
            median where `base` draws no focus; the pixel pitch as fitted; everything else of `base`, its ranges too.

        Raises
        ------
        ValueError
            `max_radius` or `outliers` out of range, no scenes, or scenes whose pixels all lie in the plane of focus.

        Notes
        -----
        The pitch is that at which, with the smallest f-number and focused at either end of the range, all but
        `outliers` of the depths have at most the radius `max_radius`. Most samples are blurred less.
        """
        start = cls.preset("canon-r6ii") if base is None else base
        stop = start.lens.f_number if start.f_number_range is None else start.f_number_range[0]
        lens, (near, far) = fit_lens_to_scenes(
            start.lens, scenes, f_number=stop, draws_focus=start.focus_range_m is not None, max_radius=max_radius,
            outliers=outliers,
        )  # fmt: skip
        return replace(
            start,
            lens=lens,
            max_radius=float(max_radius),
            focus_range_m=None if start.focus_range_m is None else (near, far),
            name=f"{start.name} fitted",
        )

    @classmethod
    def for_scene(
        cls,
        scene: Scene,
        *,
        base: Camera | None = None,
        max_radius: float = 8.0,
        focus_distance_m: float | None = None,
        quantile: float = 0.5,
        outliers: float = 0.005,
    ) -> Camera:
        """Fit a camera to a scene, so that its largest radius is `max_radius`.

        Parameters
        ----------
        scene : Scene
            Its known depths are used.
        base : Camera, optional
            Lens, pupil and noise to start from; the ``canon-r6ii`` preset without it.
        max_radius : float
            Circle-of-confusion radius of the most blurred pixel, px, and limit of the camera.
        focus_distance_m : float, optional
            Focus distance, m; without it the depth below which a share `quantile` of the pixels lies.
        quantile : float
            Between 0 and 1.
        outliers : float
            Share of the pixels, at the near end and again at the far end, that the fit leaves out, 0 to 0.5. Depth
            cameras report stray pixels a few millimetres away; rendering clamps their radius and counts them.

        Returns
        -------
        Camera
            Focal length and f-number of `base`; focus distance and pixel pitch as fitted; no ranges.

        Raises
        ------
        ValueError
            `max_radius`, `quantile` or `outliers` out of range, a focus distance inside the focal length, or a scene
            whose pixels all lie in the plane of focus.

        Notes
        -----
        The radius is K (1/u - 1/d) with K inversely proportional to the pixel pitch, hence the pitch that gives the
        limit follows in closed form from the nearest and the farthest pixel that count. A coarser pitch stands for a
        larger sensor under the same number of pixels.
        """
        start = cls.preset("canon-r6ii") if base is None else base
        lens = fit_lens_to_scene(
            start.lens, scene, max_radius=max_radius, focus_distance_m=focus_distance_m, quantile=quantile,
            outliers=outliers,
        )  # fmt: skip
        return replace(
            start,
            lens=lens,
            max_radius=float(max_radius),
            focus_range_m=None,
            f_number_range=None,
            gain_range=None,
            name=f"{start.name} fitted to {scene.name}",
        )


def _logarithmic(position: float, low: float, high: float) -> float:
    return float(low * (high / low) ** position)
