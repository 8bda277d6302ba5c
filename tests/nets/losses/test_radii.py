"""The loss of a distribution over radii, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nets import losses
from nets.net import Outputs


def shares_by_loops(radii, bins, step, cell):
    height, width = radii.shape
    found = np.zeros((bins, -(-height // cell), -(-width // cell)))
    counts = np.zeros(found.shape[1:])
    for i in range(height):
        for j in range(width):
            at = min(abs(radii[i, j]) / step, bins - 1)
            low = min(int(at), bins - 2)
            found[low, i // cell, j // cell] += 1 - (at - low)
            found[low + 1, i // cell, j // cell] += at - low
            counts[i // cell, j // cell] += 1
    return found / counts


def loss_by_loops(scores, true, step, ranked):
    bins, height, width = scores.shape
    total = 0.0
    for i in range(height):
        for j in range(width):
            z = sum(math.exp(s) for s in scores[:, i, j])
            found = [math.exp(s) / z for s in scores[:, i, j]]
            total -= sum(t * math.log(p) for t, p in zip(true[:, i, j], found, strict=True))
            for k in range(bins):
                total += ranked * step * (sum(found[: k + 1]) - sum(true[: k + 1, i, j])) ** 2
    return total / (height * width)


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    bins=st.integers(2, 6),
    cell=st.integers(1, 4),
    ranked=st.sampled_from([0.0, 1.0, 2.5]),
)
def test_shares_and_loss_equal_loops(seed, height, width, bins, cell, ranked):
    rng = np.random.default_rng(seed)
    step = 0.5
    radii = rng.uniform(-1.3, 1.3, (height, width)) * bins * step
    true = shares_by_loops(radii, bins, step, cell)
    map_ = torch.from_numpy(radii)[None, None]
    shares = losses.radius_shares(map_, bins=bins, step=step, cell=cell)
    np.testing.assert_allclose(shares[0].numpy(), true, atol=1e-12)
    np.testing.assert_allclose(shares.sum(dim=1).numpy(), 1, atol=1e-12)
    scores = torch.from_numpy(2 * rng.standard_normal(true.shape))[None].requires_grad_()
    loss = losses.BlurMapLoss(step=step, cell=cell, ranked=ranked)
    image = torch.zeros(1, 3, height, width)
    total, parts = loss(Outputs(scores), image, image, defocus_map=map_)
    assert float(total.detach()) == pytest.approx(
        loss_by_loops(scores[0].detach().numpy(), true, step, ranked), rel=1e-9
    )
    torch.testing.assert_close(total.detach(), parts["cross_entropy"] + ranked * parts["ranked"])


def test_the_truth_is_the_least_and_being_nearer_is_better():
    map_ = torch.full((1, 1, 8, 8), 2.0)
    loss = losses.create_loss("blurmap")

    def at(radius):
        scores = -((0.5 * torch.arange(17) - radius) ** 2) / 0.1
        image = torch.zeros(1, 3, 8, 8)
        return float(loss(Outputs(scores.reshape(1, 17, 1, 1)), image, image, defocus_map=map_)[0])

    assert at(2.0) < at(2.5) < at(3.5) < at(8.0)
    assert at(1.5) == pytest.approx(at(2.5))


def test_what_is_wrong_is_said():
    loss, image = losses.BlurMapLoss(), torch.zeros(1, 3, 16, 16)
    with pytest.raises(ValueError, match="true map as defocus_map"):
        loss(Outputs(torch.zeros(1, 17, 2, 2)), image, image)
    with pytest.raises(ValueError, match=r"expected scores of shape \(1, 17, 2, 2\).*got \(1, 17, 16, 16\)"):
        loss(Outputs(torch.zeros(1, 17, 16, 16)), image, image, defocus_map=image[:, :1])
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\), got \(1, 3, 16, 16\)"):
        loss(Outputs(torch.zeros(1, 17, 2, 2)), image, image, defocus_map=image)
    for options in ({"step": 0}, {"ranked": -1}):
        with pytest.raises(ValueError, match="BlurMapLoss"):
            losses.BlurMapLoss(**options)
