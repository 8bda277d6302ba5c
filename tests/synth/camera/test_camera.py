"""Cameras: presets, drawing of settings, storage, and the fit to a scene."""

import json
from dataclasses import replace

import numpy as np
import pytest

import blurphys as bp
from synth import Camera, Imperfections, Scene
from synth.noise import ShotReadNoise

LENS = bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875)
PUPILS = {
    "disk": bp.Pupil.disk(split=0.15, cross_talk=0.1, cat_eye=(0.2, 0.1), angle=30.0),
    "butterworth": bp.Pupil.butterworth(6, 1.0, 0.2, 0.05, split=0.3),
    "polygon": bp.Pupil.polygon(7, rotation=10.0, split=0.4),
    "measured": bp.Pupil.measured(np.arange(25.0).reshape(5, 5), extent=1.2, split=0.2, angle=90.0),
}


def make(**changes):
    return Camera(**{"lens": LENS, "pupil": PUPILS["disk"], **changes})


@pytest.mark.parametrize("name", PUPILS)
def test_a_camera_survives_json(name):
    camera = make(
        pupil=PUPILS[name],
        noise=ShotReadNoise(1e-3, 1e-7),
        max_radius=7.3,
        focus_range_m=(0.5, 2),
        gain_range=(1, 4),
        name="mine",
    )
    back = Camera.from_dict(json.loads(json.dumps(camera.to_dict())))
    assert back.to_dict() == camera.to_dict()
    for view in ("left", "right", "combined"):
        assert np.allclose(back.pupil.psf(4.3, view), camera.pupil.psf(4.3, view), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", Camera.presets())
def test_presets(name, rng):
    camera = Camera.preset(name.upper().replace("-", "_"))
    assert camera.name == name
    assert camera.pupil.split == {"canon-r6ii": 0.15, "pixel4": 0.45, "syndof": 0.0}.get(name, 0.5)
    for _ in range(50):
        drawn = camera.draw(rng)
        assert drawn.lens.radius_at_infinity > 0
        assert name == "syndof" or drawn.lens.radius_at_infinity < camera.max_radius
    back = Camera.from_dict(json.loads(json.dumps(camera.to_dict())))
    assert back.to_dict() == camera.to_dict()


@pytest.mark.parametrize(
    ("number", "far", "band"),
    [(0, 3, (4.3, 6.1)), (1, 3, (5.2, 7.1)), (2, 9, (7.7, 8.3)), (3, 4, (10.7, 13.7)), (4, 5, (27.8, 32.7))],
)
def test_the_published_camera_sets(number, far, band):
    """Radius at 250 m and the band of depths in focus, as counted on the published generator."""
    camera = Camera.preset(f"iccv2021-{number}")

    def radius(depth):
        return np.rint(camera.lens.defocus_map(np.array([[depth]]))[0, 0])

    assert radius(250.0) == far
    assert radius(band[0] + 0.1) == radius(band[1] - 0.1) == 0
    assert radius(band[0] - 0.2) < 0 < radius(band[1] + 0.2)


def test_the_published_kernels_to_the_last_bit():
    camera = Camera.preset("iccv2021-0")
    bank = camera.bank()
    assert bank.radii.tolist() == list(range(-40, 41))
    for radius, view, expected in ((3, "left", "left"), (-3, "left", "right"), (20, "right", "right")):
        kernel = bp.psf.butterworth(abs(radius), order=3, cutoff=0.8, floor=0.1, view=expected)
        stored = bank.psfs(view)[radius + 40]
        pad = (stored.shape[0] - kernel.shape[0]) // 2
        assert np.array_equal(stored[pad : stored.shape[0] - pad, pad : stored.shape[1] - pad], kernel)
    assert np.array_equal(bank.psfs("left")[40], bank.psfs("left")[41])  # in focus they still blur
    assert camera.settled_map(np.array([[-2.4, -0.3, 0.4, 1.6]])).tolist() == [[-2, 1, 1, 2]]


def test_the_canon_preset_predicts_the_measured_board():
    """Trap 2 (diameter for radius) and 3 (mm for m): the board at 0.6 m has a radius of 4.68 px, in front of focus."""
    camera = Camera.preset("canon-r6ii")
    assert camera.lens.defocus_map(np.array([[0.6]]))[0, 0] == pytest.approx(-4.68, abs=0.01)


def test_draws_stay_in_range_and_follow_the_stream():
    camera = make(focus_range_m=(0.5, 4.0), f_number_range=(2, 8), gain_range=(0.5, 2), noise=ShotReadNoise(1e-3, 1e-6))
    drawn = [camera.draw(np.random.default_rng(i)) for i in range(200)]
    again = camera.draw(np.random.default_rng(7))
    assert again.parameters == drawn[7].parameters
    focus = np.array([c.lens.focus_distance_m for c in drawn])
    stops = np.array([c.lens.f_number for c in drawn])
    assert 0.5 <= focus.min() < 0.6
    assert 2 < focus.max() <= 4
    assert np.median(1 / focus) == pytest.approx((1 / 0.5 + 1 / 4) / 2, rel=0.2)
    assert 2 <= stops.min() < 2.2
    assert 7 < stops.max() <= 8
    for c in drawn:
        gain = c.noise.shot / 1e-3
        assert 0.5 <= gain <= 2
        assert c.noise.read == pytest.approx(1e-6 * gain**2)
        assert c.focus_range_m is c.f_number_range is c.gain_range is None
        assert c.with_parameters(c.parameters).parameters == c.parameters


def test_without_ranges_nothing_changes(rng):
    camera = make()
    assert camera.draw(rng).to_dict() == camera.to_dict()


def scene(near, far, name="slope"):
    near, far = float(near), float(far)
    depth = np.broadcast_to(1 / np.linspace(1 / near, 1 / far, 40), (8, 40)).copy()
    depth[0, 0] = np.nan
    return Scene(all_in_focus=np.ones((3, 8, 40)), depth_m=depth, name=name)


@pytest.mark.parametrize(("near", "far"), [(0.3, 0.4), (1, 5), (2, 1e11)])
@pytest.mark.parametrize("limit", [3.3, 8.0])
def test_a_fitted_camera_reaches_the_limit_and_stays_below(near, far, limit):
    camera = Camera.for_scene(scene(near, far), max_radius=limit, outliers=0)
    radii = camera.lens.defocus_map(scene(near, far).depth_m, invalid="nearest")
    assert np.abs(radii).max() <= limit
    assert np.abs(radii).max() == pytest.approx(limit, rel=0.05)
    assert camera.max_radius == limit
    assert near < camera.lens.focus_distance_m < far
    near_focus = Camera.for_scene(scene(near, far), quantile=0.0)
    assert near_focus.lens.defocus_map(np.array([[float(far)]]))[0, 0] > 0


def test_a_stray_pixel_does_not_decide_the_fit():
    """Trap 9's cousin: one pixel of a depth camera at a millimetre would leave everything else in focus."""
    clean, stray = scene(1, 3), scene(1, 3)
    stray.depth_m[5, 5] = 0.001
    fitted = [
        Camera.for_scene(s, max_radius=8, outliers=share) for s, share in ((clean, 0.005), (stray, 0.005), (stray, 0))
    ]
    pitch = [camera.lens.pixel_pitch_um for camera in fitted]
    assert pitch[0] == pytest.approx(pitch[1], rel=0.05)
    assert pitch[2] > 100 * pitch[1]


def test_a_camera_fitted_to_several_scenes_draws_and_hardly_clamps(rng):
    shown = [scene(0.6, 1.5), scene(2, 9), scene(1, 40)]
    base = Camera.preset("canon-r6ii")
    fitted = Camera.for_scenes(shown, base=base, max_radius=6.0)
    assert (fitted.f_number_range, fitted.gain_range) == (base.f_number_range, base.gain_range)
    near, far = fitted.focus_range_m
    assert 0.6 < near < far < 40
    depths = np.concatenate([made.depth_m[made.valid] for made in shown])
    shares, strongest = [], 0.0
    for _ in range(30):
        radii = np.abs(fitted.draw(rng).defocus_map(depths[None]))
        shares.append((radii > 6).mean())
        strongest = max(strongest, radii.max())
    assert max(shares) < 0.01
    assert strongest > 3
    fixed = Camera.for_scenes(shown, base=replace(base, focus_range_m=None), max_radius=6.0)
    assert fixed.focus_range_m is None
    assert np.mean(depths < fixed.lens.focus_distance_m) == pytest.approx(0.5, abs=0.02)


def test_a_changed_pupil_is_stored_as_it_renders():
    made = replace(Camera.preset("canon-r6ii"), max_radius=3.0, step=1.0)
    for changed in (
        replace(made, pupil=replace(made.pupil, split=0.45, angle=90.0)),
        replace(made, pupil=replace(made.pupil, intensity=np.eye(8))),
    ):
        again = Camera.from_dict(json.loads(json.dumps(changed.to_dict())))
        for view in ("left", "top"):
            assert np.array_equal(changed.bank().psfs(view), again.bank().psfs(view))
            assert not np.array_equal(changed.bank().psfs(view), made.bank().psfs(view))


def test_a_fitted_camera_keeps_lens_and_pupil():
    base = make(pupil=PUPILS["polygon"], focus_range_m=(0.5, 1), noise=ShotReadNoise(1e-3))
    camera = Camera.for_scene(scene(1, 3), base=base, focus_distance_m=2.0)
    assert camera.pupil is base.pupil
    assert camera.noise == base.noise
    assert camera.lens.focus_distance_m == 2.0
    assert camera.lens.f_number == 4
    assert camera.focus_range_m is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Camera.preset("brownie"), "preset among canon-r6ii, pixel4"),
        (lambda: make(max_radius=0), "max_radius .*> 0"),
        (lambda: make(step=np.nan), "step .*> 0"),
        (lambda: make(f_number_range=(4, 2)), "f_number_range"),
        (lambda: make(gain_range=(0, 2)), "gain_range"),
        (lambda: make(focus_range_m=(0.04, 2)), "beyond the focal length"),
        (lambda: replace(Camera.preset("iccv2021-0"), pupil=bp.Pupil.disk()), "pupil, split and angle of their own"),
        (
            lambda: replace(Camera.preset("iccv2021-0"), pupil=replace(Camera.preset("iccv2021-0").pupil, angle=9.0)),
            "pupil, split and angle of their own",
        ),
        (lambda: Camera.preset("iccv2021-0").bank(("top", "bottom")), "iccv2021-0, got top, bottom"),
        (lambda: Camera.for_scenes([]), "at least one scene"),
        (lambda: Camera.for_scenes([scene(1, 3)], max_radius=0), "max_radius .*> 0"),
        (lambda: Camera.for_scenes([scene(2, 2)]), "plane of focus"),
        (lambda: Camera.for_scene(scene(1, 3), max_radius=-1), "max_radius .*> 0"),
        (lambda: Camera.for_scene(scene(1, 3), quantile=2), "quantile"),
        (lambda: Camera.for_scene(scene(1, 3), outliers=0.5), "outliers"),
        (lambda: Camera.for_scene(scene(1, 3), focus_distance_m=0.01), "beyond the focal length"),
        (lambda: Camera.for_scene(scene(2, 2), focus_distance_m=2.0), "plane of focus"),
        (lambda: Camera.from_dict({"lens": {}}), "Camera.to_dict"),
        (lambda: Camera.from_dict({**make().to_dict(), "pupil": {"kind": "fish"}}), "pupil .*'disk'.*, got 'fish'"),
        (lambda: Camera.from_dict({**make().to_dict(), "colour": 3}), "Camera.to_dict"),
    ],
)
def test_bad_cameras(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("changes", [{}, {"cat_eye": 0.5}, {"chromatic": (1.1, 1.0, 0.9)}, {"diffraction_nm": 540.0}])
@pytest.mark.parametrize("name", ["canon-r6ii", "iccv2021-1"])
def test_a_psf_model_knows_its_banks(name, changes):
    """Without making a PSF: reach, levels, colours and memory."""
    camera = replace(Camera.preset(name), max_radius=4.0, imperfections=Imperfections(**changes))
    model, bank = camera.psf_model, camera.bank()
    levels = bank.psfs("left")
    assert model.reach >= levels.shape[-1] // 2 >= model.max_radius - 1
    assert len(bank.radii) == 2 * model.max_radius / model.step + 1
    assert levels.ndim == (4 if model.colours == 3 else 3)
    assert model.nbytes(3) >= 3 * levels.nbytes
    assert model.gather_only == (
        "published kernels" if camera.published else "cat eyes" if "cat_eye" in changes else ""
    )
    assert model.nodes == (15 if "cat_eye" in changes else 1)
    assert replace(camera, max_radius=2.0).psf_model.max_radius == 2.0
