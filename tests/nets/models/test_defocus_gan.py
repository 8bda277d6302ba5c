"""Generator, defocus map network and discriminator of DefocusGAN: counts, stages, guidance, sizes, bad input."""

import json
import math

import pytest
import torch

from nets.models.defocus_gan import (
    STAGES,
    DefocusGenerator,
    DefocusMapNet,
    PatchDiscriminator,
    annealed_weight,
    blur_radius,
    discriminator,
    generator,
    guide_masks,
    map_net,
)
from nets.models.defocus_gan.blocks import BranchLayers
from nets.net import RangeWarning

WIDTH = 4


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(1)


def image(*shape, seed=0):
    return torch.rand(*(shape or (1, 3, 16, 32)), generator=torch.Generator().manual_seed(seed))


def count(network, **options):
    with torch.device("meta"):
        return sum(p.numel() for p in network(**options).parameters())


def alive(net):
    """The same network with channel attentions whose few hidden units are not switched off by their ReLU."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("squeeze.bias"):
                parameter.fill_(2.0)
    return net


def learned(net):
    """Whether each parameter that should learn has a gradient."""
    gradients = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
    assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients.values())
    return {name: g is not None and bool((g != 0).any()) for name, g in gradients.items()}


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_published_counts():
    assert count(DefocusGenerator) == 4_934_531
    assert count(DefocusGenerator, unused_convs=False) == 4_860_675
    assert count(DefocusGenerator, unused_convs=False, multi_scale=False) == 4_496_003
    assert count(DefocusMapNet) == 3_306_755
    assert count(PatchDiscriminator) == 2_764_737
    assert count(PatchDiscriminator, layers=5) == 11_154_369


def test_counts_of_the_units():
    layers = BranchLayers(64, (0, 1, 2, 3), attention=True, deepest_skip=2)
    counts = [sum(p.numel() for p in unit.parameters()) for unit in layers[0]]
    assert counts == [4_160, 111_364, 185_800, 260_236]
    assert sum(p.numel() for p in layers.parameters()) == 4_492_480


def test_stages_of_the_ablation():
    conv = 64 * 64 * 9 + 64
    ends = 1_792 + 1_731
    assert count(DefocusGenerator, **STAGES["base"]) == ends + 8 * 6 * conv
    assert count(DefocusGenerator, **STAGES["rcab"]) == ends + 8 * 260_236
    assert count(DefocusGenerator, **STAGES["dgb"]) == 4_496_003
    assert count(DefocusGenerator, **STAGES["multi_scale"]) == 4_934_531
    with torch.no_grad():
        for options in STAGES.values():
            found = DefocusGenerator(channels=WIDTH, **options)(image())
            assert found.shape == (1, 3, 16, 32) and bool(((found > 0) & (found < 1)).all())


@pytest.mark.parametrize("module", (generator, map_net, discriminator), ids=lambda m: m.__name__.split(".")[-1])
def test_official_states_are_converted(module):
    """Every entry arrives, under one name each, and the colours are exchanged at the ends only."""
    shapes = module.official_shapes()
    state = {name: torch.full(shape, float(n)) for n, (name, shape) in enumerate(shapes.items())}
    own = module.from_official(state)
    assert sorted(float(v.flatten()[0]) for v in own.values()) == [float(n) for n in range(len(shapes))]
    first = next(name for name, shape in shapes.items() if len(shape) == 4)
    colours = shapes[first][1]
    state[first] = torch.arange(float(colours)).view(1, -1, 1, 1).expand(shapes[first]).clone()
    key = next(key for key in own if module.official_name(key) == first)
    order = module.from_official(state)[key][0, :, 0, 0].tolist()
    assert order == [2.0, 1.0, 0.0, 5.0, 4.0, 3.0][:colours]
    if "tail_hard.0.bias" in shapes:
        state["tail_hard.0.bias"] = torch.arange(3.0)
        state["tail_hard.0.weight"] = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 64, 3, 3).clone()
        own = module.from_official(state)
        assert own["tail.bias"].tolist() == own["tail.weight"][:, 0, 0, 0].tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("network", (DefocusGenerator, DefocusMapNet, PatchDiscriminator))
def test_configuration_rebuilds_it(network):
    net = network(channels=2)
    again = network(**json.loads(json.dumps(dict(net.config))))
    assert dict(again.config) == dict(net.config)
    again.load_state_dict(net.state_dict(), strict=True)


# ---- the branches ----------------------------------------------------------------------------------------------------


class Step(torch.nn.Module):
    """A unit that adds a power of ten, so that a sum tells which units it came through."""

    def __init__(self, digit, scale):
        super().__init__()
        self.digit, self.scale = digit, scale

    def forward(self, x):
        x = x + 10.0**self.digit
        if self.scale < 1:
            return torch.nn.functional.max_pool2d(x, 2)
        return torch.nn.functional.interpolate(x, scale_factor=self.scale)


@pytest.mark.parametrize(
    ("options", "deepest", "expected"),
    [
        # Each unit adds its digit to what it is given; digits of o1..o8 by the data flow of section 5.2.
        ({}, 2, [(0, 3), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1)]),
        ({}, 3, [(0, 4), (1, 3), (2, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1)]),
        ({"down": (0, 1), "up": (6, 7)}, 2, [(0, 2), (1, 1), (6, 1), (7, 1)]),
        ({"down": (0,), "up": (6,)}, 2, [(0, 1), (6, 1)]),
    ],
)
def test_data_flow_of_a_branch(options, deepest, expected):
    """Zero input: the output counts how often each unit's result reaches it."""
    layers = BranchLayers(1, (1,), attention=False, deepest_skip=deepest).double()
    for n in range(8):
        layers[n][0] = Step(n, 0.5 if n < 4 else 2)
    found = layers(torch.zeros(1, 1, 16, 16, dtype=torch.float64), **options)
    assert bool((found == sum(times * 10.0**digit for digit, times in expected)).all())


