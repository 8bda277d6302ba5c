"""Parameters and multiply-accumulates of a network, counted without computing an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from .operator_costs import RULES, Cost

__all__ = ["Part", "Summary", "summary"]

Shape = Sequence[int]

ELSEWHERE = "(elsewhere)"
"""Name of the part for everything outside of all others."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One top-level part of a network.

    Attributes
    ----------
    name : str
        Of the attribute; ``(elsewhere)`` is what runs outside of all of them.
    parameters : int
        Each counted once, where it appears first.
    layers : int
        Multiply-accumulates of convolutions and matrix products.
    operators : int
        Multiply-accumulates of blur operators, filters and mix.
    """

    name: str
    parameters: int
    layers: int
    operators: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Parameters and cost of one forward pass; ``str()`` is a table.

    Attributes
    ----------
    name : str
        Of the network.
    size : (int, int)
        Height and width, px.
    parts : tuple of Part
    parameters : int
    layers, filters, mix : int
        Multiply-accumulates of convolutions and matrix products, of the operators' kernels, and of their channel mix.
    transposed : int
        Those of `layers` that transposed convolutions take, which some published counts leave out or take fourfold.
    """

    name: str
    size: tuple[int, int]
    parts: tuple[Part, ...]
    parameters: int
    layers: int
    filters: int
    mix: int
    transposed: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates in all; a FLOP count is twice as large."""
        return self.layers + self.filters + self.mix

    @property
    def macs_without_bank(self) -> int:
        """Without the kernels of the operators, and with their channel mix: what published counts call convolutions."""
        return self.layers + self.mix

    def __str__(self) -> str:
        unit, letter = (1e9, "G") if self.macs >= 1e8 else (1e6, "M")

        def shown(count: int) -> str:
            return f"{count / unit:.4f}"

        header = ("part", "parameters", f"layers {letter}MAC", f"operators {letter}MAC")
        rows = [(p.name, f"{p.parameters:,}", shown(p.layers), shown(p.operators)) for p in self.parts]
        total = ("total", f"{self.parameters:,}", shown(self.layers), shown(self.filters + self.mix))
        widths = [max(len(row[i]) for row in (header, *rows, total)) for i in range(4)]
        rule = "-" * (sum(widths) + 6)
        lines = ["  ".join(_pad_columns(row, widths)) for row in (header, *rows, total)]
        title = f"{self.name}, {self.size[0]} x {self.size[1]} px"
        end = f"{shown(self.macs)} {letter}MAC in all, {shown(self.macs_without_bank)} without the operators' kernels"
        return "\n".join([title, lines[0], rule, *lines[1:-1], rule, lines[-1], end])


def _pad_columns(row: tuple[str, ...], widths: list[int]) -> list[str]:
    first, *others = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]


def summary(net: nn.Module, size: tuple[int, int]) -> Summary:
    """Count the parameters of a network and what one forward pass at a size costs.

    Parameters
    ----------
    net : Net
        On any device; it is neither run on data nor changed.
    size : (int, int)
        Height and width of the image, px.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        A size the network refuses.

    Notes
    -----
    One image, evaluation mode. Counted by `torch.utils.flop_counter.FlopCounterMode`, which counts two FLOP per
    multiply-accumulate, on tensors without data (``device="meta"``), so that the size costs neither time nor memory.
    Sums, products and activations pixel by pixel are not counted, as usual. The operators of this library have counting
    rules there too, see `nets.tools.operator_costs`.

    Examples
    --------
    >>> import nets
    >>> print(summary(nets.create("gkmnet"), (320, 480)))  # doctest: +SKIP
    """
    height, width = _check_size(size)
    names = getattr(net, "inputs", ("image",))
    channels = getattr(net, "channels_of", lambda name: 3)
    like = next((p for p in net.parameters() if p.is_floating_point()), None)
    dtype = torch.float32 if like is None else like.dtype
    tally, transposed = Cost(filters=0), 0

    def counted(rule: Callable[..., Cost]) -> Callable[..., int]:
        def flop(*shapes: Any, out_shape: Any = None, **others: Any) -> int:
            nonlocal tally
            cost = rule(out_shape, *shapes)
            tally = Cost(filters=tally.filters + cost.filters, mix=tally.mix + cost.mix)
            return 2 * (cost.filters + cost.mix)

        return flop

    def convolution(x: Shape, w: Shape, *rest: Any, out_shape: Any = None, **others: Any) -> int:
        nonlocal transposed
        flop = int(conv_flop_count(list(x), list(w), list(out_shape), transposed=rest[4]))
        transposed += flop // 2 if rest[4] else 0
        return flop

    mapping = {op: counted(rule) for op, rule in RULES.items()} | {torch.ops.aten.convolution: convolution}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)

    def now() -> tuple[int, int]:
        operators = tally.filters + tally.mix
        return counter.get_total_flops() // 2 - operators, operators

    modes = [(module, module.training) for module in net.modules()]
    ledger = _Ledger(net, now)
    try:
        net.eval()
        with torch.no_grad(), _without_data() as fake, counter:
            images = tuple(torch.empty((1, channels(name), height, width), dtype=dtype) for name in names)
            functional_call(net, {key: fake(tensor) for key, tensor in _state(net)}, images)
    finally:
        ledger.remove()
        for module, training in modes:
            module.training = training
    return Summary(
        name=getattr(net, "name", type(net).__name__),
        size=(height, width),
        parts=ledger.parts(net),
        parameters=sum(p.numel() for p in net.parameters()),
        layers=now()[0],
        filters=tally.filters,
        mix=tally.mix,
        transposed=transposed,
    )


@contextmanager
def _without_data() -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Run with tensors that have shapes only; the operators treat this as compilation and skip checks of values."""
    before = torch.compiler._is_compiling_flag
    with FakeTensorMode() as mode:
        torch.compiler._is_compiling_flag = True
        try:
            yield lambda tensor: mode.from_tensor(torch.empty(0, dtype=tensor.dtype)).new_empty(tensor.shape)
        finally:
            torch.compiler._is_compiling_flag = before


