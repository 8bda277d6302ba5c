"""Pixels that were not observed: every solver leaves them out of its data term."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import solvers
from tests import problems
from tests.strategies import NAMESPACES, to_namespace, to_numpy

SQUARE = problems.varying()
SOLVERS = {
    "fixed_point": {},
    "neumann": {"terms": 3},
    "cg": {},
    "cgls": {},
    "lsqr": {},
    "landweber": {"max_iterations": 5},
    "gmres": {},
    "bicgstab": {},
    "richardson_lucy": {"max_iterations": 5},
    "admm": {"prox": solvers.tv, "rho": 0.1, "max_iterations": 2},
    "fista": {"prox": solvers.tv, "max_iterations": 3},
    "hqs": {"prox": solvers.tv, "rho": 0.1, "max_iterations": 2},
}


def half(shape, seed=0):
    """A mask that hides about a third of the pixels, but never all."""
    mask = np.random.default_rng(seed).random(shape) < 2 / 3
    mask[..., 0, 0] = True
    return mask


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("junk", [0.0, 7.0, np.nan, np.inf])
def test_what_the_mask_hides_does_not_count(name, junk):
    mask = half(SQUARE.y.shape)
    solve = getattr(solvers, name)
    clean = solve(SQUARE.A, np.where(mask, SQUARE.y, 0.0), mask=mask, **SOLVERS[name])
    assert np.array_equal(solve(SQUARE.A, np.where(mask, SQUARE.y, junk), mask=mask, **SOLVERS[name]).x, clean.x)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_mask_of_ones_changes_nothing(name):
    solve = getattr(solvers, name)
    bare = solve(SQUARE.A, SQUARE.y, **SOLVERS[name])
    full = solve(SQUARE.A, SQUARE.y, mask=np.ones(SQUARE.y.shape[-2:], dtype=bool), **SOLVERS[name])
    assert np.array_equal(bare.x, full.x)
    assert bare.residuals == full.residuals


@given(st.integers(0, 2**16), st.booleans())
def test_cgls_solves_the_observed_rows(seed, weighted):
    p = problems.rectangular(seed=seed % 7)
    rng = np.random.default_rng(seed)
    mask = half(p.y.shape, seed)
    weights = np.where(mask, rng.uniform(0.2, 1.0, p.y.shape), 0.0) if weighted else mask
    y = rng.normal(size=p.y.shape)
    solution = solvers.cgls(p.A, y, x0=np.zeros(p.x.shape), mask=weights, tol=1e-11, max_iterations=2000)
    m = np.asarray(weights, dtype=float).ravel()
    expected = np.linalg.lstsq(m[:, None] * p.A.matrix, m * y.ravel(), rcond=None)[0]
    gradient = p.A.matrix.T @ (m * m * (p.A.matrix @ (solution.x.ravel() - expected)))
    assert np.linalg.norm(gradient) <= 1e-9 * np.linalg.norm(p.A.matrix.T @ (m * m * y.ravel()))


@given(st.integers(0, 2**16))
def test_cg_solves_the_observed_block(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(12, 12))
    matrix = root @ root.T + 3 * np.eye(12)
    b, x0, mask = rng.normal(size=(1, 3, 4)), rng.normal(size=(1, 3, 4)), half((1, 3, 4), seed)
    solution = solvers.cg(
        lambda x: (matrix @ x.ravel()).reshape(x.shape), b, x0=x0, mask=mask, tol=1e-12,
        preconditioner=lambda r: r / np.diag(matrix).reshape(r.shape),
    )  # fmt: skip
    seen = mask.ravel()
    block = matrix[np.ix_(seen, seen)]
    right = b.ravel()[seen] - matrix[np.ix_(seen, ~seen)] @ x0.ravel()[~seen]
    assert np.array_equal(solution.x[~mask], x0[~mask])
    assert np.allclose(solution.x.ravel()[seen], np.linalg.solve(block, right), atol=1e-8)


@pytest.mark.parametrize("name", ["fixed_point", "cg", "gmres", "bicgstab"])
def test_square_methods_keep_the_start_where_nothing_was_observed(name):
    mask = half(SQUARE.y.shape)
    x0 = np.full(SQUARE.y.shape, 0.25)
    solution = getattr(solvers, name)(SQUARE.A, SQUARE.y, x0=x0, mask=mask, max_iterations=4, tol=1e-12)
    assert np.array_equal(solution.x[~mask], x0[~mask])
    assert not np.array_equal(solution.x[mask], x0[mask])


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_namespace_takes_a_mask(namespace):
    p = problems.varying(namespace, "float32", (2,))
    mask = half((2, 1, *p.y.shape[-2:]))
    solution = solvers.cgls(p.A, p.y, mask=to_namespace(mask, namespace), max_iterations=5)
    assert solution.x.dtype == p.y.dtype
    reference = problems.varying("numpy", "float64", (2,))
    expected = solvers.cgls(reference.A, reference.y, mask=mask, max_iterations=5)
    assert np.abs(to_numpy(solution.x) - expected.x).max() < 1e-4


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (np.zeros(SQUARE.y.shape, dtype=bool), ValueError, "nothing was observed"),
        (np.full(SQUARE.y.shape, 255.0), ValueError, "8-bit"),
        (np.full(SQUARE.y.shape, -0.5), ValueError, "0 to 1"),
        (np.full(SQUARE.y.shape, np.nan), ValueError, "0 to 1"),
        (np.ones(SQUARE.y.shape[::-1], dtype=bool), ValueError, "broadcast"),
        (np.ones((3, *SQUARE.y.shape), dtype=bool), ValueError, "broadcast"),
        (np.ones(SQUARE.y.shape, dtype=np.uint8), TypeError, "mask"),
        (np.ones(SQUARE.y.shape, dtype=np.float32), TypeError, "mask"),
        (torch.ones(SQUARE.y.shape, dtype=torch.float64), TypeError, "mask"),
        (True, TypeError, "mask must be an array"),
    ],
)
def test_a_bad_mask(name, mask, error, words):
    with pytest.raises(error, match=words):
        getattr(solvers, name)(SQUARE.A, SQUARE.y, mask=mask, **SOLVERS[name])


def test_one_image_of_a_batch_without_a_pixel():
    p = problems.varying("numpy", "float64", (2,))
    mask = np.ones(p.y.shape, dtype=bool)
    mask[1] = False
    with pytest.raises(ValueError, match="zero everywhere in an image"):
        solvers.cgls(p.A, p.y, mask=mask)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_that_were_rounded_are_weights(dtype):
    """A resized or blurred mask leaves [0, 1] by a few roundings."""
    p = problems.circular_gaussian("numpy", dtype)
    eps = np.finfo(dtype).eps
    mask = np.ones(p.y.shape, dtype)
    mask[0, 0, :3] = [-eps / 100, -20 * eps, 1 + 20 * eps]
    whole = np.clip(mask, 0, 1)
    found, expected = (solvers.cgls(p.A, p.y, mask=m, max_iterations=4, tol=1e-12).x for m in (mask, whole))
    assert np.array_equal(found, expected)
    with pytest.raises(ValueError, match="weights from 0 to 1"):
        solvers.cgls(p.A, p.y, mask=np.where(mask == 1, np.asarray(1.01, dtype), mask))
