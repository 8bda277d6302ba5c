"""Preconditioners: symmetric positive definite, close to the inverse, and fewer steps for it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import solvers
from solvers import Status
from solvers.preconditioners.tiles import Tiles
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy


def smooth(height, width, low=0.6, high=1.6, channels=2, dtype=float):
    """GKM whose blur grows from left to right."""
    radius = 2 * np.linspace(low, high, width) * np.ones((height, 1))
    sigmas = tuple(np.linspace(low, high, 9).tolist())
    beta = bp.maps.defocus_to_beta(radius.astype(dtype), sigmas)
    return bp.GKM(beta, sigmas=sigmas, channels=channels)


def dense(M, shape):
    n = int(np.prod(shape))
    return np.stack([M(e.reshape(shape)).ravel() for e in np.eye(n)], axis=1)


OPERATORS = {
    "gkm": lambda: smooth(14, 19, channels=1),
    "dual pixel": lambda: bp.DualPixel(
        np.linspace(-2, 2, 14 * 19).reshape(14, 19),
        bank=bp.PSFBank(bp.Pupil.disk(split=0.3), max_radius=2, step=0.5),
        channels=1,
    ),
    "mixed colours": lambda: bp.GKM(
        np.full((2, 12, 13), 0.5), sigmas=(0.0, 1.0), channels=2, mix=np.random.default_rng(0).random((3, 2, 2))
    ),
    "circular": lambda: bp.Convolution(
        np.random.default_rng(0).random((3, 4)) / 6, shape=(2, 9, 11), boundary="circular"
    ),
    "identity": lambda: bp.Identity((1, 6, 7)),
    "tiny image": lambda: bp.Convolution(np.full((1, 3), 1 / 3), shape=(1, 2, 3)),
}


@pytest.mark.parametrize("make", [solvers.local_fourier, solvers.diagonal])
@pytest.mark.parametrize("name", OPERATORS)
def test_symmetric_positive_definite(make, name):
    A = OPERATORS[name]()
    matrix = dense(make(A, rho=0.05), A.in_shape)
    assert np.abs(matrix - matrix.T).max() <= 1e-12 * np.abs(matrix).max()
    assert np.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize("name", ["mixed colours", "circular", "identity"])
def test_close_to_the_inverse(name):
    """The condition number of M (A^T A + rho I) is a fraction of that of A^T A + rho I."""
    A = OPERATORS[name]()
    normal = bp.to_dense(A).T @ bp.to_dense(A) + 0.02 * np.eye(int(np.prod(A.in_shape)))
    M = dense(solvers.local_fourier(A, rho=0.02), A.in_shape)
    values = np.sort(np.linalg.eigvals(M @ normal).real)
    assert values[-1] / values[0] < 1 + 0.1 * np.linalg.cond(normal)


def test_identity_is_inverted_exactly():
    A = bp.Identity((2, 20, 31))
    r = np.random.default_rng(0).random(A.in_shape)
    assert np.allclose(solvers.local_fourier(A, rho=0.5)(r), r / 1.5, atol=1e-12)
    assert np.allclose(solvers.local_fourier(A, rho=0.5, inverse_of="operator")(r), r / 1.5, atol=1e-12)
    assert np.allclose(solvers.diagonal(2.0 * A, rho=1.0)(r), r / 5, atol=1e-12)


def test_a_diagonal_operator_has_its_diagonal():
    gain = np.random.default_rng(0).uniform(0.5, 2, (1, 8, 9))
    A = bp.PixelPSF(gain[0][..., None, None], channels=1)
    r = np.random.default_rng(1).random(A.in_shape)
    assert np.allclose(solvers.diagonal(A, rho=0.1, spacing=1)(r), r / (gain**2 + 0.1))


@pytest.mark.parametrize("name", ["gkm", "dual pixel", "circular"])
def test_the_diagonal_is_exact_on_a_wide_lattice(name):
    A = OPERATORS[name]()
    A = A if A.in_shape[0] == 1 else bp.Convolution(A.psf, shape=(1, *A.in_shape[1:]), boundary=A.boundary)
    expected = (bp.to_dense(A) ** 2).sum(axis=0).reshape(A.in_shape)
    ones = np.ones(A.in_shape)
    assert np.allclose(1 / solvers.diagonal(A, rho=0.5, spacing=40)(ones), expected + 0.5)


def test_the_diagonal_helps_against_vignetting():
    gain = bp.PixelPSF(np.exp(-np.linspace(0, 4, 30 * 40)).reshape(30, 40, 1, 1), channels=1)
    A = gain @ bp.Convolution(bp.psf.gaussian(0.5, 5), shape=(1, 30, 40))
    normal, b = A.H @ A + 1e-6 * bp.Identity(A.in_shape), np.random.default_rng(0).random(A.in_shape)
    plain = solvers.cg(normal, b, tol=1e-6, max_iterations=1000)
    quick = solvers.cg(normal, b, tol=1e-6, max_iterations=1000, preconditioner=solvers.diagonal(A, rho=1e-6))
    assert quick.iterations < plain.iterations / 3


def test_three_times_fewer_steps():
    A = smooth(60, 90)
    x = np.random.default_rng(0).random(A.in_shape)
    normal, b = A.H @ A + 1e-3 * bp.Identity(A.in_shape), A.H(A(x))
    plain = solvers.cg(normal, b, tol=1e-5, max_iterations=500)
    quick = solvers.cg(normal, b, tol=1e-5, max_iterations=500, preconditioner=solvers.local_fourier(A, rho=1e-3))
    assert plain.converged
    assert quick.converged
    assert quick.iterations <= plain.iterations / 3
    assert np.abs(quick.x - plain.x).max() < 0.05


class Own(bp.LinearOperator):
    """An operator of somebody's own: it tells neither its halo nor its boundary."""

    def __init__(self, boundary):
        self.inner = bp.Convolution(bp.psf.gaussian(1.5, 9), shape=(1, 64, 96), boundary=boundary)

    in_shape = out_shape = (1, 64, 96)

    def _forward(self, x):
        return self.inner(x)

    def _adjoint(self, y):
        return self.inner.adjoint(y)


