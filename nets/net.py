"""What all networks share: their configuration, what they take, and sizes that do not divide."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Net", "Outputs", "RangeWarning", "check_images", "cropped", "padded"]

FAR = 0.5
"""How far outside [0, 1] values may lie before a network warns."""


class RangeWarning(UserWarning):
    """An image far outside the range [0, 1] that the networks are made for."""


class Outputs(NamedTuple):
    """All that a loss may need of one forward pass.

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

    A leaf calls ``super().__init__(option=value, ...)`` with what its own constructor was given, after checking it.

    Attributes
    ----------
    name : str
        What `nets.create`, `nets.save` and `nets.load` call it.
    multiple : int
        Sizes it works on inside divide by this; others are extended by reflection and cropped.
    inputs : tuple of str
        The images it is called with, in order.
    restores : bool
        Whether what it returns is a sharper image of the same size.
    global_statistics : bool
        Whether far pixels matter everywhere, so that tiles change the result.
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
        """How many pixels around one pixel matter to it, at most; None if all do or nobody has worked it out."""
        return None

    def outputs(self, image: Tensor, sharp: Tensor | None = None) -> Outputs:
        """Return all that a loss may need, see `Outputs`; one forward pass."""
        return Outputs(self(image))

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self._config.items())


def check_images(
    owner: str, *images: Tensor, channels: int = 3, least: int = 1, low: float = 0.0, net: nn.Module | None = None
) -> None:
    """Check what a network is called with.

    Parameters
    ----------
    owner : str
        Who asks; it opens the message.
    *images : Tensor of shape (B, channels, H, W)
        Of equal shapes.
    channels : int
        Of each image.
    least : int
        Smallest height and width, px.
    low : float
        Least value expected; the largest is 1.
    net : Module, optional
        Whose parameters the images have to be like: another precision is refused, unless autocast is on.

    Raises
    ------
    TypeError
        Something else than a tensor of floats, or of another precision than the network.
    ValueError
        Another number of axes or channels, an image that is too small, no image at all, or images of different shapes.

    Warns
    -----
    RangeWarning
        Values more than 0.5 outside the range. Not asked under `torch.compile` or export, which cannot.
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
    if smallest < low - FAR or largest > 1 + FAR:
        warnings.warn(
            f"{owner}: made for values in [{low:g}, 1], got {smallest:.3g} to {largest:.3g}; was the image divided by "
            "its white level?",
            RangeWarning,
            stacklevel=3,
        )


def padded(image: Tensor, multiple: int) -> Tensor:
    """Extend an image on the right and below until its sides divide by `multiple`: by reflection, in steps if need be.

    Parameters
    ----------
    image : Tensor of shape (B, C, H, W)
    multiple : int
        At least 1.

    Returns
    -------
    Tensor
        The image itself where it divides already.
    """
    while True:
        height, width = image.shape[-2:]
        below, right = -height % multiple, -width % multiple
        if not below and not right:
            return image
        # A reflection reaches one pixel less than the image; a single row or column is repeated.
        mode = "reflect" if min(height, width) > 1 else "replicate"
        most_below, most_right = (below, right) if mode == "replicate" else (height - 1, width - 1)
        image = functional.pad(image, (0, min(right, most_right), 0, min(below, most_below)), mode=mode)


def cropped(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the upper left part of an image, (..., H, W)."""
    return image[..., : size[0], : size[1]]
