"""Every registered kernel equals the reference, whatever the thread count, and survives threads and forks."""

import dataclasses
import multiprocessing
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.engines import loading, reference, registry, threads
from blurphys.engines.primitives import PRIMITIVES, conforms
from tests.cases import CASES, DAILY
from tests.strategies import DTYPES, Setup

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
BATCHES = [((), ()), ((2,), ()), ((2,), (2,)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 3), (2, 1)), ((3,), (1,))]


def engine(name):
    return loading.fast_kernel(name, "numpy")


@st.composite
def problems(draw, families=("gaussian_mixture", "recursive_mixture")):
    """Draw one problem: a family, its arguments after the image, the shapes of image and result, dtype, generator."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    boundary = draw(st.sampled_from(bp.BOUNDARIES))
    channels = draw(st.integers(1, 3))
    own = draw(st.sampled_from([1, channels]))
    lead, batch = draw(st.sampled_from(BATCHES))
    family = draw(st.sampled_from(families))
    levels, half = draw(st.integers(1, 5)), draw(st.integers(0, 2))
    reach = half * levels
    low = reach + 1 if boundary in ("reflect", "symmetric") else 1
    rows, cols = draw(st.integers(low, 30)), draw(st.integers(low, 40))
    results = draw(st.integers(1, 3))
    mix = draw(st.sampled_from([None, rng.standard_normal((results, channels, levels)).astype(dtype)]))
    results = channels if mix is None else results
    maps = rng.standard_normal((*batch, levels, rows, cols)).astype(dtype)
    if family == "gaussian_mixture":
        halves = tuple(int(h) for h in rng.integers(0, reach + 1, levels))
        taps = rng.standard_normal((own, levels, max(halves) + 1)).astype(dtype)
        inside = np.arange(max(halves) + 1) <= np.array(halves)[:, None]
        arguments = (maps, np.where(inside, taps, 0).astype(dtype), halves, boundary, mix)
    else:
        atoms = rng.standard_normal((levels - 1, own, 2 * half + 1)).astype(dtype)
        arguments = (maps, atoms, boundary, draw(st.booleans()), mix)
    return family, arguments, (*lead, channels, rows, cols), (*lead, results, rows, cols), dtype, rng


def close(found, true, tolerance):
    """Equal to rounding, relative to the largest value; empty arrays are equal."""
    gap, scale = np.abs(found - true).max(initial=0.0), np.abs(true).max(initial=1.0)
    return found.shape == true.shape and float(gap) <= tolerance * float(scale)


@given(problem=problems())
def test_kernel_equals_reference(problem):
    family, arguments, shape, result, dtype, rng = problem
    x, u = rng.standard_normal(shape).astype(dtype), rng.standard_normal(result).astype(dtype)
    for name, image in ((family, x), (f"{family}_adjoint", u)):
        fast, true = engine(name)(image, *arguments), getattr(reference, name)(image, *arguments)
        assert fast.dtype == dtype and close(fast, true, TOLERANCE[dtype])


def recorded_gradients(family, x, u, arguments):
    """What torch's autograd derives from the reference: (y, gx, gradients of the array arguments in their order)."""

    tensors = [torch.from_numpy(a).requires_grad_() if isinstance(a, np.ndarray) else a for a in (x, *arguments)]
    leaves = [t for t in tensors if isinstance(t, torch.Tensor)]
    y = getattr(reference, family)(*tensors)
    found = torch.autograd.grad(y, leaves, torch.from_numpy(u), allow_unused=True)
    pairs = zip(found, leaves, strict=True)
    return [y.detach().numpy(), *(np.zeros(t.shape) if g is None else g.numpy() for g, t in pairs)]


