"""The training losses of the papers, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn

from blurphys.importing import import_object, names_code

from ..layers.checks import check_choice
from ..layers.resampling import Resampling
from ..net import Outputs
from .adversarial import adversarial_loss
from .features import PyramidLoss, VGGLoss
from .pointwise import FrequencyNorm, frequency, l2, mae, total_variation
from .radii import BlurMapLoss
from .scales import multi_scale
from .schedule import ALTERNATIONS, alternation
from .similarity import ssim_loss
from .terms import SINGLE, Loss, OperatorLoss, Parts, Preset, ScaleLoss, detach_parts, reblurring

__all__ = ["LOSSES", "DefocusGANLoss", "GKMLoss", "KPACLoss", "NRKLoss", "ReblurLoss", "create_loss"]

NRK_WEIGHTS = (1.0, 0.75, 0.5, 0.25)


class GKMLoss(Loss):
    """GKMNet's: squared error or 1 - SSIM, alternating, summed over the scales.

    Parameters
    ----------
    preset : {"official", "paper"}
        Which schedule, that of the code (SSIM in the first half of every 200 epochs from 1000 on) or of the paper
        (every 1000 epochs, from 1000 on).
    schedule : str, optional
        A key of `ALTERNATIONS` in place of the preset's; "l2" never alternates.
    resampling : {"antialiased", "gkmnet"}
        How the targets are downsampled; "gkmnet" rounds them to 8 bits as the code does.

    References
    ----------
    Quan, Wu, Ji, "Gaussian Kernel Mixture Network for Single Image Defocus Deblurring", NeurIPS 2021, section on
    training.
    """

    def __init__(
        self, *, preset: Preset = "official", schedule: str | None = None, resampling: Resampling = "antialiased"
    ) -> None:
        super().__init__()
        check_choice("GKMLoss", "preset", preset, get_args(Preset))
        check_choice("GKMLoss", "resampling", resampling, get_args(Resampling))
        usual = "gkmnet" if preset == "official" else "gkmnet-paper"
        self.schedule = usual if schedule is None else schedule
        check_choice("GKMLoss", "schedule", self.schedule, tuple(ALTERNATIONS))
        self.resampling: Resampling = resampling

    def forward(self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0) -> tuple[Tensor, Parts]:
        kind = alternation(self.schedule, epoch)
        total = multi_scale(outputs, sharp, loss=SINGLE[kind], resampling=self.resampling)
        return total, detach_parts(**{kind: total})


class NRKLoss(Loss):
    """NRKNet's: squared error and spectra at all scales, and the reblurring error of its predicted blur.

    Parameters
    ----------
    preset : {"official", "paper"}
        "official": the reblurring term is reported but not added, spectra by their real and imaginary parts, and
        1 - SSIM in place of both other terms in part of the epochs. "paper": all three terms, moduli of the spectra,
        no SSIM.
    weights : sequence of float
        Of the restored image and of the scales, full resolution first.
    frequency_weight : float
        Of the spectra.
    reblur_weight : float, optional
        Of the reblurring term; 0.1 in the paper, 0 in the code.
    schedule : str, optional
        A key of `ALTERNATIONS` in place of the preset's; "nrknet-lfdof" is the code's for LFDOF.
    resampling : {"antialiased", "nrknet"}
        How the targets are downsampled; "nrknet" as in the code, half a pixel off at each level.

    Notes
    -----
    ``sum_t w_t (mse(Z_t, X_t) + 0.1 fdr(Z_t, X_t)) + a sum_t w_t mse(D_t X_t, Y_t)``, Z_0 the restored image with
    weight 1, Z_1.. the scales with 0.75, 0.5, 0.25. Sums over frequencies in the paper are means here.

    References
    ----------
    Quan, Wu and Ji, Neumann network with recursive kernels for single image defocus deblurring, CVPR 2023, loss.
    """

    fields = ("all_in_focus", "combined")

    def __init__(
        self,
        *,
        preset: Preset = "official",
        weights: Sequence[float] = NRK_WEIGHTS,
        frequency_weight: float = 0.1,
        reblur_weight: float | None = None,
        schedule: str | None = None,
        resampling: Resampling = "antialiased",
    ) -> None:
        super().__init__()
        check_choice("NRKLoss", "preset", preset, get_args(Preset))
        check_choice("NRKLoss", "resampling", resampling, get_args(Resampling))
        usual = "nrknet" if preset == "official" else "nrknet-paper"
        self.schedule = usual if schedule is None else schedule
        check_choice("NRKLoss", "schedule", self.schedule, tuple(ALTERNATIONS))
        self.norm: FrequencyNorm = preset
        self.weights, self.frequency_weight, self.resampling = tuple(weights), frequency_weight, resampling
        usual_weight = 0.0 if preset == "official" else 0.1
        self.reblur_weight = usual_weight if reblur_weight is None else reblur_weight

    def forward(self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0) -> tuple[Tensor, Parts]:
        def at_all(loss: Any) -> Tensor:
            return multi_scale(outputs, sharp, loss=loss, weights=self.weights, final=True, resampling=self.resampling)

        if alternation(self.schedule, epoch) == "ssim":
            parts = {"ssim": at_all(ssim_loss)}
            total = parts["ssim"]
        else:
            parts = {"l2": at_all(l2), "frequency": at_all(lambda x, y: frequency(x, y, norm=self.norm))}
            total = parts["l2"] + self.frequency_weight * parts["frequency"]
        if self.reblur_weight or outputs.reblurred:
            parts["reblur"] = reblurring(outputs, image, weights=self.weights[1:], resampling=self.resampling)
            if self.reblur_weight:
                total = total + self.reblur_weight * parts["reblur"]
        return total, detach_parts(**parts)


def _feature_term(vgg: Any, preset: Literal["defocusgan", "kpac"]) -> nn.Module:
    return PyramidLoss() if vgg is None else VGGLoss(vgg, preset=preset)


class KPACLoss(Loss):
    """KPAC's: mean absolute error of values in [-1, 1], later with a feature loss.

    Parameters
    ----------
    features_from : int, optional
        Epoch from which the feature loss counts (step 200 000 of 300 000 in the paper); None for never.
    feature_weight : float
    vgg : path or mapping, optional
        Weights of VGG-19 for the paper's feature loss, conv4_4, see `VGGLoss`. Without them `PyramidLoss`, which is a
        different one.

    References
    ----------
    Son et al., Single image defocus deblurring using kernel-sharing parallel atrous convolutions, ICCV 2021.
    """

    def __init__(self, *, features_from: int | None = None, feature_weight: float = 7e-4, vgg: Any = None) -> None:
        super().__init__()
        self.features_from, self.feature_weight = features_from, feature_weight
        self.features = _feature_term(vgg, "kpac")

    def forward(self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0) -> tuple[Tensor, Parts]:
        parts = {"mae": mae(outputs.image, sharp)}
        total = 2 * parts["mae"]  # the range [-1, 1] is twice as wide
        if self.features_from is not None and epoch >= self.features_from:
            parts["features"] = self.features(outputs.image, sharp)
            total = total + self.feature_weight * parts["features"]
        return total, detach_parts(**parts)


class DefocusGANLoss(Loss):
    """The loss of DefocusGAN's generator.

    Parameters
    ----------
    preset : {"official", "paper"}
        Weights of mean absolute error, features and scores: 0.5, 0.006, 0.001 in the code and 1, 0.012, 0.002 in the
        paper, which also weights the scores by the defocus map.
    vgg : path or mapping, optional
        Weights of VGG-19 for the code's feature loss, conv3_3 before its ReLU, see `VGGLoss`. Without them
        `PyramidLoss`, which is a different one.

    Notes
    -----
    The scores of the discriminator come as keywords, once it takes part (epoch 10 in the code):
    ``loss(outputs, sharp, image, epoch, scores=D(outputs.image), weight=defocus_weight(map, scores.shape[-2:]))``.
    """

    def __init__(self, *, preset: Preset = "official", vgg: Any = None) -> None:
        super().__init__()
        check_choice("DefocusGANLoss", "preset", preset, get_args(Preset))
        self.preset = preset
        self.features = _feature_term(vgg, "defocusgan")

    def forward(
        self,
        outputs: Outputs,
        sharp: Tensor,
        image: Tensor,
        epoch: int = 0,
        *,
        scores: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Parts]:
        parts = {"mae": mae(outputs.image, sharp), "features": self.features(outputs.image, sharp)}
        total = parts["mae"] + 0.012 * parts["features"]
        if scores is not None:
            parts["adversarial"] = adversarial_loss(scores, weight if self.preset == "paper" else None)
            total = total + 0.002 * parts["adversarial"]
        return total * (0.5 if self.preset == "official" else 1.0), detach_parts(**parts)


class ReblurLoss(Loss):
    """The loss of DefocusGAN's map network and blur kernel: the difference of the reblurred sharp image and the photo.

    Parameters
    ----------
    preset : {"official", "paper"}
        The mean absolute difference counts 1000 times in the code.
    smoothness : float
        Weight of the total variation of the map, which is a sum over the batch and all pixels.
    smooth_from : int
        Epoch from which it counts; 2 stands for the code's 3000 steps of 4 out of 7000 patches.

    Notes
    -----
    Of `outputs` it takes the map, (B, C, H, W) in px, as `image`, and the sharp image blurred by it as `reblurred[0]`.
    """

    fields = ("all_in_focus", "combined")

    def __init__(
        self, *, preset: Preset = "official", smoothness: float = 1e-5, smooth_from: int | None = None
    ) -> None:
        super().__init__()
        check_choice("ReblurLoss", "preset", preset, get_args(Preset))
        self.weight, self.smoothness = (1000.0 if preset == "official" else 1.0), smoothness
        self.smooth_from = (2 if preset == "official" else 0) if smooth_from is None else smooth_from

    def forward(self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0) -> tuple[Tensor, Parts]:
        if not outputs.reblurred:
            raise ValueError("ReblurLoss: expected the blurred sharp image in outputs.reblurred, got none")
        parts = {"reblur": mae(outputs.reblurred[0], image), "smoothness": total_variation(outputs.image)}
        total = self.weight * parts["reblur"]
        if epoch >= self.smooth_from:
            total = total + self.smoothness * parts["smoothness"]
        return total, detach_parts(**parts)


LOSSES: dict[str, type[Loss]] = {
    "gkmnet": GKMLoss,
    "nrknet": NRKLoss,
    "kpac": KPACLoss,
    "defocusgan": DefocusGANLoss,
    "reblur": ReblurLoss,
    "operator": OperatorLoss,
    "blurmap": BlurMapLoss,
}
"""Losses of the papers by the names that ``[[losses]]`` in the settings of a training and `create_loss` take. Your own
can be added, ``LOSSES["mine"] = MyLoss``, or named as ``module:Class``. "l2", "log_l2", "mae", "ssim", "frequency",
"pyramid" are `ScaleLoss` and not listed here."""


def create_loss(name: str, **arguments: Any) -> Loss:
    """Build a loss by its name.

    Parameters
    ----------
    name : str
        A key of `LOSSES`; "l2", "log_l2", "mae", "ssim", "frequency", "pyramid" for that loss at all scales; or
        ``module:Class``
        for a subclass of `Loss` of your own.
    **arguments
        Of its class.

    Raises
    ------
    ValueError
        There is no such loss, it refuses a value, or ``module:Class`` is not a `Loss`.
    TypeError
        It does not take such arguments.
    """
    if isinstance(name, str) and name not in LOSSES and names_code(name):
        own = import_object(name, "my_losses:MyLoss")
        if not (isinstance(own, type) and issubclass(own, Loss)):
            raise ValueError(f"{name}: expected a subclass of nets.losses.Loss, got {own!r}")
        return own(**arguments)
    scale = (*SINGLE, "pyramid")
    check_choice("create_loss", "name", name, (*LOSSES, *scale))
    return ScaleLoss(name, **arguments) if name in scale else LOSSES[name](**arguments)
