"""The learned blur kernels: the initial rings, the tent formula by plain loops, gradients, constraints, bad input."""

import json
import math

import numpy as np
import pytest
import torch
from torch.func import functional_call

import blurphys as bp
from nets.models.defocus_gan import LearnableBlurKernel
from nets.models.defocus_gan.blur_kernel import half_width, initial_kernel


def double(**options):
    return LearnableBlurKernel(**options).double()


def randomised(net, seed=0):
    """The same network with asymmetric kernels that differ between the signs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype) - 0.2)
    return net


def problem(shape, reach, seed=1):
    """An image and a map with values of both signs, whole ones and the ends among them."""
    rng = np.random.default_rng(seed)
    image = rng.random(shape)
    radii = rng.uniform(-reach, reach, (shape[0], 3, *shape[2:]))
    radii[..., 0, :7] = [-reach, reach, 0.0, 1.0, -1.0, 1e-9, -1e-9]
    return torch.from_numpy(image), torch.from_numpy(radii)


def tent_formula(positive, negative, image, radii):
    """Pixel by pixel: all kernels, weighted by tents of the radius, correlated with zeros beyond the frame.

    The arrays are those of the authors, to be correlated.
    """

    def correlated(array, plane, row, col):
        half, total = len(array) // 2, 0.0
        for i in range(len(array)):
            for j in range(len(array)):
                m, n = row + i - half, col + j - half
                if 0 <= m < len(plane) and 0 <= n < len(plane[0]):
                    total += array[i][j] * plane[m][n]
        return total

    out = np.zeros(image.shape)
    for item, colour, row, col in np.ndindex(*image.shape):
        c, plane = float(radii[item, colour, row, col]), image[item, colour].tolist()
        for i in range(len(positive)):
            for array, sign in ((positive[i], 1), (negative[i], -1)):
                tent = max(0.0, 1.0 - abs(c - sign * i)) * (0.5 if i == 0 else 1.0)
                if tent > 0:
                    out[item, colour, row, col] += tent * correlated(array, plane, row, col)
    return out


def butterworth_array(radius):
    """The published ring at a whole radius, with plain loops."""
    size = 2 * radius + 1
    cut = (size - 1) / 2.5
    ring = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            r = math.hypot(i - radius, j - radius)
            ring[i, j] = 0.0 if r == 0 else 1.0 / (1.0 + (cut / r) ** 6)
    ring = 0.1 + 0.9 * (ring - ring.min()) / (ring.max() - ring.min())
    for i in range(size):
        for j in range(size):
            if (i - radius) ** 2 + (j - radius) ** 2 > radius**2:
                ring[i, j] = 0.0
    width = round(size / 7) + 1
    width += 1 - width % 2
    rim, sigma = width // 2, 0.3 * ((width - 1) / 2 - 1) + 0.8
    taps = [math.exp(-((t - rim) ** 2) / (2 * sigma**2)) for t in range(width)]
    wide = np.pad(np.pad(ring, rim), rim, mode="reflect")
    out = np.zeros((size + 2 * rim, size + 2 * rim))
    for i in range(width):
        for j in range(width):
            out += taps[i] * taps[j] * wide[i : i + len(out), j : j + len(out)]
    return out / out.sum()


# ---- the initial kernels ---------------------------------------------------------------------------------------------


def test_count_and_sizes():
    net = LearnableBlurKernel()
    assert sum(p.numel() for p in net.parameters()) == 55_730
    halves = [half_width(radius) for radius in range(25)]
    assert halves[:5] == [0, 1, 3, 4, 5] and halves[24] == 28
    jumps = [radius for radius in range(1, 25) if halves[radius] - halves[radius - 1] == 2]
    assert jumps == [2, 9, 16, 23]
    assert net.reach == 28 and net.kernels().shape == (49, 57, 57)


def test_initial_kernels_are_the_published_rings():
    first = initial_kernel(1)
    assert first[1, 1] == pytest.approx(0.0290, abs=5e-5) and first[0, 1] == pytest.approx(0.2427, abs=5e-5)
    assert first[0, 0] == 0 and initial_kernel(0).tolist() == [[1.0]]
    net = double()
    for radius in (1, 2, 4, 9, 16, 24):
        expected = butterworth_array(radius)
        assert np.abs(initial_kernel(radius) - expected).max() < 1e-14
        for signed in (radius, -radius):
            assert np.abs(net.kernel(signed).detach().numpy() - expected).max() < 1e-7  # stored in float32 first


def test_initial_disks_have_the_same_sizes():
    disks, rings = LearnableBlurKernel(initial="disk").state_dict(), LearnableBlurKernel().state_dict()
    assert {k: v.shape for k, v in disks.items()} == {k: v.shape for k, v in rings.items()}
    for value in disks.values():
        assert float(value.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(disks["positive.5"][5, 5]) == pytest.approx(1 / (25 * math.pi), rel=0.02)


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("random", (False, True), ids=("initial", "random"))
def test_equals_the_tent_formula(random):
    net = double(max_radius=3)
    net = randomised(net) if random else net
    image, radii = problem((2, 3, 7, 8), 3)
    mirrored = [
        [kernel.detach().numpy()[::-1, ::-1].tolist() for kernel in kernels] for kernels in (net.positive, net.negative)
    ]
    expected = tent_formula(*mirrored, image.numpy(), radii.numpy())
    assert np.abs(net(image, radii).detach().numpy() - expected).max() < 1e-13


@pytest.mark.parametrize("largest", (0.0, 0.7, 2.0, 8.5, 20.1))
def test_unused_levels_change_nothing(largest):
    """Levels that the map does not use are cropped; all of them in one operator are the reference."""
    net = randomised(double(max_radius=21))
    image, radii = problem((1, 3, 9, 12), 1)
    radii = radii * largest
    nodes = range(-21, 22)
    whole = bp.DefocusBlur(
        radii, bank=bp.PSFBank(psfs=net.kernels().detach(), radii=nodes), channels=1, boundary="zero"
    )
    with torch.no_grad():
        assert torch.allclose(net(image, radii), whole(image[:, :, None])[:, :, 0], rtol=0, atol=1e-12)


def test_in_focus_is_the_identity():
    image = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    net = LearnableBlurKernel()
    with torch.no_grad():
        assert torch.equal(net(image, torch.zeros(2, 3, 6, 9)), image)
        assert torch.equal(net(image, torch.zeros(2, 1, 6, 9)), image)


def test_shared_map_is_the_map_of_each_colour():
    net = randomised(double(max_radius=4))
    image, radii = problem((2, 3, 8, 9), 4)
    shared = radii[:, :1]
    with torch.no_grad():
        assert torch.allclose(net(image, shared), net(image, shared.expand(-1, 3, -1, -1)), rtol=0, atol=1e-13)


def test_each_colour_and_item_uses_its_own_map():
    net = randomised(double(max_radius=4))
    image, radii = problem((2, 3, 8, 9), 4)
    with torch.no_grad():
        before = net(image, radii)
        radii[1, 2] = -radii[1, 2]
        changed = (net(image, radii) != before).flatten(2).any(-1)
    assert changed.tolist() == [[False, False, False], [False, False, True]]


def test_constant_image_away_from_the_frame():
    net = LearnableBlurKernel(max_radius=4)
    radii = 8 * torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) - 4
    with torch.no_grad():
        found = net(torch.full((1, 3, 24, 24), 0.5), radii)[..., 5:-5, 5:-5]
    assert float((found - 0.5).abs().max()) < 1e-6


def test_half_precision_is_computed_in_float32():
    net = LearnableBlurKernel(max_radius=3)
    image, radii = (v.float() for v in problem((1, 3, 8, 9), 3))
    image, radii = image.bfloat16(), radii.bfloat16()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(image, radii)
    with torch.no_grad():
        exact = net(image.float(), radii.float())
    assert found.dtype == torch.bfloat16 and torch.equal(found, exact.bfloat16())


# ---- derivatives -----------------------------------------------------------------------------------------------------


def test_adjoint():
    net = randomised(double(max_radius=3))
    _, radii = problem((2, 3, 9, 11), 3)
    A = net.operator(radii)
    generator = torch.Generator().manual_seed(3)
    x, u = (torch.rand(2, 3, 1, 9, 11, dtype=torch.float64, generator=generator) - 0.5 for _ in range(2))
    with torch.no_grad():
        left, right = float((A(x) * u).sum()), float((x * A.adjoint(u)).sum())
        scale = float(A(x).norm() * u.norm())
    assert abs(left - right) <= 1e-13 * scale
    assert abs(left) > 1e-6 * scale


@pytest.mark.parametrize("constraint", (None, "softmax"))
def test_gradients_in_image_map_and_kernels(constraint):
    reach = 1 if constraint else 2
    net = randomised(double(max_radius=reach, constraint=constraint))
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 3, 3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    whole = torch.randint(-reach, reach, (1, 3, 3, 4), generator=generator)
    radii = (whole + 0.2 + 0.6 * torch.rand(1, 3, 3, 4, dtype=torch.float64, generator=generator)).requires_grad_()
    names = [name for name, _ in net.named_parameters()]
    kernels = [p.detach().clone().requires_grad_() for p in net.parameters()]

    def blurred(image, radii, *kernels):
        return functional_call(net, dict(zip(names, kernels, strict=True)), (image, radii))

    assert torch.autograd.gradcheck(blurred, (image, radii, *kernels), atol=1e-7)
    assert torch.autograd.gradgradcheck(blurred, (image, radii, *kernels), fast_mode=True, atol=1e-6)


def test_every_kernel_has_a_gradient_even_if_unused():
    net = LearnableBlurKernel(max_radius=5)
    image, radii = (v.float() for v in problem((1, 3, 8, 9), 1.5))
    net(image, radii).square().sum().backward()
    used = {name: bool(p.grad.abs().sum() > 0) for name, p in net.named_parameters()}
    assert used == {f"{sign}.{n}": n <= 2 for sign in ("positive", "negative") for n in range(6)}


def test_fixed_kernels_do_not_learn_but_the_map_does():
    net = LearnableBlurKernel(max_radius=3, learn=False)
    image, radii = (v.float() for v in problem((1, 3, 8, 9), 3))
    radii.requires_grad_()
    net(image, radii).square().sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert float(radii.grad.abs().sum()) > 0


def test_kernels_are_recovered_from_reblurred_images():
    """Least squares in the kernels alone finds those the images were blurred with."""
    truth, net = randomised(double(max_radius=1)), double(max_radius=1)
    image, radii = problem((4, 3, 10, 12), 1)
    with torch.no_grad():
        target = truth(image, radii)
    optimiser = torch.optim.LBFGS(net.parameters(), max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss():
        optimiser.zero_grad()
        value = (net(image, radii) - target).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    assert torch.allclose(net.kernels(), truth.kernels(), rtol=0, atol=1e-3)


# ---- constraints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constraint", ("softmax", "projected"))
def test_constrained_kernels_start_from_the_rings(constraint):
    net = double(max_radius=9, constraint=constraint)
    for radius in (0, 1, 5, 9):
        assert np.abs(net.kernel(-radius).detach().numpy() - initial_kernel(radius)).max() < 1e-3
    if constraint == "projected":
        assert np.abs(net.kernel(9).detach().numpy() - initial_kernel(9)).max() < 1e-7


@pytest.mark.parametrize("constraint", ("softmax", "projected"))
def test_constrained_kernels_stay_on_the_simplex(constraint):
    net = randomised(double(max_radius=4, constraint=constraint))
    for radius in range(-4, 5):
        kernel = net.kernel(radius).detach()
        assert float(kernel.min()) >= 0 and float(kernel.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(randomised(double(max_radius=4)).kernel(3).detach().sum()) != pytest.approx(1.0, abs=0.1)


def test_projection_is_the_nearest_point_of_the_simplex():
    """A point is nearest iff the residual is constant where the taps are positive and smaller where they are zero."""
    net = randomised(double(max_radius=2, constraint="projected"))
    for radius in (1, 2):
        residual = (net.positive[radius] - net.kernel(radius)).detach()
        positive = net.kernel(radius) > 0
        level = residual[positive].mean()
        assert 0 < int(positive.sum()) < positive.numel()
        assert float((residual[positive] - level).abs().max()) < 1e-12
        assert float((residual[~positive] - level).max()) <= 1e-12


def test_projected_gradients_are_those_of_free_kernels():
    image, radii = problem((1, 3, 8, 9), 2)
    free, projected = double(max_radius=2), double(max_radius=2, constraint="projected")
    for net in (free, projected):
        net(image, radii).square().sum().backward()
    for a, b in zip(free.parameters(), projected.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-5, atol=1e-6)


# ---- configuration, bad input, compilation ---------------------------------------------------------------------------


def test_configuration_rebuilds_it():
    net = LearnableBlurKernel(max_radius=2, constraint="softmax", initial="disk", learn=False, clamp=True)
    again = LearnableBlurKernel(**json.loads(json.dumps(dict(net.config))))
    assert dict(again.config) == dict(net.config)
    again.load_state_dict(net.state_dict(), strict=True)


def test_radii_beyond_the_largest_kernel():
    image, radii = (v.float() for v in problem((1, 3, 8, 9), 3))
    radii[0, 1, 4, 4] = -27.25
    with pytest.raises(ValueError, match=r"within \+-3 px, got 27\.25.*diameter.*clamp=True"):
        LearnableBlurKernel(max_radius=3)(image, radii)
    with torch.no_grad():
        found = LearnableBlurKernel(max_radius=3, clamp=True)(image, radii)
        assert torch.equal(found, LearnableBlurKernel(max_radius=3)(image, radii.clamp(-3, 3)))
    radii[0, 1, 4, 4] = float("nan")
    for clamp in (False, True):
        with pytest.raises(ValueError, match="finite"):
            LearnableBlurKernel(max_radius=3, clamp=clamp)(image, radii)


def test_bad_input():
    net = LearnableBlurKernel(max_radius=2)
    image, radii = torch.rand(1, 3, 6, 7), torch.zeros(1, 3, 6, 7)
    with pytest.raises(ValueError, match=r"radius_map of shape \(1, 1 or 3, 6, 7\).*got \(1, 2, 6, 7\)"):
        net(image, radii[:, :2])
    with pytest.raises(ValueError, match=r"channel axis with map\[:, None\]"):
        net(image, radii[:, 0])
    with pytest.raises(ValueError, match=r"got \(1, 3, 6, 6\)"):
        net(image, radii[..., :6])
    with pytest.raises(TypeError, match=r"radius_map as a tensor of floats.*int64"):
        net(image, radii.long())
    with pytest.raises(TypeError, match="uint8"):
        net((255 * image).byte(), radii)
    with pytest.raises(ValueError, match="whole radius within"):
        net.kernel(3)
    for options in ({"max_radius": 0}, {"max_radius": 2.5}, {"constraint": "simplex"}, {"initial": "gaussian"}):
        with pytest.raises(ValueError, match=f"LearnableBlurKernel: expected {next(iter(options))}"):
            LearnableBlurKernel(**options)