@given(problem=problems(), data=st.data())
def test_gradients_equal_those_of_the_recorded_reference(problem, data):
    family, arguments, shape, result, dtype, rng = problem
    wanted = tuple(data.draw(st.lists(st.booleans(), min_size=5, max_size=5)))
    x, u = rng.standard_normal(shape).astype(dtype), rng.standard_normal(result).astype(dtype)
    arrays = [a for a in (x, u, *arguments) if isinstance(a, np.ndarray)]
    arrays = [a for a in (x, u, *arguments) if isinstance(a, np.ndarray)]
    before = [a.copy() for a in arrays]
    found = engine(f"{family}_gradients")(x, u, *arguments, wanted)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    doubled = [a.astype(float) if isinstance(a, np.ndarray) else a for a in arguments]
    true = recorded_gradients(family, x.astype(float), u.astype(float), doubled)
    true += [None] * (5 - len(true))
    for want, one, other in zip(wanted, found, true, strict=True):
        assert (one is None) == (not want or other is None)
        if one is not None:
            assert one.dtype == dtype and close(one, other, 10 * TOLERANCE[dtype])


def test_wide_images_are_cut_into_blocks_of_columns(monkeypatch):
    """Blocks must meet without a seam: the same result as in one piece."""
    from blurphys.engines.cpu.gaussian import gradients, mixture
    from blurphys.engines.cpu.recursive import cascade

    rng = np.random.default_rng(3)
    x, maps = rng.standard_normal((2, 12, 4700)), rng.standard_normal((4, 12, 4700))
    blurs = (maps, rng.standard_normal((1, 4, 4)), (3, 1, 2, 0), "symmetric", None)
    atoms = (maps, rng.standard_normal((3, 2, 3)), "replicate", False, None)
    assert mixture.BLOCK < 4700 and gradients.BLOCK < 4700
    monkeypatch.setattr(cascade, "CACHE", 4096)
    assert len(cascade.blocks(4700, 12, 3, 8)) > 2
    for family, arguments in (("gaussian_mixture", blurs), ("recursive_mixture", atoms)):
        for name in (family, f"{family}_adjoint"):
            assert close(engine(name)(x, *arguments), getattr(reference, name)(x, *arguments), 1e-12)
        found = engine(f"{family}_gradients")(x, x, *arguments, (True,) * 5)
        true = recorded_gradients(family, x, x, arguments)
        assert all(close(a, b, 1e-12) for a, b in zip(found, true, strict=False))


def test_kernels_are_registered():
    """Without this the tests above would compare the reference with itself."""
    for primitive in PRIMITIVES.values():
        for name in primitive.names:
            assert engine(name) is not None
            assert engine(name) is not getattr(reference, name, None)


def test_every_function_takes_the_arguments_of_the_table():
    """The engines are compared when they register."""
    for primitive in PRIMITIVES.values():
        for name in (primitive.name, primitive.adjoint):
            assert conforms(getattr(reference, name), name)
    with pytest.raises(TypeError, match="psf_gather"):
        registry.register("psf_gather", namespace="numpy")(lambda x, weights, psfs, boundary: x)


def operators():
    rng = np.random.default_rng(5)
    maps = rng.random((4, 70, 90))
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=4)
    return [
        bp.GKM(maps, sigmas=(0.0, 0.7, 1.5, 2.5)),
        bp.RKR(maps, atoms=rng.random((3, 3))),
        bp.DualPixel(8 * rng.random((70, 90)) - 4, bank=bank),
    ]


def both_ways(A):
    x = np.random.default_rng(6).random(A.in_shape)
    y = A(x)
    return y, A.H(y)


