"""Losses against plain loops, closed forms and finite differences."""

import cmath
import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from nets import losses
from nets.layers.resampling import pyramid
from nets.losses.classifiers import VGG19_LAYERS, vgg19
from nets.losses.pointwise import log_l2
from nets.losses.scales import resample_to_scales
from nets.net import Outputs
from synth.dataset.schema import FIELDS


def image(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.manual_seed(seed), dtype=dtype)


def outputs(sharp, *, scales=3, reblurred=0, final=True, seed=10):
    """Estimates near the true images of each size."""
    levels = pyramid(sharp, max(scales, reblurred))
    noisy = [x + 0.1 * image(*x.shape, seed=seed + i, dtype=x.dtype) for i, x in enumerate(levels)]
    whole = sharp + 0.1 * image(*sharp.shape, seed=seed + 9, dtype=sharp.dtype)
    return Outputs(whole if final else noisy[0], tuple(noisy[:scales]), tuple(0.9 * x for x in noisy[:reblurred]))


# Several sizes


def test_targets_of_sizes_that_do_not_divide_are_those_of_the_extended_image():
    x = image(1, 3, 9, 14)
    estimates = [torch.zeros(1, 3, h, w) for h, w in ((9, 14), (5, 7), (3, 4))]
    found = resample_to_scales(x, estimates)
    extended = nn.functional.pad(x, (0, 2, 0, 3), mode="reflect")
    for t, (level, want) in enumerate(zip(found, pyramid(extended, 3), strict=True)):
        size = estimates[t].shape
        assert level.shape == size
        torch.testing.assert_close(level, want[..., : size[2], : size[3]])
    with pytest.raises(ValueError, match=r"scale 1/2 to have 5 x 7 px, .* got \(1, 3, 4, 7\)"):
        resample_to_scales(x, [estimates[0], estimates[1][:, :, :4]])


# Two images


def test_log_l2_is_the_mean_of_the_decibels_of_each_image():
    x, y = image(3, 2, 4, 5), image(3, 2, 4, 5, seed=1)
    y[1] = x[1]  # nothing is wrong with it: the floor counts
    want = 0.0
    for n in range(3):
        errors = [float(a - b) ** 2 for a, b in zip(x[n].flatten(), y[n].flatten(), strict=True)]
        want += math.log10(sum(errors) / len(errors) + 1e-4) / 3
    assert float(log_l2(x, y)) == pytest.approx(want, rel=1e-12)


def test_the_operator_loss_looks_at_the_reblurred_images_alone():
    sharp, y = image(2, 3, 16, 16), image(2, 3, 16, 16, seed=5)
    out = outputs(sharp, reblurred=2)
    levels = pyramid(y, 2)
    want = 0.5 * log_l2(out.reblurred[0], levels[0]) + 2 * log_l2(out.reblurred[1], levels[1])
    loss = losses.create_loss("operator", weights=(0.5, 2))
    torch.testing.assert_close(loss(out, sharp, y)[0], want)
    torch.testing.assert_close(loss(out._replace(image=0 * sharp, scales=()), sharp, y)[0], want)
    with pytest.raises(ValueError, match="expected reblurred images, got none"):
        loss(Outputs(sharp), sharp, y)


def test_frequency_loss_is_the_sum_over_waves():
    x, y = image(1, 2, 4, 5), image(1, 2, 4, 5, seed=1)
    parts, moduli = 0.0, 0.0
    for c in range(2):
        for u in range(4):
            for v in range(5):
                total = 0j
                for r in range(4):
                    for s in range(5):
                        wave = cmath.exp(-2j * math.pi * (u * r / 4 + v * s / 5))
                        total += float(x[0, c, r, s] - y[0, c, r, s]) * wave
                parts += abs(total.real) + abs(total.imag)
                moduli += abs(total)
    assert float(losses.frequency(x, y)) == pytest.approx(parts / 40, rel=1e-12)
    assert float(losses.frequency(x, y, norm="paper")) == pytest.approx(moduli / 40, rel=1e-12)
    with pytest.raises(ValueError, match="norm to be one of"):
        losses.frequency(x, y, norm="l1")


