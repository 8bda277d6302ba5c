"""Every wrong input gets one clear sentence: ValueError for shapes and values, TypeError for kinds of arrays."""

import array_api_strict
import numpy as np
import pytest

import blurphys as bp
from tests.strategies import simplex, unit_psfs

torch = pytest.importorskip("torch")

C, H, W, K = 3, 6, 8, 4
RNG = np.random.default_rng(0)
BETA = simplex(RNG, (K, H, W))
SIGMAS = [0.0, 0.3, 0.5, 0.8]
PSFS = unit_psfs(RNG, (K, 3, 4))
ATOMS = np.full((K - 1, 3), 1.0 / 3.0)
BANK = bp.PSFBank(psfs=unit_psfs(RNG, (3, 3, 3)), radii=(-2.0, 0.0, 2.0))
CMAP = RNG.uniform(-2.0, 2.0, (H, W))

OPERATORS = {
    "GKM": lambda: bp.GKM(BETA, sigmas=SIGMAS),
    "RKR": lambda: bp.RKR(BETA, atoms=ATOMS),
    "RKR stagewise": lambda: bp.RKR(BETA, atoms=ATOMS, stagewise=True),
    "PSFStack": lambda: bp.PSFStack(PSFS, weights=BETA),
    "scatter": lambda: bp.PSFStack(PSFS, weights=BETA, form="scatter"),
    "PixelPSF": lambda: bp.PixelPSF(unit_psfs(RNG, (H, W, 3, 3))),
    "Convolution": lambda: bp.Convolution(PSFS[0], shape=(C, H, W)),
    "DefocusBlur": lambda: bp.DefocusBlur(CMAP, bank=BANK),
    "DualPixel": lambda: bp.DualPixel(
        CMAP, bank=bp.PSFBank(psfs={"left": PSFS[:3], "right": PSFS[1:]}, radii=(-2.0, 0.0, 2.0))
    ),
    "Identity": lambda: bp.Identity((C, H, W)),
    "Composed": lambda: bp.GKM(BETA, sigmas=SIGMAS) @ bp.Convolution(PSFS[0], shape=(C, H, W)),
    "Sum": lambda: bp.GKM(BETA, sigmas=SIGMAS) + bp.Convolution(PSFS[0], shape=(C, H, W)),
    "Scaled": lambda: 2.0 * bp.GKM(BETA, sigmas=SIGMAS),
    "Stacked": lambda: bp.stack([bp.GKM(BETA, sigmas=SIGMAS), bp.Convolution(PSFS[0], shape=(C, H, W))]),
    "Adjoint": lambda: bp.GKM(BETA, sigmas=SIGMAS).H,
}
every_operator = pytest.mark.parametrize("name", OPERATORS)


def sentence(error) -> str:
    """The message: one line of prose with words in it, no bare tuple and no traceback."""
    text = str(error.value)
    assert 15 < len(text) < 600 and "\n" not in text.strip() and " " in text
    return text


# ---- images -------------------------------------------------------------------------------------------------------


@every_operator
def test_channels_last_image(name):
    A = OPERATORS[name]()
    for method in (A.forward, A.adjoint, A):
        with pytest.raises(ValueError, match=r"expected.*got") as error:
            method(np.zeros((H, W, C)))
        text = sentence(error)
        assert "(6, 8, 3)" in text.replace("[", "(").replace("]", ")")
        if name not in ("Stacked", "DualPixel"):
            assert "channels-last" in text and "(3, 6, 8)" in text


@every_operator
@pytest.mark.parametrize("shape", ((C, W, H), (C, H, W + 1), (C + 2, H, W), (H, W), ()))
def test_wrong_image_shape(name, shape):
    A = OPERATORS[name]()
    for method in (A.forward, A.adjoint):
        with pytest.raises(ValueError, match=r"expected.*got") as error:
            method(np.zeros(shape))
        sentence(error)


@every_operator
def test_image_must_be_a_floating_array(name):
    A = OPERATORS[name]()
    for wrong in (
        np.zeros(A.in_shape, dtype=np.uint8),
        np.zeros(A.in_shape, dtype=np.int64),
        np.zeros(A.in_shape, dtype=bool),
        np.zeros(A.in_shape, dtype=complex),
        np.zeros(A.in_shape).tolist(),
        None,
        "image.png",
    ):
        with pytest.raises(TypeError) as error:
            A(wrong)
        sentence(error)


