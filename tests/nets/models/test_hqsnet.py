"""HQSNet against the equation it solves, built here from plain convolutions, and its three ways to a gradient."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import solvers
from nets import losses
from nets.layers.resampling import halve
from nets.models.gkmnet.gaussian_bank import GaussianBank
from nets.models.hqsnet.denoiser import ResidualDenoiser
from nets.models.hqsnet.hqsnet import HQSNet


def count(net):
    return sum(p.numel() for p in net.parameters())


class FrozenMaps(nn.Module):
    """In place of the coefficient network: maps that vary from pixel to pixel, the same for every photo of one size."""

    def __init__(self, size, dtype=torch.float64):
        super().__init__()
        maps = torch.tanh(torch.randn(1, 44, *size, generator=torch.manual_seed(3), dtype=torch.float64))
        self.maps = nn.Parameter(maps.to(dtype))

    def forward(self, image, state):
        return self.maps, state


def physics_only(size=(16, 20), **options):
    """A network of one scale with frozen maps and a colour mix that is not the identity, in float64."""
    net = HQSNet(scales=1, denoiser=None, **options).double()
    net.coefficient_net = FrozenMaps(size)
    with torch.no_grad():
        noise = torch.randn(net.sum.weight.shape, generator=torch.manual_seed(4), dtype=torch.float64)
        net.sum.weight += 0.1 * noise
        net.sum.bias += torch.tensor([0.02, -0.01, 0.03], dtype=torch.float64)
    return net


def image(size=(16, 20), batch=1, seed=0, dtype=torch.float64):
    return torch.rand(batch, 3, *size, generator=torch.manual_seed(seed), dtype=dtype)


def line_matrix(i, length):
    """Convolution with Gaussian i of the released code along one axis, zero beyond the ends."""
    half = 0 if i == 0 else 1 if i <= 3 else i // 2
    t = np.arange(-half, half + 1)
    taps = np.exp(-(t**2) / (2 * (i / 4) ** 2)) if i else np.ones(1)
    matrix = np.zeros((length, length))
    for row in range(length):
        for offset, tap in zip(t, taps / taps.sum(), strict=True):
            if 0 <= row - offset < length:
                matrix[row, row - offset] = tap
    return torch.from_numpy(matrix)


def dense(weights, mix):
    """The matrix of sum_k w_k sum_c mix_dck (g_k * x_c)."""
    height, width = weights.shape[-2:]
    total = torch.zeros(3, height, width, 3, height, width, dtype=torch.float64)
    for k in range(22):
        rows, columns = line_matrix(k, height), line_matrix(k, width)
        total += torch.einsum("hw,dc,hi,wj->dhwcij", weights[0, k], mix[:, :, k], rows, columns)
    return total.reshape(3 * height * width, -1)


class Dense:
    """An operator that is a matrix."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, x):
        return (x.flatten(1) @ self.matrix.T).reshape(x.shape)

    def adjoint(self, y):
        return (y.flatten(1) @ self.matrix).reshape(y.shape)


def plain_problem(net, y):
    """B, F y + bias and rho as the docstring of the network writes them."""
    maps, weight = net.coefficient_net.maps.detach(), net.sum.weight.detach().reshape(3, 2, 3, 22)
    if net.coefficients == "softmax":
        alpha, beta = (torch.softmax(8 * part, dim=1) for part in (maps[:, :22], maps[:, 22:]))
    else:
        first = torch.zeros(1, 22, 1, 1, dtype=torch.float64)
        first[:, 0] = 1
        alpha, beta = first - maps[:, :22], first - maps[:, 22:]
    filtered = Dense(dense(alpha, weight[:, 0]))(y) + net.sum.bias.detach()[:, None, None]
    return Dense(dense(beta, weight[:, 1])), filtered, float(net.rho[0].detach())


def test_parameters_are_those_of_the_paper():
    assert count(HQSNet()) == 3_259_054 + 3
    assert count(HQSNet(denoiser="full", rho_per_scale=False, iterations=25)) == 3_259_054 + 1
    assert count(HQSNet(denoiser=None)) == 1_409_131 + 3
    assert count(ResidualDenoiser()) == count(ResidualDenoiser(half=False)) == 1_849_923
    assert HQSNet(rho=0.03).rho.tolist() == pytest.approx([0.03] * 3)


