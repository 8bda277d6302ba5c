"""The learned correction of a dual-pixel map: it starts at the map of the matching, and refuses what it cannot read."""

import numpy as np
import pytest
import torch

import blurphys as bp
import nets
from nets.models.defocus_gan import DefocusMapNet
from nets.models.defocus_gan.matching import CAP, CHANNELS, OFFSETS, PIXELS, matching_channels
from solvers.estimation import dual_pixel_map

PUPIL = bp.Pupil.disk(split=0.4)
SEARCH = {"pupil": PUPIL, "max_radius": 4.0, "noise": 0.01}


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(3)
    radii = np.where(np.arange(40) < 20, -1.5, 3.0) * np.ones((34, 1))
    y = bp.DualPixel(radii, bank=bp.PSFBank(PUPIL, max_radius=4.0))(rng.random((3, 34, 40)))
    y = (y + 0.01 * rng.standard_normal(y.shape)).astype(np.float32)
    return y[:3], y[3:]


def small(**options):
    return DefocusMapNet(channels=4, branches=(0, 1), from_estimate=True, **options)


def learned(seed=0, **options):
    torch.manual_seed(seed)
    net = small(**options)
    with torch.no_grad():
        net.tail.weight.normal_(0, 0.1)
    return net


@pytest.mark.parametrize("block", [1, 2])
def test_the_map_is_that_of_the_matching_before_training(pair, block):
    plain = dual_pixel_map(*pair, **SEARCH)
    found = nets.learned_map(*pair, net=small(block=block), **SEARCH)
    np.testing.assert_allclose(found.defocus_map, plain.defocus_map, atol=1e-6)
    assert np.array_equal(found.confidence, plain.confidence) and found.cost_volume is None
    assert found.defocus_map.dtype == np.float32
    other = nets.learned_map(*pair, net=learned(block=block), **SEARCH).defocus_map
    assert np.abs(other - plain.defocus_map).max() > 0.05 and np.abs(other).max() <= 4.0


def test_the_correction_learns_on_one_pair(pair):
    plain = dual_pixel_map(*pair, keep_cost=True, **SEARCH)
    true = torch.tensor(np.where(np.arange(40) < 20, -1.5, 3.0), dtype=torch.float32).expand(1, 1, 34, 40)
    torch.manual_seed(0)
    net, planes = small(block=2), [torch.from_numpy(a)[None] for a in (*pair, matching_channels(plain))]
    optimiser = torch.optim.SGD(net.parameters(), 1e-3)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = (net(*planes) - true).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(float(np.square(plain.defocus_map - true[0, 0].numpy()).mean()), rel=1e-5)
    assert losses[2] < losses[1] < losses[0]


def test_channels_by_a_loop(pair):
    found = dual_pixel_map(*pair, keep_cost=True, **SEARCH)
    channels = matching_channels(found)
    assert channels.shape == (CHANNELS, 34, 40) and channels.dtype == np.float32
    np.testing.assert_array_equal(channels[0], found.defocus_map)
    np.testing.assert_array_equal(channels[1], found.confidence)
    radii, step = found.candidates, 0.25
    for row, col in ((0, 0), (17, 19), (17, 20), (33, 39)):
        cost = found.cost_volume[row, col]
        at = np.interp(found.defocus_map[row, col], radii, range(len(radii)))
        for k, offset in enumerate(OFFSETS):
            there = np.interp(at + offset / step, range(len(radii)), cost)  # beyond the ends: the last one
            expected = np.sqrt(min(PIXELS * (there - cost.min()), CAP)) / 4
            assert channels[2 + k, row, col] == pytest.approx(expected, abs=1e-5)


def test_arrays_come_back_as_they_came(pair):
    views = [torch.from_numpy(view).double() for view in pair]
    found = nets.learned_map(*views, net=small(), **SEARCH)
    assert isinstance(found.defocus_map, torch.Tensor) and found.defocus_map.dtype == torch.float64


def test_what_is_refused(pair):
    with pytest.raises(ValueError, match="expected a DefocusMapNet with from_estimate=True, got DefocusMapNet"):
        nets.learned_map(*pair, net=DefocusMapNet(channels=4, branches=(0,)), **SEARCH)
    with pytest.raises(ValueError, match=r"three colours \(3, H, W\), got shape \(1, 34, 40\)"):
        nets.learned_map(pair[0][:1], pair[1][:1], net=small(), **SEARCH)
    with pytest.raises(ValueError, match="use keep_cost=True"):
        matching_channels(dual_pixel_map(*pair, **SEARCH))
    views = [torch.from_numpy(view)[None] for view in pair]
    with pytest.raises(ValueError, match=r"an estimate of shape \(1, 13, 34, 40\), as .* got none"):
        small()(*views)
    with pytest.raises(ValueError, match="from_estimate=True makes a network with a start"):
        DefocusMapNet(channels=4, branches=(0,))(*views, torch.zeros(1, CHANNELS, 34, 40))
    with pytest.raises(ValueError, match="block"):
        DefocusMapNet(channels=4, branches=(0,), block=0)


def test_it_is_saved_and_counted(tmp_path):
    net = learned(block=2)
    nets.save(net, tmp_path / "net.safetensors")
    again = nets.load(tmp_path / "net.safetensors")
    images = [torch.rand(1, n, 32, 32) for n in (3, 3, CHANNELS)]
    assert torch.equal(again(*images), net.eval()(*images)) and again.inputs == ("left", "right", "estimate")
    parts = {part.name: part for part in nets.summary(net, (32, 32)).parts}
    assert parts["head"].layers == 16 * 16 * 9 * 4 * (6 + CHANNELS) * 4
