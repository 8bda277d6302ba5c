"""The FFT path keeps what a direct sum keeps: rounding relative to local values, NaN and inf only under the PSF."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.engines import dispatch, dynamic_range, loading, reference
from blurphys.engines.cpu.psf import choice
from blurphys.engines.reference.convolve import way_for

SHAPE = (2, 41, 70)
PSF = 9
FAMILIES = ("psf_gather", "psf_scatter", "psf_interpolate")
PRIMITIVES = [family + part for family in FAMILIES for part in ("", "_adjoint")]
TOLERANCE = {"float32": 1e-3, "float64": 1e-6}
SOURCES = ("engine", "reference", "torch")


def arguments(primitive, dtype, rng):
    """Two PSFs with long tails, smooth positive maps."""
    psfs = np.stack([bp.psf.gaussian(1.2, PSF), bp.psf.gaussian(2.5, PSF)])[None, :, None].astype(dtype)
    if "interpolate" in primitive:
        return psfs, np.zeros(SHAPE[1:], dtype=np.int64), rng.random(SHAPE[1:]).astype(dtype), "reflect"
    return psfs, (rng.random((2, *SHAPE[1:])) + 0.1).astype(dtype), "reflect"


def run(source, primitive, x, given):
    """Apply a primitive by FFT: engine and tensors choose it, the reference does by the number of taps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "PATH", "fft")
        if source == "engine":
            return dispatch.kernel(primitive, x)(x, *given)
        if source == "reference":
            return getattr(reference, primitive)(x, *given)
        tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in given]
        image = torch.from_numpy(x).requires_grad_()
        return dispatch.kernel(primitive, image)(image, *tensors).detach().numpy()


def direct(primitive, x, given):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "PATH", "direct")
        return dispatch.kernel(primitive, x)(x, *given)


def local(primitive, x, given):
    """The sum of moduli under each PSF, in double precision: what rounding of a direct sum is relative to."""
    double = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in given]
    return direct(primitive, np.abs(x.astype(np.float64)), double)


