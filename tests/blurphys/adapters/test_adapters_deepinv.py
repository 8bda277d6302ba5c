"""Our operators as physics of deepinv: the arrays are buffers, as in deepinv's own."""

import copy
import pickle

import numpy as np
import pytest
import torch

import blurphys as bp
from tests.cases import CASES, DAILY
from tests.strategies import Setup, to_numpy

# A tiled row is slow and like its operator: one by day, all at night.
every_case = pytest.mark.parametrize("name", DAILY)
pytestmark = pytest.mark.usefixtures("deepinv")


def built_of(name, **options):
    s = Setup(namespace="torch", height=3, width=4, **options)
    return s, CASES[name](s)


def image(s, shape, salt=1):
    return s.array(s.image((2, *shape), salt=salt))


@every_case
def test_it_is_the_operator(name, deepinv):
    s, built = built_of(name)
    physics = built.A.as_deepinv()
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    x, y = image(s, built.in_shape), image(s, built.out_shape, salt=2)
    assert torch.allclose(physics.A(x), built.A(x), rtol=0, atol=1e-14)
    assert torch.allclose(physics.A_adjoint(y), built.A.adjoint(y), rtol=0, atol=1e-14)
    assert float(physics.adjointness_test(x)) <= 1e-12
    if name in ("gkm", "dual_pixel", "identity"):
        assert bp.check(physics, in_shape=(2, *built.in_shape), like=s.array(np.zeros(1))).passed
    z = torch.complex(x, x.flip(-1))
    assert torch.equal(physics.A(z), torch.complex(physics.A(x), physics.A(x.flip(-1))))


@every_case
def test_every_array_is_a_buffer(name):
    s, built = built_of(name)
    physics = built.A.as_deepinv()
    buffers = dict(physics.named_buffers())
    state = physics.state_dict()
    assert (set(state) == set()) == (built.A.like is None)
    given = {id(a) for a in built.arrays}
    assert all(id(buffers[n]) in given for n in state)  # the very arrays, once each
    for again in (pickle.loads(pickle.dumps(physics)), copy.deepcopy(physics)):
        x = image(s, built.in_shape)
        assert type(again) is type(physics) and torch.equal(again.A(x), physics.A(x))
        assert [*again.state_dict()] == [*state]


@every_case
def test_state_goes_from_one_physics_to_another(name):
    s, built = built_of(name)
    other = built_of(name, seed=5)[1]
    physics, target = built.A.as_deepinv(), other.A.as_deepinv()
    x = image(s, built.in_shape)
    before = other.A(x)
    target.load_state_dict(physics.state_dict())
    assert torch.equal(other.A(x), before)  # the operator is immutable
    new = dict(target.named_buffers())
    for key, value in physics.state_dict().items():
        assert torch.equal(new[key], value)


@every_case
def test_precision_is_changed_by_to(name):
    s, built = built_of(name)
    physics, x = built.A.as_deepinv().to(torch.float32), image(s, built.in_shape)
    y = physics.A(x.float())
    assert y.dtype == torch.float32 and all(v.dtype == torch.float32 for v in physics.state_dict().values())
    assert torch.allclose(y.double(), built.A(x), rtol=0, atol=1e-4)
    again = physics.double().A(x)
    assert again.dtype == torch.float64 and torch.allclose(again, built.A(x), rtol=0, atol=1e-5)


def test_it_is_cloned_as_deepinv_clones():
    physics, x = stack(torch.rand(2, 5, 6)).as_deepinv(), torch.rand(1, 1, 5, 6)
    again = physics.clone()
    again.update(weights=torch.zeros(2, 5, 6))
    assert not again(x).any() and physics(x).any()


def dense_prox(A, z, y, gamma):
    """argmin gamma/2 |Ax - y|^2 + 1/2 |x - z|^2, by the matrix, recorded by autograd."""
    D = bp.to_dense(A)
    right = D.T @ y.reshape(len(y), -1).T + z.reshape(len(z), -1).T / gamma
    solution = torch.linalg.solve(D.T @ D + torch.eye(D.shape[1], dtype=D.dtype) / gamma, right)
    return solution.T.reshape(z.shape)