def test_means_and_total_variation():
    x, y = torch.tensor([[[[0.0, 1.0, 3.0], [2.0, 2.0, -1.0]]]]), torch.zeros(1, 1, 2, 3)
    assert float(losses.l2(x, y)) == pytest.approx(19 / 6) and float(losses.mae(x, y)) == pytest.approx(9 / 6)
    assert float(losses.total_variation(x)) == (1 + 2 + 0 + 3) + (2 + 1 + 4)
    with pytest.raises(ValueError, match="two images of one shape"):
        losses.l2(x, y[..., :2])


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim_loss_is_differentiable(window):
    x, y = image(1, 1, 12, 11).requires_grad_(), image(1, 1, 12, 11, seed=1)
    assert gradcheck(lambda v: losses.ssim(v, y, window=window), (x,), fast_mode=True)
    assert float(losses.ssim_loss(y, y)) == pytest.approx(0, abs=1e-12)
    assert float(losses.ssim_loss(x, y).detach()) > 0.5
    with pytest.raises(ValueError, match="at least 11 x 11 px"):
        losses.ssim(x[..., :10], y[..., :10])


def test_float32_under_autocast():
    x, y = image(2, 3, 16, 16, dtype=torch.float32), image(2, 3, 16, 16, seed=1, dtype=torch.float32)
    for loss in (losses.ssim_loss, losses.frequency, losses.l2, losses.mae, losses.PyramidLoss()):
        with torch.autocast("cpu", torch.bfloat16):
            mixed = loss(x, y)
        assert mixed.dtype == torch.float32 and torch.equal(mixed, loss(x, y))
        assert loss(x.bfloat16(), y).dtype == torch.float32
    torch.testing.assert_close(losses.ssim(x, y), losses.ssim(x.double(), y.double()).float(), rtol=0, atol=2e-6)


def test_pyramid_loss():
    x, loss = image(1, 3, 19, 26), losses.PyramidLoss()
    assert float(loss(x, x)) == 0
    assert float(loss(x + 0.25, x)) == pytest.approx(0.25, abs=1e-12)
    waves = 0.1 * (-1.0) ** torch.arange(26, dtype=torch.float64).expand(1, 3, 19, 26)
    assert float(loss(x + waves, x)) > float(loss(x + 0.1, x))
    assert gradcheck(lambda v: loss(v, x), ((x + 0.1 * image(1, 3, 19, 26, seed=2)).requires_grad_(),), fast_mode=True)
    # One level: the difference and its gradients.
    d = torch.tensor([[[[1.0, 3.0], [0.0, 7.0]]]])
    assert float(losses.PyramidLoss(1)(d, torch.zeros_like(d))) == pytest.approx(11 / 4 + (2 + 7) / 2 + (1 + 4) / 2)


# Classifier features


def random_state(module, prefix=""):
    state = {}
    for i, (key, value) in enumerate(module.state_dict().items()):
        state[prefix + key] = 0.1 * torch.randn(value.shape, generator=torch.manual_seed(i))
    return state


def test_vgg_layers_and_counts():
    assert VGG19_LAYERS["conv3_3"] == 14 and VGG19_LAYERS["conv4_4"] == 25 and VGG19_LAYERS["conv5_4"] == 34
    with torch.device("meta"):
        assert len(vgg19("conv3_3", relu=False)) == 15 and len(vgg19("conv4_4", relu=True)) == 27
        assert sum(p.numel() for p in vgg19("conv5_4", relu=True).parameters()) == 20_024_384


