"""The loss of accuracy in half precision: networks under bf16 autocast compared with float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..net import Net
from ..registry import NETS, create
from ..weights.saving import load, pretrained

__all__ = ["Difference", "difference", "photo_inputs", "report"]

MAX_SIZE = 440
"""Height and width that the photo has for any network, px."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of a network under autocast to itself in float32.

    Attributes
    ----------
    name : str
    weights : str
        "random", or the name of pretrained weights.
    largest, rms : float
        Difference of the outputs, relative to the range (largest minus smallest value) of the output in float32.
    """

    name: str
    weights: str
    largest: float
    rms: float


def difference(net: Net, *images: Tensor, dtype: torch.dtype = torch.bfloat16, weights: str = "random") -> Difference:
    """Call a network in float32 and under autocast, and compare.

    Parameters
    ----------
    net : Net
        In float32; is called in evaluation mode.
    *images : Tensors
        Its inputs.
    dtype : torch.dtype
        Of autocast. Blurs, their adjoints, spectra and resampling are computed in float32 under it, too.
    weights : str
        Name of the weights in the result.

    Returns
    -------
    Difference

    Raises
    ------
    ValueError
        A constant output, which has no range.
    """
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            exact = net(*images)
            with torch.autocast(images[0].device.type, dtype=dtype):
                low = net(*images)
    finally:
        net.train(training)
    span = float(exact.max() - exact.min())
    if not span > 0:
        raise ValueError(f"difference: expected an output that varies, got {float(exact.min()):g} everywhere")
    off = (low.to(exact.dtype) - exact) / span
    return Difference(
        name=net.name, weights=weights, largest=float(off.abs().max()), rms=float(off.square().mean().sqrt())
    )


def photo_inputs(net: Net, size: tuple[int, int] = (128, 192)) -> tuple[Tensor, ...]:
    """Return a photo from scikit-image as the inputs of a network.

    Parameters
    ----------
    net : Net
    size : (int, int)
        H and W of the part of the photo, px.

    Returns
    -------
    tuple of Tensors of shape (1, 3, H, W)
        The photo; as left and right view the photo shifted by one pixel; as a map of radii a ramp over all a network
        knows.

    Raises
    ------
    ValueError
        A size beyond `MAX_SIZE`.
    """
    from skimage import data

    if not all(0 < n <= MAX_SIZE for n in size):
        raise ValueError(f"photo_inputs: expected 1 to {MAX_SIZE} px, which the photo has, got {size[0]} x {size[1]}")

    photo = torch.from_numpy(data.astronaut().astype(np.float32) / 255).permute(2, 0, 1)[None]
    found = []
    for what in net.inputs:
        shift = {"left": -1, "right": 1}.get(what, 0)
        image = photo[..., :, 64 + shift : 64 + shift + size[1]][..., 32 : 32 + size[0], :]
        if what == "radius_map":
            largest = float(net.config["max_radius"])
            image = torch.linspace(-largest, largest, size[1]).expand_as(image)
        found.append(image.contiguous())
    return tuple(found)


def report(
    *, size: tuple[int, int] = (128, 192), seed: int = 0, configs: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Difference]:
    """Compare every network of `nets.NETS`, with random weights and with the pretrained ones there are.

    Parameters
    ----------
    size : (int, int)
        Of the part of the photo, see `photo_inputs`.
    seed : int
        Of the random weights.
    configs : mapping of str to mapping, optional
        Arguments of the networks to compare, by their names; by default all, as they come.

    Returns
    -------
    list of Difference
    """
    found = []
    for name, config in (configs or dict.fromkeys(NETS, {})).items():
        torch.manual_seed(seed)
        net = create(name, **config)
        found.append(difference(net, *photo_inputs(net, size)))
    if configs is None:
        for known in pretrained():
            net = load(known)
            found.append(difference(net, *photo_inputs(net, size), weights=known))
    return found
