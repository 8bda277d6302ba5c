"""`synth.generate`: from scenes and a camera to samples in HDF5, one file or a folder of shards; and `replay`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from blurphys.files.publishing import PathLike, refuse_existing
from blurphys.inputs import require_number

from ..camera.camera import Camera
from ..camera.views import VIEWS
from ..dataset.config import Storage
from ..dataset.folder import open as open_dataset
from ..io import Encoding
from ..rendering.render import Sample
from ..scenes import Scene
from ..scenes.fitting import DepthResize
from .recipe import MIN_VALID, SPLITS, Recipe, make_recipe
from .report import Report
from .run import make_file, make_folder
from .samples import Stage, prepare_scene, shoot, stream
from .sources import sources_of

__all__ = [
    "MAX_CLAMPED",
    "SPLITS",
    "Stage",
    "generate",
    "replay",
    "stream",
]

MAX_CLAMPED = 0.25
"""Largest share of the pixels of known depth that may be clamped by default."""


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
    model: Literal["gather", "layered", "aperture"] = "layered",
    slabs: int = 24,
    dtype: Literal["float32", "float16"] = "float32",
    compression: int | None | Literal["auto"] = "auto",
    max_clamped: float | None = MAX_CLAMPED,
    min_valid: float = MIN_VALID,
    alpha: bool = True,
    depth_unit: str | float | None = None,
    near_m: float | None = None,
    far_m: float | None = None,
    depth_resize: DepthResize = "guided",
    encoding: Encoding | None = None,
    shard_size: int = 256,
    workers: int = 1,
    executor: Any = None,
    resume: bool = True,
    overwrite: bool = False,
    on_sample: Callable[[int, Sample], None] | None = None,
    on_progress: Callable[[int, int, int], None] | None = None,
    on_note: Callable[[str, bool], None] | None = None,
) -> Report:
    """Render samples of scenes and store them in HDF5.

    Parameters
    ----------
    scenes : Scene, str, path, or a sequence of them
        Paths are RGB-D folders (`synth.scenes.read_folder`) or folders of such folders; names are "motorcycle" and the
        procedural scenes in `synth.generation.sources.DRAWN`. Sample i shows scene i modulo their number. No scene
        should be in two splits (`synth.split_scenes`).
    out : path
        A name ending in .h5 or .hdf5: one file, see `synth.dataset.schema`. Any other: a folder of shards, see Notes
        and ``docs/dataset.md``.
    camera : Camera
        Each sample draws its settings from the camera's ranges.
    samples : int
        How many, at least 1.
    seed : int
        Root of all random numbers, 0 to 2^64 - 1.
    split : {"train", "val", "test"}
        Part of the key of the random numbers.
    size : (int, int), optional
        Height and width of the samples, px: a random window, rendered with a margin, so that true content rather than
        its mirror image blurs across the border wherever the photograph goes on. Without it whole scenes, which must
        then be of one size.
    views, invalid, model, slabs
        As for `synth.render`; photographs get a background (`synth.scenes.with_background`) where the model needs it.
    dtype : {"float32", "float16"}
        Type in which images are stored.
    compression : int, None or "auto"
        gzip level of the file; None stores plainly, which is several times faster: noise does not compress. "auto" is 1
        for one file and None for a folder.
    max_clamped : float or None
        Largest share, 0 to 1, of all pixels of known depth in the data set whose radius may be clamped to the camera's
        ``max_radius``; a quarter by default, None for any. Looked at on up to 32 samples before anything is written,
        counted while rendering, reported at the end.
    min_valid : float
        Least share, 0 to 1, of the pixels of a sample whose depth is known; samples are windows that have it, and a
        scene without one is refused. At least one pixel in any case.
    alpha : bool
        Whether to store the coverage of each layer of scenes with exact layers, such as procedural ones. It makes no
        difference for photographs, which have none.
    depth_unit : {"m", "mm", "0.2mm", "disparity", "relative"}, or the metres of one unit, optional
        Of all folders, overriding what their layout implies, see `synth.io.depth.to_metres`.
    near_m, far_m : float, optional
        Depth of the nearest and of the farthest pixel of every scene, with ``depth_unit="relative"``.
    depth_resize : {"guided", "nearest", "off"}
        How depth of another size than its photograph is resized, see `synth.scenes.fit_depth`.
    encoding : {"srgb", "linear"}, optional
        What the numbers of all photographs in folders mean, overriding what the files say.
    shard_size : int
        Samples in a file of a folder.
    workers : int
        Processes that make the shards of a folder, each with its share of the threads. They are spawned, so a script
        needs its ``if __name__ == "__main__":``.
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Makes the shards instead, on one machine or several; all of them must see `out` under the same path.
    resume : bool
        Continue a folder that was begun with the same arguments: intact shards are kept, damaged and missing ones are
        made. False refuses any existing folder.
    overwrite : bool
        Whether an existing file may be replaced. A folder never is.
    on_sample : callable, optional
        Called with the index and the sample after each is stored; not where other processes make them.
    on_progress : callable, optional
        Called with the number of samples that are done, of all samples, and of pixels clamped so far.
    on_note : callable, optional
        Called with a sentence about the scenes, and whether it is a warning; without it those are Python warnings.

    Returns
    -------
    Report
        Counts and ranges; ``print`` it.

    Raises
    ------
    FileExistsError
        `out` exists, and `overwrite` (a file) or `resume` (a folder) is False.
    FileNotFoundError
        The folder of `out`, or a scene, does not exist.
    OSError
        The disk is full; shards that were published before remain, nothing else does.
    ValueError
        No scenes, two scenes of one name, sizes that do not fit, a folder that was begun with other arguments (the
        message names one) or that another process is making, a shard of another version of the format, too much
        clamping, too little known depth, or an argument out of range. A new folder is removed if this happens before
        its first shard.
    ChildProcessError, ConnectionError
        A worker was killed, or the cluster is gone; the folder can be resumed.

    Notes
    -----
    A sample has images (3, H, W) in units of white, linear light unless the camera has a tone curve: `all_in_focus` and
    the `views`; ``defocus_map`` (H, W), signed radius in px; ``depth_m`` (H, W), metres; ``valid`` (H, W); with layers
    ``alpha`` (L, H, W). `synth.dataset.schema` has all of it.

    A folder holds ``config.json`` (its configuration; written first), ``shard-00000.h5`` and so on, each a file of
    `shard_size` samples that can be read alone, ``manifest.jsonl`` (a line for each shard), ``dataset.h5`` (all of them
    as one virtual file, made last) and ``.lock``.

    One process at a time fills a folder; a second one is refused, where the file system has locks. To use several
    nodes, pass an `executor` that reaches them, such as ``dask.distributed.Client("tcp://HOST:8786")``, and a folder on
    a shared disk. Without a cluster, give each node its own folder and its own `seed`, and merge them (`synth.merge`).

    A sample depends on (seed, split, scene, sample) and the arguments, not on the number of samples, the machine, the
    number of processes or their order. All random settings are stored, so that `replay` renders a sample again without
    drawing them.

    Cost: for each sample that of `synth.render`, at most O(H W r^2) for radius r, for each slab or layer where models
    have them; every shard is written, read back and flushed to the disk before it is published. Memory: one sample, one
    chunk cache and up to eight scenes for each process.
    """
    if max_clamped is not None:
        require_number("generate", "max_clamped", max_clamped, least=0, most=1)
    if os.fspath(out) == "":
        raise ValueError("generate: expected a name for the data set, got an empty text")
    single = Path(out).suffix.lower() in (".h5", ".hdf5") or Path(out).is_file()
    if single:
        refuse_existing(out, overwrite=overwrite)
    recipe = make_recipe(
        sources_of(
            scenes, depth_unit=depth_unit, near_m=near_m, far_m=far_m, depth_resize=depth_resize, encoding=encoding,
            size=size, on_note=on_note or _warn,
        ),
        camera=camera, samples=samples, seed=seed, split=split, size=size, views=views, invalid=invalid, model=model,
        slabs=slabs, min_valid=min_valid, alpha=alpha,
    )  # fmt: skip
    if compression == "auto":
        compression = 1 if single else None
    if not single:
        storage = Storage(dtype=dtype, compression=compression, shard_size=shard_size, max_clamped=max_clamped)
        return make_folder(
            out, recipe, storage, workers=workers, executor=executor, resume=resume, on_sample=on_sample,
            on_progress=on_progress,
        )  # fmt: skip
    if workers != 1 or executor is not None:
        raise ValueError(f"generate: one file is made by one process; name a folder, not {out}, to use several")
    return make_file(
        out, recipe, dtype=dtype, compression=compression, overwrite=overwrite, max_clamped=max_clamped,
        on_sample=on_sample, on_progress=on_progress,
    )  # fmt: skip


def _warn(sentence: str, warning: bool) -> None:
    if warning:
        warnings.warn(sentence, stacklevel=4)


def replay(path: PathLike, index: int, scene: Scene) -> Sample:
    """Render a stored sample again from its stored parameters; only the noise is drawn, from the same stream.

    Parameters
    ----------
    path : path
        A file or folder that `generate` wrote.
    index : int
        Which sample.
    scene : Scene
        The scene it shows; the file holds only its name and size.

    Returns
    -------
    Sample
        Equal to what was stored, up to the rounding of the stored type.

    Raises
    ------
    FileNotFoundError, IndexError
        No such file or sample.
    ValueError
        The file is not a dataset, or `scene` has another name or size than the sample's.
    """
    with open_dataset(path) as data:
        made, stored = data.configuration_of(index), data.parameters(index)
        camera, row = data.camera(index), int(stored.get("sample", range(len(data))[index]))
    number = int(stored["scene"])
    stored_scene = made["scenes"][number]
    name, size = stored_scene["name"], (stored_scene["height"], stored_scene["width"])
    if (scene.name, scene.shape) != (name, size):
        raise ValueError(
            f"replay: expected the scene {name} of {size[0]} x {size[1]} px, got {scene.name} of "
            f"{scene.shape[0]} x {scene.shape[1]} px"
        )
    recipe = Recipe.from_dict(made)
    window = (int(stored["top"]), int(stored["left"]), *recipe.size)
    rng = stream(recipe.seed, recipe.split, number, row, Stage.NOISE)
    ready = prepare_scene(scene, recipe.model, recipe.camera)
    return shoot(ready, camera, window, recipe, rng=rng)
