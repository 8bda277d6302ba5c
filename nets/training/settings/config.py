"""All settings of a training, read from TOML, JSON or a mapping, and rules between them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blurphys.frozen import freeze

from .fields import (
    Schedule,
    as_paths,
    as_schedule,
    build,
    plain,
    require_choice,
    require_flag,
    require_number,
    require_whole,
)
from .kinds import AdversarialConfig, ReblurringConfig
from .reading import read_settings
from .records import DataConfig, LossConfig, NetConfig, OptimiserConfig, ValidationConfig
from .stream import stream_settings

__all__ = ["TrainConfig"]

KINDS = ("supervised", "adversarial", "reblurring", "blurmap")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of one training.

    Attributes
    ----------
    net : NetConfig
        The network; the generator of ``"adversarial"``, the map network of ``"reblurring"``.
    data : DataConfig
    out : str
        Folder for checkpoints and logs.
    kind : {"supervised", "adversarial", "reblurring", "blurmap"}
        ``"blurmap"`` trains a `BlurMapNet`; its validation compares maps of radii in units of the largest.
    epochs, steps : int
        Duration, exactly one of them. Start times in `learning_rate`, `losses`, `restarts`, `validation` and the tables
        of the kinds are in the same unit.
    batch : int
        Samples of a step, over all processes. The rest of an epoch that fills no batch is left out.
    seed : int
        Of the weights, the order of the samples, crops and flips.
    learning_rate : pairs of (int, float)
        Value from an epoch (or step) on; a number alone is constant.
    losses : tuple of LossConfig
        Summed.
    optimiser : OptimiserConfig
    ema : float, optional
        Decay of an average of the weights, which is validated and published instead of them. At step k the decay is
        min(ema, (1 + k) / (10 + k)), so that initial weights have little influence.
    amp : {"off", "bf16"}
        Whether networks run in bfloat16 autocast; losses are float32.
    checkpointing : bool
        Recompute unrolled steps in the backward pass instead of storing them.
    compile : bool
        torch.compile.
    workers : int
        Processes that read samples.
    device : {"auto", "cpu", "cuda"}
    validation : ValidationConfig, optional
        The best network by PSNR is kept.
    restarts : tuple of int
        Epochs (or steps) at which the best network so far is loaded again and Adam is reset.
    log_every, checkpoint_every : int
        Steps.
    adversarial, reblurring : AdversarialConfig, ReblurringConfig, optional
        Of their kinds.
    """

    net: NetConfig
    data: DataConfig
    out: str = "runs/train"
    kind: str = "supervised"
    epochs: int | None = None
    steps: int | None = None
    batch: int = 4
    seed: int = 0
    learning_rate: Schedule = ((0, 1e-4),)
    losses: tuple[LossConfig, ...] = ()
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    ema: float | None = None
    amp: str = "off"
    checkpointing: bool = False
    compile: bool = False
    workers: int = 0
    device: str = "auto"
    validation: ValidationConfig | None = None
    restarts: tuple[int, ...] = ()
    log_every: int = 20
    checkpoint_every: int = 1000
    adversarial: AdversarialConfig | None = None
    reblurring: ReblurringConfig | None = None

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, KINDS)
        freeze(self, out=as_paths("out", self.out)[0])
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"train: expected either epochs or steps, got epochs={self.epochs}, steps={self.steps}")
        require_whole(self.unit + "s", self.epochs if self.steps is None else self.steps, 1)
        require_whole("batch", self.batch, 1)
        require_whole("seed", self.seed)
        require_whole("workers", self.workers)
        require_whole("log_every", self.log_every, 1)
        require_whole("checkpoint_every", self.checkpoint_every, 1)
        freeze(self, learning_rate=as_schedule("learning_rate", self.learning_rate))
        if self.ema is not None:
            require_number("ema", self.ema, 0.0, 0.999999)
        require_choice("amp", self.amp, ("off", "bf16"))
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
        require_flag("checkpointing", self.checkpointing)
        require_flag("compile", self.compile)
        freeze(self, losses=tuple(self.losses))
        restarts = tuple(require_whole("restarts", start, 1) for start in self.restarts)
        if sorted(set(restarts)) != list(restarts):
            raise ValueError(f"train: expected restarts to rise, got {list(restarts)}")
        freeze(self, restarts=restarts)
        if restarts and self.validation is None:
            raise ValueError("train: restarts load the best network, which only a validation can find")
        self._check_kind()

    def _check_kind(self) -> None:
        for kind, record in (("adversarial", AdversarialConfig), ("reblurring", ReblurringConfig)):
            given = getattr(self, kind)
            if given is None and self.kind == kind:
                freeze(self, **{kind: record()})
            elif given is not None and self.kind != kind:
                raise ValueError(f"train: [{kind}] belongs to kind = {kind!r}, got kind = {self.kind!r}")
        if self.net.name == "blurmap" and self.kind != "blurmap":
            raise ValueError(f"train: blurmap returns radii, no image; set kind = 'blurmap', got {self.kind!r}")
        if self.kind == "reblurring" and self.losses:
            raise ValueError("train: kind = 'reblurring' has its own loss, see [reblurring]; leave losses out")
        if self.kind != "reblurring" and not self.losses:
            raise ValueError("train: expected at least one loss, such as [[losses]] name = 'l2'")

    @property
    def unit(self) -> str:
        """The unit of schedules: "epoch" or "step"."""
        return "epoch" if self.steps is None else "step"

    def to_dict(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        values: dict[str, Any] = plain(self)
        return values

    @classmethod
    def of(cls, config: TrainConfig | Mapping[str, Any] | str | os.PathLike[str]) -> TrainConfig:
        """Read settings.

        Parameters
        ----------
        config : TrainConfig, mapping, path of a TOML or JSON file, or name of a recipe
            A JSON file is the ``config.json`` of a training. Paths inside it are relative to the working folder.

        Returns
        -------
        TrainConfig

        Raises
        ------
        FileNotFoundError
            There is no such file and no such recipe.
        TypeError, ValueError
            A setting is unknown, missing or wrong.
        """
        if isinstance(config, cls):
            return config
        values = config if isinstance(config, Mapping) else read_settings(config)

        def data(value: object, where: str, table: str = "data") -> DataConfig:
            return build(DataConfig, value, f"[{table}]", {"table": table}, stream=stream_settings)

        def held_out(value: object, where: str) -> DataConfig:
            return data(value, where, "validation.data")

        def net(value: object, where: str) -> NetConfig:
            return build(NetConfig, {"name": value} if isinstance(value, str) else value, where)

        def losses(value: object, where: str) -> tuple[LossConfig, ...]:
            terms = [value] if isinstance(value, str | Mapping) else value
            if not isinstance(terms, list | tuple):
                raise TypeError(f"train: expected losses to be a list of tables or names, got {value!r}")
            return tuple(
                build(LossConfig, {"name": term} if isinstance(term, str) else term, "[[losses]]") for term in terms
            )

        return build(
            cls,
            values,
            "the configuration",
            net=net,
            data=data,
            losses=losses,
            optimiser=lambda value, where: build(OptimiserConfig, value, where),
            validation=lambda value, where: build(ValidationConfig, value, where, data=held_out),
            adversarial=lambda value, where: build(AdversarialConfig, value, where, discriminator=net),
            reblurring=lambda value, where: build(ReblurringConfig, value, where, kernel=net),
        )
