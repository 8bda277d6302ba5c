"""The base class of networks, checks of their inputs, and padding to sizes that they can process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Net", "Outputs", "RangeWarning", "check_images", "crop_to_size", "pad_to_multiple"]

MAX_OVERSHOOT = 0.5
"""Values further outside [0, 1] than this raise a `RangeWarning`."""


class RangeWarning(UserWarning):
    """An image far outside the range [0, 1] that the networks are made for."""


class Outputs(NamedTuple):
    """The results of one forward pass that losses use.

    Attributes
    ----------
    image : Tensor of shape (B, 3, H, W)
        The restored image.
    scales : tuple of Tensors
        Estimates at the scales of the network, full resolution first, each half the size of the one before; empty for
        networks of one scale.
    reblurred : tuple of Tensors
        The sharp image blurred by the network's own operators, at the same scales; empty where no sharp image was given
        or the network has no operators.
    """

    image: Tensor
    scales: tuple[Tensor, ...] = ()
    reblurred: tuple[Tensor, ...] = ()


class Net(nn.Module):
    """A network that can be rebuilt from its name and its configuration.

    A subclass calls ``super().__init__(option=value, ...)`` with the checked arguments of its constructor.

    Attributes
    ----------
    name : str
        Its name in `nets.create`, `nets.save` and `nets.load`.
    multiple : int
        Heights and widths are padded by reflection to multiples of this, and results cropped.
    inputs : tuple of str
        The images it is called with, in order.
    restores : bool
        Whether it returns a sharper image of the same size.
    global_statistics : bool
        Whether every output pixel depends on the whole image, so that tiling changes the result.
    """

    name: ClassVar[str]
    inputs: tuple[str, ...] = ("image",)
    restores: ClassVar[bool] = True
    global_statistics: bool = False
    multiple: int = 1

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self._config = dict(config)

    @property
    def config(self) -> Mapping[str, Any]:
        """The arguments of the constructor, ready for JSON."""
        return dict(self._config)

    @property
    def reach(self) -> int | None:
        """Radius of the receptive field, px, at most; None if it is the whole image or not known."""
        return None

    def channels_of(self, name: str) -> int:
        """Return the number of channels of one of `inputs`."""
        return 3

    def outputs(self, image: Tensor, sharp: Tensor | None = None) -> Outputs:
        """Run one forward pass and return the results that losses use, see `Outputs`."""
        return Outputs(self(image))

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self._config.items())


def check_images(
    owner: str, *images: Tensor, channels: int = 3, least: int = 1, low: float = 0.0, net: nn.Module | None = None
) -> None:
    """Check the input images of a network.

    Parameters
    ----------
    owner : str
        The caller, for messages.
    *images : Tensor of shape (B, channels, H, W)
        Of equal shapes.
    channels : int
        Of each image.
    least : int
        Smallest height and width, px.
    low : float
        Least value expected; the largest is 1.
    net : Module, optional
        The images must have the precision of its parameters, unless autocast is on.

    Raises
    ------
    TypeError
        Not a tensor of floats, or of another precision than the network.
    ValueError
        Another number of axes or channels, an image that is too small, no image at all, or images of different shapes.

    Warns
    -----
    RangeWarning
        Values more than 0.5 outside the range. Not checked under `torch.compile` and export.
    """
    for image in images:
        if not isinstance(image, Tensor):
            raise TypeError(f"{owner}: expected torch tensors, got {type(image).__name__}; torch.from_numpy makes one")
        if not image.is_floating_point():
            raise TypeError(
                f"{owner}: expected floats in [0, 1], got {image.dtype}; divide 8-bit values by 255, 16-bit by 65535"
            )
        if image.ndim != 4 or image.shape[1] != channels:
            hint = "; add a batch axis with x[None]" if image.ndim == 3 else ""
            hint = "; the channel axis comes second" if image.ndim == 4 and image.shape[-1] == channels else hint
            raise ValueError(f"{owner}: expected shape (B, {channels}, H, W), got {tuple(image.shape)}{hint}")
        if image.shape[0] == 0:
            raise ValueError(f"{owner}: expected at least one image in the batch, got shape {tuple(image.shape)}")
        if min(image.shape[-2:]) < least:
            raise ValueError(
                f"{owner}: expected at least {least} x {least} px, which its coarsest scale needs, got "
                f"{image.shape[-2]} x {image.shape[-1]}"
            )
        if image.shape != images[0].shape:
            raise ValueError(
                f"{owner}: expected images of one shape, got {tuple(images[0].shape)} and {tuple(image.shape)}"
            )
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or any(image.is_meta for image in images):
        return
    if net is not None and not torch.is_autocast_enabled(images[0].device.type):
        own = next((p.dtype for p in net.parameters()), images[0].dtype)
        if images[0].dtype != own:
            raise TypeError(
                f"{owner}: expected images of the network's {own}, got {images[0].dtype}; convert one of the two, with "
                "image.to(dtype) or net.to(dtype)"
            )
    bounds = [torch.aminmax(image.detach()) for image in images]
    smallest, largest = min(float(b.min) for b in bounds), max(float(b.max) for b in bounds)
    if smallest < low - MAX_OVERSHOOT or largest > 1 + MAX_OVERSHOOT:
        warnings.warn(
            f"{owner}: made for values in [{low:g}, 1], got {smallest:.3g} to {largest:.3g}; was the image divided by "
            "its white level?",
            RangeWarning,
            stacklevel=3,
        )


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad an image on the right and below, by reflection, until its sides are multiples of `multiple`.

    Parameters
    ----------
    image : Tensor of shape (B, C, H, W)
    multiple : int
        At least 1.

    Returns
    -------
    Tensor
        The image itself where no padding is needed.
    """
    while True:
        height, width = image.shape[-2:]
        below, right = -height % multiple, -width % multiple
        if not below and not right:
            return image
        # Reflection can add at most size - 1 pixels at a time; a single row or column is repeated.
        mode = "reflect" if min(height, width) > 1 else "replicate"
        most_below, most_right = (below, right) if mode == "replicate" else (height - 1, width - 1)
        image = functional.pad(image, (0, min(right, most_right), 0, min(below, most_below)), mode=mode)


def crop_to_size(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the upper left part of an image, (..., H, W)."""
    return image[..., : size[0], : size[1]]
