"""The torch operators: registered as torch wants them, whole under `torch.compile`, and thrifty with memory."""

import logging
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from tests.oracles import BOUNDARIES
from tests.profiles import NIGHTLY, examples
from tests.strategies import simplex, unit_psfs

torch = pytest.importorskip("torch")
autograd = pytest.importorskip("blurphys.engines.autograd")

C, H, W = 2, 5, 7
FAMILIES = sorted(autograd.FAMILIES)


def tensor(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape)).requires_grad_()


def arguments(family, rng, boundary, *, mixed=False, lead=(2,)):
    """(x, u, what follows the image) of one primitive, all tensors leaves."""
    maps = tensor(rng, *lead[1:], 3, H, W)
    mix = tensor(rng, 3, C, 3) if mixed else None
    results = 3 if mixed else C
    if family == "gaussian_mixture":
        taps = torch.from_numpy(np.where(np.arange(3) <= np.array([1, 0, 2])[:, None], rng.normal(size=(1, 3, 3)), 0.0))
        rest = (maps, taps.requires_grad_(), (1, 0, 2), boundary, mix)
    elif family == "recursive_mixture":
        rest = (maps, tensor(rng, 2, C, 3), boundary, mixed, mix)
    elif family == "psf_interpolate":
        index = torch.from_numpy(rng.integers(0, 2, (H, W)))
        rest = (tensor(rng, 2, 3, 1, 2, 3), index, torch.from_numpy(rng.random((H, W))).requires_grad_(), boundary)
        results = 2 * C
    else:
        rest, results = (tensor(rng, 1, 3, C, 3, 2), maps, boundary), C
    return tensor(rng, *lead, C, H, W), tensor(rng, *lead, results, H, W), rest


@pytest.mark.parametrize(
    ("family", "mixed"),
    [
        (family, mixed)
        for family in FAMILIES
        for mixed in (False, True)
        if (NIGHTLY and not (mixed and "psf" in family)) or mixed != ("psf" in family)
    ],
)
def test_opcheck(family, mixed):
    """Schema, fake tensors, registered derivatives, tracing ahead of time with dynamic shapes."""
    operators = autograd.OPERATORS[family]
    x, u, rest = arguments(family, np.random.default_rng(1), "reflect", mixed=mixed)
    everything = [True] * (2 + len(operators.family.parameters))
    some = [False, True] + [False] * (len(everything) - 3) + [True]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own tools
        torch.library.opcheck(operators.forward, (x, *rest))
        torch.library.opcheck(operators.adjoint, (u, *rest))
        for wanted in (everything, some) if NIGHTLY else (everything,):
            torch.library.opcheck(operators.gradients, (x, u, *rest, wanted))


@pytest.mark.parametrize("family", FAMILIES)
@examples(3)
@given(boundary=st.sampled_from(BOUNDARIES), mixed=st.booleans(), seed=st.integers(0, 2**16), adjoint=st.booleans())
def test_first_and_second_derivatives(family, boundary, mixed, seed, adjoint):
    """Of the operators themselves, gradients in every argument; numerical differences are the oracle."""
    torch.manual_seed(seed)
    operators = autograd.OPERATORS[family]
    x, u, rest = arguments(family, np.random.default_rng(seed), boundary, mixed=mixed, lead=(2, 1))
    leaves = [t for t in rest if isinstance(t, torch.Tensor) and t.requires_grad]
    run, image = (operators.adjoint, u) if adjoint else (operators.forward, x)

    def f(first, *given):
        values = iter(given)
        own = [next(values) if isinstance(t, torch.Tensor) and t.requires_grad else t for t in rest]
        return run(first, *own)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.autograd.gradcheck(f, (image, *leaves), fast_mode=True, atol=1e-6, rtol=1e-5)
        assert torch.autograd.gradgradcheck(f, (image, *leaves), fast_mode=True, atol=1e-5, rtol=1e-4)