def test_the_input_joins_at_every_unit_but_the_first():
    layers = BranchLayers(1, (1, 0), attention=False, deepest_skip=2)
    for n in range(8):
        layers[n][0] = Step(-30, 0.5 if n < 4 else 2)
        layers[n][1] = torch.nn.Identity()
    # o1 = 1, o2 = 2, o3 = 3, ... by p = 1; o7 = o6 + o2 + 1, o8 = o7 + o1 + 1
    assert layers(torch.ones(1, 1, 16, 16), [1.0, 0.0]).unique().tolist() == [11.0]
    assert layers(torch.ones(1, 1, 16, 16), [0.0, 1.0]).unique().tolist() == [11.0]
    assert layers(torch.ones(1, 1, 16, 16)).unique().tolist() == [22.0]


def test_plain_units_have_no_attention():
    net = DefocusGenerator(channels=WIDTH, attention=False)
    assert not any("attention" in name for name, _ in net.named_parameters())
    assert not net.global_statistics and DefocusGenerator(channels=WIDTH).global_statistics


# ---- guidance --------------------------------------------------------------------------------------------------------


def test_annealing():
    assert annealed_weight(0) == 1.0 and annealed_weight(-5) == 1.0
    assert annealed_weight(5000) == pytest.approx(math.exp(-0.25))
    assert annealed_weight(19_999) == pytest.approx(math.exp(-4), rel=1e-3)
    assert annealed_weight(20_000) == 0.0 == annealed_weight(10**6)
    assert annealed_weight(50, duration=100) == pytest.approx(math.exp(-1))
    with pytest.raises(ValueError, match="at least one step, got 0"):
        annealed_weight(3, duration=0)


def test_masks_divide_the_radii():
    radius = blur_radius(torch.tensor([0.0, -1.89, 1.9, 4.19, -4.2, 6.19, 6.2, -25.0]).view(1, 1, 1, 8))
    masks = guide_masks(radius)
    assert [m.flatten().tolist() for m in masks] == [
        [1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1],
    ]
    colours = torch.tensor([1.0, -5.0, 3.0]).view(1, 3, 1, 1)
    assert blur_radius(colours).tolist() == [[[[5.0]]]]


