"""The contract of every primitive, said once: its arguments, their shapes, and what is differentiated.

A primitive F is linear in an image and comes as three functions, for an image x, a cotangent u and the arguments:

- ``F(x, *arguments)``: the forward direction;
- ``F_adjoint(u, *arguments)``: its transpose;
- ``F_gradients(x, u, *arguments, wanted)``: whatever is wanted of F(x), F^T u, and the gradients of ``<u, F(x)>`` in
  the differentiated arguments, in this order; None for the rest.

The reference, the engines, the operators of torch and the formulas for costs take names and places from here.
`conforms` compares the parameters of a function with the table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from ..types import Shape

__all__ = ["FUSED", "PRIMITIVES", "Argument", "Dependence", "Direction", "Primitive", "Role", "conforms", "resolve"]


class Role(Enum):
    """What an argument is for."""

    MAPS = "a weight for each pixel and kernel"
    KERNELS = "taps, atoms or PSFs"
    LEVELS = "which kernels a pixel uses"
    MIX = "weights from input to output channels"
    STATIC = "numbers and names that are the same for all pixels"


class Dependence(Enum):
    """How F depends on an argument; all but `NONE` are differentiated."""

    NONE = "not differentiated"
    LINEAR = "linear"
    AFFINE = "affine: F(c) - F(0) is linear"
    CURVED = "neither"


class Direction(Enum):
    """One of the three functions of a primitive; the value is the ending of its name."""

    FORWARD = ""
    ADJOINT = "_adjoint"
    GRADIENTS = "_gradients"


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument after the image.

    Attributes
    ----------
    name : str
    kind : str
        Its type in the notation of `torch.library`.
    role : Role
    shape : str
        Of arrays: N the batch of the image, B of the maps, C colours, V views, L levels.
    dependence : Dependence
    """

    name: str
    kind: Literal["Tensor", "Tensor?", "Tensor[]", "int[]", "int", "float", "bool", "str", "extents"]
    role: Role
    shape: str = ""
    dependence: Dependence = Dependence.NONE


Named = Mapping[str, Any]
ChannelRule = Callable[[int, Named], int]
"""(channels of the image, arguments by name) to the channels of the result."""


@dataclass(frozen=True, kw_only=True)
class Primitive:
    """One primitive.

    Attributes
    ----------
    name : str
    arguments : tuple of Argument
        Those after the image (*N, C, H, W), in order.
    channels, adjoint_channels : callable
        How many channels the result of each direction has.
    made_of : str
        The primitive that it is computed with where no engine has it fused; empty for those that every engine has, with
        gradients.
    """

    name: str
    arguments: tuple[Argument, ...]
    channels: ChannelRule
    adjoint_channels: ChannelRule
    made_of: str = ""

    @property
    def adjoint(self) -> str:
        """Name of the transpose."""
        return self.name + Direction.ADJOINT.value

    @property
    def gradients(self) -> str:
        """Name of the function of the gradients."""
        return self.name + Direction.GRADIENTS.value

    @property
    def names(self) -> tuple[str, ...]:
        """Its functions that an engine can have."""
        return (self.name,) if self.made_of else (self.name, self.adjoint, self.gradients)

    @property
    def differentiated(self) -> tuple[int, ...]:
        """Places of the arguments that have gradients, in the order of the gradients."""
        return tuple(i for i, a in enumerate(self.arguments) if a.dependence is not Dependence.NONE)

    @property
    def schema(self) -> str:
        """The arguments in the notation of `torch.library`."""
        return ", ".join(f"{a.kind} {a.name}" for a in self.arguments)

    def named(self, arguments: Sequence[Any]) -> dict[str, Any]:
        """Return arguments by name; those left out at the end are None."""
        given = [*arguments, *[None] * (len(self.arguments) - len(arguments))]
        return {a.name: value for a, value in zip(self.arguments, given, strict=True)}

    def result_channels(self, channels: int, arguments: Sequence[Any], direction: Direction) -> int:
        """Return the channels that the forward direction or the adjoint gives for an image of `channels`."""
        rule = self.adjoint_channels if direction is Direction.ADJOINT else self.channels
        return rule(channels, self.named(arguments))

    def result_shape(self, image: Shape, arguments: Sequence[Any], direction: Direction) -> Shape:
        """Return the shape that the forward direction or the adjoint gives for an image (*N, C, H, W)."""
        return (*image[:-3], self.result_channels(int(image[-3]), arguments, direction), *image[-2:])

    def parameters(self, direction: Direction) -> tuple[str, ...]:
        """Return the names of the arguments after the image (after x and u, for the gradients)."""
        names = tuple(a.name for a in self.arguments)
        return (*names, "wanted") if direction is Direction.GRADIENTS else names


