"""DefocusGAN: defocus map, learned blur kernels, guided generator and discriminator."""

from .blur_kernel import LearnableBlurKernel
from .discriminator import PatchDiscriminator
from .generator import (
    STAGES,
    DefocusGenerator,
    annealed_weight,
    blur_radius,
    guide_masks,
)
from .map_net import DefocusMapNet

__all__ = [
    "STAGES",
    "DefocusGenerator",
    "DefocusMapNet",
    "LearnableBlurKernel",
    "PatchDiscriminator",
    "annealed_weight",
    "blur_radius",
    "guide_masks",
]
