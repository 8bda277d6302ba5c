"""NRKNet: counts, variants, the classical series it unrolls, sizes, gradients, memory."""

import math
from functools import partial

import pytest
import torch
from scipy.signal import convolve2d
from torch.nn import functional

import blurphys as bp
import solvers
from nets.models.nrknet.nrknet import NRKNet
from nets.models.nrknet.recursive_kernels import (
    Blur,
    FullKernels,
    GaussianKernels,
    RecursiveKernels,
    SeparableKernels,
)

KINDS = {
    "recursive": RecursiveKernels,
    "gaussian": GaussianKernels,
    "separable": SeparableKernels,
    "full": FullKernels,
}


def small(**options):
    torch.manual_seed(options.pop("seed", 0))
    return NRKNet(**{"atoms": 3, "scales": 2, "width": 4} | options).eval()


def picture(*size, seed=1, dtype=torch.float32):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def count(module):
    return sum(p.numel() for p in module.parameters())


def close(a, b, tolerance=1e-10):
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max()))


# ---- counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, weights",
    [
        ({}, 6_094_107),
        ({"atoms": 15}, 6_029_325),
        ({"atoms": 18}, 6_060_816),
        ({"atoms": 20}, 6_082_810),
        ({"atoms": 22}, 6_105_604),
        ({"atoms": 25}, 6_141_295),
        ({"recurrent": "conv"}, 5_940_063),
        ({"recurrent": "none"}, 6_087_519),
        ({"scales": 4}, 6_094_107),
        ({"scales": 2, "expansion": "full"}, 6_094_107),
        # 20 atoms of the code without 120 values of its kernels, 189 weights of the mix and 3 constants, with 60 taps
        ({"preset": "paper"}, 6_082_810 - 120 - 189 - 3 + 60),
        ({"kernels": "gaussian"}, 6_094_107 - 126),
    ],
)
def test_parameters(options, weights):
    with torch.device("meta"):
        assert count(NRKNet(**options)) == weights


@pytest.mark.parametrize(
    "kernels, paper, own",
    [("recursive", 60, 120), ("gaussian", 0, 0), ("separable", 230, 690), ("full", 12_340, 9_930)],
)
def test_parameters_of_the_kernels(kernels, paper, own):
    assert count(KINDS[kernels](20, shared=True)) == paper
    assert count(KINDS[kernels](20, shared=False)) == own
    with torch.device("meta"):
        assert count(NRKNet(kernels=kernels, preset="paper").blur.kernels) == paper


def test_convolution_cost():
    # The reference counts the blur as convolutions too: for each colour and atom two lines of three taps, the first of
    # them on two rows more, and a 1 x 1 convolution from 66 planes to 3.
    blur = 0
    for steps, (height, width) in enumerate(((192, 320), (96, 160), (48, 80)), start=1):
        blur += steps * width * (21 * 9 * (height + 2 + height) + 66 * 3 * height)
    products = []

    def add(layer, inputs, output):
        # A transposed convolution spreads every pixel that goes in, others collect for every pixel that comes out.
        plane = inputs[0][0, 0] if isinstance(layer, torch.nn.ConvTranspose2d) else output[0, 0]
        products.append(layer.weight.numel() * plane.numel())

    with torch.no_grad():
        net = NRKNet().eval()
        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                layer.register_forward_hook(add)
        net.coefficients(picture(32, 48))
    assert (sum(products) * 192 * 320 / (32 * 48) + blur) / 1e9 == pytest.approx(57.8838, abs=5e-5)


# ---- the series it unrolls ------------------------------------------------------------------------------------------


def with_constant_maps(net, values):
    """Set the weights such that every coefficient map is one of `values` everywhere, at all scales."""
    attention = net.coefficient_net.attention
    target = torch.tensor(values, dtype=torch.float64)
    with torch.no_grad():
        attention.detail_norm.weight.zero_()
        attention.detail_norm.bias.zero_()
        attention.memory.conv.weight.zero_()
        wide_open = torch.full_like(target, 50.0)
        gates = torch.cat([wide_open, -wide_open, wide_open, torch.atanh(torch.atanh(target))])
        attention.memory.conv.bias.copy_(gates)
    return net


