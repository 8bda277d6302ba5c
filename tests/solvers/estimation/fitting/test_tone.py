"""Tone curves that both photographs share, on rendered pairs and on a real one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.colour import srgb_to_linear
from solvers import estimation
from solvers.estimation.fitting.tone import LEAST_SLOPE, fit_curves, light, recorded
from tests.profiles import examples
from tests.solvers.estimation.fitting.test_fitting import texture

CURVES = ((-0.6, 0.4), (0.4, -0.2), (-0.4, 0.3))


@given(a=st.floats(-0.9, 0.9), b=st.floats(-0.5, 0.5), seed=st.integers(0, 2**32 - 1))
@examples(20)
def test_a_curve_that_rises_is_inverted(a, b, seed):
    s = np.linspace(-1, 1, 101)
    slope = float((1 + a * s + b * (1.5 * s * s - 0.5)).min())
    if slope < LEAST_SLOPE:
        a, b = a * (1 - LEAST_SLOPE) / (1 - slope), b * (1 - LEAST_SLOPE) / (1 - slope)
    values = np.sort(np.random.default_rng(seed).uniform(-0.5, 1.5, (1, 1, 200)))
    lit = light(values, ((a, b),))
    assert (np.diff(lit) >= 0).all()
    assert recorded(lit, ((a, b),)) == pytest.approx(values, abs=1e-5)
    ends = np.array([[[0.0, 1.0]]])
    assert light(ends, ((a, b),)) == pytest.approx(ends)


def pair(curves, *, noise=0.001):
    x = texture()
    y = recorded(bp.Convolution(bp.psf.disk(3.3), shape=x.shape, boundary="replicate")(light(x, curves)), curves)
    return x, y + noise * np.random.default_rng(0).standard_normal(y.shape)


def test_curves_are_found_with_the_registration():
    x, y = pair(CURVES)
    found = estimation.fit_radius(x, y, size=13, tone=True)
    values = np.broadcast_to(np.linspace(0.1, 0.9, 81), (3, 1, 81))
    wrong, plain = (light(values, curves) - light(values, CURVES) for curves in (found.registration.tone, ()))
    # a gain and an offset on both sides leave the picture as it is
    assert np.abs(wrong).max() < 0.2 * np.abs(plain).max()
    assert found.parameters["radius"] == pytest.approx(3.3, abs=0.03)
    assert found.heldout_psnr > estimation.fit_radius(x, y, size=13).heldout_psnr + 0.5
    assert found.heldout_psnr == pytest.approx(60, abs=0.5)  # the noise, in recorded values
    difference = (found.predict(x) - y)[:, 16:-16, 16:-16]
    assert -10 * np.log10(np.mean(difference**2)) == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize("noise", [0.001, 0.01])
@pytest.mark.parametrize("pupil", ["disk", "gaussian"])
def test_without_a_curve_none_is_found(noise, pupil):
    assert estimation.register(*pair((), noise=noise), tone=True, pupil=pupil).tone == ()


def test_compression_does_not_pass_for_a_fit():
    """An unrelated picture is not explained by a curve that makes all values alike."""
    x, y = texture(), pair(())[1][:, ::-1]
    curves = fit_curves(x, y, bp.psf.disk(3.3), np.eye(2, 3), np.ones(x.shape[1:]), np.ones(x.shape[1:], dtype=bool))
    slopes = np.diff(light(np.broadcast_to(np.linspace(0, 1, 101), (3, 1, 101)), curves or ((0, 0),) * 3)) * 100
    assert slopes.min() > LEAST_SLOPE - 1e-6
    registration = estimation.Registration(tone=curves)
    found = estimation.fit_radius(x, y, size=13, registration=registration)
    plain = estimation.fit_radius(x, y, size=13, registration=estimation.Registration())
    assert found.heldout_psnr < plain.heldout_psnr + 0.5


def test_bad_input():
    x, y = pair(())
    for call in (estimation.register, estimation.fit_radius):
        with pytest.raises(ValueError, match="0 to 1"):
            call(255 * x, 255 * y, tone=True)
    with pytest.raises(ValueError, match="3 colours, got 1"):
        estimation.fit_radius(x, y, registration=estimation.Registration(tone=((0.1, 0.0),)))


def test_the_canon_board(data):
    from PIL import Image

    def frame(name):
        folder = data / "canon_r6m2_flat_0600mm"
        views = [np.asarray(Image.open(folder / f"{name}_{side}.png")).transpose(2, 0, 1) / 255 for side in "lr"]
        whole = np.mean([srgb_to_linear(np.ascontiguousarray(view)) for view in views], axis=0)
        return whole[:, 160:352, 224:480]

    sharp, blurred = frame("f20"), frame("f4")
    plain = estimation.fit_radius(sharp, blurred, size=15)
    disk = estimation.fit_radius(sharp, blurred, size=15, tone=True)
    gaussian = estimation.fit_radius(sharp, blurred, pupil="gaussian", size=15, registration=disk.registration)
    assert disk.heldout_psnr > plain.heldout_psnr + 2 and disk.heldout_psnr > 40
    assert disk.heldout_psnr > gaussian.heldout_psnr + 0.5 > disk.identity_psnr + 10
    assert disk.parameters["radius"] == pytest.approx(4.1, abs=0.15)
