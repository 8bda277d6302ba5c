"""The protocols behind published figures, and reports that keep protocols apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import metrics
from ..registry import nearest

__all__ = ["EVALUATION_PROTOCOLS", "EvaluationProtocol", "Report", "Score"]


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How images are prepared for a network, and by which convention its results are compared with the truth.

    Attributes
    ----------
    name : str
    datasets : tuple of str
        Classes of `synth.datasets` it is for. Datasets that belong to no protocol may use it, too.
    convention : nets.metrics.Protocol
        Of the metrics. Where it is for files of 8 bits, input and truth are rounded to multiples of 1 / 255.
    multiple : int
        Images are extended by reflection, evenly on both sides, to multiples of this before they go to the network, and
        results are cropped back before they are compared.
    encodes : bool
        Whether the dataset may be linear light, which is then sRGB-encoded and clipped to [0, 1] first.
    about : str
        Whose code or paper it follows.
    """

    name: str
    datasets: tuple[str, ...] = ()
    convention: metrics.Protocol
    multiple: int = 1
    encodes: bool = False
    about: str


_NRKNET = metrics.protocol("nrknet")
_SYNTHETIC = metrics.Protocol(
    name="synthetic", bits=16, rounded=False, clamp_psnr=True, clamp_ssim=True, window="uniform"
)

EVALUATION_PROTOCOLS: Mapping[str, EvaluationProtocol] = {
    protocol.name: protocol
    for protocol in (
        EvaluationProtocol(
            name="dpdd-8bit",
            datasets=("DPDD",),
            convention=_NRKNET,
            about="the code of GKMNet and NRKNet on DPDD: PSNR of 8-bit values, Gaussian SSIM of rounded results "
            "that are not clipped",
        ),
        EvaluationProtocol(
            name="dpdd-16bit",
            datasets=("DPDD",),
            convention=metrics.protocol("dpdd"),
            about="the code of DPDNet on DPDD: 16-bit values / 65535, nothing rounded or clipped, SSIM as in "
            "scikit-image",
        ),
        EvaluationProtocol(
            name="realdof", datasets=("RealDOF",), convention=_NRKNET, about="the code of NRKNet on RealDOF"
        ),
        EvaluationProtocol(name="lfdof", datasets=("LFDOF",), convention=_NRKNET, about="the code of NRKNet on LFDOF"),
        EvaluationProtocol(
            name="rtf",
            datasets=("RTF",),
            convention=_NRKNET,
            multiple=16,
            about="the code of NRKNet on RTF: 360 x 360 px extended to 368 by reflection and cropped back",
        ),
        EvaluationProtocol(
            name="synthetic",
            convention=_SYNTHETIC,
            encodes=True,
            about="datasets of synth: sRGB-encoded, clipped to [0, 1], nothing rounded, SSIM as in scikit-image",
        ),
        EvaluationProtocol(
            name="pairs",
            datasets=("Pairs",),
            convention=_SYNTHETIC,
            about="pairs of pictures of one's own: sRGB-encoded, clipped to [0, 1], nothing rounded, SSIM as in "
            "scikit-image",
        ),
    )
}
"""All protocols by name. Figures of different protocols cannot be compared, not even on one dataset."""


class Score(NamedTuple):
    """The metrics of one restored image.

    Attributes
    ----------
    method, image : str
        Names of the method and of the image.
    values : dict of str to float
        ``psnr`` (dB), ``ssim``, ``mae``, and ``lpips`` where weights were given.
    """

    method: str
    image: str
    values: dict[str, float]


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """Scores by one protocol; reports of one protocol on the same images add up; ``str()`` is a table of the means.

    Attributes
    ----------
    protocol : EvaluationProtocol
    scores : tuple of Score
        Method by method, image by image.
    """

    protocol: EvaluationProtocol
    scores: tuple[Score, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order they came."""
        return tuple(dict.fromkeys(score.method for score in self.scores))

    @property
    def images(self) -> tuple[str, ...]:
        """The images that every method was measured on."""
        return tuple(dict.fromkeys(score.image for score in self.scores))

    def mean(self, method: str) -> dict[str, float]:
        """Return the mean of each metric over the images: metrics are taken image by image and averaged then."""
        rows = [score.values for score in self.scores if score.method == method]
        if not rows:
            raise ValueError(f"no method is called {method!r}; {nearest(method, self.methods)}")
        return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}

    def __add__(self, other: Report) -> Report:
        if not isinstance(other, Report):
            return NotImplemented
        if other.protocol != self.protocol:
            raise ValueError(
                f"reports of the protocols {self.protocol.name!r} and {other.protocol.name!r} cannot share a table: "
                "their figures are not comparable"
            )
        if set(other.images) != set(self.images):
            raise ValueError(
                f"reports on different images cannot share a table: {len(self.images)} and {len(other.images)}, of "
                f"which {len(set(self.images) & set(other.images))} are the same"
            )
        if twice := set(self.methods) & set(other.methods):
            raise ValueError(f"both reports have a method called {min(twice)!r}; evaluate(..., name=) tells them apart")
        if set(self.scores[0].values) != set(other.scores[0].values):
            raise ValueError("one report has lpips and the other has not; measure both alike")
        return Report(protocol=self.protocol, scores=self.scores + other.scores)

    def __str__(self) -> str:
        metrics = list(self.scores[0].values)
        rows = [["", *(_TITLES[key] for key in metrics)]]
        for method in self.methods:
            rows.append([method, *(f"{value:.{_DIGITS[key]}f}" for key, value in self.mean(method).items())])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        count = len(self.images)
        return "\n".join([f"{self.protocol.name}, mean over {count} image{'s' if count != 1 else ''}", *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return protocol, means and scores, for JSON."""
        return {
            "protocol": asdict(self.protocol),
            "means": {method: self.mean(method) for method in self.methods},
            "scores": [{"method": s.method, "image": s.image, **s.values} for s in self.scores],
        }

    def to_csv(self) -> str:
        """Return one line per method and image."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["protocol", "method", "image", *self.scores[0].values])
        for score in self.scores:
            writer.writerow([self.protocol.name, score.method, score.image, *score.values.values()])
        return text.getvalue()


_TITLES = {"psnr": "PSNR dB", "ssim": "SSIM", "mae": "MAE", "lpips": "LPIPS"}
_DIGITS = {"psnr": 3, "ssim": 4, "mae": 4, "lpips": 4}
