"""Fits to rendered pairs, whose blur and registration are known."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import blurphys as bp
from solvers import estimation
from solvers.estimation.fitting.families import anisotropic, concentric, recursive
from solvers.estimation.fitting.geometry import warp
from solvers.estimation.fitting.inputs import checked_pair
from solvers.estimation.fitting.pair import checkerboard

SIZE = 13
NOISE = 0.002
ROWS, COLS = 112, 128
GIVEN = {"size": SIZE, "registration": estimation.Registration()}
"""Where the registration is not what is tested."""


@cache
def texture(rows=ROWS, cols=COLS, seed=0):
    rng = np.random.default_rng(seed)
    image = gaussian_filter(rng.random((3, rows, cols)), (0, 0.7, 0.7)) + gaussian_filter(
        8 * rng.random((3, rows, cols)), (0, 6, 6)
    )
    low, high = image.min(), image.max()
    return 0.1 + 0.8 * (image - low) / (high - low)


def seen(x, psf, *, gain=1.0, offset=0.0, noise=NOISE, seed=1):
    y = gain * bp.Convolution(psf, shape=x.shape, boundary="replicate")(x) + offset
    return y + noise * np.random.default_rng(seed).standard_normal(y.shape)


@cache
def of_a_disk():
    return seen(texture(), bp.psf.disk(3.3))


def test_the_registration_is_found_through_the_blur():
    x = texture()
    truth = estimation.Registration(
        shift=(1.3, -0.7), scale=1.004, rotation=0.2, gain=(0.8, 0.9, 1.1), offset=(0.05, 0.0, -0.02)
    )
    y = truth.apply(bp.Convolution(bp.psf.disk(3.3), shape=x.shape, boundary="replicate")(x))
    found = estimation.register(x, y + NOISE * np.random.default_rng(0).standard_normal(y.shape))
    assert found.shift == pytest.approx(truth.shift, abs=0.01)
    assert found.scale == pytest.approx(truth.scale, abs=1e-4)
    assert found.rotation == pytest.approx(truth.rotation, abs=0.02)
    assert found.gain == pytest.approx(truth.gain, abs=0.01)
    assert found.offset == pytest.approx(truth.offset, abs=0.01)
    assert found.radius == pytest.approx(3.3, abs=0.05)


def test_undo_inverts_apply():
    x = gaussian_filter(texture(), (0, 2, 2))
    registration = estimation.Registration(shift=(2.0, -1.5), scale=1.01, rotation=1.0, gain=(2.0, 1.0, 0.5))
    again = registration.undo(registration.apply(x))
    assert np.abs(again - x)[:, 8:-8, 8:-8].max() < 2e-3


def test_rotation_turns_from_right_to_down():
    image = np.zeros((1, 65, 65))
    image[0, 32, 52] = 1
    moved = warp(image, estimation.Registration(rotation=90.0).matrix)
    assert np.unravel_index(moved[0].argmax(), (65, 65)) == (52, 32)


@pytest.mark.parametrize(("pupil", "radius"), [("disk", 3.3), ("gaussian", 3.0)])
def test_the_radius(pupil, radius):
    shape = bp.Pupil.disk() if pupil == "disk" else estimation.fitting.inputs.gaussian_pupil()
    given = {"size": SIZE} if pupil == "disk" else GIVEN
    found = estimation.fit_radius(texture(), seen(texture(), shape.psf(radius)), pupil=pupil, **given)
    assert found.parameters["radius"] == pytest.approx(radius, abs=0.03)
    assert found.heldout_psnr == pytest.approx(-20 * np.log10(NOISE), abs=0.6)  # nothing but the noise is left
    assert found.heldout_psnr > found.identity_psnr + 5
    assert bp.check(found.operator).passed


def test_a_radius_that_varies():
    x = texture()
    c = 3.0 + np.linspace(-1, 1, COLS) * np.ones((ROWS, 1))
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=5.0, step=0.25)
    y = bp.DefocusBlur(c, bank=bank, boundary="replicate")(x)
    y = y + NOISE * np.random.default_rng(0).standard_normal(y.shape)
    constant = estimation.fit_radius(x, y, **GIVEN)
    for model in ("affine", "free"):
        found = estimation.fit_radius(x, y, model=model, **GIVEN)
        assert np.abs(found.parameters["defocus_map"] - c).mean() < 0.15
        assert found.heldout_psnr > constant.heldout_psnr + 1
        assert bp.check(found.operator).passed


def test_a_free_kernel():
    psf = np.zeros((SIZE, SIZE))
    psf[3:10, 4:9] = np.arange(1, 8)[:, None]
    psf = bp.psf.center(psf / psf.sum(), SIZE)
    found = estimation.fit_psf_bank(texture(), seen(texture(), psf), **GIVEN)
    assert np.linalg.norm(found.parameters["psf"] - psf) < 0.15 * np.linalg.norm(psf)
    assert bp.check(found.operator).passed


def test_shift_gain_and_offset_end_in_the_registration():
    x = texture()
    psf = bp.psf.disk(2.6)
    plain = estimation.fit_psf_bank(x, seen(x, psf), size=SIZE)
    y = np.roll(seen(x, psf), (2, -1), axis=(1, 2))
    moved = estimation.fit_psf_bank(x, 0.7 * y + 0.1, size=SIZE)
    difference = moved.parameters["psf"] - plain.parameters["psf"]
    assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(plain.parameters["psf"])
    assert moved.registration.shift == pytest.approx(np.array(plain.registration.shift) + (2, -1), abs=0.05)
    assert moved.registration.gain == pytest.approx(0.7 * np.array(plain.registration.gain), abs=0.01)
    line = np.arange(SIZE) - SIZE // 2
    assert abs(moved.parameters["psf"].sum(axis=1) @ line) < 0.03


def test_gkm():
    psf = np.einsum("k,kij->ij", [0.4, 0.6], concentric([0.8, 2.0], SIZE))
    found = estimation.fit_gkm(texture(), seen(texture(), psf), K=2, **GIVEN)
    assert found.parameters["sigmas"] == pytest.approx((0.8, 2.0), abs=0.1)
    assert found.parameters["beta"] == pytest.approx((0.4, 0.6), abs=0.06)
    assert bp.check(found.operator).passed
    assert np.asarray(found.operator.psf_at(50, 60)) == pytest.approx(psf, abs=0.01)


def test_maps_of_gkm():
    x = texture()
    share = np.clip(0.5 + 0.4 * np.linspace(-1, 1, COLS), 0, 1) * np.ones((ROWS, 1))
    y = bp.GKM(np.stack([share, 1 - share]), sigmas=(1.0, 2.2), supports=(SIZE, SIZE), boundary="replicate")(x)
    y = y + NOISE * np.random.default_rng(0).standard_normal(y.shape)
    constant = estimation.fit_gkm(x, y, sigmas=(1.0, 2.2), **GIVEN)
    for model in ("affine", "free"):
        found = estimation.fit_gkm(x, y, sigmas=(1.0, 2.2), model=model, **GIVEN)
        assert np.abs(np.asarray(found.operator.beta)[0] - share).mean() < 0.06
        assert found.heldout_psnr > constant.heldout_psnr + 1
        assert bp.check(found.operator).passed


@pytest.mark.parametrize(("fit", "options"), [("fit_rkr", {"J": 4}), ("fit_mixture", {"K": 2})])
@pytest.mark.parametrize("model", ["affine", "free"])
def test_operators_with_maps_have_their_adjoints(fit, options, model):
    x = texture(64, 80)
    found = getattr(estimation, fit)(
        x, seen(x, bp.psf.disk(1.8)), model=model, size=7, registration=estimation.Registration(), **options
    )
    assert bp.check(found.operator).passed
    assert found.heldout_psnr > found.identity_psnr + 3


def test_rkr():
    atoms = np.array([[0.2, 0.6, 0.2], [0.3, 0.4, 0.3], [0.25, 0.5, 0.25]])
    psf = np.einsum("k,kij->ij", [0.1, 0.2, 0.1, 0.6], recursive(atoms))
    found = estimation.fit_rkr(texture(), seen(texture(), psf), J=4, **GIVEN)
    assert np.asarray(found.operator.psf_at(50, 60)) == pytest.approx(psf, abs=0.015)
    assert bp.check(found.operator).passed


def test_mixture():
    truth = np.array([[0.0, 0.0, 2.2, 1.0, 0.5]])
    found = estimation.fit_mixture(texture(), seen(texture(), anisotropic(truth, SIZE)[0]), K=1, **GIVEN)
    assert found.parameters["sigmas"][0] == pytest.approx((2.2, 1.0), abs=0.1)
    assert found.parameters["angles"][0] == pytest.approx(np.degrees(0.5), abs=3)
    assert bp.check(found.operator).passed


def test_what_is_held_out_is_not_looked_at():
    """Another picture in the held-out blocks changes the score but not the fit."""
    x, y = texture(), of_a_disk()
    given = GIVEN | {"block": 40}
    before = estimation.fit_psf_bank(x, y, **given)
    train, held, _ = checkerboard((ROWS, COLS), 40, guard=SIZE)
    spoiled = y.copy()
    spoiled[:, ~train] = np.clip(
        y[:, ~train] + 0.1 * np.random.default_rng(5).standard_normal((3, (~train).sum())), 0, 0.9
    )
    after = estimation.fit_psf_bank(x, spoiled, **given)
    difference = np.linalg.norm(after.parameters["psf"] - before.parameters["psf"])
    assert difference < 0.02 * np.linalg.norm(before.parameters["psf"])
    assert after.heldout_psnr < before.heldout_psnr - 10
    assert after.train_psnr == pytest.approx(before.train_psnr, abs=0.5)
    assert not (train & held).any()


def test_a_fit_to_noise_scores_higher_on_what_it_was_fitted_to():
    x = texture(96, 128)
    y = seen(x, bp.psf.disk(2.0), noise=0.05)
    found = estimation.fit_psf_bank(x, y, size=9, registration=estimation.Registration())
    assert found.heldout_psnr < 26.5 and found.train_psnr > found.heldout_psnr - 1
    assert repr(found).index("held out") < repr(found).index("trained")


def test_a_fit_to_an_unrelated_picture_predicts_nothing():
    """The 169 taps of a kernel do not foretell a picture that has nothing to do with the sharp one."""
    x, y = texture(), seen(texture(seed=3), bp.psf.disk(3.3))
    for nonnegative in (True, False):
        found = estimation.fit_psf_bank(x, y, nonnegative=nonnegative, shading=False, **GIVEN)
        middle = -10 * np.log10(np.mean((y - y.mean(axis=(1, 2), keepdims=True)) ** 2))
        assert found.heldout_psnr < middle + 1
        assert found.train_psnr > found.heldout_psnr - 1


def test_a_second_pair_is_held_out():
    x, other = texture(), texture(seed=7)
    found = estimation.fit_psf_bank(x, of_a_disk(), heldout=(other, seen(other, bp.psf.disk(3.3), seed=9)), **GIVEN)
    assert found.heldout_psnr == pytest.approx(-20 * np.log10(NOISE), abs=1.0)


def test_the_operator_is_of_the_kind_of_the_photograph():
    torch = pytest.importorskip("torch")
    x, y = (torch.as_tensor(image, dtype=torch.float32) for image in (texture(), of_a_disk()))
    found = estimation.fit_radius(x, y, **GIVEN)
    assert found.operator(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x, y[:, 1:]), "shape"),
        (lambda x, y: (y, x), "swapped"),
        (lambda x, y: (0 * x + 0.5, y), "constant"),
        (lambda x, y: (x * np.nan, y), "finite"),
        (lambda x, y: (x[:, :20, :20], y[:, :20, :20]), "20 x 20"),
    ],
)
def test_bad_pairs(change, words):
    with pytest.raises(ValueError, match=words):
        checked_pair("fit", *change(texture(), of_a_disk()))


def test_more_unknowns_than_numbers_are_refused():
    from solvers.estimation.fitting.fit import refuse_underdetermined

    with pytest.raises(ValueError, match="allow_underdetermined"):
        refuse_underdetermined("fit", 11, 10, allowed=False)
    refuse_underdetermined("fit", 11, 10, allowed=True)


def test_kernels_that_do_not_fit_the_frame():
    with pytest.raises(ValueError, match="too wide"):
        estimation.fit_psf_bank(texture(), of_a_disk(), size=61)


@pytest.mark.parametrize("model", ["gaussians", "gkm", "rkr", "rkr-free", "mixture"])
def test_the_operator_of_an_approximation_has_its_psf(model):
    psf = np.zeros((13, 15))
    psf[3:9, 4:12] = np.arange(1, 7)[:, None]
    found = estimation.approximate(psf, model=model, K=3)
    A = found.operator((1, 40, 44))
    n = len(found.psf)
    there = np.asarray(A.psf_at(20, 22)).reshape(-1, *np.asarray(A.psf_at(20, 22)).shape[-2:])[0]
    edge = (there.shape[0] - n) // 2
    inner = there[edge : edge + n, edge : edge + n] if edge >= 0 else np.pad(there, -edge)
    assert inner == pytest.approx(found.psf, abs=1e-10)
    assert found.error == pytest.approx(np.linalg.norm(found.psf - found.target) / np.linalg.norm(found.target))
    assert bp.check(A).passed


def test_a_mixture_of_anisotropic_gaussians_is_recovered():
    truth = np.array([[2.0, -1.0, 2.5, 1.2, 0.4], [-3.0, 2.0, 1.5, 1.0, -1.0]])
    psf = np.einsum("k,kij->ij", [0.6, 0.4], anisotropic(truth, 25))
    assert estimation.approximate(psf, K=2).error < 0.01