@pytest.mark.parametrize("boundary", ("circular", "reflect", "zero", "replicate"))
def test_an_operator_that_tells_nothing_of_itself_is_helped_too(boundary):
    A = Own(boundary)
    b = np.random.default_rng(0).random(A.in_shape)
    normal = A.H @ A + 1e-3 * bp.Identity(A.in_shape)
    plain = solvers.cg(normal, b, tol=1e-4, max_iterations=500)
    M = solvers.local_fourier(A, rho=1e-3)
    helped = solvers.cg(normal, b, preconditioner=M, tol=1e-4, max_iterations=500)
    assert helped.converged
    assert helped.iterations < 0.5 * plain.iterations


def test_combinations_have_the_boundary_of_their_parts():
    A = bp.Convolution(bp.psf.gaussian(1.5, 9), shape=(1, 64, 96), boundary="circular")
    r = np.random.default_rng(1).random(A.in_shape)
    M, twice = solvers.local_fourier(A, rho=1e-3), solvers.local_fourier(1.0 * A, rho=1e-3)
    np.testing.assert_allclose(twice(r), M(r), rtol=0, atol=1e-12 * np.abs(M(r)).max())


@pytest.mark.parametrize("name", ["gmres", "bicgstab"])
def test_the_local_wiener_filter_for_methods_without_an_adjoint(name):
    A = smooth(40, 60)
    y = A(np.random.default_rng(0).random(A.in_shape))
    M = solvers.local_fourier(A, rho=1e-4, inverse_of="operator")
    plain = getattr(solvers, name)(A, y, tol=1e-3, max_iterations=300)
    quick = getattr(solvers, name)(A, y, tol=1e-3, max_iterations=300, preconditioner=M)
    assert quick.converged
    assert quick.iterations <= plain.iterations / 3


