"""Export of networks as programs of torch alone, which run where blurphys is not installed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..net import Net
from .decompositions import decompositions

__all__ = ["decompositions", "export", "foreign"]


def export(
    net: Net,
    images: Tensor | Sequence[Tensor] | None = None,
    *,
    size: tuple[int, int] | None = None,
    plain: bool = True,
) -> torch.export.ExportedProgram:
    """Export a network for images of one size as a program that needs neither its class nor Python.

    Parameters
    ----------
    net : Net
        It is copied: its mode and later changes of its weights do not affect the program.
    images : Tensor or sequence of Tensors, optional
        Example inputs of the program: their shapes, dtypes and devices count, their values do not.
    size : (int, int), optional
        H and W, in place of images: a batch of one, where the weights are.
    plain : bool
        Replace the operators of blurphys by operators of torch, see `decompositions`. False keeps them: the program is
        smaller and faster, and needs ``import blurphys`` where it runs.

    Returns
    -------
    torch.export.ExportedProgram
        In evaluation mode. ``program.module()(*images)`` runs it, `torch.export.save` keeps it.

    Raises
    ------
    ValueError
        Both or neither of images and size, or images that the network refuses.
    RuntimeError
        An operator remains that is not torch's, perhaps one of your own.

    Notes
    -----
    Sizes are fixed. How far an image is extended, and to which sizes it is halved and doubled, follows from its size;
    a program for any size would have to hold all these cases. Export one program for each size, or cut photos into
    tiles of one size.

    ``torch.onnx.export(program)`` makes ONNX of a plain program; torch asks for the package onnxscript, which blurphys
    does not install.

    Examples
    --------
    >>> import torch, nets
    >>> net = nets.create("defocusgan_discriminator", channels=2, layers=1)
    >>> program = export(net, size=(16, 24))
    >>> tuple(program.module()(torch.zeros(1, 3, 16, 24)).shape)
    (1, 1, 11, 15)
    """
    if (images is None) == (size is None):
        given = "neither" if images is None else "both"
        raise ValueError(f"export: expected images or a size (H, W), one of the two, got {given}")
    if size is not None:
        if not (isinstance(size, tuple | list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
            raise ValueError(f"export: expected size as two whole numbers (H, W), got {size!r}")
        like = next(net.parameters())
        images = [
            torch.zeros((1, net.channels_of(name), *size), dtype=like.dtype, device=like.device) for name in net.inputs
        ]
    assert images is not None
    arguments = (images,) if isinstance(images, Tensor) else tuple(images)
    with torch.no_grad():
        program = torch.export.export(copy.deepcopy(net).eval(), arguments, strict=False)
        if plain and foreign(program):
            program = program.run_decompositions(decompositions())
    left = foreign(program)
    if plain and left:
        raise RuntimeError(
            f"export: expected operators of torch alone, got {', '.join(left)}; plain=False keeps them, and "
            "the program then needs the packages they come from"
        )
    return program


def foreign(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """Return the names of a program's operators that do not come with torch, each once."""
    found = {str(node.target) for node in _calls(program) if not _is_own(node.target)}
    return tuple(sorted(found))


def _calls(program: torch.export.ExportedProgram) -> Iterator[Any]:
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from (node for node in module.graph.nodes if node.op == "call_function")


def _is_own(target: Any) -> bool:
    """Whether an operator is one of torch's, or Python's own (``getitem``, arithmetic of sizes)."""
    if isinstance(target, torch._ops.OpOverload):
        return target.namespace in ("aten", "prims")
    return isinstance(target, torch._ops.HigherOrderOperator) or getattr(target, "__module__", "") == "_operator"
