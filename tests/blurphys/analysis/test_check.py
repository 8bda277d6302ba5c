"""`bp.check`: what it must catch, what it must not, and what it refuses."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from scipy.sparse.linalg import aslinearoperator

import blurphys as bp
from blurphys.analysis.reach import measure_reach
from tests.cases import CASES, DAILY
from tests.strategies import Setup


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


# ---- halo


class Blur(bp.LinearOperator):
    """A convolution that says of itself what it is told to say."""

    def __init__(self, halo, boundary="reflect", said=None):
        self.inner = bp.Convolution(bp.psf.gaussian(1.5, 9), shape=(2, 24, 30), boundary=boundary)
        self.said = halo
        if said is not None:
            self.boundary = said

    in_shape = property(lambda self: self.inner.in_shape)
    out_shape = property(lambda self: self.inner.out_shape)
    halo = property(lambda self: self.said)

    def _forward(self, x):
        return self.inner(x)

    def _adjoint(self, y):
        return self.inner.adjoint(y)


class Silent(Blur):
    halo = bp.LinearOperator.halo


def halo_row(A):
    return next(row for row in bp.check(A).rows if row.name == "halo")


def test_an_operator_that_looks_further_than_it_tells():
    for halo, passed in ((4, True), (9, True), (3, False), (0, False)):
        report = bp.check(Blur(halo))
        assert broken(report) == (set() if passed else {"halo"})
        assert bool(report) is passed
    assert "its reach is larger than A.halo" in str(report)
    assert "NOT a linear operator" not in str(report)
    assert broken(bp.check(3.0 * Blur(4) @ Blur(4))) == set()
    assert broken(bp.check(bp.stack([Blur(4), Blur(2)]).H)) == set()  # the larger one of the two is enough
    assert broken(bp.check(Blur(4) @ Blur(3))) == {"halo"}


def test_an_unknown_halo_is_measured_and_no_fault():
    A = Silent(None)
    assert A.halo is None
    assert (2 * A).halo is (A.H @ A).halo is (A + bp.Identity(A.in_shape)).halo is bp.stack([A, A]).halo is None
    row = halo_row(A)
    assert (row.passed, row.figure, row.tolerance) == (None, 4.0, None)
    assert halo_row(A.H @ A).figure == 8.0
    pair = (lambda x: np.roll(x, 3, -1), lambda y: np.roll(y, -3, -1))
    report = bp.check(pair, in_shape=(1, 20, 30))
    assert next(row.figure for row in report.rows if row.name == "halo") == 3.0  # around the frame


def test_distances_go_around_the_frame_only_where_the_operator_does():
    assert halo_row(Blur(4, "circular", said="circular")).passed
    assert halo_row(Blur(4, "circular")).passed  # who does not tell a boundary may wrap around
    assert halo_row(Blur(4, "circular", said="reflect")).figure == 29.0
    flipped = bp.check((lambda x: x[..., ::-1].copy(), lambda y: y[..., ::-1].copy()), in_shape=(1, 20, 30))
    assert next(row.figure for row in flipped.rows if row.name == "halo") >= 10


def test_where_a_halo_has_no_meaning():
    for A in (np.eye(6), np.ones((3, 5))):
        assert next(row for row in bp.check(aslinearoperator(A)).rows if row.name == "halo").passed is None


@pytest.mark.parametrize("boundary", ("zero", "circular"))
@pytest.mark.parametrize("name", DAILY)
def test_every_operator_keeps_the_promise_of_its_halo(name, boundary):
    s = Setup(boundary=boundary, height=27, width=30, support=(5, 6), batch=(2,), seed=2)
    built = CASES[name](s)
    reach = measure_reach(built.A)
    assert isinstance(built.A.halo, int)
    assert reach <= built.A.halo
    assert 2 * reach >= built.A.halo  # and it is no idle one: narrow Gaussians end early, layers see their own shares


def test_a_circular_part_does_not_hide_how_far_the_others_look():
    """Around the frame everything is near."""
    short = Blur(2, said="zero")
    ring = bp.Convolution(bp.psf.gaussian(0.5, 3), shape=(2, 24, 30), boundary="circular")
    assert broken(bp.check(short + ring)) == broken(bp.check(short)) == {"halo"}
    assert bp.check(Blur(4, said="zero") + ring).passed
