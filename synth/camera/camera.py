"""A camera: lens, pupil, sensor noise, and the spread of settings that samples are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

import blurphys as bp
from blurphys.frozen import freeze

from .. import optics
from ..noise import ShotReadNoise
from ..scenes import Scene
from .distortion import RadialDistortion
from .sensor import Sensor
from .tone import ToneCurve

__all__ = ["Camera", "Imperfections", "pupil_from_dict", "pupil_to_dict"]


@dataclass(frozen=True, kw_only=True)
class Imperfections:
    """How a lens differs from a thin one with a flat field; by default not at all.

    Parameters
    ----------
    chromatic : (float, float, float)
        CoC radius of red, green and blue over the nominal one.
    diffraction_nm : float, optional
        Wavelength; PSFs are softened by the Airy disk of the camera's nominal f-number. None leaves diffraction out.
    cat_eye : float
        How far the lens barrel shifts the pupil's clipping disk in the corners, pupil radii (`optics.cat_eye_banks`).
    field_curvature_px : float
        CoC radius that the corners have when the centre is in focus, px.
    vignetting : float
        Light in the corners over light in the centre.
    shading : (float, float)
        Left over right view at the left and at the right border of the frame.
    distortion : RadialDistortion, optional
        Applied to all planes alike, after the blur and before the sensor.

    Notes
    -----
    Vignetting, shading and distortion have the stored image for their frame. Cat eye and curvature have what is
    rendered, the stored image and the margin that its blur needs. Cat eyes are for ``model="gather"``; in a data set
    their PSFs are those of the stored image's width and height, made once.
    """

    chromatic: tuple[float, float, float] = (1.0, 1.0, 1.0)
    diffraction_nm: float | None = None
    cat_eye: float = 0.0
    field_curvature_px: float = 0.0
    vignetting: float = 1.0
    shading: tuple[float, float] = (1.0, 1.0)
    distortion: RadialDistortion | None = None

    def __post_init__(self) -> None:
        for name, count in (("chromatic", 3), ("shading", 2)):
            values = tuple(float(v) for v in getattr(self, name))
            if len(values) != count or not all(math.isfinite(v) and v > 0 for v in values):
                raise ValueError(f"Imperfections: expected {name} = {count} numbers > 0, got {getattr(self, name)}")
            freeze(self, **{name: values})
        if not 0 < self.vignetting <= 1:
            raise ValueError(f"Imperfections: expected vignetting above 0 and at most 1, got {self.vignetting}")
        if not (math.isfinite(self.field_curvature_px) and abs(self.cat_eye) < 2):
            raise ValueError(
                "Imperfections: expected a finite field_curvature_px and a cat_eye between -2 and 2, got "
                f"{self.field_curvature_px} and {self.cat_eye}"
            )
        if self.diffraction_nm is not None and not self.diffraction_nm > 0:
            raise ValueError(f"Imperfections: expected diffraction_nm > 0, got {self.diffraction_nm}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers and lists, ready for JSON."""
        return {
            **asdict(self),
            "chromatic": list(self.chromatic),
            "shading": list(self.shading),
            "distortion": None if self.distortion is None else self.distortion.to_dict(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Imperfections:
        """Undo `to_dict`."""
        distortion = fields["distortion"]
        return cls(**{**fields, "distortion": None if distortion is None else RadialDistortion.from_dict(distortion)})


@dataclass(frozen=True, eq=False, kw_only=True)
class Camera:
    """What takes the picture, and how much its settings vary from sample to sample.

    Parameters
    ----------
    lens : blurphys.ThinLens
        Focal length (mm), f-number, focus distance (m) and pixel pitch (um) of the stored image.
    pupil : blurphys.Pupil
        Shape of the blur, and its division into the left and right view.
    noise : ShotReadNoise
        Noise of one dual-pixel view; the combined image has half its variance.
    max_radius : float
        Largest circle-of-confusion radius rendered, px; what lies beyond is clamped to it and counted.
    step : float
        Distance of the PSF levels that are interpolated between, px.
    focus_range_m : (float, float), optional
        Nearest and farthest focus distance a sample may draw, m (uniform in its inverse); the lens's own without it.
    f_number_range : (float, float), optional
        Smallest and largest f-number a sample may draw (uniform in its logarithm).
    gain_range : (float, float), optional
        Smallest and largest factor on the sensitivity (uniform in its logarithm): `shot` grows with it, `read` with its
        square.
    published : (int, float, float), optional
        Order, cutoff and floor of the published dual-pixel kernels (`blurphys.psf.butterworth`), which then stand for
        the pupil: radii are rounded to whole pixels, and 0 to 1.
    imperfections : Imperfections
        Colour, field and diffraction; none by default.
    readout : Sensor
        Mosaic, black level and resolution of the converter; none by default. Its own noise does not count, `noise`
        does.
    tone : ToneCurve
        Applied to what is stored, sharp image and views alike; "linear" stores light.
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
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Camera: expected {field} > 0 px, got {value}")
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
        if self.published is not None:
            self._check_published(*self.published)

    def _check_published(self, order: int, cutoff: float, floor: float) -> None:
        """Refuse a pupil that would be stored beside kernels that are not made from it."""
        made = self.pupil.parameters
        ring = (made["kind"], made.get("order"), made.get("cutoff"), made.get("floor"), made.get("cat_eye"))
        sensor = (self.pupil.split, self.pupil.cross_talk, self.pupil.angle)
        if ring != ("butterworth", order, cutoff, floor, (0.0, 0.0)) or sensor != (0.5, 0.0, 0.0):
            raise ValueError(
                f"Camera: the published kernels of camera {self.name} come with a pupil, split and angle of their own; "
                "choose another camera, or set published to None, to change them"
            )

    def draw(self, rng: np.random.Generator) -> Camera:
        """Draw the settings of one sample.

        Parameters
        ----------
        rng : numpy.random.Generator
            Three numbers are drawn from it, whichever ranges are given.

        Returns
        -------
        Camera
            With settled focus distance, f-number and noise, and no ranges left.
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
        """Make the PSFs of this camera, all radii up to `max_radius`; they do not depend on the lens settings.

        `views` (see `synth.render`) are what coloured or softened PSFs are made for; their mean is "combined".
        ValueError for views that published kernels do not have.
        """
        if self.published is not None:
            if not set(views) <= {"left", "right", "combined"}:
                raise ValueError(
                    f"Camera: the published kernels of camera {self.name} are of the left and right view, got "
                    f"{', '.join(views)}"
                )
            return _published_bank(*self.published, max_radius=math.floor(self.max_radius))
        flaws = self.imperfections
        if flaws.chromatic == (1.0, 1.0, 1.0):
            bank = bp.PSFBank(self.pupil, max_radius=self.max_radius, step=self.step)
        else:
            bank = optics.chromatic_bank(
                self.pupil, max_radius=self.max_radius, step=self.step, scale=flaws.chromatic, views=_parts(views)
            )  # fmt: skip
        return self._softened(bank, views)

    @property
    def reach(self) -> int:
        """How far from its middle a PSF of this camera goes at most, px."""
        if self.published is not None:
            order, cutoff, floor = self.published
            radius = max(1, math.floor(self.max_radius))
            return int(bp.psf.butterworth(radius, order=order, cutoff=cutoff, floor=floor).shape[-1] // 2)
        reach = math.ceil(max(0.0, self.pupil.extent * self.max_radius - 0.5))
        return reach if self.imperfections.diffraction_nm is None else reach + math.ceil(4 * self._airy_sigma)

    def field_banks(
        self, aspect: float, views: Sequence[str] = ("left", "right")
    ) -> tuple[tuple[bp.PSFBank, ...], ...] | None:
        """Make the PSFs of 3 x 5 places over a frame of this width / height; None for a lens without cat eyes.

        `views` as for `bank`. Cost: fifteen banks, some seconds for radii of 20 px; make them once for many samples.
        """
        flaws = self.imperfections
        if not flaws.cat_eye:
            return None
        if self.published is not None or flaws.chromatic != (1.0, 1.0, 1.0):
            raise ValueError("Camera: cat eyes cannot be had together with published kernels or chromatic defocus yet")
        banks = optics.cat_eye_banks(
            partial(_clipped, self.pupil), rows=3, cols=5, strength=flaws.cat_eye, max_radius=self.max_radius,
            step=self.step, aspect=aspect,
        )  # fmt: skip
        return tuple(tuple(self._softened(bank, views) for bank in row) for row in banks)

    def _softened(self, bank: bp.PSFBank, views: Sequence[str]) -> bp.PSFBank:
        if self.imperfections.diffraction_nm is None:
            return bank
        return optics.softened(bank, self._airy_sigma, views=(*_parts(views), "combined"))

    @property
    def _airy_sigma(self) -> float:
        wavelength, lens = self.imperfections.diffraction_nm, self.lens
        if wavelength is None:
            return 0.0
        magnification = 1 / (1e3 * lens.focus_distance_m / lens.focal_length_mm - 1)
        return optics.diffraction_sigma(
            wavelength, lens.f_number, magnification, pixel_pitch_um=lens.pixel_pitch_um
        )  # fmt: skip

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
        if self.published is None:
            return defocus_map
        whole: np.ndarray = np.rint(defocus_map)
        return np.where(whole == 0, whole.dtype.type(1), whole)

    @property
    def parameters(self) -> dict[str, float]:
        """What differs from sample to sample, by name, unit in the name."""
        return {
            "focus_distance_m": float(self.lens.focus_distance_m),
            "f_number": float(self.lens.f_number),
            "shot_noise": self.noise.shot,
            "read_noise": self.noise.read,
        }

    def with_parameters(self, parameters: Mapping[str, float]) -> Camera:
        """Settle the camera on stored `parameters`; it then has no ranges. KeyError if one is missing."""
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
        """Everything about the camera as numbers, strings, lists and dictionaries, ready for JSON."""
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
        """Make the camera that `to_dict` described; ValueError if the description is not one."""
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
        """Names that `preset` knows."""
        return tuple(_PRESETS)

    @classmethod
    def preset(cls, name: str) -> Camera:
        """Return a camera by name.

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
            data sheet. The noise of both is typical of phones and was measured on neither. ``iccv2021-0`` to
            ``iccv2021-4``: the five camera sets of the published dual-pixel generator (Abuolaim et al., ICCV 2021),
            with the kernels it used first, without noise; for metres of depth, and ``model="gather"``. ``syndof``: a
            Gaussian-like blur of at most 14 px, 36 mm wide sensor, focal lengths and cap as in Lee et al., CVPR 2019.

        Raises
        ------
        ValueError
            Another name.
        """
        key = name.lower().replace("_", "-")
        if key not in _PRESETS:
            raise ValueError(f"Camera: expected a preset among {', '.join(_PRESETS)}, got {name!r}")
        return _PRESETS[key]()

    @classmethod
    def for_scenes(
        cls, scenes: Iterable[Scene], *, base: Camera | None = None, max_radius: float = 8.0, outliers: float = 0.005
    ) -> Camera:
        """Fit a camera that draws its settings to all of these scenes: blur up to a limit that is hardly ever clamped.

        Parameters
        ----------
        scenes : iterable of Scene
            Looked at one after the other; each counts the same, whatever its size.
        base : Camera, optional
            Lens, pupil, noise and the ranges of f-number and gain; the ``canon-r6ii`` preset without it.
        max_radius : float
            Limit of the camera, px.
        outliers : float
            Share of the known depths that may blur by more at the strongest setting, 0 to 0.5.

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
        if not (0 <= outliers < 0.5 and math.isfinite(max_radius) and max_radius > 0):
            raise ValueError(
                f"Camera: expected max_radius > 0 px and outliers from 0 to 0.5, got {max_radius} and {outliers}"
            )
        start = cls.preset("canon-r6ii") if base is None else base
        shares = (np.arange(2000) + 0.5) / 2000
        depths = [np.quantile(scene.depth_m[scene.valid], shares, method="nearest") for scene in scenes]
        if not depths:
            raise ValueError("Camera: expected at least one scene, got none")
        depth = np.concatenate(depths)
        near, middle, far = (float(d) for d in np.quantile(depth, (0.25, 0.5, 0.75), method="nearest"))
        focuses = (middle,) if start.focus_range_m is None else (near, far)
        stop = start.lens.f_number if start.f_number_range is None else start.f_number_range[0]
        lens = replace(start.lens, focus_distance_m=middle)
        radii = [replace(lens, f_number=stop, focus_distance_m=u).defocus_map(depth[None]) for u in focuses]
        strongest = max(float(np.quantile(np.abs(r), 1 - outliers, method="nearest")) for r in radii)
        if not strongest > 1e-9:
            raise ValueError(f"Camera: every pixel of the scenes lies in the plane of focus at {middle:g} m")
        pitch = lens.pixel_pitch_um * strongest / max_radius * (1 + 1e-9)
        return replace(
            start,
            lens=replace(lens, pixel_pitch_um=pitch),
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
        """Fit a camera to a scene, so that its blur is strong and stays below a limit.

        Parameters
        ----------
        scene : Scene
            Whose known depths count.
        base : Camera, optional
            Lens, pupil and noise to start from; the ``canon-r6ii`` preset without it.
        max_radius : float
            Circle-of-confusion radius of the most blurred pixel, px, and limit of the camera.
        focus_distance_m : float, optional
            Where to focus; at the depth that `quantile` of the pixels are nearer than without it.
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
        if not 0 <= outliers < 0.5:
            raise ValueError(f"Camera: expected outliers from 0 to 0.5, got {outliers}")
        if not (math.isfinite(max_radius) and max_radius > 0 and 0 <= quantile <= 1):
            raise ValueError(
                f"Camera: expected max_radius > 0 px and quantile in [0, 1], got {max_radius} and {quantile}"
            )
        start = cls.preset("canon-r6ii") if base is None else base
        depth = scene.depth_m[scene.valid]
        focus = float(np.quantile(depth, quantile)) if focus_distance_m is None else focus_distance_m
        lens = replace(start.lens, focus_distance_m=focus)
        extremes = lens.defocus_map(np.quantile(depth, [outliers, 1 - outliers], method="nearest")[None])
        strongest = float(np.abs(extremes).max())
        if not strongest > 1e-9:
            raise ValueError(
                f"Camera: every pixel of scene {scene.name} lies in the plane of focus at {focus:g} m; move the focus"
            )
        # One part in 10^9 to spare, lest rounding push the most blurred pixel over the limit.
        pitch = lens.pixel_pitch_um * strongest / max_radius * (1 + 1e-9)
        return replace(
            start,
            lens=replace(lens, pixel_pitch_um=pitch),
            max_radius=float(max_radius),
            focus_range_m=None,
            f_number_range=None,
            gain_range=None,
            name=f"{start.name} fitted to {scene.name}",
        )


def _parts(views: Sequence[str]) -> tuple[str, ...]:
    """The views that combined is the mean of: those asked for, or left and right."""
    return tuple(view for view in views if view != "combined") or ("left", "right")


def _logarithmic(position: float, low: float, high: float) -> float:
    return float(low * (high / low) ** position)


def _clipped(pupil: bp.Pupil, *, cat_eye: tuple[float, float]) -> bp.Pupil:
    return bp.Pupil.measured(
        pupil.intensity, extent=pupil.extent, split=pupil.split, cross_talk=pupil.cross_talk, angle=pupil.angle,
        cat_eye=cat_eye,
    )  # fmt: skip


def pupil_to_dict(pupil: bp.Pupil) -> dict[str, Any]:
    """Describe a pupil by its kind and the numbers that make it again, ready for JSON."""
    fields = dict(pupil.parameters)
    if fields["kind"] in _FORMULAS:
        return {**fields, "cat_eye": list(fields["cat_eye"])}
    sensor = {"split": pupil.split, "cross_talk": pupil.cross_talk, "angle": pupil.angle}
    return {"kind": "measured", "extent": pupil.extent, **sensor, "intensity": pupil.intensity.tolist()}


def pupil_from_dict(fields: Mapping[str, Any]) -> bp.Pupil:
    """Undo `pupil_to_dict`; KeyError, TypeError or ValueError if the description is none."""
    values = dict(fields)
    kind = values.pop("kind")
    if "cat_eye" in values:
        values["cat_eye"] = tuple(values["cat_eye"])
    if kind == "measured":
        return bp.Pupil.measured(values.pop("intensity"), **values)
    if kind not in _FORMULAS:
        raise ValueError(f"Camera: expected a pupil among {', '.join(_FORMULAS)} or measured, got {kind!r}")
    values.pop("extent", None)  # a formula has its extent by itself
    pupil: bp.Pupil = getattr(bp.Pupil, kind)(**values)
    return pupil


_FORMULAS = ("disk", "butterworth", "polygon")


def _canon_r6ii() -> Camera:
    return Camera(
        lens=bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=36000 / 768),
        pupil=bp.Pupil.disk(split=0.15),
        noise=ShotReadNoise.typical(2e-4),
        focus_range_m=(0.8, 3.0),
        f_number_range=(2.8, 8.0),
        gain_range=(0.5, 8.0),
        name="canon-r6ii",
    )


def _pixel4() -> Camera:
    return Camera(
        lens=bp.ThinLens(focal_length_mm=4.38, f_number=1.7, focus_distance_m=0.5, pixel_pitch_um=2.8),
        pupil=bp.Pupil.disk(split=0.45),
        noise=ShotReadNoise.typical(1e-3),
        focus_range_m=(0.2, 1.5),
        gain_range=(0.25, 4.0),
        name="pixel4",
    )


# Focal length f, f-number N, focus u of the published sets, and the largest radius they reach beyond 250 m or up close.
# The published code mixes metres and millimetres, so only A s' / u = f^2 / (N (u - f)) has a meaning: the radius at
# infinity in px. It takes what is a diameter for the radius; so do these.
_ICCV2021 = ((4.0, 6.0, 5.0), (5.0, 8.0, 6.0), (7.0, 5.0, 8.0), (10.0, 13.0, 12.0), (22.0, 10.0, 30.0))


def _iccv2021(number: int) -> Camera:
    f, stop, focus = _ICCV2021[number]
    radius_at_infinity = f * f / (stop * (focus - f))
    # Any thin lens with this radius at infinity and this focus gives the same map; 50 mm f/4 fixes the pitch.
    probe = bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=focus, pixel_pitch_um=1.0)
    lens = replace(probe, pixel_pitch_um=probe.radius_at_infinity / radius_at_infinity)
    return Camera(
        lens=lens, pupil=bp.Pupil.butterworth(order=3, cutoff=0.8, floor=0.1, split=0.5), max_radius=40.0, step=1.0,
        published=(3, 0.8, 0.1), name=f"iccv2021-{number}",
    )  # fmt: skip


def _syndof() -> Camera:
    return Camera(
        lens=bp.ThinLens(focal_length_mm=70.0, f_number=4.0, focus_distance_m=4.0, pixel_pitch_um=36000 / 1024),
        pupil=bp.Pupil.measured(_gaussian_pupil(), extent=2.0, split=0.0),
        max_radius=14.0,
        focus_range_m=(1.5, 12.0),
        f_number_range=(1.4, 8.0),
        name="syndof",
    )


def _gaussian_pupil() -> np.ndarray:
    """A Gaussian of standard deviation 1/2 in units of the pupil: sigma = D / 4 for a circle of diameter D."""
    line = (np.arange(96) - 47.5) / 24
    grid: np.ndarray = np.exp(-2 * (line[:, None] ** 2 + line**2))
    return grid


def _published_bank(order: int, cutoff: float, floor: float, *, max_radius: int) -> bp.PSFBank:
    radii = list(range(-max_radius, max_radius + 1))
    size = bp.psf.butterworth(max_radius, order=order, cutoff=cutoff, floor=floor).shape[0]
    psfs: dict[str, np.ndarray] = {}
    for view, behind in (("combined", "combined"), ("left", "right"), ("right", "left")):
        levels = []
        for radius in radii:
            chosen = behind if radius < 0 else view
            kernel = bp.psf.butterworth(max(1, abs(radius)), order=order, cutoff=cutoff, floor=floor, view=chosen)
            levels.append(np.pad(kernel, (size - kernel.shape[0]) // 2))
        psfs[view] = np.stack(levels)
    return bp.PSFBank(psfs=psfs, radii=radii)


_PRESETS: dict[str, Callable[[], Camera]] = {
    "canon-r6ii": _canon_r6ii,
    "pixel4": _pixel4,
    "syndof": _syndof,
    **{f"iccv2021-{number}": partial(_iccv2021, number) for number in range(len(_ICCV2021))},
}