def test_the_number_of_threads_does_not_change_the_result(monkeypatch):
    for A in operators():
        results = []
        for count in ("1", "2", "7"):
            monkeypatch.setenv("BLURPHYS_NUM_THREADS", count)
            results.append(both_ways(A))
        for other in results[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("value", ["0", "two", "-1", ""])
def test_a_thread_count_that_is_none(value, monkeypatch):
    monkeypatch.setenv("BLURPHYS_NUM_THREADS", value)
    with pytest.raises(ValueError, match="BLURPHYS_NUM_THREADS"):
        threads.thread_count()


def test_torch_sets_the_number_of_threads(monkeypatch):

    monkeypatch.delenv("BLURPHYS_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert threads.thread_count() == 1
    finally:
        torch.set_num_threads(before)


def test_two_python_threads_at_once():
    made = operators()
    expected = [both_ways(A) for A in made]
    found = [[] for _ in range(4)]

    def work(into):
        into.extend(both_ways(A) for A in made for _ in range(3))

    workers = [threading.Thread(target=work, args=(into,)) for into in found]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for into in found:
        assert len(into) == 9
        for i, pair in enumerate(into):
            assert all(np.array_equal(a, b) for a, b in zip(pair, expected[i // 3], strict=True))


def _child(queue):
    queue.put([float(part.sum()) for A in operators() for part in both_ways(A)])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_after_first_use(method):
    expected = [float(part.sum()) for A in operators() for part in both_ways(A)]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=120) == expected
    child.join(timeout=30)
    assert child.exitcode == 0


def test_tensors_share_the_engine_and_keep_their_gradients():
    """Values come from the compiled kernels on the same memory; what autograd records comes from the reference."""

    for A in operators():
        arrays = {f.name: getattr(A, f.name) for f in dataclasses.fields(A) if f.init}
        B = A.replace(**{n: torch.from_numpy(a) for n, a in arrays.items() if isinstance(a, np.ndarray)})
        x = np.random.default_rng(6).random(A.in_shape)
        image = torch.from_numpy(x)
        assert np.array_equal(B(image).numpy(), A(x)) and not B(image).requires_grad
        with torch.no_grad():
            assert np.array_equal(B(image.clone().requires_grad_()).numpy(), A(x))
        leaf = image.clone().requires_grad_()
        y = B(leaf)
        assert y.requires_grad and np.abs(y.detach().numpy() - A(x)).max() <= 1e-12
        (gradient,) = torch.autograd.grad(y.sum(), leaf)
        assert np.abs(gradient.numpy() - A.H(np.ones(A.out_shape))).max() <= 1e-12


def test_strided_tensors():

    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.random((2, 3, 40, 50)))
    A = bp.RKR(torch.from_numpy(rng.random((4, 40, 50))), atoms=torch.from_numpy(rng.random((3, 3))))
    for view in (x.to(memory_format=torch.channels_last), x.flip(-1).flip(-1), torch.cat([x, x], -1)[..., :50]):
        assert torch.equal(A(view), A(x)) and torch.equal(A.H(view), A.H(x))


def test_read_only_arrays_do_not_compile_again():
    from blurphys.engines.cpu.gaussian import mixture
    from blurphys.engines.cpu.recursive import cascade

    rng = np.random.default_rng(8)
    x, maps, atoms = rng.random((3, 20, 24)), rng.random((3, 20, 24)), rng.random((2, 3))
    made = (lambda m, a: bp.RKR(m, atoms=a), lambda m, a: bp.GKM(m, sigmas=(0.0, 0.5, 1.0)))
    expected = [A(maps, atoms)(x) for A in made]
    counts = [len(k.signatures) for k in (cascade._forward_block, mixture._forward_strip)]
    for array in (x, maps, atoms):
        array.flags.writeable = False
    for A, y in zip(made, expected, strict=True):
        assert np.array_equal(A(maps, atoms)(x), y)
    assert counts == [len(k.signatures) for k in (cascade._forward_block, mixture._forward_strip)]


@pytest.mark.parametrize("name", DAILY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_depends_on_what_the_memory_held_before(name, dtype, monkeypatch):
    """Arrays that are allocated to be written hold anything at first, NaN too."""
    s = Setup(namespace="torch", dtype=dtype, boundary="replicate", seed=3)
    built = CASES[name](s)
    x, u = s.array(s.image(built.in_shape, built.lead)), s.array(s.image(built.out_shape, built.lead, salt=2))
    leaf = x.clone().requires_grad_()

    def results():
        y = built.A(leaf)
        yield from (built.A(x), built.A.adjoint(u), y.detach(), *torch.autograd.grad(y, leaf, u))
        if built.A._maps is not None:
            maps = getattr(built.A, built.A._maps).clone().requires_grad_()
            yield from torch.autograd.grad(built.A.replace(**{built.A._maps: maps})(x), maps, u)
        B = CASES[name](s.replace(namespace="numpy")).A
        yield from (torch.from_numpy(B(x.numpy())), torch.from_numpy(B.adjoint(u.numpy())))

    expected = list(results())  # compiled from here on
    real = np.empty

    def spoilt(*args, **kwargs):
        array = real(*args, **kwargs)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", spoilt)
    for found, wanted in zip(results(), expected, strict=True):
        assert torch.equal(found, wanted)
