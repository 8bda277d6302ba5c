"""The operator of a sample: it takes the true image to what was stored, for every camera, or says what is missing."""

import warnings
from dataclasses import replace
from typing import get_type_hints

import numpy as np
import pytest

import blurphys as bp
import synth
from synth import Camera, Imperfections, OperatorWarning, RadialDistortion, Sensor, ToneCurve, operator_of
from synth.generation.operators import noise_of
from synth.noise import ShotReadNoise

H, W = 40, 56
QUAD_PIXEL = ("top_left", "top_right", "bottom_left", "bottom_right")
PLAIN = Camera(
    lens=bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=90),
    pupil=bp.Pupil.disk(split=0.3),
    noise=ShotReadNoise(0, 0),
    max_radius=3.0,
    step=1.0,
    f_number_range=(3, 8),
)
SHADED = {"vignetting": 0.5, "shading": (1.3, 0.8)}


def flawed(**flaws):
    return replace(PLAIN, imperfections=Imperfections(**flaws))


CAMERAS = {
    "plain": (PLAIN, {}),
    "cat eyes": (flawed(cat_eye=0.9), {}),
    "cat eyes of a window": (flawed(cat_eye=-0.9, **SHADED), {"size": (32, 40)}),
    "vignetting": (flawed(vignetting=0.5), {}),
    "shading": (flawed(**SHADED), {}),
    "shading of an ordinary camera": (flawed(**SHADED), {"views": ("combined",)}),
    "shading, combined not stored": (flawed(**SHADED), {"views": ("left", "right")}),
    "quarters": (flawed(**SHADED), {"views": (*QUAD_PIXEL, "combined")}),
    "turned halves": (replace(PLAIN, pupil=bp.Pupil.disk(split=0.3, angle=30.0)), {"views": ("top", "bottom")}),
    "colours": (flawed(chromatic=(1.2, 1.0, 0.8)), {"views": ("top", "bottom", "combined")}),
    "diffraction": (flawed(diffraction_nm=50000.0), {}),
    "field curvature": (flawed(field_curvature_px=1.5), {}),
    "published kernels": (replace(Camera.preset("iccv2021-0"), max_radius=5.0), {}),
    "tone curve": (replace(PLAIN, tone=ToneCurve("filmic")), {}),
    "converter": (replace(PLAIN, readout=Sensor(bits=10)), {}),
    "measured pupil": (replace(PLAIN, pupil=bp.Pupil.measured(np.eye(8) + 0.2, split=0.4, cross_talk=0.2)), {}),
}


def scene():
    rng = np.random.default_rng(0)
    depth = np.broadcast_to(np.linspace(0.8, 2.5, W), (H, W)) + rng.uniform(0, 0.2, (H, W))
    return synth.Scene(all_in_focus=rng.random((3, H, W)).astype(np.float32), depth_m=depth, name="made")


def written(path, camera, **options):
    chosen = {"samples": 2, "seed": 0, "model": "gather", "max_clamped": None, **options}
    synth.generate(scene(), path, camera=camera, **chosen)
    return synth.open(path)


@pytest.mark.parametrize("name", CAMERAS)
def test_the_true_image_goes_to_what_was_stored(name, tmp_path):
    camera, options = CAMERAS[name]
    with written(tmp_path / "a.h5", camera, **options) as data:
        for index in range(len(data)):
            sample, tone = data[index], data.camera(index).tone
            stored = [view for view in (*QUAD_PIXEL, *"left right top bottom combined".split()) if view in sample]
            y = {view: tone.invert(sample[view]) for view in stored}
            if "combined" not in y:
                y["combined"] = sum(y.values()) / len(y)
            A = operator_of(data, index, tuple(y))
            assert A.out_shape == (3 * len(y), *data.shape)
            error = np.abs(A(tone.invert(sample["all_in_focus"])) - np.concatenate(list(y.values())))
            if "size" in options:  # from outside the frame light came in
                error = error[:, 4:-4, 4:-4]
            assert error.max() < (0.501 / 1023 if name == "converter" else 3e-6)
        one = operator_of(data, 0, "combined")(tone.invert(data[0]["all_in_focus"]))
        assert one.shape == (3, *data.shape)


