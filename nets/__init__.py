"""Learned networks that unroll the solvers' steps on the operators of `blurphys`.

| question | name |
|---|---|
| the networks | `GKMNet`, `NRKNet`, `KPACNet`, `HQSNet`, `BlurMapNet`, `DefocusGenerator`, `DefocusMapNet`, `LearnableBlurKernel`, `PatchDiscriminator` |
| create one by name; save it; load it | `create`, `save`, `load` |
| weights of the papers' authors | `load_official` |
| deblur a photo of any size | `deblur` |
| how blurred one photo is, everywhere | `estimate_blur`, by a `BlurMapNet`; its result, `BlurEstimate` |
| undo the defocus of one photo of which nothing is known | `restore`; its result, `Restoration` |
| parameters and multiply-accumulates | `summary` |
| train from a recipe; measure by a named protocol | `train`, `evaluate` |
| their losses and metrics | `losses`, `metrics` |

Images are RGB tensors (B, 3, H, W) in [0, 1]. Importing this package does not import torch; the first use of a name
does.
"""  # noqa: E501

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import losses, metrics
    from .evaluation.evaluate import evaluate
    from .evaluation.protocols import EVALUATION_PROTOCOLS
    from .inference.blur_map import BlurEstimate, estimate_blur
    from .inference.deblurring import TilingWarning, deblur
    from .inference.one_photo import Restoration, restore
    from .models.blurmap.blur_map_net import BlurMapNet
    from .models.defocus_gan import DefocusGenerator, DefocusMapNet, LearnableBlurKernel, PatchDiscriminator
    from .models.gkmnet.gkmnet import GKMNet
    from .models.hqsnet.hqsnet import HQSNet
    from .models.kpac.kpac import KPACNet
    from .models.nrknet.nrknet import NRKNet
    from .net import Net, Outputs, RangeWarning
    from .registry import create
    from .tools.summaries import summary
    from .training import TrainConfig, train
    from .weights.official import load_official
    from .weights.saving import describe, load, pretrained, save

_HOMES = {
    "BlurEstimate": "inference.blur_map",
    "BlurMapNet": "models.blurmap.blur_map_net",
    "EVALUATION_PROTOCOLS": "evaluation.protocols",
    "GKMNet": "models.gkmnet.gkmnet",
    "NRKNet": "models.nrknet.nrknet",
    "KPACNet": "models.kpac.kpac",
    "HQSNet": "models.hqsnet.hqsnet",
    "DefocusGenerator": "models.defocus_gan",
    "DefocusMapNet": "models.defocus_gan",
    "LearnableBlurKernel": "models.defocus_gan",
    "PatchDiscriminator": "models.defocus_gan",
    "Net": "net",
    "Outputs": "net",
    "RangeWarning": "net",
    "Restoration": "inference.one_photo",
    "TilingWarning": "inference.deblurring",
    "TrainConfig": "training",
    "create": "registry",
    "deblur": "inference.deblurring",
    "describe": "weights.saving",
    "estimate_blur": "inference.blur_map",
    "evaluate": "evaluation.evaluate",
    "load": "weights.saving",
    "load_official": "weights.official",
    "pretrained": "weights.saving",
    "restore": "inference.one_photo",
    "save": "weights.saving",
    "summary": "tools.summaries",
    "train": "training",
}

__all__ = [
    "BlurEstimate",
    "BlurMapNet",
    "DefocusGenerator",
    "DefocusMapNet",
    "EVALUATION_PROTOCOLS",
    "GKMNet",
    "HQSNet",
    "KPACNet",
    "LearnableBlurKernel",
    "NRKNet",
    "Net",
    "Outputs",
    "PatchDiscriminator",
    "RangeWarning",
    "Restoration",
    "TilingWarning",
    "TrainConfig",
    "create",
    "deblur",
    "describe",
    "estimate_blur",
    "evaluate",
    "load",
    "load_official",
    "losses",
    "metrics",
    "pretrained",
    "restore",
    "save",
    "summary",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("losses", "metrics"):
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


__dir__ = __all__.copy  # what completion offers
