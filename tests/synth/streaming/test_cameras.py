"""The lenses and the camera of a stream: how wide pupils are, and what a camera sharpens."""

import numpy as np
import pytest

import blurphys as bp
import synth
from synth.streaming.lenses import EXTENT, Lenses, _scaled


def spread(psf):
    """Standard deviation along an axis, mean of both, by loops."""
    size, moments = psf.shape[0], []
    for axis in (0, 1):
        share = psf.sum(axis=axis) / psf.sum()
        mean = sum(k * share[k] for k in range(size))
        moments.append(sum((k - mean) ** 2 * share[k] for k in range(size)))
    return np.sqrt(np.mean(moments))


@pytest.mark.parametrize(
    "pupil",
    [
        bp.Pupil.disk(split=0.2, core=0.5),
        bp.Pupil.polygon(5, rotation=20.0, split=0.2),
        bp.Pupil.disk(cat_eye=(0.3, 0.4)),
        bp.Pupil.butterworth(3, 0.8, 0.1, 0.1),
    ],
)
def test_pupils_are_scaled_to_the_second_moments_of_a_disk(pupil):
    scaled = _scaled(pupil)
    disk = bp.Pupil.disk(core=pupil.core)
    assert spread(scaled.psf(6.0)) == pytest.approx(spread(disk.psf(6.0)), rel=0.01)
    assert (scaled.split, scaled.core) == (pupil.split, pupil.core)


def test_a_narrow_pupil_is_enlarged_no_further_than_the_reach():
    narrow = bp.Pupil.disk(cat_eye=(1.2, 0.0))
    assert _scaled(narrow).extent == EXTENT


def test_all_lenses_blur_alike():
    lenses = Lenses(0, max_radius=8.0, core=(0.0, 0.0), views=("combined",))
    widths = [spread(lenses.bank(number).pupil.psf(8.0)) for number in range(24)]
    disk = spread(bp.Pupil.disk().psf(8.0))
    assert np.median(widths) == pytest.approx(disk, rel=0.01) and min(widths) > 0.85 * disk


def test_sharpening_raises_contrast_at_edges_and_leaves_the_rest_of_a_sample_alone():
    settings = {"crop": 48, "max_radius": 3.0, "noise": None, "mosaic": 0.0, "jpeg": 0.0, "bits": None}
    plain, sharpened = synth.Stream(**settings), synth.Stream(**settings, sharpening=1.0)
    for index in range(3):
        a, b = plain.sample(index), sharpened.sample(index)
        assert np.array_equal(a["defocus_map"], b["defocus_map"])
        for name in ("image", "sharp"):
            assert b[name].min() >= 0 and b[name].max() <= 1
            steps = [np.abs(np.diff(x[name], axis=-1)).mean() for x in (a, b)]
            assert steps[1] > 1.02 * steps[0]


def test_the_share_of_sharpened_samples():
    stream = synth.Stream(crop=16, max_radius=1.0, sharpening=0.4, noise=None, bits=None)
    plain = synth.Stream(crop=16, max_radius=1.0, noise=None, bits=None)
    changed = [not np.array_equal(stream.sample(k)["image"], plain.sample(k)["image"]) for k in range(30)]
    assert 4 <= sum(changed) <= 20
    with pytest.raises(ValueError, match="sharpening"):
        synth.Stream(sharpening=1.5)
