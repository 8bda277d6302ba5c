"""Samples that are rendered on the fly, with the interface of stored ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synth.dataset.schema import field_of

from .data import Draw, Samples, flip_and_rotate, pack_in_16_bits
from .settings.records import DataConfig

__all__ = ["StreamedSamples", "open_samples"]

CROP, EPOCH, HELD_OUT = 128, 10_000, 64
NAMES = {"combined": "image", "all_in_focus": "sharp"}
"""Names in a stream of what the schema of data sets names otherwise."""


def open_samples(
    config: DataConfig, fields: Mapping[str, str], *, seed: int, held_out: bool = False
) -> Samples | StreamedSamples:
    """Open the samples that a configuration names.

    Parameters
    ----------
    config : DataConfig
    fields : mapping of str to str
        Fields to read, and what needs each.
    seed : int
        Of the training.
    held_out : bool
        For validation.

    Returns
    -------
    Samples or StreamedSamples
    """
    if config.stream is None:
        return Samples(config, tuple(fields), fields)
    return StreamedSamples(config, fields, seed=seed, held_out=held_out)


class StreamedSamples:
    """Samples of `synth.Stream`.

    Parameters
    ----------
    config, fields, seed, held_out
        As for `open_samples`; the configuration has a stream.

    Raises
    ------
    ValueError
        A field that streams lack, or what `synth.Stream` refuses.
    """

    def __init__(self, config: DataConfig, fields: Mapping[str, str], *, seed: int, held_out: bool = False) -> None:
        import synth

        assert config.stream is not None
        self.config, settings = config, config.stream
        self.location = f"a stream from {', '.join(settings.sources) or 'the photographs of scikit-image'}"
        stored = {field: field_of(field, view=config.view) for field in fields}
        self._names = {field: NAMES.get(name, name) for field, name in stored.items()}
        have = ("defocus_map", "image", "left", "noise", "right", "sharp", "valid")
        for field, name in self._names.items():
            if name not in have:
                raise ValueError(
                    f"train: {fields[field]} needs the field {field!r}, which a stream does not have; it has "
                    f"{', '.join(have)}"
                )
        sides = {"left", "right"} & set(stored.values())
        views = (("left", "right") if sides else ()) + (("combined",) if "combined" in stored.values() else ())
        self._stream = synth.Stream(
            settings.sources or None,
            crop=config.crop or CROP,
            max_radius=settings.max_radius,
            views=views,
            seed=settings.seed if settings.seed is not None else 0 if held_out else seed,
            split=settings.split or ("val" if held_out else "train"),
            transfer=config.transfer,
            occlusion=settings.occlusion,
            focus=settings.focus,
            core=settings.core,
            psfs=settings.psfs,
            noise=settings.noise,
            mosaic=settings.mosaic,
            jpeg=settings.jpeg,
            sharpening=settings.sharpening,
            tone=settings.tone,
        )
        self._kept: dict[int, dict[str, np.ndarray]] = {}
        self._length = settings.samples or (HELD_OUT if held_out else EPOCH)

    def __len__(self) -> int:
        """Samples of an epoch, or of a validation."""
        return self._length

    def read(self, draw: Draw) -> dict[str, np.ndarray]:
        """Render the sample of a draw, cropped and turned already; with `cache` once, then flip and turn it."""
        if not self.config.cache:
            return self.middle(draw.sample)
        if draw.sample not in self._kept:
            fresh = self.middle(draw.sample)
            self._kept[draw.sample] = {name: pack_in_16_bits(a) if a.ndim == 3 else a for name, a in fresh.items()}
        kept = self._kept[draw.sample]
        turned = {name: flip_and_rotate(a, draw) if a.ndim == 3 else a for name, a in kept.items()}
        return {
            name: np.ascontiguousarray(a / np.float32(65535) if a.dtype == np.uint16 else a)
            for name, a in turned.items()
        }

    def middle(self, sample: int) -> dict[str, np.ndarray]:
        """Render a sample, which may lie beyond the first epoch."""
        made = self._stream.sample(sample)
        return {field: made[name] for field, name in self._names.items()}
