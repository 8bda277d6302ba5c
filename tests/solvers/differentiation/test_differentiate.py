"""Unrolled, checkpointed and implicit gradients: equal to one another, to dense algebra and to finite differences."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch

import blurphys as bp
import solvers
from solvers.differentiation.differentiate import checkpointed, implicit, implicit_linear, saved_bytes, unrolled
from tests.strategies import simplex

SHAPE = (1, 6, 7)
EXACT = {"tol": 1e-12, "max_iterations": 2000}


class Setting:
    """A GKM blur with leaves: y, the maps beta, a damping and a rho."""

    def __init__(self, seed=0, batch=()):
        rng = np.random.default_rng(seed)
        beta = simplex(rng, (2, 6, 7))
        beta[0] += 1.5  # close to the identity: the plain iteration converges fast
        self.beta = torch.tensor(beta / beta.sum(0), requires_grad=True)
        self.y = torch.tensor(rng.uniform(0.1, 1.0, (*batch, *SHAPE)), requires_grad=True)
        self.damping = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
        self.rho = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        self.seed = torch.tensor(rng.normal(size=(*batch, *SHAPE)))

    @property
    def A(self):
        return bp.GKM(self.beta, sigmas=(0.0, 0.8), channels=1)

    def gradients(self, x, *leaves):
        return torch.autograd.grad(x, leaves, self.seed, retain_graph=True)  # the start is shared


def close(found, expected, tolerance=1e-6):
    return all(
        torch.linalg.vector_norm(a - b) <= tolerance * torch.linalg.vector_norm(b)
        for a, b in zip(found, expected, strict=True)
    )


def fixed_point_routes(s, steps=45):
    step, start = partial(solvers.fixed_point_step, s.A, s.y, damping=s.damping), solvers.fixed_point_init(s.A, s.y)
    return {
        "unrolled": unrolled(step, start, steps=steps).x,
        "checkpointed": checkpointed(step, start, steps=steps).x,
        "implicit": implicit(step, start, **EXACT).x,
        "by gmres": implicit(step, start, **EXACT, adjoint_solve=partial(solvers.gmres, **EXACT)).x,
        "linear": implicit_linear(s.A, s.y, solve=partial(solvers.fixed_point, **EXACT)),
    }


def test_the_routes_through_the_fixed_point_agree():
    s = Setting()
    routes = fixed_point_routes(s)
    expected = s.gradients(routes["unrolled"], s.y, s.beta)
    for name, x in routes.items():
        assert torch.allclose(x, routes["unrolled"], rtol=0, atol=1e-10), name
        assert close(s.gradients(x, s.y, s.beta), expected), name


def test_the_solution_does_not_depend_on_the_damping():
    s = Setting()
    routes = fixed_point_routes(s)
    scale = torch.linalg.vector_norm(s.gradients(routes["implicit"], s.beta)[0])
    for name in ("unrolled", "checkpointed", "implicit"):
        (found,) = s.gradients(routes[name], s.damping)
        assert abs(found) <= 1e-8 * scale, name
    early = unrolled(
        partial(solvers.fixed_point_step, s.A, s.y, damping=s.damping), solvers.fixed_point_init(s.A, s.y), steps=2
    )
    assert abs(s.gradients(early.x, s.damping)[0]) > 1e-3 * scale  # before convergence it does


def test_the_adjoint_state_is_that_of_dense_algebra():
    """d/dy of A^-1 y is A^-T, and that in beta follows from the dense inverse."""
    s = Setting(3)
    x = implicit_linear(s.A, s.y, solve=partial(solvers.gmres, tol=1e-12, max_iterations=200))
    in_y, in_beta = s.gradients(x, s.y, s.beta)
    dense = bp.to_dense(bp.GKM(s.beta.detach(), sigmas=(0.0, 0.8), channels=1)).numpy()
    u = np.linalg.solve(dense.T, s.seed.numpy().ravel())
    inside = np.linalg.solve(dense, s.y.detach().numpy().ravel()).reshape(SHAPE)
    planes = [inside[0]]
    taps = np.exp(-0.5 * (np.arange(-3, 4) / 0.8) ** 2)
    taps /= taps.sum()
    padded = np.pad(inside[0], 3, mode="reflect")
    rows = sum(t * padded[i : i + 6] for i, t in enumerate(taps))
    planes.append(sum(t * rows[:, i : i + 7] for i, t in enumerate(taps)))
    assert np.allclose(in_y.numpy().ravel(), u, atol=1e-9)
    assert np.allclose(in_beta.numpy(), -u.reshape(6, 7) * np.array(planes), atol=1e-9)


@pytest.mark.parametrize("solver", ["cg", "cgls", "gmres", "bicgstab"])
def test_damped_least_squares_agrees_whatever_solves_it(solver):
    """(A^T A + rho) x = A^T y in y, in the maps and in the damping rho, against unrolled CG."""
    s = Setting(1, batch=(2,))
    M = s.A.H @ s.A

    class Normal:
        def __call__(self, v):
            return M(v) + s.rho * v

        adjoint = __call__

    b = s.A.adjoint(s.y)
    start = solvers.cg_init(Normal(), b)
    expected = s.gradients(unrolled(partial(solvers.cg_step, Normal()), start, steps=25).x, s.y, s.beta, s.rho)
    stepwise = checkpointed(partial(solvers.cg_step, Normal()), start, steps=25, segments=4).x
    assert close(s.gradients(stepwise, s.y, s.beta, s.rho), expected, 1e-12)
    x = implicit_linear(Normal(), b, solve=partial(getattr(solvers, solver), tol=1e-11, max_iterations=400))
    assert close(s.gradients(x, s.y, s.beta, s.rho), expected)


def hqs_step_of(s):
    return partial(
        solvers.hqs_step, s.A, s.y, prox=lambda x, t: x / (1 + t), rho=s.rho, strength=s.damping, inner_iterations=8
    )


def test_the_routes_through_hqs_agree():
    s = Setting(2)
    step, start = hqs_step_of(s), solvers.hqs_init(s.A, s.y)
    leaves = (s.y, s.beta, s.rho, s.damping)
    far = unrolled(step, start, steps=16)
    expected = s.gradients(far.z, *leaves)
    assert close(s.gradients(checkpointed(step, start, steps=16).z, *leaves), expected, 1e-12)
    found = implicit(step, start, **EXACT)
    assert type(found) is solvers.HQSState
    assert close(s.gradients(found.z, *leaves), expected)


def test_a_solution_is_a_start_that_is_nearly_free():
    s, calls = Setting(), 0
    solution = solvers.gmres(s.A, s.y.detach(), tol=1e-11, max_iterations=200)

    def step(x):
        nonlocal calls
        calls += 1
        return x + s.y - s.A(x)

    x = implicit(step, solution.x, tol=1e-9, max_iterations=300)
    assert calls == 2  # one to see that it has converged, one to record
    assert close(s.gradients(x, s.y, s.beta), s.gradients(fixed_point_routes(s)["implicit"], s.y, s.beta))


@pytest.mark.parametrize("route", ["implicit", "linear"])
def test_finite_differences(route):
    s = Setting(4)

    def solve(y, beta):
        A = bp.GKM(beta, sigmas=(0.0, 0.8), channels=1)
        if route == "implicit":
            return implicit(partial(solvers.fixed_point_step, A, y), solvers.fixed_point_init(A, y), **EXACT).x
        return implicit_linear(A, y, solve=partial(solvers.gmres, tol=1e-12, max_iterations=200))

    assert torch.autograd.gradcheck(solve, (s.y, s.beta), fast_mode=True)


def test_a_nonlinear_fixed_point():
    """x = cos(a x): dx/da by the implicit function theorem, in closed form."""
    a = torch.linspace(0.2, 0.9, 12, dtype=torch.float64).reshape(1, 3, 4).requires_grad_()
    x = implicit(lambda x: torch.cos(a * x), torch.zeros(1, 3, 4, dtype=torch.float64), **EXACT)
    (found,) = torch.autograd.grad(x.sum(), a)
    v = x.detach()
    slope = torch.sin(a.detach() * v)
    assert torch.allclose(found, -slope * v / (1 + a.detach() * slope))


def test_states_of_any_form():
    """A bare vector, and nested tuples: s = (x, (y,)), x = 0.5 y + p, y = 0.5 x."""
    p = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(2, dtype=torch.float64)
    x, (half,) = implicit(lambda s: (0.5 * s[1][0] + p, (0.5 * s[0],)), (zero, (zero,)), **EXACT)
    assert torch.allclose(x, p / 0.75)
    assert torch.allclose(half, p / 1.5)
    (found,) = torch.autograd.grad((x + 3 * half).sum(), p)
    assert torch.allclose(found, torch.full_like(p, 2.5 / 0.75))
    assert torch.allclose(implicit(lambda v: 0.5 * v + p, zero, **EXACT), 2 * p)


def test_a_state_that_grows_is_checkpointed_too():
    """Anderson's state holds one more pair of differences after each step."""
    s = Setting(5)
    step, start = partial(solvers.anderson_step, s.A, s.y, memory=3), solvers.anderson_init(s.A, s.y)
    expected = s.gradients(unrolled(step, start, steps=7).x, s.y, s.beta)
    assert close(s.gradients(checkpointed(step, start, steps=7).x, s.y, s.beta), expected, 1e-10)


