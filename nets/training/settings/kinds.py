"""Settings of two kinds of training: adversarial and reblurring."""

from __future__ import annotations

from dataclasses import dataclass, field

from blurphys.frozen import freeze

from .fields import require_choice, require_number, require_text, require_whole
from .records import NetConfig

__all__ = ["AdversarialConfig", "ReblurringConfig"]

ROLES = ("map", "kernel")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """A generator against a discriminator. Start times are epochs (or steps, where the duration is in steps) from 0.

    Attributes
    ----------
    discriminator : NetConfig
    discriminator_from, steps : int
        When the training of the discriminator starts, and its steps for each step of the generator.
    adversarial_from : int
        When the scores of the discriminator enter the loss of the generator, which has their weight.
    annealing_from, annealing_forwards : int
        The weight of the guidance is exp(-(2 n / N)^2) and 0 for n >= N = `annealing_forwards`, with n the forward
        passes since `annealing_from`; 1 before.
    map_weight : float
        Of the term of the discriminator's loss that is weighted by the circle of confusion.
    penalty, penalty_norm : float, {"pixel", "sample"}
        Gradient penalty: its weight; norm over the colours of a pixel with one mixture for the batch, or over a whole
        sample with a mixture of its own (the standard form).
    map_net : str, optional
        A file of `nets.save` with a network that estimates the defocus map from the image and the right view, for data
        without maps.
    """

    discriminator: NetConfig = field(default_factory=lambda: NetConfig(name="defocusgan_discriminator"))
    discriminator_from: int = 5
    steps: int = 2
    adversarial_from: int = 10
    annealing_from: int = 10
    annealing_forwards: int = 20_000
    map_weight: float = 0.1
    penalty: float = 10.0
    penalty_norm: str = "pixel"
    map_net: str | None = None

    def __post_init__(self) -> None:
        for name in ("discriminator_from", "adversarial_from", "annealing_from"):
            require_whole(f"adversarial.{name}", getattr(self, name))
        for name in ("steps", "annealing_forwards"):
            require_whole(f"adversarial.{name}", getattr(self, name), 1)
        for name in ("map_weight", "penalty"):
            require_number(f"adversarial.{name}", getattr(self, name))
        require_choice("adversarial.penalty_norm", self.penalty_norm, ("pixel", "sample"))
        if self.map_net is not None:
            require_text("adversarial.map_net", self.map_net)
        if self.adversarial_from < self.discriminator_from:
            raise ValueError(
                "train: adversarial_from comes before discriminator_from; the generator needs a trained discriminator"
            )


@dataclass(frozen=True, kw_only=True)
class ReblurringConfig:
    """A defocus map network and a blur kernel that learn in turns to blur the sharp image into the observed one.

    Attributes
    ----------
    kernel : NetConfig
    phases : tuple of (int, {"map", "kernel"})
        Which one is trained from which epoch (or step) on; the other is frozen.
    weight : float
        Of the mean absolute difference.
    supervision : float
        Weight of the mean Huber loss of the map (quadratic up to 1 px), for data that have a true one. With it
        validation compares maps, shifted and scaled so that the range -max_radius to max_radius of the network becomes
        0 to 1; with a weight of 0 the map learns from nothing else.
    smoothness, smoothness_from : float, int
        Weight of the map's total variation (summed), and the step from which it counts.
    """

    kernel: NetConfig = field(default_factory=lambda: NetConfig(name="defocusgan_blur"))
    phases: tuple[tuple[int, str], ...] = ((0, "map"), (10, "kernel"), (15, "map"), (20, "kernel"), (25, "map"))
    weight: float = 1000.0
    supervision: float = 0.0
    smoothness: float = 1e-5
    smoothness_from: int = 3000

    def __post_init__(self) -> None:
        sentence = 'train: expected reblurring.phases to be pairs such as [[0, "map"], [10, "kernel"]]'
        if not isinstance(self.phases, list | tuple) or not self.phases:
            raise ValueError(f"{sentence}, got {self.phases!r}")
        pairs = []
        for pair in self.phases:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"{sentence}, got {self.phases!r}")
            require_choice("a phase of reblurring", pair[1], ROLES)
            pairs.append((require_whole("the beginning of a phase", pair[0]), str(pair[1])))
        starts = [start for start, _ in pairs]
        if starts[0] != 0 or sorted(set(starts)) != starts:
            raise ValueError(f"train: expected reblurring.phases to begin at 0 and to rise, got {starts}")
        freeze(self, phases=tuple(pairs))
        require_number("reblurring.weight", self.weight)
        require_number("reblurring.supervision", self.supervision)
        if not self.weight and not self.supervision:
            raise ValueError("train: expected reblurring.weight or reblurring.supervision above 0, got 0 for both")
        if not self.weight and any(role == "kernel" for _, role in self.phases):
            raise ValueError('train: the kernel learns by reblurring alone; with weight = 0 set phases = [[0, "map"]]')
        require_number("reblurring.smoothness", self.smoothness)
        require_whole("reblurring.smoothness_from", self.smoothness_from)
