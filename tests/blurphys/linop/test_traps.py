"""The known traps of defocus code, one test each, named after the trap (numbers of the reference notes)."""

import math

import numpy as np
import pytest

import blurphys as bp
from blurphys.colour import linear_to_srgb, srgb_to_linear
from tests import oracles


def canon(**changes):
    options = {"focal_length_mm": 50.0, "f_number": 4.0, "focus_distance_m": 1.0, "pixel_pitch_um": 36000.0 / 768}
    return bp.ThinLens(**(options | changes))


def impulse(shape=(1, 21, 23), at=(10, 11)):
    x = np.zeros(shape)
    x[0, at[0], at[1]] = 1.0
    return x


def centroid(image, at=(10, 11)):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return float((image * (rows - at[0])).sum() / image.sum()), float((image * (columns - at[1])).sum() / image.sum())


def test_trap_01_correlation_for_convolution():
    """Centroid of the impulse response = centroid of the PSF; a correlation mirrors it."""
    psf = np.zeros((7, 9))
    psf[1, 7], psf[2, 8] = 0.75, 0.25
    _, (x, y), _ = oracles.moments(psf)
    maps = np.ones((1, 21, 23))
    bank = bp.PSFBank(psfs=np.stack([psf, psf]), radii=(-1.0, 1.0))
    per_pixel = np.broadcast_to(psf, (21, 23, 7, 9)).copy()
    for A in (
        bp.Convolution(psf, shape=(1, 21, 23)),
        bp.PSFStack(psf[None], weights=maps, channels=1),
        bp.PSFStack(psf[None], weights=maps, channels=1, form="scatter"),
        bp.PixelPSF(per_pixel, channels=1),
        bp.DefocusBlur(0.3 * maps[0], bank=bank, channels=1),
    ):
        assert np.allclose(centroid(A(impulse())[0]), (y, x), rtol=0, atol=1e-12), type(A).__name__
        assert np.allclose(centroid(A.adjoint(impulse())[0]), (-y, -x), rtol=0, atol=1e-12), type(A).__name__
    line = np.array([0.1, 0.2, 0.7])
    gamma = np.concatenate([0 * maps, maps])
    for stagewise in (False, True):
        A = bp.RKR(gamma, atoms=line[None], channels=1, stagewise=stagewise)
        assert np.allclose(centroid(A(impulse())[0]), (0.6, 0.6), rtol=0, atol=1e-12)


def test_trap_01_published_left_view_leans_left_under_true_convolution():
    psf = bp.psf.butterworth(5, view="left")
    assert centroid(bp.Convolution(psf, shape=(1, 21, 23))(impulse())[0])[1] == pytest.approx(-1.579, abs=1e-3)


def test_trap_02_diameter_used_as_radius():
    """defocus_map is the radius: its disk covers pi c^2 pixels, and the Canon board is at 4.68, not 9.36."""
    c = abs(float(canon().defocus_map(np.full((1, 1), 0.6))[0, 0]))
    assert c == pytest.approx(9.36 / 2, abs=0.01)
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=6.0, step=0.5)
    psf = bp.DefocusBlur(np.full((21, 23), 5.0), bank=bank, channels=1).psf_at(10, 11)
    assert 1.0 / psf.max() == pytest.approx(math.pi * 25.0, rel=0.03)


def test_trap_03_millimetres_and_metres():
    """Focal length in mm and depth in m must not meet unconverted: 50 mm f/4 at 1 m is pixels, not thousands."""
    c = canon().defocus_map(np.array([[0.6, 2.0, 10.0]]))
    assert np.all(np.abs(c) < 10.0)
    with pytest.raises(ValueError, match=r"focus"):
        canon(focus_distance_m=0.045)


def test_trap_05_integer_circle_of_confusion():
    """A ramp of depth gives a ramp of blur: neighbouring tenths of a pixel differ, and by similar amounts."""
    bank = bp.PSFBank(bp.Pupil.disk(split=0.5), max_radius=4.0, step=0.5)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1, 21, 23))
    radii = np.arange(2.0, 3.01, 0.1)
    y = [bp.DualPixel(np.full((21, 23), c), bank=bank, channels=1)(x) for c in radii]
    steps = [float(np.abs(b - a).mean()) for a, b in zip(y, y[1:], strict=False)]
    assert min(steps) > 0.3 * max(steps) > 0.0
    separation = []
    for c in radii:
        out = bp.DualPixel(np.full((21, 23), c), bank=bank, channels=1)(impulse())
        separation.append(centroid(out[1])[1] - centroid(out[0])[1])
    assert np.allclose(separation, 0.5 * radii, rtol=0.02)  # sub-pixel disparity is kept


