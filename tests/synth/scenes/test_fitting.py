"""Depth of another size than the photograph: brought to it along its edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth import io, scenes
from synth.scenes import fit_depth, resized


def two_tone(H, W, edge, low=0.1, high=0.7, noise=0.0, seed=0):
    """A photograph that changes its colour at a column."""
    image = np.full((3, H, W), low)
    image[:, :, edge:] = high
    return (image + noise * np.random.default_rng(seed).standard_normal(image.shape)).clip(0, 1)


def coarse_step(h, w, k, edge, near, far):
    """The depth of a step at a column of the photograph, as the median of k x k pixels sees it."""
    full = np.where(np.arange(w * k) < edge, near, far)
    return np.tile(np.sort(full.reshape(w, k), axis=1)[:, (k - 1) // 2], (h, 1))


@given(
    seed=st.integers(0, 2**32 - 1),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    factor=st.sampled_from([1, 1.5, 2, 3, 4, 7]),
    z=st.floats(0.01, 1e6),
)
def test_a_constant_stays_exact_and_unknown_stays_unknown(seed, h, w, factor, z):
    rng = np.random.default_rng(seed)
    H, W = round(h * factor), round(w * factor)
    depth = np.where(rng.random((h, w)) < 0.3, np.nan, z)
    depth[rng.integers(h), rng.integers(w)] = z
    for how in ("guided", "nearest"):
        found = fit_depth(depth, rng.random((3, H, W)), how=how)
        rows, columns = (np.arange(H) + 0.5) * h / H, (np.arange(W) + 0.5) * w / W
        nearest = depth[np.ix_(rows.astype(int), columns.astype(int))]
        assert np.array_equal(found, nearest, equal_nan=True)


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(2, 8),
    cell=st.integers(3, 8),
    inside=st.floats(0, 0.999),
    noise=st.sampled_from([0.0, 0.01]),
    swap=st.booleans(),
    turn=st.booleans(),
    ratio=st.floats(1.1, 20),
)
def test_a_step_lies_at_the_edge_of_the_photograph(seed, k, cell, inside, noise, swap, turn, ratio):
    """Wherever in a coarse pixel the edge of the photograph lies, and which side is nearer; no depth in between."""
    h, w = 8, 12
    edge = cell * k + int(inside * k)
    near, far = (2.0 * ratio, 2.0) if swap else (2.0, 2.0 * ratio)
    depth = coarse_step(h, w, k, edge, near, far)
    image = two_tone(h * k, w * k, edge, noise=noise, seed=seed)
    expected = np.tile(np.where(np.arange(w * k) < edge, near, far), (h * k, 1))
    if turn:
        depth, image, expected = depth.T, image.transpose(0, 2, 1), expected.T
    assert np.array_equal(fit_depth(depth, image), expected)


@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([2, 3, 4]), a=st.floats(-0.02, 0.02), b=st.floats(-0.02, 0.02))
def test_planes_stay_planes(seed, k, a, b):
    """The inverse depth of a plane is affine in the image; away from the rim it is reproduced, texture or not."""
    h, w = 8, 10

    def inverse(rows, columns):
        y, x = (np.arange(rows) + 0.5) * h / rows, (np.arange(columns) + 0.5) * w / columns
        return 0.5 + a * y[:, None] + b * x

    image = np.random.default_rng(seed).random((3, h * k, w * k))
    found = 1 / fit_depth(1 / inverse(h, w), image)
    inner = np.s_[k:-k, k:-k]
    np.testing.assert_allclose(found[inner], inverse(h * k, w * k)[inner], rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([2, 3, 5]))
def test_no_depth_appears_between_two_surfaces(seed, k):
    """Of pixels at 1 and at 5 m every depth of the result is one or the other, whatever the photograph."""
    rng = np.random.default_rng(seed)
    depth = np.where(rng.random((7, 9)) < 0.5, 1.0, 5.0)
    found = fit_depth(depth, rng.random((3, 7 * k, 9 * k)))
    assert np.isin(found, [1.0, 5.0]).all()


def test_a_photograph_without_the_edge_leaves_it_where_the_depth_has_it():
    depth = coarse_step(6, 8, 1, 4, 1.0, 3.0)
    found = fit_depth(depth, np.full((3, 24, 32), 0.4))
    assert np.array_equal(found, np.repeat(np.repeat(depth, 4, axis=0), 4, axis=1))


def test_strips_and_the_whole_give_the_same(monkeypatch, rng):
    depth, image = rng.uniform(1, 5, (9, 7)), rng.random((3, 36, 28))
    whole = fit_depth(depth, image)
    monkeypatch.setattr("synth.scenes.fitting._PIXELS", 60)
    assert np.array_equal(fit_depth(depth, image), whole)


def test_larger_depth_is_reduced_by_its_median(rng):
    depth = rng.uniform(1, 5, (12, 18))
    depth[rng.random(depth.shape) < 0.3] = np.nan
    image = rng.random((3, 4, 6)).astype(np.float32)
    scene = scenes.Scene(all_in_focus=rng.random((3, 12, 18)), depth_m=depth, name="large")
    assert np.array_equal(fit_depth(depth, image), resized(scene, 4, 6).depth_m, equal_nan=True)
    assert fit_depth(depth[:4, :6], image) is not None


def test_sizes_that_do_not_fit(rng):
    image = rng.random((3, 30, 40))
    assert fit_depth(rng.uniform(1, 2, (15, 20)), image).shape == (30, 40)
    assert fit_depth(rng.uniform(1, 2, (16, 21)), image).shape == (30, 40), "within a pixel"
    assert fit_depth(rng.uniform(1, 2, (31, 40)), image).shape == (30, 40)
    for size in ((20, 15), (15, 15), (15, 24), (300, 200)):
        with pytest.raises(
            ValueError, match=f"proportions of the photograph, 30 x 40 px, got {size[0]} x {size[1]} px"
        ):
            fit_depth(rng.uniform(1, 2, size), image)
    with pytest.raises(ValueError, match="expected depth of the photograph's 30 x 40 px, got 15 x 20 px"):
        fit_depth(rng.uniform(1, 2, (15, 20)), image, how="off")
    with pytest.raises(ValueError, match="how"):
        fit_depth(rng.uniform(1, 2, (15, 20)), image, how="cubic")


# ---- from files ---------------------------------------------------------------------------------------------------


def test_files_of_different_size_are_brought_together(tmp_path, rng):
    io.write_image(tmp_path / "a.png", two_tone(32, 48, 22))
    io.write_array(tmp_path / "d.pfm", coarse_step(8, 12, 4, 22, 1.0, 3.0).astype(np.float32))
    with pytest.warns(
        io.PictureWarning, match="has 8 x 12 px and was brought to the photograph's 32 x 48 px, along the"
    ):
        scene = scenes.from_files(tmp_path / "a.png", tmp_path / "d.pfm", depth_unit="m")
    assert np.array_equal(scene.depth_m, np.tile(np.where(np.arange(48) < 22, 1.0, 3.0), (32, 1)))
    assert scene.source.endswith("depth resized from 8 x 12 to 32 x 48")
    with pytest.warns(io.PictureWarning, match="to the nearest pixel"):
        scenes.from_files(tmp_path / "a.png", tmp_path / "d.pfm", depth_unit="m", depth_resize="nearest")
    with pytest.raises(ValueError, match=r"d\.pfm: expected depth of the photograph's 32 x 48 px, got 8 x 12 px"):
        scenes.from_files(tmp_path / "a.png", tmp_path / "d.pfm", depth_unit="m", depth_resize="off")


def test_small_depth_is_turned_with_its_photograph(tmp_path):
    """A depth map of half the size, stored like the pixels of a photograph that lies on its side."""
    from tests.synth.io.test_orientation import put

    upright = np.add.outer(np.arange(12), np.arange(18) * 7).astype(np.uint8)
    depth = np.arange(1, 55, dtype=np.uint16).reshape(6, 9)
    for orientation in (1, 3, 6, 8):
        photo = put(tmp_path / f"{orientation}.png", np.repeat(upright[..., None], 3, axis=-1), orientation)
        stored = put(tmp_path / "d.png", depth, orientation, tagged=False)
        warned = pytest.warns(io.PictureWarning) if orientation == 3 else None
        if warned is None:
            found = io.read_depth(stored, unit="m", belongs_to=photo)
        else:
            with warned:
                found = io.read_depth(stored, unit="m", belongs_to=photo)
        assert np.array_equal(found, depth.astype(float)), orientation