BANK = bp.PSFBank(bp.Pupil.disk(split=0.3), max_radius=1.0, step=0.5)
rng = np.random.default_rng(3)
OPERATORS = {
    "GKM": (
        lambda m, k: bp.GKM(m, sigmas=k, supports=(3, 3, 5), channels=C),
        simplex(rng, (3, H, W)),
        np.array([0.4, 0.8, 1.2]),
    ),
    "RKR": (lambda m, k: bp.RKR(m, atoms=k, channels=C), simplex(rng, (3, H, W)), rng.uniform(0.1, 0.5, (2, 3))),
    "RKR stagewise": (
        lambda m, k: bp.RKR(m, atoms=k, channels=C, stagewise=True),
        simplex(rng, (3, H, W)),
        rng.uniform(0.1, 0.5, (2, 3)),
    ),
    "PSFStack": (
        lambda m, k: bp.PSFStack(k, weights=m, channels=C),
        simplex(rng, (3, H, W)),
        unit_psfs(rng, (3, 2, 3)),
    ),
    "PSFStack scatter": (
        lambda m, k: bp.PSFStack(k, weights=m, channels=C, form="scatter"),
        simplex(rng, (3, H, W)),
        unit_psfs(rng, (3, 2, 3)),
    ),
    "DefocusBlur": (
        lambda m, k: bp.DefocusBlur(m, bank=BANK, channels=C),
        rng.uniform(-0.95, 0.95, (H, W)),
        np.zeros(1),
    ),
    "DualPixel": (lambda m, k: bp.DualPixel(m, bank=BANK, channels=C), rng.uniform(-0.95, 0.95, (H, W)), np.zeros(1)),
}


@pytest.mark.parametrize(
    ("name", "adjoint"),
    [(name, adjoint) for i, name in enumerate(OPERATORS) for adjoint in (False, True) if NIGHTLY or adjoint == i % 2],
)
def test_compile_without_a_graph_break(name, adjoint):
    """The operator built inside or outside of the compiled function; values and gradients as without it."""
    build, maps, kernels = OPERATORS[name]
    leaves = [torch.from_numpy(a).requires_grad_() for a in (maps, kernels)]
    A = build(*leaves)
    image = torch.from_numpy(np.random.default_rng(4).normal(size=A.out_shape if adjoint else A.in_shape))
    leaves.append(image.requires_grad_())

    def outside(x):
        return (A.adjoint(x) if adjoint else A(x)).square().sum()

    def inside(x, m, k):
        B = build(m, k)
        return (B.adjoint(x) if adjoint else B(x)).square().sum()

    expected = outside(image)
    gradients = torch.autograd.grad(expected, leaves, allow_unused=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        for function, given_values in ((outside, (image,)), (inside, (image, *leaves[:2]))):
            whole = torch.compile(function, fullgraph=True, backend="aot_eager")
            found = whole(*given_values)
            assert torch.allclose(found, expected, rtol=1e-12, atol=0)
            for a, b in zip(torch.autograd.grad(found, leaves, allow_unused=True), gradients, strict=True):
                assert (a is None) == (b is None)
                assert a is None or torch.allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
def test_nothing_is_kept_but_the_inputs(name):
    """What autograd stores does not grow with the number of kernels: no tensor of its own larger than an input."""
    build, maps, kernels = OPERATORS[name]
    leaves = [torch.from_numpy(a).requires_grad_() for a in (maps, kernels)]
    A = build(*leaves)
    x = torch.rand(A.in_shape, dtype=torch.float64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        A(x).sum()
    assert sum(t.numel() for t in kept if t.shape[-2:] == (H, W)) <= x.numel() + 6 * leaves[0].numel()


def test_three_gradients_take_one_pass(monkeypatch):
    """Image, maps and kernels are asked of the engine together."""
    from blurphys.engines import registry

    calls = []
    true = registry.lookup

    def counted(primitive, namespace):
        calls.append(primitive)
        return true(primitive, namespace)

    monkeypatch.setattr(autograd, "lookup", counted)
    for name in ("GKM", "RKR", "PSFStack"):
        build, maps, kernels = OPERATORS[name]
        leaves = [torch.from_numpy(a).requires_grad_() for a in (maps, kernels)]
        x = torch.rand((C, H, W), dtype=torch.float64, requires_grad=True)
        y = build(*leaves)(x)
        calls.clear()
        torch.autograd.grad(y.sum(), [x, *leaves])
        assert len(calls) == 1 and calls[0].endswith("_gradients")


def test_the_first_compilation_is_announced(caplog):
    from blurphys.engines.cpu_rows import _Announcement, jit

    def double(v):
        return 2 * v

    double.__module__ = "blurphys.engines.example"
    was, _Announcement.said = _Announcement.said, False
    try:
        with caplog.at_level(logging.WARNING, logger="blurphys"):
            import numba

            assert numba.njit(double)(2) == 4 and numba.njit(double)(2.5) == 5.0
        assert len(caplog.records) == 1 and "compiling" in caplog.text
    finally:
        _Announcement.said = was
    assert callable(jit)


def test_without_cupy_tensors_on_a_gpu_take_the_reference_and_one_line_says_so(caplog, monkeypatch):
    monkeypatch.setattr(autograd, "available", lambda kind: False)
    monkeypatch.setattr(autograd, "diagnosis", lambda kind: "CuPy is not installed")
    autograd._cuda_serves.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="blurphys"):
            assert not autograd._fused("gaussian_mixture", "cuda")
            assert not autograd._fused("psf_gather", "cuda")
        assert len(caplog.records) == 1 and "CuPy is not installed" in caplog.text
    finally:
        autograd._cuda_serves.cache_clear()


def test_gradients_of_the_reference_inside_an_operator():
    """The GPU engine's way out for kernels that do not fit: autograd is switched off around it."""
    from blurphys.engines.cuda import _torch_reference_gradients

    x, u, rest = arguments("psf_gather", np.random.default_rng(5), "zero")
    with torch._C._AutoDispatchBelowAutograd():
        found = _torch_reference_gradients("psf_gather_gradients", x, u, *rest, (True, True, True, True))
    true = autograd.OPERATORS["psf_gather"].gradients(x, u, *rest, [True] * 4)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(found, true, strict=True))


