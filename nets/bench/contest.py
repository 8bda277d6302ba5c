"""The networks compared with plain torch formulations of their physics: seconds, peak memory, memory of gradients.

Everything runs in one process on the same photo and weights, in turn; peak memory is measured in a process of its own,
``python -m nets.bench.contest``.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import solvers
from blurphys.bench.measure.memory import peak
from solvers.bench.contest import Finding, photo

from ..models.gkmnet.gkmnet import GKMNet
from ..models.hqsnet.hqsnet import HQSNet
from ..models.nrknet.nrknet import NRKNet
from .baselines import PlainStep, recursive_products

__all__ = ["STEPS", "Results", "measure"]

STEPS = 8
TRAINING = (64, 96)
"""Height and width where memory for gradients is counted, px."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method."""

    name: str
    seconds: float
    peak_mib: float | None


@dataclass(kw_only=True)
class Results:
    """What was measured."""

    shape: tuple[int, int]
    threads: int
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """Return the tables as Markdown."""
        lines = [f"### Inference, {self.shape[0]} x {self.shape[1]}, {self.threads} threads", ""]
        lines += ["| | seconds | peak memory, MiB |", "|---|---|---|"]
        for row in self.rows:
            memory = "n/a" if row.peak_mib is None else f"{row.peak_mib:.0f}"
            lines.append(f"| {row.name} | {row.seconds:.2f} | {memory} |")
        lines += ["", "### Targets", "", "| | target | measured | |", "|---|---|---|---|"]
        for f in self.findings:
            verdict = "n/a" if f.met is None else "met" if f.met else "missed"
            lines.append(f"| {f.what} | {f.target} | {f.measured} | {verdict} |")
        return "\n".join(lines) + "\n"


def _plain(net: GKMNet) -> GKMNet:
    """Return the same network and weights in the straightforward formulation."""
    other = copy.deepcopy(net)
    other.steps = nn.ModuleList(PlainStep(step) for step in other.steps)
    return other


def _image(shape: tuple[int, int]) -> Tensor:
    return torch.from_numpy(photo(*shape))[None]


