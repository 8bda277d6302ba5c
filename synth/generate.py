"""Scenes and a camera to a file of samples."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

import numpy as np

import blurphys as bp
from blurphys.publishing import PathLike, refuse_existing

from ._writing import writing
from .camera import Camera
from .dataset import open as open_dataset
from .render import MODEL, VIEWS, Sample, check_views, render
from .scenes import Scene, read_folder

__all__ = ["SPLITS", "Report", "Stage", "generate", "replay", "stream"]

SPLITS = ("train", "val", "test")


class Stage(IntEnum):
    """What a stream of random numbers is for; the numbers are part of the data's identity and never change."""

    CAMERA = 0
    WINDOW = 1
    NOISE = 2


def stream(seed: int, split: str, scene: int, sample: int, stage: Stage) -> np.random.Generator:
    """Return the random stream of one stage of one sample: Philox, keyed by all five and by nothing else."""
    key = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), scene, sample, int(stage)))
    return np.random.Generator(np.random.Philox(key))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `generate` did.

    Attributes
    ----------
    path : Path
        The file.
    samples : int
        How many it holds.
    clamped_share : float
        Share of all pixels whose circle of confusion was beyond the camera's limit and was clamped.
    unknown_share : float
        Share of all pixels without a known depth.
    radius_range : (float, float)
        Least and largest signed radius rendered, px.
    seconds : float
        Time it took.
    """

    path: Path
    samples: int
    clamped_share: float
    unknown_share: float
    radius_range: tuple[float, float]
    seconds: float

    def __str__(self) -> str:
        low, high = self.radius_range
        return (
            f"{self.path}: {self.samples} samples in {self.seconds:.1f} s, CoC radius {low:+.1f} to {high:+.1f} px, "
            f"{self.clamped_share:.2%} of the pixels clamped, {self.unknown_share:.2%} of unknown depth"
        )


def generate(
    scenes: Scene | PathLike | Sequence[Scene | PathLike],
    out: PathLike,
    *,
    camera: Camera,
    samples: int,
    seed: int,
    split: Literal["train", "val", "test"] = "train",
    size: tuple[int, int] | None = None,
    views: Sequence[str] = VIEWS,
    invalid: Literal["error", "nearest", "far"] = "nearest",
    dtype: Literal["float32", "float16"] = "float32",
    compression: int | None = 1,
    overwrite: bool = False,
    on_sample: Callable[[int, Sample], None] | None = None,
) -> Report:
    """Render samples of scenes and store them in one HDF5 file.

    Parameters
    ----------
    scenes : Scene, path, or a sequence of them
        Paths are RGB-D folders (`synth.scenes.read_folder`). Sample i shows scene i modulo their number. Keep the
        scenes of different splits apart: no scene may be in two.
    out : path
        The file to make; see `synth.dataset` for its layout.
    camera : Camera
        Each sample draws its settings from the camera's ranges.
    samples : int
        How many, at least 1.
    seed : int
        Root of all random numbers, 0 to 2^64 - 1.
    split : {"train", "val", "test"}
        Part of the key of the random numbers.
    size : (int, int), optional
        Height and width of the samples, px, cut at a random place out of a larger rendering, so that true content
        rather than a mirror image blurs across the border wherever the photograph goes on. The whole scenes without
        it, which then must be of one size.
    views : sequence of str
        As for `synth.render`.
    invalid : {"error", "nearest", "far"}
        How unknown depths are filled before blurring.
    dtype : {"float32", "float16"}
        Type in which images are stored.
    compression : int, optional
        gzip level of the file; None stores plainly.
    overwrite : bool
        Whether an existing file may be replaced.
    on_sample : callable, optional
        Called with the index and the sample after each is stored.

    Returns
    -------
    Report
        Counts and ranges; ``print`` it.

    Raises
    ------
    FileExistsError
        `out` exists and `overwrite` is False.
    FileNotFoundError
        The folder of `out`, or a scene, does not exist.
    OSError
        The disk is full; nothing is left behind.
    ValueError
        No scenes, two scenes of one name, sizes that do not fit, or an argument outside what is written above.

    Notes
    -----
    The numbers of a sample depend on (seed, split, scene, sample) and its arguments, not on how many samples are
    made. All that was drawn is stored, so that `replay` renders a sample again without drawing. Memory: one sample
    and the scenes.
    """
    started = time.perf_counter()
    refuse_existing(out, overwrite=overwrite)
    if split not in SPLITS:
        raise ValueError(f"generate: expected split 'train', 'val' or 'test', got {split!r}")
    if samples < 1:
        raise ValueError(f"generate: expected at least one sample, got {samples}")
    if not 0 <= operator.index(seed) < 1 << 64:
        raise ValueError(f"generate: expected a seed from 0 to 2^64 - 1, got {seed}")
    chosen = check_views(views)
    sources = _sources(scenes)
    height, width = _size(sources, size)
    names = ("all_in_focus", *chosen, "defocus_map", "depth_m", "valid")
    configuration = {
        "camera": camera.to_dict(),
        "scenes": [{"name": s.name, "source": s.source, "height": s.shape[0], "width": s.shape[1]} for s in sources],
        "samples": samples,
        "seed": int(seed),
        "split": split,
        "size": [height, width],
        "views": list(chosen),
        "invalid": invalid,
        "model": MODEL,
    }
    bank = camera.bank()
    pixels, clamped, unknown = samples * height * width, 0, 0
    low, high = np.inf, -np.inf
    with writing(
        out,
        samples=samples,
        shape=(height, width),
        names=names,
        configuration=configuration,
        seed=seed,
        dtype=dtype,
        compression=compression,
        overwrite=overwrite,
    ) as writer:
        for index in range(samples):
            number = index % len(sources)
            scene = sources[number]
            drawn = camera.draw(stream(seed, split, number, index, Stage.CAMERA))
            top, left = _place(scene, (height, width), stream(seed, split, number, index, Stage.WINDOW))
            rng = stream(seed, split, number, index, Stage.NOISE)
            window = (top, left, height, width)
            sample = _shoot(scene, drawn, window, rng=rng, views=chosen, invalid=invalid, bank=bank)
            parameters = {"scene": number, "top": top, "left": left, **sample.parameters}
            writer.write(index, sample.arrays, parameters)
            clamped += int(parameters["clamped_pixels"])
            unknown += int(parameters["unknown_pixels"])
            low, high = min(low, float(sample.defocus_map.min())), max(high, float(sample.defocus_map.max()))
            if on_sample is not None:
                on_sample(index, sample)
    return Report(
        path=Path(out),
        samples=samples,
        clamped_share=clamped / pixels,
        unknown_share=unknown / pixels,
        radius_range=(low, high),
        seconds=time.perf_counter() - started,
    )


def replay(path: PathLike, index: int, scene: Scene) -> Sample:
    """Render a stored sample again from its stored parameters, drawing nothing but the noise, whose stream is known.

    Parameters
    ----------
    path : path
        A file that `generate` wrote.
    index : int
        Which sample.
    scene : Scene
        The scene it shows; the file knows its name and size but does not hold it.

    Returns
    -------
    Sample
        Equal to what was stored, up to the rounding of the stored type.

    Raises
    ------
    FileNotFoundError, IndexError
        No such file or sample.
    ValueError
        The file is no dataset, or `scene` has another name or size than the sample's.
    """
    with open_dataset(path) as data:
        made, stored = data.configuration, data.parameters(index)
        camera, row = data.camera(index), range(len(data))[index]
    number = int(stored["scene"])
    told = made["scenes"][number]
    if (scene.name, *scene.shape) != (told["name"], told["height"], told["width"]):
        raise ValueError(
            f"replay: expected the scene {told['name']} of {told['height']} x {told['width']} px, got {scene.name} of "
            f"{scene.shape[0]} x {scene.shape[1]} px"
        )
    window = (int(stored["top"]), int(stored["left"]), *made["size"])
    rng = stream(made["seed"], made["split"], number, row, Stage.NOISE)
    return _shoot(scene, camera, window, rng=rng, views=made["views"], invalid=made["invalid"], bank=camera.bank())


def _sources(scenes: Scene | PathLike | Sequence[Scene | PathLike]) -> list[Scene]:
    listed = [scenes] if isinstance(scenes, Scene | str | Path) else list(scenes)  # type: ignore[arg-type]
    sources = [scene if isinstance(scene, Scene) else read_folder(scene) for scene in listed]  # type: ignore[arg-type]
    if not sources:
        raise ValueError("generate: expected at least one scene, got none")
    names = [scene.name for scene in sources]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"generate: expected scenes of different names, got {', '.join(twice)} more than once")
    return sources


def _size(sources: Sequence[Scene], size: tuple[int, int] | None) -> tuple[int, int]:
    shapes = {scene.shape for scene in sources}
    if size is None:
        if len(shapes) > 1:
            listed = ", ".join(f"{h} x {w}" for h, w in sorted(shapes))
            raise ValueError(
                f"generate: the scenes differ in size ({listed}); pass size=(height, width) to cut samples from them"
            )
        return shapes.pop()
    height, width = (operator.index(n) for n in size)
    least = min(h for h, _ in shapes), min(w for _, w in shapes)
    if not (0 < height <= least[0] and 0 < width <= least[1]):
        raise ValueError(f"generate: expected a size of at most {least[0]} x {least[1]} px, got {height} x {width}")
    return height, width


def _place(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a window of `size`, among the places with at least one known depth."""
    height, width = size
    known = np.pad(scene.valid.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    inside = known[height:, width:] - known[:-height, width:] - known[height:, :-width] + known[:-height, :-width]
    places = np.flatnonzero(inside)
    top, left = np.unravel_index(places[rng.integers(places.size)], inside.shape)
    return int(top), int(left)


def _shoot(
    scene: Scene,
    camera: Camera,
    window: tuple[int, int, int, int],
    *,
    rng: np.random.Generator,
    views: Sequence[str],
    invalid: Literal["error", "nearest", "far"],
    bank: bp.PSFBank,
) -> Sample:
    """Render a window of a scene on a canvas that is larger by the reach of the blur, as far as the scene goes."""
    top, left, height, width = window
    H, W = scene.shape
    margin = bank.psfs("combined").shape[-1] // 2
    above, before = min(margin, top), min(margin, left)
    below, after = min(margin, H - top - height), min(margin, W - left - width)
    canvas = scene.window(top - above, left - before, height + above + below, width + before + after)
    sample = render(canvas, camera, rng=rng, views=views, invalid=invalid, bank=bank)
    return sample.window(above, before, height, width)
