"""Records of settings: network, data, loss, optimiser, validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any

from blurphys.frozen import freeze

from .fields import as_arguments, as_paths, require_choice, require_flag, require_number, require_text, require_whole
from .stream import StreamConfig

__all__ = ["DataConfig", "LossConfig", "NetConfig", "OptimiserConfig", "ValidationConfig"]

VIEWS = ("combined", "left", "right")
AUGMENTATIONS = ("none", "flips", "dihedral", "half-dihedral")
READERS = ("DPDD", "LFDOF", "RTF", "RealDOF", "pairs")


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """Which network and where it starts.

    Attributes
    ----------
    name : str
        Its name in `nets.create`.
    arguments : mapping
        Of its constructor.
    start_from : str, optional
        A file of `nets.save`, the name of weights that come with the package, or ``"identity"``, see
        `nets.training.identity`. Random weights without it.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    start_from: str | None = None

    def __post_init__(self) -> None:
        require_text("the name of a network", self.name)
        freeze(self, arguments=as_arguments(f"the arguments of {self.name}", self.arguments))
        if self.start_from is not None:
            require_text("start_from", self.start_from)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The source of the samples, and their cropping and augmentation.

    Attributes
    ----------
    path : tuple of str
        Files or folders that `synth.generate` wrote, concatenated; or none, with `reader`.
    reader : {"DPDD", "LFDOF", "RTF", "RealDOF", "pairs"}, optional
        A reader of `synth.datasets`, with its `root` and, for those that have one, its `split`. ``"pairs"`` is for
        blurred and sharp pictures of your own, see `synth.datasets.Pairs`.
    stream : StreamConfig, optional
        Samples rendered on the fly, flipped and turned already; with a `crop` of 128 px without one.
    encoding : {"srgb", "linear"}, optional
        With ``"pairs"``: the encoding of the files, whatever their metadata say.
    view : {"combined", "left", "right"}
        The view that is the network's image. Networks ask for other views by name.
    transfer : {"display", "linear"}
        Whether the network sees sRGB-encoded values, clipped to [0, 1], or linear light. Data that are encoded already
        stay as they are.
    crop : int or (int, int), optional
        Height and width in px; whole images without it.
    augment : {"none", "flips", "dihedral", "half-dihedral"}
        ``"flips"``: left-right and up-down with probability 1/2 each. ``"dihedral"``: and a rotation by 0, 90, 180 or
        270 degrees. ``"half-dihedral"``: a flip, either way, with probability 1/2, and a rotation by 90, 180 or 270
        with probability 1/2. Where left and right views are read, only ``"none"`` and ``"flips"``; a left-right flip
        exchanges them.
    repeats : int
        Crops of each sample in one epoch.
    cache : bool
        Keep the images of a reader in memory, 16 bits per value where this is exact, which is 8 GB for DPDD's training
        split with one view. Every worker keeps its own. Of a stream: the samples of the first epoch, which come again
        in the next ones, augmented; some .3 MB each with a crop of 128 px.
    table : str
        Name of the table in messages; not stored.
    """

    path: tuple[str, ...] = ()
    reader: str | None = None
    stream: StreamConfig | None = None
    root: str | None = None
    split: str | None = None
    encoding: str | None = None
    view: str = "combined"
    transfer: str = "display"
    crop: tuple[int, int] | None = None
    augment: str = "none"
    repeats: int = 1
    cache: bool = False
    table: InitVar[str] = "data"

    def __post_init__(self, table: str) -> None:
        freeze(self, path=as_paths(f"{table}.path", self.path))
        kinds = {"path": bool(self.path), "stream": self.stream is not None, "reader": self.reader is not None}
        if sum(kinds.values()) != 1:
            raise ValueError(
                f"train: expected [{table}] to have either a path (a dataset of blurphys synth), a stream (rendered on "
                f"the fly) or a reader, got {' and '.join(name for name in kinds if kinds[name]) or 'neither'}"
            )
        if self.stream is not None and (self.repeats != 1 or (self.augment != "none" and not self.cache)):
            raise ValueError(
                f"train: a stream flips, turns and never repeats by itself; leave repeats out of [{table}], and "
                f"augment too, unless cache keeps the samples of an epoch for the next ones"
            )
        if self.reader is not None:
            require_choice(f"{table}.reader", self.reader, READERS)
            if self.root is None:
                raise ValueError(f"train: the reader {self.reader} needs {table}.root, the folder of the dataset")
            freeze(self, root=as_paths(f"{table}.root", self.root)[0])
        elif self.root is not None or self.split is not None:
            raise ValueError(
                f"train: {table}.root and {table}.split belong to a reader; a path and a stream have their own split"
            )
        if self.split is not None:
            require_text(f"{table}.split", self.split)
        if self.encoding is not None:
            if self.reader != "pairs":
                raise ValueError(f"train: {table}.encoding belongs to the reader pairs; other data say what they are")
            require_choice(f"{table}.encoding", self.encoding, ("srgb", "linear"))
        require_choice(f"{table}.view", self.view, VIEWS)
        require_choice(f"{table}.transfer", self.transfer, ("display", "linear"))
        require_choice(f"{table}.augment", self.augment, AUGMENTATIONS)
        require_whole(f"{table}.repeats", self.repeats, 1)
        require_flag(f"{table}.cache", self.cache)
        if self.crop is not None:
            given = self.crop if isinstance(self.crop, list | tuple) else (self.crop, self.crop)
            if len(given) != 2:
                raise ValueError(f"train: expected {table}.crop to be a size or (height, width), got {self.crop!r}")
            height, width = (require_whole(f"{table}.crop", side, 1) for side in given)
            freeze(self, crop=(height, width))
            if height != width and self.augment not in ("none", "flips"):
                raise ValueError(f"train: a crop of {height} x {width} px cannot be turned by 90 degrees; use a square")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """One term of the loss: its name in `nets.losses`, a weight, and the time [start, stop) in which it acts."""

    name: str
    weight: float = 1.0
    start: int = 0
    stop: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_text("the name of a loss", self.name)
        require_number(f"the weight of the loss {self.name}", self.weight, open_low=True)
        require_whole(f"the start of the loss {self.name}", self.start)
        if self.stop is not None:
            require_whole(f"the stop of the loss {self.name}", self.stop, self.start + 1)
        freeze(self, arguments=as_arguments(f"the arguments of the loss {self.name}", self.arguments))


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam: its two decays, epsilon, decoupled weight decay, and the norm that gradients are clipped to."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.betas, list | tuple) or len(self.betas) != 2:
            raise ValueError(f"train: expected optimiser.betas to be two numbers, got {self.betas!r}")
        betas = tuple(require_number("optimiser.betas", beta, 0.0, 0.999999) for beta in self.betas)
        freeze(self, betas=betas)
        require_number("optimiser.epsilon", self.epsilon, open_low=True)
        require_number("optimiser.weight_decay", self.weight_decay)
        if self.clip is not None:
            require_number("optimiser.clip", self.clip, open_low=True)


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """The data of validation (crops are central), its interval in epochs or steps, and the number of samples."""

    data: DataConfig
    every: int = 1
    limit: int | None = None

    def __post_init__(self) -> None:
        require_whole("validation.every", self.every, 1)
        if self.limit is not None:
            require_whole("validation.limit", self.limit, 1)
        if self.data.augment != "none" or self.data.repeats != 1:
            raise ValueError("train: validation neither augments nor repeats; leave both out of [validation.data]")
