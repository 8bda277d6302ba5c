"""Operators under the modes and transforms of torch: `torch.compile`, `torch.func`, `torch.inference_mode`.

Each law takes a fresh operator, because what is made on first use must not depend on who uses it first.
"""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import blurphys as bp
from blurphys.frozen import Memo
from blurphys.linop.tiling import Tiled
from tests.cases import CASES, DAILY
from tests.profiles import NIGHTLY
from tests.strategies import Setup, to_numpy

S = Setup(namespace="torch", height=5, width=6, count=2)
func = torch.func
every = pytest.mark.parametrize("name", DAILY)


def operator(name):
    """A fresh operator; a tiled one with two tiles, because torch reads every tile anew."""
    A = CASES[name](S).A
    return A.replace(tile=(3, 6)) if isinstance(A, Tiled) else A


def of_each_kind():
    """One row for each class of operator; all of them in the night, because dynamo takes its time."""
    kinds = {type(CASES[name](S).A): name for name in CASES}
    return list(CASES) if NIGHTLY else sorted(kinds.values())


def pictures(shape, lead=(), salt=0):
    return torch.from_numpy(np.random.default_rng([7, salt]).normal(size=(*lead, *shape)))


def same(found, wanted):
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, rtol=0, atol=1e-11 * max(1.0, float(wanted.abs().max())))


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # array-api-compat's
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)  # torch's own
        yield


def compiled(function, **options):
    torch._dynamo.reset()
    return torch.compile(function, **options)


# ---- operators of design data, which is converted once and shared -------------------------------------------------

PSFS = np.random.default_rng(5).uniform(0.1, 1, (3, 3, 4))


def pupil_bank():
    return bp.PSFBank(bp.Pupil.disk(), max_radius=1.0)


def measured_bank():
    return bp.PSFBank(psfs=PSFS / PSFS.sum(axis=(-2, -1), keepdims=True), radii=(-1.0, 0.0, 1.0))


RADII = torch.linspace(-0.9, 0.9, 30, dtype=torch.float64).reshape(5, 6)
BETA = torch.full((2, 5, 6), 0.5, dtype=torch.float64)
ALPHAS = torch.from_numpy(np.random.default_rng(6).uniform(0.2, 1, (2, 5, 6)))
ALPHAS[0, :, :4], ALPHAS[-1] = 0, 1

DESIGNED = {
    "defocus_blur": lambda bank: bp.DefocusBlur(RADII, bank=bank, channels=1),
    "dual_pixel": lambda bank: bp.DualPixel(RADII, bank=bank, channels=1, views=("combined",)),
    "field": lambda bank: bp.FieldDefocus(RADII, banks=[[bank, copy.deepcopy(bank)]], channels=1),
    "layered": lambda bank: bp.LayeredDefocus(ALPHAS, radii=(0.7, -0.4), bank=bank, channels=1),
    "gkm": lambda bank: bp.GKM(BETA, sigmas=(0.0, 0.6), channels=1),
}
designed = pytest.mark.parametrize("name", DESIGNED)


def use_in_grad(A, x):
    func.grad(lambda t: A(t).sum())(x)


def use_in_vmap(A, x):
    func.vmap(A)(torch.stack([x, x]))


def use_in_jvp(A, x):
    func.jvp(A, (x,), (x,))


def use_compiled(A, x):
    compiled(lambda t: A(t), fullgraph=True, backend="eager")(x)


def use(A, x):
    A(x)


USES = {
    "inference_mode": (torch.inference_mode, use),
    "no_grad": (torch.no_grad, use),
    "grad": (nullcontext, use_in_grad),
    "vmap": (nullcontext, use_in_vmap),
    "jvp": (nullcontext, use_in_jvp),
    "compile": (nullcontext, use_compiled),
}


def train(A):
    """Gradient of a loss in the image, written down and by autograd; and that in the maps is there."""
    x = pictures(A.in_shape).requires_grad_()
    A = A.replace(**{A._maps: getattr(A, A._maps).clone().requires_grad_()})
    maps = getattr(A, A._maps)
    found, in_maps = torch.autograd.grad(A(x).square().sum(), (x, maps))
    same(found, 2 * A.adjoint(A(x)).detach())
    assert in_maps.isfinite().all() and in_maps.abs().max() > 0


