"""The state of a training in one safetensors file, written atomically and read without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from blurphys.files.publishing import publish

from ..weights.saving import TRAINING, write_tensors
from .optimisers import NonFiniteLossError

if TYPE_CHECKING:
    from .task import Task

__all__ = ["Progress", "differing_setting", "digest", "read_state", "write_state"]

FORMAT, VERSION = TRAINING, 1

FREE = ("out", "epochs", "steps", "workers", "device", "compile", "log_every", "checkpoint_every")
"""Settings that a resumed training may change: they change the results of a step by rounding at most."""

RATES = "learning_rate"
"""May change from the step on at which it is resumed."""


@dataclass(kw_only=True)
class Progress:
    """The state of a training besides tensors.

    Attributes
    ----------
    step : int
        Steps that are done.
    samples : int
        Of the dataset.
    best_psnr, best_step : float, int, optional
        Of the best validation.
    sums : dict of str to (float, int)
        Sum and number of what was measured since the last line of the log.
    """

    step: int = 0
    samples: int = 0
    best_psnr: float | None = None
    best_step: int | None = None
    sums: dict[str, tuple[float, int]]


def write_state(path: Path, task: Task, progress: Progress, config: Mapping[str, Any]) -> None:
    """Write parameters, buffers, optimisers, averages, progress and configuration.

    Parameters
    ----------
    path : Path
        A file there is replaced in one step.
    task : Task
    progress : Progress
    config : mapping
        As `TrainConfig.to_dict` gives it.

    Raises
    ------
    NonFiniteLossError
        Something is not finite; an earlier file stays.
    OSError
        Writing failed; an earlier file stays.
    """
    for key, tensor in _tensors(task).items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NonFiniteLossError(f"train: {key} is not finite after step {progress.step}; {path} stays as it was")
    tensors = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in _tensors(task).items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "config": json.dumps(config, allow_nan=False),
        "progress": json.dumps(vars(progress), allow_nan=False),
    }
    with publish(path, overwrite=True) as part:
        write_tensors(tensors, part, metadata)


def digest(task: Task) -> int:
    """Return a 48-bit hash of the state of a task: parameters, buffers, optimisers, averages."""
    found = blake2b(digest_size=6)
    for key, tensor in sorted(_tensors(task).items()):
        found.update(key.encode())
        found.update(tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return int.from_bytes(found.digest())


def _tensors(task: Task) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for role, module in task.modules.items():
        found |= {f"modules/{role}/{key}": tensor for key, tensor in module.state_dict().items()}
    for role, average in task.averages.items():
        found |= {f"averages/{role}/{key}": tensor for key, tensor in average.values.items()}
    for role, optimiser in task.optimisers.items():
        for number, state in optimiser.state_dict()["state"].items():
            found |= {f"optimisers/{role}/{number}/{key}": torch.as_tensor(value) for key, value in state.items()}
    return found


def read_state(path: Path, task: Task, config: Mapping[str, Any], samples: int, per_unit: int = 1) -> Progress:
    """Restore a state that was written.

    Parameters
    ----------
    path : Path
    task : Task
        Receives the tensors.
    config : mapping
        The current configuration.
    samples : int
        Of the dataset now.
    per_unit : int
        Steps in a unit of the schedules.

    Returns
    -------
    Progress

    Raises
    ------
    ValueError
        Not a checkpoint, damaged, of another version, of another configuration (the setting is named), of another
        dataset, or with other tensors (named).
    """
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118, no mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"train: {path} is no checkpoint, or it is damaged: {error}") from None
    if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
        raise ValueError(
            f"train: {path} is no checkpoint of version {VERSION}: expected format {FORMAT!r}, got "
            f"{metadata.get('format')!r}, version {metadata.get('version')}"
        )
    before = json.loads(metadata["config"])
    if (before["epochs"] is None) != (config["epochs"] is None):
        raise ValueError(
            f"train: {path} counts in {'steps' if before['epochs'] is None else 'epochs'}, and so do its schedules; "
            "give its duration in the same unit"
        )
    progress = Progress(**json.loads(metadata["progress"]))
    now = -(-progress.step // per_unit)
    if name := differing_setting(_until(before, now), _until(config, now)):
        old, new = _at(before, name), _at(config, name)
        raise ValueError(
            f"train: {path} belongs to another configuration: {name} was {old!r} and is now {new!r}; use another out "
            "folder, or the setting as it was"
        )
    if progress.samples != samples:
        raise ValueError(f"train: {path} was trained on {progress.samples} samples, and the data have {samples} now")
    _restore(path, task, tensors)
    return progress


def _until(config: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Return a configuration with the learning rates of the epochs (or steps) before `now` alone."""
    return {**config, RATES: [pair for pair in config[RATES] if pair[0] < now]}


def _restore(path: Path, task: Task, tensors: dict[str, Tensor]) -> None:
    expected = {key for key in _tensors(task) if not key.startswith("optimisers/")}
    found = {key for key in tensors if not key.startswith("optimisers/")}
    if expected != found:
        wrong = sorted(expected ^ found)[0]
        raise ValueError(f"train: {path} {'lacks' if wrong in expected else 'has the unknown tensor'} {wrong}")

    def under(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    for role, module in task.modules.items():
        module.load_state_dict(under(f"modules/{role}/"), strict=True)
    for role, average in task.averages.items():
        for key, value in under(f"averages/{role}/").items():
            average.values[key].copy_(value)
    for role, optimiser in task.optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in under(f"optimisers/{role}/").items():
            number, _, name = key.partition("/")
            state.setdefault(int(number), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def differing_setting(before: Any, now: Any, name: str = "") -> str | None:
    """Return the name of the first setting that differs, or None.

    Examples
    --------
    >>> differing_setting({"batch": 4, "net": {"name": "a"}}, {"batch": 4, "net": {"name": "b"}})
    'net.name'
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            inner = f"{name}.{key}" if name else str(key)
            if inner in FREE:
                continue
            # A checkpoint lacks the settings that are newer than it; they count as not set.
            if found := differing_setting(before.get(key), now.get(key), inner):
                return found
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            if found := differing_setting(old, new, f"{name}.{number}"):
                return found
        return None
    return None if before == now else name


def _at(config: Any, name: str) -> Any:
    for part in name.split("."):
        if isinstance(config, list):
            config = config[int(part)]
        else:
            config = config.get(part) if isinstance(config, Mapping) else None
    return config