@pytest.mark.parametrize("segments", [None, 1, 2, 7])
def test_segments_change_nothing(segments):
    s = Setting()
    step, start = partial(solvers.fixed_point_step, s.A, s.y, damping=s.damping), solvers.fixed_point_init(s.A, s.y)
    plain, cut = unrolled(step, start, steps=7), checkpointed(step, start, steps=7, segments=segments)
    assert type(cut) is type(plain)
    assert torch.equal(cut.x, plain.x)
    leaves = (s.y, s.beta, s.damping)
    assert close(s.gradients(cut.x, *leaves), s.gradients(plain.x, *leaves), 1e-12)


def test_the_first_two_are_twice_differentiable_and_the_others_say_no():
    s = Setting()
    step = partial(solvers.fixed_point_step, s.A, s.y)
    seconds = []
    for route in (unrolled, checkpointed):
        x = route(step, solvers.fixed_point_init(s.A, s.y), steps=4).x
        (first,) = torch.autograd.grad(x.square().sum(), s.y, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), s.y)[0])
    assert torch.allclose(*seconds)
    state = implicit(step, solvers.fixed_point_init(s.A, s.y))
    for x in (state.x, implicit_linear(s.A, s.y, solve=solvers.gmres)):
        with pytest.raises(RuntimeError, match="differentiable once"):
            torch.autograd.grad(x.square().sum(), s.y, create_graph=True)


