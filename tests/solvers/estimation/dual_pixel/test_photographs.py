"""The map of real dual-pixel pairs, by the functions of `examples/estimate_defocus.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).resolve().parents[4] / "examples" / "estimate_defocus.py"
    spec = importlib.util.spec_from_file_location("estimate_defocus", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folder_of(data, name):
    if not (data / name).is_dir():
        pytest.skip(f"{name} is missing from ../shared/data")
    return data / name


def test_a_canon_pair_orders_its_depths(example, data):
    left, right, depth = example.canon_pair(folder_of(data, "canon_r6m2_scene_003"))
    found = example.canon_map(left, right, step=0.5)
    assert example.rank_correlation(found.defocus_map, depth) >= 0.8


@pytest.mark.parametrize("scene", ["013", "001"])
def test_a_pixel_4_pair_is_better_than_a_constant(example, data, scene):
    folder = folder_of(data, "pixel4_dp")
    left, right, true = example.pixel4_pair(folder, scene)
    found = example.pixel4_map(folder, left, right, step=1.0)
    _, two, _, constant, _ = example.pixel4_scores(found.defocus_map, true)
    assert two <= 0.75 * constant


def test_the_affine_invariant_error(example):
    """Zero for any affine function; at most that of a constant; p = 1 on a case solved by hand."""
    rng = np.random.default_rng(0)
    x = rng.random(200)
    for exponent in (1, 2):
        assert example.aiwe(x, 3 - 2 * x, exponent) == pytest.approx(0, abs=1e-6)
    noise = rng.random(200)
    assert example.aiwe(x, noise, 2) <= noise.std()
    # two values of x: the best line goes through the median of either group
    groups = np.repeat([0.0, 1.0], 3)
    assert example.aiwe(groups, np.array([0, 0, 3.0, 1, 1, 7]), 1) == pytest.approx(9 / 6, rel=1e-3)
