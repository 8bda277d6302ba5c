"""The training loop: steps, logging, validation, checkpoints and resuming."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from blurphys.files.locking import locked
from blurphys.files.publishing import publish
from blurphys.progress import progress as shown_progress

from .checkpoint import Progress, digest, read_state, write_state
from .data import Batches, collate
from .log import Log, psnr_text
from .optimisers import Moment, NonFiniteLossError, scheduled_value
from .parallel import AgreedError, Parallel, parallel
from .settings.config import TrainConfig
from .stopping import Stop, StoppedError, stoppable
from .streamed import open_samples
from .task import Batch, Task, mean_psnr

__all__ = ["TrainReport", "train"]

STATE, LOCK = "last.safetensors", ".lock"


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """The result of a training.

    Attributes
    ----------
    kind, out : str, Path
    steps, epochs : int
        Done in all.
    resumed_from : int
        The step at which this call started.
    loss, psnr : float, optional
        Last line of the log: means over the steps since the one before. None if no step was left to do.
    validation_psnr : tuple of (int, float)
        Step and PSNR in dB of every validation of this call.
    best_psnr, best_step : float, int, optional
    input_psnr : float, optional
        Validation PSNR without a network: of the blurred input, or in a ``"reblurring"`` training of the sharp image.
        Of a ``"blurmap"`` training: of the constant map of half the largest radius. None if this call validated
        nothing.
    files : tuple of Path
        Networks, for `nets.load`.
    seconds : float
    """

    kind: str
    out: Path
    steps: int
    epochs: int
    resumed_from: int
    loss: float | None
    psnr: float | None
    validation_psnr: tuple[tuple[int, float], ...]
    best_psnr: float | None
    best_step: int | None
    input_psnr: float | None
    files: tuple[Path, ...]
    seconds: float


def train(
    config: TrainConfig | Mapping[str, Any] | str | os.PathLike[str], *, resume: bool = False, quiet: bool = False
) -> TrainReport:
    """Train a network with a configuration.

    Parameters
    ----------
    config : TrainConfig, mapping, path of a TOML or JSON file, or name of a recipe
        See `TrainConfig`.
    resume : bool
        Continue the training in the folder `out`. Without it a folder with a checkpoint is an error.
    quiet : bool
        No progress line.

    Returns
    -------
    TrainReport

    Raises
    ------
    FileExistsError
        There is a checkpoint in `out` and `resume` is False.
    FileNotFoundError
        There is nothing to resume, or no data.
    NonFiniteLossError
        A loss or a gradient is not finite. The message names the samples; the last checkpoint is from before.
    TypeError, ValueError
        A wrong setting, data without the fields that the losses need, a checkpoint of another configuration, another
        process that trains in `out`, processes that found different states to resume from. Where the first process
        raises such an error, the others raise an AgreedError with its message.
    KeyboardInterrupt
        Ctrl-C or SIGTERM. The current step is finished and its state written to `out`; a second signal does not wait.

    Notes
    -----
    A step depends on the configuration, the data and its number alone: the batch is a function of (seed, step), and a
    checkpoint holds parameters, buffers, optimisers and averages to the last bit. On a CPU a resumed training therefore
    equals an uninterrupted one exactly. Under ``torchrun`` each process takes an equal share of every batch and
    gradients are averaged. A step then differs by rounding only, which grows over many steps as it does between any two
    machines: the networks are equally good but not identical. In networks with batch normalisation the statistics are
    those of the share. `out` has to be on a disk that all machines share, to resume at least.

    Written to `out`: ``config.json``, ``last.safetensors`` (the state of the training), ``log.csv``, ``log.jsonl``, and
    networks for `nets.load`: ``<role>.safetensors`` (the last) and ``<role>-best.safetensors``, the role being ``net``,
    ``generator``, ``map`` or ``kernel``.
    """
    checked = TrainConfig.of(config)
    with ExitStack() as held:
        machine = held.enter_context(parallel(checked.device))
        held.enter_context(torch.random.fork_rng(devices=machine.gpus))
        machine.agree(lambda: _hold(checked, machine, held, resume=resume))
        run = machine.agree(lambda: _Run(checked, machine, resume=resume, quiet=quiet))
        with stoppable() as stop:
            return run.run(stop)


def _hold(config: TrainConfig, machine: Parallel, held: ExitStack, *, resume: bool) -> None:
    """Lock the folder against other trainings until `held` is closed."""
    out = Path(config.out)
    if not machine.first:
        return
    if not resume and (out / STATE).exists():
        raise FileExistsError(
            f"train: {out / STATE} exists already; resume (--resume) goes on with it, "
            "another out folder (--out) leaves it alone"
        )
    if resume and not (out / "config.json").exists():
        raise FileNotFoundError(f"train: there is nothing to resume in {out}")
    if not out.exists():
        out.mkdir(parents=True)
        held.callback(_drop_if_empty, out)
    held.enter_context(
        locked(out / LOCK, f"train: another process trains in {out}; wait for it, stop it, or use another out folder")
    )


def _drop_if_empty(out: Path) -> None:
    """Remove a folder in which nothing was written."""
    if [file.name for file in out.iterdir()] == [LOCK]:
        (out / LOCK).unlink()
        out.rmdir()


def _task(config: TrainConfig, machine: Parallel) -> Task:
    from .adversarial import Adversarial
    from .blur_map import BlurMapTask
    from .reblurring import Reblurring
    from .supervised import Supervised

    kinds: dict[str, type[Any]] = {
        "supervised": Supervised,
        "adversarial": Adversarial,
        "reblurring": Reblurring,
        "blurmap": BlurMapTask,
    }
    task: Task = kinds[config.kind](config, machine)
    return task


class _Run:
    """One call of `train`."""

    def __init__(self, config: TrainConfig, machine: Parallel, *, resume: bool, quiet: bool) -> None:
        self.config, self.machine, self.quiet = config, machine, quiet
        self.out = Path(config.out)
        torch.manual_seed(config.seed % 2**63)
        self.task = _task(config, machine)
        fields = self.task.fields()
        samples = open_samples(config.data, fields, seed=config.seed)
        share = {"rank": machine.rank, "world": machine.world}
        self.batches = Batches(samples, seed=config.seed, batch=config.batch, **share)
        self.validation = None
        if config.validation is not None:
            self.validation = open_samples(config.validation.data, fields, seed=config.seed, held_out=True)
        self.per_epoch = self.batches.steps_per_epoch
        self.per_unit = self.per_epoch if config.unit == "epoch" else 1
        self.total = (config.epochs or 0) * self.per_epoch if config.steps is None else config.steps
        self.progress = Progress(samples=len(samples), sums={})
        if resume and (self.out / STATE).exists():
            self.progress = read_state(self.out / STATE, self.task, config.to_dict(), len(samples), self.per_unit)
        self.log: Log | None = None
        self.stopping = False

    def _check_equals(self) -> None:
        """Raise on all processes where one resumes from another state: their gradients must not be averaged."""
        steps, states = (self.machine.gather(v) for v in (self.progress.step, digest(self.task)))
        for rank, (step, state) in enumerate(zip(steps, states, strict=True)):
            if (step, state) != (steps[0], states[0]):
                kind = ValueError if self.machine.first else AgreedError
                raise kind(
                    f"train: expected all processes to begin from one state, got process 0 at step {steps[0]:.0f} and "
                    f"process {rank} at step {step:.0f}{' with other weights' if step == steps[0] else ''}; put out on "
                    f"a disk that all machines share, or copy {STATE} of the first to the others"
                )

    def _prepare_folder(self) -> None:
        with publish(self.out / "config.json", overwrite=True) as part:
            part.write_text(json.dumps(self.config.to_dict(), indent=2) + "\n")
        self.log = Log(self.out, after=self.progress.step)

    def run(self, stop: Stop) -> TrainReport:
        if self.machine.world > 1:
            self._check_equals()
        if self.machine.first:
            self._prepare_folder()
        start, began = self.progress.step, time.perf_counter()
        row: dict[str, Any] = {}
        history: list[tuple[int, float]] = []
        unrestored: float | None = None
        for module in self.task.modules.values():
            module.train()
        if self.progress.best_step == start > 0 and not self.machine.gather(float(self._best_is_published()))[0]:
            self._publish_best()
        shown = self.machine.first and not self.quiet
        with shown_progress("train", max(self.total, start)) if shown else nullcontext() as advance:
            if advance is not None and start:
                advance("resumed", start)
            pinned = bool(self.machine.gpus)
            batches = self.batches.loader(start, self.total, workers=self.config.workers, pinned=pinned)
            for step in range(start, self.total):
                if step and step % self.per_unit == 0 and step // self.per_unit in self.config.restarts:
                    self._restart(step)
                self._learn(next(batches), step, stop)
                done = self.progress.step
                last = done == self.total
                say = ""
                if done % self.config.log_every == 0 or last:
                    row = self._row(time.perf_counter() - began)
                    say = f"loss {row['loss']:.4g}, {psnr_text(row['psnr'])}"
                if (found := self._validated(done, last)) is not None:
                    psnr, unrestored = found
                    history.append((done, psnr))
                    row = row if say else {"step": done, "epoch": done // self.per_epoch}
                    row |= {"validation_psnr": psnr, "input_psnr": unrestored}
                    say = ", ".join(filter(None, (say, f"validation {psnr_text(psnr)}")))
                if say and self.log is not None:
                    self.log.write(row)
                better = self.progress.best_step == done
                due = done % self.config.checkpoint_every == 0 or last or (better and self.config.restarts)
                if due or self.stopping:
                    self._write_state()
                if better:
                    self._publish_best()
                if advance is not None:
                    advance(say)
                if self.stopping and not last:
                    raise StoppedError(
                        f"train: interrupted after step {done} of {self.total}; the state is in {self.out / STATE}, "
                        f"and resume (--resume) goes on with it"
                    )
        return self._report(start, row, history, unrestored, time.perf_counter() - began)

    def _moment(self, step: int) -> Moment:
        epoch = step // self.per_epoch
        return Moment(step, epoch, step // self.per_unit, self.per_unit)

    def _learn(self, batch: Batch, step: int, stop: Stop) -> None:
        moved = {name: tensor.to(self.machine.device, non_blocking=True) for name, tensor in batch.items()}
        torch.manual_seed((self.config.seed * 1_000_003 + step) % 2**63)  # for networks that draw random numbers
        try:
            measured = self.task.step(moved, self._moment(step))
        except NonFiniteLossError as error:
            samples = [draw.sample for draw in self.batches.draws(step)]
            raise NonFiniteLossError(
                f"train: {error} in step {step}, samples {samples} of {self.batches.samples.location}; no checkpoint "
                f"was written of it. A smaller learning rate or optimiser.clip may help; look at those samples, too"
            ) from None
        wish = torch.tensor(float(stop.asked), device=self.machine.device)  # all processes have to end after one step
        parts = [value.float().reshape(()) for value in (*measured.values(), wish)]
        *values, asked = self.machine.mean(torch.stack(parts)).tolist()
        self.stopping = asked > 0
        for name, value in zip(measured, values, strict=True):
            total, count = self.progress.sums.get(name, (0.0, 0))
            self.progress.sums[name] = total + value, count + 1
        self.progress.step = step + 1

    def _row(self, seconds: float) -> dict[str, Any]:
        step = self.progress.step
        means = {name: total / count for name, (total, count) in self.progress.sums.items()}
        self.progress.sums = {}
        rate = scheduled_value(self.config.learning_rate, self._moment(step - 1).now)
        return {"step": step, "epoch": (step - 1) // self.per_epoch, "learning_rate": rate, "seconds": seconds, **means}

    def _validated(self, done: int, last: bool) -> tuple[float, float] | None:
        """Return the PSNR of the network and that of its input, where a validation is due."""
        config = self.config.validation
        if config is None or self.validation is None or not (last or done % (config.every * self.per_unit) == 0):
            return None
        count = len(self.validation) if config.limit is None else min(config.limit, len(self.validation))
        sums = torch.zeros(3, dtype=torch.float64)
        for module in self.task.modules.values():  # running statistics are those of each process until now
            self.machine.broadcast(module.buffers())
        with self.task.measuring():
            for index in range(self.machine.rank, count, self.machine.world):
                batch = collate([self.validation.middle(index)], self.validation.location)
                batch = {name: tensor.to(self.machine.device) for name, tensor in batch.items()}
                image, target = self.task.validation_pair(batch)
                before = mean_psnr(self.task.unrestored(batch), target)
                sums += torch.tensor([float(mean_psnr(image, target)), float(before), 1.0])
            total, total_before, number = self.machine.total(sums.to(self.machine.device)).tolist()
            psnr, unrestored = float(total / number), float(total_before / number)
            if self.progress.best_psnr is None or psnr > self.progress.best_psnr:
                self.progress.best_psnr, self.progress.best_step = psnr, done
        return psnr, unrestored

    def _publish_best(self) -> None:
        """Publish the current network as the best; where restarts need it, the state of this step is written before.

        `_best_is_published` detects a run that ended between the two; it publishes when it is resumed, so that a
        restart always loads what an uninterrupted run would have loaded.
        """
        with self.task.measuring():
            self._publish("-best", self.progress.step)
        self.machine.wait()

    def _best_is_published(self) -> bool:
        from ..weights.saving import describe

        files = [self.out / f"{role}-best.safetensors" for role in self.task.published]
        return all(file.exists() and describe(file).notes["step"] == self.progress.best_step for file in files)

    def _publish(self, suffix: str, done: int) -> list[Path]:
        """Write the current networks, for `nets.load`."""
        from ..weights.saving import save

        files = [self.out / f"{role}{suffix}.safetensors" for role in self.task.published]
        if self.machine.first:
            notes = {"step": done, "psnr": self.progress.best_psnr if suffix else None, "config": self.config.to_dict()}
            for role, file in zip(self.task.published, files, strict=True):
                save(self.task.modules[role], file, notes=notes, overwrite=True)
        return files

    def _restart(self, step: int) -> None:
        """Restart from the best network with a fresh optimiser."""
        self.machine.wait()
        for role in self.task.published if self.progress.best_step is not None else ():  # validated before
            self.machine.agree(partial(self._load_best, role))
            self.machine.broadcast(self.task.modules[role].state_dict().values())
            if role in self.task.averages:
                for name, parameter in self.task.modules[role].named_parameters():
                    self.task.averages[role].values[name].copy_(parameter.detach())
        self.task.forget()

    def _load_best(self, role: str) -> None:
        """Load the best network on the first process."""
        from ..weights.saving import load_weights

        file = self.out / f"{role}-best.safetensors"
        if not self.machine.first:
            return
        if not file.exists():
            raise FileNotFoundError(f"train: a restart goes back to the best network, but there is no file {file}")
        load_weights(self.task.modules[role], file)

    def _write_state(self) -> None:
        if self.machine.first:
            write_state(self.out / STATE, self.task, self.progress, self.config.to_dict())

    def _report(
        self,
        start: int,
        row: Mapping[str, Any],
        history: list[tuple[int, float]],
        unrestored: float | None,
        seconds: float,
    ) -> TrainReport:
        with self.task.measuring():
            files = self._publish("", self.progress.step)
        best = [file.with_stem(f"{file.stem}-best") for file in files]
        self.machine.wait()
        return TrainReport(
            kind=self.config.kind,
            out=self.out,
            steps=self.progress.step,
            epochs=self.progress.step // self.per_epoch,
            resumed_from=start,
            loss=row.get("loss"),
            psnr=row.get("psnr"),
            validation_psnr=tuple(history),
            best_psnr=self.progress.best_psnr,
            best_step=self.progress.best_step,
            input_psnr=unrestored,
            files=tuple(file for file in (*files, *best) if file.exists()),
            seconds=seconds,
        )
