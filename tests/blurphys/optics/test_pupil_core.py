"""The core of a PSF: a Gaussian that does not scale with the radius, and the gradients near focus that it brings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import synth
from synth.camera.pupils import pupil_from_dict, pupil_to_dict
from synth.rendering.aperture import render_by_aperture
from tests.profiles import examples

VIEWS = ("combined", "left", "right")


def spread(psf):
    """Centroid (x) and variance (x) of a PSF."""
    x = np.arange(psf.shape[1]) - psf.shape[1] // 2
    line = psf.sum(axis=0) / psf.sum()
    mean = line @ x
    return mean, line @ (x - mean) ** 2


def by_points(radius, core, view, split=0.4, points=121, fine=41):
    """The same PSF by plain sums: points of the disk, each a Gaussian sampled finely within every pixel."""
    half = int(np.ceil(radius + 4 * core + 1))
    line = (np.arange(points) + 0.5) / points * 2 - 1
    X, Y = np.meshgrid(line, line)
    inside = X**2 + Y**2 <= 1
    X, Y = X[inside], Y[inside]
    light = 1 + {"combined": 0, "left": -2, "right": 2}[view] * split * X
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    pixels = np.arange(-half, half + 1)

    def shares(centres):
        at = pixels[:, None] + offsets
        density = np.exp(-0.5 * ((at[None] - centres[:, None, None]) / core) ** 2) / (core * np.sqrt(2 * np.pi))
        return density.mean(axis=-1)  # (points, pixels)

    psf = np.einsum("m,my,mx->yx", light / light.size, shares(radius * Y), shares(radius * X))
    return psf


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("radius", "core"), [(0.3, 0.4), (2.2, 0.6)])
def test_it_is_the_disk_blurred_before_the_pixels(radius, core, view):
    psf, expected = bp.Pupil.disk(split=0.4, core=core).psf(radius, view), by_points(radius, core, view)
    cut = (expected.shape[0] - psf.shape[0]) // 2
    assert expected.sum() - expected[cut:-cut, cut:-cut].sum() < 2e-3
    assert np.abs(psf - expected[cut:-cut, cut:-cut]).max() < 2e-3


@examples(30)
@given(radius=st.floats(-4, 4), core=st.floats(0.05, 1.5), split=st.floats(0, 0.5))
def test_laws(radius, core, split):
    """Sums and the relation of the views stay, so does the centroid, and the variance grows by that of the core."""
    pupil = bp.Pupil.disk(split=split, core=core)
    combined, left, right = (pupil.psf(radius, view) for view in VIEWS)
    assert combined.shape[0] == 2 * pupil.reach(radius) + 1
    assert abs(combined.sum() - 1) < 1e-12 and abs(left.sum() - 1) < 1e-9
    assert np.allclose((left + right) / 2, combined, rtol=0, atol=1e-13)
    assert min(combined.min(), left.min()) >= -1e-15
    mean, variance = spread(left)
    assert mean == pytest.approx(-split * radius / 2, abs=2e-3 if core > 0.5 else 0.1)  # pixels alias a narrow PSF
    wide = core**2 + radius**2 / 4
    if wide > 0.5:  # the variance of the pixel is 1/12 where the PSF is smooth over pixels
        assert spread(combined)[1] == pytest.approx(wide + 1 / 12, rel=0.03)


@pytest.mark.parametrize("radius", [0.0, 1e-6, 1e-3, 0.3, -0.3])
def test_it_is_continuous_down_to_focus(radius):
    pupil = bp.Pupil.disk(core=0.4)
    other = pupil.psf(radius + 1e-4, "left")
    assert np.abs(pupil.psf(radius, "left") - other).max() < 1e-3
    assert pupil.psf(0.0).max() < 0.7


def test_no_core_is_as_before():
    plain, none = bp.Pupil.disk(split=0.3), bp.Pupil.disk(split=0.3, core=0.0)
    assert np.array_equal(plain.psf(2.3, "left"), none.psf(2.3, "left"))
    assert plain.psf(0.4).shape == (1, 1)
    assert "core" not in plain.parameters and "core" not in pupil_to_dict(none)


@pytest.mark.parametrize(
    "pupil",
    [
        bp.Pupil.disk(split=0.3, core=0.4),
        bp.Pupil.butterworth(core=0.3),
        bp.Pupil.polygon(7, core=0.5),
        bp.Pupil.measured(np.eye(5), core=0.2),
        bp.Pupil.disk(),
    ],
)
def test_files_carry_it(pupil):
    again = pupil_from_dict(json.loads(json.dumps(pupil_to_dict(pupil))))
    assert again.core == pupil.core
    assert np.allclose(again.psf(1.7, "left"), pupil.psf(1.7, "left"), rtol=0, atol=1e-15)
    camera = replace(synth.Camera.preset("canon-r6ii"), pupil=pupil)
    assert synth.Camera.from_dict(json.loads(json.dumps(camera.to_dict()))).pupil.core == pupil.core
    assert camera.bank(("left",)).psfs("left").shape[-1] == 2 * camera.psf_model.reach + 1


def test_a_bank_holds_the_whole_of_it():
    bank = bp.PSFBank(bp.Pupil.disk(core=0.5), max_radius=2.0)
    assert np.allclose(bank.psfs("left").sum(axis=(1, 2)), 1, atol=1e-9)
    assert bank.psfs().shape[-1] == 2 * bank.pupil.reach(2.0) + 1


def test_rays_show_no_core():
    with pytest.raises(ValueError, match=r"core=0\.4"):
        render_by_aperture(np.ones((1, 1, 8, 8)), np.ones((1, 8, 8)), [1.0], bp.Pupil.disk(core=0.4), samples=8)


@pytest.mark.parametrize("core", [-0.1, np.nan, np.inf])
def test_bad_input(core):
    with pytest.raises(ValueError, match="core"):
        bp.Pupil.disk(core=core)


def fitted_map(core, steps, size=(28, 36)):
    """Fit the map of a dual-pixel pair by gradient descent from 0; return the true and the fitted map, one gradient."""
    rng = np.random.default_rng(0)
    sharp = torch.as_tensor(np.kron(rng.random((3, 14, 18)), np.ones((2, 2))))
    rows, cols = np.mgrid[: size[0], : size[1]]
    truth = torch.as_tensor(2 * np.sin(rows / 9) * np.cos(cols / 11))
    bank = bp.PSFBank(bp.Pupil.disk(split=0.4, core=0.4), max_radius=3.0, step=0.25)
    model = bp.PSFBank(bp.Pupil.disk(split=0.4, core=core), max_radius=3.0, step=0.25)
    y = bp.DualPixel(truth, bank=bank)(sharp)
    found = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimizer, first = torch.optim.Adam([found], lr=0.05), None
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((bp.DualPixel(found, bank=model)(sharp) - y) ** 2).mean()
        loss.backward()
        first = found.grad.clone() if first is None else first
        optimizer.step()
        with torch.no_grad():
            found.clamp_(-3, 3)
    return truth.numpy(), found.detach().numpy(), first.numpy()


def test_a_map_that_starts_at_focus_moves_only_with_a_core():
    truth, found, gradient = fitted_map(0.4, 100)
    assert np.mean(gradient != 0) > 0.9
    assert np.median(np.abs(found - truth)) < 0.2 < np.median(np.abs(truth))
    truth, found, gradient = fitted_map(0.0, 3)
    assert not gradient.any() and not found.any()


@pytest.mark.parametrize("radius", [0.1, -0.1, 0.3, -0.45])
@pytest.mark.parametrize("dual", [True, False])
def test_the_gradient_in_the_map_is_not_zero_near_focus(radius, dual):
    image = torch.as_tensor(np.random.default_rng(1).random((1, 12, 14)))
    for core, moves in ((0.4, True), (0.0, False)):
        bank = bp.PSFBank(bp.Pupil.disk(split=0.4, core=core), max_radius=2.0)
        c = torch.full((12, 14), radius, dtype=torch.float64, requires_grad=True)
        (bp.DualPixel if dual else bp.DefocusBlur)(c, bank=bank, channels=1)(image).pow(2).sum().backward()
        assert bool(c.grad.any()) is moves