@pytest.mark.parametrize("name", [n for n in DAILY if not n.startswith(("tiled", "identity", "window"))])
def test_gradients_by_every_array_through_the_proximal_operator(name):
    s, built = built_of(name)
    physics = built.A.as_deepinv()
    assert physics.implicit_backward_solver
    leaves = {n: b.detach().clone().requires_grad_() for n, b in physics.named_buffers() if n != "_device_holder"}
    physics.update_parameters(**leaves)
    z, y, w = image(s, built.in_shape), image(s, built.out_shape, salt=2), image(s, built.in_shape, salt=3)
    found = physics.prox_l2(z, y, 2.0, max_iter=60, tol=1e-8)
    (found * w).sum().backward()
    got = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.clone() for leaf in leaves.values()]
    true = torch.autograd.grad((dense_prox(physics.blur, z, y, 2.0) * w).sum(), [*leaves.values()], allow_unused=True)
    for (n, leaf), found, t in zip(leaves.items(), got, true, strict=True):
        t = torch.zeros_like(leaf) if t is None else t  # of a view that is not in use
        assert float((found - t).abs().max()) <= 1e-4 * max(1.0, float(t.abs().max())), n


def test_gradient_through_the_pseudo_inverse():
    leaf, true = (torch.linspace(0.1, 1.0, 84, dtype=torch.float64).reshape(2, 6, 7) for _ in range(2))
    for w in (leaf, true):
        w[0] += 2.0
        w.requires_grad_()
    y = torch.rand(1, 1, 6, 7, dtype=torch.float64)
    stack(leaf).as_deepinv().A_dagger(y, max_iter=200, tol=1e-9).square().sum().backward()
    torch.linalg.solve(bp.to_dense(stack(true)), y.reshape(-1)).square().sum().backward()
    assert float((leaf.grad - true.grad).abs().max()) <= 1e-4 * float(true.grad.abs().max()) > 0


@every_case
def test_keywords_take_new_arrays_which_stay(name):
    s, built = built_of(name)
    physics, x = built.A.as_deepinv(), image(s, built.in_shape)
    y = image(s, built.out_shape, salt=2)
    for key, old in physics.state_dict().items():
        new = old.roll(1, dims=-1)
        if bool((new == old).all()):
            continue
        before = physics.A(x)
        after = physics(x, **{key: new})
        assert torch.equal(after, physics.A(x))  # it stays
        assert torch.equal(dict(physics.named_buffers())[key], new)
        if not torch.equal(after, before):
            assert torch.equal(physics.A_adjoint(y, **{key: new}), physics.A_adjoint(y))
            inner = [float((a * b).sum()) for a, b in ((physics.A(x), y), (x, physics.A_adjoint(y)))]
            assert abs(inner[0] - inner[1]) <= 1e-10 * max(1.0, abs(inner[0]))
        physics.update(**{key: old})
        assert torch.equal(physics.A(x), before)
    assert torch.equal(physics(x, unheard_of=torch.ones(1)), built.A(x))


def stack(weights):
    psfs = torch.tensor([[[0.0, 1, 0]], [[0.25, 0.5, 0.25]]], dtype=weights.dtype)
    return bp.PSFStack(psfs, weights=weights, channels=1)


def test_new_maps_of_a_batch_and_of_another_size():
    physics = stack(torch.rand(2, 5, 6)).as_deepinv()
    maps = torch.rand(3, 2, 7, 4)
    x = torch.rand(3, 1, 7, 4)
    y = physics(x, weights=maps)
    assert torch.equal(y, torch.stack([stack(m)(v) for m, v in zip(maps, x, strict=True)]))
    assert tuple(physics.img_size) == (1, 7, 4)


def test_new_maps_that_do_not_fit_change_nothing():
    physics, x = stack(torch.rand(2, 5, 6)).as_deepinv(), torch.rand(1, 1, 5, 6)
    before = physics(x)
    with pytest.raises(ValueError, match="weights"):
        physics(x, weights=torch.rand(3, 5, 6))
    with pytest.raises(TypeError, match="weights.*ndarray"):
        physics.update(weights=np.zeros((2, 5, 6)))
    assert torch.equal(physics(x), before)


def test_new_maps_are_brought_to_the_precision_of_the_old():
    physics = stack(torch.rand(2, 5, 6)).as_deepinv()
    new = torch.rand(2, 5, 6, dtype=torch.float64, requires_grad=True)
    y = physics(torch.rand(1, 1, 5, 6), weights=new)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert new.grad is not None and float(new.grad.abs().max()) > 0


def test_an_optimiser_that_writes_into_the_maps_is_heard():
    leaf = torch.rand(2, 5, 6).requires_grad_()
    physics, x = stack(leaf).as_deepinv(), torch.rand(1, 1, 5, 6)
    with torch.no_grad():
        before = physics(x)
        leaf.mul_(2.0)
        assert torch.allclose(physics(x), 2.0 * before)