def test_gradient_of_a_kernel_of_one_tap():
    psf = torch.ones((1, 1), dtype=torch.float64, requires_grad=True)
    x = torch.rand((C, H, W), dtype=torch.float64)
    bp.Convolution(psf, shape=(C, H, W))(x).sum().backward()
    assert torch.allclose(psf.grad, x.sum(), rtol=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
def test_no_images_give_gradients_of_zero(name):
    build, maps, kernels = OPERATORS[name]
    leaves = [torch.from_numpy(np.stack([maps, maps])).requires_grad_(), torch.from_numpy(kernels).requires_grad_()]
    A = build(*leaves)
    x = torch.zeros((0, 2, *A.in_shape), dtype=torch.float64, requires_grad=True)
    A(x).sum().backward()
    assert x.grad.shape == x.shape and torch.equal(leaves[0].grad, torch.zeros_like(leaves[0]))


def test_compile_of_a_fresh_operator_with_plain_sigmas():
    """Nothing of it has run before; the number of maps may be symbolic."""
    beta, x = torch.rand((2, H, W), dtype=torch.float64), torch.rand((C, H, W), dtype=torch.float64)
    expected = bp.GKM(beta, sigmas=(0.5, 1.0), channels=C)
    A = bp.GKM(beta, sigmas=(0.5, 1.0), channels=C)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dynamic in (False, True):
            for f, wanted in (
                (lambda x, b: bp.GKM(b, sigmas=(0.5, 1.0), channels=C)(x), expected(x)),
                (lambda x, b: A(x), expected(x)),
                (lambda x, b: A.H(x), expected.adjoint(x)),
            ):
                torch._dynamo.reset()
                found = torch.compile(f, fullgraph=True, backend="aot_eager", dynamic=dynamic)(x, beta)
                assert torch.allclose(found, wanted, rtol=0, atol=1e-13)
