"""Networks as programs of torch alone, for places where blurphys is not installed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from blurphys.boundary import extend, fold
from blurphys.engines import reference
from blurphys.engines.autograd import FAMILIES

from .net import Net

__all__ = ["decompositions", "export", "foreign"]


def export(
    net: Net,
    images: Tensor | Sequence[Tensor] | None = None,
    *,
    size: tuple[int, int] | None = None,
    plain: bool = True,
) -> torch.export.ExportedProgram:
    """Record what a network does with images of one size as a program that needs neither its class nor Python.

    Parameters
    ----------
    net : Net
        Is copied: neither its mode nor a later change of its weights matters to the program.
    images : Tensor or sequence of Tensors, optional
        What the program will be called with: shapes, dtypes and devices count, values do not.
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
        An operator remains that is not torch's; yours, perhaps.

    Notes
    -----
    Sizes are fixed. How far an image is extended, and to which sizes it is halved and doubled, follows from its size;
    a program for any size would have to hold all these cases. Export one program for each size, or cut photos into
    tiles of one size.

    ``torch.onnx.export(program)`` makes ONNX of a plain program; torch asks for the package onnxscript, which blurphys
    does not install. Blur kernels of more than 49 taps go through Fourier transforms, which ONNX has from opset 17 on.

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
        like = next(net.parameters())
        images = [torch.zeros((1, 3, *size), dtype=like.dtype, device=like.device) for _ in net.inputs]
    assert images is not None
    arguments = (images,) if isinstance(images, Tensor) else tuple(images)
    with torch.no_grad():
        program = torch.export.export(copy.deepcopy(net).eval(), arguments, strict=False)
        if not plain:
            return program
        program = program.run_decompositions(decompositions())
    left = foreign(program)
    if left:
        raise RuntimeError(
            f"export: expected operators of torch alone, got {', '.join(left)}; plain=False keeps them, and the program "
            "then needs the packages they come from"
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


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return what each operator of blurphys is made of, for `torch.export.ExportedProgram.run_decompositions`.

    Returns
    -------
    dict
        ``torch.ops.blurphys.<primitive>.default``, its adjoint as well, to a function of torch operators that can be
        traced with shapes alone. The operators of gradients have none: a program in evaluation mode has no use for
        them.

    Notes
    -----
    Most are the reference of `blurphys.engines`. Gaussian mixtures are written as depthwise convolutions, a dozen times
    fewer nodes than the reference's sums of shifted strips, and interpolated PSFs visit every level of the bank, since
    which ones a map needs is not known beforehand.
    """
    table: dict[Any, Callable[..., Any]] = {}
    for name in FAMILIES:
        for primitive in (name, f"{name}_adjoint"):
            plain = _OWN.get(primitive, getattr(reference, primitive))
            table[getattr(torch.ops.blurphys, primitive).default] = torch.func.functionalize(plain)
    return table


def _separable(image: Tensor, taps: Tensor, padding: int = 0) -> Tensor:
    """Filter (*N, C, H, W) along columns and rows by one-sided symmetric taps (1 or C, h + 1)."""
    channels = image.shape[-3]
    line = torch.cat([taps[:, 1:].flip(-1), taps], dim=-1).expand(channels, -1)[:, None]
    flat = image.reshape(-1, *image.shape[-3:])
    flat = functional.conv2d(flat, line[..., None], padding=(padding, 0), groups=channels)
    flat = functional.conv2d(flat, line[:, :, None], padding=(0, padding), groups=channels)
    return flat.reshape(*image.shape[:-2], *flat.shape[-2:])


def _mixed(image: Tensor, weights: Tensor | None) -> Tensor:
    """Mix the channels of (*N, C, H, W) by (D, C)."""
    if weights is None:
        return image
    flat = functional.conv2d(image.reshape(-1, *image.shape[-3:]), weights[:, :, None, None])
    return flat.reshape(*image.shape[:-3], *flat.shape[-3:])


def _gaussian_mixture(
    x: Tensor, maps: Tensor, taps: Tensor, halves: Sequence[int], boundary: str, mix: Tensor | None = None
) -> Tensor:
    h, (rows, cols) = max(halves), x.shape[-2:]
    plane = extend(x, (h, h), (h, h), boundary)
    y = None
    for k, half in enumerate(halves):
        rim = h - half
        level = plane[..., rim : rim + rows + 2 * half, rim : rim + cols + 2 * half]
        level = _mixed(_separable(level, taps[:, k, : half + 1]), None if mix is None else mix[:, :, k])
        part = maps[..., k, None, :, :] * level
        y = part if y is None else y + part
    assert y is not None  # there is at least one kernel
    return y


def _gaussian_mixture_adjoint(
    y: Tensor, maps: Tensor, taps: Tensor, halves: Sequence[int], boundary: str, mix: Tensor | None = None
) -> Tensor:
    h = max(halves)
    plane = None
    for k, half in enumerate(halves):
        level = _mixed(maps[..., k, None, :, :] * y, None if mix is None else mix[:, :, k].T)
        level = functional.pad(_separable(level, taps[:, k, : half + 1], padding=2 * half), [h - half] * 4)
        plane = level if plane is None else plane + level
    found: Tensor = fold(plane, (h, h), (h, h), boundary)
    return found


def _levels(psfs: Tensor, index: Tensor, fraction: Tensor) -> Tensor:
    """Weight of every level at every pixel, (*B, L, H, W): hat functions."""
    level = torch.arange(psfs.shape[1], device=index.device)[:, None, None]
    below, above = index[..., None, :, :] == level, index[..., None, :, :] + 1 == level
    f = fraction[..., None, :, :]
    zero = torch.zeros_like(f)
    return torch.where(below, 1 - f, zero) + torch.where(above, f, zero)


def _psf_interpolate(x: Tensor, psfs: Tensor, index: Tensor, fraction: Tensor, boundary: str) -> Tensor:
    y: Tensor = reference.psf_gather(x, psfs, _levels(psfs, index, fraction), boundary)
    return y


def _psf_interpolate_adjoint(y: Tensor, psfs: Tensor, index: Tensor, fraction: Tensor, boundary: str) -> Tensor:
    x: Tensor = reference.psf_gather_adjoint(y, psfs, _levels(psfs, index, fraction), boundary)
    return x


_OWN: dict[str, Callable[..., Tensor]] = {
    "gaussian_mixture": _gaussian_mixture,
    "gaussian_mixture_adjoint": _gaussian_mixture_adjoint,
    "psf_interpolate": _psf_interpolate,
    "psf_interpolate_adjoint": _psf_interpolate_adjoint,
}
