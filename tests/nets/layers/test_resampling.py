"""How images become smaller, against filters written out."""

import numpy as np
import pytest
import torch
from torch import nn

from nets.layers.resampling import halve, pyramid, round_to_levels


def image(*shape, seed=0):
    return torch.rand(*shape, generator=torch.manual_seed(seed), dtype=torch.float64)


def test_halving_is_the_triangle_filter_renormalised_at_the_border():
    x = image(1, 1, 6, 8)

    def half(line):
        found = []
        for i in range(len(line) // 2):
            taps = {
                2 * i + t: w for t, w in zip((-1, 0, 1, 2), (1, 3, 3, 1), strict=True) if 0 <= 2 * i + t < len(line)
            }
            found.append(sum(w * line[j] for j, w in taps.items()) / sum(taps.values()))
        return np.array(found)

    rows = np.apply_along_axis(half, 0, x[0, 0].numpy())
    want = np.apply_along_axis(half, 1, rows)
    np.testing.assert_allclose(halve(x)[0, 0].numpy(), want, atol=1e-12)
    assert halve(image(1, 1, 7, 5)).shape == (1, 1, 4, 3)


def test_rules_of_the_authors():
    x = image(1, 3, 8, 12)
    full, half, quarter = pyramid(x, 3, rule="nrknet", role="input")
    assert torch.equal(full, x) and torch.equal(half, x[..., ::2, ::2]) and torch.equal(quarter, x[..., ::4, ::4])
    _, half, quarter = pyramid(x, 3, rule="nrknet", role="target")
    torch.testing.assert_close(half, nn.functional.avg_pool2d(x, 2))
    middle = x.unfold(2, 4, 4).unfold(3, 4, 4)[..., 1:3, 1:3].mean(dim=(-1, -2))
    torch.testing.assert_close(quarter, middle)
    _, half, quarter = pyramid(x, 3, rule="gkmnet")
    assert torch.equal(half, round_to_levels(halve(x))) and torch.equal(quarter, round_to_levels(halve(half)))
    assert float((255 * half - (255 * half).round()).abs().max()) < 1e-9
    assert float((half - halve(x)).abs().max()) <= 0.5 / 255 + 1e-12
    with pytest.raises(ValueError, match="rule to be one of"):
        pyramid(x, 2, rule="nearest")
    with pytest.raises(ValueError, match="at least one level"):
        pyramid(x, 0)
