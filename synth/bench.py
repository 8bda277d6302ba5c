"""Benchmark: a dual-pixel sample with and without occlusion, against the published generator, and storing it."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import blurphys as bp
from blurphys.bench.problems import opponents

from .camera.camera import Camera
from .camera.noise import ShotReadNoise
from .generation import samples as rendered
from .generation.generate import generate
from .rendering.layering import layers_of
from .rendering.models import Model
from .rendering.render import render
from .scenes import Scene, with_background

__all__ = ["STEPS", "Finding", "Results", "made_up_scene", "measure"]

STEPS = 9
RADIUS, SLABS, STORED = 20, 24, 4
VIEWS = ("left", "right", "combined")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A target and its measurement."""

    what: str
    target: str
    measured: str
    met: bool | None


@dataclass(kw_only=True)
class Results:
    """Times in seconds, and findings."""

    shape: tuple[int, int]
    seconds: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """Two tables."""
        lines = [
            f"### Dual-pixel samples, {self.shape[1]} x {self.shape[0]} px, radius up to {RADIUS} px", "",
            "| | seconds |", "|---|---|",
        ]  # fmt: skip
        lines += [f"| {name} | {seconds:.3f} |" for name, seconds in self.seconds.items()]
        lines += ["", "| | target | measured | |", "|---|---|---|---|"]
        verdict = {True: "met", False: "missed", None: "n/a"}
        lines += [f"| {f.what} | {f.target} | {f.measured} | {verdict[f.met]} |" for f in self.findings]
        return "\n".join(lines) + "\n"


def made_up_scene(height: int, width: int) -> tuple[Scene, Camera]:
    """Draw a textured floor with fifteen disks above it, and a camera that sees radii of -20 to 20 px."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    radii = 16.0 - 30.0 * rows * max(height, width) / height
    for radius in np.linspace(RADIUS - 0.5, 0.5 - RADIUS, 15):
        y, x = rng.uniform(0, height / max(height, width)), rng.uniform(0, width / max(height, width))
        radii[np.hypot(rows - y, columns - x) < rng.uniform(0.03, 0.15)] = radius
    spectrum = np.fft.rfft2(rng.normal(size=(3, height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    texture = np.fft.irfft2(spectrum / np.maximum(frequency, 1e-2), s=(height, width))
    image = np.clip(0.4 + 0.12 * texture / texture.std(), 0.01, None).astype(np.float32)
    lens = bp.ThinLens(focal_length_mm=50.0, f_number=2.0, focus_distance_m=1.0, pixel_pitch_um=1.0)
    far = 1.25 * RADIUS
    lens = bp.ThinLens(
        focal_length_mm=50.0, f_number=2.0, focus_distance_m=1.0, pixel_pitch_um=lens.radius_at_infinity / far
    )
    camera = Camera(
        lens=lens, pupil=bp.Pupil.disk(split=0.4), noise=ShotReadNoise.typical(5e-4), max_radius=float(RADIUS),
        name="bench",
    )  # fmt: skip
    return Scene(all_in_focus=image, depth_m=1.0 / (1.0 - radii / far), name="made-up"), camera


def measure(shape: tuple[int, int], *, rounds: int = 3, say: Callable[[str], object] = lambda _: None) -> Results:
    """Measure everything once; `say` is called `STEPS` times with what comes next."""
    results = Results(shape=shape)
    scene, camera = made_up_scene(*shape)
    bank = camera.bank()
    radii = camera.defocus_map(scene.depth_m).astype(np.float32)
    whole = np.rint(radii).astype(int)
    levels = [np.stack([camera.pupil.psf(float(r), view) for view in VIEWS]) for r in range(-RADIUS, RADIUS + 1)]
    kernels = [level.astype(np.float32) for level in levels]

    gather = bp.DualPixel(np.clip(radii, -RADIUS, RADIUS), bank=bank, views=VIEWS)
    lighted = with_background(scene, reach=2 * RADIUS)

    say("cutting the scene into layers")
    results.seconds["finding the background of a photograph, once for a scene"] = _best(
        lambda: with_background(scene, reach=2 * RADIUS), rounds
    )
    results.seconds[f"cutting it into {SLABS} slabs, once for a camera"] = _best(
        lambda: layers_of(lighted, camera, slabs=SLABS), rounds
    )
    colours, alphas, radius = layers_of(lighted, camera, slabs=SLABS)
    stack = np.ascontiguousarray(colours.reshape(-1, *shape))
    layered = bp.LayeredDefocus(alphas, radii=radius, bank=bank, views=VIEWS, per_layer=True)
    runs: dict[str, Callable[[], object]] = {
        "blur of three views, gather": lambda: gather(scene.all_in_focus),
        f"blur of three views, {len(radius)} layers": lambda: layered(stack),
    }
    for name, loop in _loops(whole, kernels, scene.all_in_focus):
        runs[name] = loop
    for name, run in runs.items():
        say(name)
        results.seconds[name] = _best(run, rounds if "loop" not in name else 1)
    for name in ("OpenCV", "torch"):
        if f"filter loop per level, {name}" not in runs:
            say(f"filter loop, {name}: not installed")
    for model in ("gather", "layered"):
        say(f"a whole sample, {model}")
        source = scene if model == "gather" else lighted
        whole_sample = partial(render, source, camera, rng=0, model=model, slabs=SLABS, bank=bank)
        results.seconds[f"a whole sample with noise, {model}"] = _best(whole_sample, rounds)
    say("storing")
    _storing(results, scene, camera)
    _targets(results, len(radius))
    return results


def _best(run: Callable[[], object], rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def _loops(radii: np.ndarray, kernels: list[np.ndarray], image: np.ndarray) -> list[tuple[str, Callable[[], object]]]:
    """Return the published generator's filter loops, one filter per radius and view, for the installed libraries."""
    loops: list[tuple[str, Callable[[], object]]] = []
    try:
        run = opponents.filter_loop_opencv(radii + RADIUS, kernels)
        loops.append(("filter loop per level, OpenCV", lambda: run(image)))
    except ImportError:
        pass
    try:
        import torch

        bank = [torch.from_numpy(kernel) for kernel in kernels]
        plain = opponents.filter_loop_torch(opponents.masks(torch.from_numpy(radii + RADIUS)), bank)
        loops.append(("filter loop per level, torch", lambda: plain(torch.from_numpy(image))))
    except ImportError:
        pass
    return loops


