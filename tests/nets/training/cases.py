"""A tiny network, a tiny dual-pixel dataset and configurations for the tests of training."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from nets.net import Net, Outputs
from nets.registry import NETS
from synth.io import write_image

SIZE = (28, 36)
SAMPLES = 6


class Tiny(Net):
    """Two convolutions; on demand with all that a checkpoint must not lose: running statistics, random draws."""

    name = "tiny"

    def __init__(self, *, channels=4, norm=True, dropout=0.0, poison=False):
        super().__init__(channels=channels, norm=norm, dropout=dropout, poison=poison)
        self.poison, self.checkpointing = poison, False
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image):
        features = self.dropout(torch.relu(self.norm(self.first(image))))
        out = image + 0.1 * self.last(features)
        if self.poison and self.training:
            out = out / (image.amin(dim=(1, 2, 3), keepdim=True) > 0)  # infinite where a crop is black
        return out

    def outputs(self, image, sharp=None):
        out = self(image)
        return Outputs(out, (out,))


NETS["tiny"] = f"{__name__}:Tiny"


def write_dpdd(root: Path, split="train", samples=SAMPLES, size=SIZE, black=None) -> Path:
    """Write a dual-pixel set of smooth noise; sample `black` is black."""
    rng = np.random.default_rng(len(split))
    for letter in "clr":
        (root / f"{split}_{letter}" / "source").mkdir(parents=True)
    (root / f"{split}_c" / "target").mkdir()
    for number in range(samples):
        sharp = 0.1 + 0.8 * rng.random((3, *size))
        left, right = (np.roll(sharp, shift, -1) / 2 + sharp / 2 for shift in (-1, 1))
        images = {"c/source": (left + right) / 2, "c/target": sharp, "l/source": left, "r/source": right}
        for place, image in images.items():
            write_image(
                root / f"{split}_{place}" / f"{number:04}.png", 0 * image if number == black else image, bits=16
            )
    return root


def supervised(data: Path, out: Path, **changes):
    """Return the settings of a short training of `Tiny`."""
    return {
        "net": {"name": "tiny", "arguments": {"dropout": 0.2}},
        "data": {
            "reader": "DPDD",
            "root": str(data),
            "split": "train",
            "crop": 16,
            "augment": "dihedral",
            "cache": True,
        },
        "losses": ["l2"],
        "batch": 2,
        "epochs": 3,
        "learning_rate": [[0, 1e-2], [1, 2e-3]],
        "out": str(out),
        "ema": 0.9,
        "log_every": 2,
        "checkpoint_every": 4,
        "device": "cpu",
    } | changes


def reblurring(data: Path, out: Path, **changes):
    """Return the settings of a short training of a map and a blur kernel."""
    return {
        "kind": "reblurring",
        "net": {"name": "defocusgan_map", "arguments": {"channels": 4, "branches": [0, 1], "max_radius": 2}},
        "reblurring": {
            "kernel": {"name": "defocusgan_blur", "arguments": {"max_radius": 2}},
            "phases": [[0, "map"], [1, "kernel"], [2, "map"]],
            "smoothness_from": 2,
        },
        "data": {"reader": "DPDD", "root": str(data), "split": "train", "crop": 16, "augment": "flips", "cache": True},
        "batch": 2,
        "epochs": 3,
        "learning_rate": 1e-2,
        "out": str(out),
        "log_every": 2,
        "checkpoint_every": 4,
        "device": "cpu",
    } | changes


def adversarial(data: Path, out: Path, map_net: Path, **changes):
    """Return the settings of a short training of a generator and a discriminator."""
    return {
        "kind": "adversarial",
        "net": {"name": "defocusgan_generator", "arguments": {"channels": 4, "branches": [0, 1], "bounds": [1.0]}},
        "adversarial": {
            "discriminator": {"name": "defocusgan_discriminator", "arguments": {"channels": 4, "layers": 1}},
            "discriminator_from": 2,
            "adversarial_from": 4,
            "annealing_from": 3,
            "annealing_forwards": 3,
            "map_net": str(map_net),
        },
        "losses": ["defocusgan"],
        "data": {"reader": "DPDD", "root": str(data), "split": "train", "crop": 16, "augment": "flips", "cache": True},
        "batch": 2,
        "steps": 7,
        "learning_rate": 1e-3,
        "out": str(out),
        "log_every": 1,
        "checkpoint_every": 5,
        "device": "cpu",
    } | changes


def validation(data: Path, **more):
    """Return settings that measure on the split "val"."""
    return {"data": {"reader": "DPDD", "root": str(data), "split": "val"}, **more}