def test_it_serves_hqs_with_a_changing_rho():
    A = smooth(40, 60)
    y = A(np.random.default_rng(0).random(A.in_shape))
    made = []

    def preconditioner(rho):
        made.append(rho)
        return solvers.local_fourier(A, rho=rho)

    options = {"prox": lambda x, s: x / (1 + s), "rho": (0.01, 0.1, 0.1), "strength": 1e-3, "inner_tol": 1e-8}
    quick = solvers.hqs(A, y, preconditioner=preconditioner, inner_iterations=60, **options)
    plain = solvers.hqs(A, y, inner_iterations=400, **options)
    assert made == [0.01, 0.1]
    assert quick.operator_applications < plain.operator_applications / 2
    assert np.allclose(quick.x, plain.x, atol=1e-6)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inverse_of", ["normal", "operator"])
def test_every_namespace(namespace, dtype, inverse_of):
    A = smooth(10, 13)
    beta = to_namespace(A.beta.astype(dtype), namespace)
    r = np.random.default_rng(0).random((2, *A.in_shape))
    M = solvers.local_fourier(A.replace(beta=beta), rho=0.1, inverse_of=inverse_of)
    found = M(to_namespace(r.astype(dtype), namespace))
    expected = solvers.local_fourier(A, rho=0.1, inverse_of=inverse_of)(r)
    assert found.dtype == beta.dtype
    assert np.abs(to_numpy(found) - expected).max() < (1e-4 if dtype == "float32" else 1e-12) * np.abs(expected).max()


def test_a_batch_of_maps_has_a_filter_for_each():
    one, two = smooth(12, 15, 0.4, 0.9), smooth(12, 15, 0.4, 0.9)
    beta = np.stack([one.beta, two.beta[..., ::-1]])
    r = np.random.default_rng(0).random((2, *one.in_shape))
    both = solvers.local_fourier(one.replace(beta=beta), rho=0.1)(r)
    for i in range(2):
        assert np.allclose(both[i], solvers.local_fourier(one.replace(beta=beta[i]), rho=0.1)(r[i]), atol=1e-12)


def test_gradients():
    A = bp.Convolution(torch.rand(3, 3, dtype=torch.float64) / 5, shape=(1, 6, 7))
    M = solvers.local_fourier(A, rho=0.1, tile=4, margin=2)
    assert torch.autograd.gradcheck(M, torch.rand(1, 6, 7, dtype=torch.float64, requires_grad=True))


INDEFINITE = {
    "negative": lambda r: -r,
    "one pixel": lambda r: r * np.where(np.arange(r.size).reshape(r.shape) == 0, -1.0, 1.0),
    "alternating": lambda r: r * np.where(np.arange(r.size).reshape(r.shape) % 2 == 0, -1.0, 1.0),
    "shifted": lambda r: np.roll(r, 1, axis=-1),
}
PRECONDITIONED = {
    "cg": lambda A, y, M: solvers.cg(A, y, preconditioner=M),
    "hqs": lambda A, y, M: solvers.hqs(A, y, prox=shrink, rho=0.1, strength=3e-4, preconditioner=lambda rho: M),
    "admm": lambda A, y, M: solvers.admm(A, y, prox=shrink, rho=0.1, strength=3e-4, preconditioner=lambda rho: M),
    "gmres": lambda A, y, M: solvers.gmres(A, y, preconditioner=M, max_iterations=400),
    "bicgstab": lambda A, y, M: solvers.bicgstab(A, y, preconditioner=M, max_iterations=400),
}


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


@pytest.mark.parametrize("name", ["cg", "hqs", "admm"])
@pytest.mark.parametrize("kind", INDEFINITE)
def test_one_that_is_not_positive_definite_is_indefinite(name, kind):
    p = problems.spd()
    solution = PRECONDITIONED[name](p.A, p.y, INDEFINITE[kind])
    assert solution.status is Status.INDEFINITE
    assert "preconditioner" in str(solution.status)
    assert np.isfinite(solution.x).all()


@pytest.mark.parametrize("name", ["gmres", "bicgstab"])
@pytest.mark.parametrize("kind", ["negative", "one pixel", "alternating"])
def test_other_methods_take_one_that_is_not_positive_definite(name, kind):
    p = problems.spd()
    solution = PRECONDITIONED[name](p.A, p.y, INDEFINITE[kind])
    assert solution.status is Status.CONVERGED
    assert np.linalg.norm(p.y - p.A(solution.x)) <= 1e-6 * np.linalg.norm(p.y)


