"""Saving and loading networks: safetensors with the configuration that rebuilds the network."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from blurphys.files.publishing import PathLike, existing_file, publish

from ..net import Net
from ..registry import NETS, create, nearest, net_class

__all__ = [
    "FORMAT",
    "PRETRAINED",
    "VERSION",
    "Saved",
    "describe",
    "load",
    "load_weights",
    "pretrained",
    "save",
    "write_tensors",
]

FORMAT, VERSION = "blurphys-net", 1

TRAINING = "blurphys-training"
"""Format of the state of a training."""

ROLES = ("net", "generator")
"""File names of the restoring network in the folder of a training."""

PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""Folder of the weights that come with the package."""

_PICKLES = (b"PK\x03\x04", *(bytes((0x80, version)) for version in range(2, 6)))
"""First bytes of files of torch.save: a zip archive, or a bare pickle. The header of a safetensors file, whose length
comes first, may begin the same way by chance, but its ninth byte opens a record of JSON."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The metadata of a file of weights.

    Attributes
    ----------
    path : Path
    name : str
        Of the network, see `nets.NETS`.
    config : dict
        The arguments it was built with.
    notes : dict
        Notes stored with it: the recipe, held-out figures.
    shapes : dict of str to tuple of int
        Of all tensors.
    dtypes : frozenset of str
        Of all tensors of floats, as safetensors spells them: ``F32``, ``F16``, ``BF16``, ``F64``.
    """

    path: Path
    name: str
    config: dict[str, Any]
    notes: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtypes: frozenset[str]


