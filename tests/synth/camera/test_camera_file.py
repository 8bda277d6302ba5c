"""One's own camera in TOML: the keys of a dataset's configuration, and one clear sentence for every slip."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import blurphys as bp
import synth
from blurphys import cli
from synth import Camera, Imperfections, RadialDistortion, Sensor, ToneCurve, read_camera
from synth.noise import ShotReadNoise

LENS = "[lens]\nfocal_length_mm = 50\nf_number = 4.0\nfocus_distance_m = 1.0\npixel_pitch_um = 90.0\n"


def written(path, text):
    path.write_text(text)
    return path


def test_every_table(tmp_path):
    text = f"""
        name = "mine"
        max_radius = 6
        step = 1.0
        focus_range_m = [0.8, 2]
        {LENS}
        [pupil]
        kind = "polygon"
        n = 7
        split = 0.3
        cat_eye = [0.1, 0.0]
        [noise]
        shot = 1e-3
        [imperfections]
        vignetting = 0.5
        chromatic = [1.1, 1, 0.9]
        distortion = {{a = 0.01, b = 0.0, c = 0.0}}
        [readout]
        bits = 12
        mosaic = "rggb"
        [tone]
        name = "filmic"
        white = 3.0
    """
    expected = Camera(
        lens=bp.ThinLens(focal_length_mm=50, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=90.0),
        pupil=bp.Pupil.polygon(7, split=0.3, cat_eye=(0.1, 0.0)), noise=ShotReadNoise(1e-3), max_radius=6, step=1.0,
        focus_range_m=(0.8, 2), name="mine", readout=Sensor(bits=12, mosaic="rggb"),
        tone=ToneCurve("filmic", white=3.0),
        imperfections=Imperfections(vignetting=0.5, chromatic=(1.1, 1, 0.9), distortion=RadialDistortion(0.01, 0, 0)),
    )  # fmt: skip
    assert read_camera(written(tmp_path / "my.toml", text)).to_dict() == expected.to_dict()
    table = "[camera]\nmax_radius = 6\n" + LENS.replace("[lens]", "[camera.lens]")
    plain = read_camera(written(tmp_path / "plain.toml", table))
    assert plain.to_dict() == Camera(lens=expected.lens, pupil=bp.Pupil.disk(), max_radius=6, name="plain").to_dict()


def test_a_preset_and_what_differs_from_it(tmp_path):
    text = 'preset = "canon-r6ii"\nmax_radius = 9\n[lens]\nf_number = 2.8\n[pupil]\nsplit = 0.4\n[noise]\nread = 0\n'
    camera, base = read_camera(written(tmp_path / "my.toml", text)), Camera.preset("canon-r6ii")
    expected = replace(
        base, max_radius=9, lens=replace(base.lens, f_number=2.8), pupil=bp.Pupil.disk(split=0.4),
        noise=replace(base.noise, read=0),
    )  # fmt: skip
    assert camera.to_dict() == expected.to_dict()
    other = read_camera(written(tmp_path / "my.toml", 'preset = "syndof"\n[pupil]\nsplit = 0.2\n'))
    assert other.pupil.split == 0.2 and np.array_equal(other.pupil.intensity, Camera.preset("syndof").pupil.intensity)


@pytest.mark.parametrize("name", Camera.presets())
def test_the_camera_of_a_dataset(name, tmp_path):
    camera = Camera.preset(name)
    path = written(tmp_path / "config.json", json.dumps({"recipe": {"camera": camera.to_dict()}}))
    assert read_camera(path).to_dict() == camera.to_dict()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_radius = ", "not a TOML file"),
        ("max_radius = 4", r"expected a table \[lens\], or a preset to start from"),
        ("lens = 4", r"expected lens as a table, \[lens\], got 4"),
        (LENS + "[pupils]\n", "the camera has no 'pupils'; did you mean 'pupil'?"),
        (LENS.replace("f_number", "fnumber"), r"\[lens\] has no 'fnumber'; did you mean 'f_number'?"),
        ("[lens]\nf_number = 4", r"\[lens\] lacks focal_length_mm, focus_distance_m, pixel_pitch_um"),
        (LENS.replace("4.0", "-4.0"), "f_number"),
        (LENS.replace("4.0", '"4"'), r"\[lens\]: expected f_number as a number, got '4'"),
        (LENS.replace("4.0", "true"), r"\[lens\]: expected f_number as a number, got True"),
        ('max_radius = "6"\n' + LENS, "expected max_radius as a number, got '6'"),
        ("focus_range_m = 1\n" + LENS, "expected focus_range_m as 2 numbers"),
        ("focus_range_m = [1, 2, 3]\n" + LENS, "expected focus_range_m as 2 numbers"),
        ("focus_range_m = [2, 1]\n" + LENS, "0 < low <= high"),
        ('preset = "nikon"', "expected a preset among canon-r6ii"),
        (LENS + '[pupil]\nkind = "square"', "expected kind among disk, butterworth, polygon, measured, got 'square'"),
        (LENS + '[pupil]\nkind = "polygon"', "of kind 'polygon' lacks n"),
        (LENS + '[pupil]\nkind = "measured"', "of kind 'measured' lacks intensity"),
        (LENS + '[pupil]\nsplit = "half"', "expected split as a number, got 'half'"),
        (LENS + '[pupil]\nextent = "wide"', "expected extent as a number, got 'wide'"),
        (LENS + "[pupil]\ncat_eye = [0.1]", r"expected cat_eye as 2 numbers, .*, got \[0.1\]"),
        (LENS + '[pupil]\ncat_eye = ["a", "b"]', "expected cat_eye as 2 numbers, .*, got .'a', 'b'"),
        (LENS + "[pupil]\ncat_eye = 0.1", "expected cat_eye as 2 numbers, .*, got 0.1"),
        (
            LENS + '[pupil]\nkind = "measured"\nintensity = [[1, 2], [3]]',
            "expected intensity as rows of numbers, equally many in each, got ..1, 2., .3",
        ),
        (
            LENS + '[pupil]\nkind = "measured"\nintensity = "x"',
            "expected intensity as rows of numbers, equally many in each, got 'x'",
        ),
        (LENS + "[pupil]\nblades = 7", "of kind 'disk' has no 'blades'; known are split"),
        (LENS + "[imperfections]\nvignetting = 2", "vignetting .*0.* 1, got 2"),
        (LENS + "[imperfections]\ncat_eyes = 1", "did you mean 'cat_eye'?"),
        (LENS + "[imperfections]\ndistortion = {a = 1}", "no b, c"),
        (LENS + '[tone]\nname = "log"', "name .*'linear'.*, got 'log'"),
        (LENS + "[readout]\nbits = 99", "bits"),
    ],
)
def test_a_slip_is_one_sentence_with_the_file(text, told, tmp_path):
    path = written(tmp_path / "my.toml", text)
    with pytest.raises(ValueError, match=told) as said:
        read_camera(path)
    assert str(said.value).startswith(f"{path}: ") and "\n" not in str(said.value)


def run(*arguments):
    return CliRunner().invoke(cli.application(), list(map(str, arguments)), prog_name="blurphys")


def test_on_the_command_line(tmp_path):
    path = written(tmp_path / "my.toml", "max_radius = 3\nstep = 1.0\n" + LENS + "[imperfections]\nvignetting = 0.5\n")
    rng = np.random.default_rng(0)
    scene = ("--image", tmp_path / "rgb.png", "--depth", tmp_path / "depth.npy", "--depth-unit", "m")
    synth.io.write_image(scene[1], rng.random((3, 24, 30)))
    np.save(scene[3], np.linspace(0.9, 1.2, 720).reshape(24, 30))
    made = run("synth", "generate", "--scenes", "dead-leaves", "--samples", 1, "--size", "24x30", "--camera", path,
               "--max-clamped", 1, "--out", tmp_path / "data")  # fmt: skip
    assert made.exit_code == 0, made.output
    shot = run("blur", *scene, "--camera", path, "--f-number", 8, "--out", tmp_path / "a.h5")
    assert shot.exit_code == 0, shot.output
    assert "50 mm f/8, focused at 1.00 m" in shot.output and "90.00 um, of " in shot.output
    for place, stop in ((tmp_path / "data", 4), (tmp_path / "a.h5", 8)):
        with synth.open(place) as data:
            camera = data.camera(0)
        assert (camera.lens.f_number, camera.lens.pixel_pitch_um, camera.max_radius) == (stop, 90, 3)
        assert camera.imperfections.vignetting == 0.5
    again = run("synth", "generate", "--scenes", "dead-leaves", "--samples", 1, "--size", "24x30", "--out",
                tmp_path / "again", "--camera", tmp_path / "data" / "config.json", "--max-clamped", 1)  # fmt: skip
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "shard-00000.h5").read_bytes() == (tmp_path / "data" / "shard-00000.h5").read_bytes()


@pytest.mark.parametrize(
    ("camera", "told"),
    [("no.toml", "there is no file no.toml"), ("nikon", "got 'nikon'; a camera of your own is a file such as my.toml")],
)
@pytest.mark.parametrize("command", [("blur",), ("synth", "generate", "--scenes", "dead-leaves", "--samples", "1")])
def test_a_camera_that_is_not_there(camera, told, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*command, "--camera", camera, "--out", "a.h5")
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())
