"""KPAC: sizes, variants, attention and the layers it is made of."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from nets.models.kpac.blocks import AtrousConvs, DownConv, ResidualBlock
from nets.models.kpac.kpac import KPACNet, from_official, official_shapes
from nets.net import RangeWarning
from nets.registry import create

COUNTS = [
    ({}, 1_578_277),
    ({"levels": 3}, 2_057_893),
    ({"levels": 3, "dual": True}, 2_061_493),
    ({"blocks": 1}, 1_047_188),
    ({"blocks": 3}, 2_109_366),
    ({"blocks": 4}, 2_640_455),
    ({"shared": False}, 2_499_877),
    ({"scale_attention": False, "shape_attention": False}, 1_327_299),
    ({"scale_attention": False}, 1_330_875),
    ({"shape_attention": False}, 1_574_701),
    ({"plain": True}, 2_259_939),
]


def image(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).random(shape)).to(dtype)


def small(*, seed=0, std=0.15, **config):
    """A network of few channels with weights that let all layers matter."""
    net = KPACNet(**{"channels": 4, "blocks": 1} | config).double().eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.from_numpy(std * rng.standard_normal(parameter.shape)))
    return net


@pytest.mark.parametrize(("config", "count"), COUNTS)
def test_has_the_published_number_of_parameters(config, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in KPACNet(**config).parameters()) == count


@pytest.mark.parametrize(
    ("config", "per_pixel"),
    [({}, 207978.84), ({"levels": 3}, 122663.34), ({"levels": 3, "dual": True}, 126263.34)],
)
def test_takes_the_published_number_of_multiplications(config, per_pixel):
    with torch.device("meta"):
        net = KPACNet(**config)
        images = [torch.empty(1, 3, 64, 64) for _ in net.inputs]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*images)
    assert counter.get_total_flops() / 2 / 64**2 == pytest.approx(per_pixel, abs=0.005)


def test_starts_as_the_paper_says():
    net = KPACNet()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
    for weight in (net.blocks[1].atrous.weight, net.decoder[0].up.weight, net.encoder[2][0].weight):
        assert weight.std().item() == pytest.approx(0.04, rel=0.05)
        assert abs(weight.mean().item()) < 0.002


@pytest.mark.parametrize("config", [{}, {"levels": 3}, {"levels": 3, "dual": True}, {"plain": True}])
def test_without_its_last_layer_returns_the_image(config):
    net = small(**config)
    with torch.no_grad():
        for parameter in net.decoder[-1].conv.parameters():
            parameter.zero_()
        images = [image(2, 3, 17, 22, seed=i) for i in range(len(net.inputs))]
        assert torch.equal(net(*images), images[0])


@pytest.mark.parametrize(("config", "multiple"), [({"levels": 2}, 4), ({"levels": 3, "blocks": 2}, 8)])
@pytest.mark.parametrize("size", [(19, 26), (24, 25), (5, 2)])
def test_sizes_that_do_not_divide_are_reflected_and_cropped(config, multiple, size):
    net = small(**config)
    x = image(2, 3, *size)
    below, right = (-n % multiple for n in size)
    whole = np.pad(x.numpy(), [(0, 0), (0, 0), (0, below), (0, right)], mode="reflect")
    with torch.no_grad():
        restored = net(x)
        expected = net(torch.from_numpy(whole))[..., : size[0], : size[1]]
    assert restored.shape == x.shape and restored.dtype == x.dtype
    torch.testing.assert_close(restored, expected, rtol=1e-12, atol=1e-12)


def test_a_single_pixel_is_large_enough():
    restored = small(levels=3)(image(1, 3, 1, 1))
    assert restored.shape == (1, 3, 1, 1) and torch.isfinite(restored).all()


def test_strided_convolution_reads_two_pixels_to_the_right_and_below():
    conv = DownConv(1, 1, 3, stride=2, bias=False).double()
    x = image(1, 1, 6, 8)
    with torch.no_grad():
        for row in range(3):
            for column in range(3):
                conv.weight.zero_()
                conv.weight[0, 0, row, column] = 1.0
                expected = torch.zeros(7, 9, dtype=x.dtype)
                expected[:6, :8] = x[0, 0]
                assert torch.equal(conv(x)[0, 0], expected[row:, column:][::2, ::2][:3, :4])


@pytest.mark.parametrize("shared", [True, False])
def test_dilated_convolutions_agree_with_their_definition(shared):
    convs = AtrousConvs(2, 3, shared=shared).double()
    rng = np.random.default_rng(3)
    weight = rng.standard_normal(convs.weight.shape)
    x = rng.standard_normal((1, 2, 7, 9))
    with torch.no_grad():
        convs.weight.copy_(torch.from_numpy(weight))
        found = convs(torch.from_numpy(x))
    assert len(found) == 5
    for i, branch in enumerate(found):
        kernel, rate = weight[0 if shared else i], i + 1
        expected = np.zeros((3, 7, 9))
        for (out, into, row, column), tap in np.ndenumerate(kernel):
            for r in range(7):
                for c in range(9):
                    y, z = r + rate * (row - 2), c + rate * (column - 2)
                    if 0 <= y < 7 and 0 <= z < 9:
                        expected[out, r, c] += tap * x[0, into, y, z]
        np.testing.assert_allclose(branch[0].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_five_equal_kernels_are_one_shared_kernel():
    shared, free = small(blocks=2), small(blocks=2, shared=False)
    state = shared.state_dict()
    for key in state:
        if key.endswith("atrous.weight"):
            state[key] = state[key].expand(5, -1, -1, -1, -1)
    free.load_state_dict(state)
    x = image(1, 3, 12, 16)
    with torch.no_grad():
        torch.testing.assert_close(free(x), shared(x), rtol=1e-12, atol=1e-12)


def test_scale_maps_are_those_that_weigh():
    net = small()
    x = image(2, 3, 18, 23)
    with torch.no_grad():
        (maps,) = net.scale_maps(x)
        assert maps.shape == (2, 5, 5, 6)
        assert 0 < maps.min() < maps.max() < 1
        torch.testing.assert_close(net(x, scale_override=maps), net(x), rtol=1e-12, atol=1e-12)
        assert (net(x, scale_override=maps.flip(1)) - net(x)).abs().max() > 1e-6
    assert len(small(blocks=3, levels=3).scale_maps(x)) == 3


@pytest.mark.parametrize("attention", [True, False])
def test_one_scale_alone_is_the_network_without_the_others(attention):
    net = small(scale_attention=attention)
    x = image(1, 3, 16, 20)
    with torch.no_grad():
        alone = net(x, scale_override=[0, 0, 1, 0, 0])
        assert torch.equal(net(x, scale_override=torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])), alone)
        outer = [channel for channel in range(20) if channel // 4 != 2]
        net.blocks[0].fusion.weight[:, outer] = 0.0
        torch.testing.assert_close(net(x, scale_override=[1] * 5), alone, rtol=1e-12, atol=1e-12)
        if not attention:
            assert torch.equal(net(x, scale_override=[1] * 5), net(x))


def test_shape_attention_is_one_weight_per_channel_from_the_mean():
    net = small(scale_attention=False)
    block = net.blocks[0]
    h = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 8, 5, 7)))
    with torch.no_grad():
        one, two = block.shape_attention[0], block.shape_attention[2]
        hidden = functional.leaky_relu(h.mean((2, 3)) @ one.weight[:, :, 0, 0].T + one.bias, 0.2)
        beta = torch.sigmoid(hidden @ two.weight[:, :, 0, 0].T + two.bias)
        branches = [functional.leaky_relu(u, 0.2) * beta[:, :, None, None] for u in block.atrous(h)]
        expected = functional.leaky_relu(block.fusion(torch.cat(branches, dim=1)), 0.2)
        torch.testing.assert_close(block(h)[0], expected, rtol=1e-12, atol=1e-12)


def test_baseline_has_ten_residual_blocks_and_one_convolution():
    net = KPACNet(plain=True)
    assert [type(module).__name__ for module in net.blocks] == ["ResidualBlock"] * 10 + ["Conv2d"]
    block = ResidualBlock(3)
    x = image(1, 3, 5, 6, dtype=torch.float32)
    with torch.no_grad():
        assert not torch.equal(block(x), x)
        block.second.weight.zero_()
        block.second.bias.zero_()
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("config", [{"blocks": 2}, {"levels": 3, "dual": True}, {"shared": False}, {"plain": True}])
def test_gradients_reach_every_parameter_and_image(config):
    net = small(**config).train()
    images = [image(1, 3, 13, 18, seed=i).requires_grad_() for i in range(len(net.inputs))]
    (net(*images) - image(1, 3, 13, 18, seed=9)).square().mean().backward()
    for name, tensor in [*net.named_parameters(), *zip(net.inputs, images, strict=True)]:
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all(), name
        assert tensor.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    "config",
    [{"shape_attention": False}, {"shape_attention": False, "scale_attention": False}, {"plain": True}],
)
def test_reach_is_how_far_pixels_matter(config):
    net = small(std=0.3, **config)
    reach = net.reach
    side = 2 * (reach // 8) * 8 + 24
    x = image(1, 3, side, side).requires_grad_()
    centre = side // 2 + 1
    net(x)[0, :, centre, centre].sum().backward()
    rows, columns = np.nonzero(x.grad.abs().amax((0, 1)).numpy())
    far = max(np.abs(rows - centre).max(), np.abs(columns - centre).max())
    assert 0.8 * reach < far <= reach
    assert not net.global_statistics


def test_with_shape_attention_all_pixels_matter():
    net = small()
    assert net.reach is None and net.global_statistics


@pytest.mark.parametrize("config", [config for config, _ in COUNTS])
def test_is_rebuilt_from_its_configuration(config):
    net = KPACNet(channels=4, **config)
    again = create("kpac", **net.config)
    assert again.config == net.config and again.inputs == net.inputs and again.multiple == net.multiple
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


@pytest.mark.parametrize("config", [{}, {"levels": 3, "dual": True}])
def test_official_names_and_shapes_cover_every_parameter(config):
    shapes = official_shapes(**config)
    net = KPACNet(**config)
    state = {name: torch.full(shape, float(i)) for i, (name, shape) in enumerate(shapes.items())}
    assert sum(tensor.numel() for tensor in state.values()) == sum(p.numel() for p in net.parameters())
    net.load_state_dict(from_official(state))
    numbers = {tensor.unique().item() for tensor in net.state_dict().values()}
    assert numbers == set(map(float, range(len(shapes))))


def test_official_kernels_are_turned_to_our_layout():
    state = {name: torch.zeros(shape) for name, shape in official_shapes().items()}
    state["deblur_net/deblur/c3/W_conv2d"][0, 2, 5, 70] = 1.0
    state["deblur_net/dc1/1/filter"][4, 1, 90, 7] = 1.0
    state["deblur_net/deblur/d1/W_deconv2d"][3, 0, 40, 80] = 1.0
    own = from_official(state)
    assert own["encoder.2.0.weight"][70, 5, 0, 2] == 1.0
    assert own["blocks.1.atrous.weight"][0, 7, 90, 4, 1] == 1.0
    assert own["decoder.0.up.weight"][80, 40, 3, 0] == 1.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"levels": 4}, "levels to be one of 2, 3, got 4"),
        ({"blocks": 0}, "blocks to be an integer >= 1, got 0"),
        ({"blocks": 2.0}, "blocks to be an integer >= 1, got 2.0"),
        ({"channels": 6}, "channels to be a positive multiple of 4, got 6"),
        ({"dual": 1}, "dual to be one of True, False, got 1"),
        ({"plain": True, "shared": False}, "left alone with plain=True"),
        ({"plain": True, "scale_attention": False}, "left alone with plain=True"),
    ],
)
def test_refuses_bad_options(config, message):
    with pytest.raises(ValueError, match=message):
        KPACNet(**config)


@pytest.mark.parametrize(
    ("config", "images", "override", "error", "message"),
    [
        ({}, 2, None, TypeError, "expected one image, got more"),
        ({"dual": True}, 1, None, TypeError, "expected three images"),
        ({"dual": True}, 2, None, TypeError, "expected three images"),
        ({"plain": True}, 1, [1] * 5, ValueError, "no dilations"),
        ({}, 1, [1] * 4, ValueError, r"5 numbers, one per dilation, or maps of shape \(1, 5, 2, 3\), got shape \(4,\)"),
        ({}, 1, torch.ones(1, 5, 8, 12), ValueError, r"got shape \(1, 5, 8, 12\)"),
        ({}, 1, torch.ones(1, 1, 2, 3), ValueError, r"got shape \(1, 1, 2, 3\)"),
    ],
)
def test_refuses_bad_calls(config, images, override, error, message):
    with pytest.raises(error, match=message):
        small(**config)(*[image(1, 3, 8, 12)] * images, scale_override=override)


def test_refuses_bad_images():
    net = small()
    with pytest.raises(ValueError, match="got \\(3, 8, 8\\); add a batch axis"):
        net(image(3, 8, 8))
    with pytest.raises(TypeError, match="divide 8-bit values by 255"):
        net(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="images of one shape"):
        small(dual=True)(image(1, 3, 8, 8), image(1, 3, 8, 8), image(1, 3, 8, 12))
    with pytest.warns(RangeWarning, match="white level"):
        net(255 * image(1, 3, 8, 8))


@pytest.mark.parametrize("config", [{"plain": True}, {"scale_attention": False}])
def test_without_scale_attention_there_are_no_scale_maps(config):
    with pytest.raises(ValueError, match="expected a network with scale attention"):
        small(**config).scale_maps(image(1, 3, 8, 8))
