"""`Stream`: pairs rendered on the fly, as a torch data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch  # noqa: TID253 -- `synth` loads this module when Stream is first used
from torch.utils.data import IterableDataset, get_worker_info  # noqa: TID253

import blurphys as bp
from blurphys.files.publishing import PathLike
from blurphys.inputs import require_integer

from .renderer import Renderer

__all__ = ["Stream"]


class Stream(IterableDataset):  # type: ignore[misc]
    """Training data that are rendered when they are needed: an endless torch ``IterableDataset``.

    ::

        stream = synth.Stream("photos", crop=128, max_radius=8, seed=0)
        for batch in DataLoader(stream, batch_size=16, num_workers=2):
            blurred, sharp, radius = batch["image"], batch["sharp"], batch["defocus_map"]

    Parameters
    ----------
    sources : path, sequence of paths, optional
        Folders of sharp photographs, which `synth.io.read_image` reads; "scikit-image" for the seven photographs of
        that package, "dead-leaves" for 16 drawn scenes. Both without it. Photographs may be out of focus in places:
        crops are taken where they are sharp.
    crop : int or (int, int)
        Height and width, px, at least 16.
    max_radius : float
        Largest radius of the circle of confusion, px, up to 32. Small radii come more often.
    views : sequence of str
        "combined"; or "left" and "right", of a dual-pixel sensor; or all three.
    seed : int
        Another seed, other samples.
    split : {"train", "val", "all"}
        The scenes to use. 85 % of them are for training; which, depends on their names alone, not on `seed`.
    transfer : {"display", "linear"}
        Recorded values, or those decoded by the sRGB curve, as a user would decode a photograph whose tone curve he
        does not know.
    occlusion : float
        Share of samples of two to four layers that occlude each other; the others are of the gather form.
    focus : float
        Share of samples that are in focus everywhere, besides parts of the others.
    core : (float, float)
        Range of `blurphys.Pupil.core`, px.
    psfs : path or array of shape (n, h, w), optional
        Measured PSFs (an ``.npy`` or ``.npz`` file): the shape of three pupils in ten.
    noise : (float, float), optional
        Range of the standard deviation of the noise at mid grey (0.18) in linear light; None for none.
    mosaic, jpeg : float
        Shares of samples that are demosaiced, and compressed (qualities 75 to 98).
    sharpening : float
        Share of samples that the camera sharpens, by an unsharp mask on the encoded values; "sharp" likewise.
    tone : bool
        Random exposure, colour of the light and tone curve: sRGB, power laws, filmic, with more or less contrast in
        each colour. Without it the sRGB curve.
    bits : int, optional
        Of the recorded values; None leaves them unrounded, and uncompressed.
    start : int
        Index of the first sample: the number of those that were used, to go on where a training ended.
    samples : int, optional
        Number of samples; endless without it.
    rank, world : int
        Index and number of processes among which the samples are shared.

    Raises
    ------
    FileNotFoundError
        A folder is missing or has no photographs, or there is no file of PSFs.
    ValueError
        An argument outside what is written above, fewer than two scenes to divide; on rendering: no photograph as large
        as the crop with the reach of the blur around it, or one that cannot be read.

    Notes
    -----
    A sample is a dict of float32 tensors: "image" (3, h, w) (and "left" and "right" instead or besides), "sharp"
    (3, h, w), "defocus_map" (1, h, w), the signed radius in px of a disk as wide as the PSF (of equal second moments,
    whatever the shape of the pupil), "valid" (1, h, w), 0 where a pixel shows more than a
    tenth of another layer, and "noise" (1,), the standard deviation of one pixel and view at mid grey in linear light.

    A scene's light is defocused, then recorded: exposure, photon and read noise, mosaic, white balance, tone curve,
    rounding, JPEG. "sharp" is the same scene through the same lens at radius 0, with the same exposure and curve but
    without noise, mosaic, rounding and JPEG, so that a sample in focus has nothing to deblur: the core is in both.

    Sample i is a function of (seed, split, i), the photographs and the arguments. Worker w of n renders the indices w,
    w + n, ...; a ``DataLoader`` with workers interleaves their batches. About 100 samples of 128 x 128 a second on one
    core.

    Examples
    --------
    >>> stream = Stream(crop=32, max_radius=3.0, seed=1)
    >>> sample = stream.sample(5)
    >>> sample["image"].shape, sample["defocus_map"].shape
    ((3, 32, 32), (1, 32, 32))
    >>> first = next(iter(Stream(crop=32, max_radius=3.0, seed=1, start=5)))
    >>> bool((first["image"].numpy() == sample["image"]).all())
    True
    """

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
        start: int = 0,
        samples: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__()
        self.start = require_integer("Stream", "start", start, 0)
        self.samples = None if samples is None else require_integer("Stream", "samples", samples, 0)
        self.world = require_integer("Stream", "world", world)
        self.rank = require_integer("Stream", "rank", rank, 0)
        if self.rank >= self.world:
            raise ValueError(f"Stream: expected rank below world, the number of processes, got {rank} of {world}")
        self.renderer = Renderer(
            sources,
            crop=crop,
            max_radius=max_radius,
            views=views,
            seed=seed,
            split=split,
            transfer=transfer,
            occlusion=occlusion,
            focus=focus,
            core=core,
            psfs=psfs,
            noise=noise,
            mosaic=mosaic,
            jpeg=jpeg,
            sharpening=sharpening,
            tone=tone,
            bits=bits,
        )

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes of the split."""
        return self.renderer.scenes

    def sample(self, index: int) -> dict[str, np.ndarray]:
        """Render the sample `index`, at least 0, as NumPy arrays; `start`, `rank` and workers do not matter."""
        return self.renderer.sample(index)

    def bank(self, index: int) -> bp.PSFBank:
        """Return the PSFs with which the sample `index` is blurred."""
        return self.renderer.bank(index)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        number = self.rank + self.world * worker
        while self.samples is None or number < self.samples:
            yield {name: torch.from_numpy(array) for name, array in self.sample(self.start + number).items()}
            number += self.world * workers
