"""GKMNet and its coefficient network."""

import math

import pytest
import torch
from torch.nn import functional

import blurphys as bp
import solvers
from nets.layers.blocks import resize, upsample_by_two
from nets.layers.triplet_attention import TripletAttention
from nets.models.gkmnet.coefficients import Backbone, CoefficientNet
from nets.models.gkmnet.gaussian_bank import GaussianBank, official_bank
from nets.models.gkmnet.gkmnet import GKMNet, from_official, official_name, official_shapes
from nets.net import RangeWarning
from solvers import saved_bytes

BANKS = {"official": official_bank(), "paper": bp.gkm_bank(21)}


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(5)


def image(*shape, dtype=torch.float32):
    return torch.rand(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 1409131),
        ({"scales": 1}, 1409131),
        ({"gcm_layout": "paper"}, 1409131),
        ({"recurrent": "conv"}, 1109799),
        ({"attention_only": True}, 1409731),
        ({"bank": "gaussian"}, 1412672),
        ({"bank": "random"}, 1412672),
        ({"scales": 1, "iterations": 3}, 1409995),
        ({"scales": 2, "iterations": 3, "shared": False}, 4229985),
        ({"scales": 3, "iterations": 2, "shared": False}, 2819990),
        ({"preset": "paper"}, 1384923),
        ({"preset": "paper", "bank": "gaussian"}, 1384923 + 3541),
    ],
)
def test_parameter_counts(options, count):
    net = GKMNet(**options)
    assert parameters(net) == count
    assert dict(net.config) | options == dict(net.config)


# ---- equal to the classical solver --------------------------------------------------------------------------------


SCALE = 4.0
"""Weight of the channel mix, twice as large for the photo; small maps keep the gates away from their limits."""


def freeze(net, beta):
    """Give a net the constant maps and the weights that make it the fixed-point iteration of the mixture beta (K,)."""
    dirac = torch.zeros_like(beta)
    dirac[0] = 1
    paper = net.config["preset"] == "paper"  # there the photo is added
    values = torch.cat([dirac * (0 if paper else 0.5), dirac - beta]) / SCALE
    wanted = torch.atanh(values) if paper else 2 * torch.atanh(values)
    with torch.no_grad():
        for step in net.steps:
            for p in (*step.coefficients.detail.conv.parameters(), step.coefficients.memory.conv.weight):
                p.zero_()
            gates = step.coefficients.memory.conv.bias.view(4, -1)
            gates[0], gates[1], gates[2], gates[3] = 60, -60, 60, torch.atanh(torch.atanh(wanted))
            weight = step.mix.weight.view(3, 2, 3, len(beta))
            weight.copy_((SCALE * torch.eye(3))[:, None, :, None].expand_as(weight))
            weight[:, 0] *= 2
            step.mix.bias.zero_()
    return net.eval()


def mixture(beta, preset, rows, columns):
    sigmas, supports = BANKS[preset]
    maps = beta[:, None, None].expand(-1, rows, columns)
    return bp.GKM(maps.contiguous(), sigmas=sigmas, supports=supports, channels=3, boundary="zero")


def classical(A, y, x):
    state = solvers.fixed_point_step(A, y, solvers.FixedPointState(x, y - A(x)))
    return state.x


def frozen(preset, **options):
    net = GKMNet(preset=preset, gcm_layout="paper", **options).double()
    beta = torch.softmax(torch.randn(len(BANKS[preset][0]), dtype=torch.float64), 0)
    return freeze(net, beta), beta