def test_backward_twice_through_one_graph():
    s = Setting()
    x = fixed_point_routes(s)["implicit"]
    first = torch.autograd.grad(x, s.beta, s.seed, retain_graph=True)
    assert close(torch.autograd.grad(x, s.beta, s.seed), first, 1e-12)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_gradients_of_any_size_in_single_precision(scale):
    y = torch.rand(1, 4, 5, requires_grad=True)
    x = implicit(lambda x: x + 0.5 * (y - x), y.detach())
    z = implicit_linear(lambda v: 0.5 * v, y, solve=solvers.cg)
    assert torch.allclose(torch.autograd.grad(x.sum() * scale, y)[0], torch.full_like(y, scale), rtol=1e-4)
    assert torch.allclose(torch.autograd.grad(z.sum() * scale, y)[0], torch.full_like(y, 2 * scale), rtol=1e-4)
    assert torch.equal(torch.autograd.grad(0 * implicit(lambda x: 0.5 * (x + y), y.detach()).sum(), y)[0], 0 * y)


def test_nan_gradients_go_through():
    y = torch.rand(1, 4, 5, requires_grad=True)
    x = implicit(lambda x: 0.5 * (x + y), y.detach())
    assert torch.isnan(torch.autograd.grad((x * float("nan")).sum(), y)[0]).all()


def test_without_grad_nothing_is_recorded():
    s = Setting()
    with torch.no_grad():
        found = [x.requires_grad for x in fixed_point_routes(s).values()]
    assert found == [False] * 5


def test_what_does_not_converge_is_said_forward_and_backward():
    s = Setting()
    step, start = partial(solvers.fixed_point_step, s.A, s.y), solvers.fixed_point_init(s.A, s.y)
    with pytest.warns(solvers.ConvergenceWarning, match=r"implicit: the iteration did not converge.*MAX_ITERATIONS"):
        implicit(step, start, tol=1e-12, max_iterations=3)
    with pytest.warns(solvers.ConvergenceWarning, match="implicit_linear: the system did not converge"):
        implicit_linear(s.A, s.y, solve=partial(solvers.gmres, tol=1e-12, max_iterations=2))
    x = implicit(step, start, adjoint_solve=partial(solvers.fixed_point, tol=1e-12, max_iterations=2)).x
    with pytest.warns(solvers.ConvergenceWarning, match="implicit: the adjoint system did not converge"):
        x.sum().backward()
    growing = torch.ones(1, 2, 2, dtype=torch.float64)
    with pytest.warns(solvers.ConvergenceWarning, match="implicit"):
        implicit(lambda x: 3 * x + 1, growing)


def test_a_foreign_solver_may_return_a_bare_tensor():
    s = Setting()
    dense = bp.to_dense(bp.GKM(s.beta.detach(), sigmas=(0.0, 0.8), channels=1))
    matrices = iter((dense, dense.T))

    def solve(A, b):
        return torch.linalg.solve(next(matrices), b.reshape(-1)).reshape(b.shape)

    found = s.gradients(implicit_linear(s.A, s.y, solve=solve), s.y, s.beta)
    assert close(found, s.gradients(fixed_point_routes(s)["linear"], s.y, s.beta))


