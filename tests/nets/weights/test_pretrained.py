"""The weights that come with the package: small, described, and better than the photograph where they were trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

import blurphys as bp
import nets
from blurphys.colour import linear_to_srgb, srgb_to_linear

SHARP = 34.0
"""PSNR of a sharp photograph towards itself after a pocket network, dB, at least."""

FOLDER = Path(nets.__file__).parent / "pretrained"


@pytest.mark.parametrize("name", nets.pretrained())
def test_they_are_small_and_described(name):
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 2_000_000
    assert f"## {name}" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_there_is_one():
    assert "gkmnet-synthetic" in nets.pretrained()


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0, 2.5])
def test_it_sharpens_a_photograph_it_has_not_seen(radius):
    """Coffee, which is held out, behind a lens that is out of focus by the same radius everywhere."""
    from skimage import data

    sharp = srgb_to_linear(data.coffee()[100:228, 200:360].astype(np.float64) / 255).transpose(2, 0, 1)
    A = bp.Convolution(bp.psf.disk(radius), shape=sharp.shape, boundary="symmetric")
    blurred, truth = (linear_to_srgb(np.clip(x, 0, 1)).astype(np.float32) for x in (A(sharp), sharp))
    restored = nets.deblur(nets.load("gkmnet-synthetic"), blurred)
    before, after = (
        float(nets.metrics.psnr(torch.from_numpy(x)[None], torch.from_numpy(truth)[None])) for x in (blurred, restored)
    )
    assert after > before + 0.2


POCKET = [name for name in nets.pretrained() if name.startswith("pocket-")]


def psnr(image, truth):
    return float(nets.metrics.psnr(torch.from_numpy(image)[None], torch.from_numpy(truth)[None]))


def photograph():
    """Coffee in linear light, which no recipe trains on: the streams keep it for validation."""
    from skimage import data

    return srgb_to_linear(data.coffee()[100:228, 200:360].astype(np.float64) / 255).transpose(2, 0, 1)


@pytest.mark.parametrize("name", POCKET)
def test_pocket_networks_are_those_of_their_recipes(name):
    from nets.training import TrainConfig

    saved, config = nets.describe(name), TrainConfig.of(name)
    assert saved.name == config.net.name and saved.notes["recipe"] == name and saved.notes["seed"] == config.seed
    for key, value in config.net.arguments.items():
        assert saved.config[key] == value
    assert saved.dtypes == {"F16"}


@pytest.mark.parametrize("name", POCKET)
def test_a_sharp_photograph_stays_as_it_is(name):
    """It loses less than what separates it from a blur of half a pixel."""
    sharp = linear_to_srgb(photograph()).astype(np.float32)
    assert psnr(nets.deblur(nets.load(name), sharp), sharp) > SHARP


@pytest.mark.parametrize("name", POCKET)
@pytest.mark.parametrize("radius", [1.5, 2.5])
def test_pocket_networks_sharpen_a_photograph_they_have_not_seen(name, radius):
    sharp = photograph()
    A = bp.Convolution(bp.psf.disk(radius), shape=sharp.shape, boundary="symmetric")
    blurred, truth = (linear_to_srgb(np.clip(x, 0, 1)).astype(np.float32) for x in (A(sharp), sharp))
    assert psnr(nets.deblur(nets.load(name), blurred), truth) > psnr(blurred, truth)


@pytest.mark.parametrize("radius", [0.0, 2.0, 3.0, 4.0, 6.0])
def test_blurmap_small_sees_the_radius_of_a_photograph_it_has_not_seen(radius):
    """Coffee, which is held out."""
    from skimage import data

    photo = data.coffee()[100:260, 100:300].astype(np.float64).transpose(2, 0, 1) / 255
    if radius:
        sharp = srgb_to_linear(photo)
        A = bp.Convolution(bp.psf.disk(radius), shape=sharp.shape, boundary="symmetric")
        photo = linear_to_srgb(np.clip(A(sharp), 0, 1))
    found = nets.estimate_blur(photo)
    assert np.median(found.radius) == pytest.approx(radius, abs=0.5)
    assert np.median(found.confidence) > 0.5


def test_blurmap_small_is_not_sure_of_a_photograph_of_nothing():
    grey = 0.5 + 0.005 * np.random.default_rng(0).standard_normal((3, 160, 200))
    assert np.median(nets.estimate_blur(grey).confidence) < 0.4
    assert np.median(nets.estimate_blur(np.full((3, 160, 200), 0.5)).confidence) < 0.4