def test_trap_06_in_focus_replaced_by_one_pixel_of_blur():
    """c = 0 is the identity in every view, without disparity."""
    bank = bp.PSFBank(bp.Pupil.disk(split=0.5), max_radius=3.0, step=0.5)
    x = np.random.default_rng(0).uniform(size=(2, 7, 8))
    y = bp.DualPixel(np.zeros((7, 8)), bank=bank, channels=2)(x)
    assert np.abs(y[:2] - x).max() <= 1e-12 and np.abs(y[2:] - x).max() <= 1e-12


def test_trap_07_blur_in_gamma_space():
    """The operators are linear and apply no tone curve; decode first, encode last, and the exact curve is at hand."""
    x = np.linspace(0.0, 1.0, 4001)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-12) ** (1.0 / 2.4) - 0.055)
    assert np.abs(linear_to_srgb(x) - encoded).max() <= 1e-14
    decoded = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    assert np.abs(srgb_to_linear(x) - decoded).max() <= 1e-14
    assert np.abs(srgb_to_linear(linear_to_srgb(x)) - x).max() <= 1e-6
    edge = np.zeros((1, 9, 10))
    edge[..., 5:] = 1.0
    A = bp.Convolution(bp.psf.disk(2.0), shape=(1, 9, 10))
    light = linear_to_srgb(A(srgb_to_linear(edge)))
    assert np.abs(light - A(edge)).max() > 0.15
    assert np.abs(A(3.0 * edge) - 3.0 * A(edge)).max() <= 1e-15  # highlights above one are not clipped


def test_trap_09_invalid_depth_treated_as_a_number():
    """0, inf and NaN never pass silently; an inf disparity is such a hole."""
    for hole in (0.0, np.inf, np.nan):
        depth = np.full((3, 4), 2.0)
        depth[1, 1] = hole
        with pytest.raises(ValueError, match=r"depth|invalid"):
            canon().defocus_map(depth)
        for policy in ("nearest", "far"):
            assert np.all(np.isfinite(canon().defocus_map(depth, invalid=policy)))
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=3.0, step=0.5)
    for bad in (np.nan, np.inf, 3.5, -3.5):
        c = np.zeros((4, 5))
        c[2, 2] = bad
        with pytest.raises(ValueError, match=r"radius|finite"):
            bp.DefocusBlur(c, bank=bank, channels=1)
        with pytest.raises(ValueError, match=r"radius|finite"):
            bp.DualPixel(c, bank=bank, channels=1)


def test_trap_10_gather_taken_for_scatter():
    """Two different operators where the kernels vary: one keeps constants, the other the energy."""
    rng = np.random.default_rng(2)
    psfs = rng.uniform(size=(2, 3, 3))
    psfs /= psfs.sum(axis=(1, 2), keepdims=True)
    w = rng.uniform(size=(1, 6, 7))
    weights = np.concatenate([w, 1.0 - w])
    gather = bp.PSFStack(psfs, weights=weights, channels=1, boundary="circular")
    scatter = bp.PSFStack(psfs, weights=weights, channels=1, boundary="circular", form="scatter")
    ones, x = np.ones((1, 6, 7)), rng.uniform(size=(1, 6, 7))
    assert np.allclose(gather(ones), 1.0, rtol=0, atol=1e-14) and np.abs(scatter(ones) - 1.0).max() > 1e-3
    assert scatter(x).sum() == pytest.approx(x.sum(), rel=1e-13)
    assert abs(gather(x).sum() - x.sum()) > 1e-4


@pytest.mark.parametrize("boundary", ("circular", "zero"))
def test_trap_10_scatter_is_the_transposed_gather_with_mirrored_kernels(boundary):
    rng = np.random.default_rng(3)
    psfs, weights = rng.uniform(size=(3, 3, 5)) / 8, rng.uniform(size=(3, 6, 7))
    scatter = bp.PSFStack(psfs, weights=weights, channels=2, boundary=boundary, form="scatter")
    mirrored = bp.PSFStack(psfs[:, ::-1, ::-1].copy(), weights=weights, channels=2, boundary=boundary)
    x = rng.normal(size=(2, 6, 7))
    assert np.abs(scatter(x) - mirrored.H(x)).max() <= 1e-13
    assert np.abs(scatter.H(x) - mirrored(x)).max() <= 1e-13


