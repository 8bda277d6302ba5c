"""Optics of real lenses: colour, diffraction, cat eyes, curvature, shading, and banks from measured PSFs."""

from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.operators.field import FieldDefocus
from synth import optics
from tests.profiles import examples

PUPIL = bp.Pupil.disk(split=0.4)


def moments(psf):
    """Sum, centroid (x, y) and variance (x, y) about `h // 2, w // 2`."""
    total = psf.sum(axis=(-2, -1))
    found = [total]
    for power in (1, 2):
        for axis in (-1, -2):
            n = psf.shape[axis]
            line = psf.sum(axis=-2 if axis == -1 else -1) / total[..., None]
            place = np.arange(n) - n // 2
            mean = line @ place
            found.append(mean if power == 1 else line @ place**2 - mean**2)
    return found


# ---- colour --------------------------------------------------------------------------------------------------------


@given(
    scale=st.tuples(*[st.floats(0.8, 1.2)] * 3), shift=st.tuples(*[st.floats(-1.5, 1.5)] * 3), step=st.floats(0.6, 2)
)
@examples(3)
def test_each_colour_has_the_pupils_psf_of_its_own_radius(scale, shift, step):
    bank = optics.chromatic_bank(PUPIL, max_radius=3.0, step=step, scale=scale, shift_px=shift)
    assert np.diff(bank.radii).max() <= step + 1e-12 and bank.max_radius == 3.0
    assert set(bank.views) == {"left", "right", "combined"}
    for level, r in enumerate(bank.radii):
        for c in range(3):
            expected = PUPIL.psf(float(np.clip(r * scale[c] + shift[c], -3, 3)), "right")
            psf, pad = bank.psfs("right")[level, c], (bank.psfs("right").shape[-1] - len(expected)) // 2
            assert np.allclose(psf, np.pad(expected, pad), atol=1e-15)
    assert np.allclose(bank.psfs("combined"), (bank.psfs("left") + bank.psfs("right")) / 2)


def test_without_aberration_it_is_the_pupils_bank():
    bank, plain = optics.chromatic_bank(PUPIL, max_radius=3.0), bp.PSFBank(PUPIL, max_radius=3.0)
    assert bank.nodes == plain.nodes
    for view in ("left", "right", "combined"):
        assert np.allclose(bank.psfs(view), plain.psfs(view)[:, None], atol=1e-15)


def test_colours_focus_at_different_depths():
    """The focus shift of a thin lens, u_c for each colour, is what `shift_px` says it is."""
    bank = optics.chromatic_bank(bp.Pupil.disk(), max_radius=3.0, step=0.5, shift_px=(1.5, 0.0, -1.5))
    x = np.zeros((3, 31, 31))
    x[:, 15, 15] = 1
    for r, sharp in ((-1.5, 0), (0.0, 1), (1.5, 2)):
        y = bp.DefocusBlur(np.full((31, 31), r), bank=bank)(x)
        assert y[sharp, 15, 15] == 1 and np.delete(y[:, 15, 15], sharp).max() < 0.2
    lens = bp.ThinLens(focal_length_mm=50.0, f_number=2.0, focus_distance_m=2.0, pixel_pitch_um=20.0)
    red = bp.ThinLens(focal_length_mm=50.0, f_number=2.0, focus_distance_m=2.1, pixel_pitch_um=20.0)
    depth = np.array([[1.0, 2.0, 4.0, 9.0]])
    sensor = 1 / (1 / 0.05 - 1 / 2.0), 1 / (1 / 0.05 - 1 / 2.1)  # the same sensor must serve both: undo the refocusing
    gap = red.defocus_map(depth) * sensor[0] / sensor[1] - lens.defocus_map(depth)
    assert np.allclose(gap, lens.radius_at_infinity * (2.0 / 2.1 - 1))


# ---- diffraction ---------------------------------------------------------------------------------------------------


