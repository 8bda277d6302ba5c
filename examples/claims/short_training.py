"""Short trainings of equal length on the same rendered crops, for claims about trained networks."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import nets
import synth
from nets.training.identity import start_at_identity

PEAK = {"gkmnet": 2e-3, "nrknet": 1e-3, "kpac": 1e-3}
"""Learning rates, with a warm-up over a tenth of the steps and a linear decay."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every training of a claim gets."""

    crops: int
    held_out: int
    side: int
    steps: int
    batch: int
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        return f"{len(self.seeds)} seeds, {self.steps} steps of {self.batch} crops of {self.side} px"


BUDGETS = {
    "tiny": Budget(crops=4, held_out=2, side=32, steps=2, batch=2, seeds=(0, 1)),
    "default": Budget(crops=96, held_out=24, side=32, steps=60, batch=4, seeds=(0, 1, 2)),
    "full": Budget(crops=4000, held_out=80, side=64, steps=2000, batch=8, seeds=(0, 1, 2)),
}

Pairs = tuple[torch.Tensor, torch.Tensor]
"""Blurred and sharp crops, (N, 3, side, side), display values."""


def pairs(budget: Budget, split: str, count: int) -> Pairs:
    """Render crops of photographs and drawn scenes, defocused by up to 4 px, without noise."""
    stream = synth.Stream(
        crop=budget.side,
        max_radius=4.0,
        seed=0,
        split=split,
        noise=None,
        mosaic=0.0,
        jpeg=0.0,
        occlusion=0.2,
        focus=0.0,
    )
    samples = [stream.sample(number) for number in range(count)]
    image, sharp = (torch.from_numpy(np.stack([s[name] for s in samples])) for name in ("image", "sharp"))
    return image, sharp


def begun(name: str, arguments: Mapping[str, Any], seed: int) -> nets.Net:
    """Build a network that starts at the identity, where it can."""
    torch.manual_seed(seed)
    net = nets.create(name, **arguments)
    if not arguments.get("attention_only"):
        start_at_identity(net)
    return net


def train(net: nets.Net, data: Pairs, budget: Budget, seed: int) -> nets.Net:
    """Train a network; the crops of each step follow from the seed."""
    rng = np.random.default_rng(seed)
    loss = nets.losses.create_loss("log_l2", weights=(1.0, 0.3, 0.1, 0.1), final=True)
    optimiser = torch.optim.Adam(net.parameters())
    net.train()
    for step in range(budget.steps):
        done = (step + 1) / budget.steps
        for group in optimiser.param_groups:
            group["lr"] = PEAK[net.name] * min(10 * done, (1 - done) / 0.9 + 0.02)
        chosen = torch.from_numpy(rng.integers(len(data[0]), size=budget.batch))
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        image, sharp = (_turned(part[chosen], turns, flip) for part in data)
        total, _ = loss(net.outputs(image, sharp), sharp, image, 0)
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    print(f"{net.name}, seed {seed}: trained", file=sys.stderr, flush=True)
    return net.eval()


def _turned(images: torch.Tensor, turns: int, flip: bool) -> torch.Tensor:
    return torch.rot90(images.flip(-1) if flip else images, turns, (-2, -1)).contiguous()


def total_psnr(images: torch.Tensor, sharp: torch.Tensor) -> float:
    """PSNR of all crops together, dB, values clipped: crops that are sharp already hardly count."""
    return float(-10 * (images.clamp(0, 1) - sharp.clamp(0, 1)).square().mean().log10())


def restored(net: nets.Net, images: torch.Tensor) -> torch.Tensor:
    """Return what a network makes of all crops."""
    with torch.no_grad():
        return torch.cat([net(part) for part in images.split(8)])


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{statistics.mean(values):+.2f} ± {statistics.stdev(values):.2f}"


def decided(differences: Sequence[float]) -> int:
    """Return the sign of paired differences if it is the same for all seeds and 2 standard errors from 0, else 0."""
    mean = statistics.mean(differences)
    clear = abs(mean) > 2 * statistics.stdev(differences) / len(differences) ** 0.5
    alike = all((value > 0) == (mean > 0) for value in differences)
    return (1 if mean > 0 else -1) if clear and alike else 0