def test_constant_maps_are_the_classical_neumann_series():
    gamma, bias = [0.4, 0.3, 0.2, 0.05], [0.02, -0.01, 0.03]
    net = with_constant_maps(small(scales=3).double(), gamma)
    mix = torch.randn(3, 3, 4, dtype=torch.float64) * 0.2 + torch.eye(3, dtype=torch.float64)[..., None]
    pq = torch.tensor([[[0.5, 0.1], [0.2, 0.9], [0.7, 0.4]]], dtype=torch.float64).expand(3, -1, -1)
    with torch.no_grad():
        net.blur.mix.copy_(mix)
        net.blur.bias.copy_(torch.tensor(bias, dtype=torch.float64))
        net.blur.kernels.values.copy_(pq)
        y = picture(36, 48, dtype=torch.float64)[..., :32, :]
        found = net.outputs(y)

    weights = torch.exp(pq)
    atoms = torch.stack([weights[..., 0], weights[..., 1], weights[..., 0]], dim=-1)
    atoms = atoms / atoms.sum(-1, keepdim=True)

    def blur(size):
        maps = torch.tensor(gamma, dtype=torch.float64)[:, None, None].expand(-1, *size).contiguous()
        linear = bp.RKR(maps, atoms=atoms, channels=3, boundary="reflect", mix=mix)
        return lambda x: linear(x) + torch.tensor(bias, dtype=torch.float64)[:, None, None]

    levels = [y, y[..., ::2, ::2], y[..., ::4, ::4]]
    blurs = [blur(level.shape[-2:]) for level in levels]
    for t, (level, D) in enumerate(zip(levels, blurs, strict=True)):
        close(found.scales[t], solvers.neumann(D, level, terms=t + 1).x)
    close(found.image, solvers.neumann_cross_scale(blurs, y, rule="nearest").x)


def test_constant_identity_returns_each_image_without_correction():
    # D = 0.5 identity at both scales: y + y / 2 + y / 4, whatever the U-Net says
    net = with_constant_maps(small().double(), [0.5, 0.0, 0.0, 0.0])
    with torch.no_grad():
        net.blur.mix.copy_(torch.eye(3)[..., None].expand(-1, -1, 4))
        net.blur.bias.zero_()
        flat = torch.full((1, 3, 16, 24), 0.4, dtype=torch.float64)
        close(net(flat), 1.75 * flat)


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("preset", ["official", "paper"])
def test_predicted_blurs_and_the_cross_scale_sum(kernels, preset):
    net = small(kernels=kernels, preset=preset, scales=3).double()
    y = picture(32, 48, dtype=torch.float64)
    rule = "mean" if preset == "paper" else "nearest"
    with torch.no_grad():
        expected = solvers.neumann_cross_scale(net.operators(y), y, rule=rule).x
        close(net(y), expected)


def test_full_expansion_adds_every_term_of_every_scale():
    net = small(expansion="full").double()
    assert net.powers == (2, 2)
    y, sharp = picture(16, 24, dtype=torch.float64), picture(16, 24, seed=2, dtype=torch.float64)
    with torch.no_grad():
        found = net.outputs(y, sharp)
        half = y[..., ::2, ::2]
        for level, D, z, x, r in zip(
            (y, half), net.operators(y), found.scales, (sharp, sharp[..., ::2, ::2]), found.reblurred, strict=True
        ):
            close(z, solvers.neumann(D, level, terms=2).x)
            close(r, D(x))
        close(found.image, found.scales[0] + solvers.upsampled(found.scales[1] - half, 2))


def test_powers_are_the_steps_taken():
    net = small(powers=[3, 1]).double()
    y = picture(16, 24, dtype=torch.float64)
    with torch.no_grad():
        full, half = net.operators(y)
        found = net.outputs(y)
        close(found.scales[0], solvers.neumann(full, y, terms=3).x)
        close(found.scales[1], solvers.neumann(half, y[..., ::2, ::2], terms=1).x)


# ---- kernels --------------------------------------------------------------------------------------------------------


