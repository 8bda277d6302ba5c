"""Settings of training data that are rendered on the fly."""

from __future__ import annotations

import os
from dataclasses import dataclass

from blurphys.frozen import freeze

from .fields import as_paths, build, require_choice, require_flag, require_number, require_text, require_whole

__all__ = ["StreamConfig", "stream_settings"]


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Training data that are rendered when they are needed; see `synth.Stream` for what is not explained here.

    Attributes
    ----------
    sources : tuple of str
        Folders of sharp photographs, "scikit-image" or "dead-leaves"; the last two without any.
    split : {"train", "val", "all"}, optional
        "train" in ``[data]`` and "val" in ``[validation.data]`` without it, so that no photograph is in both.
    samples : int, optional
        Samples of an epoch, 10000 without it, all different and never rendered again: they continue in the next epoch.
        In a validation their number, 64 without it, the same ones each time.
    seed : int, optional
        That of the training without it; in a validation 0.
    max_radius, occlusion, focus, core, psfs, noise, mosaic, jpeg, sharpening, tone
        As for `synth.Stream`.
    """

    sources: tuple[str, ...] = ()
    split: str | None = None
    samples: int | None = None
    seed: int | None = None
    max_radius: float = 8.0
    occlusion: float = 0.5
    focus: float = 0.15
    core: tuple[float, float] = (0.3, 0.7)
    psfs: str | None = None
    noise: tuple[float, float] = (0.001, 0.03)
    mosaic: float = 0.5
    jpeg: float = 0.5
    sharpening: float = 0.0
    tone: bool = True

    def __post_init__(self) -> None:
        freeze(self, sources=as_paths("stream.sources", self.sources))
        if self.split is not None:
            require_choice("stream.split", self.split, ("train", "val", "all"))
        for name, least in (("samples", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                require_whole(f"stream.{name}", getattr(self, name), least)
        freeze(self, max_radius=require_number("stream.max_radius", self.max_radius, high=32.0, open_low=True))
        for name in ("occlusion", "focus", "mosaic", "jpeg", "sharpening"):
            freeze(self, **{name: require_number(f"stream.{name}", getattr(self, name), high=1.0)})
        for name, most in (("core", 2.0), ("noise", 0.5)):
            pair = getattr(self, name)
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"train: expected stream.{name} as [smallest, largest], got {pair!r}")
            low, high = (require_number(f"stream.{name}", value, high=most) for value in pair)
            if low > high:
                raise ValueError(f"train: expected stream.{name} as [smallest, largest], got {low:g} before {high:g}")
            freeze(self, **{name: (low, high)})
        if self.psfs is not None:
            require_text("stream.psfs", self.psfs)
        require_flag("stream.tone", self.tone)


def stream_settings(value: object, where: str) -> StreamConfig:
    """Read ``stream``: true, a folder, a list of folders, or a table.

    Examples
    --------
    >>> stream_settings("photos", "[stream]").sources, stream_settings(True, "[stream]").sources
    (('photos',), ())
    """
    if value is True:
        return StreamConfig()
    if isinstance(value, str | os.PathLike | list | tuple):
        return StreamConfig(sources=as_paths("stream", value))
    if value is False:
        raise ValueError("train: expected stream to be true, folders or a table, got false; leave it out")
    return build(StreamConfig, value, where)
