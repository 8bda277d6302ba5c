"""Networks that learn to deblur from rendered data: does a reduced GKMNet or NRKNet beat the baselines it should beat?

The script renders photographs from scikit-image as seen through a lens, with no scene in more than one split, trains a
small network on them, and compares it on scenes that it has not seen

- with the blurred photograph as it is;
- with the fixed-point iteration with a wrong operator, the mean blur of the training set everywhere. The classical
  solver needs to know the blur; if it knows only the mean, it does not help.

The short form takes a minute on two cores; the long one is for a night or a GPU.

    python examples/learn_to_deblur.py --out runs/learn                     # a few hundred steps
    python examples/learn_to_deblur.py --out runs/long --form long --net gkmnet
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import blurphys as bp
import nets
import solvers
import synth
from blurphys.colour import linear_to_srgb, srgb_to_linear
from nets.layers.blocks import ConvLSTM

LENS = bp.ThinLens(focal_length_mm=50.0, f_number=2.8, focus_distance_m=0.9, pixel_pitch_um=150.0)
MAX_RADIUS = 4.0
PHOTOGRAPHS = ("astronaut", "chelsea", "rocket", "immunohistochemistry")
HELD_OUT = ("coffee",)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much is rendered and trained."""

    samples: int
    size: tuple[int, int]
    focus_range_m: tuple[float, float]
    batch: int
    crop: int
    ema: float | None
    steps: Mapping[str, int]
    rate: Mapping[str, float]
    arguments: Mapping[str, Mapping[str, Any]]


SHORT = Form(
    samples=48,
    size=(96, 128),
    focus_range_m=(0.85, 0.95),  # in front of all scenes: blur grows with distance, up to three pixels
    batch=4,
    crop=48,
    ema=None,
    steps={"gkmnet": 200, "nrknet": 300},
    rate={"gkmnet": 5e-3, "nrknet": 2e-3},
    arguments={
        "gkmnet": {"preset": "paper", "width": 6, "scales": 1},
        "nrknet": {"width": 8, "scales": 2, "atoms": 6},
    },
)
MEDIUM = Form(
    samples=192,
    size=(160, 208),
    focus_range_m=(0.85, 3.0),
    batch=4,
    crop=64,
    ema=0.995,
    steps={"gkmnet": 3000, "nrknet": 6000},
    rate={"gkmnet": 2e-3, "nrknet": 1e-3},
    arguments={
        "gkmnet": {"preset": "paper", "width": 16},
        "nrknet": {"width": 16, "atoms": 12},
    },
)
LONG = Form(
    samples=1024,
    size=(192, 256),
    focus_range_m=(0.85, 3.0),
    batch=8,
    crop=128,
    ema=0.999,
    steps={"gkmnet": 200_000, "nrknet": 200_000},
    rate={"gkmnet": 5e-4, "nrknet": 2e-4},
    arguments={"gkmnet": {"preset": "paper"}, "nrknet": {}},
)
FORMS = {"short": SHORT, "medium": MEDIUM, "long": LONG}


