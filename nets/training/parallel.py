"""Data-parallel training under torchrun, each process with its share of every batch; or a single process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

__all__ = ["AgreedError", "Parallel", "parallel", "started_first"]

Made = TypeVar("Made")


class AgreedError(ValueError):
    """An error that the first process raises too, so that only that one has to report it."""


@dataclass(frozen=True)
class Parallel:
    """One of several processes.

    Attributes
    ----------
    rank, world : int
        Its number and how many there are.
    device : torch.device
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    @property
    def gpus(self) -> list[torch.device]:
        """Its GPU, if it has one."""
        return [self.device] if self.device.type == "cuda" else []

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over the processes, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
            values /= self.world
        return values

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over the processes; a parameter that lacks one on some process counts as zero there."""
        if self.world == 1:
            return
        chosen = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in chosen])
        self.mean(flat)
        for parameter, part in zip(chosen, flat.split([p.numel() for p in chosen]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy the values of the first process to all others."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def agree(self, make: Callable[[], Made]) -> Made:
        """Return ``make()``, called on every process; where it fails on one, all processes raise with its message.

        Raises
        ------
        Exception
            The error of `make` on this process.
        ValueError
            On the first process: it failed on others only; the message is that of the first of those.
        AgreedError
            On the others: the same, also where it failed here with that message for bad input.
        """
        if self.world == 1:
            return make()
        try:
            made, failure = make(), None
        except Exception as error:
            failure = error
        failed = self.gather(float(failure is not None))
        if not any(failed):
            return made
        source = failed.index(1.0)
        own = b"" if failure is None else str(failure).encode()[:4096]
        text = own if self.rank == source else b""
        size = int(self.total(torch.tensor(len(text), device=self.device)))
        letters = torch.zeros(size, dtype=torch.uint8, device=self.device)
        if self.rank == source:
            letters.copy_(torch.tensor(list(text), dtype=torch.uint8))
        distributed.broadcast(letters, source)
        said = bytes(letters.tolist())
        is_agreed = said == own and isinstance(failure, ValueError | TypeError | OSError)
        if failure is not None and (self.first or not is_agreed):
            raise failure
        kind = ValueError if self.first else AgreedError
        raise kind(said.decode(errors="replace")) from failure

    def gather(self, value: float) -> list[float]:
        """Return the number that each process has, as float64."""
        values = torch.zeros(self.world, dtype=torch.float64, device=self.device)
        values[self.rank] = value
        found: list[float] = self.total(values).tolist()
        return found

    def wait(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            distributed.barrier()


def started_first() -> bool:
    """Whether this is the only process, or the first of those that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or int(os.environ.get("RANK", "0")) == 0


@contextmanager
def parallel(device: str) -> Iterator[Parallel]:
    """Join the process group of torchrun, from the environment variables ``RANK`` and ``WORLD_SIZE``.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        With several processes each takes the GPU of its ``LOCAL_RANK``.

    Yields
    ------
    Parallel

    Raises
    ------
    ValueError
        ``"cuda"`` where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train: device = 'cuda', but torch finds no CUDA device; use 'cpu' or 'auto'")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(place)
    joins = world > 1 and not distributed.is_initialized()
    if joins:
        # An optimiser imports it later; imported while there is a group, it keeps that group and its threads beyond
        # the end of the training, and a thread that then meets the end of the interpreter aborts the process.
        import_module("torch._dynamo")

        distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Parallel(distributed.get_rank() if world > 1 else 0, world, place)
    finally:
        if joins:
            distributed.destroy_process_group()