def composed(kernels, atoms, colour):
    """The 2-D kernels of a colour, by their definition."""
    if isinstance(kernels, GaussianKernels):
        found = []
        for j in range(1, atoms + 1):
            half = (j + 1) // 2 if kernels.supports[2:4] == (3, 5) else max(1, j // 2)
            line = torch.exp(-0.5 * (torch.arange(-half, half + 1, dtype=torch.float64) / (j / 4)) ** 2)
            found.append(torch.outer(line, line) / line.sum() ** 2)
        return [torch.ones(1, 1, dtype=torch.float64), *found]
    if isinstance(kernels, FullKernels):
        return [psf[colour % psf.shape[0]] for psf in kernels.psfs()]
    if isinstance(kernels, SeparableKernels):
        table = kernels.taps()[colour % kernels.taps().shape[0]]
        lines = [torch.cat([one.flip(0)[:-1], one]) for one in table]
        return [torch.outer(line, line) for line in lines]
    found = [torch.ones(1, 1, dtype=torch.float64)]
    for taps in kernels.taps() if kernels.shared else kernels.taps()[:, colour]:
        found.append(torch.from_numpy(convolve2d(found[-1].numpy(), torch.outer(taps, taps).numpy())))
    return found


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_blur_is_the_sum_it_is_defined_as(kernels, shared, mixed):
    torch.manual_seed(3)
    atoms, size = 5, (20, 23)
    blur = Blur(KINDS[kernels](atoms, shared=shared), atoms + 1, mixed=mixed).double().requires_grad_(False)
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    gamma = torch.randn(2, atoms + 1, *size, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for c in range(3):
        for k, psf in enumerate(composed(blur.kernels, atoms, c)):
            half = psf.shape[-1] // 2
            plane = functional.pad(x[:, c : c + 1], (half,) * 4, mode="reflect")
            filtered = gamma[:, k : k + 1] * functional.conv2d(plane, psf.flip(0, 1)[None, None])
            for d in range(3):
                weight = blur.mix[d, c, k] if mixed else float(d == c)
                expected[:, d : d + 1] += weight * filtered
    if mixed:
        expected += blur.bias[:, None, None]
    # Only where no tap meets the border is an asymmetric cascade, extended at each step, one convolution.
    inner = (..., slice(atoms, -atoms), slice(atoms, -atoms)) if shared else ...
    close(blur(gamma)(x)[inner], expected[inner])


def test_adjoint_of_the_full_kernels_with_mixed_colours():
    torch.manual_seed(4)
    A = Blur(FullKernels(2, shared=False), 3, mixed=True).double().requires_grad_(False)
    A = A(torch.randn(2, 3, 9, 10, dtype=torch.float64)).linear
    x, y = torch.randn(2, 2, 3, 9, 10, dtype=torch.float64)
    assert float((A(x) * y).sum()) == pytest.approx(float((x * A.adjoint(y)).sum()), rel=1e-12)
    assert A.halo == 2 and A.batch_shape == (2,)


def test_full_kernels_of_a_colour_are_symmetric():
    for psf in FullKernels(3, shared=False).psfs().detach():
        for image in (psf.flip(1), psf.flip(2), psf.mT):
            assert torch.equal(psf, image)
    psfs = FullKernels(3, shared=True).psfs().detach()
    assert psfs.shape == (4, 1, 7, 7) and float(psfs[0, 0, 3, 3]) == 1
    assert not torch.equal(psfs, psfs.mT) and float(psfs[1].count_nonzero()) == 9


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("shared", [True, False])
def test_kernels_sum_to_one_and_are_not_negative(kernels, shared):
    for colour in range(3):
        psfs = composed(KINDS[kernels](4, shared=shared).double().requires_grad_(False), 4, colour)
        assert len(psfs) == 5
        for psf in psfs:
            assert float(psf.min()) >= 0 and float(psf.sum()) == pytest.approx(1)


def test_atoms_are_symmetric_taps_per_colour_or_free_ones_for_all():
    own, shared = small().atoms(), small(preset="paper").atoms()
    assert own.shape == shared.shape == (3, 3, 3)
    assert torch.equal(own, own.flip(-1)) and not torch.equal(own[:, 0], own[:, 1])
    assert torch.equal(shared[:, 0], shared[:, 2]) and not torch.equal(shared, shared.flip(-1))
    close(own.sum(-1), torch.ones(3, 3), 1e-6)


def test_normalised_paper_network_has_true_psfs():
    net = small(normalised=True, preset="paper").double()
    y = picture(21, 30, dtype=torch.float64)
    with torch.no_grad():
        maps = net.coefficients(y)
        assert [m.shape[-2:] for m in maps] == [(21, 30), (11, 15)]
        for gamma, blur in zip(maps, net.operators(y), strict=True):
            close(gamma.sum(1), torch.ones_like(gamma[:, 0]))
            blur.linear.validate()
            ones = torch.ones((1, *blur.linear.in_shape), dtype=torch.float64)
            close(blur(ones), ones)


@pytest.mark.parametrize("normalised", [False, True])
def test_certificate_of_a_predicted_blur(normalised):
    net = small(normalised=normalised, preset="paper").double()
    with torch.no_grad():
        (_, half) = net.operators(picture(16, 24, dtype=torch.float64))
        error = torch.randn(1, *half.linear.in_shape, dtype=torch.float64)
        sizes = []
        for _ in range(400):
            error = error - half(error)
            sizes.append(float(error.norm()))
            error = error / error.norm()
        growth = math.exp(sum(map(math.log, sizes[200:])) / 200)
    assert bp.certificate(half.linear).spectral_radius == pytest.approx(growth, rel=0.01)


# ---- how it is called -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, multiple, least",
    [
        ({}, 8, 9),
        ({"scales": 3}, 16, 17),
        ({"scales": 4}, 32, 33),
        ({"kernels": "gaussian", "atoms": 21}, 8, 17),
        ({"kernels": "separable", "atoms": 9}, 8, 17),
        ({"kernels": "full", "atoms": 8}, 8, 17),
        ({"recurrent": "conv"}, 8, 9),
    ],
)
def test_smallest_image(options, multiple, least):
    net = small(**options)
    assert (net.multiple, net.least) == (multiple, least)
    with torch.no_grad():
        assert net(picture(least, least + 2)).shape == (1, 3, least, least + 2)
        with pytest.raises(ValueError, match=f"at least {least} x {least} px"):
            net(picture(least - 1, 2 * least))


