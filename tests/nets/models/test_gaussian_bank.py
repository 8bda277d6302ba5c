"""The kernels of GKMNet against dense filters."""

import math

import pytest
import torch
from torch.nn import functional

import blurphys as bp
from nets.models.gkmnet.gaussian_bank import GaussianBank, official_bank

BANKS = {
    "official": (tuple(i / 4 for i in range(22)), (1, 3, 3, 3, *(n for n in range(5, 22, 2) for _ in "ab"))),
    "paper": bp.gkm_bank(21),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(5)


def image(*shape, dtype=torch.float32):
    return torch.rand(shape, dtype=dtype)


def dense_kernel(sigma, width):
    t = torch.arange(21, dtype=torch.float64) - 10
    line = torch.where(t.abs() <= width // 2, torch.exp(-(t**2) / (2 * sigma**2 if sigma else 1e-9)), 0.0)
    return torch.outer(line, line) / line.sum() ** 2


def dense_blur(kernels, x, maps, mix):
    """Filter with kernels (3, K, 21, 21), convolved, store all 3 K images, weigh, and mix by a 1 x 1 convolution."""
    count = kernels.shape[1]
    bank = kernels.flatten(0, 1)[:, None].flip(-1, -2)
    filtered = functional.conv2d(x, bank, padding=10, groups=3)
    return functional.conv2d(filtered * maps.repeat(1, 3, 1, 1), mix.reshape(3, 3 * count, 1, 1))


def dense_kernels(bank):
    if bank.kind != "fixed":
        padded = [functional.pad(k, [10 - k.shape[-1] // 2] * 4) for k in bank.kernels]
        if bank.count == 22:
            padded = [dense_kernel(0.0, 1), *padded]
        return torch.stack(padded).expand(3, -1, -1, -1)
    sigmas, widths = BANKS["official" if bank.count == 22 else "paper"]
    rows = torch.stack([dense_kernel(s, m) for s, m in zip(sigmas, widths, strict=True)])
    if bank.layout == "paper":
        return rows.expand(3, -1, -1, -1)
    return rows.repeat_interleave(3, dim=0).unflatten(0, (3, 22))


CASES = [
    {"layout": "official"},
    {"layout": "paper"},
    {"layout": "paper", "count": 21},
    {"kind": "gaussian", "layout": "paper"},
    {"kind": "random", "layout": "paper"},
    {"kind": "random", "layout": "paper", "count": 21},
]


@pytest.mark.parametrize("options", CASES, ids=lambda o: "-".join(map(str, o.values())))
def test_bank_and_its_gradients_equal_the_dense_formulation(options):
    bank = GaussianBank(**options).double()
    x = image(2, 3, 14, 17, dtype=torch.float64).requires_grad_()
    maps = torch.randn(2, bank.count, 14, 17, dtype=torch.float64, requires_grad=True)
    mix = torch.randn(3, 3, bank.count, dtype=torch.float64, requires_grad=True)
    wanted = [x, maps, mix, *bank.parameters()]
    outs = [bank(x, maps, mix), dense_blur(dense_kernels(bank), x, maps, mix)]
    weight = torch.randn(2, 3, 14, 17, dtype=torch.float64)
    found, expected = (torch.autograd.grad((out * weight).sum(), wanted) for out in outs)
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-11)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_fixed_kernels_sum_to_one_and_the_first_is_the_identity():
    x = torch.ones(1, 3, 26, 27, dtype=torch.float64)
    mix = torch.eye(3, dtype=torch.float64)[:, :, None].repeat(1, 1, 22)
    bank = GaussianBank(layout="official")
    maps = torch.ones(1, 22, 26, 27, dtype=torch.float64)
    inner = bank(x, maps, mix)[..., 10:-10, 10:-10]
    torch.testing.assert_close(inner, torch.full_like(inner, 22.0), rtol=1e-13, atol=0)
    maps[:, 1:] = 0
    noise = torch.rand_like(x)
    out = bank(noise, maps, mix)
    assert torch.equal(out[:, 0], noise[:, 0])  # red sees the Dirac, the others do not
    assert not torch.allclose(out[:, 1], noise[:, 1], atol=0.1)
    assert official_bank() == BANKS["official"]


def test_learned_kernels_start_as_the_paper_says():
    fixed, learned = GaussianBank(layout="paper", count=21), GaussianBank("gaussian", layout="paper", count=21)
    x, maps, mix = image(1, 3, 12, 16), torch.randn(1, 21, 12, 16), torch.randn(3, 3, 21)
    with torch.no_grad():
        torch.testing.assert_close(learned(x, maps, mix), fixed(x, maps, mix), rtol=0, atol=5e-5)
    for kernel in GaussianBank("random", layout="paper").kernels:
        kernel, bound = kernel.detach(), math.sqrt(3) / kernel.shape[-1]
        assert 0 < float(kernel.abs().max()) <= bound
        if kernel.numel() > 100:
            assert float(kernel.abs().max()) > 0.9 * bound and abs(float(kernel.mean())) < 0.2 * bound


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 21}, "expected layout 'paper' with 21 kernels"),
        ({"kind": "random"}, "of kind 'random', got 'official'"),
        ({"count": 20}, "count to be one of 22, 21, got 20"),
        ({"kind": "disk"}, "kind to be one of 'fixed', 'gaussian', 'random'"),
        ({"layout": "grouped"}, "layout to be one of 'paper', 'official'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianBank(**options)
