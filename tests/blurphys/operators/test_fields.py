"""Fields of operators that must neither go stale nor be taken for something else."""

import copy

import numpy as np
import pytest
import torch

import blurphys as bp

LENS = bp.ThinLens(focal_length_mm=50, f_number=2, focus_distance_m=2, pixel_pitch_um=5)


def test_replaced_sigmas_get_supports_of_their_own():
    beta = np.ones((1, 80, 80))
    A = bp.GKM(beta, sigmas=(0.5,), channels=1).replace(sigmas=(5.0,))
    assert A.widths == bp.GKM(beta, sigmas=(5.0,), channels=1).widths == (31,)
    B = A.replace(beta=np.ones((2, 80, 80)), sigmas=(0.5, 1.0))
    assert B.widths == (5, 7) and B.supports is None
    assert bp.GKM(beta, sigmas=(5.0,), supports=(21,)).replace(sigmas=(4.0,)).widths == (21,)


def test_a_learned_bank_is_not_frozen():
    psfs = {view: torch.rand(3, 5, 5, dtype=torch.float64) / 12.5 for view in ("left", "right")}
    bank = bp.PSFBank(psfs=psfs, radii=(-1.0, 0.0, 1.0))
    c = torch.linspace(-1, 1, 8 * 9, dtype=torch.float64).reshape(8, 9)
    for psf in psfs.values():
        psf.requires_grad_(True)
    with torch.no_grad():
        A, B = bp.DualPixel(c, bank=bank), bp.DefocusBlur(c, bank=bank)
        x = torch.rand(3, 8, 9, dtype=torch.float64)
        before = A(x), B(x)
        for psf in psfs.values():
            psf.mul_(2.0)
        assert torch.allclose(A(x), 2 * before[0]) and torch.allclose(B(x), 2 * before[1])
    assert A(x).requires_grad and B(x).requires_grad
    copied = copy.deepcopy(A)
    assert torch.equal(copied(x), A(x))


@pytest.mark.parametrize("sigma", [1e-320, 1e-200, 1e-25, 1e-3])
def test_tiny_sigmas_are_the_dirac(sigma):
    x = np.random.default_rng(0).random((1, 6, 7))
    assert np.array_equal(bp.GKM(np.ones((1, 6, 7)), sigmas=(sigma,), channels=1, supports=(3,))(x), x)
    s = torch.tensor([sigma], dtype=torch.float64, requires_grad=True)
    y = bp.GKM(torch.ones(1, 6, 7, dtype=torch.float64), sigmas=s, channels=1, supports=(3,))(torch.from_numpy(x))
    y.sum().backward()
    assert torch.equal(y.detach(), torch.from_numpy(x)) and float(s.grad[0]) == 0.0


@pytest.mark.parametrize("bad", [[-1.0, 2.0], [float("nan"), 2.0], [float("inf"), 2.0]])
def test_tensor_sigmas_are_checked(bad):
    with pytest.raises(ValueError, match="sigmas"):
        bp.GKM(torch.ones(2, 9, 9), sigmas=torch.tensor(bad), supports=(3, 3))


def test_a_list_of_tensors_is_not_one_tensor():
    parameters = [torch.nn.Parameter(torch.tensor(1.0)) for _ in range(2)]
    with pytest.raises(ValueError, match="stack"):
        bp.GKM(torch.ones(2, 9, 9), sigmas=parameters)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, ">f4", ">f8", complex, int])
def test_dtypes_that_no_engine_computes(dtype):
    x = np.ones((1, 9, 9)).astype(dtype)
    for build in (
        lambda: bp.GKM(x, sigmas=(1.0,)),
        lambda: bp.Convolution(x[0, :3, :3], shape=(1, 9, 9)),
        lambda: bp.Identity((1, 9, 9))(x),
    ):
        with pytest.raises(TypeError, match="float32 or float64"):
            build()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_tensors(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        bp.GKM(torch.ones(1, 9, 9, dtype=dtype), sigmas=(1.0,))


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="masked"):
        bp.Identity((1, 2, 2))(np.ma.masked_array(np.ones((1, 2, 2)), mask=True))


@pytest.mark.parametrize(
    "build",
    [
        lambda: bp.Convolution(np.ones((1, 1)), shape=(3, 4.9, 5)),
        lambda: bp.Convolution(np.ones((1, 1)), shape="345"),
        lambda: bp.Convolution(np.ones((1, 1)), shape=5),
        lambda: bp.Identity((3, 4.7, 5)),
        lambda: bp.psf.gaussian(1.0, size=3.5),
        lambda: bp.Pupil.measured(np.ones((3, 3)) * 1j),
        lambda: bp.PSFBank(bp.Pupil.disk(), max_radius=2, radii=(0.0, 1.0)),
        lambda: bp.PSFBank(psfs=np.ones((2, 3, 3)), radii=(0.0, 1.0), max_radius=7),
        lambda: bp.GKM(np.ones((1, 4, 5)), sigmas=1.0),
        lambda: bp.GKM(np.ones((1, 4, 5)), sigmas=None),
        lambda: bp.GKM(np.ones((1, 4, 5)), sigmas=(0.0,), supports=3),
        lambda: bp.GKM(np.ones((1, 4, 5)), sigmas=(0.0,), channels=True),
        lambda: bp.GKM(np.ones((1, 4, 5)), sigmas=(0.0,)).psf_at(1.5, 2),
        lambda: LENS.defocus_map(np.ones(3)),
        lambda: bp.psf.butterworth(5, cutoff=np.inf),
        lambda: bp.psf.butterworth(5, order=np.nan),
        lambda: bp.psf.butterworth(np.inf),
        lambda: bp.psf.butterworth(5, smoothing=np.inf),
        lambda: bp.DefocusBlur(
            np.zeros((4, 5), np.float32), bank=bp.PSFBank(psfs=np.ones((3, 1, 1)), radii=(0.0, 1.0, 1.0 + 1e-9))
        ),
    ],
)  # fmt: skip
def test_bad_fields_are_one_sentence(build):
    with pytest.raises(ValueError, match="expected"):
        build()


def test_fields_that_are_fine():
    assert bp.GKM(np.ones((1, 4, 5)), sigmas=(0.0,), channels=np.int64(2)).in_shape == (2, 4, 5)
    assert np.isfinite(bp.psf.butterworth(20, order=300)).all()
    assert np.isfinite(bp.Pupil.butterworth(order=10000).intensity).all()


def test_depth_that_is_almost_zero_is_unknown():
    depth = np.array([[1e-320, 2.0]])
    with pytest.raises(ValueError, match="1 pixels"):
        LENS.defocus_map(depth)
    assert LENS.defocus_map(depth, invalid="nearest").tolist() == [[0.0, 0.0]]