@pytest.mark.parametrize("name", PRECONDITIONED)
@pytest.mark.parametrize("M", [lambda r: 0 * r, lambda r: np.nan * r, lambda r: np.inf * r])
def test_one_of_zeros_or_nan_solves_nothing(name, M):
    p = problems.spd()
    solution = PRECONDITIONED[name](p.A, p.y, M)
    assert solution.status in (Status.INDEFINITE, Status.STALLED, Status.NONFINITE)
    assert np.isfinite(solution.x).all()


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_one_that_returns_no_image(name):
    p = problems.spd()
    with pytest.raises(ValueError, match=rf"{name}: preconditioner\(r\) has shape \(2, 3, 1\), expected \(2, 3, 4\)"):
        PRECONDITIONED[name](p.A, p.y, lambda r: r[..., :1])
    for wrong in (None, 1.0):
        with pytest.raises(TypeError, match=rf"{name}: expected preconditioner\(r\) to be"):
            PRECONDITIONED[name](p.A, p.y, lambda r, wrong=wrong: wrong)
    with pytest.raises(TypeError, match=rf"{name}: expected preconditioner\(r\) to be floating point.*complex128"):
        PRECONDITIONED[name](p.A, p.y, lambda r: r + 0j)


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_one_of_another_precision_is_taken(name):
    p = problems.spd()
    solution = PRECONDITIONED[name](p.A, p.y, lambda r: 0.5 * r.astype(np.float32))
    assert solution.x.dtype == np.float64
    assert solution.status is Status.CONVERGED


@pytest.mark.parametrize("name", ["hqs", "admm"])
def test_one_that_does_not_wait_for_rho(name):
    p = problems.spd()
    with pytest.raises(ValueError, match=rf"{name}: preconditioner\(rho\) must be callable, got 0\.1"):
        getattr(solvers, name)(p.A, p.y, prox=shrink, rho=0.1, preconditioner=lambda r: r)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(4, 16),
    st.integers(0, 16),
    st.integers(0, 9),
    st.sampled_from(["reflect", "symmetric", "replicate", "circular", "zero"]),
)
@examples(50)
def test_tiles(size, tile, overlap, margin, boundary):
    tiles = Tiles(*size, tile, min(overlap, tile), margin, boundary)
    rng = np.random.default_rng(0)
    x = rng.random((2, *size))
    squares = tiles.cut(x)
    u = rng.random(squares.shape)
    assert squares.shape == (2, tiles.down, tiles.across, tiles.size, tiles.size)
    assert np.isclose(np.vdot(squares, u), np.vdot(x, tiles.cut_adjoint(u)))
    assert np.isclose(np.vdot(tiles.join(u), x), np.vdot(u, tiles.join_adjoint(x)))
    assert np.allclose(tiles.join(tiles.window * squares), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda A: solvers.local_fourier(A, rho=0.0), "rho must be a positive"),
        (lambda A: solvers.local_fourier(A, rho=-1), "rho"),
        (lambda A: solvers.local_fourier(A, rho=0.1, tile=3), "tile must be an integer >= 4"),
        (lambda A: solvers.local_fourier(A, rho=0.1, tile=8, overlap=9), "at most tile = 8"),
        (lambda A: solvers.local_fourier(A, rho=0.1, margin=-1), "margin"),
        (lambda A: solvers.local_fourier(A, rho=0.1, inverse_of="all"), "inverse_of must be"),
        (lambda A: solvers.local_fourier(bp.stack([A, A]), rho=0.1, inverse_of="operator"), "needs a square A"),
        (lambda A: solvers.local_fourier(lambda x: x, rho=0.1), "expected an operator of blurphys"),
        (lambda A: solvers.diagonal(lambda x: x, rho=0.1), "expected an operator of blurphys"),
        (lambda A: solvers.diagonal(A, rho=0.1, spacing=0), "spacing"),
        (lambda A: solvers.diagonal(0.0 * A, rho=0.0), "maps everything to zero"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make(bp.Identity((1, 8, 9)))