def test_vgg_loss_compares_the_named_layer(tmp_path):
    state = random_state(vgg19("conv1_2", relu=True), "features.") | {"classifier.0.weight": torch.zeros(2)}
    x, y = image(2, 3, 9, 10, dtype=torch.float32), image(2, 3, 9, 10, seed=1, dtype=torch.float32)
    bgr = {"caffe": lambda v: 255 * v[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68])[:, None, None]}
    bgr["bgr"] = lambda v: v[:, [2, 1, 0]]
    bgr["rgb"] = lambda v: v
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    bgr["imagenet"] = lambda v: (v - mean[:, None, None]) / std[:, None, None]

    def features(v, relu):
        v = nn.functional.conv2d(v, state["features.0.weight"], state["features.0.bias"], padding=1).relu()
        v = nn.functional.conv2d(v, state["features.2.weight"], state["features.2.bias"], padding=1)
        return v.relu() if relu else v

    torch.save(state, tmp_path / "vgg.pth")
    for inputs, seen in bgr.items():
        for preset, relu in (("defocusgan", False), ("kpac", True)):
            loss = losses.VGGLoss(tmp_path / "vgg.pth", preset=preset, layer="conv1_2", inputs=inputs)
            want = (features(seen(x), relu) - features(seen(y), relu)).square().mean()
            torch.testing.assert_close(loss(x, y), want, rtol=1e-4, atol=0)
    assert not any(p.requires_grad for p in loss.parameters())
    assert losses.VGGLoss(random_state(vgg19("conv3_3", relu=False), "features.")).inputs == "bgr"


def test_weights_that_are_none(tmp_path):
    state = random_state(vgg19("conv1_2", relu=True), "features.")
    with pytest.raises(ValueError, match=r"'features.2.bias' of shape \(64,\), but it is missing"):
        losses.VGGLoss({k: v for k, v in state.items() if k != "features.2.bias"}, layer="conv1_2")
    with pytest.raises(ValueError, match=r"'features.0.weight'.*its shape is \(3,\)"):
        losses.VGGLoss(state | {"features.0.weight": torch.zeros(3)}, layer="conv1_2")
    with pytest.raises(ValueError, match="expected one of conv1_1, conv1_2"):
        losses.VGGLoss(state, layer="relu1_2")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        losses.VGGLoss(tmp_path / "vgg.pth")
    torch.save({"net": nn.Linear(1, 1)}, tmp_path / "pickle.pth")
    with pytest.raises(ValueError, match="holds only tensors, cannot read"):
        losses.VGGLoss(tmp_path / "pickle.pth")
    torch.save({"state_dict": state}, tmp_path / "nested.pth")
    with pytest.raises(ValueError, match="names and tensors"):
        losses.VGGLoss(tmp_path / "nested.pth")


# Schedules


@pytest.mark.parametrize(
    ("name", "ssim", "l2"),
    [
        ("l2", (), (0, 1000, 5000)),
        ("gkmnet", (1000, 1099, 1200, 3999 - 199 + 99), (0, 50, 999, 1100, 1199, 1300)),
        ("gkmnet-paper", (1000, 1499, 2000, 2499), (999, 1500, 1999, 2500)),
        ("gkmnet-first-upload", (2000, 2499, 3000, 3499), (1000, 1999, 2500, 2999, 3500, 4000, 4499)),
        ("nrknet", (1101, 1199, 1301, 4999), (101, 999, 1000, 1100, 1200, 1300)),
        ("nrknet-paper", (), (0, 1150, 4000)),
        ("nrknet-lfdof", (111, 119, 131), (11, 100, 110, 120, 130)),
    ],
)
def test_schedules(name, ssim, l2):
    assert all(losses.alternation(name, epoch) == "ssim" for epoch in ssim)
    assert all(losses.alternation(name, epoch) == "l2" for epoch in l2)


def test_schedules_refuse_nonsense():
    with pytest.raises(ValueError, match="0 <= first, last < block"):
        losses.Alternation(start=0, block=10, first=0, last=10)
    with pytest.raises(ValueError, match="'gkmnet-paper'"):
        losses.alternation("gkm", 0)


# Several scales and recipes


