"""The CPU engine's PSF primitives: equal to the reference, direct and by FFT, with gradients, for any thread count."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.engines import loading, reference
from blurphys.engines.cpu.psf import choice, direct, fft, tile

FAMILIES = ("psf_gather", "psf_scatter", "psf_interpolate")
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
PATHS = ("direct", "fft")


def engine(name):
    found = loading.fast_kernel(name, "numpy")
    assert found is not None
    return found


def strided(draw, array):
    """The same numbers, perhaps seen through strides."""
    kind = draw(st.sampled_from(["plain", "every second", "transposed"])) if array.ndim else "plain"
    if kind == "every second":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if kind == "transposed":
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    return array


@st.composite
def problems(draw, dtype=None, small=False):
    """Draw (family, shape of the image, views, arguments, dtype, rng)."""
    dtype = dtype or draw(st.sampled_from([np.float32, np.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    family = draw(st.sampled_from(FAMILIES))
    boundary = draw(st.sampled_from(bp.BOUNDARIES))
    channels = draw(st.integers(1, 3))
    own = draw(st.sampled_from([1, channels]))
    views = 1 if family == "psf_scatter" else draw(st.integers(1, 4))
    lead, batch = draw(
        st.sampled_from([((), ()), ((2,), ()), ((2,), (2,)), ((2, 3), (3,)), ((2, 2), (1, 2)), ((3,), (1,))])
    )
    h, w = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    low = {"reflect": max(h, w) // 2 + 1, "symmetric": max(1, max(h, w) // 2)}.get(boundary, 1)
    rows = draw(st.integers(low, low + (6 if small else 45)))
    cols = draw(st.integers(low, low + 6) if small else st.one_of(st.integers(low, 60), st.integers(250, 300)))
    levels = draw(st.integers(2 if family == "psf_interpolate" else 1, 5))
    psfs = rng.standard_normal((views, levels, own, h, w)) * (rng.random((views, levels, own, h, w)) > 0.4)
    psfs[:, :, :, : draw(st.integers(0, h - 1)), : draw(st.integers(0, w - 1))] = 0
    if family == "psf_interpolate":
        index = rng.integers(0, levels - 1, (*batch, rows, cols))
        if draw(st.booleans()):  # smooth, so that there are long runs
            index = np.sort(index, axis=-1)
        fraction = rng.choice(draw(st.sampled_from([[0.0, 1.0, 0.25, 0.6], [0.0], [1.0], [0.3]])), index.shape)
        arguments = (strided(draw, psfs.astype(dtype)), index, strided(draw, fraction.astype(dtype)), boundary)
    else:
        weights = rng.standard_normal((*batch, levels, rows, cols))
        weights[rng.random(weights.shape) < draw(st.sampled_from([0.0, 0.5, 0.97]))] = 0
        if family == "psf_gather" and draw(st.booleans()):
            psfs, weights = psfs[:, :1], None
        else:
            weights = strided(draw, weights.astype(dtype))
        arguments = (strided(draw, psfs.astype(dtype)), weights, boundary)
    return family, (*lead, channels, rows, cols), views, arguments, dtype, rng


def images(shape, views, dtype, rng):
    x = rng.standard_normal(shape).astype(dtype)
    return x, rng.standard_normal((*shape[:-3], views * shape[-3], *shape[-2:])).astype(dtype)


def assert_close(found, true, dtype):
    assert found.dtype == dtype and found.shape == true.shape
    assert float(np.abs(found - true).max(initial=0)) <= TOLERANCE[dtype] * max(1.0, float(np.abs(true).max(initial=0)))


@pytest.mark.parametrize("path", PATHS)
@given(problem=problems())
def test_kernel_equals_reference(path, problem):
    family, shape, views, arguments, dtype, rng = problem
    x, u = images(shape, views, dtype, rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "PATH", path)
        y, back = engine(family)(x, *arguments), engine(f"{family}_adjoint")(u, *arguments)
    assert_close(y, getattr(reference, family)(x, *arguments), dtype)
    assert_close(back, getattr(reference, f"{family}_adjoint")(u, *arguments), dtype)


def by_autograd(family, x, u, arguments):
    """(y, gx, gpsfs, gmaps) by torch through the reference."""
    tensors = [None if a is None else torch.from_numpy(np.array(a)) for a in (x, *arguments[:-1])]
    leaves = [t.requires_grad_() for t in tensors if t is not None and t.dtype.is_floating_point]
    y = getattr(reference, family)(*tensors, arguments[-1])
    (y * torch.from_numpy(np.array(u))).sum().backward()
    found = [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]
    return found if len(found) == 4 else [*found, None]


@pytest.mark.parametrize("path", PATHS)
@given(problem=problems(dtype=np.float64, small=True), data=st.data())
def test_gradients_equal_autograd(path, problem, data):
    family, shape, views, arguments, dtype, rng = problem
    x, u = images(shape, views, dtype, rng)
    wanted = data.draw(st.tuples(*[st.booleans()] * 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "PATH", path)
        found = engine(f"{family}_gradients")(x, u, *arguments, wanted)
    for want, mine, true in zip(wanted, found, by_autograd(family, x, u, arguments), strict=True):
        assert (mine is not None) == (want and true is not None)
        if mine is not None:
            assert_close(mine, true, dtype)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_threads_does_not_change_the_result(path, family, monkeypatch):
    rng = np.random.default_rng(1)
    rows, cols, levels = 150, 300, 4
    psfs = rng.standard_normal((1, levels, 1, 11, 12)).astype(np.float32)
    weights = (rng.standard_normal((levels, rows, cols)) * (rng.random((levels, rows, cols)) > 0.3)).astype(np.float32)
    index = rng.integers(0, levels - 1, (rows, cols))
    maps = (index, rng.random((rows, cols)).astype(np.float32)) if family == "psf_interpolate" else (weights,)
    x, u = images((2, 3, rows, cols), 1, np.float32, rng)
    monkeypatch.setattr(choice, "PATH", path)
    results = []
    for count in ("1", "2", "7"):
        monkeypatch.setenv("BLURPHYS_NUM_THREADS", count)
        results.append(engine(f"{family}_gradients")(x, u, psfs, *maps, "reflect", (True,) * 4))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_primitives_are_registered(family):
    """Without this the tests above might compare the reference with itself."""
    for name in (family, f"{family}_adjoint", f"{family}_gradients"):
        assert loading.fast_kernel(name, "numpy").__module__.startswith("blurphys.engines.cpu.")


FORWARD = (True, False, False, False)


def prefers(size, weights, located=None, wanted=FORWARD):
    shape = (weights if located is None else located[0]).shape[-2:]
    levels = 4 if located is not None else weights.shape[1]
    taps = direct.Taps(np.ones((1, levels, 1, size, size), dtype=np.float32))
    frame = direct.gather_frame(shape, (size, size), "zero")
    return choice.prefers_fft(taps, weights, located, frame, wanted)


def test_large_dense_psfs_go_by_fft_and_small_or_sparse_ones_directly():
    dense = np.ones((1, 4, 300, 400), dtype=np.float32)
    sparse = np.zeros_like(dense)
    sparse[:, :, ::8, ::8] = 1
    assert prefers(61, dense) and not prefers(7, dense) and not prefers(61, sparse)
    assert prefers(61, sparse, wanted=(False, False, False, True))  # the gradient of zero weights is not zero
    index = np.broadcast_to(np.arange(400) % 3, (1, 300, 400)).copy()
    fraction = np.full(index.shape, 0.5, dtype=np.float32)
    assert prefers(61, None, (index, fraction)) and not prefers(7, None, (index, fraction))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 3000), st.integers(1, 3000))
def test_tiles_cover_the_image(h, w, rows, cols):
    sides, steps = fft.tile_grid((h, w), (rows, cols))
    for side, step, reach, n in zip(sides, steps, (h - 1, w - 1), (rows, cols), strict=True):
        assert side >= min(step, n) + reach  # nothing wraps around into what is kept
        assert step >= n or step >= reach  # tiles of one round never meet


def test_memory_does_not_grow_with_the_number_of_levels():
    """Seen by NumPy's allocations; the inputs themselves do not count."""
    import tracemalloc

    rng, peaks = np.random.default_rng(2), []
    x = rng.random((1, 200, 300), dtype=np.float32)
    for levels in (2, 40):
        psfs = rng.random((1, levels, 1, 9, 9), dtype=np.float32)
        weights = rng.random((levels, 200, 300), dtype=np.float32)
        engine("psf_gather")(x, psfs, weights, "reflect")
        tracemalloc.start()
        engine("psf_gather")(x, psfs, weights, "reflect")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] <= peaks[0] + x.nbytes


def test_read_only_inputs_do_not_compile_again():
    rng = np.random.default_rng(3)
    x, psfs = rng.random((1, 20, 30)), rng.random((1, 3, 1, 5, 5))
    index, fraction = np.full((20, 30), 1, dtype=np.int32), rng.random((20, 30))
    y = engine("psf_interpolate")(x, psfs, index.astype(np.int64), fraction, "reflect")
    before = len(tile.psf_tile.signatures)
    for array in (x, psfs, index, fraction):
        array.setflags(write=False)
    assert np.array_equal(engine("psf_interpolate")(x, psfs, index, fraction, "reflect"), y)
    assert len(tile.psf_tile.signatures) == before
