"""Dividing scenes among splits, so that no scene is in two."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from blurphys.files.publishing import PathLike

from ..scenes import Scene
from .recipe import SPLITS

__all__ = ["split_scenes"]


def split_scenes(
    scenes: Sequence[Scene | PathLike], shares: Mapping[str, float], *, seed: int
) -> dict[str, list[Scene | PathLike]]:  # fmt: skip
    """Divide scenes among splits, so that no scene is in two.

    Parameters
    ----------
    scenes : sequence of Scene, str or path
        What `synth.generate` takes, each of another name.
    shares : mapping of split to float
        Such as ``{"train": 0.8, "val": 0.1, "test": 0.1}``, relative to their sum.
    seed : int
        Selects the division.

    Returns
    -------
    dict
        The scenes of each split; every split with a positive share has at least one.

    Raises
    ------
    ValueError
        Unknown splits, a share that is negative or none that is positive, fewer scenes than splits, or two scenes of
        one name.

    Notes
    -----
    Scenes are sorted by a hash of seed and name, independent of their order in the list, and cut by the shares.
    """
    wanted = {split: float(share) for split, share in shares.items() if share != 0}
    if not wanted or not set(wanted) <= set(SPLITS) or not all(0 < share < np.inf for share in wanted.values()):
        raise ValueError(f"split_scenes: expected positive shares of {', '.join(SPLITS)}, got {dict(shares)}")
    names = [scene.name if isinstance(scene, Scene) else str(scene) for scene in scenes]
    if len(set(names)) < len(names) or len(names) < len(wanted):
        raise ValueError(
            f"split_scenes: expected at least {len(wanted)} scenes of different names, got {len(names)}"
            f"{', some of one name' if len(set(names)) < len(names) else ''}"
        )
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(f"{seed} {names[i]}".encode()).digest())
    ends = np.cumsum(list(wanted.values())) / sum(wanted.values()) * len(names)
    found: dict[str, list[Scene | PathLike]] = {}
    start = 0
    for number, (split, end) in enumerate(zip(wanted, ends, strict=True)):
        stop = min(max(round(float(end)), start + 1), len(names) - (len(wanted) - 1 - number))
        found[split] = [scenes[i] for i in order[start:stop]]
        start = stop
    return found