def test_multi_scale_is_the_weighted_sum():
    sharp = image(1, 3, 16, 24)
    out = outputs(sharp)
    squares = [((a - b) ** 2).mean() for a, b in zip(out.scales, pyramid(sharp, 3), strict=True)]
    torch.testing.assert_close(losses.multi_scale(out, sharp), sum(squares))
    whole = ((out.image - sharp) ** 2).mean()
    want = 2 * whole + 3 * squares[0] + 5 * squares[1] + 7 * squares[2]
    torch.testing.assert_close(losses.multi_scale(out, sharp, weights=(2, 3, 5, 7), final=True), want)
    torch.testing.assert_close(losses.multi_scale(Outputs(out.image), sharp, final=True), whole)
    with pytest.raises(ValueError, match="expected 3 weights, one for each output of the network, got 2"):
        losses.multi_scale(out, sharp, weights=(1, 1))


def test_gkm_loss():
    sharp = image(1, 3, 48, 44)
    out = outputs(sharp, final=False)
    for preset, epoch, kind in (("official", 1150, "l2"), ("paper", 1150, "ssim"), ("official", 1250, "ssim")):
        total, parts = losses.GKMLoss(preset=preset)(out, sharp, sharp, epoch)
        term = {"l2": losses.l2, "ssim": losses.ssim_loss}[kind]
        want = sum(term(a, b) for a, b in zip(out.scales, pyramid(sharp, 3), strict=True))
        torch.testing.assert_close(total, want)
        assert set(parts) == {kind} and float(parts[kind]) == float(total)
    assert losses.GKMLoss(schedule="l2")(out, sharp, sharp, 1250)[1].keys() == {"l2"}
    rounded_targets = losses.GKMLoss(resampling="gkmnet")(out, sharp, sharp)[0]
    assert 0 < abs(float(rounded_targets - losses.GKMLoss()(out, sharp, sharp)[0])) < 1e-3


@pytest.mark.parametrize("preset", ["official", "paper"])
def test_nrk_loss(preset):
    sharp, y = image(1, 3, 48, 44), image(1, 3, 48, 44, seed=3)
    out = outputs(sharp, reblurred=3)
    weights, pairs = (1, 0.75, 0.5, 0.25), [(out.image, sharp), *zip(out.scales, pyramid(sharp, 3), strict=True)]
    data = sum(
        w * (losses.l2(a, b) + 0.1 * losses.frequency(a, b, norm=preset))
        for w, (a, b) in zip(weights, pairs, strict=True)
    )
    levels = zip(weights[1:], out.reblurred, pyramid(y, 3), strict=True)
    reblur = sum(w * ((a - b) ** 2).mean() for w, a, b in levels)
    total, parts = losses.NRKLoss(preset=preset)(out, sharp, y, 0)
    torch.testing.assert_close(total, data + (0.1 * reblur if preset == "paper" else 0))
    torch.testing.assert_close(parts["reblur"], reblur)
    assert set(parts) == {"l2", "frequency", "reblur"}
    total, parts = losses.NRKLoss(preset=preset)(out, sharp, y, 1150)
    if preset == "official":
        torch.testing.assert_close(
            total, sum(w * losses.ssim_loss(a, b) for w, (a, b) in zip(weights, pairs, strict=True))
        )
        assert set(parts) == {"ssim", "reblur"}
    else:
        torch.testing.assert_close(total, data + 0.1 * reblur)


def test_nrk_loss_with_the_resampling_of_the_code():
    sharp, y = image(1, 3, 16, 24), image(1, 3, 16, 24, seed=3)
    out = outputs(sharp, scales=2, reblurred=2)
    _, parts = losses.NRKLoss(resampling="nrknet")(out, sharp, y, 0)
    half = nn.functional.avg_pool2d(sharp, 2)
    want = losses.l2(out.image, sharp) + 0.75 * losses.l2(out.scales[0], sharp) + 0.5 * losses.l2(out.scales[1], half)
    torch.testing.assert_close(parts["l2"], want)
    want = 0.75 * losses.l2(out.reblurred[0], y) + 0.5 * losses.l2(out.reblurred[1], y[..., ::2, ::2])
    torch.testing.assert_close(parts["reblur"], want)
    with pytest.raises(ValueError, match="expected reblurred images, got none"):
        losses.NRKLoss(preset="paper")(Outputs(out.image, out.scales), sharp, y, 0)
    assert set(losses.NRKLoss()(Outputs(out.image, out.scales), sharp, y, 0)[1]) == {"l2", "frequency"}


