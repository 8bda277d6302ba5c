"""Our operators inside SciPy and PyLops; deepinv has a file of its own."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse.linalg

import blurphys as bp
from blurphys.adapters import optional
from tests.cases import CASES, DAILY
from tests.strategies import Setup

# A tiled row is slow and like its operator: one by day, all at night.
every_case = pytest.mark.parametrize("name", DAILY)


@every_case
def test_scipy_is_the_same_matrix(name):
    s = Setup(height=3, width=4)
    built = CASES[name](s)
    S = built.A.as_scipy()
    assert isinstance(S, scipy.sparse.linalg.LinearOperator)
    D = built.twin()
    assert S.shape == D.shape and np.dtype(S.dtype) == np.float64
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=D.shape[1]), rng.normal(size=D.shape[0])
    scale = max(1.0, np.abs(D).max())
    assert np.abs(S.matvec(x) - D @ x).max() <= 1e-12 * scale * 10
    assert np.abs(S.rmatvec(y) - D.T @ y).max() <= 1e-12 * scale * 10
    assert np.abs(S.matmat(np.eye(D.shape[1])) - D).max() <= 1e-12 * scale
    assert np.abs(S.H.matmat(np.eye(D.shape[0])) - D.T).max() <= 1e-12 * scale


def test_scipy_of_a_torch_operator():
    pytest.importorskip("torch")
    built = CASES["psf_stack"](Setup(namespace="torch", dtype="float32", height=3, width=4))
    S = built.A.as_scipy()
    assert np.dtype(S.dtype) == np.float32
    x = np.random.default_rng(0).normal(size=S.shape[1])
    assert np.abs(S.matvec(x.astype(np.float32)) - built.twin() @ x).max() <= 1e-5


def test_scipy_solver_inverts_a_mild_blur():
    rng = np.random.default_rng(1)
    A = bp.Convolution(bp.psf.gaussian(0.5, 5), shape=(1, 8, 9))
    x = rng.normal(size=72)
    found = scipy.sparse.linalg.lsqr(A.as_scipy(), A.as_scipy() @ x, atol=1e-13, btol=1e-13, iter_lim=2000)[0]
    assert np.abs(found - x).max() <= 1e-6


def test_scipy_of_batched_maps():
    built = CASES["gkm"](Setup(batch=(2,), height=3, width=4))
    S = built.A.as_scipy()
    blocks = built.twin()
    n = blocks.shape[-1]
    assert S.shape == (2 * n, 2 * n)
    x = np.random.default_rng(0).normal(size=2 * n)
    assert np.abs(S.matvec(x) - np.concatenate([blocks[0] @ x[:n], blocks[1] @ x[n:]])).max() <= 1e-12


@every_case
def test_pylops(name):
    pylops = pytest.importorskip("pylops", reason="PyLops is not installed", exc_type=ImportError)
    built = CASES[name](Setup(height=3, width=4))
    P = built.A.as_pylops()
    assert (
        isinstance(P, pylops.LinearOperator) and tuple(P.dims) == built.in_shape and tuple(P.dimsd) == built.out_shape
    )
    D = built.twin()
    x = np.random.default_rng(0).normal(size=D.shape[1])
    assert np.abs(P.matvec(x) - D @ x).max() <= 1e-11 * max(1.0, np.abs(D).max())
    assert pylops.utils.dottest(P, *D.shape, rtol=1e-9)
    assert bp.check(P).passed


@every_case
def test_copies_and_pickles_are_the_same_matrix(name):
    A = CASES[name](Setup(height=3, width=4)).A
    x = np.random.default_rng(0).normal(size=np.prod(A.in_shape))
    for make in (A.as_scipy, A.as_pylops):
        if make == A.as_pylops:
            pytest.importorskip("pylops", reason="PyLops is not installed", exc_type=ImportError)
        M = make()
        for again in (pickle.loads(pickle.dumps(M)), copy.deepcopy(M), copy.copy(M)):
            assert type(again) is type(M) and again.shape == M.shape and again.dtype == M.dtype
            assert np.array_equal(again.matvec(x), A(x.reshape(A.in_shape)).ravel())


def test_combinations_of_adapters_can_be_pickled_too():
    pytest.importorskip("pylops", reason="PyLops is not installed", exc_type=ImportError)
    A = bp.Convolution(np.array([[0.2, 0.5, 0.3]]), shape=(1, 4, 5))
    for M in (A.as_scipy(), A.as_pylops()):
        gram = 2.0 * M.H @ M
        again = pickle.loads(pickle.dumps(gram))
        assert np.array_equal(again.matvec(np.arange(20.0)), gram.matvec(np.arange(20.0)))
    named = A.as_pylops()
    named.name = "blur"
    assert pickle.loads(pickle.dumps(named)).name == "blur"


@every_case
def test_both_parts_of_a_complex_vector_are_blurred(name):
    built = CASES[name](Setup(height=3, width=4))
    D, rng = built.twin(), np.random.default_rng(0)
    z = rng.normal(size=D.shape[1]) + 1j * rng.normal(size=D.shape[1])
    w = rng.normal(size=D.shape[0]) + 1j * rng.normal(size=D.shape[0])
    tolerance = 1e-11 * max(1.0, np.abs(D).max())
    pylops = pytest.importorskip("pylops", reason="PyLops is not installed", exc_type=ImportError)
    for M in (built.A.as_scipy(), built.A.as_pylops()):
        for found, true in (
            (M.matvec(z), D @ z),
            (M.rmatvec(w), D.T @ w),
            (M.matmat(np.stack([z, 1j * z.real], axis=1)), D @ np.stack([z, 1j * z.real], axis=1)),
            (M.rmatmat(np.stack([w, w.real], axis=1)), D.T @ np.stack([w, w.real], axis=1)),
            (M.H.matvec(w), D.T @ w),
            (M.T.matvec(w), D.T @ w),
        ):
            assert found.dtype == np.complex128 and np.abs(found - true).max() <= tolerance
    assert pylops.utils.dottest(built.A.as_pylops(), *D.shape, complexflag=3, rtol=1e-9)


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
def test_complex_single_precision_stays_single(namespace):
    A = CASES["gkm"](Setup(namespace=namespace, dtype="float32", height=3, width=4)).A
    z = np.arange(24, dtype="complex64")
    assert A.as_scipy().matvec(1j * z).dtype == np.complex64
    assert np.array_equal(A.as_scipy().matvec(1j * z), 1j * A.as_scipy().matvec(z.real))


def test_a_complex_system_is_solved():
    A = bp.Convolution(bp.psf.gaussian(0.4, 5), shape=(1, 8, 9))
    S, rng = A.as_scipy(), np.random.default_rng(1)
    b = rng.normal(size=72) + 1j * rng.normal(size=72)
    x, info = scipy.sparse.linalg.cg(S.H @ S, S.H @ b, rtol=1e-12, maxiter=500)
    assert info == 0 and np.linalg.norm(S @ x - b) <= 1e-8 * np.linalg.norm(b)


@pytest.mark.parametrize("namespace", ["numpy", "torch", "array_api_strict"])
def test_vectors_of_any_layout(namespace):
    """Backwards, read-only, of integers, in foreign byte order: as a matrix takes them."""
    built = CASES["psf_stack"](Setup(namespace=namespace, height=3, width=4))
    S, D, x = built.A.as_scipy(), built.twin(), np.arange(24.0)
    read_only = x.copy()
    read_only.setflags(write=False)
    for v in (x[::-1], read_only, x.astype(int), x.astype(">f8"), x[:, None]):
        assert np.abs(np.ravel(S.matvec(v)) - D @ np.ravel(v)).max() <= 1e-12
    assert S.matmat(np.zeros((24, 0))).shape == (24, 0) and S.rmatmat(np.zeros((24, 0))).shape == (24, 0)


def test_vectors_of_the_operators_package_stay_there():
    """As PyLops wants it of CuPy: here with torch."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("pylops", reason="PyLops is not installed", exc_type=ImportError)
    A = CASES["gkm"](Setup(namespace="torch", height=3, width=4)).A
    x = torch.arange(24, dtype=torch.float64, requires_grad=True)
    y = A.as_pylops().matvec(x)
    assert torch.equal(y, A(x.reshape(A.in_shape)).reshape(-1)) and y.requires_grad
    with pytest.raises(TypeError, match="torch"):
        CASES["gkm"](Setup(height=3, width=4)).A.as_pylops().matvec(x)


@pytest.mark.parametrize("package", ["pylops", "deepinv"])
@pytest.mark.parametrize(
    ("missing", "said"),
    [("{package}", "pip install {package}$"), ("tqdm", "{package}.* is installed.*tqdm"), (None, "is installed.*nms")],
)
def test_missing_and_broken_packages_are_named(monkeypatch, package, missing, said):
    """Not installed, in want of another package, or with a compiled part that does not load."""

    def fail(module):
        if missing is None:
            raise RuntimeError("operator torchvision::nms does not exist")
        name = missing.format(package=package)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(optional, "import_module", fail)
    with pytest.raises(ImportError, match=said.format(package=package)) as caught:
        optional.require(package, f"{package}.physics", f"as_{package}")
    assert caught.value.name == package