@pytest.mark.parametrize("coefficients", ["softmax", "residual"])
def test_few_steps_equal_those_of_the_classical_solver(coefficients):
    net, y = physics_only(iterations=4, rho=0.2, coefficients=coefficients), image(batch=2)
    B, filtered, rho = plain_problem(net, y)
    with torch.no_grad():
        x = net(y)
    state = solvers.hqs_step(
        B, filtered, solvers.hqs_init(B, filtered, x0=y), prox=lambda v, s: v, rho=rho, inner_iterations=4
    )
    whole = solvers.hqs(
        B, filtered, prox=lambda v, s: v, rho=rho, x0=y, inner_iterations=4, inner_tol=1e-14, max_iterations=1
    )
    torch.testing.assert_close(x, state.x, rtol=0, atol=1e-10)
    torch.testing.assert_close(x, whole.x, rtol=0, atol=1e-10)
    assert float((x - y).abs().max()) > 0.05


def test_many_steps_solve_the_equation():
    net, y = physics_only(iterations=60, rho=0.2), image()
    B, filtered, rho = plain_problem(net, y)
    right = B.adjoint(filtered) + rho * y
    solution = solvers.cg(lambda v: B.adjoint(B(v)) + rho * v, right, tol=1e-12)
    exact = torch.linalg.solve(B.matrix.T @ B.matrix + rho * torch.eye(960, dtype=torch.float64), right.flatten())
    assert solution.converged
    with torch.no_grad():
        torch.testing.assert_close(net(y), solution.x, rtol=0, atol=1e-9)
        torch.testing.assert_close(net(y).flatten(), exact, rtol=0, atol=1e-9)


def test_maps_of_zero_make_the_residual_form_the_identity():
    net, y = HQSNet(scales=2, denoiser=None, iterations=1, rho=0.5, coefficients="residual").double(), image((16, 24))
    net.coefficient_net.forward = lambda photo, state: (photo.new_zeros(1, 44, *photo.shape[-2:]), state)
    with torch.no_grad():
        full, half = net.outputs(y).scales
    coarse = halve(y)
    torch.testing.assert_close(half, coarse)
    enlarged = functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(full, (y + 0.5 * enlarged) / 1.5)


def gradients(net, y):
    net.zero_grad()
    y = y.clone().requires_grad_()
    weight = torch.randn(y.shape, generator=torch.manual_seed(7), dtype=y.dtype)
    (net(y) * weight).sum().backward()
    return [y.grad, *(p.grad for p in net.parameters())]


def test_the_ways_to_a_gradient_agree():
    y = image()
    net = physics_only(iterations=50, rho=0.3)
    found = {}
    for net.gradient in ("unrolled", "implicit", "checkpointed"):
        found[net.gradient] = gradients(net, y)
    for way in ("implicit", "checkpointed"):
        for got, want in zip(found[way], found["unrolled"], strict=True):
            assert float(want.abs().max()) > 1e-3
            torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * float(want.abs().max()))


def test_few_implicit_steps_are_no_exact_gradient_and_checkpoints_are():
    y, net = image(), physics_only(iterations=2, rho=0.05)
    found = {}
    for net.gradient in ("unrolled", "implicit", "checkpointed"):
        found[net.gradient] = gradients(net, y)[0]
    torch.testing.assert_close(found["checkpointed"], found["unrolled"], rtol=0, atol=1e-12)
    assert float((found["implicit"] - found["unrolled"]).norm() / found["unrolled"].norm()) > 1e-3


def test_memory_of_the_implicit_way_does_not_grow_with_the_steps():
    def held(gradient, steps):
        net = physics_only(iterations=steps, gradient=gradient)
        return solvers.saved_bytes(partial(net, image()))

    assert held("implicit", 40) == held("implicit", 4)
    assert held("unrolled", 20) > 2.5 * held("unrolled", 4)
    assert held("checkpointed", 36) < 0.5 * held("unrolled", 36)


