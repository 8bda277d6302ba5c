"""The initial guess that solvers take where none is given."""

import numpy as np
import pytest

import blurphys as bp
import solvers
import synth
from solvers.core.problem import problem
from tests import problems
from tests.profiles import NIGHTLY
from tests.strategies import NAMESPACES, to_namespace, to_numpy


def start_of(A, y, **more):
    return problem("solver", A, y, None, tol=1e-3, max_iterations=3, **more).start


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_it_is_the_mean_of_the_views(namespace, batch):
    A = bp.stack([bp.Identity((2, 4, 5)), 0.5 * bp.Identity((2, 4, 5)), bp.Identity((2, 4, 5))])
    y = np.random.default_rng(0).random((*batch, *A.out_shape))
    expected = (y[..., :2, :, :] + y[..., 2:4, :, :] + y[..., 4:, :, :]) / 3
    found = start_of(A, to_namespace(y, namespace))
    assert type(found) is type(to_namespace(y, namespace))
    assert np.allclose(to_numpy(found), expected, rtol=0, atol=1e-15)


def test_of_the_views_that_were_observed():
    A = bp.stack([bp.Identity((1, 2, 2)), bp.Identity((1, 2, 2))])
    y = np.array([[[1.0, 2.0], [3.0, np.nan]], [[5.0, np.nan], [7.0, np.nan]]])
    found = start_of(A, y, mask=np.isfinite(y))
    assert np.array_equal(found, [[[3.0, 2.0], [5.0, 0.0]]])


def test_where_the_shapes_do_not_tell_nothing_changes():
    y = np.ones((5, 4, 5))
    square = problems.identity()
    assert start_of(square.A, square.y) is square.y
    assert start_of(lambda x: x, y) is y
    for columns in ((2, 4, 5), (5, 4, 6), (10, 4, 5)):
        A = problems.Matrix(np.zeros((100, int(np.prod(columns)))), columns, (5, 4, 5))
        assert not start_of(A, y).any()


@pytest.mark.parametrize("seed", [1, *([2] if NIGHTLY else [])])
def test_it_is_closer_and_takes_no_more_iterations(seed):
    scene = synth.scenes.slanted_planes(48, 56, planes=3, seed=seed)
    camera = synth.Camera.for_scene(scene, max_radius=3)
    radii = np.clip(camera.defocus_map(scene.depth_m), -3, 3)
    A = bp.DualPixel(radii, bank=bp.PSFBank(bp.Pupil.disk(split=0.4), max_radius=3.0))
    sharp = np.asarray(scene.all_in_focus, dtype=np.float64)
    y = A(sharp) + 0.003 * np.random.default_rng(seed).standard_normal(A.out_shape)
    zeros = np.zeros_like(sharp)
    assert np.linalg.norm(start_of(A, y) - sharp) < 0.5 * np.linalg.norm(zeros - sharp)
    for solve in (
        lambda x0: solvers.cgls(A, y, x0=x0, tol=1e-3, max_iterations=100),
        lambda x0: solvers.lsqr(A, y, x0=x0, tol=1e-3, max_iterations=100),
        lambda x0: solvers.landweber(A, y, x0=x0, tol=1e-2, max_iterations=200),
        lambda x0: solvers.fista(A, y, prox=solvers.tv, strength=3e-4, x0=x0, tol=1e-3, max_iterations=200),
        lambda x0: solvers.admm(A, y, prox=solvers.tv, rho=0.03, strength=3e-4, x0=x0, tol=3e-3),
    ):
        given, default = solve(zeros), solve(None)
        assert default.converged and given.converged
        assert default.iterations <= given.iterations
        assert default.residuals[0] < given.residuals[0]
    few = {"prox": solvers.tv, "strength": 3e-4, "rho": (0.01, 0.1), "inner_iterations": 3}
    errors = [np.linalg.norm(solvers.hqs(A, y, x0=x0, **few).x - sharp) for x0 in (None, zeros)]
    assert errors[0] < errors[1]
