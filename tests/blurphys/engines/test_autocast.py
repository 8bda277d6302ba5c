"""Under torch's autocast operators compute in their own precision, forward, backward and in solvers."""

from __future__ import annotations

import warnings

import pytest
import torch

import blurphys as bp
import solvers
from tests.cases import CASES, DAILY
from tests.strategies import Setup

HALVES = (torch.bfloat16, torch.float16)


def image(shape, seed=1, dtype=torch.bfloat16):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("name", DAILY)
def test_every_operator_computes_in_its_own_precision(name):
    s = Setup(namespace="torch", dtype="float32", height=6, width=7, seed=5)
    A = CASES[name](s).A
    for half in HALVES:
        x, u = image(A.in_shape, dtype=half).requires_grad_(), image(A.out_shape, 2, half)
        with torch.autocast("cpu", dtype=half):
            y, back = A(x), A.adjoint(u)
            single = A(x.detach().float())
            (y * u).sum().backward()
        assert y.dtype == back.dtype == single.dtype == torch.float32
        wide = x.detach().float().requires_grad_()
        wanted = A(wide)
        (wanted * u.float()).sum().backward()
        torch.testing.assert_close(y, wanted, rtol=0, atol=0)
        torch.testing.assert_close(single, wanted, rtol=0, atol=0)
        torch.testing.assert_close(back, A.adjoint(u.float()), rtol=0, atol=0)
        assert x.grad.dtype == half
        torch.testing.assert_close(x.grad, wide.grad.to(half), rtol=0, atol=0)


def test_maps_learn_behind_a_convolution():
    def gradients(enabled):
        torch.manual_seed(0)
        layer, beta = torch.nn.Conv2d(3, 3, 3, padding=1), torch.full((2, 12, 14), 0.5, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            A = bp.GKM(beta, sigmas=(0.0, 1.5))
            loss = (A(layer(image((2, 3, 12, 14), dtype=torch.float32))) ** 2).mean()
            loss.backward()
        return loss.detach(), beta.grad, layer.weight.grad

    for found, exact in zip(gradients(True), gradients(False), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, exact, rtol=0.03, atol=0.03 * float(exact.abs().max()))


def test_a_double_operator_stays_double():
    A = bp.GKM(torch.full((2, 6, 7), 0.5, dtype=torch.float64), sigmas=(0.0, 1.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert A(image(A.in_shape)).dtype == torch.float64
        with pytest.raises(TypeError, match="dtype of the operator"):
            A(image(A.in_shape, dtype=torch.float32))
        out = torch.empty(A.out_shape, dtype=torch.float64)
        bp.tiled(A, 4).forward_into(image(A.in_shape), out)
    torch.testing.assert_close(out, A(image(A.in_shape).double()), rtol=0, atol=1e-14)


def test_without_autocast_half_precision_is_refused():
    A = bp.GKM(torch.full((2, 6, 7), 0.5), sigmas=(0.0, 1.0))
    for disabled in (False, True):
        with torch.autocast("cpu", enabled=not disabled), torch.autocast("cpu", enabled=False):
            with pytest.raises(TypeError, match=r"got torch\.bfloat16; convert it by x\.float\(\)"):
                A(image(A.in_shape))
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(TypeError, match="integer image"):
        A(image(A.in_shape).to(torch.uint8))


def test_compiled():
    A = bp.GKM(torch.full((2, 6, 7), 0.5), sigmas=(0.0, 1.0))
    x = image(A.in_shape)

    def blurred(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return A(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        found = torch.compile(blurred, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(found, A(x.float()))


def test_steps_of_unrolled_networks_and_denoisers():
    A = bp.GKM(torch.full((2, 12, 14), 0.5), sigmas=(0.0, 1.5))
    y, layer = image(A.out_shape, dtype=torch.float32), torch.nn.Conv2d(3, 3, 3, padding=1)

    def unrolled():
        state = solvers.cgls_init(A, y, x0=torch.zeros_like(y))
        for _ in range(3):
            state = solvers.cgls_step(A, state)
        return state.x

    wanted = unrolled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(unrolled(), wanted, rtol=0, atol=1e-6)
        found = solvers.hqs(A, y, prox=lambda x, strength: layer(x).detach(), rho=1.0, max_iterations=2)
    assert found.x.dtype == torch.float32


SOLVERS = {
    "cg": lambda A, y: solvers.cg(A.H @ A + 0.1 * bp.Identity(A.in_shape), y, max_iterations=5),
    "cgls": lambda A, y: solvers.cgls(A, y, max_iterations=5),
    "lsqr": lambda A, y: solvers.lsqr(A, y, max_iterations=5),
    "gmres": lambda A, y: solvers.gmres(A, y, max_iterations=5),
    "bicgstab": lambda A, y: solvers.bicgstab(A, y, max_iterations=5),
    "fixed_point": lambda A, y: solvers.fixed_point(A, y, max_iterations=5),
    "neumann": lambda A, y: solvers.neumann(A, y, terms=4),
    "landweber": lambda A, y: solvers.landweber(A, y, max_iterations=5),
    "richardson_lucy": lambda A, y: solvers.richardson_lucy(A, y, max_iterations=5),
    "fista": lambda A, y: solvers.fista(A, y, prox=solvers.tv, strength=0.01, max_iterations=5),
    "hqs": lambda A, y: solvers.hqs(A, y, prox=solvers.tv, strength=0.01, rho=0.1, max_iterations=5),
    "admm": lambda A, y: solvers.admm(A, y, prox=solvers.tv, strength=0.01, rho=0.1, max_iterations=5),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_compute_in_the_precision_of_the_operator(name):
    A = bp.GKM(torch.full((2, 12, 14), 0.5), sigmas=(0.0, 1.5))
    y = image(A.out_shape)
    wanted = SOLVERS[name](A, y.float())
    for given in (y, y.float()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = SOLVERS[name](A, given)
        assert found.x.dtype == torch.float32
        torch.testing.assert_close(found.x, wanted.x, rtol=0, atol=1e-6)
        assert found.residuals == pytest.approx(wanted.residuals, rel=1e-5)
