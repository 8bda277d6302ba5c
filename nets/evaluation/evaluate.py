"""Evaluation of methods against the ground truth, image by image."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Subset

from blurphys.colour import linear_to_srgb
from synth.dataset.schema import FIELDS, TRUTH, field_of
from synth.datasets import FolderDataset

from ..inference.deblurring import deblur
from ..registry import nearest
from .protocols import EVALUATION_PROTOCOLS, EvaluationProtocol, Report, Score

__all__ = ["Sample", "evaluate"]

MAX_VALUE = 2.0
"""Larger values mean that an encoded image is not in [0, 1]; smaller ones are overshoot."""
INPUT = "input"
"""Name of the row of the blurred image itself."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The input of a method that is not a network.

    Attributes
    ----------
    index : int
        In the dataset.
    name : str
    arrays : dict of str to ndarray
        Images as the protocol prepares them, encoded, and the other arrays as they are; without the truth.
    """

    index: int
    name: str
    arrays: dict[str, np.ndarray]


def evaluate(
    net: nn.Module | Callable[[Sample], np.ndarray] | None,
    dataset: Any,
    protocol: str,
    *,
    name: str | None = None,
    limit: int | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    lpips: Callable[[Tensor, Tensor], Any] | None = None,
    on_image: Callable[[Score], None] | None = None,
) -> Report:
    """Evaluate a method on a dataset.

    Parameters
    ----------
    net : Net, callable or None
        A network; any other method, called with a `Sample` and returning an encoded image (3, H, W); or None for the
        blurred image as it is.
    dataset : sequence of mappings of str to ndarray
        With ``all_in_focus`` and the inputs, images (3, H, W) in [0, 1], or uint8 and uint16 in their full range: a
        dataset of `synth.datasets`, `synth.Dataset`, what `synth.open` returns (also as ``torch.utils.data.Subset`` or
        ``ConcatDataset``), or your own list. Methods and metrics see *encoded* images, as a screen shows them (sRGB).
        The first ones know of each sample whether it is encoded or linear light, and what is linear is encoded here,
        where the protocol allows it. Your own is taken to be encoded already: give linear light through
        `blurphys.colour.linear_to_srgb`, not as it is.
    protocol : str
        A key of `nets.EVALUATION_PROTOCOLS`: ``dpdd-8bit``, ``dpdd-16bit``, ``realdof``, ``lfdof``, ``rtf``,
        ``synthetic`` (data sets of `synth`) or ``pairs`` (your own pictures). Figures of different protocols cannot be
        compared.
    name : str, optional
        Of the row; by default that of the network.
    limit : int, optional
        Only so many samples, from the first on.
    tile, overlap : int, optional
        As for `nets.deblur`; tiles may change the figures.
    lpips : callable, optional
        A metric with local weights, from
        ``nets.EVALUATION_PROTOCOLS[protocol].convention.lpips(features=..., linear=...)``: called with result and
        truth, (1, 3, H, W).
    on_image : callable, optional
        Called with each `Score` as it comes.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        No such protocol; a dataset of another protocol, empty, or without a field the method or the truth needs (named
        before anything is computed); linear light where the protocol is for encoded images; images beyond [0, 1], as
        those in 0..255 are, or not finite; a result of another shape.
    TypeError
        A dataset without length, such as a generator; images of another type.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            f"evaluate: expected a sequence of samples, such as a list, got {type(dataset).__name__}; list(...) makes "
            "one of a generator"
        )
    if protocol not in EVALUATION_PROTOCOLS:
        raise ValueError(f"no protocol is called {protocol!r}; {nearest(str(protocol), EVALUATION_PROTOCOLS)}")
    rules = EVALUATION_PROTOCOLS[protocol]
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if count < 1:
        raise ValueError(f"evaluate: expected at least one image, got {len(dataset)} samples and limit={limit}")
    _check_dataset(dataset, count, rules)
    wanted = _wanted(net)
    method = name or (INPUT if net is None else str(getattr(net, "name", getattr(net, "__name__", type(net).__name__))))
    scores = []
    for index in range(count):
        arrays = dict(dataset[index])
        if index == 0:
            _check_fields(method, wanted, arrays)
        linear = _is_linear(dataset, index)
        images = {key for key in (TRUTH, *wanted) if key not in FIELDS or FIELDS[key].is_image}
        sample, truth = _prepare(index, _image_name(dataset, index), arrays, rules, linear, images)
        result = _result(net, sample, wanted, rules, tile=tile, overlap=overlap)
        result = _in_range(sample.name, f"what {method} returned", result, overshoot=True)
        if result.shape != truth.shape:
            raise ValueError(f"{method}: expected a result of shape {truth.shape}, got {result.shape}")
        scores.append(Score(method, sample.name, _measure(result, truth, rules, lpips)))
        if on_image is not None:
            on_image(scores[-1])
    return Report(protocol=rules, scores=tuple(scores))


# ---- input ----------------------------------------------------------------------------------------------------------


