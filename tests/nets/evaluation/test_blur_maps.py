"""Scores of maps, against SciPy and against the definition, pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from nets.evaluation.blur_maps import map_scores, mask_scores

seeds = st.integers(0, 1000)


def maps(seed):
    """Two maps with many ties, as those of bins have."""
    rng = np.random.default_rng(seed)
    return rng.integers(-6, 7, (5, 8)) / 2, rng.integers(-6, 7, (5, 8)) / 2, rng.random((5, 8)) < 0.6


@given(seeds)
def test_correlation_and_error_are_those_of_absolute_radii_where_known(seed):
    found, true, known = maps(seed)
    known[0, :4] = True
    a, b = np.abs(found[known]), np.abs(true[known])
    scores = map_scores(found, true, known=known)
    if np.ptp(a) and np.ptp(b):
        assert scores["rank_correlation"] == pytest.approx(spearmanr(a, b)[0], abs=1e-12)
    assert scores["median_error"] == np.median(np.abs(a - b))


@given(seeds, st.integers(1, 12))
def test_the_constant_error_is_that_of_the_best_constant(seed, count):
    values = np.random.default_rng(seed).integers(0, 20, (1, count)) / 4
    tried = np.arange(0, 5.01, 0.125)  # it lies halfway between two of the values
    # the upper of the two in the middle, where the number is even
    errors = np.sort(np.abs(values - tried[:, None]), axis=1)[:, count // 2]
    assert map_scores(values, values)["constant_error"] == pytest.approx(errors.min())


def test_a_constant_map_has_no_correlation():
    assert map_scores(np.full((3, 4), 2.0), np.arange(12.0).reshape(3, 4))["rank_correlation"] == 0


@given(seeds)
def test_auc_counts_the_pairs(seed):
    found, _, mask = maps(seed)
    mask[0, 0], mask[0, 1] = True, False
    a, b = np.abs(found[mask]), np.abs(found[~mask])
    wins = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    scores = mask_scores(found, mask)
    assert scores["auc"] == pytest.approx(wins)
    assert (scores["inside"], scores["outside"]) == pytest.approx((a.mean(), b.mean()))


def test_bad_input():
    plane = np.ones((3, 4))
    with pytest.raises(ValueError, match=r"\(3, 4\), \(4, 3\)"):
        map_scores(plane, plane.T)
    with pytest.raises(ValueError, match="at least one"):
        map_scores(plane, plane, known=plane == 0)
    with pytest.raises(ValueError, match="finite"):
        map_scores(plane * np.nan, plane)
    with pytest.raises(ValueError, match="one kind"):
        mask_scores(plane, plane == 1)
