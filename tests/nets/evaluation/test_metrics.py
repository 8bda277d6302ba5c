"""Metrics against scikit-image and against plain formulas; the conventions against the authors' table."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn
from torch.nn import functional

from nets import metrics
from nets.losses.classifiers import alexnet, squeezenet


def pair(height=33, width=47, batch=2, dtype=torch.float64):
    """Smooth images and noisy ones that leave [0, 1] here and there."""
    generator = torch.manual_seed(1)
    target = torch.rand(batch, 3, 6, 7, generator=generator, dtype=dtype)
    target = functional.interpolate(target, size=(height, width), mode="bilinear")
    noise = torch.randn(target.shape, generator=generator, dtype=dtype)
    return 1.2 * target - 0.1 + 0.05 * noise, target


def oracle(image, target, window):
    options = {"gaussian_weights": True, "use_sample_covariance": False} if window == "gaussian" else {}
    border = 5 if window == "gaussian" else 3
    found = []
    for a, b in zip(image.numpy(), target.numpy(), strict=True):
        _, whole = structural_similarity(b, a, channel_axis=0, data_range=1.0, full=True, **options)
        found.append(whole[:, border:-border, border:-border].mean())
    return found


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim_is_that_of_scikit_image(window):
    image, target = pair()
    found = metrics.ssim(image, target, window=window)
    assert found.shape == (2,) and found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), oracle(image, target, window), rtol=1e-10)
    torch.testing.assert_close(metrics.ssim(255 * image, 255 * target, window=window, peak=255.0), found)
    assert metrics.ssim(target, target, window=window).tolist() == pytest.approx([1.0, 1.0])
    other = "uniform" if window == "gaussian" else "gaussian"
    assert float((metrics.ssim(image, target, window=other) - found).abs().min()) > 1e-3
    narrow = image.float(), target.float()  # computed in float64 all the same
    torch.testing.assert_close(metrics.ssim(*narrow, window=window), found, rtol=0, atol=1e-6)


def test_uniform_ssim_is_the_default_of_scikit_image():
    image, target = pair(batch=1)
    want = structural_similarity(target[0].numpy(), image[0].numpy(), channel_axis=0, data_range=1.0)
    assert float(metrics.ssim(image, target, window="uniform")) == pytest.approx(want, rel=1e-10)


def test_psnr_and_mae():
    image, target = pair()
    want = [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in zip(image.numpy(), target.numpy(), strict=True)]
    np.testing.assert_allclose(metrics.psnr(image, target).numpy(), want, rtol=1e-12)
    torch.testing.assert_close(metrics.psnr(255 * image, 255 * target, peak=255.0), metrics.psnr(image, target))
    assert metrics.psnr(image, image).tolist() == [float("inf")] * 2
    colours = (image - target).abs().mean(dim=(2, 3))
    torch.testing.assert_close(metrics.mae(image, target), colours.mean(dim=1))
    for metric in (metrics.psnr, metrics.ssim, metrics.mae):
        with pytest.raises(ValueError, match="one shape"):
            metric(image, target[..., 1:])
    with pytest.raises(ValueError, match="window to be one of 'gaussian', 'uniform'"):
        metrics.ssim(image, target, window="box")


def test_psnr_and_gaussian_ssim_are_those_of_torchmetrics(torchmetrics):
    image, target = pair()
    other = torchmetrics.functional.image
    want = other.peak_signal_noise_ratio(image, target, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(metrics.psnr(image, target), want, rtol=1e-6, atol=0)  # it takes logarithms in float32
    _, whole = other.structural_similarity_index_measure(image, target, data_range=1.0, return_full_image=True)
    want = whole[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))  # the windows that lie inside the image
    torch.testing.assert_close(metrics.ssim(image, target), want, rtol=1e-10, atol=0)


# rounded, clamped for PSNR, clamped for SSIM, window: the table of conventions
CONVENTIONS = {
    "gkmnet": (True, True, False, "gaussian"),
    "nrknet": (True, True, False, "gaussian"),
    "dpdd": (False, False, False, "uniform"),
    "ifan": (False, True, True, "uniform"),
    "defocusgan": (False, False, False, "uniform"),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_protocols(name):
    rounded, clamp_psnr, clamp_ssim, window = CONVENTIONS[name]
    image, target = pair()
    a, b = image.numpy(), target.numpy()
    if rounded:
        a, b = np.round(255 * a), np.round(255 * b)
    peak = 255.0 if rounded else 1.0
    clipped = np.clip(a, 0, peak) if clamp_psnr else a
    found = metrics.protocol(name)(image, target)
    assert list(found) == ["psnr", "ssim", "mae"]
    mse = ((clipped - b) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found["psnr"].numpy(), 10 * np.log10(peak**2 / mse), rtol=1e-10)
    np.testing.assert_allclose(found["mae"].numpy(), np.abs(clipped - b).mean(axis=(1, 2, 3)) / peak, rtol=1e-10)
    seen = torch.from_numpy(np.clip(a, 0, peak) if clamp_ssim else a) / peak
    np.testing.assert_allclose(found["ssim"].numpy(), oracle(seen, torch.from_numpy(b) / peak, window), rtol=1e-8)


def test_protocols_differ_and_have_names():
    image, target = pair()
    found = {name: metrics.protocol(name)(image, target) for name in ("gkmnet", "dpdd", "ifan")}
    assert len({float(values["psnr"][0]) for values in found.values()}) == 3
    assert len({float(values["ssim"][0]) for values in found.values()}) == 3
    with pytest.raises(ValueError, match="'gkmnet', 'nrknet', 'dpdd', 'ifan', 'defocusgan', got 'kpac'"):
        metrics.protocol("kpac")
    settings = {name: (p.lpips_net, p.lpips_range, p.lpips_bgr, p.bits) for name, p in metrics.PROTOCOLS.items()}
    assert settings == {
        "gkmnet": ("alex", "unit", False, 8),
        "nrknet": ("alex", "symmetric", True, 8),
        "dpdd": ("alex", "symmetric", False, 16),
        "ifan": ("alex", "symmetric", False, 8),
        "defocusgan": ("squeeze", "symmetric", True, 16),
    }


# LPIPS with weights that mean nothing

WIDTHS = {"alex": (64, 192, 384, 256, 256), "squeeze": (64, 128, 256, 384, 384, 512, 512)}


def weights(net):
    made = (alexnet if net == "alex" else squeezenet)()[0]
    features = {}
    for i, (key, value) in enumerate(made.state_dict().items()):
        spread = (2 / value[0].numel()) ** 0.5 if value.ndim == 4 else 0.1
        features["features." + key] = spread * torch.randn(value.shape, generator=torch.manual_seed(i))
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1, generator=torch.manual_seed(50 + i))
        for i, n in enumerate(WIDTHS[net])
    }
    return features, linear


def plain_layers(net, f, x):
    """The layers LPIPS looks at, written out."""

    def conv(name, x, **options):
        return functional.conv2d(x, f[f"features.{name}.weight"], f[f"features.{name}.bias"], **options).relu()

    def fire(i, x):
        small = conv(f"{i}.squeeze", x)
        return torch.cat([conv(f"{i}.expand1x1", small), conv(f"{i}.expand3x3", small, padding=1)], dim=1)

    if net == "alex":
        one = conv(0, x, stride=4, padding=2)
        two = conv(3, functional.max_pool2d(one, 3, 2), padding=2)
        three = conv(6, functional.max_pool2d(two, 3, 2), padding=1)
        four = conv(8, three, padding=1)
        return [one, two, three, four, conv(10, four, padding=1)]
    found = [conv(0, x, stride=2)]
    for places in ((3, 4), (6, 7), (9,), (10,), (11,), (12,)):
        x = found[-1]
        if places[0] in (3, 6, 9):
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for place in places:
            x = fire(place, x)
        found.append(x)
    return found


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_is_its_formula(net):
    features, linear = weights(net)
    image, target = pair(70, 75, dtype=torch.float32)
    measure = metrics.lpips(net, features=features, linear=linear)

    def plain(a, b):
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        a, b = ((v - shift[:, None, None]) / scale[:, None, None] for v in (a, b))
        total = torch.zeros(a.shape[0])
        for i, (u, v) in enumerate(zip(plain_layers(net, features, a), plain_layers(net, features, b), strict=True)):
            u, v = (w / (w.norm(dim=1, keepdim=True) + 1e-10) for w in (u, v))
            total += ((u - v) ** 2 * linear[f"lin{i}.model.1.weight"]).sum(dim=1).mean(dim=(1, 2))
        return total

    with torch.no_grad():
        found = measure(image, target)
        assert found.shape == (2,) and float(found.min()) > 1e-4
        torch.testing.assert_close(found, plain(2 * image - 1, 2 * target - 1), rtol=1e-4, atol=1e-7)
        assert measure(target, target).tolist() == [0, 0]
        unit = metrics.lpips(net, "unit", features=features, linear=linear, bgr=True)
        want = plain(image.flip(1), target.flip(1))
        torch.testing.assert_close(unit(image, target), want, rtol=1e-4, atol=1e-7)
    assert not any(p.requires_grad for p in measure.parameters())


def test_lpips_from_files(tmp_path):
    from safetensors.torch import save_file

    features, linear = weights("squeeze")
    save_file(features | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "features.safetensors")
    torch.save(linear, tmp_path / "linear.pth")
    files = {"features": tmp_path / "features.safetensors", "linear": tmp_path / "linear.pth"}
    protocol = metrics.protocol("defocusgan")
    measure = protocol.lpips(**files)
    image, target = pair(64, 64, batch=1, dtype=torch.float32)
    with torch.no_grad():
        want = metrics.lpips("squeeze", features=features, linear=linear, bgr=True)(image, target)
        torch.testing.assert_close(measure(image, target), want)
    with pytest.raises(ValueError, match=r"'lin0.model.1.weight' of shape \(1, 64, 1, 1\), but it is missing"):
        metrics.lpips("squeeze", features=features, linear=features)
    with pytest.raises(ValueError, match="lin1.model.1.weight' >= 0"):
        negative = linear | {"lin1.model.1.weight": -linear["lin1.model.1.weight"]}
        metrics.lpips("squeeze", features=features, linear=negative)
    with pytest.raises(ValueError, match="'features.0.weight' of shape"):
        metrics.lpips("alex", features=features, linear=linear)
    with pytest.raises(ValueError, match="net to be one of 'alex', 'squeeze'"):
        metrics.lpips("vgg", features=features, linear=linear)


def test_classifier_sizes():
    def count(net: nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    with torch.device("meta"):
        assert count(alexnet()[0]) == 2_469_696 and count(squeezenet()[0]) == 722_496