def save(
    net: Net,
    path: PathLike,
    *,
    half: bool = False,
    notes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a network to a file.

    Parameters
    ----------
    net : Net
        Of a class that `load` can build again: one of this library, or your own, which is then named to `load`.
    path : path
        Must end in ``.safetensors``.
    half : bool
        Store floats in 16 bits (float16), a fourth decimal of precision for half the size; `load` makes float32 of
        them.
    notes : mapping, optional
        Anything JSON can hold: the recipe, held-out figures.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    TypeError
        The network has the name of another class, or config or notes hold what JSON cannot.
    ValueError
        Another suffix, weights that are not finite, or too large for 16 bits.
    FileExistsError, FileNotFoundError, OSError
        The file exists, its folder does not, or the disk refuses.

    Notes
    -----
    The file is written atomically. Its metadata are strings: ``format``, ``version``, ``net``, ``config`` (JSON) and
    ``notes`` (JSON). Buffers that follow from the configuration are not stored.
    """
    if not isinstance(net, Net):
        raise TypeError(f"save: expected a Net, got {type(net).__name__}")
    if net.name in NETS and net_class(net.name) is not type(net):
        raise TypeError(
            f"save: NETS[{net.name!r}] is another class than {type(net).__name__}, so load would build that"
        )
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"save: expected a name ending in .safetensors, got {path}")
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "net": net.name,
        "config": _json("the configuration", net.config),
        "notes": _json("notes", dict(notes or {})),
    }
    tensors = {key: _to_store(key, tensor, half) for key, tensor in net.state_dict().items()}
    with publish(path, overwrite=overwrite) as part:
        write_tensors(tensors, part, metadata)
        _sort_metadata(part)


def write_tensors(tensors: Mapping[str, Tensor], part: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file over the file that is there, with the mode that one has.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    part : Path
        From `publish`, so that its mode is what the umask leaves; safetensors alone would let only its owner read.
    metadata : mapping of str to str
    """
    mode = stat.S_IMODE(part.stat().st_mode)
    save_file(dict(tensors), part, dict(metadata))
    part.chmod(mode)


def load(path_or_name: PathLike, *, net_class: type[Net] | None = None) -> Net:
    """Build the network of a file, with its weights.

    Parameters
    ----------
    path_or_name : path or str
        A file that `save` wrote, or the name of weights that come with the package, such as ``"gkmnet-synthetic"``, or
        the folder of a training: its best network by validation, otherwise its last.
    net_class : type, optional
        Your own subclass of `Net` that the file is of, where it is not among ``nets.NETS``. A file names its network,
        but never the code to run.

    Returns
    -------
    Net
        On the CPU, in evaluation mode; float64 where the file holds float64, otherwise float32.

    Raises
    ------
    FileNotFoundError
        There is neither such a file nor such a name; the message lists the names.
    ValueError
        The file is a pickle (a ``.pt`` or ``.pth`` of `torch.save`), no safetensors file, not one of ours, of a newer
        version, damaged, or its tensors are not those of the network: missing, extra and misshapen ones are named.
    """
    saved = describe(path_or_name)
    try:
        with torch.random.fork_rng(
            devices=[]
        ):  # the initial weights are replaced; the caller's random state is not changed
            net = _built(saved, net_class)
    except (TypeError, ValueError) as error:
        raise ValueError(f"load: {saved.path}: {error}") from error
    net.to(torch.float64 if "F64" in saved.dtypes else torch.float32)
    _put(net, saved)
    net.eval()
    return net


def _built(saved: Saved, net_class: type[Net] | None) -> Net:
    if net_class is None:
        if saved.name not in NETS:
            raise ValueError(
                f"no network is called {saved.name!r}; {nearest(saved.name, NETS)}. One of your own is loaded by "
                "nets.load(..., net_class=MyNet), on the command line by --net my_module:MyNet@FILE"
            )
        return create(saved.name, **saved.config)
    if net_class.name != saved.name:
        raise ValueError(f"it holds weights of {saved.name!r}, and {net_class.__name__} is {net_class.name!r}")
    return net_class(**saved.config)


def load_weights(net: Net, path_or_name: PathLike) -> None:
    """Load the weights of a file into an existing network: to train on, or with other options than it was saved with.

    Parameters
    ----------
    net : Net
        Keeps its options, dtype and device.
    path_or_name : path or str
        As for `load`.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `load`; ValueError also for the file of another network, which is named.
    """
    saved = describe(path_or_name)
    if saved.name != net.name:
        raise ValueError(f"load_weights: {saved.path} holds weights of {saved.name!r}, and this is a {net.name!r}")
    _put(net, saved)


def describe(path_or_name: PathLike) -> Saved:
    """Read the metadata of a file of weights.

    Parameters
    ----------
    path_or_name : path or str
        As for `load`.

    Returns
    -------
    Saved

    Raises
    ------
    FileNotFoundError, ValueError
        As for `load`.
    """
    file = _found(path_or_name)
    with file.open("rb") as start:
        first = start.read(9)
    if file.suffix in (".pt", ".pth", ".pkl", ".npz") or (first.startswith(_PICKLES) and first[8:] != b"{"):
        raise ValueError(
            f"load: {file} is no safetensors file but may hold a pickle, which can run any program; for the authors' "
            "checkpoints there is nets.load_official, and tensors of your own come out by torch.load(..., "
            "weights_only=True)"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118, no mapping
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            dtypes = {part.get_dtype() for part in slices.values()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"load: {file} is no safetensors file, or it is damaged: {error}") from error
    if metadata.get("format") == TRAINING:
        beside = ", ".join(str(found) for found in _networks(file.parent)) or "a network that nets.save writes"
        raise ValueError(f"load: {file} is the state of a training, for resuming alone; the network is {beside}")
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"load: expected a file of nets.save, with format {FORMAT!r}, got {metadata.get('format', 'no format')!r} "
            f"in {file}"
        )
    if metadata.get("version") != str(VERSION):
        raise ValueError(
            f"load: {file} has version {metadata.get('version')} of the format, this library reads {VERSION}; a newer "
            "blurphys wrote it"
        )
    try:
        name = metadata["net"]
        config, notes = json.loads(metadata["config"]), json.loads(metadata["notes"])
        if not (isinstance(config, dict) and isinstance(notes, dict)):
            raise ValueError("config and notes are no objects")
    except (KeyError, ValueError) as error:
        raise ValueError(f"load: {file} is damaged: {type(error).__name__}: {error}") from error
    floats = frozenset(kind for kind in dtypes if "F" in kind)
    return Saved(path=file, name=name, config=config, notes=notes, shapes=shapes, dtypes=floats)


def pretrained() -> tuple[str, ...]:
    """Names of the weights that come with the package."""
    return tuple(sorted(file.stem for file in PRETRAINED.glob("*.safetensors")))


def _found(path_or_name: PathLike) -> Path:
    path = Path(path_or_name)
    bare = isinstance(path_or_name, str) and path_or_name == path.name and not path.suffix
    if bare and not path.exists():
        file = PRETRAINED / f"{path_or_name}.safetensors"
        if not file.is_file():
            raise FileNotFoundError(
                f"there is neither a file {path_or_name} nor weights of that name in the package; "
                f"{nearest(path.name, pretrained())}"
            )
        return file
    if path.is_dir():
        networks = _networks(path)
        if not networks:
            raise ValueError(f"load: expected a file, got the folder {path}, which has no network of a training")
        return networks[0]
    return existing_file(path)


def _networks(folder: Path) -> list[Path]:
    """The networks in the folder of a training, the best first."""
    files = [folder / f"{role}{best}.safetensors" for role in ROLES for best in ("-best", "")]
    return [file for file in files if file.is_file()]


def _put(net: Net, saved: Saved) -> None:
    """Copy the tensors of a file into a network of the same keys and shapes."""
    own = net.state_dict()
    wanted = {key: tuple(tensor.shape) for key, tensor in own.items()}
    wrong = [f"missing {_few(sorted(wanted.keys() - saved.shapes.keys()))}"] if wanted.keys() - saved.shapes else []
    wrong += [f"extra {_few(sorted(saved.shapes.keys() - wanted.keys()))}"] if saved.shapes.keys() - wanted else []
    misshapen = [
        f"{key} is {saved.shapes[key]} instead of {shape}"
        for key, shape in wanted.items()
        if key in saved.shapes and saved.shapes[key] != shape
    ]
    wrong += [f"misshapen: {_few(misshapen)}"] if misshapen else []
    if wrong:
        raise ValueError(
            f"load: {saved.path} does not hold the tensors of this {net.name}: {'; '.join(wrong)}; was it saved with "
            "other options or by another version?"
        )
    with safe_open(saved.path, framework="pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in wanted}
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"load: {saved.path} is damaged or of a training that failed: {key} is not finite")
    net.load_state_dict(tensors, strict=True)


def _to_store(key: str, tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().to("cpu")
    stored = tensor.half() if half and tensor.is_floating_point() else tensor
    if stored.is_floating_point() and not torch.isfinite(stored).all():
        large = half and bool(torch.isfinite(tensor).all())
        raise ValueError(f"save: {key} has values that are {'too large for 16 bits' if large else 'not finite'}")
    return stored.contiguous().clone()


def _sort_metadata(file: Path) -> None:
    """Sort the metadata, which safetensors does not, so that equal networks make equal files."""
    with file.open("r+b") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            opened.seek(8)
            opened.write(text.ljust(length))


def _json(what: str, value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: expected {what} to hold what JSON can, got {value!r}: {error}") from error


def _few(words: list[str], shown: int = 4) -> str:
    more = f" and {len(words) - shown} more" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more