def test_the_sigma_is_that_of_the_airy_disk():
    from scipy.optimize import minimize_scalar
    from scipy.special import j1

    rho = np.linspace(1e-6, 1.22, 2000)  # out to the first dark ring, in lambda N
    airy = (2 * j1(np.pi * rho) / (np.pi * rho)) ** 2
    best = minimize_scalar(lambda s: ((np.exp(-(rho**2) / (2 * s * s)) - airy) ** 2).sum(), bounds=(0.2, 0.8)).x
    sigma = optics.diffraction_sigma(500, 8.0, 0.25, pixel_pitch_um=2.0)
    assert sigma == pytest.approx(best * 0.5 * 8 * 1.25 / 2, rel=0.03)


@pytest.mark.parametrize("sigma", [0.2, 0.7, (0.9, 0.6, 0.3)])
def test_softened_adds_the_gaussians_variance_and_keeps_sums_and_centroids(sigma):
    bank = bp.PSFBank(bp.Pupil.disk(cat_eye=(0.5, 0.1)), max_radius=3.0)
    soft = optics.softened(bank, sigma)
    assert soft.nodes == bank.nodes and set(soft.views) == {"left", "right", "combined"}
    for view in soft.views:
        before, after = moments(bank.psfs(view)), moments(soft.psfs(view))
        if isinstance(sigma, tuple):
            assert soft.psfs(view).shape[1] == 3
            before = [m[:, None] for m in before]
        for b, a in zip(before[:3], after[:3], strict=True):
            assert np.allclose(a, b, atol=1e-12)
        added = [moments(bp.psf.gaussian(s))[3] for s in np.atleast_1d(sigma)]
        for b, a in zip(before[3:], after[3:], strict=True):
            assert np.allclose(a - b, added, atol=1e-10)
        assert soft.psfs(view).min() >= 0
    assert soft.psfs()[len(bank.nodes) // 2].max() < 0.999  # in focus, too, it is never a single pixel


def test_softened_views_and_zero():
    bank = bp.PSFBank(PUPIL, max_radius=2.0)
    assert np.array_equal(optics.softened(bank, 0.0).psfs("left"), bank.psfs("left"))
    assert optics.softened(bank, 0.4, views=("top", "bottom")).views == ("top", "bottom")
    y = bp.DualPixel(np.zeros((20, 20)), bank=optics.softened(bank, 0.4))(np.ones((3, 20, 20)))
    assert np.allclose(y, 1)


# ---- field ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.9, -0.9])
def test_cat_eyes_point_to_the_centre(strength):
    banks = optics.cat_eye_banks(
        partial(bp.Pupil.disk, split=0.4), rows=3, cols=3, strength=strength, max_radius=6.0, step=3.0, aspect=2.0
    )
    assert [len(row) for row in banks] == [3, 3, 3]
    area = np.array([[np.count_nonzero(bank.psfs()[-1] > 1e-6) for bank in row] for row in banks])
    assert area[1, 1] == area.max() and area[0, 0] == area.min()
    assert np.array_equal(area, area[::-1]) and np.array_equal(area, area[:, ::-1])
    for i, y in enumerate((-1, 0, 1)):
        for j, x in enumerate((-1, 0, 1)):
            total, mx, my, *_ = moments(banks[i][j].psfs()[-1])
            assert total == pytest.approx(1)
            assert abs(mx * y - my * x * 2) < 0.02  # along the radius, the frame twice as wide as high
            assert (mx * 2 * x + my * y) * strength > 0 or (x == y == 0 and abs(mx) + abs(my) < 1e-12)
            front = moments(banks[i][j].psfs()[0])
            assert np.allclose(front[1:3], (-mx, -my))
            views = banks[i][j].psfs("left") + banks[i][j].psfs("right")
            assert np.allclose(views / 2, banks[i][j].psfs())
    A = FieldDefocus(np.full((40, 80), 5.0), banks=banks)
    assert np.allclose(A(np.ones((3, 40, 80))), 1)


def test_cat_eyes_where_the_nodes_lie():
    options = {"rows": 2, "cols": 2, "strength": 1.0, "max_radius": 1.0, "aspect": 1.0}
    corners, centres = (optics.cat_eye_banks(**options, nodes=nodes) for nodes in ("corners", "centres"))
    assert corners[0][1].pupil.parameters["cat_eye"] == pytest.approx((0.5**0.5, -(0.5**0.5)))
    assert centres[0][1].pupil.parameters["cat_eye"] == pytest.approx((0.5**1.5, -(0.5**1.5)))
    ((one,),) = optics.cat_eye_banks(**(options | {"rows": 1, "cols": 1}))
    assert one.pupil.parameters["cat_eye"] == (0, 0)


@given(height=st.integers(1, 9), width=st.integers(2, 9), corner=st.floats(-3, 3))
@examples(20)
def test_curvature_is_quadratic_in_the_image_radius(height, width, corner):
    defocus = np.linspace(-1, 1, height * width, dtype=np.float32).reshape(height, width)
    bent = optics.field_curvature(defocus, radius_px_at_corner=corner)
    assert bent.dtype == np.float32
    y, x = np.mgrid[:height, :width]
    rho2 = ((2 * y - height + 1) ** 2 + (2 * x - width + 1) ** 2) / ((height - 1) ** 2 + (width - 1) ** 2)
    assert np.allclose(bent - defocus, corner * rho2, atol=1e-6)


def test_vignetting_is_the_fourth_power_of_the_cosine():
    gain = optics.vignetting((31, 41), corner=0.38)
    assert gain.dtype == np.float32 and gain[15, 20] == 1
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert gain[corner] == pytest.approx(0.38)
    tangent = np.sqrt(0.38**-0.5 - 1) * np.hypot(*np.mgrid[-15:16, -20:21]) / 25
    assert np.allclose(gain, np.cos(np.arctan(tangent)) ** 4)
    assert np.all(optics.vignetting((5, 4), corner=1.0) == 1)
    assert optics.vignetting((1, 1), corner=0.5).tolist() == [[1]]


@given(left=st.floats(0.5, 2), right=st.floats(0.5, 2), width=st.integers(2, 50))
@examples(20)
def test_shading_keeps_the_mean_and_has_the_ratios(left, right, width):
    gains = optics.view_shading((3, width), ratio_left=left, ratio_right=right)
    assert np.allclose((gains["left"] + gains["right"]) / 2, 1)
    ratio = gains["left"] / gains["right"]
    assert np.allclose(ratio[:, 0], left) and np.allclose(ratio[:, -1], right)
    assert np.all(np.diff(ratio, axis=1) * np.sign(right - left) >= -1e-5)


# ---- measured ------------------------------------------------------------------------------------------------------


def lopsided(rng, rows=1, cols=1, n=9):
    """PSFs of both views with nothing in common, with light on all pixels."""
    return rng.random((2, rows, cols, n, n)) + 0.1


@pytest.mark.parametrize("n", [9, 8])
def test_measured_banks_give_back_what_was_measured(rng, n):
    left, right = lopsided(rng, 2, 3, n)
    radius = rng.uniform(2, 3, (2, 3))
    radius[1, 2] = 2.5
    banks = optics.measured_banks(left, right, radius_px=radius, max_radius=5.0, step=2.5)
    bank = banks[1][2]
    assert bank.nodes == (-5, -2.5, 0, 2.5, 5)
    for view, psf in (("left", left[1, 2]), ("right", right[1, 2])):
        levels = bank.psfs(view)
        assert np.allclose(levels.sum(axis=(1, 2)), 1)
        centre = levels.shape[-1] // 2
        start = centre - n // 2
        assert np.allclose(levels[3][start : start + n, start : start + n], psf / psf.sum(), atol=1e-15)
        assert np.array_equal(levels[1], levels[3][::-1, ::-1])  # the pupil upside down
        assert levels[2, centre, centre] == 1
    assert np.allclose(bank.psfs(), (bank.psfs("left") + bank.psfs("right")) / 2)


@given(seed=st.integers(0, 999), scale=st.floats(0.5, 2.5))
@example(seed=0, scale=0.7109375)
@examples(10)
def test_measured_banks_scale_centroid_and_width(seed, scale):
    """The pixels' own boxes come on top, the scaled ones of the measurement and those of the result: never narrower."""
    fine = np.random.default_rng(seed).random((21, 21))
    levels = optics.measured_banks(fine[None, None], fine[None, None], radius_px=2.0, max_radius=2 * scale, step=9.0)
    _, mx, my, vx, vy = moments(fine)
    _, nx, ny, wx, wy = moments(levels[0][0].psfs("left")[-1])
    assert nx == pytest.approx(scale * mx, abs=1e-9) and ny == pytest.approx(scale * my, abs=1e-9)
    for wide, narrow in ((wx, vx), (wy, vy)):
        boxes = wide - scale**2 * narrow
        assert -1e-9 < boxes < (scale**2 + 3) / 12


def test_a_measured_pupil_and_its_measured_bank_agree():
    """What a pupil makes at one radius, taken as a measurement, predicts what it makes at others; the sign too."""
    left, right = (PUPIL.psf(12.0, view)[None, None] for view in ("left", "right"))
    ((bank,),) = optics.measured_banks(left, right, radius_px=12.0, max_radius=6.0, step=3.0)
    for level, r in enumerate(bank.radii):
        for view in ("left", "right"):
            found, expected = moments(bank.psfs(view)[level]), moments(PUPIL.psf(float(r), view))
            assert np.allclose(found, expected, atol=0.15)


def test_the_noise_floor_is_cut():
    psf = np.full((1, 1, 21, 21), 1e-4)
    psf[..., 8:13, 8:13] = 1
    psf[..., 20, 3] = 0.5  # a hot pixel
    ((bank,),) = optics.measured_banks(psf, psf, radius_px=2.5, max_radius=2.5, step=2.5, cut=1e-3)
    assert bank.psfs("left").shape == (3, 5, 5)


@pytest.fixture(scope="module")
def pixel4(data):
    folder = data / "pixel4_dp"
    if not folder.is_dir():
        pytest.skip("pixel4_dp is missing from ../shared/data")
    return folder


def test_pixel4_grid(pixel4):
    left, right = (np.load(pixel4 / f"blur_kernels_{v}.npy").reshape(6, 8, 61, 61) for v in ("left", "right"))
    left, right = left[1:5:3, ::7], right[1:5:3, ::7]
    banks = optics.measured_banks(left, right, radius_px=11.0, max_radius=11.0, step=5.5)
    for row in banks:
        for bank in row:
            gaps = []
            for level in range(5):
                (sl, xl, *_), (sr, xr, *_) = (moments(bank.psfs(view)[level]) for view in ("left", "right"))
                assert sl == pytest.approx(1) and sr == pytest.approx(1)
                gaps.append(xr - xl)
            assert 4.9 < gaps[4] < 5.6
            assert gaps[3] == pytest.approx(gaps[4] / 2, rel=0.01)
            assert gaps[2] == pytest.approx(0, abs=1e-12)
            assert gaps[:2] == pytest.approx([-gaps[4], -gaps[3]])
    A = FieldDefocus(np.full((80, 100), 8.0), banks=banks, views=("left", "right"), nodes="centres", channels=1)
    assert np.allclose(A.validate()(np.ones((1, 80, 100))), 1)


def test_pixel4_shading(pixel4):
    """The ratio of the white sheets goes from border to border as `view_shading` says, within a few percent."""
    sheet = np.load(pixel4 / "white_sheet_div8.npz")
    left, right = sheet["left"].astype(float), sheet["right"].astype(float)
    ratio = left / right
    gains = optics.view_shading(
        ratio.shape, ratio_left=float(ratio[:, :4].mean()), ratio_right=float(ratio[:, -4:].mean())
    )
    assert np.abs(gains["left"] / gains["right"] / ratio - 1).mean() < 0.03
    corrected = np.mean(right * gains["left"] / gains["right"] / left)
    assert corrected == pytest.approx(1, abs=0.03)


def test_summilux_as_pupil_and_as_bank(data):
    path = data / "lens_psf_summilux35" / "psf.npz"
    if not path.is_file():
        pytest.skip("lens_psf_summilux35 is missing from ../shared/data")
    with np.load(path) as archive:
        psfs = np.stack([archive[name] for name in ("f1", "f2", "f3")])[None]
    # From the axis to the edge of the frame; a disk of 36 samples has the deviation of the axial PSF.
    banks = optics.measured_banks(psfs, psfs, radius_px=36.0, max_radius=6.0, step=3.0, cut=1e-3)
    width, height = (np.sqrt([moments(bank.psfs()[-1])[k] for bank in banks[0]]) for k in (3, 4))
    assert height[0] == pytest.approx(3.0, abs=0.3) and height[0] == pytest.approx(width[0], abs=0.1)
    assert np.all(np.diff(height) < 0) and np.all(height[1:] < width[1:])  # cat eyes: thinner along the radius
    A = FieldDefocus(np.full((40, 60), 5.0), banks=banks)
    assert np.allclose(A(np.ones((3, 40, 60))), 1)
    pupil = bp.Pupil.measured(psfs[0, 2], extent=64 / 36, split=0.3)
    _, mx, my, vx, vy = moments(pupil.psf(6.0))
    assert np.sqrt([vx, vy]) == pytest.approx([width[2], height[2]], abs=0.15)
    assert moments(pupil.psf(6.0, "right"))[1] > moments(pupil.psf(6.0, "left"))[1]


def test_a_measured_focal_stack(data):
    path = data / "measured_3d_psf" / "psf.npz"
    if not path.is_file():
        pytest.skip("measured_3d_psf is missing from ../shared/data")
    with np.load(path) as archive:
        stack = archive["psf"]
    peak = int(stack.max(axis=(1, 2)).argmax())
    bank = optics.stack_bank(stack, radii=[(z - peak) * 0.5 for z in range(len(stack))], background=142)
    A = bp.DefocusBlur(np.linspace(-6, 6, 70 * 80).reshape(70, 80), bank=bank, channels=1).validate()
    assert np.allclose(A(np.ones(A.in_shape)), 1)
    concentration = (bank.psfs() ** 2).sum(axis=(1, 2))
    assert abs(int(concentration.argmax()) - peak) <= 1
    assert concentration[peak] > 5 * max(concentration[peak - 10], concentration[peak + 10])
    assert np.allclose(optics.softened(bank, 0.5).psfs().sum(axis=(1, 2)), 1)


# ---- bad input -----------------------------------------------------------------------------------------------------

ONES = np.ones((1, 1, 3, 3))
MEASURED = {"radius_px": 2.0, "max_radius": 3.0}
EYES = {"rows": 2, "cols": 2, "strength": 0.5, "max_radius": 2.0}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: optics.chromatic_bank(PUPIL, max_radius=3, scale=(1, 1)), "one scale and one shift_px"),
        (lambda: optics.chromatic_bank(PUPIL, max_radius=3, scale=(), shift_px=()), "each colour"),
        (lambda: optics.chromatic_bank(PUPIL, max_radius=3, scale=(1, 0, 1)), "scale .*> 0 .*, got 0"),
        (lambda: optics.chromatic_bank(PUPIL, max_radius=3, shift_px=(0, np.nan, 0)), "shift_px .*, got nan"),
        (lambda: optics.chromatic_bank(PUPIL, max_radius=0), "max_radius .*> 0"),
        (lambda: optics.chromatic_bank(PUPIL, max_radius=3, step=-1), "step .*> 0"),
        (lambda: optics.diffraction_sigma(0, 8, pixel_pitch_um=2), "wavelength_nm .*> 0, got 0"),
        (lambda: optics.diffraction_sigma(0.55, 8, pixel_pitch_um=2), "is it um"),
        (lambda: optics.diffraction_sigma(550, -8, pixel_pitch_um=2), "f_number .*> 0, got -8"),
        (lambda: optics.diffraction_sigma(550, 8, -1, pixel_pitch_um=2), "magnification .*>= 0, got -1"),
        (lambda: optics.diffraction_sigma(550, 8, pixel_pitch_um=np.inf), "pixel_pitch_um .*> 0, got inf"),
        (lambda: optics.softened(bp.PSFBank(PUPIL, max_radius=1), -1), "sigma_px .*>= 0, got -1"),
        (lambda: optics.softened(bp.PSFBank(PUPIL, max_radius=1), ()), r"sigma_px .*, got \(\)"),
        (lambda: optics.softened(optics.chromatic_bank(PUPIL, max_radius=1), (1, 1)), "3 colours, got 2"),
        (lambda: optics.softened(optics.chromatic_bank(PUPIL, max_radius=1), 1, views=("up",)), "view among"),
        (lambda: optics.cat_eye_banks(**(EYES | {"rows": 0})), "rows .*>= 1, got 0"),
        (lambda: optics.cat_eye_banks(**EYES, nodes="edges"), "nodes"),
        (lambda: optics.cat_eye_banks(**(EYES | {"strength": 2.5})), "strength"),
        (lambda: optics.cat_eye_banks(**EYES, aspect=0), "aspect .*> 0 .*, got 0"),
        (lambda: optics.field_curvature(np.zeros(4), radius_px_at_corner=1), "floating radii"),
        (lambda: optics.field_curvature(np.zeros((4, 4), int), radius_px_at_corner=1), "floating radii"),
        (lambda: optics.field_curvature(np.zeros((4, 4)), radius_px_at_corner=np.nan), "radius_px_at_corner"),
        (lambda: optics.vignetting((4, 4), corner=38), "is it in percent"),
        (lambda: optics.vignetting((4, 4), corner=0), "corner"),
        (lambda: optics.vignetting((4, 4), corner=0.5, order=0), "order .*> 0, got 0"),
        (lambda: optics.vignetting((4,), corner=0.5), "shape"),
        (lambda: optics.view_shading((0, 4), ratio_left=1, ratio_right=1), "shape"),
        (lambda: optics.view_shading((4, 4), ratio_left=0, ratio_right=1), "ratio_left .*> 0 .*, got 0"),
        (lambda: optics.view_shading((4, 4), ratio_left=1, ratio_right=np.inf), "ratio_right .*> 0 .*, got inf"),
        (lambda: optics.measured_banks(ONES[0], ONES[0], **MEASURED), "rows, cols, h, w"),
        (lambda: optics.measured_banks(ONES, ONES[..., 1:], **MEASURED), "both views"),
        (lambda: optics.measured_banks(ONES, -ONES, **MEASURED), "not negative"),
        (lambda: optics.measured_banks(ONES, 0 * ONES, **MEASURED), "light in every PSF"),
        (lambda: optics.measured_banks(ONES, np.nan * ONES, **MEASURED), "finite"),
        (lambda: optics.measured_banks(ONES, ONES, **(MEASURED | {"radius_px": -2.0})), "180 degrees"),
        (lambda: optics.measured_banks(ONES, ONES, **(MEASURED | {"radius_px": np.ones((2, 2))})), "1 x 1 places"),
        (lambda: optics.measured_banks(ONES, ONES, **MEASURED, cut=1.0), "cut"),
        (lambda: optics.stack_bank(np.ones((3, 3)), radii=(0, 1)), "PSFs"),
        (lambda: optics.stack_bank(ONES, radii=(0, 1)), r"\(L, h, w\)"),
        (lambda: optics.stack_bank(ONES[0], radii=(0, 1)), "one radius for each"),
        (lambda: optics.stack_bank(np.ones((2, 3, 3)), radii=(0, 1), background=2), "is background=2 right"),
        (lambda: optics.stack_bank(np.ones((2, 3, 3)), radii=(0, 1), background=np.nan), "background .*, got nan"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_tensors_are_not_softened():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="got tensors"):
        optics.softened(bp.PSFBank(psfs=strict.ones((2, 1, 1)), radii=(-1.0, 1.0)), 0.5)
