"""Parameters and costs: the published integers, and what each operator costs."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import blurphys as bp
from nets.net import Net
from nets.registry import create
from nets.tools.operator_costs import Cost, cost_of
from nets.tools.published import COST_RULES, PUBLISHED, by_rule
from nets.tools.summaries import summary

H, W = 20, 30


class Small(Net):
    """A convolution, a blur with a channel mix, and the adjoint of another."""

    name = "small"

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 1))
        self.pair = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])
        self.mix = nn.Parameter(torch.rand(3, 3, 3))
        self.atoms = nn.Parameter(torch.rand(2, 3))

    def forward(self, image):
        beta = self.maps(image)
        A = bp.GKM(beta, sigmas=(0.0, 1.0, 2.0), supports=(1, 3, 5), channels=3, boundary="zero", mix=self.mix)
        B = bp.RKR(beta, atoms=self.atoms, channels=3, stagewise=True)
        return self.pair[1](self.pair[0](B.adjoint(A(image))))


def per_pixel(count, size=(H, W)):
    return count / (size[0] * size[1])


def test_what_the_parts_of_a_small_net_cost():
    net = Small()
    found = summary(net, (H, W))
    parts = {part.name: part for part in found.parts}
    assert per_pixel(parts["maps"].layers) == 3 * 4 * 9 + 4 * 3
    assert per_pixel(parts["pair"].layers) == 2 * 3 * 3
    assert per_pixel(found.transposed) == 4 * 3
    assert per_pixel(found.filters) == 3 * 2 * (3 + 5) + 3 * 2 * 2 * 3  # the kernel of one tap is a copy
    assert per_pixel(found.mix) == 3 * 3 * 3
    assert parts["(elsewhere)"].operators == found.filters + found.mix
    assert parts["(elsewhere)"].parameters == 3 * 3 * 3 + 2 * 3
    for what in ("parameters", "layers"):
        assert sum(getattr(part, what) for part in found.parts) == getattr(found, what)
    assert found.parameters == sum(p.numel() for p in net.parameters())
    assert found.macs == found.layers + found.filters + found.mix == found.macs_without_bank + found.filters


def test_counting_leaves_no_trace():
    net = Small().train()
    net.maps.eval()
    image = torch.rand(1, 3, H, W)
    before = net(image)
    summary(net, (H, W))
    assert not torch.compiler.is_compiling()
    assert net.training and not net.maps.training and net.pair.training
    assert torch.equal(net(image), before)
    with pytest.raises(ValueError, match="at least"):
        summary(create("gkmnet"), (1, 1))
    assert not torch.compiler.is_compiling()


def test_size_does_not_matter_for_time_or_memory():
    found = summary(Small().double(), (40_000, 50_000))  # 2 gigapixels
    assert per_pixel(found.filters, (40_000, 50_000)) == per_pixel(summary(Small(), (H, W)).filters)


def test_the_table():
    text = str(summary(Small(), (1000, 1000)))
    lines = text.splitlines()
    assert lines[0] == "small, 1000 x 1000 px"
    assert lines[1].split() == ["part", "parameters", "layers", "GMAC", "operators", "GMAC"]
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert lines[-2].split() == ["total", "184", "0.1380", "0.1110"]
    assert lines[-1] == "0.2490 GMAC in all, 0.1650 without the operators' kernels"
    assert "layers MMAC" in str(summary(Small(), (10, 10)))


@pytest.mark.parametrize("size", [(20,), 20, (0, 5), (5.0, 5), "ab"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match=r"expected a size \(H, W\) in px"):
        summary(Small(), size)


def test_any_flop_counter_counts_our_operators():
    beta = torch.rand(2, 3, H, W, requires_grad=True)
    A = bp.GKM(beta, sigmas=(0.0, 1.0, 2.0), supports=(1, 3, 5), channels=3)
    with FlopCounterMode(display=False) as counter:
        A(torch.rand(2, 3, H, W))
    assert counter.get_total_flops() == 2 * 2 * H * W * 3 * 2 * (3 + 5)


def test_costs_of_primitives():
    image = (2, 3, H, W)
    pixels = 2 * H * W
    gathered = cost_of("psf_gather", image, (2, 4, 1, 5, 7), (4, H, W), "zero")
    assert gathered == Cost(filters=pixels * 3 * 2 * 4 * 5 * 7)
    assert cost_of("psf_interpolate_adjoint", image, (2, 4, 3, 5, 7), (H, W), (H, W), "zero").filters == (
        pixels * 3 * 2 * 2 * 5 * 7
    )
    recursive = cost_of("recursive_mixture", image, (5, H, W), (4, 3, 3), "reflect", True, (6, 3, 5))
    assert recursive == Cost(filters=pixels * 3 * 2 * 4 * 3, mix=pixels * 6 * 3 * 5)
    with pytest.raises(ValueError, match="expected one of gaussian_mixture, "):
        cost_of("convolution", image)


# ---- the papers' networks -----------------------------------------------------------------------------------------


def test_gkmnet():
    """The bank of the authors is dense and grouped: 66 maps of 21 x 21 taps, twice at each of three scales."""
    found = summary(create("gkmnet"), (320, 480))
    scales = 320 * 480 * 21 // 16
    dense = scales * 2 * 66 * 21 * 21
    assert round(dense / 1e9, 3) == 11.736
    assert round((found.macs_without_bank + dense) / 1e9, 4) == 58.3132
    assert found.mix == scales * 132 * 3
    # A map of the official layout has kernels of three widths, and all take as long as the widest.
    widest = 4 * 15 + 6 * (17 + 19 + 21)
    assert found.filters == scales * 2 * 3 * 2 * widest
    operators = {part.name: part.operators for part in found.parts}
    assert operators == {"bank": found.filters + found.mix, "steps": 0}


def test_gkmnet_with_each_kernel_for_one_map():
    found = summary(create("gkmnet", gcm_layout="paper", scales=1), (32, 48))
    assert per_pixel(found.filters, (32, 48)) == 2 * 1458


def test_nrknet():
    """The authors filter the rows of the padding too, 2 above and below, before they filter the columns."""
    found = summary(create("nrknet"), (192, 320))
    padding = sum(terms * 2 * (320 // side) * 3 * 21 * 3 for terms, side in ((1, 1), (2, 2), (3, 4)))
    assert round((found.macs + padding) / 1e9, 4) == 57.8838
    assert round(found.macs / 1e9, 4) == 57.8834
    steps = 192 * 320 * (1 + 2 / 4 + 3 / 16)
    assert found.filters == steps * 21 * 2 * 3 * 3
    assert found.mix == steps * 66 * 3


@pytest.mark.parametrize(
    ("config", "macs"),
    [
        ({"levels": 2}, 207_978.84),
        ({"levels": 3}, 122_663.34),
        ({"levels": 3, "dual": True}, 126_263.34),
    ],
)
def test_kpac(config, macs):
    found = summary(create("kpac", **config), (64, 64))
    assert round(per_pixel(found.macs, (64, 64)), 2) == macs


@pytest.mark.parametrize(("part", "giga"), [("generator", 162.26), ("map", 109.23), ("discriminator", 8.198)])
def test_defocus_gan(part, giga):
    found = summary(create(f"defocusgan_{part}"), (320, 480))
    digits = 3 if part == "discriminator" else 2
    assert round(found.macs / 1e9, digits) == giga


def test_blur_kernels_count_as_an_operator():
    found = summary(create("defocusgan_blur"), (32, 48))
    assert found.layers == 0
    assert found.filters > 0


# ---- the papers' figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row", [p for p in PUBLISHED if p.parameters is not None], ids=lambda p: f"{p.title}-{p.source}"
)
def test_published_parameters(row):
    with torch.device("meta"):
        net = create(row.net, **row.config)
    assert sum(p.numel() for p in net.parameters()) == row.parameters


def test_published_figures_are_told_apart():
    ours = [row for row in PUBLISHED if row.net is not None]
    assert {row.rule for row in ours if row.cost is not None} == set(COST_RULES)
    assert {row.net for row in ours} >= {"gkmnet", "nrknet", "kpac", "hqsnet", "defocusgan_generator"}
    assert all((row.cost is None) or (row.unit and row.size) for row in PUBLISHED)
    printed = [row for row in ours if row.millions and row.parameters and row.title != "DefocusGAN, generator"]
    assert printed and all(abs(row.parameters / 1e6 - row.millions) < 0.05 for row in printed)


@pytest.mark.parametrize(("title", "digits"), [("KPAC, 2 levels", 0), ("NRKNet", 0)])
def test_published_costs_by_their_own_rule(title, digits):
    row = next(row for row in PUBLISHED if row.title == title and row.cost)
    found = by_rule(row.rule, summary(create(row.net, **row.config), row.size))
    assert round(found, digits) == row.cost
    assert by_rule("hqs", summary(Small(), (H, W))) is None