@st.composite
def scenes(draw):
    """A room, lamps of another magnitude in it, of either sign."""
    dtype = draw(st.sampled_from(["float32", "float64"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ratio = 10.0 ** draw(st.integers(0, 25))
    scale = 10.0 ** draw(st.integers(-8, 8))
    x = rng.random(SHAPE) + 0.5
    x *= rng.choice([-1, 1], SHAPE) if draw(st.booleans()) else 1
    kind = draw(st.sampled_from(["pixel", "pixels", "half"]))
    if kind == "half":
        x[:, :, draw(st.integers(1, SHAPE[2] - 1)) :] *= ratio
    else:
        for _ in range(1 if kind == "pixel" else 5):
            x[rng.integers(SHAPE[0]), rng.integers(SHAPE[1]), rng.integers(SHAPE[2])] *= ratio
    return (x * scale).astype(dtype), rng


@pytest.mark.parametrize("source", SOURCES)
@given(scene=scenes(), primitive=st.sampled_from(PRIMITIVES))
def test_rounding_is_relative_to_what_is_near(source, scene, primitive):
    x, rng = scene
    given = arguments(primitive, x.dtype, rng)
    double = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in given]
    off = np.abs(run(source, primitive, x, given) - direct(primitive, x.astype(np.float64), double))
    assert (off <= TOLERANCE[x.dtype.name] * local(primitive, x, given)).all()


@pytest.mark.parametrize("source", SOURCES)
@given(primitive=st.sampled_from(PRIMITIVES), power=st.integers(-60, 120), wide=st.booleans(), seed=st.integers(0, 99))
def test_powers_of_two_go_through(source, primitive, power, wide, seed):
    """Nothing overflows or is lost on the way that does not in a direct sum."""
    rng = np.random.default_rng(seed)
    dtype = np.float64 if wide else np.float32
    x, given, scale = rng.standard_normal(SHAPE).astype(dtype), arguments(primitive, dtype, rng), 2.0**power
    scale = scale**8 if wide else scale
    found = run(source, primitive, x * dtype(scale), given) / dtype(scale)
    once = run(source, primitive, x, given)
    assert (np.abs(found - once) <= (1e-12 if wide else 1e-5) * np.abs(once).max()).all()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_what_is_not_finite_reaches_as_far_as_the_psf(source, bad, primitive, rng):
    x, given = rng.random(SHAPE), arguments(primitive, np.float64, rng)
    clean = direct(primitive, x, given)
    x[0, 20, 30] = bad
    found = run(source, primitive, x, given)
    spoiled = ~np.isfinite(found)
    expected = np.zeros(SHAPE, dtype=bool)
    expected[0, 20 - PSF // 2 : 21 + PSF // 2, 30 - PSF // 2 : 31 + PSF // 2] = True
    assert (spoiled == expected).all()
    assert np.abs(found - clean)[~expected].max() < 1e-12


@pytest.mark.parametrize("bad", [np.nan, 1e30])
def test_gradients_beside_such_a_pixel(bad, rng):
    """Image, maps: local. Taps meet every pixel, so all of them meet the NaN."""
    x, u = rng.random(SHAPE), rng.random(SHAPE)
    given = arguments("psf_gather", np.float64, rng)
    u[1, 25, 40] = bad
    found = {}
    for path in ("direct", "fft"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(choice, "PATH", path)
            found[path] = loading.fast_kernel("psf_gather_gradients", "numpy")(x, u, *given, (True, True, True, True))
    for straight, fast in zip(found["direct"], found["fft"], strict=True):
        assert (np.isfinite(straight) == np.isfinite(fast)).all()
        assert np.allclose(straight, fast, rtol=1e-9, atol=0, equal_nan=True)


def test_only_the_tile_with_the_pixel_is_summed_directly(monkeypatch, rng):
    """A dead pixel in a large image costs one tile."""
    from blurphys.engines.cpu.psf import fft

    ways = []
    choose = fft.way_of
    monkeypatch.setattr(choice, "PATH", "fft")
    monkeypatch.setattr(fft, "tile_grid", lambda support, domain: ((48, 48), (40, 40)))
    monkeypatch.setattr(fft, "way_of", lambda *a: ways.append(choose(*a)) or ways[-1])
    x = rng.random((1, 120, 160)).astype(np.float32)
    x[0, 60, 60] = np.nan
    A = bp.Convolution(bp.psf.gaussian(2.0, PSF).astype(np.float32), shape=x.shape)
    assert int(np.isnan(A(x)).sum()) == PSF**2
    assert sorted(ways) == ["direct"] + 11 * ["single"]


def test_tiles_and_the_whole_agree_about_a_dead_pixel(rng):
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=9)
    x = rng.random((3, 90, 100)).astype(np.float32)
    x[1, 40, 50] = np.nan
    A = bp.DefocusBlur(np.full((90, 100), 8.0, dtype=np.float32), bank=bank)
    whole = A(x)
    assert 0 < np.isnan(whole).sum() <= (2 * A.halo + 1) ** 2
    assert np.isnan(bp.tiled(A, 48)(x)).sum() == np.isnan(whole).sum()


def test_ordinary_images_are_transformed_in_their_own_precision(rng):
    x, psfs = rng.random((3, 64, 64)) + 0.01, bp.psf.gaussian(2.0, 15)[None, None, None]
    assert way_for(x.astype(np.float32), psfs.astype(np.float32)) == "single"
    assert way_for(x, psfs) == way_for(torch.from_numpy(x), torch.from_numpy(psfs)) == "double"
    x[:, :16, :16] = 0
    assert way_for(x.astype(np.float32), psfs.astype(np.float32)) == way_for(x, psfs) == "double"
    assert way_for(np.zeros_like(x), psfs) == "double"
    x[0, 30, 30] = np.nan
    assert way_for(x, psfs) == "direct"
    assert dynamic_range.widest("single", "direct", "double") == "direct"


def test_where_values_cannot_be_seen_direct_sums_serve(rng):
    psfs = torch.from_numpy(bp.psf.gaussian(2.0, 9)[None, None, None])
    x = torch.from_numpy(rng.random((4, 1, 20, 21)))
    x[2, 0, 10, 10] = torch.nan
    found = torch.vmap(lambda image: reference.psf_gather(image, psfs, None, "reflect"))(x)
    assert torch.isnan(found).sum() == 81
    assert torch.allclose(found[:2], reference.psf_gather(x[:2], psfs, None, "reflect"))
