"""Losses: functions of two images, and modules that take all outputs of a network.

| question | loss |
|---|---|
| two images, pixel by pixel | `l2`, `mae`, `ssim_loss` |
| their spectra | `frequency` |
| their features | `PyramidLoss`; `VGGLoss` with weights that you supply |
| the same at all scales of a network | `multi_scale`, `ScaleLoss` |
| does the predicted blur explain the photo | `reblurring` |
| a discriminator | `adversarial_loss`, `discriminator_loss`, `gradient_penalty`, `defocus_weight` |
| a map that is smooth | `total_variation` |
| a distribution over radii in every cell | `BlurMapLoss`, `radius_shares` |
| the losses of the papers | `GKMLoss`, `NRKLoss`, `KPACLoss`, `DefocusGANLoss`, `ReblurLoss`; `create_loss` by name |
"""

from .adversarial import adversarial_loss, defocus_weight, discriminator_loss, gradient_penalty
from .features import PyramidLoss, VGGLoss
from .pointwise import frequency, l2, mae, total_variation
from .radii import BlurMapLoss, radius_shares
from .recipes import LOSSES, DefocusGANLoss, GKMLoss, KPACLoss, NRKLoss, ReblurLoss, create_loss
from .scales import multi_scale
from .schedule import ALTERNATIONS, Alternation, alternation
from .similarity import ssim, ssim_loss
from .terms import Loss, ScaleLoss, reblurring

__all__ = [
    "ALTERNATIONS",
    "LOSSES",
    "Alternation",
    "BlurMapLoss",
    "DefocusGANLoss",
    "GKMLoss",
    "KPACLoss",
    "Loss",
    "NRKLoss",
    "PyramidLoss",
    "ReblurLoss",
    "ScaleLoss",
    "VGGLoss",
    "adversarial_loss",
    "alternation",
    "create_loss",
    "defocus_weight",
    "discriminator_loss",
    "frequency",
    "gradient_penalty",
    "l2",
    "mae",
    "multi_scale",
    "radius_shares",
    "reblurring",
    "ssim",
    "ssim_loss",
    "total_variation",
]
__dir__ = __all__.copy  # what completion offers