@pytest.mark.parametrize("options", [{}, {"kernels": "separable", "atoms": 9}])
def test_a_smaller_image_than_said_would_not_do(options, monkeypatch):
    net = small(**options)
    smaller = picture(net.least - 1, 32)
    monkeypatch.setattr(NRKNet, "least", 1)
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError), match="reach|[Pp]adding"):
        net(smaller)


def test_sizes_that_do_not_divide_are_reflected_and_cropped():
    net = small(scales=3).double()
    y = picture(37, 50, dtype=torch.float64)
    larger = functional.pad(y, (0, 14, 0, 11), mode="reflect")
    with torch.no_grad():
        found = net.outputs(y, y)
        close(net(y), net(larger)[..., :37, :50])
    assert [tuple(z.shape[-2:]) for z in found.scales] == [(37, 50), (19, 25), (10, 13)]
    assert [z.shape for z in found.reblurred] == [z.shape for z in found.scales]
    close(found.image, net(y).detach())


def test_batch_items_do_not_meet_unless_statistics_are_of_the_batch():
    pair = torch.cat([picture(16, 24), picture(16, 24, seed=5)])
    with torch.no_grad():
        for bn_stats, same in (("running", True), ("batch", False)):
            net = small(bn_stats=bn_stats)
            assert net.global_statistics is not same and (net.reach is None) is not same
            assert torch.allclose(net(pair)[:1], net(pair[:1]), atol=1e-5) is same


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision_is_that_of_the_image(dtype):
    net, y = small(), picture(16, 24)
    with torch.no_grad():
        exact = net(y)
        found = net.to(dtype)(y.to(dtype))
    assert found.dtype == dtype
    assert (found.float() - exact).abs().max() < (1e-5 if dtype == torch.float64 else 0.1)