@pytest.mark.parametrize("preset", ["official", "paper"])
@torch.no_grad()
def test_frozen_step_equals_the_fixed_point_step(preset):
    net, beta = frozen(preset, scales=1)
    y, x = image(2, 3, 24, 32, dtype=torch.float64), image(2, 3, 24, 32, dtype=torch.float64)
    A = mixture(beta, preset, 24, 32)
    out, _ = net.step(y, x)
    torch.testing.assert_close(out, classical(A, y, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(net(y), classical(A, y, y), rtol=0, atol=1e-12)
    assert float((net(y) - y).abs().max()) > 0.01


@torch.no_grad()
def test_frozen_iterations_equal_the_solver():
    net, beta = frozen("official", scales=1, iterations=3)
    y = image(1, 3, 20, 28, dtype=torch.float64)
    solution = solvers.fixed_point(mixture(beta, "official", 20, 28), y, tol=1e-12, max_iterations=3)
    assert solution.iterations == 3
    torch.testing.assert_close(net(y), solution.x, rtol=0, atol=1e-12)


@torch.no_grad()
def test_frozen_scales_go_from_coarse_to_fine():
    net, beta = frozen("paper")
    y = image(1, 3, 32, 48, dtype=torch.float64)
    half = resize(y, (16, 24), antialias=True)
    quarter = resize(half, (8, 12), antialias=True)
    x = quarter
    expected = []
    for t in (quarter, half, y):
        x = x if t is quarter else upsample_by_two(x)
        x = classical(mixture(beta, "paper", *t.shape[-2:]), t, x)
        expected.insert(0, x)
    for out, found, want in zip(net.outputs(y).scales, net.scales((y, half, quarter)), expected, strict=True):
        torch.testing.assert_close(out, want, rtol=0, atol=1e-12)
        torch.testing.assert_close(found, want, rtol=0, atol=1e-12)


@torch.no_grad()
def test_varying_maps_equal_the_fixed_point_step(monkeypatch):
    net, _ = frozen("official", scales=1)
    y, x = image(1, 3, 24, 32, dtype=torch.float64), image(1, 3, 24, 32, dtype=torch.float64)
    beta = torch.softmax(3 * torch.randn(1, 22, 24, 32, dtype=torch.float64), 1)
    dirac = torch.zeros_like(beta)
    dirac[:, 0] = 1
    maps = torch.cat([0.5 * dirac, dirac - beta], 1) / SCALE
    monkeypatch.setattr(net.steps[0].coefficients, "forward", lambda image, state: (maps, state))
    sigmas, supports = BANKS["official"]
    A = bp.GKM(beta, sigmas=sigmas, supports=supports, channels=3, boundary="zero")
    torch.testing.assert_close(net.step(y, x)[0], classical(A, y, x), rtol=0, atol=1e-12)


# ---- the network --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_any_size_is_padded_and_cropped():
    net, y = GKMNet().eval(), image(2, 3, 35, 50)
    out = net.outputs(y)
    assert out.image.shape == y.shape and out.image is out.scales[0] and out.reblurred == ()
    assert [tuple(v.shape) for v in out.scales] == [(2, 3, 35, 50), (2, 3, 18, 25), (2, 3, 9, 13)]
    assert [tuple(v.shape) for v in net.coefficients(y)] == [(2, 44, 35, 50), (2, 44, 18, 25), (2, 44, 9, 13)]
    extended = functional.pad(y, (0, 14, 0, 13), mode="reflect")
    torch.testing.assert_close(net(extended)[..., :35, :50], out.image)
    torch.testing.assert_close(net(y[1:]), out.image[1:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_memory_belongs_to_each_module_and_is_used():
    y = image(1, 3, 16, 24)
    net = GKMNet(scales=2, iterations=2, shared=False).eval()
    x, state = net.step(y, y)
    assert len(state) == 2
    assert [tuple(v.shape) for pair in state for v in pair] == [(1, 44, 8, 12)] * 4
    assert not torch.equal(net.step(y, y, state)[0], x)
    shared = GKMNet(scales=1, iterations=2).eval()
    assert len(shared.step(y, y)[1]) == len(shared.steps) == 1
    assert GKMNet(scales=1, recurrent="conv").eval().step(y, y)[1] == (None,)


@torch.no_grad()
def test_memory_and_estimate_go_on_to_the_next_scale():
    net, y = GKMNet(scales=2).eval(), image(1, 3, 16, 24)
    half = resize(y, (8, 12), antialias=True)
    x, ((h, c),) = net.step(half, half)
    full, _ = net.step(y, upsample_by_two(x), ((upsample_by_two(h), upsample_by_two(c)),))
    for out, expected in zip(net.scales((y, half)), (full, x), strict=True):
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(net.step(y, upsample_by_two(x))[0], full, atol=1e-5)


@torch.no_grad()
def test_what_the_coefficient_network_sees():
    y, x = image(1, 3, 16, 24), image(1, 3, 16, 24)
    for options, sees in (({}, False), ({"attention_only": True}, True), ({"iterations": 2}, True)):
        step = GKMNet(scales=1, **options).eval().steps[0]
        bank = None if "attention_only" in options else GaussianBank()
        first, second = step(y, x, None, bank)[1], step(y, y, None, bank)[1]
        assert torch.equal(first, second) is not sees


@torch.no_grad()
def test_attention_alone_is_a_sigmoid_of_weighted_maps():
    net, y = GKMNet(scales=1, attention_only=True).eval(), image(1, 3, 16, 24)
    (maps,) = net.coefficients(y)
    mix = net.steps[0].mix
    weighted = torch.einsum("dk,bkij->bdij", mix.weight[:, :, 0, 0], maps) + mix.bias[:, None, None]
    assert net.bank is None and mix.weight.shape == (3, 44, 1, 1)
    torch.testing.assert_close(net(y), torch.sigmoid(weighted))


def gate_by_hand(gate, image, axis):
    """A gate that pools `axis` of (C, H, W), on planes of the two others in the order the kernel has them."""
    order = {0: (1, 2), 1: (0, 2), 2: (1, 0)}[axis]  # rows and columns of the kernel
    pooled = torch.stack([image.amax(axis), image.mean(axis)])
    rest = [a for a in range(3) if a != axis]
    pooled = pooled if tuple(rest) == order else pooled.transpose(1, 2)
    sheet = torch.sigmoid(gate.norm(functional.conv2d(pooled[None], gate.conv.weight, padding=3)))[0, 0]
    sheet = sheet if tuple(rest) == order else sheet.T
    return image * sheet.unsqueeze(axis)


@torch.no_grad()
def test_triplet_attention_pools_each_axis():
    attention = TripletAttention().eval()
    x = torch.randn(2, 5, 9, 7)
    for i, out in enumerate(attention(x)):
        parts = (
            gate_by_hand(attention.height_width, x[i], 0),
            gate_by_hand(attention.channel_width, x[i], 1),
            gate_by_hand(attention.height_channel, x[i], 2),
        )
        torch.testing.assert_close(out, sum(parts) / 3)
    assert sum(p.numel() for p in attention.parameters()) == 300


@torch.no_grad()
def test_backbone_adds_as_it_should():
    backbone = Backbone().eval()
    for module in backbone.modules():
        if isinstance(module, TripletAttention):
            module.forward = lambda x: x
    stages = {}
    for name, stage in backbone.named_children():
        stage.register_forward_hook(
            lambda _, given, out, name=name: stages.update({name: (given[0].clone(), out.clone())})
        )
    out = backbone(image(1, 3, 8, 12))
    for name, (given, made) in stages.items():
        stage = backbone.get_submodule(name)
        x = stage.first(given)
        assert name == "head" or float(x.min()) == 0
        u = x + stage.residual.first(x)
        torch.testing.assert_close(made, u + stage.residual.second(u))
    result = {name: made for name, (_, made) in stages.items()}
    given = {name: taken for name, (taken, _) in stages.items()}
    torch.testing.assert_close(given["up_half"], result["bottleneck"] + result["down_quarter"])
    torch.testing.assert_close(given["up_full"], result["up_half"] + result["down_half"])
    assert torch.equal(out, result["up_full"])
    sizes = {
        "head": (32, 8),
        "down_half": (64, 4),
        "down_quarter": (128, 2),
        "bottleneck": (128, 2),
        "up_half": (64, 4),
    }
    assert all(tuple(result[name].shape[1:3]) == size for name, size in sizes.items())


@pytest.mark.parametrize("gate", ["half", "full"])
@torch.no_grad()
def test_coefficients_follow_the_formula(gate):
    net = CoefficientNet(6, recurrent="conv", gate=gate).eval()
    y = image(1, 3, 8, 12)
    features = net.backbone(y)
    means = features.unflatten(-1, (6, 2)).unflatten(-3, (4, 2)).mean((-1, -3))
    u = net.memory(means).repeat_interleave(2, -1).repeat_interleave(2, -2)
    expected = torch.tanh(u * (1 + net.detail(features)) * (0.5 if gate == "half" else 1))
    maps, state = net(y)
    assert state is None
    torch.testing.assert_close(maps, expected)


def test_paper_preset_starts_as_xavier_says():
    net = GKMNet(preset="paper")
    conv = net.steps[0].coefficients.memory.conv
    bound = math.sqrt(6 / ((74 + 168) * 25))
    assert 0.99 * bound < float(conv.weight.detach().abs().max()) <= bound
    assert not conv.bias.any() and not net.steps[0].mix.bias.any()


@pytest.mark.parametrize(
    "options", [{}, {"bank": "random", "preset": "paper"}, {"scales": 2, "iterations": 2, "shared": False}]
)
def test_gradients_reach_every_parameter(options):
    net = GKMNet(**options).train()
    images = net.outputs(image(2, 3, 16, 32)).scales
    sum((v - 0.5).square().mean() for v in images).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and bool(torch.isfinite(p.grad).all()), name
        if not name.endswith("conv.bias"):  # a normalisation takes a constant away again
            assert bool(p.grad.any()), name


@torch.no_grad()
def test_batch_statistics_leave_the_averages_alone():
    net, y = GKMNet(scales=1, bn_stats="batch").eval(), image(1, 3, 16, 24)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    out = net(y)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    running = GKMNet(scales=1).eval()
    running.load_state_dict(before)
    assert not torch.allclose(out, running(y), atol=1e-3)


@torch.no_grad()
def test_physics_stays_in_float32_under_autocast():
    net, y = GKMNet(scales=1).eval(), image(1, 3, 16, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(y)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, net(y), rtol=0, atol=0.05)
    assert net.double()(y.double()).dtype == torch.float64
    low = GKMNet(scales=2).eval()
    expected = low(y)
    out = low.bfloat16()(y.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.05)


def test_official_names_there_and_back():
    net = GKMNet()
    own = net.state_dict()
    shapes = official_shapes()
    assert len(shapes) == 240 and list(shapes)[0] == "in_block.conv.0.weight"
    assert shapes["SumLayer.conv.weight"] == (3, 132, 1, 1)
    official = {official_name(k): v for k, v in own.items()}
    assert {k: tuple(v.shape) for k, v in official.items()} == shapes
    back = from_official(official)
    assert list(back) == list(own) and all(back[k] is own[k] for k in own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": 4}, "expected scales to be one of 1, 2, 3, got 4"),
        ({"iterations": 0}, "iterations to be an integer >= 1, got 0"),
        ({"iterations": True}, "iterations to be an integer >= 1, got True"),
        ({"recurrent": "gru"}, "recurrent to be one of 'lstm', 'conv'"),
        ({"bank": "dense"}, "bank to be one of 'fixed'"),
        ({"preset": "code"}, "preset to be one of 'official', 'paper'"),
        ({"gcm_layout": "grouped"}, "gcm_layout to be one of None, 'paper', 'official'"),
        ({"gcm_layout": "official", "preset": "paper"}, "22 fixed Gaussians"),
        ({"gcm_layout": "official", "bank": "random"}, "22 fixed Gaussians"),
        ({"attention_only": True, "bank": "random"}, "has no blur kernels"),
        ({"bn_stats": "frozen"}, "bn_stats to be one of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        GKMNet(**options)


def test_bad_coefficients():
    with pytest.raises(ValueError, match="gate to be one of 'half', 'full'"):
        CoefficientNet(gate="tanh")
    with pytest.raises(ValueError, match="expected maps to be an integer >= 1, got 0"):
        CoefficientNet(0)


@torch.no_grad()
def test_bad_input():
    net = GKMNet().eval()
    for bad, error, message in (
        (image(1, 3, 15, 40), ValueError, "at least 16 x 16 px"),
        (image(1, 1, 32, 40), ValueError, r"expected shape \(B, 3, H, W\)"),
        (torch.zeros(1, 3, 32, 40, dtype=torch.uint8), TypeError, "divide 8-bit values by 255"),
    ):
        with pytest.raises(error, match=message):
            net(bad)
    with pytest.warns(RangeWarning, match="white level"):
        GKMNet(scales=1).eval()(255 * image(1, 3, 8, 8))
    with pytest.raises(ValueError, match="expected 3 images, one per scale, got 2"):
        net.scales((image(1, 3, 32, 32), image(1, 3, 16, 16)))
    for shapes in (((32, 40), (16, 20), (8, 10)), ((32, 32), (16, 16), (8, 16))):
        with pytest.raises(ValueError, match="sides divide by 16, each half the size"):
            net.scales([image(1, 3, *s) for s in shapes])
    with pytest.raises(ValueError, match="more than 16 px in height or width"):
        GKMNet().train()(image(1, 3, 16, 16))
    assert net(image(1, 3, 16, 16)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("options", [{"width": 4}, {"width": 4, "scales": 2, "iterations": 2, "shared": False}])
def test_checkpointing_changes_neither_gradients_nor_running_averages(options):
    """Steps that are run again on the way back count their input once."""
    torch.manual_seed(0)
    plain = GKMNet(**options).train()
    again = GKMNet(checkpointing=True, **options).train()
    again.load_state_dict(plain.state_dict())
    y = image(2, 3, 16, 32)
    for net in (plain, again):
        net(y).square().mean().backward()
    for (name, p), q in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=name)
    for (name, p), q in zip(plain.named_buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(q, p, rtol=0, atol=0, msg=name)
    kept = [saved_bytes(lambda net=net: net(y)) for net in (plain, again)]
    assert kept[1] < kept[0] / 3


def test_narrower_networks():
    counts = [sum(p.numel() for p in GKMNet(width=w).parameters()) for w in (4, 8, 16, 32)]
    assert counts == sorted(counts)
    assert counts[-1] == 1409131
    with pytest.raises(ValueError, match="width"):
        GKMNet(width=0)