@every_operator
def test_mixed_namespace_dtype_and_device(name):
    if name == "Identity":
        pytest.skip("Identity has no array: it takes images of any kind")
    A = OPERATORS[name]()
    shape = A.in_shape
    for wrong, word in (
        (torch.zeros(shape, dtype=torch.float64), "torch"),
        (array_api_strict.zeros(shape, dtype=array_api_strict.float64), "strict"),
        (np.zeros(shape, dtype=np.float32), "float32"),
    ):
        with pytest.raises(TypeError, match=word) as error:
            A(wrong)
        sentence(error)


def test_mixed_device():
    beta = torch.tensor(BETA)
    A = bp.GKM(beta, sigmas=SIGMAS)
    with pytest.raises(TypeError, match=r"device|meta"):
        A(torch.zeros((C, H, W), dtype=torch.float64, device="meta"))
    with pytest.raises(TypeError, match=r"device|meta"):
        bp.PSFStack(torch.tensor(PSFS, device="meta"), weights=beta)


# ---- maps and kernels ---------------------------------------------------------------------------------------------


def raises(kind, match, build, *args, **options):
    with pytest.raises(kind, match=match) as error:
        build(*args, **options)
    return sentence(error)


def test_count_mismatch_names_both_numbers():
    for build in (
        lambda: bp.GKM(BETA, sigmas=SIGMAS[:3]),
        lambda: bp.GKM(BETA, sigmas=[SIGMAS[:3]] * 3),
        lambda: bp.PSFStack(PSFS[:3], weights=BETA),
    ):
        text = raises(ValueError, r"4.*3|3.*4", build)
        assert "got" in text or "expected" in text
    raises(ValueError, r"support", bp.GKM, BETA, sigmas=SIGMAS, supports=[1, 3, 3])
    raises(ValueError, r"atoms|J", bp.RKR, BETA, atoms=ATOMS[:2])
    raises(ValueError, r"atoms|J", bp.RKR, BETA, atoms=np.full((K, 3), 1.0 / 3.0))


def test_colour_mismatch():
    raises(ValueError, r"2|channels|C", bp.GKM, BETA, sigmas=[SIGMAS] * 2, channels=3)
    raises(ValueError, r"2|channels|C", bp.RKR, BETA, atoms=np.full((K - 1, 2, 3), 1.0 / 3.0), channels=3)
    raises(ValueError, r"2|channels|C", bp.PSFStack, unit_psfs(RNG, (K, 2, 3, 3)), weights=BETA, channels=3)
    raises(ValueError, r"2|channels|C", bp.Convolution, unit_psfs(RNG, (2, 3, 3)), shape=(3, H, W))
    raises(ValueError, r"mix", bp.GKM, BETA, sigmas=SIGMAS, channels=3, mix=np.ones((2, 2, K)))
    raises(ValueError, r"mix", bp.GKM, BETA, sigmas=SIGMAS, channels=3, mix=np.ones((2, 3, K + 1)))
    raises(ValueError, r"mix", bp.RKR, BETA, atoms=ATOMS, channels=3, mix=np.ones((2, 3)))


def test_maps_without_enough_axes():
    raises(ValueError, r"expected.*got|shape", bp.GKM, BETA[0], sigmas=SIGMAS)
    raises(ValueError, r"expected.*got|shape", bp.RKR, BETA[0], atoms=ATOMS)
    raises(ValueError, r"expected.*got|shape", bp.PSFStack, PSFS, weights=BETA[0])
    raises(ValueError, r"expected.*got|shape", bp.PSFStack, PSFS[0], weights=BETA)
    raises(ValueError, r"expected.*got|shape", bp.PixelPSF, PSFS)
    raises(ValueError, r"expected.*got|shape", bp.Convolution, PSFS[0, 0], shape=(C, H, W))
    raises(ValueError, r"expected.*got|shape", bp.DefocusBlur, CMAP[0], bank=BANK)
    raises(ValueError, r"expected.*got|shape", bp.Convolution, PSFS[0], shape=(H, W))


def test_even_supports_where_odd_are_needed():
    raises(ValueError, r"odd", bp.GKM, BETA, sigmas=SIGMAS, supports=[1, 2, 3, 3])
    raises(ValueError, r"odd", bp.RKR, BETA, atoms=np.full((K - 1, 2), 0.5))
    raises(ValueError, r"odd", bp.gkm_bank, 20)
    raises(ValueError, r"odd", bp.psf.disk, 1.0, 4)
    raises(ValueError, r"odd", bp.psf.gaussian, 1.0, 4)