@designed
@pytest.mark.parametrize("mode", USES)
def test_training_after_any_first_use(name, mode):
    """Of an operator made before; of one made inside; and of others with the same bank."""
    manner, first = USES[mode]
    for make_bank in (measured_bank,) if mode == "compile" else (pupil_bank, measured_bank):
        bank = make_bank()
        before = DESIGNED[name](make_bank())
        with manner():
            first(before, pictures(before.in_shape))
            inside = DESIGNED[name](bank)
            first(inside, pictures(inside.in_shape))
        wanted = DESIGNED[name](make_bank())
        for A in (before, inside, DESIGNED[name](bank)):
            x = pictures(A.in_shape).requires_grad_()
            A(x).sum().backward()
            same(x.grad, wanted.adjoint(torch.ones(A.out_shape, dtype=torch.float64)))
            train(A)


@designed
def test_training_with_an_operator_made_inside_a_transform(name):
    """The bank outlives the transform; so may an operator whose maps come from outside."""
    bank, kept = pupil_bank(), []

    def loss(x):
        kept.append(DESIGNED[name](bank))
        return kept[-1](x).sum()

    x = pictures((1, 5, 6))
    func.grad(loss)(x)
    train(kept[0])
    train(DESIGNED[name](bank))


def test_an_operator_built_while_compiling_with_a_fresh_bank():
    bank, x = measured_bank(), pictures((1, 5, 6))
    expected = bp.DefocusBlur(RADII, bank=measured_bank(), channels=1)(x)
    function = compiled(lambda x, r: bp.DefocusBlur(r, bank=bank, channels=1)(x), backend="eager")
    same(function(x, RADII), expected)
    train(bp.DefocusBlur(RADII, bank=bank, channels=1))
    with pytest.raises(Exception, match="build one operator with it outside of the compiled function"):
        fresh = measured_bank()
        compiled(lambda x, r: bp.DefocusBlur(r, bank=fresh, channels=1)(x), fullgraph=True, backend="eager")(x, RADII)


# ---- every operator -----------------------------------------------------------------------------------------------


@every
def test_nothing_is_kept_by_a_use(name):
    A = operator(name)
    before = dict(vars(A))
    x, y = pictures(A.in_shape), pictures(A.out_shape)
    A(x), A.adjoint(y), (A.H, repr(A), A.halo, A.batch_shape, A.like)
    func.vmap(A)(x[None])
    after = vars(A)
    assert list(after) == list(before) and all(after[key] is before[key] for key in before)


@every
def test_images_under_vmap(name):
    A = operator(name)
    for apply, back, shape in ((A.forward, A.adjoint, A.in_shape), (A.adjoint, A.forward, A.out_shape)):
        x = pictures(shape, (2, 2))
        wanted = torch.stack([torch.stack([apply(image) for image in row]) for row in x])
        same(func.vmap(apply)(x[0]), wanted[0])
        same(func.vmap(func.vmap(apply))(x), wanted)
        same(func.vmap(apply, in_dims=1, out_dims=1)(x), wanted)  # a batch within the batch
        with torch.no_grad():
            same(func.vmap(apply)(x[0]), wanted[0])
        gradients = func.vmap(func.grad(lambda t: apply(t).square().sum()))(x[0])  # noqa: B023 - called at once
        same(gradients, 2 * torch.stack([back(apply(image)) for image in x[0]]))


@every
def test_a_fresh_operator_under_every_transform(name):
    built = CASES[name](S)
    matrix = torch.from_numpy(built.twin())
    x, y = pictures(built.in_shape), pictures(built.out_shape)
    forward, adjoint = (matrix @ x.flatten()).reshape(y.shape), (matrix.T @ y.flatten()).reshape(x.shape)
    for turned in (False, True):
        image, other, there, back = (y, x, adjoint, forward) if turned else (x, y, forward, adjoint)

        def fresh():
            A = operator(name)
            return A.H if turned else A  # noqa: B023 - called at once

        value, pull = func.vjp(fresh(), image)
        same(value, there)
        same(pull(other)[0], back)
        same(func.grad(lambda t: (fresh()(t) * other).sum())(image), back)  # noqa: B023
        same(func.jvp(fresh(), (torch.zeros_like(image),), (image,))[1], there)
        dense = func.jacrev(fresh())(image).reshape(other.numel(), image.numel())
        same(dense, matrix.T if turned else matrix)


@pytest.mark.parametrize("name", of_each_kind())
def test_a_fresh_operator_compiled_in_one_graph(name):
    A, other = operator(name), operator(name)
    x, y = pictures(A.in_shape), pictures(A.out_shape)
    found = compiled(lambda x, y: (A(x), A.H(y)), fullgraph=True, backend="eager")(x, y)
    same(found[0], other(x))
    same(found[1], other.adjoint(y))