def photograph(name: str, seed: int) -> synth.Scene:
    """A photograph from scikit-image, assumed to be sharp, with a smooth synthetic depth from 1 to 6 m."""
    from skimage import data

    image = getattr(data, name)()[..., :3].astype(np.float64) / 255
    while max(image.shape[:2]) > 800:  # average 2 x 2 px in linear light
        even = srgb_to_linear(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
        image = linear_to_srgb((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4)
    light = srgb_to_linear(image).transpose(2, 0, 1).astype(np.float32)
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[0 : light.shape[1], 0 : light.shape[2]] / 400.0
    waves = sum(
        rng.normal() * np.sin(2 * math.pi * (rng.uniform(-1, 1) * row + rng.uniform(-1, 1) * col) + rng.uniform(0, 6.3))
        for _ in range(5)
    )
    depth = 1.0 / np.interp(waves, (waves.min(), waves.max()), (1 / 6.0, 1.0))
    return synth.Scene(all_in_focus=light, depth_m=depth, name=f"{name}-{seed}", source=f"scikit-image {name}")


def drawn() -> list[synth.Scene]:
    """Dead leaves and slanted boards over the same range of depths."""
    options = {"depth_range_m": (1.0, 6.0)}
    leaves = [synth.scenes.dead_leaves(256, 320, seed=k, **options) for k in range(4)]
    return leaves + [synth.scenes.slanted_planes(256, 320, seed=k, **options) for k in range(4)]


def camera(form: Form) -> synth.Camera:
    """A fast normal lens and large pixels: blur radii of up to three or four pixels."""
    pupil = bp.Pupil.disk(split=0.2)
    return synth.Camera(
        lens=LENS, pupil=pupil, max_radius=MAX_RADIUS, focus_range_m=form.focus_range_m, name="learn"
    )  # fmt: skip


def rendered(out: Path, form: Form, seed: int) -> None:
    """Render the training and validation data, or the parts of them that are missing."""
    held_out = max(6, form.samples // 16)
    parts = {
        "train": ("train", [photograph(name, k) for name in PHOTOGRAPHS for k in (0, 1, 2)], form.samples),
        "train-drawn": ("train", drawn(), form.samples // 4),
        "val": ("val", [photograph(name, 7) for name in HELD_OUT], held_out),
        "val-motorcycle": ("val", [synth.scenes.stereo_motorcycle()], max(4, held_out // 2)),
    }
    for part, (split, scenes, samples) in parts.items():
        synth.generate(
            scenes,
            out / part,
            camera=camera(form),
            samples=samples,
            seed=seed,
            split=split,
            size=form.size,
            views=("combined",),
            model="gather",
            shard_size=64,
            on_note=lambda text, warning: None,
        )


def mean_blur(folder: Path, shape: tuple[int, int]) -> bp.Convolution:
    """The mean blur of the training set, applied uniformly: an operator that is wrong at nearly every pixel."""
    radii = [np.abs(sample["defocus_map"]).mean() for sample in synth.open(folder)]
    return bp.Convolution(bp.psf.disk(float(np.mean(radii))), shape=(3, *shape))


def restored(A: bp.Convolution, encoded: np.ndarray) -> np.ndarray:
    """The result of the fixed-point iteration in linear light, encoded again."""
    y = srgb_to_linear(np.clip(encoded, 0, 1).astype(np.float64))
    found = solvers.fixed_point(A, y, max_iterations=8, tol=1e-3)
    return linear_to_srgb(np.clip(found.x, 0, 1)).astype(np.float32)


def begun(name: str, form: Form, out: Path, seed: int) -> Path:
    """Write a network that starts at the identity with maps that are not small, so that it learns to deblur at once.

    Maps are products of the outputs of the memory and of the detail branch. The memory starts at constants, drawn at
    random for each map. GKMNet with the preset "paper" adds the photograph to its sum over kernels, which starts at
    zero. The blur of NRKNet starts as the Dirac kernel alone, times the inverse of its map.
    """
    torch.manual_seed(seed)
    net = nets.create(name, **form.arguments[name])
    with torch.no_grad():
        for memory in (m for m in net.modules() if isinstance(m, ConvLSTM)):
            memory.conv.weight.mul_(0.2)
            memory.conv.weight.unflatten(0, (4, -1))[:, 0] = 0  # a constant for the Dirac kernel
            take, keep, show, value = memory.conv.bias.chunk(4)
            take.fill_(1.0)
            keep[0] = -8.0
            show.fill_(2.0)
            value.uniform_(-1.5, 1.5)
            value[0] = 1.5
            shown = torch.sigmoid(show[0]) * torch.tanh(torch.sigmoid(take[0]) * torch.tanh(value[0]))
        if isinstance(net, nets.GKMNet):
            for step in net.steps:
                step.mix.weight.zero_()
                step.mix.bias.zero_()
        else:
            net.blur.mix.zero_()
            net.blur.mix[:, :, 0] = torch.eye(3) / shown
            net.blur.bias.zero_()
            net.coefficient_net.attention.detail_norm.weight[0] = 0
    path = out / f"{name}-start.safetensors"
    nets.save(net, path, overwrite=True)
    return path


def settings(name: str, form: Form, out: Path, seed: int, steps: int) -> dict[str, Any]:
    """The configuration of the training for `nets.train`."""
    return {
        "kind": "supervised",
        "out": str(out / name),
        "net": {"name": name, "arguments": dict(form.arguments[name]), "start_from": str(begun(name, form, out, seed))},
        "data": {"path": [str(out / "train"), str(out / "train-drawn")], "crop": form.crop, "augment": "dihedral"},
        "losses": [{"name": name}],
        "steps": steps,
        "batch": form.batch,
        "seed": seed,
        "learning_rate": [
            [round(share * steps), rate * form.rate[name]]
            for share, rate in ((0, 0.1), (0.03, 0.5), (0.06, 1.0), (0.4, 0.6), (0.6, 0.3), (0.75, 0.15), (0.9, 0.03))
        ],
        "optimiser": {"clip": 1.0},
        "ema": form.ema,
        "log_every": max(1, steps // 20),
        "checkpoint_every": max(1, steps // 4),
    }


def measured(name: str, out: Path) -> dict[str, Any]:
    """PSNR on the held-out scenes for the blurred image, the fixed point with the mean blur, and the network."""
    net = nets.load(out / name / "net.safetensors")
    scores: dict[str, Any] = {}
    for part in ("val", "val-motorcycle"):
        data = synth.open(out / part)
        A = mean_blur(out / "train", tuple(data[0]["all_in_focus"].shape[-2:]))
        methods = {
            "blurred": None,
            "fixed point, mean blur": lambda sample, A=A: restored(A, sample.arrays["combined"]),
            name: net,
        }
        for method, run in methods.items():
            report = nets.evaluate(run, data, "synthetic", name=method)
            scores.setdefault(method, []).extend(score.values["psnr"] for score in report.scores)
    return {method: float(np.mean(values)) for method, values in scores.items()}


def learn(name: str, out: Path, *, form: Form = SHORT, seed: int = 0, steps: int | None = None) -> dict[str, float]:
    """Render, train and measure; return the mean PSNR of each method on held-out scenes, dB."""
    rendered(out, form, seed)
    config = settings(name, form, out, seed, steps or form.steps[name])
    nets.train(config, resume=(out / name / "last.safetensors").exists())
    scores = measured(name, out)
    (out / f"{name}.json").write_text(json.dumps(scores, indent=2) + "\n")
    return scores


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data, networks and figures")
    parser.add_argument("--net", choices=("gkmnet", "nrknet"), action="append", help="which network; may be repeated")
    parser.add_argument("--form", choices=FORMS, default="short")
    parser.add_argument("--steps", type=int, help="instead of those of the form")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.net or ("gkmnet", "nrknet"):
        scores = learn(name, given.out, form=FORMS[given.form], seed=given.seed, steps=given.steps)
        print(f"{name}, {given.form} form")
        for method, psnr in scores.items():
            print(f"  {method:<24}{psnr:6.2f} dB")


if __name__ == "__main__":
    main()