def test_trap_12_views_normalised_one_by_one():
    """The views share one scale: a leaning pupil keeps its ratio of light; the mean is always the combined view."""
    pupil = bp.Pupil.disk(split=0.4, cat_eye=(0.6, 0.0))
    c, left, right = (pupil.psf(5.0, view=v) for v in ("combined", "left", "right"))
    assert abs(left.sum() - right.sum()) > 0.05
    assert np.abs((left + right) / 2 - c).max() <= 4e-13


def test_trap_14_rotating_the_raster():
    """The mask turns, not the raster: sums, centroid distance and second moments stay for every angle."""
    reference = oracles.moments(bp.Pupil.disk(split=0.5).psf(6.0))[2]
    for angle in range(0, 360, 15):
        pupil = bp.Pupil.disk(split=0.5, angle=float(angle))
        total, (x, y), _ = oracles.moments(pupil.psf(6.0, view="left"))
        assert abs(total - 1.0) <= 1e-12
        assert math.hypot(x, y) == pytest.approx(0.25 * 6.0, rel=0.01)
        assert np.allclose(oracles.moments(pupil.psf(6.0))[2], reference, rtol=1e-12)


def test_trap_15_butterworth_exponent_and_rescale_over_the_square():
    """rho^(2n), and the corners of the square enter the affine rescale."""
    mine = bp.psf.butterworth(10, order=3, cutoff=0.8, floor=0.1)
    assert np.abs(mine - oracles.butterworth_filter(10, 3, 0.8, 0.1, "combined")).max() <= 1e-15
    halved = oracles.butterworth_filter(10, 1.5, 0.8, 0.1, "combined")
    assert np.abs(mine - halved).max() > 0.02 * mine.max()


def test_trap_16_flip_of_all_axes_for_a_mirror():
    """c -> -c turns by 180 degrees; on a pupil without up-down symmetry that is no left-right mirror."""
    pupil = bp.Pupil.polygon(3, split=0.4, angle=30.0, cat_eye=(0.1, 0.4))
    k = pupil.psf(6.0, view="left")
    turned = pupil.psf(-6.0, view="left")
    assert np.abs(turned - k[::-1, ::-1]).max() <= 4e-13
    assert np.abs(turned - k[:, ::-1]).max() > 0.1 * k.max()


def test_trap_18_radius_follows_the_output_scale():
    """Half the resolution is twice the pitch and half the radius."""
    depth = np.array([[0.6, 2.0, 5.0]])
    assert np.allclose(canon(pixel_pitch_um=2 * 46.875).defocus_map(depth), canon().defocus_map(depth) / 2, rtol=1e-12)


def test_trap_23_wrap_around_of_fourier_convolution():
    """Light at one edge must not appear at the other unless the boundary is circular."""
    x = np.zeros((1, 12, 13))
    x[:, :, 0] = 1.0
    psf = bp.psf.disk(3.0)
    for boundary in oracles.BOUNDARIES:
        far = bp.Convolution(psf, shape=(1, 12, 13), boundary=boundary)(x)[..., 6:]
        assert (far.max() > 0.01) == (boundary == "circular"), boundary
        if boundary != "circular":
            assert np.array_equal(far, np.zeros_like(far))


def test_trap_24_half_precision_accumulation():
    """A wide kernel in float32 stays within 1e-5 of float64, and half precision is refused or kept as accurate."""
    rng = np.random.default_rng(0)
    psf = rng.uniform(size=(41, 41))
    psf /= psf.sum()
    x = rng.uniform(size=(1, 48, 49))
    wide = bp.Convolution(psf, shape=(1, 48, 49))(x)
    narrow = bp.Convolution(psf.astype(np.float32), shape=(1, 48, 49))(x.astype(np.float32))
    assert np.abs(narrow - wide).max() <= 1e-5


def test_slips_with_operators_and_flat_vectors_are_named():
    A = bp.GKM(np.full((2, 8, 9), 0.5), sigmas=(0.0, 1.0), channels=1)
    for call in (lambda: A(np.ones(72)), lambda: A @ np.ones(72)):
        with pytest.raises(ValueError, match=r"x\.reshape\(\(1, 8, 9\)\).*as_scipy"):
            call()
    with pytest.raises(TypeError, match="A @ B is the product"):
        A(A)
    for factor in ("2", [2], b"2"):
        with pytest.raises(TypeError, match=r"A \* b: expected a real number"):
            A * factor
    with pytest.raises(ValueError, match="finite number"):
        A * 10**400