def test_it_blurs_differently_where_the_camera_does(tmp_path):
    """Without this the law above could hold for a plain blur."""
    with written(tmp_path / "plain.h5", PLAIN) as data:
        x, plain = data[0]["all_in_focus"], operator_of(data, 0, ("left",))(data[0]["all_in_focus"])
    for name in ("cat eyes", "vignetting", "shading", "diffraction"):
        with written(tmp_path / f"{name}.h5", CAMERAS[name][0]) as data:
            assert np.abs(operator_of(data, 0, ("left",))(x) - plain).max() > 0.02, name


def test_each_part_of_a_merged_folder_has_its_own(tmp_path):
    parts = {"plain": PLAIN, "flawed": CAMERAS["shading"][0]}
    for number, (name, camera) in enumerate(parts.items()):
        written(tmp_path / name, camera, seed=number).close()
    synth.merge([tmp_path / name for name in parts], tmp_path / "both")
    with synth.open(tmp_path / "both") as data:
        for index in range(4):
            sample = data[index]
            assert np.abs(operator_of(data, index, "left")(sample["all_in_focus"]) - sample["left"]).max() < 3e-6


def test_adjoint_and_unknown_boundary(tmp_path):
    with written(tmp_path / "a.h5", CAMERAS["cat eyes of a window"][0], size=(32, 40)) as data:
        A = operator_of(data, 0, ("left", "right"))
    assert bp.check(A).passed
    assert bp.unknown_boundary(A).out_shape == A.out_shape


@pytest.mark.parametrize(
    ("camera", "options", "told"),
    [
        (PLAIN, {"model": "layered"}, "model 'layered', this operator is the gather form: right inside surfaces"),
        (flawed(distortion=RadialDistortion.iccv2021(0)), {}, "the lens distorts"),
        (replace(PLAIN, readout=Sensor(mosaic="rggb")), {}, "colour mosaic"),
    ],
)
def test_what_it_leaves_out_is_said(camera, options, told, tmp_path):
    with written(tmp_path / "a.h5", camera, samples=1, **options) as data:
        with pytest.warns(OperatorWarning, match=told):
            A = operator_of(data, 0)
        assert A.out_shape == (9, H, W)


def test_a_distorting_lens_is_met_but_for_the_shape_of_its_blur(tmp_path):
    distortion = RadialDistortion.iccv2021(0)
    with written(tmp_path / "a.h5", flawed(distortion=distortion), samples=1) as data:
        x, y = data[0]["all_in_focus"], data[0]["combined"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            A = operator_of(data, 0, "combined")
    assert np.abs(A(x) - y)[:, 4:-4, 4:-4].mean() < 0.2 * np.abs(x - y)[:, 4:-4, 4:-4].mean()


@pytest.mark.parametrize("views", [(), ("left", "left"), ("top",), "all_in_focus", ("left", "depth_m")])
def test_views_that_are_not_there(views, tmp_path):
    with written(tmp_path / "a.h5", PLAIN, samples=1) as data:
        with pytest.raises(ValueError, match="operator_of: expected views among left, right, combined, each once"):
            operator_of(data, 0, views)
        with pytest.raises(IndexError, match="sample 1 of 1"):
            operator_of(data, 1)


def test_the_type_of_the_noise_is_said():
    assert get_type_hints(noise_of)["return"] is ShotReadNoise


def test_the_noise_of_a_view(tmp_path):
    camera = replace(PLAIN, noise=ShotReadNoise(1e-3, 1e-6))
    with written(tmp_path / "a.h5", camera, samples=1, views=QUAD_PIXEL) as data:
        assert noise_of(data, 0) == camera.noise.combined
        assert noise_of(data, 0, "top_left") == ShotReadNoise(2e-3, 4e-6)
        assert noise_of(data, 0, "left") == camera.noise
