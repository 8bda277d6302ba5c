"""Loading the authors' checkpoints into our networks, strictly: exactly the expected tensors."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from blurphys.files.publishing import existing_file

from ..layers.blocks import BatchStatistics
from ..layers.checks import check_choice
from ..net import Net
from .npz_arrays import read_npz

__all__ = ["OFFICIAL_NETS", "Source", "load_official"]

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any]

MAX_LISTED = 4
"""Largest number of names that a message lists."""

MIN_LIKENESS = 0.9
"""Fraction of common names and shapes above which a checkpoint is taken for one of another network."""


@dataclass(frozen=True, kw_only=True)
class _Official:
    """How to convert one of the authors' checkpoints."""

    title: str
    module: str
    cls: str
    config: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, Any] = field(default_factory=dict)
    container: str = "state_dict"
    batch_norm: bool = False
    numbered: bool = False

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(f"..models.{self.module}", __package__), function)(*args, **kwargs)


def _kpac(title: str, **config: Any) -> _Official:
    return _Official(title=title, module="kpac.kpac", cls="KPACNet", config=config, shapes=config, numbered=True)


def _gan(title: str, module: str, cls: str, container: str = "state_dict") -> _Official:
    return _Official(title=f"DefocusGAN's {title}", module=f"defocus_gan.{module}", cls=cls, container=container)


OFFICIAL_NETS: Mapping[str, _Official] = {
    "gkmnet": _Official(title="GKMNet", module="gkmnet.gkmnet", cls="GKMNet", batch_norm=True),
    "nrknet": _Official(title="NRKNet", module="nrknet.nrknet", cls="NRKNet", batch_norm=True),
    "kpac_2level": _kpac("KPAC with two levels", levels=2),
    "kpac_3level": _kpac("KPAC with three levels", levels=3),
    "kpac_dual": _kpac("KPAC for dual-pixel views", levels=3, dual=True),
    "defocusgan_generator": _gan("generator", "generator", "DefocusGenerator"),
    "defocusgan_map": _gan("map network", "map_net", "DefocusMapNet"),
    "defocusgan_blur": _gan("blur kernels", "blur_kernel", "LearnableBlurKernel", "state_dict_Rs"),
    "defocusgan_discriminator": _gan("discriminator", "discriminator", "PatchDiscriminator", "state_dict_D"),
}
"""The checkpoints that `load_official` can read, by name."""


def load_official(name: str, source: Source, *, bn_stats: BatchStatistics = "batch") -> Net:
    """Build a network with weights that its authors published.

    Parameters
    ----------
    name : str
        One of ``gkmnet``, ``nrknet``, ``kpac_2level``, ``kpac_3level``, ``kpac_dual``, ``defocusgan_generator``,
        ``defocusgan_map``, ``defocusgan_blur`` and ``defocusgan_discriminator``.
    source : path, mapping or sequence
        The checkpoint: a file, or its arrays (NumPy or torch) by the authors' names. Files end in ``.pth`` or ``.pt``
        (of `torch.save`), ``.safetensors`` or ``.npz``. The arrays may lie in a container as the authors' scripts write
        it, under ``state_dict``, ``state_dict_D`` or ``state_dict_Rs``, and their names may all begin with ``module.``.
        For KPAC also a list in the order of the authors' file, or a mapping ``param_000``, ``param_001`` ... in that
        order, with kernels as (height, width, in, out).
    bn_stats : {"batch", "running"}
        Statistics of GKMNet's and NRKNet's normalisation in evaluation mode. The published figures are those of
        ``"batch"``, the statistics of the image itself: the authors' test scripts leave the networks in training
        mode. The other networks have no batch normalisation, and nothing changes for them.

    Returns
    -------
    Net
        On the CPU, in float32, in evaluation mode. It takes and returns RGB in [0, 1], also where the authors' code
        works in another order or range.

    Raises
    ------
    TypeError
        A source of another kind, or a value in it that is no array of floats.
    ValueError
        There is no such network; the file is none of these kinds, damaged, or holds more than tensors; tensors are
        missing, superfluous, of another shape or not finite, each named; or the checkpoint is another network's, which
        is named.
    FileNotFoundError
        There is no such file.

    Notes
    -----
    No pickle is executed: `torch.load` is called with ``weights_only=True``, and the object array of KPAC's files,
    which Python 2 pickled, is parsed by a reader that knows arrays of floats and nothing else.
    """
    check_choice("load_official", "name", name, tuple(OFFICIAL_NETS))
    check_choice("load_official", "bn_stats", bn_stats, get_args(BatchStatistics))
    entry = OFFICIAL_NETS[name]
    state = _tensors(name, _unwrap(name, entry, _read(name, source)))
    _check_names_and_shapes(name, entry, state)
    for key, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"load_official({name!r}): expected finite weights, got others in {key}")
    if _is_numbered(state):
        state = dict(zip(_shapes(name, False), (state[_number(i)] for i in range(len(state))), strict=True))
    own = entry.call("from_official", state)
    config = dict(entry.config, bn_stats=bn_stats) if entry.batch_norm else dict(entry.config)
    with torch.random.fork_rng(
        devices=[]
    ):  # the initial weights are replaced; the caller's random state is not changed
        net: Net = entry.call(entry.cls, **config)
    net.load_state_dict(own, strict=True)
    net.eval()
    return net


