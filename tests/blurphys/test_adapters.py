"""Our operators inside SciPy, PyLops and deepinv."""

import numpy as np
import pytest
import scipy.sparse.linalg

import blurphys as bp
from tests.cases import CASES
from tests.strategies import Setup, to_numpy

every_case = pytest.mark.parametrize("name", CASES)


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
def test_deepinv(name, deepinv):
    s = Setup(namespace="torch", height=3, width=4)
    built = CASES[name](s)
    if name == "identity":
        pytest.skip("Identity has no tensor, so deepinv cannot know where it lives")
    physics = built.A.as_deepinv()
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    x = s.image((2, *built.in_shape))
    y = s.image((2, *built.out_shape), salt=2)
    assert np.abs(to_numpy(physics.A(s.array(x))) - to_numpy(built.A(s.array(x)))).max() <= 1e-14
    assert np.abs(to_numpy(physics.A_adjoint(s.array(y))) - to_numpy(built.A.adjoint(s.array(y)))).max() <= 1e-14
    assert bp.check(physics, in_shape=(2, *built.in_shape), like=s.array(np.zeros(1))).passed


def test_missing_packages_are_named():
    A = CASES["gkm"](Setup(namespace="torch")).A
    for package, method in (("pylops", "as_pylops"), ("deepinv", "as_deepinv")):
        try:
            __import__(package)
        except ImportError:
            with pytest.raises(ImportError, match=package if package != "pylops" else r"(?i)pylops"):
                getattr(A, method)()


def test_deepinv_needs_tensors(deepinv):
    with pytest.raises(TypeError, match="torch"):
        CASES["gkm"](Setup()).A.as_deepinv()
