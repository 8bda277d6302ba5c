"""`bp.check`: what it must catch, what it must not, and what it refuses."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from scipy.sparse.linalg import aslinearoperator

import blurphys as bp


def broken(report):
    return {row.name for row in report.rows if row.passed is False}


def test_an_operator_that_writes_to_its_input():
    def forward(x):
        x[..., 0, :] = 0
        return x.copy()

    assert broken(bp.check((forward, forward), in_shape=(1, 6, 7))) == {"inputs untouched"}


def test_a_wrong_border_on_a_large_float32_image():
    def filtered(mode):
        return lambda x: np.stack([uniform_filter(plane, 5, mode=mode) for plane in x])

    report = bp.check((filtered("mirror"), filtered("nearest")), in_shape=(3, 180, 200), like=np.zeros(1, np.float32))
    assert "dense twin" in broken(report)


def test_a_scale_that_is_slightly_off():
    report = bp.check(
        (lambda x: x, lambda y: np.float32(1.0001) * y), in_shape=(3, 64, 64), like=np.zeros(1, np.float32)
    )
    assert "dense twin" in broken(report)


def test_nan_is_within_no_tolerance():
    report = bp.check((lambda x: x * np.nan, lambda y: y * np.nan), in_shape=(2, 3, 4))
    assert {"linearity", "adjoint", "dense twin"} <= broken(report)


def test_an_operator_that_reuses_its_output():
    out = np.empty((2, 5, 6))

    def twice(x):
        np.multiply(x, 2.0, out=out)
        return out

    assert bp.check((twice, twice), in_shape=(2, 5, 6)).passed


def test_correct_foreign_operators():
    rng = np.random.default_rng(0)
    for matrix in (rng.random((5, 7)), np.eye(4, dtype=int), np.zeros((3, 2))):
        assert bp.check(aslinearoperator(matrix)).passed


def test_complex_operators_are_refused():
    matrix = np.array([[1, 1j], [0, 2]])
    for operator in (
        aslinearoperator(matrix),
        ScipyOperator((2, 2), matvec=lambda v: matrix @ v, rmatvec=lambda v: matrix.T @ v, dtype=complex),
    ):
        with pytest.raises(TypeError, match="real operator"):
            bp.check(operator)


def test_a_foreign_operator_that_fails_at_once():
    def fail(x):
        raise RuntimeError("boom")

    with pytest.raises(ValueError, match="boom"):
        bp.check((fail, fail), in_shape=(2, 3, 4))
    with pytest.raises(ValueError, match="forward"):
        bp.check((lambda x: None, fail), in_shape=(2, 3, 4))
    with pytest.raises(ValueError, match="samples"):
        bp.check(bp.Identity((1, 2, 3)), samples=0)
    with pytest.raises(TypeError, match="float32"):
        bp.check((fail, fail), in_shape=(2, 3, 4), like=np.zeros(1, int))


def test_an_adjoint_that_fails_is_a_broken_law():
    def fail(y):
        raise RuntimeError("boom")

    report = bp.check((lambda x: 2 * x, fail), in_shape=(2, 3, 4))
    assert not report.passed and any("boom" in row.detail for row in report.rows)