def _state(net: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    values = tuple(size) if isinstance(size, Sequence) else ()
    if len(values) != 2 or not all(isinstance(n, int) and n > 0 for n in values):
        raise ValueError(f"summary: expected a size (H, W) in px, got {size!r}")
    return values


class _Ledger:
    """Costs by the top-level part whose module is the innermost that runs."""

    def __init__(self, net: nn.Module, now: Callable[[], tuple[int, int]]) -> None:
        self._now, self._seen, self._stack = now, (0, 0), [ELSEWHERE]
        self._costs = {name: [0, 0] for name, _ in net.named_children()} | {ELSEWHERE: [0, 0]}
        labels: dict[nn.Module, str] = {}
        for name, child in net.named_children():
            for module in child.modules():  # lists of modules never run themselves
                labels.setdefault(module, name)
        self._hooks = [hook for module, name in labels.items() for hook in self._hooked(module, name)]

    def _hooked(self, module: nn.Module, name: str) -> tuple[Any, Any]:
        def enter(*_: Any) -> None:
            self._credit()
            self._stack.append(name)

        def leave(*_: Any) -> None:
            self._credit()
            self._stack.pop()

        return module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)

    def _credit(self) -> None:
        now = self._now()
        cost = self._costs[self._stack[-1]]
        for i in range(2):
            cost[i] += now[i] - self._seen[i]
        self._seen = now

    def remove(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def parts(self, net: nn.Module) -> tuple[Part, ...]:
        """Return the parts, and what ran or is held outside of them where there is any."""
        self._credit()
        owned = dict.fromkeys(self._costs, 0)
        for key, parameter in net.named_parameters():  # each once, under its first name
            first, dot, _ = key.partition(".")
            owned[first if dot else ELSEWHERE] += parameter.numel()
        found = [
            Part(name=name, parameters=owned[name], layers=layers, operators=operators)
            for name, (layers, operators) in self._costs.items()
        ]
        return tuple(p for p in found if p.name != ELSEWHERE or p.parameters or p.layers or p.operators)