def test_kpac_loss():
    sharp = image(1, 3, 16, 20)
    out = Outputs(sharp + 0.1 * image(1, 3, 16, 20, seed=1))
    early, parts = losses.KPACLoss(features_from=3)(out, sharp, sharp, 2)
    assert float(early) == pytest.approx(2 * float((out.image - sharp).abs().mean())) and set(parts) == {"mae"}
    late, parts = losses.KPACLoss(features_from=3)(out, sharp, sharp, 3)
    assert float(late) == pytest.approx(float(early) + 7e-4 * float(losses.PyramidLoss()(out.image, sharp)))
    assert set(losses.KPACLoss()(out, sharp, sharp, 10**6)[1]) == {"mae"}


def test_generator_loss():
    sharp = image(2, 3, 16, 20)
    out = Outputs(sharp + 0.1 * image(2, 3, 16, 20, seed=1))
    scores, weight = image(2, 1, 3, 4, seed=2), 5 * image(2, 1, 3, 4, seed=3)
    content = float(losses.mae(out.image, sharp)) + 0.012 * float(losses.PyramidLoss()(out.image, sharp))
    found = {}
    for preset in ("official", "paper"):
        found[preset] = losses.DefocusGANLoss(preset=preset)(out, sharp, sharp, 10, scores=scores, weight=weight)
    assert float(found["official"][0]) == pytest.approx(0.5 * content - 0.001 * float(scores.mean()))
    assert float(found["paper"][0]) == pytest.approx(content - 0.002 * float((weight * scores).mean()))
    assert set(losses.DefocusGANLoss()(out, sharp, sharp)[1]) == {"mae", "features"}


def test_reblur_loss():
    sharp, y, radii = image(2, 3, 6, 8), image(2, 3, 6, 8, seed=1), 10 * image(2, 3, 6, 8, seed=2)
    out = Outputs(radii, reblurred=(0.9 * sharp,))
    difference = float((0.9 * sharp - y).abs().mean())
    variation = float((radii[..., 1:] - radii[..., :-1]).abs().sum() + (radii[:, :, 1:] - radii[:, :, :-1]).abs().sum())
    for preset, epoch, want in (
        ("official", 1, 1000 * difference),
        ("official", 2, 1000 * difference + 1e-5 * variation),
        ("paper", 0, difference + 1e-5 * variation),
    ):
        assert float(losses.ReblurLoss(preset=preset)(out, sharp, y, epoch)[0]) == pytest.approx(want, rel=1e-12)
    with pytest.raises(ValueError, match="outputs.reblurred, got none"):
        losses.ReblurLoss()(Outputs(radii), sharp, y)


def test_losses_by_name():
    sharp = image(1, 3, 48, 44).requires_grad_()
    of_images = [name for name in losses.LOSSES if name != "blurmap"]  # test_radii.py has that one
    for name in (*of_images, "l2", "log_l2", "mae", "ssim", "frequency", "pyramid"):
        loss = losses.create_loss(name)
        assert set(loss.fields) <= set(FIELDS)
        total, parts = loss(outputs(image(1, 3, 48, 44) * sharp, reblurred=3), sharp.detach(), sharp.detach(), 0)
        assert total.ndim == 0 and total.requires_grad and parts and not any(p.requires_grad for p in parts.values())
    weighted = losses.create_loss("mae", weights=(1, 0, 0))
    out = outputs(sharp.detach())
    torch.testing.assert_close(weighted(out, sharp, sharp)[0], losses.mae(out.scales[0], sharp))
    with pytest.raises(ValueError, match="name to be one of 'gkmnet', 'nrknet'"):
        losses.create_loss("lpips")


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.GKMLoss(preset="code"),
        lambda: losses.GKMLoss(schedule="never"),
        lambda: losses.NRKLoss(resampling="bicubic"),
        lambda: losses.DefocusGANLoss(preset="mine"),
        lambda: losses.ScaleLoss("l1"),
    ],
)
def test_unknown_choices(make):
    with pytest.raises(ValueError, match="to be one of"):
        make()