def test_a_parameter_stays_a_buffer_where_deepinv_looks_for_it():
    physics = stack(torch.rand(2, 5, 6)).as_deepinv()
    parameter = torch.nn.Parameter(torch.rand(2, 5, 6))
    physics.update(weights=parameter)
    physics.prox_l2(torch.rand(1, 1, 5, 6), torch.rand(1, 1, 5, 6), 1.0).sum().backward()
    assert parameter.grad is not None and any(b is parameter for b in physics.buffers())


def test_the_same_map_twice_is_one_buffer():
    A = stack(torch.rand(2, 5, 6))
    assert set((A.H @ A).as_deepinv().state_dict()) == {"psfs", "weights"}
    B = stack(torch.rand(2, 5, 6))
    assert set((A @ B).as_deepinv().state_dict()) == {
        f"{s}_{n}" for s in ("left", "right") for n in ("psfs", "weights")
    }
    assert set(bp.stack([A, 2.0 * B]).as_deepinv().state_dict()) == {
        f"operators_{i}_{n}" for i in (0, 1) for n in ("psfs", "weights")
    }


def test_a_bank_from_a_pupil_is_a_buffer_of_the_views_in_use():
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=2.0, step=0.5)
    A = bp.DualPixel(torch.linspace(-2, 2, 42, dtype=torch.float64).reshape(6, 7), bank=bank, views=("left", 0.25))
    physics = A.as_deepinv()
    assert {n: tuple(v.shape) for n, v in physics.state_dict().items()} == {
        "defocus_map": (6, 7),
        "psfs_left": (9, 5, 5),
        "psfs_view1": (9, 5, 5),
    }
    x = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    assert torch.allclose(physics.A(x), A(x), rtol=0, atol=1e-14)
    assert torch.allclose(physics.A(x, psfs_left=physics.psfs_view1)[:, :3], A(x)[:, 3:], rtol=0, atol=1e-14)


def test_it_trains_after_inference_mode_and_under_func():
    A = bp.GKM(torch.full((2, 5, 6), 0.5), sigmas=(0.0, 1.0), channels=1)
    physics, x = A.as_deepinv(), torch.rand(1, 1, 5, 6)
    with torch.inference_mode():
        physics(x)
    leaf = x.clone().requires_grad_()
    physics(leaf).sum().backward()
    assert torch.allclose(leaf.grad, A.adjoint(torch.ones_like(x)))
    assert torch.allclose(torch.func.vjp(physics.A, x)[1](torch.ones_like(x))[0], leaf.grad)
    new = torch.rand(2, 5, 6)
    swapped = torch.func.functional_call(physics, {"beta": new}, (x,))
    assert torch.equal(swapped, A.replace(beta=new)(x)) and torch.equal(physics(x), A(x))
    gradient = torch.func.grad(lambda b: torch.func.functional_call(physics, {"beta": b}, (x,)).sum())(new)
    A.replace(beta=new.requires_grad_())(x).sum().backward()
    assert torch.allclose(gradient, new.grad)


class Mine(bp.LinearOperator):
    """An operator of somebody else, no dataclass."""

    def __init__(self, gain):
        self.gain = gain

    in_shape = out_shape = property(lambda self: (1, 3, 4))
    like = property(lambda self: self.gain)

    def _forward(self, x):
        return self.gain * x

    _adjoint = _forward


def test_an_operator_without_fields_is_differentiated_all_the_same():
    gain = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    physics = Mine(gain).as_deepinv()
    z, y = (torch.rand(1, 1, 3, 4, dtype=torch.float64) for _ in range(2))
    physics.prox_l2(z, y, 1.0, max_iter=100, tol=1e-12).sum().backward()
    g = gain.detach()
    true = ((y * (g * g + 1) - (g * y + z) * 2 * g) / (g * g + 1) ** 2).sum()
    assert float((gain.grad - true).abs()) <= 1e-8


def test_it_needs_tensors():
    with pytest.raises(TypeError, match="torch"):
        CASES["gkm"](Setup()).A.as_deepinv()


def test_values_come_from_torch_only(deepinv):
    physics = stack(torch.rand(2, 5, 6)).as_deepinv()
    assert to_numpy(physics.A(torch.zeros(1, 1, 5, 6))).max() == 0
    with pytest.raises(TypeError, match="float64"):
        physics.A(torch.zeros(1, 1, 5, 6, dtype=torch.float64))
