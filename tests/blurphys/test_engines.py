"""Every registered kernel equals the reference, whatever the thread count, and survives threads and forks."""

import dataclasses
import multiprocessing
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.engines import reference, registry, threads
from blurphys.engines.registry import kernel

FAMILIES = ("gaussian_mixture", "recursive_mixture", "psf_interpolate")
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def engine(name):
    return kernel(name, np.zeros(1))


@st.composite
def problems(draw):
    """Draw one problem: a family, its arguments after the image, the lead and channels of the image, its dtype."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    boundary = draw(st.sampled_from(bp.BOUNDARIES))
    channels = draw(st.integers(1, 3))
    own = draw(st.sampled_from([1, channels]))
    lead, batch = draw(
        st.sampled_from([((), ()), ((2,), ()), ((2,), (2,)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((3,), (1,))])
    )
    family = draw(st.sampled_from(FAMILIES))
    levels = draw(st.integers(2 if family == "psf_interpolate" else 1, 6))
    reach = 5 if family == "psf_interpolate" else 2 * levels
    low = reach + 1 if boundary in ("reflect", "symmetric") else 1
    rows, cols = draw(st.integers(low, 40)), draw(st.one_of(st.integers(low, 40), st.integers(530, 560)))
    shape = (*batch, levels, rows, cols)
    if family == "gaussian_mixture":
        halves = [draw(st.integers(0, reach)) for _ in range(levels)]
        tap_shape = (own, 1, 1) if own > 1 else ()
        taps = [[dtype(rng.standard_normal(tap_shape)) for _ in range(h + 1)] for h in halves]
        arguments = (rng.standard_normal(shape).astype(dtype), taps, boundary)
    elif family == "recursive_mixture":
        atoms = rng.standard_normal((levels - 1, own, draw(st.sampled_from([1, 3, 5])))).astype(dtype)
        arguments = (rng.standard_normal(shape).astype(dtype), atoms, boundary)
    else:
        views, h, w = draw(st.integers(1, 2)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
        psfs = rng.standard_normal((views, levels, own, h, w)) * (rng.random((views, levels, own, h, w)) > 0.3)
        index = rng.integers(0, levels - 1, (*batch, rows, cols))
        fraction = rng.choice([0.0, 1.0, 0.25, 0.6], index.shape)
        arguments = (psfs.astype(dtype), index, fraction.astype(dtype), boundary)
    return family, arguments, (*lead, channels, rows, cols), dtype, rng


@given(problem=problems())
def test_kernel_equals_reference(problem):
    family, arguments, shape, dtype, rng = problem
    views = len(arguments[0]) if family == "psf_interpolate" else 1
    x = rng.standard_normal(shape).astype(dtype)
    y = rng.standard_normal((*shape[:-3], views * shape[-3], *shape[-2:])).astype(dtype)
    for name, image in ((family, x), (f"{family}_adjoint", y)):
        fast, true = engine(name)(image, *arguments), getattr(reference, name)(image, *arguments)
        assert fast.dtype == dtype and fast.shape == true.shape
        assert float(np.abs(fast - true).max()) <= TOLERANCE[dtype] * max(float(np.abs(true).max()), 1.0)


def test_kernels_are_registered():
    """Without this the test above would compare the reference with itself."""
    for name in FAMILIES:
        for primitive in (name, f"{name}_adjoint"):
            assert engine(primitive) is not getattr(reference, primitive)
    assert {primitive for primitive, _ in registry._KERNELS} == {n + s for n in FAMILIES for s in ("", "_adjoint")}


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
    import torch

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
    import torch

    for A in operators():
        arrays = {f.name: getattr(A, f.name) for f in dataclasses.fields(A)}
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
    import torch

    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.random((2, 3, 40, 50)))
    A = bp.RKR(torch.from_numpy(rng.random((4, 40, 50))), atoms=torch.from_numpy(rng.random((3, 3))))
    for view in (x.to(memory_format=torch.channels_last), x.flip(-1).flip(-1), torch.cat([x, x], -1)[..., :50]):
        assert torch.equal(A(view), A(x)) and torch.equal(A.H(view), A.H(x))
