"""Known outputs that lie beside the tests: of every network, and of every kind of operator and PSF.

Weights and inputs come from `uniform`, integer arithmetic alone, so that they are the same everywhere; everything is
computed in double precision and stored in single. `python -m tests.tools.goldens` writes the file anew; it may change
only where an output is meant to.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import blurphys as bp
from blurphys.operators.field import FieldDefocus

FILE = Path(__file__).with_name("goldens.npz")
SIZE = (32, 40)
OWN = {"hqsnet": {"iterations": 2}, "blurmap": {"widths": (8, 8, 8, 8)}}
"""Networks without weights of authors, with a configuration that is quick."""
GAIN = {"defocusgan_generator": 0.15, "defocusgan_map": 0.5, "hqsnet": 0.1}
"""Variance of the weights times the inputs of a tap, 1.5 for the others: so that no output is saturated."""


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0, 1) that belong to a name: splitmix64 (Steele, Lea, Flood, OOPSLA 2014) counted from its CRC."""
    count, step = math.prod(shape), 0x9E3779B97F4A7C15
    z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 32)) * np.uint64(step)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


def picture(name: str, channels: int = 3) -> np.ndarray:
    """Waves and noise in [0, 1], (channels, H, W)."""
    height, width = SIZE
    down, right = np.arange(height)[:, None] / height, np.arange(width) / width
    a, b, c = uniform(f"waves of {name}", (3, channels, 1, 1))
    return (
        0.5
        + 0.35 * np.cos(2 * np.pi * (3 * a * down + 3 * b * right + c))
        + 0.3 * (uniform(name, (channels, *SIZE)) - 0.5)
    )


def weight(name: str, shape: tuple[int, ...], gain: float, *, taps_last: bool) -> np.ndarray:
    """A tensor of a network; `taps_last`: (out, in, height, width), or else (height, width, in, out)."""
    u = uniform(name, shape)
    if name.endswith("running_var"):
        return 0.5 + u
    if "weight_pos_set" in name or "weight_neg_set" in name:  # kernels: positive, of sum one, with no symmetry
        return (u + 0.05) / (u + 0.05).sum()
    if len(shape) <= 1:
        return (1.0 if name.endswith("weight") else 0.0) + 0.2 * (u - 0.5)
    fan_in = math.prod(shape[1:]) if taps_last else math.prod(shape[:-1])
    return (2 * u - 1) * math.sqrt(3 * gain / fan_in)


def network(name: str) -> np.ndarray:
    """Output of a network on pictures, its weights made from the authors' names where there are authors."""
    import torch

    from nets import create, load_official
    from nets.weights.official import OFFICIAL_NETS

    def state(shapes: Any, taps_last: bool) -> dict[str, Any]:
        gain = GAIN.get(name, 1.5)
        arrays = {key: weight(f"{name} {key}", tuple(of), gain, taps_last=taps_last) for key, of in shapes.items()}
        return {
            key: torch.tensor(0 if key.endswith("num_batches_tracked") else a, dtype=torch.float32)
            for key, a in arrays.items()
        }

    if name in OFFICIAL_NETS:
        entry = OFFICIAL_NETS[name]
        shapes = entry.call("official_shapes", **entry.shapes)
        net = load_official(name, state(shapes, not name.startswith("kpac")))
    else:
        net = create(name, **OWN[name])
        own = {key: tensor for key, tensor in net.state_dict().items() if tensor.dtype.is_floating_point}
        net.load_state_dict(state({key: tuple(tensor.shape) for key, tensor in own.items()}, True), strict=False)
    net = net.double().eval()
    images = [torch.tensor(picture(f"{name} {given}"))[None] for given in net.inputs]
    if name == "defocusgan_blur":
        images[1] = 12 * images[1] - 6  # radii
    with torch.no_grad():
        return net(*images)[0].numpy()


def operators() -> dict[str, np.ndarray]:
    """Images seen through operators of the camera, and the kernels they are made of."""
    x, defocus = picture("x"), 8 * picture("defocus", 1)[0] - 4
    maps = uniform("maps", (5, *SIZE)) + 0.05
    maps /= maps.sum(axis=0)
    pupils = {
        "disk": bp.Pupil.disk(split=0.3),
        "butterworth": bp.Pupil.butterworth(order=3, cutoff=0.9, split=0.15),
        "cat_eye": bp.Pupil.disk(split=0.2, cat_eye=(0.4, -0.2)),
    }
    found = {f"pupil {name}": pupil.psf(3.3) for name, pupil in pupils.items()}
    banks = {name: bp.PSFBank(pupil, max_radius=6.0, step=0.5) for name, pupil in pupils.items()}
    found |= {f"bank {name}": bank.psfs("left")[::6] for name, bank in banks.items()}
    found["gaussian"] = bp.psf.gaussian(1.7, 11)
    covers = np.stack([np.asarray(defocus > 1, float), np.asarray(defocus > -2, float), np.ones(SIZE)])
    grid = [[banks["disk"], banks["cat_eye"]]]
    found |= {
        "GKM": bp.GKM(maps, sigmas=(0.0, 0.5, 1.0, 1.7, 2.4))(x),
        "RKR": bp.RKR(maps, atoms=np.stack([bp.psf.gaussian(s, 5).sum(axis=0) for s in (0.6, 0.8, 1.0, 1.2)]))(x),
        "DefocusBlur": bp.DefocusBlur(defocus, bank=banks["butterworth"])(x),
        "DualPixel": bp.DualPixel(defocus, bank=banks["butterworth"], boundary="replicate")(x),
        "FieldDefocus": FieldDefocus(defocus, banks=grid, views=("left", "right"))(x),
        "LayeredDefocus": bp.LayeredDefocus(covers, radii=(2.2, -0.6, -3.1), bank=banks["disk"])(x),
        "Convolution": bp.Convolution(found["gaussian"], shape=(3, *SIZE), boundary="symmetric")(x),
    }
    return {name: np.asarray(array, dtype=np.float64) for name, array in found.items()}


def main() -> None:
    """Write the file, and say what it holds."""
    from nets.weights.official import OFFICIAL_NETS

    found = operators() | {name: network(name) for name in (*OFFICIAL_NETS, *OWN)}
    for name, array in found.items():
        print(f"{name:26}{array.shape!s:20}{array.min():9.3f} to {array.max():.3f}, std {array.std():.3f}")
    np.savez(FILE, **{name: array.astype(np.float32) for name, array in found.items()})


if __name__ == "__main__":
    main()