def test_sigmas():
    raises(ValueError, r"sigma", bp.GKM, BETA, sigmas=[0.0, -0.3, 0.5, 0.8])
    raises(ValueError, r"sigma", bp.GKM, BETA, sigmas=[0.0, float("nan"), 0.5, 0.8])
    raises(ValueError, r"sigma", bp.GKM, BETA, sigmas=[0.0, float("inf"), 0.5, 0.8])
    tensor = torch.tensor(SIGMAS, dtype=torch.float64)
    raises(ValueError, r"supports", bp.GKM, torch.tensor(BETA), sigmas=tensor)
    raises(TypeError, r"float32|dtype", bp.GKM, torch.tensor(BETA), sigmas=tensor.float(), supports=[1, 3, 3, 5])
    raises(TypeError, r"torch|numpy|array", bp.GKM, BETA, sigmas=tensor, supports=[1, 3, 3, 5])


def test_arrays_of_one_operator_must_match():
    raises(TypeError, r"torch|numpy|array", bp.PSFStack, torch.tensor(PSFS), weights=BETA)
    raises(TypeError, r"float32|dtype", bp.PSFStack, PSFS.astype(np.float32), weights=BETA)
    raises(TypeError, r"torch|numpy|array", bp.RKR, BETA, atoms=torch.tensor(ATOMS))
    raises(TypeError, r"float32|dtype", bp.RKR, BETA, atoms=ATOMS.astype(np.float32))
    raises(TypeError, r"float|dtype", bp.GKM, np.ones((K, H, W), dtype=int), sigmas=SIGMAS)
    raises(TypeError, r"float|dtype|array", bp.PixelPSF, np.ones((H, W, 1, 1), dtype=int))
    raises(TypeError, r"float|dtype|array", bp.Convolution, [[1.0]], shape=(C, H, W))
    torch_bank = bp.PSFBank(psfs=torch.tensor(PSFS[:3]), radii=(-2.0, 0.0, 2.0))
    with pytest.raises(TypeError):
        bp.DefocusBlur(CMAP, bank=torch_bank)
    with pytest.raises(TypeError):
        bp.DefocusBlur(torch.tensor(CMAP).float(), bank=torch_bank)


def test_boundary_and_form():
    for build in (
        lambda b: bp.GKM(BETA, sigmas=SIGMAS, boundary=b),
        lambda b: bp.RKR(BETA, atoms=ATOMS, boundary=b),
        lambda b: bp.PSFStack(PSFS, weights=BETA, boundary=b),
        lambda b: bp.Convolution(PSFS[0], shape=(C, H, W), boundary=b),
        lambda b: bp.DefocusBlur(CMAP, bank=BANK, boundary=b),
    ):
        text = raises(ValueError, r"boundary", build, "mirror")
        assert "reflect" in text and "mirror" in text
    raises(ValueError, r"gather|scatter", bp.PSFStack, PSFS, weights=BETA, form="both")


def test_channels_must_be_positive():
    for wrong in (0, -1):
        raises(ValueError, r"channels", bp.GKM, BETA, sigmas=SIGMAS, channels=wrong)
        raises(ValueError, r"channels|shape", bp.Convolution, PSFS[0], shape=(wrong, H, W))


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError):
        bp.GKM(BETA, SIGMAS)
    with pytest.raises(TypeError):
        bp.GKM(BETA, sigmas=SIGMAS, bondary="zero")
    with pytest.raises(TypeError):
        bp.Convolution(PSFS[0], (C, H, W))


def test_validate_says_what_is_wrong():
    for spoil, word in ((np.nan, "finite"), (np.inf, "finite"), (-0.25, "negative")):
        beta = BETA.copy()
        beta[1, 2, 3] = spoil
        for A in (
            bp.GKM(beta, sigmas=SIGMAS),
            bp.RKR(beta, atoms=ATOMS),
            bp.PSFStack(PSFS, weights=beta),
            2.0 * bp.GKM(beta, sigmas=SIGMAS),
            bp.GKM(BETA, sigmas=SIGMAS) @ bp.GKM(beta, sigmas=SIGMAS),
        ):
            raises(ValueError, word, A.validate)
    raises(ValueError, r"sum", bp.GKM(2.0 * BETA, sigmas=SIGMAS).validate)
    raises(ValueError, r"sum", bp.GKM(-BETA, sigmas=SIGMAS).replace(beta=0.5 * BETA).validate)
    raises(ValueError, r"negative|sum", bp.GKM(-BETA, sigmas=SIGMAS).validate)
    for A in (bp.PSFStack(2.0 * PSFS, weights=BETA), bp.Convolution(2.0 * PSFS[0], shape=(C, H, W))):
        raises(ValueError, r"sum", A.validate)
    for build in OPERATORS.values():
        A = build()
        assert A.validate() is A


