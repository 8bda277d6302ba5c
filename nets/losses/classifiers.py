"""Feature layers of three classifiers, with weights from your files: this package has none."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from blurphys.files.publishing import existing_file

__all__ = ["VGG19_LAYERS", "Weights", "alexnet", "load_strictly", "read_weights", "squeezenet", "vgg19"]

Weights: TypeAlias = str | Path | Mapping[str, Tensor]
"""A file (safetensors, or a state dictionary of torch.save) or the state dictionary itself."""

_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


def _vgg19_layers() -> dict[str, int]:
    names, index = {}, 0
    for stage, (_, count) in enumerate(_VGG19, start=1):
        for i in range(1, count + 1):
            names[f"conv{stage}_{i}"] = index
            index += 2
        index += 1
    return names


VGG19_LAYERS = _vgg19_layers()
"""Name of each convolution of VGG-19 to its index in the sequence; its ReLU has the next index."""


def vgg19(layer: str, *, relu: bool) -> nn.Sequential:
    """Return VGG-19 up to a convolution, or to the ReLU behind it, with indices as in torchvision."""
    if layer not in VGG19_LAYERS:
        raise ValueError(f"vgg19: expected one of {', '.join(VGG19_LAYERS)}, got {layer!r}")
    places = VGG19_LAYERS[layer] + 1 + relu
    modules: list[nn.Module] = []
    channels = 3
    for width, count in _VGG19:
        for _ in range(count):
            if len(modules) < places:  # later layers are not built
                modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules[:places])


class _Fire(nn.Module):
    """Squeeze by 1 x 1, expand by 1 x 1 and 3 x 3 side by side, ReLU after each."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        small = torch.relu(self.squeeze(image))
        return torch.cat([torch.relu(self.expand1x1(small)), torch.relu(self.expand3x3(small))], dim=1)


def alexnet() -> tuple[nn.Sequential, tuple[int, ...]]:
    """Return the convolutions of AlexNet (one column) and the indices of the layers that LPIPS compares."""
    pool = nn.MaxPool2d(3, stride=2)
    net = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
    return net, (1, 4, 7, 9, 11)


def squeezenet() -> tuple[nn.Sequential, tuple[int, ...]]:
    """Return the convolutions of SqueezeNet 1.1 and the indices of the layers that LPIPS compares."""
    pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    net = nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool),
        *(_Fire(64, 16, 64), _Fire(128, 16, 64), pool),
        *(_Fire(128, 32, 128), _Fire(256, 32, 128), pool),
        *(_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)),
    )
    return net, (1, 4, 7, 9, 10, 11, 12)


def read_weights(owner: str, weights: Weights) -> dict[str, Tensor]:
    """Read a state dictionary.

    Parameters
    ----------
    owner : str
        The caller, for messages.
    weights : path or mapping
        A ``.safetensors`` file, a file of ``torch.save`` that holds nothing but tensors, or names and tensors.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        A file that holds something else than named tensors.
    """
    if isinstance(weights, Mapping):
        state = dict(weights)
    else:
        path = existing_file(weights)
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(
                f"{owner}: expected a safetensors file or a state dictionary of torch.save that holds only tensors, "
                f"cannot read {path}: {str(error).splitlines()[0]}"
            ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{owner}: expected weights as names and tensors, got something else in {type(state).__name__}"
        )
    return state


def load_strictly(owner: str, module: nn.Module, state: Mapping[str, Tensor], *, prefix: str = "") -> None:
    """Load the entries of a state dictionary that a module needs, and freeze it; others are ignored.

    Parameters
    ----------
    owner : str
        The caller, for messages.
    module : nn.Module
    state : mapping of str to Tensor
        With keys ``prefix + own name``.
    prefix : str
        Of the keys.

    Raises
    ------
    ValueError
        A key is missing or has another shape.
    """
    found = {}
    for key, own in module.state_dict().items():
        given = state.get(prefix + key)
        if given is None or given.shape != own.shape:
            got = "it is missing" if given is None else f"its shape is {tuple(given.shape)}"
            raise ValueError(f"{owner}: expected weights {prefix + key!r} of shape {tuple(own.shape)}, but {got}")
        found[key] = given
    module.load_state_dict(found)
    module.requires_grad_(False)
