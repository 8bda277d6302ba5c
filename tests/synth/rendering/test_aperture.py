"""Rendering by aperture sampling, and what the models reach against it."""

import numpy as np
import pytest

import blurphys as bp
from synth.rendering.aperture import pupil_points, render_by_aperture, sample_psf

HEIGHT, WIDTH = 120, 156


def psnr(x, y, border=18):
    error = (x - y)[..., border:-border, border:-border]
    return -10 * np.log10((error**2).mean())


def texture(seed, mean):
    """Photograph-like: the amplitude falls as one over the frequency."""
    rng = np.random.default_rng(seed)
    down, right = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    spectrum = np.fft.rfft2(rng.normal(size=(3, HEIGHT, WIDTH))) / np.maximum(np.hypot(down, right), 0.01)
    plane = np.fft.irfft2(spectrum, s=(HEIGHT, WIDTH))
    return mean + 0.1 * plane / plane.std()


def two_layers():
    """An ellipse and thin bars in front of a background."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    front = (((y - 60) / 30) ** 2 + ((x - 70) / 42) ** 2 < 1).astype(float)
    front[:, 24:28] = 1
    front[:, 128:130] = 1
    front[20:22] = 1
    return np.stack([texture(1, 0.6), texture(2, 0.35)]), np.stack([front, np.ones_like(front)])


def bank_of_samples(radii, pupil, view, samples):
    psfs = [sample_psf(r, pupil, view=view, samples=samples) for r in radii]
    size = max(len(p) for p in psfs)
    return bp.PSFBank(psfs={view: np.stack([np.pad(p, (size - len(p)) // 2) for p in psfs])}, radii=radii)


@pytest.mark.parametrize(
    ("front", "back", "view", "split", "least"),
    [
        (-8, 0, "combined", 0.0, 120),
        (0, 8, "combined", 0.0, 120),
        (0, 8, "left", 0.5, 120),
        (-8, 3, "combined", 0.0, 44),
        (-8, 8, "left", 0.5, 44),
        (-3, 10, "combined", 0.0, 44),
    ],
)
def test_layers_against_the_aperture(front, back, view, split, least):
    colours, alphas = two_layers()
    pupil, samples = bp.Pupil.disk(split=split), 300
    expected = render_by_aperture(colours, alphas, (front, back), pupil, view=view, samples=samples)
    bank = bank_of_samples(sorted({front, 0, back}), pupil, view, samples)
    A = bp.LayeredDefocus(alphas, radii=(front, back), bank=bank, per_layer=True, views=(view,), normalize=False)
    assert psnr(A(colours.reshape(6, HEIGHT, WIDTH)), expected) > least

    sharp = np.where(alphas[0] > 0, colours[0], colours[1])
    gather = bp.DualPixel(np.where(alphas[0] > 0, float(front), float(back)), bank=bank, views=(view,))
    assert psnr(gather(sharp), expected) < least - 8


@pytest.mark.parametrize("view", ["combined", "left", "right", "top_left", 30.0])
def test_the_samples_are_those_of_the_pupil(view):
    """Sum and centroid of the sampled PSF are those of the exact one."""
    pupil = bp.Pupil.disk(split=0.4)
    sampled, exact = sample_psf(6.0, pupil, view=view, samples=4000), pupil.psf(6.0, view)

    def moments(psf):
        line = np.arange(len(psf)) - len(psf) // 2
        return np.array([psf.sum(), (psf * line).sum(), (psf * line[:, None]).sum()])

    assert moments(sampled) == pytest.approx(moments(exact), abs=0.02)


def test_one_layer_is_a_convolution():
    pupil = bp.Pupil.disk(split=0.3)
    colours, _ = two_layers()
    found = render_by_aperture(colours[1:], np.ones((1, HEIGHT, WIDTH)), (4.3,), pupil, view="left", samples=200)
    psf = sample_psf(4.3, pupil, view="left", samples=200)
    assert np.allclose(found, bp.Convolution(psf, shape=(3, HEIGHT, WIDTH))(colours[1]), atol=1e-12)


def test_points_of_the_disk():
    points, weights = pupil_points(bp.Pupil.disk(split=0.5), "combined", 1000)
    assert weights.sum() == pytest.approx(1)
    assert np.hypot(*points.T).max() <= 1
    assert (weights[:, None] * points**2).sum(axis=0) == pytest.approx([0.25, 0.25], abs=2e-3)


def test_bad_input():
    colours, alphas = two_layers()
    with pytest.raises(ValueError, match="K radii"):
        render_by_aperture(colours, alphas, (1.0,), bp.Pupil.disk())
    with pytest.raises(ValueError, match="samples .* 1, got 0"):
        render_by_aperture(colours, alphas, (1.0, 2.0), bp.Pupil.disk(), samples=0)