@cache
def _shapes(name: str, numbered: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' tensors, in their order."""
    entry = OFFICIAL_NETS[name]
    shapes: dict[str, tuple[int, ...]] = entry.call("official_shapes", **entry.shapes)
    return {_number(i): shape for i, shape in enumerate(shapes.values())} if numbered else shapes


def _number(index: int) -> str:
    return f"param_{index:03d}"


def _is_numbered(state: Mapping[str, Any]) -> bool:
    return all(key.startswith("param_") for key in state)


def _read(name: str, source: Source) -> Mapping[str, Any]:
    """The arrays of a source by name."""
    if isinstance(source, str | os.PathLike):
        source = _read_file(existing_file(source))
    if isinstance(source, Mapping):
        return dict(source)
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray):
        return {_number(i): array for i, array in enumerate(source)}
    raise TypeError(f"load_official({name!r}): expected a path or a mapping of arrays, got {type(source).__name__}")


def _read_file(file: Path) -> Any:
    """Return the content of a file without executing any of it."""
    readers: dict[str, Callable[[Path], Any]] = {
        ".pth": _read_torch,
        ".pt": _read_torch,
        ".safetensors": _read_safetensors,
        ".npz": read_npz,
    }
    if file.suffix not in readers:
        raise ValueError(f"load_official: expected a file ending in {', '.join(readers)}, got {file}")
    return readers[file.suffix](file)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"load_official: {file} is no safetensors file, or a damaged one ({error})") from error


def _read_torch(file: Path) -> Mapping[str, Any]:
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of unknown origin fails in any way, and each means the same
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it asks for {asked[1]}" if asked else "it is damaged or another kind of file"
        raise ValueError(
            f"load_official: {file} could not be read as tensors alone, and whatever else it may hold is not executed "
            f"({what})"
        ) from None
    if not isinstance(loaded, Mapping):
        raise ValueError(f"load_official: expected {file} to hold tensors by name, got {type(loaded).__name__}")
    return loaded


def _unwrap(name: str, entry: _Official, source: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict in a container of the authors' scripts, names without a common ``module.``."""
    if not all(isinstance(key, str) for key in source):
        raise TypeError(f"load_official({name!r}): expected names as keys, got others")
    boxes = [key for key, value in source.items() if key.startswith("state_dict") and isinstance(value, Mapping)]
    if boxes:
        if entry.container not in boxes:
            raise ValueError(
                f"load_official({name!r}): expected the container of {entry.title} to have {entry.container!r}, got "
                f"{', '.join(boxes)}"
            )
        source = source[entry.container]
        if not all(isinstance(key, str) for key in source):
            raise TypeError(f"load_official({name!r}): expected names as keys of {entry.container!r}, got others")
    if source and all(key.startswith("module.") for key in source):
        return {key.removeprefix("module."): value for key, value in source.items()}
    return source


def _tensors(name: str, arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays as tensors."""
    tensors = {}
    for key, value in arrays.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            raise TypeError(f"load_official({name!r}): expected {key} to be an array, got {_describe(value)}")
        if not value.is_floating_point() and not key.endswith("num_batches_tracked"):
            raise TypeError(f"load_official({name!r}): expected {key} to hold floats, got {value.dtype}")
        tensors[key] = value.detach()
    return tensors


def _describe(value: Any) -> str:
    return f"{type(value).__name__} of {value.dtype}" if hasattr(value, "dtype") else type(value).__name__


def _check_names_and_shapes(name: str, entry: _Official, state: Mapping[str, Tensor]) -> None:
    """ValueError unless names and shapes are those of the network; the message says what differs."""
    numbered = _is_numbered(state) and entry.numbered
    given = {key: tuple(tensor.shape) for key, tensor in state.items()}
    wanted = _shapes(name, numbered)
    if given == wanted:
        return
    here = _likeness(given, wanted)
    others = {
        other: _likeness(given, _shapes(other, it.numbered and _is_numbered(given)))
        for other, it in OFFICIAL_NETS.items()
    }
    best = max(others, key=lambda other: others[other])
    if others[best] >= MIN_LIKENESS and others[best] > here:
        raise ValueError(
            f"load_official({name!r}): this is a checkpoint of {OFFICIAL_NETS[best].title}; expected {entry.title}. "
            f"load_official({best!r}, ...) takes it"
        )
    with torch.device("meta"):
        own = {key: tuple(tensor.shape) for key, tensor in entry.call(entry.cls, **entry.config).state_dict().items()}
    if _likeness(given, own) >= max(MIN_LIKENESS, here):
        raise ValueError(
            f"load_official({name!r}): expected the authors' names, got the names of our own {entry.title}; nets.load "
            "reads such files"
        )
    missing = [key for key in wanted if key not in given]
    extra = [key for key in given if key not in wanted]
    shapes = [
        f"{key} with {given[key]} for {wanted[key]}" for key in wanted if key in given and given[key] != wanted[key]
    ]
    counts = [("missing", missing), ("superfluous", extra), ("of another shape", shapes)]
    faults = "; ".join(f"{len(keys)} {what}: {_few(keys)}" for what, keys in counts if keys)
    raise ValueError(f"load_official({name!r}): expected the {len(wanted)} tensors of {entry.title}, got {faults}")


def _likeness(given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> float:
    """Fraction of names and shapes that agree."""
    return sum(given.get(key) == shape for key, shape in wanted.items()) / max(len(given), len(wanted))


def _few(words: Sequence[str]) -> str:
    """The first words, and how many more there are."""
    more = len(words) - MAX_LISTED
    return ", ".join(words[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