def test_full_guidance_trains_the_branch_of_its_radius_alone():
    net = alive(DefocusGenerator(channels=WIDTH, unused_convs=False))
    for branch, radius in enumerate((0.5, -3.0, 5.0, -20.0)):
        net.zero_grad()
        net(image(), torch.full((1, 1, 16, 32), radius), 1.0).sum().backward()
        touched = {int(name.split(".")[2]) for name, yes in learned(net).items() if yes and name.startswith("layers.")}
        assert touched == {branch}


def test_guidance_mixes_linearly_into_the_free_network():
    """At weight w a branch keeps 1 - w where its mask is zero: with one scale, the features are linear in w."""
    net = DefocusGenerator(channels=WIDTH, multi_scale=False).double()
    x = image().double()
    guide = 8 * image(1, 3, 16, 32, seed=1).double() - 4
    with torch.no_grad():
        free, whole, half = (torch.logit(net(x, guide, w)) for w in (0.0, 1.0, 0.5))
        assert torch.allclose(half, (free + whole) / 2, rtol=0, atol=1e-9)  # logit of nearly one
        assert float((whole - free).abs().max()) > 1e-2
        assert torch.equal(net(x), net(x, guide, 0.0))


def test_coarse_scales_take_the_nearest_radius():
    """The masks of the quarter and of the eighth see every fourth and every eighth pixel, as nearest resizing does."""
    net = DefocusGenerator(channels=WIDTH)
    sampled = torch.full((1, 1, 16, 32), 5.0)
    sampled[..., ::4, ::4] = 0.0
    gains = net._gains(blur_radius(sampled), 1.0, 4, sampled)
    assert [float(g.mean()) for g in gains] == [1.0, 0.0, 0.0, 0.0]
    assert [g.shape for g in net._gains(blur_radius(sampled), 1.0, 8, sampled)] == [(1, 1, 2, 4)] * 4
    nearest = torch.nn.functional.interpolate(sampled, scale_factor=0.25, mode="nearest")
    assert bool((nearest == 0).all())


# ---- sizes, gradients, types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ((1, 1), (5, 40), (17, 23)))
def test_any_size(size):
    net, maps = DefocusGenerator(channels=WIDTH).double(), DefocusMapNet(channels=WIDTH).double()
    x, right = (image(2, 3, *size, seed=s).double() for s in (1, 2))
    guide = 14 * (right - 0.5)
    with torch.no_grad():
        found = net(x, guide, 0.7)
        assert found.shape == x.shape and found.dtype == torch.float64
        assert maps(x, right).shape == x.shape and maps(x, right).dtype == torch.float64
        if size == (17, 23):
            pad = torch.nn.ReflectionPad2d((0, 9, 0, 15))
            assert torch.allclose(found, net(pad(x), pad(guide), 0.7)[..., :17, :23], rtol=0, atol=1e-12)
            assert torch.allclose(maps(x, right), maps(pad(x), pad(right))[..., :17, :23], rtol=0, atol=1e-12)


def test_gradients_reach_every_parameter_that_is_used():
    for seed, multi_scale in enumerate((True, False)):
        torch.manual_seed(seed)
        net = alive(DefocusGenerator(channels=16, multi_scale=multi_scale))
        net(image(), 16 * image(1, 1, 16, 32) - 8, 0.5).square().sum().backward()
        assert all(learned(net).values())
        assert all(p.grad is None and not p.requires_grad for p in net.unused.parameters())
    maps = alive(DefocusMapNet(channels=16))
    maps(image(), image(seed=1)).square().sum().backward()
    assert all(learned(maps).values())
    net = PatchDiscriminator(channels=WIDTH)
    net(image(1, 3, 40, 48)).square().sum().backward()
    silent = {name for name, yes in learned(net).items() if not yes}
    assert silent <= {f"convs.{n}.bias" for n in (1, 2, 3)}  # taken away again by the normalisation, up to rounding