def test_the_transpose_of_a_bare_callable_is_found_by_autograd():
    s = Setting()
    A = s.A
    exact = partial(solvers.gmres, tol=1e-12, max_iterations=200)
    found = s.gradients(implicit_linear(lambda x: A(x), s.y, solve=exact), s.y, s.beta)  # noqa: PLW0108
    assert close(found, s.gradients(implicit_linear(A, s.y, solve=exact), s.y, s.beta))


def memory(route, steps, *, side=16):
    """Bytes that autograd holds at its peak, by its hooks: for checkpoints one segment comes on top."""
    beta = torch.full((2, side, side), 0.5, dtype=torch.float64, requires_grad=True)
    y = torch.rand(1, side, side, dtype=torch.float64)
    A = bp.GKM(beta, sigmas=(0.0, 0.8), channels=1)
    step, start = partial(solvers.fixed_point_step, A, y), solvers.fixed_point_init(A, y.detach())
    if route == "implicit":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return saved_bytes(lambda: implicit(step, start, tol=1e-30, max_iterations=steps).x)
    if route == "unrolled":
        return saved_bytes(lambda: unrolled(step, start, steps=steps).x)
    segment = -(-steps // (int(np.sqrt(steps - 1)) + 1))
    return saved_bytes(lambda: checkpointed(step, start, steps=steps).x) + memory("unrolled", segment, side=side)


def test_memory_against_the_number_of_steps():
    table = {route: [memory(route, n) for n in (10, 40, 160)] for route in ("unrolled", "checkpointed", "implicit")}
    image = 16 * 16 * 8
    assert table["unrolled"][2] - table["unrolled"][1] >= 120 * image  # linear: an image a step at least
    assert table["checkpointed"][2] < 0.4 * table["unrolled"][2]
    growth = (table["checkpointed"][2] - 10 * image) / table["checkpointed"][1]
    assert growth < 2.2  # about sqrt(4)
    assert len(set(table["implicit"])) == 1
    assert table["implicit"][0] < 12 * image


Y = torch.ones(1, 2, 3)
HALF = partial(torch.mul, 0.5)
BAD = [
    (lambda: unrolled(3, Y, steps=1), "step must be callable"),
    (lambda: unrolled(HALF, Y, steps=-1), "steps must be an integer"),
    (lambda: unrolled(HALF, Y, steps=1.5), "steps must be an integer"),
    (lambda: checkpointed(None, Y, steps=1), "step must be callable"),
    (lambda: checkpointed(HALF, Y, steps=-1), "steps must be an integer"),
    (lambda: checkpointed(HALF, Y, steps=4, segments=0), "segments must be an integer"),
    (lambda: checkpointed(HALF, Y, steps=4, segments=5), "at most the 4 steps"),
    (lambda: implicit(None, Y), "step must be callable"),
    (lambda: implicit(HALF, Y, tol=0.0), "tol"),
    (lambda: implicit(HALF, Y, max_iterations=-1), "max_iterations"),
    (lambda: implicit(HALF, Y, adjoint_solve=1), "adjoint_solve must be callable"),
    (lambda: implicit(HALF, np.ones((1, 2, 3))), "floating-point torch tensor"),
    (lambda: implicit(HALF, (Y, 1.0)), "no fixed point"),
    (lambda: implicit(HALF, Y.to(torch.int64)), "floating-point torch tensor"),
    (lambda: implicit(HALF, solvers.cg_init(HALF, Y)), "implicit_linear"),
    (lambda: implicit(lambda x: x[..., :1], Y), "leaves of shapes"),
    (lambda: implicit(lambda x: (x, x), Y), "leaves of shapes"),
    (lambda: implicit_linear(None, Y, solve=solvers.cg), "A must be callable"),
    (lambda: implicit_linear(HALF, Y, solve=None), "solve must be callable"),
    (lambda: implicit_linear(HALF, Y, solve=solvers.cg, adjoint_solve=1), "adjoint_solve must be callable"),
    (lambda: implicit_linear(HALF, Y, solve=lambda A, b: b[0]), "shape of b"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), BAD)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_no_steps():
    assert unrolled(HALF, Y, steps=0) is Y
    assert checkpointed(HALF, Y, steps=0) is Y
    assert torch.equal(checkpointed(HALF, Y, steps=1), 0.5 * Y)


def test_unrolling_needs_no_torch():
    assert unrolled(lambda x: 2 * x, np.ones(3), steps=3).tolist() == [8.0] * 3