def _maps(name: str, shape: str, kind: Literal["Tensor", "Tensor?"] = "Tensor") -> Argument:
    return Argument(name=name, kind=kind, role=Role.MAPS, shape=shape, dependence=Dependence.LINEAR)


def _kernels(name: str, shape: str, dependence: Dependence) -> Argument:
    return Argument(name=name, kind="Tensor", role=Role.KERNELS, shape=shape, dependence=dependence)


def _static(name: str, kind: Literal["int[]", "int", "float", "bool", "str", "extents"]) -> Argument:
    return Argument(name=name, kind=kind, role=Role.STATIC)


_BOUNDARY = _static("boundary", "str")
_PSFS = _kernels("psfs", "(V, L, 1 or C, h, w)", Dependence.LINEAR)


def _mixture(name: str, *arguments: Argument) -> Primitive:
    """A mixture of separable kernels: an optional mix (C_out, C, K) changes the number of channels."""
    mix = Argument(name="mix", kind="Tensor?", role=Role.MIX, shape="(C_out, C, K)", dependence=Dependence.LINEAR)
    return Primitive(
        name=name,
        arguments=(*arguments, mix),
        channels=lambda count, a: count if a["mix"] is None else a["mix"].shape[0],
        adjoint_channels=lambda count, a: count if a["mix"] is None else a["mix"].shape[1],
    )


def _bank(name: str, *arguments: Argument) -> Primitive:
    """A bank of PSFs: the views (V) of a picture stand one after the other."""
    return Primitive(
        name=name,
        arguments=(_PSFS, *arguments, _BOUNDARY),
        channels=lambda count, a: count * a["psfs"].shape[0],
        adjoint_channels=lambda count, a: count // a["psfs"].shape[0],
    )


PRIMITIVES: dict[str, Primitive] = {
    primitive.name: primitive
    for primitive in (
        _mixture(
            "gaussian_mixture",
            _maps("maps", "(*B, K, H, W)"),
            _kernels("taps", "(1 or C, K, h + 1)", Dependence.CURVED),
            _static("halves", "int[]"),
            _BOUNDARY,
        ),
        _mixture(
            "recursive_mixture",
            _maps("maps", "(*B, K, H, W)"),
            _kernels("atoms", "(K - 1, 1 or C, t)", Dependence.CURVED),
            _BOUNDARY,
            _static("stagewise", "bool"),
        ),
        _bank("psf_gather", _maps("weights", "(*B, L, H, W)", "Tensor?")),
        _bank("psf_scatter", _maps("weights", "(*B, L, H, W)")),
        _bank(
            "psf_interpolate",
            Argument(name="index", kind="Tensor", role=Role.LEVELS, shape="(*B, H, W)"),
            Argument(name="fraction", kind="Tensor", role=Role.MAPS, shape="(*B, H, W)", dependence=Dependence.AFFINE),
        ),
        Primitive(
            name="layered_over",
            arguments=(
                Argument(name="alphas", kind="Tensor", role=Role.MAPS, shape="(K, H, W)", dependence=Dependence.CURVED),
                Argument(
                    name="psfs",
                    kind="Tensor[]",
                    role=Role.KERNELS,
                    shape="K times (V, 1, 1 or C, h, w)",
                    dependence=Dependence.CURVED,
                ),
                _static("extents", "extents"),
                _static("channels", "int"),
                _BOUNDARY,
                _static("per_layer", "bool"),
                _static("normalize", "bool"),
                _static("closed", "float"),
            ),
            channels=lambda count, a: a["channels"] * a["psfs"][0].shape[0],
            adjoint_channels=lambda count, a: a["channels"] * (len(a["psfs"]) if a["per_layer"] else 1),
            made_of="psf_gather",
        ),
    )
}
"""Every primitive by its name."""

FUSED: dict[str, Primitive] = {name: primitive for name, primitive in PRIMITIVES.items() if not primitive.made_of}
"""Those that every engine has, with adjoint and gradients."""

_FUNCTIONS = {
    primitive.name + direction.value: (primitive, direction)
    for primitive in PRIMITIVES.values()
    for direction in Direction
}


def resolve(function: str) -> tuple[Primitive, Direction]:
    """Return the primitive and the direction that a name such as ``"psf_gather_adjoint"`` stands for."""
    if function not in _FUNCTIONS:
        raise ValueError(f"expected the name of a primitive among {', '.join(PRIMITIVES)}, got {function!r}")
    return _FUNCTIONS[function]


def conforms(function: Callable[..., Any], name: str, *, before: int = 0) -> bool:
    """Whether a function takes the arguments of primitive `name` in their order, after `before` others."""
    primitive, direction = resolve(name)
    images = 2 if direction is Direction.GRADIENTS else 1
    return tuple(inspect.signature(function).parameters)[before + images :] == primitive.parameters(direction)