def test_map_is_clamped():
    free, net = DefocusMapNet(channels=WIDTH, max_radius=1e6), DefocusMapNet(channels=WIDTH, max_radius=2.0)
    with torch.no_grad():
        free.tail.bias.copy_(torch.tensor([10.0, 0.0, -10.0]))
        net.load_state_dict(free.state_dict())
        found, unlimited = net(image(), image(seed=1)), free(image(), image(seed=1))
    assert torch.equal(found, unlimited.clamp(-2, 2))
    assert bool((unlimited[:, 0] > 2).any()) and bool((unlimited[:, 2] < -2).any()) and bool((found.abs() < 2).any())


def test_sizes_of_the_scores():
    sizes = {}
    with torch.no_grad():
        assert PatchDiscriminator(channels=WIDTH)(image(2, 3, 128, 160)).shape == (2, 1, 19, 23)
        assert PatchDiscriminator(channels=WIDTH)(image(1, 3, 2, 2)).shape == (1, 1, 4, 4)
        for layers in (1, 2, 5):
            found = PatchDiscriminator(channels=WIDTH, layers=layers)(image(1, 3, 32, 47))
            sizes[layers] = tuple(found.shape[-2:])
    assert sizes == {1: (19, 26), 2: (11, 15), 5: (4, 5)}


def test_gradient_penalty_can_be_differentiated():
    net = PatchDiscriminator(channels=WIDTH)
    x = image(1, 3, 24, 24).requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert float(net.convs[0].weight.grad.abs().sum()) > 0


# ---- bad input, compilation ------------------------------------------------------------------------------------------


def test_bad_arguments():
    for options in ({"channels": 0}, {"branches": []}, {"branches": [1, -1]}, {"branches": [0, 1.5]}):
        for network in (DefocusGenerator, DefocusMapNet):
            with pytest.raises(ValueError, match=f"{network.__name__}: expected (each of )?{next(iter(options))}"):
                network(**options)
    for bounds in ((1.0, 2.0), (2.0, 1.0, 3.0), (0.0, 1.0, 2.0), (1.0, 1.0, 2.0)):
        with pytest.raises(ValueError, match="expected bounds as 3 increasing radii"):
            DefocusGenerator(bounds=bounds)
    with pytest.raises(ValueError, match="expected bounds as 1 increasing radii > 0 px for 2 branches, got None"):
        DefocusGenerator(branches=(0, 1))
    assert DefocusGenerator(channels=2, branches=(0, 1), bounds=(3,)).bounds == [3.0]
    with pytest.raises(ValueError, match="max_radius to be a finite number > 0 px, got 0"):
        DefocusMapNet(max_radius=0)
    with pytest.raises(ValueError, match="layers to be an integer >= 1, got 0"):
        PatchDiscriminator(layers=0)


def test_bad_input():
    net, maps, scores = DefocusGenerator(channels=2), DefocusMapNet(channels=2), PatchDiscriminator(channels=2)
    x = image()
    with pytest.raises(ValueError, match=r"expected a guide .* weight=0\.5, got None"):
        net(x, weight=0.5)
    with pytest.raises(ValueError, match=r"weight in \[0, 1\], got 1\.5"):
        net(x, x[:, :1], 1.5)
    with pytest.raises(ValueError, match=r"guide of shape \(1, 1 or 3, 16, 32\).*got \(1, 1, 16, 16\)"):
        net(x, x[:, :1, :, :16])
    with pytest.raises(ValueError, match="one shape"):
        maps(x, x[..., :16])
    with pytest.raises(ValueError, match="at least 2 x 2 px"):
        scores(x[..., :1])
    for call in (lambda v: net(v), lambda v: maps(v, v), lambda v: scores(v)):
        with pytest.raises(TypeError, match="divide 8-bit values by 255"):
            call((255 * x).byte())
        with pytest.raises(ValueError, match="batch axis"):
            call(x[0])
        with pytest.warns(RangeWarning):
            call(255 * x)