@every
@pytest.mark.parametrize("made_inside", [False, True])
def test_first_used_under_inference_mode(name, made_inside):
    built = CASES[name](S)
    A = built.A
    with torch.inference_mode():
        if made_inside and hasattr(A, "replace") and A._maps is not None:
            A = A.replace()
        A(pictures(A.in_shape)), A.adjoint(pictures(A.out_shape))
    leaves = [a.requires_grad_() for a in built.arrays]
    fresh = CASES[name](S)
    wanted = [a.requires_grad_() for a in fresh.arrays]
    gradients = []
    for B, own in ((A, leaves), (fresh.A, wanted)):
        x = pictures(B.in_shape).requires_grad_()
        loss = B(x).square().sum() + B.adjoint(B(x)).sum()
        gradients.append(torch.autograd.grad(loss, (x, *own), allow_unused=True))
    for found, expected in zip(*gradients, strict=True):
        assert (found is None) == (expected is None)
        if expected is not None:
            same(found, expected)


WITH_MAPS = [name for name in DAILY if CASES[name](S).A._maps is not None]


@pytest.mark.parametrize("name", WITH_MAPS)
def test_gradients_in_the_maps_for_each_image(name):
    """One gradient for each image, and maps that come one for each image."""
    A = CASES[name](S).A
    maps = getattr(A, A._maps)

    def loss(maps, x, y):
        B = A.replace(**{A._maps: maps})
        return (B(x).square().sum() + (B.adjoint(y) * x).sum()) / 2

    x, y = pictures(A.in_shape, (2,)), pictures(A.out_shape, (2,))
    found = func.vmap(func.grad(loss), in_dims=(None, 0, 0))(maps, x, y)
    leaf = maps.clone().requires_grad_()
    wanted = torch.stack([torch.autograd.grad(loss(leaf, a, b), leaf)[0] for a, b in zip(x, y, strict=True)])
    assert wanted.abs().max() > 0
    same(found, wanted)


@pytest.mark.parametrize("name", ["gkm", "gkm_mix", "rkr", "rkr_stagewise_mix", "psf_stack", "scatter"])
def test_many_maps_of_one_image(name):
    """Operators whose constructors look at no value of the maps."""
    A = CASES[name](S).A
    maps = pictures(getattr(A, A._maps).shape, (3,))
    x, y = pictures(A.in_shape), pictures(A.out_shape)
    for method, image in (("forward", x), ("adjoint", y)):
        apply = lambda m: getattr(A.replace(**{A._maps: m}), method)(image)  # noqa: B023, E731 - called at once
        same(func.vmap(apply)(maps), torch.stack([apply(m) for m in maps]))


# ---- what is shared -----------------------------------------------------------------------------------------------


def test_a_memo_has_one_value_for_all_threads_and_none_in_copies():
    memo = Memo()
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: memo.get("key", lambda: np.zeros(3)), range(64)))
    assert all(v is values[0] for v in values) and "key" in memo
    for other in (copy.copy(memo), copy.deepcopy(memo), pickle.loads(pickle.dumps(memo))):
        assert "key" not in other and other.get("key", lambda: 1) == 1
    assert memo.get("key", lambda: 1) is values[0]


def test_a_memo_keeps_plain_tensors_only():
    memo = Memo()
    with torch.inference_mode():
        assert not memo.get("inference", lambda: torch.zeros(2)).is_inference()
    func.grad(lambda t: t * memo.get("grad", lambda: torch.ones(())))(torch.ones(()))
    assert torch.equal(memo.get("grad", lambda: None) + 1, torch.tensor(2.0))
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        memo.get("fake", lambda: torch.zeros(2))
    assert "fake" not in memo and "inference" in memo


@designed
def test_a_shared_bank_survives_copies_and_threads(name):
    bank = pupil_bank()
    x = pictures((1, 5, 6))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: DESIGNED[name](bank)(x), range(8)))
    wanted = DESIGNED[name](pupil_bank())
    A = DESIGNED[name](bank)
    with torch.inference_mode():
        A(x)
    for B in (A, copy.copy(A), copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
        same(B(x), wanted(x))
        train(B)
    for y in found:
        same(y, wanted(x))
    assert np.array_equal(to_numpy(bank.psfs()), to_numpy(copy.deepcopy(bank).psfs()))


@pytest.mark.parametrize("name", DAILY if NIGHTLY else ["defocus_blur", "layered_views"])
def test_linearize_is_the_operator(name):
    """`torch.func.linearize` records a program, in which no value is known; it takes its time."""
    A = operator(name)
    x = pictures(A.in_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own recording
        value, tangent = func.linearize(A, x)
    same(value, A(x))
    same(tangent(x), A(x))
