"""BlurMapNet: a distribution in every cell, which depends on its neighbourhood alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nets

SMALL = {"widths": (4, 5, 6, 7), "depths": (0, 1, 2, 1)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nets.create("blurmap", **SMALL).eval()


@given(height=st.integers(16, 60), width=st.integers(16, 60), batch=st.integers(1, 2))
def test_every_cell_has_a_distribution(net, height, width, batch):
    with torch.no_grad():
        found = net(torch.rand(batch, 3, height, width))
    assert found.shape == (batch, 17, -(-height // 8), -(-width // 8))
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=1), torch.ones_like(found[:, 0]))


def test_the_radii_are_those_of_the_bins():
    net = nets.BlurMapNet(**SMALL, max_radius=3.0, step=0.25)
    torch.testing.assert_close(net.radii, torch.linspace(0, 3, 13))
    assert net(torch.rand(1, 3, 16, 16)).shape[1] == 13
    assert nets.BlurMapNet(**net.config).config == net.config


@pytest.mark.parametrize(("row", "column"), [(12, 13), (15, 12)])
def test_a_cell_depends_on_the_photo_within_reach(net, row, column):
    """Row and column are in the middle and at a corner of a coarse cell."""
    photo = torch.rand(1, 3, 224, 240, requires_grad=True)
    net(photo)[0, :, row, column].square().sum().backward()
    rows, columns = (photo.grad[0].abs().sum(dim=(0, axis)).nonzero().flatten() for axis in (2, 1))
    for at, touched in ((row, rows), (column, columns)):
        assert 8 * at - net.reach <= touched.min() and touched.max() < 8 * at + 8 + net.reach
    # The reach is no idle bound: at most one coarse cell more than is needed.
    assert max(8 * row - rows.min(), rows.max() - 8 * row - 7) >= net.reach - 24


def test_the_gain_of_the_photo_changes_little_and_its_brightness_nothing_but_one_channel(net):
    photo = 0.4 + 0.1 * torch.rand(1, 3, 64, 64)
    from nets.models.blurmap.blur_map_net import _contrasts

    one, other = _contrasts(photo), _contrasts(photo + 0.2)
    torch.testing.assert_close(one[:, :-1], other[:, :-1], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(one[:, -1] + 0.2, other[:, -1])


def test_training_starts_finite_on_any_photo(net):
    for photo in (torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32), torch.eye(32).expand(1, 3, 32, 32)):
        photo = photo.clone().requires_grad_()
        net.log_scores(photo).square().sum().backward()
        assert torch.isfinite(photo.grad).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (4, 4, 4)}, "four widths"),
        ({"depths": (0, 1, 2, -1)}, "depths to be an integer >= 0"),
        ({"max_radius": 8.2}, "multiple of step, got 8.2 and 0.5"),
        ({"step": 0}, "step"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nets.BlurMapNet(**options)


def test_bad_photos_are_refused(net):
    with pytest.raises(ValueError, match="at least 16 x 16 px"):
        net(torch.rand(1, 3, 15, 40))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        net(torch.rand(1, 1, 32, 32))
    with pytest.raises(ValueError, match="does not restore"):
        nets.deblur(net, torch.rand(3, 32, 32))