@pytest.mark.parametrize("size", [(16, 16), (19, 33)])
def test_sizes_that_do_not_divide(size):
    net = HQSNet(iterations=1, denoiser="half").eval()
    y = image(size, batch=2, dtype=torch.float32)
    with torch.no_grad():
        out = net.outputs(y, y)
        assert torch.equal(net(y), out.image)
    sizes = [(-(-size[0] // s), -(-size[1] // s)) for s in (1, 2, 4)]
    assert out.image.dtype == torch.float32
    assert [tuple(x.shape[-2:]) for x in out.scales] == [tuple(x.shape[-2:]) for x in out.reblurred] == sizes
    assert torch.equal(out.image, out.scales[0]) and net.outputs(y[:1]).reblurred == ()


def test_reblurred_is_the_predicted_blur_of_the_sharp_image():
    net, y, sharp = physics_only(iterations=1), image(), image(seed=5)
    B, _, _ = plain_problem(net, y)
    with torch.no_grad():
        torch.testing.assert_close(net.outputs(y, sharp).reblurred[0], B(sharp), rtol=0, atol=1e-12)


def test_every_parameter_learns():
    torch.manual_seed(0)
    net = HQSNet(iterations=2, gradient="implicit")
    with torch.no_grad():
        net.denoiser.tail.weight.normal_(std=0.05)  # a fresh one is zero and would keep gradients from the blocks
    out = net(image((32, 32), dtype=torch.float32))
    out.square().mean().backward()
    for key, p in net.named_parameters():
        assert p.grad is not None and bool(p.grad.isfinite().all()), key
        assert float(p.grad.abs().max()) > 0, key


def test_denoiser_starts_as_the_identity_and_uses_half_the_resolution():
    half = ResidualDenoiser(channels=8, blocks=2)
    x = image((7, 9), dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(half(x), x)
        sizes = []
        half.blocks.register_forward_hook(lambda module, args, out: sizes.append(tuple(out.shape[-2:])))
        half.tail.bias += 0.25
        torch.testing.assert_close(half(x), x + 0.25)
    assert sizes == [(4, 5)]
    with pytest.raises(ValueError, match="blocks to be an integer >= 1, got 0"):
        ResidualDenoiser(blocks=0)


def test_physics_stays_in_float32_under_autocast():
    net = HQSNet(scales=1, iterations=2, denoiser=None).eval()
    net.coefficient_net = FrozenMaps((16, 20), torch.float32)
    y = image(dtype=torch.float32)
    with torch.no_grad():
        plain = net(y)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(y)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)


def test_a_network_of_bfloat16():
    net = HQSNet(iterations=2, scales=1, denoiser="half").eval()
    y = image((16, 20), dtype=torch.float32)
    with torch.no_grad():
        want = net(y)
        found = net.bfloat16()(y.bfloat16())
        net.float()
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(y)
    assert found.dtype == torch.bfloat16 and mixed.dtype == torch.float32
    for other in (found, mixed):
        assert float((other - want).norm() / want.norm()) < 0.03


def test_losses_of_recipes_take_its_outputs():
    net = HQSNet(iterations=1, denoiser=None).eval()
    y, sharp = image((45, 50), dtype=torch.float32), image((45, 50), seed=1, dtype=torch.float32)
    with torch.no_grad():
        out = net.outputs(y, sharp)
        total, _ = losses.GKMLoss()(out, sharp, y, 0)
        reblurred = losses.reblurring(out, y)
        ssim, _ = losses.GKMLoss()(out, sharp, y, 1000)
    assert 0 < float(total) < 3 and 0 < float(ssim) < 6 and 0 < float(reblurred) < 3


def test_it_is_built_again_from_its_configuration():
    net = HQSNet(iterations=3, denoiser=None, coefficients="residual", rho_per_scale=False)
    again = HQSNet(**net.config)
    assert again.config == net.config and again.iterations == 3 and again.raw_rho.shape == (1,)
    again.load_state_dict(net.state_dict(), strict=True)
    assert isinstance(again.bank, GaussianBank)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations to be an integer >= 1, got 0"),
        ({"iterations": 2.5}, "iterations to be an integer"),
        ({"scales": True}, "scales"),
        ({"denoiser": "none"}, "denoiser to be one of 'half', 'full', None"),
        ({"gradient": "exact"}, "gradient"),
        ({"coefficients": "tanh"}, "coefficients"),
        ({"rho": 0.0}, "rho to be a finite number > 0 .* got 0.0"),
        ({"rho": float("nan")}, "rho to be a finite number > 0 .* got nan"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        HQSNet(**options)


def test_bad_images():
    net = HQSNet(iterations=1, denoiser=None).eval()
    with pytest.raises(ValueError, match="at least 16 x 16 px"):
        net(torch.zeros(1, 3, 15, 40))
    with pytest.raises(ValueError, match=r"shape \(B, 3, H, W\)"):
        net(torch.zeros(1, 1, 32, 32))
    with pytest.raises(TypeError, match="divide 8-bit values"):
        net(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="more than 16 px in height or width, or a larger batch"):
        net.train()(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="one shape"):
        net.outputs(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 48))
