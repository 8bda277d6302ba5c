"""What a real lens and sensor add: colour, field, distortion, readout; each does what it says and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

import blurphys as bp
import synth
from synth import Camera, Imperfections, RadialDistortion, Scene, Sensor, ToneCurve
from synth.noise import ShotReadNoise

H, W = 40, 52


def scene(seed=0):
    rng = np.random.default_rng(seed)
    depth = np.where(np.arange(W) < W // 2, 0.8, 1.6) * np.ones((H, 1))
    return Scene(all_in_focus=rng.random((3, H, W)), depth_m=depth, name="step")


def camera(**changes):
    lens = bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=90.0)
    plain = Camera(lens=lens, pupil=bp.Pupil.disk(split=0.3), noise=ShotReadNoise(), max_radius=6.0)
    return replace(plain, **changes)


def taken(model="gather", **changes):
    return synth.render(scene(), camera(**changes), rng=0, model=model)


@pytest.mark.parametrize("model", ["gather", "layered"])
def test_none_is_the_default(model):
    plain = taken(model)
    same = taken(model, imperfections=Imperfections(), readout=Sensor(), tone=ToneCurve("linear"))
    for name, array in plain.arrays.items():
        assert np.array_equal(array, same.arrays[name], equal_nan=True), name


@pytest.mark.parametrize("model", ["gather", "layered"])
def test_chromatic_defocus_changes_the_colours_it_names(model):
    plain = taken(model)
    coloured = taken(model, imperfections=Imperfections(chromatic=(0.8, 1.0, 1.0)))
    assert np.abs(plain.combined[0] - coloured.combined[0]).max() > 0.02
    assert np.allclose(plain.combined[1:], coloured.combined[1:], atol=1e-12)


def test_diffraction_blurs_what_is_in_focus():
    lens = bp.ThinLens(focal_length_mm=50.0, f_number=16.0, focus_distance_m=0.8, pixel_pitch_um=4.0)
    sharp = synth.render(scene(), camera(lens=lens, max_radius=30.0), rng=0).combined[:, :, :20]
    flaws = Imperfections(diffraction_nm=550.0)
    soft = synth.render(scene(), camera(lens=lens, max_radius=30.0, imperfections=flaws), rng=0).combined[:, :, :20]
    assert soft.var() < 0.9 * sharp.var()


def test_a_cat_eye_spares_the_centre_and_is_for_gather():
    flat = Scene(all_in_focus=scene().all_in_focus, depth_m=np.full((H, W), 1.7), name="flat")
    plain, eye = camera(), camera(imperfections=Imperfections(cat_eye=0.9))
    one, other = (synth.render(flat, c, rng=0, model="gather").combined for c in (plain, eye))
    difference = np.abs(one - other).mean(axis=0)
    assert difference[H // 2 - 2 : H // 2 + 2, W // 2 - 2 : W // 2 + 2].max() < 0.3 * difference[:4, :4].max()
    with pytest.raises(ValueError, match="cat eyes"):
        synth.render(flat, eye, rng=0, model="layered")
    for flaws in (Imperfections(chromatic=(0.9, 1.0, 1.0)), Imperfections(diffraction_nm=550.0)):
        with pytest.raises(ValueError, match="coloured defocus and diffraction of camera .* got 'aperture'"):
            synth.render(flat, camera(imperfections=flaws), rng=0, model="aperture")


def test_the_psfs_of_a_cat_eye_are_made_once_for_all_shards(tmp_path, monkeypatch):
    made, whole = [], synth.optics.cat_eye_banks
    monkeypatch.setattr(synth.optics, "cat_eye_banks", lambda *a, **k: made.append(1) or whole(*a, **k))
    coarse = bp.Pupil.measured(np.ones((16, 16)), split=0.3)
    eye = camera(imperfections=Imperfections(cat_eye=0.9), pupil=coarse, max_radius=4.0, step=1.0)
    options = {"camera": eye, "seed": 1, "size": (20, 24), "shard_size": 1, "model": "gather", "max_clamped": None}
    synth.generate(scene(), tmp_path / "a", samples=3, **options)
    assert len(made) == 1
    with synth.open(tmp_path / "a") as data:
        again = synth.replay(tmp_path / "a", 2, scene())
        assert np.array_equal(data[2]["left"], again.left.astype(np.float32))


@pytest.mark.parametrize("views", [("top", "bottom"), ("top_left", "top_right", "bottom_left", "bottom_right")])
def test_flaws_of_other_views(views):
    """Shading divides left from right; coloured and softened PSFs are those of the views."""
    flaws = Imperfections(chromatic=(0.8, 1.0, 1.0), diffraction_nm=550.0, shading=(1.0, 2.0))
    coarse = bp.Pupil.measured(np.ones((16, 16)), split=0.4)
    shown = synth.render(
        scene(), camera(imperfections=flaws, pupil=coarse, step=1.0), rng=0, model="gather", views=(*views, "combined")
    )
    plain = synth.render(
        scene(), camera(imperfections=replace(flaws, shading=(1.0, 1.0)), pupil=coarse, step=1.0), rng=0,
        model="gather", views=(*views, "combined"),
    )  # fmt: skip
    assert shown.combined.mean() == pytest.approx(plain.combined.mean(), rel=0.01)
    assert np.allclose(np.mean([shown.arrays[view] for view in views], axis=0), shown.combined, atol=1e-9)
    for view in views:
        ratio = (shown.arrays[view] / plain.arrays[view])[:, :, -1].mean()
        assert ratio == pytest.approx({"left": 4 / 3, "right": 2 / 3}.get(view.rpartition("_")[2], 1.0), abs=0.02)


def test_field_curvature_is_in_the_map_that_is_stored():
    plain, bent = taken(), taken(imperfections=Imperfections(field_curvature_px=1.5))
    offset = bent.defocus_map - plain.defocus_map
    assert offset[0, 0] == pytest.approx(1.5, abs=0.1)
    assert abs(offset[H // 2, W // 2]) < 0.01


def test_vignetting_and_shading_scale_light():
    plain = taken()
    flaws = Imperfections(vignetting=0.4, shading=(1.2, 0.8))
    dark = taken(imperfections=flaws)
    assert dark.combined[:, 0, 0] == pytest.approx(0.4 * plain.combined[:, 0, 0], rel=0.02)
    ratio = (dark.left / dark.right) / (plain.left / plain.right)
    assert np.allclose(ratio[:, :, 0], 1.2, rtol=1e-5)
    assert np.allclose(ratio[:, :, -1], 0.8, rtol=1e-5)
    assert np.allclose(dark.all_in_focus, plain.all_in_focus)  # the target stays


def test_distortion_moves_every_plane_alike():
    distortion = RadialDistortion.iccv2021(0)
    plain, bent = taken(), taken(imperfections=Imperfections(distortion=distortion))
    for name in ("all_in_focus", "left", "right"):
        assert np.allclose(bent.arrays[name], distortion.apply(plain.arrays[name]), atol=1e-12), name
    inside = bent.valid
    assert np.array_equal(np.isnan(bent.depth_m), distortion.exposed((H, W)))
    assert set(np.unique(bent.depth_m[inside])) <= {0.8, 1.6}
    assert bent.parameters["unknown_pixels"] == np.isnan(bent.depth_m).sum()


def test_the_readout_clips_and_rounds_what_noise_left():
    noise = ShotReadNoise.from_electrons(2000, 5)
    sample = taken(noise=noise, readout=Sensor(bits=10, black_level=64))
    codes = sample.left * (1023 - 64) + 64
    assert np.allclose(codes, np.rint(codes), atol=1e-6)
    assert np.array_equal(sample.combined, (sample.left + sample.right) / 2)
    mosaic = taken(noise=noise, readout=Sensor(mosaic="rggb"))
    assert mosaic.left.shape == (3, H, W)


def test_one_tone_curve_for_input_and_target():
    plain, encoded = taken(), taken(tone=ToneCurve("srgb"))
    for name in ("all_in_focus", "left", "right", "combined"):
        assert np.allclose(encoded.arrays[name], bp.colour.linear_to_srgb(plain.arrays[name])), name


def test_a_dataset_keeps_them_and_replays_them(tmp_path):
    shot = camera(
        noise=ShotReadNoise.from_electrons(2000, 5),
        imperfections=Imperfections(
            chromatic=(0.9, 1.0, 1.1), diffraction_nm=550.0, vignetting=0.6, distortion=RadialDistortion.iccv2021(1)
        ),
        readout=Sensor(bits=12, black_level=128),
        tone=ToneCurve("srgb"),
        f_number_range=(4.0, 8.0),
    )
    synth.generate(
        scene(), tmp_path / "a", camera=shot, samples=3, seed=1, size=(30, 36), shard_size=2, max_clamped=None
    )
    with synth.open(tmp_path / "a") as data:
        assert data.attrs["transfer_function"] == "srgb"
        assert data.camera(1).imperfections == shot.imperfections
        assert data.camera(1).readout == shot.readout
        for index in range(3):
            again = synth.replay(tmp_path / "a", index, scene())
            for name, stored in data[index].items():
                assert np.allclose(stored, again.arrays[name], atol=1e-6, equal_nan=True), name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"chromatic": (1.0, 0.0, 1.0)}, "3 numbers > 0"),
        ({"shading": (1.0,)}, "2 numbers > 0"),
        ({"vignetting": 0.0}, "vignetting"),
        ({"cat_eye": 2.5}, "cat_eye"),
        ({"diffraction_nm": -1.0}, "diffraction_nm"),
    ],
)
def test_bad_input(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Imperfections(**changes)