def test_batched_maps_and_images():
    A = bp.GKM(np.stack([BETA, BETA]), sigmas=SIGMAS)
    assert A.batch_shape == (2,)
    assert A(np.zeros((5, 2, C, H, W))).shape == (5, 2, C, H, W)
    for lead in ((), (3,), (2, 5)):
        with pytest.raises(ValueError, match=r"batch|expected.*got"):
            A(np.zeros((*lead, C, H, W)))


# ---- algebra ------------------------------------------------------------------------------------------------------


def test_algebra_of_operators_that_do_not_fit():
    A, B = bp.Identity((3, 4, 5)), bp.Identity((3, 5, 4))
    for build in (lambda: A @ B, lambda: A + B, lambda: A - B, lambda: bp.stack([A, B])):
        text = raises(ValueError, r"expected|shape|fit", build)
        assert "4" in text and "5" in text
    raises(ValueError, r"operator|empty|least", bp.stack, [])
    assert type(np.float64(2.0) * A) is type(2.0 * A)
    for wrong in ("2", None, np.ones(3), [2.0]):
        with pytest.raises(TypeError):
            wrong * A
        with pytest.raises(TypeError):
            A + wrong
    with pytest.raises((TypeError, ValueError)):
        bp.stack([A, "B"])


def test_algebra_of_operators_that_live_apart():
    A = bp.Convolution(PSFS[0], shape=(C, H, W))
    B = bp.Convolution(torch.tensor(PSFS[0]), shape=(C, H, W))
    narrow = bp.Convolution(PSFS[0].astype(np.float32), shape=(C, H, W))
    for other in (B, narrow):
        for build in (lambda o: A @ o, lambda o: A + o, lambda o: bp.stack([A, o])):
            with pytest.raises(TypeError):
                build(other)


def test_psf_at_outside_the_image():
    A = bp.GKM(BETA, sigmas=SIGMAS)
    for row, column in ((H, 0), (0, W), (-H - 1, 0), (W - 1, H - 1)):
        raises(ValueError, r"row|pixel|inside", A.psf_at, row, column)


def test_replace_checks_again():
    A = bp.GKM(BETA, sigmas=SIGMAS)
    with pytest.raises(ValueError, match=r"4|3"):
        A.replace(beta=BETA[:3])
    with pytest.raises((TypeError, ValueError)):
        A.replace(gamma=BETA)


# ---- kernels, pupils, banks, lens ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", (-1.0, float("nan"), float("inf")))
def test_kernels_of_impossible_sizes(bad):
    raises(ValueError, r"radius", bp.psf.disk, bad)
    raises(ValueError, r"sigma", bp.psf.gaussian, bad)
    raises(ValueError, r"scale", bp.psf.generalized_gaussian, bad, 2.0)
    raises(ValueError, r"exponent", bp.psf.generalized_gaussian, 2.0, -1.0)


def test_butterworth_arguments():
    raises(ValueError, r"radius|whole|integer", bp.psf.butterworth, 2.5)
    raises(ValueError, r"order", bp.psf.butterworth, 3, order=0)
    raises(ValueError, r"cutoff", bp.psf.butterworth, 3, cutoff=0.0)
    raises(ValueError, r"floor", bp.psf.butterworth, 3, floor=1.5)
    raises(ValueError, r"smoothing", bp.psf.butterworth, 3, smoothing=-0.1)
    text = raises(ValueError, r"view", bp.psf.butterworth, 3, view="top")
    assert "left" in text and "right" in text


