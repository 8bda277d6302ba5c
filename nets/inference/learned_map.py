"""The defocus map of a dual-pixel pair: matching, corrected by a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from array_api_compat import array_namespace, device

from blurphys.files.publishing import PathLike
from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil
from solvers.estimation import DefocusEstimate, dual_pixel_map

from ..models.defocus_gan.map_net import DefocusMapNet
from ..models.defocus_gan.matching import matching_channels
from ..net import Net

__all__ = ["learned_map"]


def learned_map(
    left: Any,
    right: Any,
    *,
    pupil: Pupil | PSFBank | Sequence[Sequence[PSFBank]],
    max_radius: float | tuple[float, float],
    noise: float | None = None,
    step: float = 0.25,
    nodes: Literal["corners", "centres"] = "corners",
    net: Net | PathLike,
) -> DefocusEstimate:
    """Estimate the signed defocus map of a dual-pixel pair by matching, and let a network correct it.

    Parameters
    ----------
    left, right, pupil, max_radius, noise, step, nodes
        As for `solvers.estimation.dual_pixel_map`, which does the matching.
    net : Net, or what `nets.load` takes
        A `DefocusMapNet` with `from_estimate`, such as the recipe ``dualpixel-map`` trains. None comes with the
        package: those that were tried are not better than the matching.

    Returns
    -------
    DefocusEstimate
        With the corrected map; everything else, the confidence too, is of the matching.

    Raises
    ------
    ValueError
        What `dual_pixel_map` refuses, pictures without three colours, or another network.
    TypeError
        Views that are not floating-point, or of different kinds.

    Notes
    -----
    The network sees both views, the map, its confidence, and how much worse radii around the map explain the views
    (`nets.models.defocus_gan.matching`); the PSFs it need not know. It corrects within the range of the search.
    Accuracy: ``docs/estimation.md``. Cost: that of the matching and of the network.

    Examples
    --------
    >>> import numpy as np, blurphys as bp, nets
    >>> pupil = bp.Pupil.disk(split=0.45)
    >>> A = bp.DualPixel(np.full((48, 64), 2.0), bank=bp.PSFBank(pupil, max_radius=3.0))
    >>> left, right = np.split(A(np.random.default_rng(0).random((3, 48, 64))), 2)
    >>> untrained = nets.DefocusMapNet(channels=4, branches=(0, 1), from_estimate=True)
    >>> found = nets.learned_map(left, right, pupil=pupil, max_radius=3.0, net=untrained)
    >>> float(np.median(found.defocus_map).round(1))
    2.0
    """
    network = _network(net)
    if len(left) != 3:
        raise ValueError(f"learned_map: expected views of three colours (3, H, W), got shape {tuple(left.shape)}")
    found = dual_pixel_map(
        left, right, pupil=pupil, max_radius=max_radius, noise=noise, step=step, nodes=nodes, keep_cost=True
    )
    like = next(network.parameters())
    planes = [torch.as_tensor(np.asarray(view)) for view in (left, right)]
    planes.append(torch.from_numpy(matching_channels(found)))
    with torch.no_grad():
        corrected = network(*(plane[None].to(like) for plane in planes))[0, 0].double().cpu().numpy()
    low, high = float(found.candidates[0]), float(found.candidates[-1])
    xp, there = array_namespace(left), {"dtype": left.dtype, "device": device(left)}
    return replace(found, defocus_map=xp.asarray(corrected.clip(low, high), **there), cost_volume=None)


def _network(net: Net | PathLike) -> DefocusMapNet:
    from ..weights.saving import load

    network = net if isinstance(net, Net) else load(net)
    if not (isinstance(network, DefocusMapNet) and network.from_estimate):
        raise ValueError(f"learned_map: expected a DefocusMapNet with from_estimate=True, got {network!r}")
    network.eval()
    return network
