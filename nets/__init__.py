"""The roof of the house: learned networks that unroll the solvers' steps on the operators of `blurphys`.

| question | name |
|---|---|
| the networks | `GKMNet`, `NRKNet`, `KPACNet`, `HQSNet`, `DefocusGenerator`, `DefocusMapNet`, `LearnableBlurKernel`, `PatchDiscriminator` |
| make one by name; keep it; get it back | `create`, `save`, `load` |
| weights of the papers' authors | `load_official` |
| sharpen a photo of any size | `deblur` |
| parameters and multiply-accumulates | `summary` |
| train from a recipe; measure by a named protocol | `train`, `evaluate` |
| parts of both | `losses`, `metrics` |

Images are RGB tensors (B, 3, H, W) in [0, 1]. Importing this package does not import torch; the first use of a name does.
"""  # noqa: E501

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import losses, metrics
    from .deblurring import TilingWarning, deblur
    from .defocus_gan import DefocusGenerator, DefocusMapNet, LearnableBlurKernel, PatchDiscriminator
    from .evaluation import evaluate
    from .gkmnet import GKMNet
    from .hqsnet import HQSNet
    from .kpac import KPACNet
    from .net import Net, Outputs, RangeWarning
    from .nrknet import NRKNet
    from .official import load_official
    from .protocols import EVALUATION_PROTOCOLS
    from .registry import create
    from .saving import describe, load, pretrained, save
    from .summaries import summary
    from .training import TrainConfig, train

_HOMES = {
    "EVALUATION_PROTOCOLS": "protocols",
    "GKMNet": "gkmnet",
    "NRKNet": "nrknet",
    "KPACNet": "kpac",
    "HQSNet": "hqsnet",
    "DefocusGenerator": "defocus_gan",
    "DefocusMapNet": "defocus_gan",
    "LearnableBlurKernel": "defocus_gan",
    "PatchDiscriminator": "defocus_gan",
    "Net": "net",
    "Outputs": "net",
    "RangeWarning": "net",
    "TilingWarning": "deblurring",
    "TrainConfig": "training",
    "create": "registry",
    "deblur": "deblurring",
    "describe": "saving",
    "evaluate": "evaluation",
    "load": "saving",
    "load_official": "official",
    "pretrained": "saving",
    "save": "saving",
    "summary": "summaries",
    "train": "training",
}

__all__ = [
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
    "TilingWarning",
    "TrainConfig",
    "create",
    "deblur",
    "describe",
    "evaluate",
    "load",
    "load_official",
    "losses",
    "metrics",
    "pretrained",
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
