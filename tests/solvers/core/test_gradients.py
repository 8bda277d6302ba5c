"""torch gradients through the steps, against finite differences and against the adjoint."""

import numpy as np
import pytest
import torch

import solvers
from tests import problems


def blur(maps):
    return problems.VaryingBlur(maps / maps.sum(dim=0, keepdim=True), ((0, 0), (0, 1), (1, 0)), 1)


@pytest.fixture
def parts():
    rng = np.random.default_rng(2)
    maps = rng.uniform(0.1, 1.0, (3, 3, 4))
    maps[0] += 2.0
    y = rng.uniform(0.1, 1.0, (2, 1, 3, 4))
    return torch.tensor(y, requires_grad=True), torch.tensor(maps, requires_grad=True)


def unrolled_fixed_point(y, maps, damping):
    A = blur(maps)
    state = solvers.fixed_point_init(A, y)
    for k in range(3):
        state = solvers.fixed_point_step(A, y, state, damping=damping[k])
    return state.x


def unrolled_neumann(y, maps, weights):
    A, state, total = blur(maps), solvers.neumann_init(y), weights[0] * y
    for weight in weights[1:]:
        state = solvers.neumann_step(A, state)
        total = total + weight * state.term
    return total


def unrolled_cg(y, maps, rho):
    A = blur(maps)

    def normal(v):
        return A.adjoint(A(v)) + rho[0] * v

    state = solvers.cg_init(normal, A.adjoint(y), x0=y)
    for _ in range(3):
        state = solvers.cg_step(normal, state)
    return state.x


def unrolled_cgls(y, maps, scale):
    A = blur(maps)
    state = solvers.cgls_init(A, y, x0=scale[0] * y)
    for _ in range(3):
        state = solvers.cgls_step(A, state)
    return state.x


def unrolled_hqs(y, maps, rho):
    A, state = blur(maps), None
    state = solvers.hqs_init(A, y)
    for k in range(2):
        state = solvers.hqs_step(
            A, y, state, prox=lambda x, s: x / (1 + s), rho=rho[k], strength=rho[2], inner_iterations=2
        )
    return state.z


UNROLLED = (unrolled_fixed_point, unrolled_neumann, unrolled_cg, unrolled_cgls, unrolled_hqs)


@pytest.mark.parametrize("unrolled", UNROLLED)
def test_gradcheck_through_unrolled_steps(unrolled, parts):
    learned = torch.tensor([0.7, 0.9, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unrolled, (*parts, learned))


def test_gradcheck_through_the_prox():
    torch.manual_seed(0)
    x = torch.rand(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    strength = torch.tensor(0.11, dtype=torch.float64, requires_grad=True)
    for joint in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, s, joint=joint: solvers.tv(x, s, iterations=4, joint=joint), (x, strength)
        )


def test_gradients_stay_finite_where_an_image_is_solved_exactly():
    y = torch.zeros(1, 2, 2, dtype=torch.float64, requires_grad=True)
    state = solvers.cg_init(lambda v: 2 * v, y)
    for _ in range(3):
        state = solvers.cg_step(lambda v: 2 * v, state)
    state.x.sum().backward()
    assert torch.isfinite(y.grad).all()
    flat = torch.ones(1, 3, 3, dtype=torch.float64, requires_grad=True)
    solvers.tv(flat, 0.1).sum().backward()
    assert torch.allclose(flat.grad, torch.ones_like(flat))


def test_the_gradient_of_a_linear_solver_is_its_transpose(parts):
    y, maps = parts
    A = blur(maps.detach())
    state = solvers.fixed_point_init(A, y)
    for _ in range(60):
        state = solvers.fixed_point_step(A, y, state)
    seed = torch.rand_like(y)
    (found,) = torch.autograd.grad(state.x, y, seed)

    class Transposed(problems.Small):
        in_shape = out_shape = A.in_shape
        forward = staticmethod(A.adjoint)

    expected = solvers.fixed_point(Transposed(), seed, tol=1e-14, max_iterations=300).x
    assert torch.allclose(found, expected, atol=1e-10)


def test_the_in_place_prox_steps_aside_inside_vmap():
    x = torch.rand(4, 1, 3, 3, dtype=torch.float64)
    inside = torch.func.vmap(lambda v: solvers.tv(v, 0.1, iterations=3))(x)
    assert torch.allclose(inside, solvers.tv(x, 0.1, iterations=3))