def _check_dataset(dataset: Any, count: int, rules: EvaluationProtocol) -> None:
    """Raise for a set of another protocol, and for linear light where the protocol is for encoded images."""
    kind = type(dataset).__name__
    if isinstance(dataset, FolderDataset) and kind not in rules.datasets:
        fitting = [p.name for p in EVALUATION_PROTOCOLS.values() if kind in p.datasets]
        hint = f"; for {kind} there is {' or '.join(fitting)}" if fitting else ""
        raise ValueError(f"evaluate: the protocol {rules.name!r} is not for {kind}{hint}")
    for index in range(0 if rules.encodes else count):
        if _is_linear(dataset, index):
            what = f"sample {index} of this dataset" if index else "this dataset"
            raise ValueError(
                f"evaluate: the protocol {rules.name!r} is for encoded images, and {what} is linear light; open it "
                "with linear=False, or measure by the protocol 'synthetic'"
            )


def _is_linear(dataset: Any, index: int) -> bool:
    """Whether a sample's own dataset says that it is linear light."""
    if isinstance(dataset, FolderDataset):
        return dataset.linear
    if isinstance(dataset, Subset):
        return _is_linear(dataset.dataset, dataset.indices[index])
    if isinstance(dataset, ConcatDataset):
        part = bisect_right(dataset.cumulative_sizes, index)
        return _is_linear(dataset.datasets[part], index - (dataset.cumulative_sizes[part - 1] if part else 0))
    attributes = dataset.attrs_of(index) if hasattr(dataset, "attrs_of") else {}
    return bool(attributes.get("transfer_function") == "linear")


def _image_name(dataset: Any, index: int) -> str:
    return str(dataset.names[index]) if isinstance(dataset, FolderDataset) else f"{index:04d}"


def _wanted(net: Any) -> tuple[str, ...]:
    """Arrays of a sample that a method is called with."""
    inputs = getattr(net, "inputs", ("image",)) if isinstance(net, nn.Module) else ("image",)
    return tuple(field_of(key) for key in inputs)


def _check_fields(method: str, wanted: Sequence[str], arrays: Mapping[str, Any]) -> None:
    for key in (*wanted, TRUTH):
        if key not in arrays:
            who = "the comparison" if key == TRUTH else method
            raise ValueError(f"evaluate: {who} needs {key!r}, and the dataset has {', '.join(sorted(arrays))}")


def _prepare(
    index: int, name: str, arrays: dict[str, Any], rules: EvaluationProtocol, linear: bool, images: Set[str]
) -> tuple[Sample, np.ndarray]:
    """Encode and round the images of a sample: the named ones and others with three colours; maps stay as they are."""
    for key, array in arrays.items():
        if key not in images and (np.ndim(array) != 3 or len(array) != 3):
            continue
        image = _in_range(name, repr(key), array, overshoot=linear)
        if linear:
            image = np.clip(np.asarray(linear_to_srgb(np.clip(image, 0.0, 1.0))), 0.0, 1.0)
        arrays[key] = _round(image.astype(np.float32), rules)
    truth = arrays.pop(TRUTH)
    return Sample(index, name, arrays), truth


def _in_range(name: str, key: str, array: Any, *, overshoot: bool) -> np.ndarray:
    """Scale integers from the range of their type, and raise for values that are not an image in [0, 1].

    With `overshoot` single pixels may have any value, as highlights and results of solvers do.
    """
    image = np.asarray(array.detach().cpu() if isinstance(array, torch.Tensor) else array)
    if image.dtype in (np.uint8, np.uint16):
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if image.dtype.kind != "f":
        raise TypeError(
            f"evaluate: expected images as floats in [0, 1], uint8 or uint16, got {image.dtype} in {key} of {name}"
        )
    low, high = float(image.min(initial=0.0)), float(image.max(initial=0.0))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"evaluate: expected finite images, got NaN or inf in {key} of {name}")
    size = float(np.abs(image).mean()) if overshoot and image.size else max(-low, high)
    if size > MAX_VALUE:
        raise ValueError(
            f"evaluate: expected images in [0, 1], got values from {low:.4g} to {high:.4g} in {key} of {name}; "
            "divide images of 8 bits by 255"
        )
    return image


def _round(image: np.ndarray, rules: EvaluationProtocol) -> np.ndarray:
    return np.rint(image * 255) / np.float32(255) if rules.convention.bits == 8 else image


def _result(net: Any, sample: Sample, wanted: Sequence[str], rules: EvaluationProtocol, **tiling: Any) -> Any:
    if net is None:
        return sample.arrays["combined"]
    if not isinstance(net, nn.Module):
        return net(sample)
    images = [sample.arrays[key] for key in wanted]
    height, width = images[0].shape[-2:]
    down, right = -height % rules.multiple, -width % rules.multiple
    margins = ((0, 0), (down // 2, down - down // 2), (right // 2, right - right // 2))
    result = deblur(net, [np.pad(image, margins, mode="reflect") for image in images], **tiling)
    return np.asarray(result[:, margins[1][0] :, margins[2][0] :][:, :height, :width])


# ---- output ---------------------------------------------------------------------------------------------------------


def _measure(result: np.ndarray, truth: np.ndarray, rules: EvaluationProtocol, lpips: Any) -> dict[str, float]:
    image, target = (torch.from_numpy(np.ascontiguousarray(a, np.float32))[None] for a in (result, truth))
    convention = rules.convention
    values: dict[str, Any] = dict(convention(image, target))
    if lpips is not None:
        with torch.no_grad():
            values["lpips"] = lpips(*(convention.prepared(v, clamp=convention.clamp_ssim) for v in (image, target)))
    return {key: float(torch.as_tensor(value).mean()) for key, value in values.items()}