def test_pupil_arguments():
    for make in (bp.Pupil.disk, bp.Pupil.butterworth, lambda **o: bp.Pupil.polygon(6, **o)):
        raises(ValueError, r"split", make, split=0.6)
        raises(ValueError, r"split", make, split=-0.1)
        raises(ValueError, r"cross_talk", make, cross_talk=-0.1)
        raises(ValueError, r"cross_talk", make, cross_talk=0.7)
    raises(ValueError, r"3|corner|blade|n\b", bp.Pupil.polygon, 2)
    raises(ValueError, r"negative|intensit", bp.Pupil.measured, -np.ones((5, 5)))
    raises(ValueError, r"finite|NaN|nan", bp.Pupil.measured, np.full((5, 5), np.nan))
    with pytest.raises(ValueError):
        bp.Pupil.measured(np.zeros((5, 5)))
    with pytest.raises(ValueError):
        bp.Pupil.measured(np.ones(5))
    with pytest.raises(ValueError):
        bp.Pupil.disk(cat_eye=(2.5, 0.0))  # nothing of the pupil is left
    for bad in (float("nan"), float("inf")):
        raises(ValueError, r"radius|finite", bp.Pupil.disk().psf, bad)
    raises(ValueError, r"view", bp.Pupil.disk().psf, 2.0, view="centre")


def test_bank_arguments():
    psfs = PSFS[:3]
    raises(ValueError, r"pupil|psfs", bp.PSFBank)
    raises(ValueError, r"pupil|psfs", bp.PSFBank, bp.Pupil.disk(), max_radius=2.0, psfs=psfs, radii=(-1.0, 0.0, 1.0))
    raises(ValueError, r"max_radius", bp.PSFBank, bp.Pupil.disk())
    raises(ValueError, r"max_radius", bp.PSFBank, bp.Pupil.disk(), max_radius=-1.0)
    raises(ValueError, r"step", bp.PSFBank, bp.Pupil.disk(), max_radius=1.0, step=0.0)
    raises(ValueError, r"radi", bp.PSFBank, psfs=psfs)
    raises(ValueError, r"radi", bp.PSFBank, psfs=psfs, radii=(-1.0, 1.0))
    raises(ValueError, r"increas", bp.PSFBank, psfs=psfs, radii=(-1.0, 1.0, 0.5))
    raises(ValueError, r"increas", bp.PSFBank, psfs=psfs, radii=(-1.0, 0.5, 0.5))
    with pytest.raises(ValueError):
        bp.PSFBank(psfs={"left": psfs, "right": PSFS[:3, :2]}, radii=(-1.0, 0.0, 1.0))


def test_views():
    combined = bp.PSFBank(psfs=PSFS[:3], radii=(-2.0, 0.0, 2.0))
    raises(ValueError, r"view|left", bp.DualPixel, CMAP, bank=combined)
    raises(ValueError, r"view", combined.psfs, "left")
    both = bp.PSFBank(psfs={"left": PSFS[:3], "right": PSFS[1:]}, radii=(-2.0, 0.0, 2.0))
    raises(ValueError, r"view", bp.DualPixel, CMAP, bank=both, views=("left", "up"))
    raises(ValueError, r"view", bp.DualPixel, CMAP, bank=both, views=())
    raises(ValueError, r"view", bp.DualPixel, CMAP, bank=both, views=("left", "left"))


def test_defocus_beyond_the_bank_names_the_limit():
    for spoil in (2.001, -2.5, np.nan, np.inf):
        c = CMAP.copy()
        c[1, 2] = spoil
        for build in (lambda c: bp.DefocusBlur(c, bank=BANK), OPERATORS["DefocusBlur"]().replace):
            with pytest.raises(ValueError, match=r"2\.0|radius|finite") as error:
                build(defocus_map=c) if build.__name__ == "replace" else build(c)
            sentence(error)


def test_lens_arguments():
    good = {"focal_length_mm": 50.0, "f_number": 4.0, "focus_distance_m": 1.0, "pixel_pitch_um": 5.0}
    bp.ThinLens(**good)
    for name in good:
        for bad in (0.0, -1.0, float("nan"), float("inf")):
            raises(ValueError, name, bp.ThinLens, **(good | {name: bad}))
    for inside in (0.05, 0.03):
        text = raises(ValueError, r"focus", bp.ThinLens, **(good | {"focus_distance_m": inside}))
        assert "focal" in text
    with pytest.raises(TypeError):
        bp.ThinLens(50.0, 4.0, 1.0, 5.0)


def test_depth_must_be_a_floating_array():
    lens = bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=5.0)
    for wrong in (np.full((2, 3), 1200, dtype=np.uint16), [[1.0, 2.0]], "depth.png"):
        with pytest.raises(TypeError) as error:
            lens.defocus_map(wrong)
        sentence(error)