def test_autocast_keeps_the_blur_in_single_precision():
    net, y = small(), picture(16, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (full, _), found = net.operators(y), net(y)
    assert full.linear.like.dtype == found.dtype == torch.float32


@pytest.mark.parametrize(
    "options, message",
    [
        ({"atoms": 0}, r"atoms .* >= 1 \(kernels after the Dirac\), got 0"),
        ({"atoms": True}, "expected atoms"),
        ({"width": 2.5}, "expected width"),
        ({"scales": 5}, "scales to be one of 2, 3, 4, got 5"),
        ({"kernels": "disc"}, "kernels to be one of"),
        ({"expansion": "none"}, "expansion to be one of"),
        ({"recurrent": None}, "recurrent to be one of"),
        ({"preset": "code"}, "preset to be one of"),
        ({"bn_stats": "eval"}, "bn_stats to be one of"),
        ({"normalised": 1}, "normalised to be one of"),
        ({"powers": [1, 2]}, "expected 3 powers, one per scale"),
        ({"powers": [1, 2, 0]}, "each of powers to be an integer >= 1, got 0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=f"^NRKNet: .*{message}"), torch.device("meta"):
        NRKNet(**options)


def test_bad_images():
    net = small()
    with pytest.raises(TypeError, match="divide 8-bit values by 255"):
        net(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"expected shape \(B, 3, H, W\)"):
        net(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="images of one shape"):
        net.outputs(picture(16, 16), picture(16, 24))
    with pytest.raises(ValueError, match="expected a network of recursive kernels, got 'full'"):
        small(kernels="full").atoms()


def test_it_is_rebuilt_from_its_configuration():
    net = small(preset="paper", atoms=None, recurrent="conv", powers=(2, 1))
    twin = NRKNet(**net.config).eval()
    twin.load_state_dict(net.state_dict(), strict=True)
    y = picture(16, 24)
    with torch.no_grad():
        assert twin.config == net.config and twin.config["atoms"] == 20 and twin.config["powers"] == [2, 1]
        assert torch.equal(twin(y), net(y))


def test_initial_weights():
    torch.manual_seed(0)
    ours, paper = NRKNet(width=16), NRKNet(width=16, preset="paper")
    bound = math.sqrt(6 / (16 * 9 + 16 * 9))  # Xavier
    for net, least, most in ((ours, 0.99 / 12, 1 / 12), (paper, 0.99 * bound, bound)):
        largest = float(net.coefficient_net.unet.encode[0][0].first.weight.detach().abs().max())
        assert least < largest <= most
    assert float(paper.coefficient_net.attention.memory.conv.bias.detach().abs().max()) == 0
    values, mix = ours.blur.kernels.values.detach(), ours.blur.mix.detach().abs().max()
    assert 0 <= values.min() < 0.1 and 0.9 < values.max() < 1
    assert 0.9 * 66**-0.5 < mix <= 66**-0.5


# ---- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "paper", "normalised": True, "kernels": "separable"},
        {"kernels": "full", "recurrent": "none"},
        {"kernels": "gaussian", "recurrent": "conv", "expansion": "full"},
        {"kernels": "full", "preset": "paper", "scales": 3},
    ],
)
def test_gradients_reach_every_parameter(options):
    net = small(**options).train()
    y, sharp = picture(32, 32), picture(32, 32, seed=6)
    found = net.outputs(y, sharp)
    loss = sum((z**2).mean() for z in (found.image, *found.scales, *found.reblurred))
    loss.backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 0, name


def test_checkpointing_gives_the_same_gradients_with_less_memory():
    y = picture(16, 24, dtype=torch.float64)
    found, memory = [], {}
    for checkpointing in (False, True):
        for steps in (4, 64):
            net = small(checkpointing=checkpointing, powers=(steps, steps)).double().train()
            memory[checkpointing, steps] = solvers.saved_bytes(partial(net, y))
        net = small(checkpointing=checkpointing, powers=(3, 3)).double().train()
        net(y).square().mean().backward()
        found.append([p.grad for p in net.parameters()] + [net.coefficient_net.attention.detail_norm.running_mean])
    for a, b in zip(*found, strict=True):
        close(a, b)
    images = 1.25 * y.numel() * y.element_size()
    assert memory[True, 4] < 0.7 * memory[False, 4]
    assert memory[False, 64] - memory[False, 4] > 50 * images
    assert memory[True, 64] - memory[True, 4] < 14 * images


def test_reach_bounds_what_a_pixel_sees():
    for options in ({"scales": 3}, {"recurrent": "conv", "atoms": 9}):
        net = small(**options).double()
        width = 2 * net.reach + 64
        y = picture(net.least, width, dtype=torch.float64).requires_grad_()
        for column in (width // 2, width // 2 + 7):
            (gradient,) = torch.autograd.grad(net(y)[..., column].sum(), y)
            seen = gradient.abs().amax(dim=(0, 1, 2)).nonzero()
            farthest = int((seen - column).abs().max())
            assert farthest <= net.reach < 1.5 * farthest