def _recursive(shape: tuple[int, int]) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The kernels of NRKNet at full size, ours and plain, of the same random maps."""
    torch.manual_seed(1)
    net = NRKNet().eval()
    image, maps = _image(shape), torch.randn(1, 22, *shape) / 22
    blur = net.blur
    assert blur.mix is not None and blur.bias is not None
    weight = blur.mix.permute(0, 2, 1).reshape(3, -1, 1, 1)
    return partial(blur(maps), image), partial(recursive_products, image, maps, net.atoms(), weight, blur.bias)


def _methods(shape: tuple[int, int]) -> Mapping[str, Callable[[], Tensor]]:
    """All methods that are timed, ready to run."""
    torch.manual_seed(0)
    gkmnet, hqsnet = GKMNet().eval(), HQSNet(iterations=10).eval()
    image, plain_net = _image(shape), _plain(gkmnet)
    ours, plain = _recursive(shape)
    return {
        "GKMNet": lambda: gkmnet(image),
        "GKMNet, straightforward": lambda: plain_net(image),
        "HQSNet, P = 10": partial(hqsnet, image),
        "kernels of NRKNet": ours,
        "kernels of NRKNet, straightforward": plain,
    }


def _spread(images: Tensor, others: Tensor) -> float:
    return float((images - others).abs().max() / others.abs().max())


def measure(
    shape: tuple[int, int], *, rounds: int = 3, memory: bool = True, on_start: Callable[[str], object]
) -> Results:
    """Run every comparison.

    Parameters
    ----------
    shape : (int, int)
        Height and width, px.
    rounds : int
        Runs of every method; medians are reported.
    memory : bool
        Whether peak memory is measured, in a process of its own.
    on_start : callable
        Called with the name of what starts; `STEPS` times.

    Returns
    -------
    Results
    """
    results = Results(shape=shape, threads=torch.get_num_threads())
    seconds: dict[str, list[float]] = {}
    with torch.no_grad():
        on_start("first calls")
        images = {name: run() for name, run in _methods(shape).items()}
        runs = _methods(shape)
        for name, run in runs.items():
            on_start(name)
            for _ in range(rounds):
                started = time.perf_counter()
                run()
                seconds.setdefault(name, []).append(time.perf_counter() - started)
    on_start("peak memory")
    peaks = _peaks(shape) if memory else {}
    for name, spent in seconds.items():
        found = peaks.get(name)
        row = Row(name=name, seconds=median(spent), peak_mib=None if found is None else found / 2**20)
        results.rows.append(row)
    rows = {row.name: row for row in results.rows}
    results.findings += _speed(rows, images)
    on_start("what a gradient keeps")
    results.findings += _training()
    return results


def _speed(rows: Mapping[str, Row], images: Mapping[str, Tensor]) -> list[Finding]:
    ours, plain = rows["GKMNet"], rows["GKMNet, straightforward"]
    gap = _spread(images[ours.name], images[plain.name])
    faster = plain.seconds / ours.seconds
    findings = [
        Finding(
            what="GKMNet against its straightforward formulation, speed",
            target="at least 2 times",
            measured=f"{faster:.2f} times; results differ by {gap:.0e} of the largest value",
            met=faster >= 2,
        )
    ]
    if ours.peak_mib is not None and plain.peak_mib is not None:
        share = plain.peak_mib / ours.peak_mib
        findings.append(
            Finding(what="the same, peak memory", target="at most 1/3", measured=f"1/{share:.2f}", met=share >= 3)
        )
    kernels, products = rows["kernels of NRKNet"], rows["kernels of NRKNet, straightforward"]
    gap, faster = _spread(images[kernels.name], images[products.name]), products.seconds / kernels.seconds
    findings.append(
        Finding(
            what="recursive kernels of NRKNet against theirs",
            target="at least 10 times",
            measured=f"{faster:.1f} times; results differ by {gap:.0e} of the largest value",
            met=faster >= 10,
        )
    )
    slower = rows["HQSNet, P = 10"].seconds / ours.seconds
    findings.append(
        Finding(
            what="HQSNet with P = 10 against GKMNet",
            target="at most 4 times its time (the paper: 7.7)",
            measured=f"{slower:.2f} times",
            met=slower <= 4,
        )
    )
    return findings


def _training() -> list[Finding]:
    """What autograd keeps of the unrolled part, for growing numbers of steps, in images of three colours."""
    image = _image(TRAINING).requires_grad_()
    size = image.numel() * image.element_size()
    torch.manual_seed(0)
    findings = []
    for gradient in ("unrolled", "implicit"):
        kept = []
        for count in (5, 10, 20):
            net = HQSNet(iterations=count, scales=1, denoiser=None, gradient=gradient).train()
            kept.append(solvers.saved_bytes(partial(net, image)) / size)
        findings.append(_kept(f"HQSNet, {gradient} gradient, P = 5, 10, 20", kept, wanted=gradient == "implicit"))
    for checkpointing in (False, True):
        kept = []
        for count in (2, 3, 4):
            net = NRKNet(scales=2, powers=[1, count], checkpointing=checkpointing).train()
            kept.append(solvers.saved_bytes(partial(net, image)) / size)
        name = "checkpointed" if checkpointing else "unrolled"
        findings.append(_kept(f"NRKNet, {name}, 2, 3, 4 steps at the coarsest scale", kept, wanted=checkpointing))
    return findings


def _kept(what: str, kept: list[float], *, wanted: bool) -> Finding:
    growth = (max(kept) - min(kept)) / min(kept)
    return Finding(
        what=f"kept for the gradient: {what}",
        target="constant in the number of steps" if wanted else "",
        measured=", ".join(f"{size:.0f}" for size in kept) + " images",
        met=growth < 0.02 if wanted else None,
    )


def _peaks(shape: tuple[int, int]) -> dict[str, int | None]:
    block = "262144"
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": block, "MALLOC_TRIM_THRESHOLD_": block}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "nets.bench.contest", json.dumps(shape)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise OSError(f"the process that measures memory failed: {lines[-1]}")
    found: dict[str, int | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def _main(text: str) -> None:
    height, width = json.loads(text)
    with torch.no_grad():
        for run in _methods((64, 64)).values():  # loads and compiles what will be needed
            run()
        found = {name: peak(run) for name, run in _methods((height, width)).items()}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1])
