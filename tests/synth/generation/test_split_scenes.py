"""Splits by scene."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import synth

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
names = st.lists(st.text("abcdef", min_size=1), min_size=3, max_size=40, unique=True)


@given(names, st.integers(0, 99), st.randoms())
def test_every_scene_is_in_one_split_whatever_the_order(listed, seed, random):
    found = synth.split_scenes(listed, SHARES, seed=seed)
    assert sorted(name for part in found.values() for name in part) == sorted(listed)
    assert set(found) == set(SHARES)
    assert all(abs(len(found[split]) - share * len(listed)) <= 1.5 for split, share in SHARES.items())
    assert all(found.values())
    other = list(listed)
    random.shuffle(other)
    assert synth.split_scenes(other, SHARES, seed=seed) == found


def test_the_seed_decides():
    listed = [f"scene-{i}" for i in range(30)]
    assert synth.split_scenes(listed, SHARES, seed=1) != synth.split_scenes(listed, SHARES, seed=2)


@pytest.mark.parametrize(
    ("listed", "shares"),
    [
        (["a", "b"], SHARES),
        (["a", "a", "b", "c"], SHARES),
        (["a", "b", "c"], {"train": 1.0, "holdout": 1.0}),
        (["a", "b", "c"], {"train": -1.0}),
        (["a", "b", "c"], {"train": 0.0}),
    ],
)
def test_bad_input(listed, shares):
    with pytest.raises(ValueError, match="split_scenes: expected"):
        synth.split_scenes(listed, shares, seed=0)
