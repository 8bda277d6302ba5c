"""What the lab computes: the blur of a small picture for any focus and aperture, its PSFs, restoration, certificate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

import blurphys as bp
import solvers
from blurphys.frozen import Memo
from blurphys.inputs import require_choice
from solvers.splitting.strength import strength_for
from synth.camera.camera import Camera
from synth.scenes import Scene, resized, stereo_motorcycle

from ..classical.quality import psnr
from ..classical.solve import PRIORS, RHO

__all__ = ["METHODS", "SIDE", "VIEWS", "Exposure", "Lab", "Restoration", "Settings", "bundled_scene", "reduced"]

Image = NDArray[np.floating]
Policy = Literal["nearest", "far", "error"]

SIDE = 256
"""Longest side of the picture that is computed with, px."""

LEAST = 32
"""Least height and width of a picture, px."""

MAX_RADIUS = 16.0
"""Largest blur radius that an opened aperture reaches, unless the camera allows more, px."""

CROP = 40
"""Side of the square whose certificate is computed, px, unless the PSFs need a larger one."""

VIEWS = ("left", "right", "combined")

METHODS: Mapping[str, int] = {"CGLS": 12, "HQS + TV": len(RHO), "fixed point": 12}
"""The methods of restoration, and how many steps of each are computed."""

SEED = 0
"""Of the noise: the same for every setting, so that a change of the picture is a change of the blur."""


class Settings(NamedTuple):
    """What can be changed: focus distance (m), f-number and dual-pixel split (0 to 0.5)."""

    focus_m: float
    f_number: float
    split: float


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Exposure:
    """One picture of the scene.

    Attributes
    ----------
    settings : Settings
        Of the lens.
    A : DefocusBlur
        Its blur, (C, H, W) to itself.
    views : DualPixel
        The same blur as left, right and combined view.
    truth, y : ndarray of shape (C, H, W)
        The picture in focus and the recorded one, with noise; linear light.
    noise_variance : float
        Mean variance of the noise in y.
    clamped : float
        Share of the pixels whose radius was clamped to the largest of the bank.
    """

    settings: Settings
    A: bp.DefocusBlur
    views: bp.DualPixel
    truth: Image
    y: Image
    noise_variance: float
    clamped: float

    def psf(self, row: int, col: int) -> dict[str, Image]:
        """Return the PSF of a pixel in each of `VIEWS`: (h, w), or (C, h, w) where the colours differ."""
        return dict(zip(VIEWS, np.asarray(self.views.psf_at(row, col)), strict=True))

    def view(self, name: str) -> Image:
        """Return the picture that the left or right half-pixels see, without noise, or the recorded one."""
        require_choice("Exposure.view", "name", name, VIEWS)
        return self.y if name == "combined" else np.asarray(self.views.replace(views=(name,))(self.truth))

    def restore(
        self, method: str, *, steps: int | None = None, on_step: Callable[[int, Image], object] | None = None
    ) -> Restoration:
        """Restore y with the operator that made it.

        Parameters
        ----------
        method : str
            One of `METHODS`.
        steps : int, optional
            At most this many; as many as `METHODS` says if omitted. HQS ends with its schedule.
        on_step : callable, optional
            Called with the number of the step and the image after it.

        Returns
        -------
        Restoration

        Raises
        ------
        ValueError
            Another method.

        Notes
        -----
        The weight of total variation follows from the variance of the noise. Cost at 256 x 256 px: 2 applications of A
        or its adjoint a step of CGLS, 1 a step of the fixed point, some 20 a step of HQS.
        """
        require_choice("Exposure.restore", "method", method, tuple(METHODS))
        most = METHODS[method] if steps is None else steps
        images = [self.y]

        def watch(k: int, state: solvers.CGLSState | solvers.FixedPointState | solvers.HQSState) -> None:
            images.append(np.asarray(state.x))
            if on_step is not None:
                on_step(k, images[-1])

        started = time.perf_counter()
        A, y = self.A, self.y
        if method == "CGLS":
            solution = solvers.cgls(A, y, max_iterations=most, tol=1e-5, on_step=watch)
        elif method == "fixed point":
            solution = solvers.fixed_point(A, y, max_iterations=most, on_step=watch)
        else:
            strength = strength_for(self.noise_variance)
            solution = solvers.hqs(A, y, prox=PRIORS["tv"], rho=RHO[:most], strength=strength, on_step=watch)
        seconds = time.perf_counter() - started
        scores = [psnr(image, self.truth, encoding="srgb", clip=True) for image in images]
        return Restoration(
            settings=self.settings, method=method, images=tuple(images),
            residuals=tuple(float(r) for r in solution.residuals), psnr=tuple(scores), status=solution.status,
            seconds=seconds,
        )  # fmt: skip

    def square(self, row: int, col: int) -> tuple[slice, slice]:
        """Return rows and columns of the square around a pixel whose certificate is computed, moved into the frame."""
        height, width = self.A.in_shape[1:]
        side = min(max(CROP, self.A.halo + 8), height, width)
        top, left = (int(np.clip(at - side // 2, 0, n - side)) for at, n in ((row, height), (col, width)))
        return slice(top, top + side), slice(left, left + side)

    def certificate(self, row: int, col: int) -> bp.Certificate:
        """Return the certificate of the blur of a square around a pixel alone, reflected at its border.

        The certificate of the whole picture takes as many applications of a larger operator. A square with strong blur
        says what the strongest blur of the picture does; its border is another.
        """
        rows, cols = self.square(row, col)
        colours = 1 if self.A.bank.psfs().ndim == 3 else self.A.channels
        return bp.certificate(self.A.replace(defocus_map=self.A.defocus_map[rows, cols], channels=colours))


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Restoration:
    """A restoration with all its steps.

    Attributes
    ----------
    settings : Settings
        Of the lens.
    method : str
        One of `METHODS`.
    images : tuple of ndarray of shape (C, H, W)
        The picture after 0, 1, 2, ... steps, linear light, not clipped; the first one is the recorded picture.
    residuals, psnr : tuple of float
        ``||y - A x_k|| / ||y||``, and dB against the picture in focus, both encoded as sRGB and clipped to [0, 1].
    status : solvers.Status
        How the solver ended.
    seconds : float
        Wall time of the solver.
    """

    settings: Settings
    method: str
    images: tuple[Image, ...]
    residuals: tuple[float, ...]
    psnr: tuple[float, ...]
    status: solvers.Status
    seconds: float

    @property
    def steps(self) -> int:
        """Number of steps that were taken."""
        return len(self.images) - 1


@final
class Lab:
    """A small scene and its camera, with the PSFs for every setting.

    Parameters
    ----------
    scene : Scene
        At most `SIDE` px wide and high (`reduced`), at least 32 px.
    camera : Camera, optional
        With the pixel pitch of that scene; of its imperfections, field curvature and coloured defocus are shown. If
        omitted, one that blurs all but a few pixels by at most 8 px.
    invalid : {"nearest", "far", "error"}
        What unknown depths count as.

    Attributes
    ----------
    scene : Scene
        As given.
    initial : Settings
        Those of the camera, to four digits.
    focus_m, f_numbers, splits : tuple of float
        Values that controls offer, increasing, those of `initial` among them: from the nearest to the farthest depth in
        equal steps of its inverse, from two stops wider to four stops narrower in thirds of a stop, and from 0 to the
        largest split.
    max_radius : float
        Larger radii are clamped to it, px.

    Raises
    ------
    ValueError
        A scene that is too small, or too small for the blur; unknown depths under "error".
    """

    def __init__(self, scene: Scene, camera: Camera | None = None, *, invalid: Policy = "nearest") -> None:
        height, width = scene.shape
        if min(height, width) < LEAST:
            raise ValueError(f"expected a picture of at least {LEAST} x {LEAST} px, got {height} x {width}")
        camera = Camera.for_scene(scene) if camera is None else camera
        pupil, lens = camera.pupil, camera.lens
        self.scene, self.invalid = scene, invalid
        self.max_radius = max(camera.max_radius, min(2 * camera.max_radius, MAX_RADIUS))
        # On a pupil within the unit disk the sensitivity of a half-pixel is linear in the split, up to the largest one.
        linear = pupil.extent <= 1 and camera.published is None
        self._split = 0.5 if linear else pupil.split
        self.camera = replace(
            camera, pupil=replace(pupil, split=0.5) if linear else pupil, max_radius=self.max_radius,
            focus_range_m=None, f_number_range=None, gain_range=None,
        )  # fmt: skip
        if self.camera.reach >= min(height, width):
            raise ValueError(
                f"expected blur that fits into the picture of {height} x {width} px, got radii up to "
                f"{self.max_radius:g} px; --max-radius lowers them"
            )
        bank = self.camera.bank(("left", "right"))
        self._radii, self._kernels = bank.radii, {view: np.asarray(bank.psfs(view)) for view in VIEWS}
        self._banks: Memo[bp.PSFBank] = Memo()
        focus, stop = (float(f"{value:.4g}") for value in (lens.focus_distance_m, lens.f_number))
        self.initial = Settings(focus, stop, pupil.split)
        self.focus_m = _rounded(_distances(scene, lens), 3, focus)
        self.f_numbers = _rounded(stop * 2 ** (np.arange(-6, 13) / 6), 2, stop)
        self.splits = _rounded(np.arange(0, self._split + 1e-9, 0.05), 2, pupil.split)
        self.defocus_map(self.initial)  # says now what is wrong with the depth

    def defocus_map(self, settings: Settings) -> tuple[Image, float]:
        """Return the signed radius of each pixel, px, float32, clamped, and the share of the pixels that was."""
        lens = replace(self.camera.lens, focus_distance_m=settings.focus_m, f_number=settings.f_number)
        camera = replace(self.camera, lens=lens)
        radii = camera.settled_map(camera.defocus_map(self.scene.depth_m, invalid=self.invalid))
        most = float(self._radii[-1])
        return np.clip(radii, -most, most).astype(np.float32), float(np.mean(np.abs(radii) > most))

    def bank(self, split: float) -> bp.PSFBank:
        """Return the PSFs for a split up to the last of `splits`: those of the largest, mixed with the combined ones.

        Examples
        --------
        >>> lab = Lab(bundled_scene())
        >>> mixed = lab.bank(0.2).psfs("left")
        >>> made = replace(lab.camera, pupil=replace(lab.camera.pupil, split=0.2)).bank(("left", "right"))
        >>> bool(np.abs(mixed - made.psfs("left")).max() < 1e-12)
        True
        """

        def mix() -> bp.PSFBank:
            share = split / self._split if self._split else 0.0
            middle = self._kernels["combined"]
            psfs = {view: middle + share * (kernels - middle) for view, kernels in self._kernels.items()}
            return bp.PSFBank(psfs=psfs, radii=list(self._radii))

        return self._banks.get(split, mix)

    def expose(self, settings: Settings) -> Exposure:
        """Take a picture.

        Parameters
        ----------
        settings : Settings
            A distance beyond the focal length, a positive f-number, a split up to the last of `splits`.

        Returns
        -------
        Exposure

        Notes
        -----
        The gather operator, without occlusion: each pixel has the PSF of its own depth. Cost at 256 x 256 px: some 20
        ms on one core.
        """
        radii, clamped = self.defocus_map(settings)
        bank = self.bank(settings.split)
        truth = self.scene.all_in_focus.astype(np.float32)
        A = bp.DefocusBlur(radii, bank=bank, channels=3)
        light = np.maximum(np.asarray(A(truth)), 0)
        noise = self.camera.noise.combined
        return Exposure(
            settings=settings, A=A, views=bp.DualPixel(radii, bank=bank, channels=3, views=VIEWS), truth=truth,
            y=noise.add(light, np.random.default_rng(SEED)), noise_variance=float(noise.variance(light).mean()),
            clamped=clamped,
        )  # fmt: skip


def bundled_scene() -> Scene:
    """Return the scene without a photo: a square of scikit-image's motorcycle, reduced."""
    return reduced(stereo_motorcycle().window(0, 120, 500, 500))


def reduced(scene: Scene) -> Scene:
    """Return a scene at most `SIDE` px wide and high."""
    height, width = scene.shape
    scale = min(1.0, SIDE / max(height, width))
    return resized(scene, max(1, round(height * scale)), max(1, round(width * scale)))


def _distances(scene: Scene, lens: bp.ThinLens) -> Image:
    """Focus distances from the nearest to the farthest depth, but for outliers, in equal steps of their inverse, m."""
    near, far = np.percentile(scene.depth_m[scene.valid], (1, 99))
    near, far = min(near, lens.focus_distance_m), max(far, lens.focus_distance_m)
    if far < 1.1 * near:
        near, far = near / 1.5, far * 1.5
    least = 1.05e-3 * lens.focal_length_mm
    return 1 / np.linspace(1 / max(near, least), 1 / max(far, 1.5 * least), 48)


def _rounded(values: Image, digits: int, value: float) -> tuple[float, ...]:
    """Return the values to some digits, increasing, with `value` among them."""
    return tuple(sorted({*(float(f"{v:.{digits}g}") for v in values), value}))
