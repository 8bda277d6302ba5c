"""to_dense, operator_norm and check, against matrices whose answers are known."""

import json

import numpy as np
import pytest
import scipy.sparse.linalg

import blurphys as bp
from blurphys.adapters import wrap
from tests.cases import CASES, DAILY
from tests.strategies import Setup, to_numpy


def matrix_pair(D, in_shape, out_shape):
    return (lambda x: (D @ x.reshape(-1)).reshape(out_shape), lambda y: (D.T @ y.reshape(-1)).reshape(in_shape))


@pytest.mark.parametrize("namespace", ("numpy", "array_api_strict", "torch"))
def test_to_dense_keeps_the_kind(namespace):
    s = Setup(namespace=namespace, dtype="float32", height=3, width=4)
    built = CASES["psf_stack"](s)
    D = bp.to_dense(built.A)
    like = s.array(np.zeros(1))
    assert type(D) is type(like) and D.dtype == like.dtype
    assert np.abs(to_numpy(D) - built.twin()).max() <= 1e-6
    assert np.abs(to_numpy(bp.to_dense(built.A.H)) - built.twin().T).max() <= 1e-6


def test_to_dense_of_a_batch_is_block_diagonal():
    built = CASES["gkm"](Setup(batch=(2,), height=2, width=3))
    D, (a, b) = bp.to_dense(built.A), built.twin()
    n = a.shape[0]
    assert np.abs(D[:n, :n] - a).max() <= 1e-12 and np.abs(D[n:, n:] - b).max() <= 1e-12
    assert not D[:n, n:].any() and not D[n:, :n].any()


def test_to_dense_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"entries|large|small|memory"):
        bp.to_dense(bp.Identity((3, 2000, 2000)))


@pytest.mark.parametrize("name", ("gkm", "rkr", "scatter", "pixel_psf", "dual_pixel", "stacked", "nested", "scaled"))
def test_operator_norm_is_the_largest_singular_value(name):
    built = CASES[name](Setup(height=4, width=5, seed=3))
    exact = np.linalg.svd(built.twin(), compute_uv=False)[0]
    found = bp.operator_norm(built.A)
    assert isinstance(found, float)
    assert exact * (1 - 1e-3) <= found <= exact * (1 + 1e-9)


def test_operator_norm_of_known_operators():
    assert bp.operator_norm(bp.Identity((2, 3, 4))) == pytest.approx(1.0, rel=1e-9)
    assert bp.operator_norm(-3.0 * bp.Identity((2, 3, 4))) == pytest.approx(3.0, rel=1e-9)
    circular = bp.Convolution(bp.psf.disk(2.0), shape=(1, 8, 9), boundary="circular")
    assert bp.operator_norm(circular) == pytest.approx(1.0, rel=1e-6)
    zero = bp.Convolution(np.zeros((3, 3)), shape=(1, 4, 5))
    assert bp.operator_norm(zero) == 0.0


def test_operator_norm_reports_what_is_not_finite():
    A = bp.GKM(np.full((1, 3, 4), np.nan), sigmas=[0.0])
    with pytest.raises(ValueError, match=r"NaN|finite|inf"):
        bp.operator_norm(A)
    with pytest.raises(ValueError, match="tol"):
        bp.operator_norm(bp.Identity((1, 2, 3)), tol=-1.0)


SMALL = {"height": 3, "width": 4, "channels": 1, "support": (3, 2)}


@pytest.mark.parametrize("namespace", ("numpy", "torch"))
@pytest.mark.parametrize("name", DAILY)
def test_check_passes_every_operator(name, namespace):
    report = bp.check(CASES[name](Setup(namespace=namespace, dtype="float64", **SMALL)).A)
    assert report.passed, str(report)


@pytest.mark.parametrize("namespace", ("numpy", "array_api_strict", "torch"))
@pytest.mark.parametrize("name", ("gkm", "rkr", "scatter", "convolution", "dual_pixel"))
def test_check_passes_in_float32(name, namespace):
    report = bp.check(CASES[name](Setup(namespace=namespace, dtype="float32", **SMALL)).A)
    assert report.passed, str(report)


@pytest.mark.parametrize("boundary", ("reflect", "symmetric", "replicate", "circular", "zero"))
def test_check_passes_batched_operators(boundary):
    report = bp.check(CASES["gkm_per_colour"](Setup(batch=(2,), boundary=boundary)).A)
    assert report.passed, str(report)


def test_report_has_rows_a_table_and_json():
    report = bp.check(CASES["psf_stack"](Setup()).A)
    assert isinstance(report, bp.CheckReport) and report.passed is True
    assert len(report.rows) >= 4
    text = str(report).lower()
    for law in ("linear", "adjoint", "dense", "dtype"):
        assert law in text or (law == "adjoint" and "dot" in text), law
    to_json = report.to_json() if hasattr(report, "to_json") else report.json()
    loaded = json.loads(to_json) if isinstance(to_json, str) else to_json
    assert loaded["passed"] is True
    assert "gradient" in str(bp.check(CASES["psf_stack"](Setup(namespace="torch")).A)).lower()


def test_check_takes_foreign_operators():
    rng = np.random.default_rng(0)
    D = rng.normal(size=(6, 8))
    assert bp.check(scipy.sparse.linalg.aslinearoperator(D)).passed
    assert bp.check(matrix_pair(D, (1, 2, 4), (1, 2, 3)), in_shape=(1, 2, 4)).passed
    wrong = scipy.sparse.linalg.LinearOperator(
        D.shape, matvec=lambda x: D @ x, rmatvec=lambda y: D.T @ y[::-1], dtype=np.float64
    )
    assert not bp.check(wrong).passed


def test_check_of_our_operator_as_scipy():
    assert bp.check(CASES["rkr"](Setup(height=3, width=4)).A.as_scipy()).passed


def test_check_says_what_it_cannot_take():
    with pytest.raises(ValueError, match="in_shape"):
        bp.check((lambda x: x, lambda y: y))
    for wrong in (3, None, "A", (lambda x: x,)):
        with pytest.raises((TypeError, ValueError)):
            bp.check(wrong, in_shape=(1, 2, 3))


def test_check_fails_an_operator_that_returns_nan():
    report = bp.check((lambda x: np.nan * x, lambda y: np.nan * y), in_shape=(1, 3, 4))
    assert not report.passed


def test_a_stack_takes_images_only():
    flat = wrap(scipy.sparse.linalg.aslinearoperator(np.eye(5)))
    with pytest.raises(ValueError, match=r"stack: expected operators from images .*\(5,\)"):
        bp.stack([flat, flat])