def _storing(results: Results, scene: Scene, camera: Camera) -> None:
    """Time a shard and each of its samples in one run, so that other load affects both alike."""
    names = vars(rendered)
    spent, original = 0.0, names["sample_of"]

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal spent
        started = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            spent += time.perf_counter() - started

    def store(folder: str, name: str, count: int, model: Model) -> None:
        generate(
            scene, Path(folder) / name, camera=camera, samples=count, seed=0, shard_size=count, model=model,
            compression=None,
        )  # fmt: skip

    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        models: tuple[Model, ...] = ("layered", "gather")
        for model in models:
            store(folder, f"first-{model}", 1, model)
            names["sample_of"], spent = timed, 0.0
            try:
                started = time.perf_counter()
                store(folder, f"timed-{model}", STORED, model)
                total = time.perf_counter() - started
            finally:
                names["sample_of"] = original
            results.seconds[f"a shard of {STORED} samples, {model}: rendering"] = spent
            results.seconds[f"a shard of {STORED} samples, {model}: writing, reading back, syncing"] = total - spent
            share = total / spent - 1
            results.findings.append(
                Finding(
                    what=f"writing, reading back and syncing a shard, float32, not compressed, {model}",
                    target="less than 15 % of making its samples",
                    measured=f"{share:.1%}",
                    met=share < 0.15,
                )
            )
        for size in (2, STORED):
            tracemalloc.start()
            store(folder, f"peak{size}", size, "gather")
            peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
            tracemalloc.stop()
    results.findings.append(
        Finding(
            what=f"peak memory of a shard of 2 and of {STORED} samples, gather",
            target="bounded by the working set of one sample",
            measured=f"{peaks[0]:.0f} and {peaks[1]:.0f} MiB",
            met=peaks[1] < 1.2 * peaks[0],
        )
    )


def _targets(results: Results, slabs: int) -> None:
    seconds = results.seconds
    gather, layered = seconds["blur of three views, gather"], seconds[f"blur of three views, {slabs} layers"]
    for name in ("OpenCV", "torch"):
        loop = seconds.get(f"filter loop per level, {name}")
        if loop is None:
            continue
        for what, ours in (("blur", gather), ("whole sample with noise", seconds["a whole sample with noise, gather"])):
            results.findings.append(
                Finding(
                    what=f"{what}, gather, against the published loop's blur ({name})",
                    target="at least 10 times as fast",
                    measured=f"{loop / ours:.1f} times",
                    met=loop >= 10 * ours,
                )
            )
    for what, ours, other in (
        ("blur", layered, gather),
        (
            "whole sample with noise", seconds["a whole sample with noise, layered"],
            seconds["a whole sample with noise, gather"],
        ),
    ):  # fmt: skip
        results.findings.append(
            Finding(
                what=f"{what}, {slabs} layers, against gather",
                target="at most 3 times the time",
                measured=f"{ours / other:.2f} times",
                met=ours <= 3 * other,
            )
        )
