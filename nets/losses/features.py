"""Losses that compare features of two images: Laplacian pyramids, or a classifier with weights that you supply."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from blurphys.inputs import require_integer

from ..layers.blocks import resize
from ..layers.checks import check_choice
from ..layers.precision import exact
from ..layers.resampling import halve
from .classifiers import Weights, load_strictly, read_weights, vgg19
from .pointwise import check_pair

__all__ = ["PyramidLoss", "VGGInput", "VGGLoss", "VGGPreset"]

VGGPreset: TypeAlias = Literal["defocusgan", "kpac"]
VGGInput: TypeAlias = Literal["rgb", "bgr", "imagenet", "caffe"]


class PyramidLoss(nn.Module):
    """Mean absolute differences of the Laplacian pyramids and of the gradients at its scales. It needs no weights.

    Parameters
    ----------
    levels : int
        Scales; fewer where the images are smaller than 2^levels px.

    Notes
    -----
    With d the difference of the images, d_0 = d, d_(i+1) = half of d_i:
    ``sum_i mean |d_i - up(d_(i+1))| + mean |dx d_i| + mean |dy d_i|``, plus the mean |d| at the smallest scale.
    """

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.levels = require_integer("PyramidLoss", "levels", levels)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        check_pair("PyramidLoss", image, target)
        with exact(image, target) as (x, y):
            here = x - y
            total = here.new_zeros(())
            for level in range(self.levels):
                for dim in (-1, -2):
                    if here.shape[dim] > 1:
                        total = total + torch.diff(here, dim=dim).abs().mean()
                if level + 1 == self.levels or min(here.shape[-2:]) < 4:
                    break
                small = halve(here)
                total = total + (here - resize(small, (here.shape[-2], here.shape[-1]))).abs().mean()
                here = small
            return total + here.abs().mean()


class VGGLoss(nn.Module):
    """Mean squared difference of the features of VGG-19 at one layer, with weights that you supply.

    Parameters
    ----------
    weights : path or mapping
        A safetensors file, a file of ``torch.save`` with tensors only, or a state dictionary; keys as in torchvision,
        ``features.0.weight``, ``features.0.bias``, ``features.2.weight``, ... Other entries are ignored.
    preset : {"defocusgan", "kpac"}
        Defaults of the following. "defocusgan": conv3_3 before its ReLU, input "bgr". "kpac": conv4_4 after its ReLU,
        input "caffe".
    layer : str, optional
        Of the sequence conv1_1, conv1_2, conv2_1, ... conv5_4.
    relu : bool, optional
        Whether the ReLU behind the layer is applied.
    inputs : {"rgb", "bgr", "imagenet", "caffe"}, optional
        Preprocessing of an RGB image in [0, 1]: none, colours reversed, (x - mean) / deviation of ImageNet as
        torchvision's weights expect it, or 255 x clamped to [0, 255] with reversed colours minus (103.939, 116.779,
        123.68), as the weights of the original VGG expect it.

    Raises
    ------
    ValueError
        An unknown choice, or a key that is missing or misshapen.
    FileNotFoundError
        No such file.

    References
    ----------
    Son et al., Single image defocus deblurring using kernel-sharing parallel atrous convolutions, ICCV 2021; the
    perceptual terms of its and of DefocusGAN's training. KPAC's paper does not say that the difference is squared.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        preset: VGGPreset = "defocusgan",
        layer: str | None = None,
        relu: bool | None = None,
        inputs: VGGInput | None = None,
    ) -> None:
        super().__init__()
        check_choice("VGGLoss", "preset", preset, get_args(VGGPreset))
        usual: tuple[str, bool, VGGInput]
        usual = ("conv3_3", False, "bgr") if preset == "defocusgan" else ("conv4_4", True, "caffe")
        self.inputs: VGGInput = usual[2] if inputs is None else inputs
        check_choice("VGGLoss", "inputs", self.inputs, get_args(VGGInput))
        self.features = vgg19(usual[0] if layer is None else layer, relu=usual[1] if relu is None else relu)
        load_strictly("VGGLoss", self.features, read_weights("VGGLoss", weights), prefix="features.")

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        check_pair("VGGLoss", image, target)
        a, b = self.features(torch.cat([self._preprocess(image), self._preprocess(target)])).chunk(2)
        with exact(a, b) as (x, y):
            return (x - y).square().mean()

    def _preprocess(self, image: Tensor) -> Tensor:
        if self.inputs == "imagenet":
            mean, deviation = image.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
            return (image - mean) / deviation
        if self.inputs == "caffe":
            return 255 * image.clamp(0, 1).flip(1) - image.new_tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
        return image.flip(1) if self.inputs == "bgr" else image
