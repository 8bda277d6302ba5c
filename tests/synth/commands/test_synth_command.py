"""`blurphys synth`: each command on tiny data, its exit codes, and one sentence for bad input."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import blurphys as bp
import synth
from blurphys import cli
from synth import Camera
from synth.dataset.manifest import MANIFEST, read_manifest
from synth.dataset.schema import CONFIG
from synth.noise import ShotReadNoise

SHARDS = ["shard-00000.h5", "shard-00001.h5"]
SMALL = Camera(
    lens=bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875),
    pupil=bp.Pupil.measured(np.ones((16, 16)), split=0.3),
    noise=ShotReadNoise(1e-3, 1e-6),
    max_radius=3.0,
    step=1.0,
)


def write_scene(folder, seed=0, height=26, width=34):
    """A TUM folder in miniature: 16-bit depth in units of 0.2 mm."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    synth.io.write_image(folder / "color.png", rng.random((3, height, width)))
    depth = np.broadcast_to(np.linspace(4000, 12000, width).astype(np.uint16), (height, width)).copy()
    depth[:3, :4] = 0
    synth.io.write_array(folder / "depth.png", depth)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("first", "second")):
        write_scene(root / name, number)
    return root


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.delenv("BLURPHYS_DEBUG", raising=False)
    monkeypatch.setattr(Camera, "preset", classmethod(_small_preset))


_preset = Camera.preset.__func__


def _small_preset(cls, name):
    """The camera by its name, with the pupil of `SMALL`: known names are checked, PSFs cost little."""
    return replace(SMALL, name=_preset(cls, name).name)


def run(*arguments):
    return CliRunner().invoke(cli.application(), ["synth", *map(str, arguments)], prog_name="blurphys")


def good(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments, code=2):
    """One sentence on stderr, no traceback, the exit code of bad input."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert lines, result.output
    assert lines[-1].startswith("blurphys synth: "), result.stderr
    assert "Traceback" not in result.output
    assert "unexpected" not in result.stderr
    return lines[-1]


def generate_arguments(photos, out, *more, samples=3):
    return (
        "generate", "--scenes", photos, "--samples", samples, "--seed", 5, "--size", "20x22", "--shard-size", 2,
        "--model", "gather", "--max-clamped", 1, "--out", out, *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    """What the command makes of both photos, once."""
    folder = tmp_path_factory.mktemp("made") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Camera, "preset", classmethod(_small_preset))
        result = run(*generate_arguments(photos, folder))
    assert result.exit_code == 0, result.output
    assert f"{folder}: 3 samples in " in result.stdout
    assert "samples/s" in result.stderr and "left" in result.stderr and "px clamped" in result.stderr
    assert "3/3" in result.stderr
    return folder


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "data"))


def damage(path):
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 0xFF
    path.write_bytes(bytes(blob))


# ---- generate -------------------------------------------------------------------------------------------------------


def test_generate_is_the_call_with_the_same_arguments(made, photos, tmp_path):
    synth.generate(
        [photos], tmp_path / "call", camera=_small_preset(Camera, "canon-r6ii"), samples=3, seed=5, size=(20, 22),
        model="gather", compression=None, shard_size=2, max_clamped=1.0,
    )  # fmt: skip
    for name in SHARDS:
        assert (made / name).read_bytes() == (tmp_path / "call" / name).read_bytes()
    with synth.open(made) as data:
        assert len(data) == 3
        assert data.shape == (20, 22)
        assert [scene["name"] for scene in data.configuration["scenes"]] == ["first", "second"]


def test_generate_one_folder_layered_into_one_file(photos, tmp_path):
    good(
        "generate", "--scenes", photos / "first", "-n", 1, "--size", "16X18", "-o", tmp_path / "a.h5", "--split", "val",
        "--dtype", "float16", "--compression", 1, "--max-radius", 2, "--camera", "pixel4", "--depth-unit", "mm",
        "--max-clamped", 1,
    )  # fmt: skip
    with synth.open(tmp_path / "a.h5") as data:
        assert data.shape == (16, 18)
        assert data.attrs["model"] == "layered"
        assert data.configuration["split"] == "val"
        assert data.configuration["camera"]["max_radius"] == 2
        assert data.stored_dtype("left") == np.float16
        assert np.nanmax(data[0]["depth_m"]) > 4  # read as mm, not as 0.2 mm
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_generate_fits_the_camera_to_the_first_scene(photos, tmp_path):
    good(*generate_arguments(photos, tmp_path / "a", "--fit", "--max-radius", 2, "--size", "26x34", samples=1))
    with synth.open(tmp_path / "a") as data:
        assert data.configuration["camera"]["max_radius"] == 2
        assert np.abs(data[0]["defocus_map"]).max() == pytest.approx(2, rel=0.3)


def test_generate_draws_scenes_and_takes_several(photos, tmp_path):
    good(
        "generate", "--scenes", "dead-leaves:2", "--scenes", photos / "first", "--samples", 3, "--size", "20x22",
        "--out", tmp_path / "a", "--pixel-pitch", 200,
    )  # fmt: skip
    with synth.open(tmp_path / "a") as data:
        assert [scene["name"] for scene in data.configuration["scenes"]] == ["dead-leaves-0", "dead-leaves-1", "first"]
        assert data.configuration["camera"]["lens"]["pixel_pitch_um"] == 200


@pytest.mark.parametrize("size", ["10by10", "10", "x10", "10x", "10x10x10", "-10x10", "10.5x10", "１0x10", ""])
def test_sizes_are_height_x_width(size, photos, tmp_path):
    sentence = refused("generate", "--scenes", photos, "--samples", 1, "--out", tmp_path / "a", f"--size={size}")
    assert sentence.startswith("blurphys synth: --size: expected HEIGHTxWIDTH in px, such as 512x768, got ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--camera", "leica"), "expected a preset among canon-r6ii"),
        (("--scenes", "no/such/scene"), "there is no folder no/such/scene; a scene is an RGB-D folder, motorcycle, or"),
        (("--scenes", "dead-leaves:0"), "expected dead-leaves:N with N >= 1, got 'dead-leaves:0'"),
        (("--scenes", "dead-leaves:many"), "expected dead-leaves:N"),
        (("--scenes", __file__), "expected a folder"),
        (("--samples", "0"), "expected samples to be an integer >= 1, got 0"),
        (("--seed", "-1"), "seed"),
        (("--split", "dev"), "expected split"),
        (("--model", "magic"), "expected model to be 'gather', 'layered' or 'aperture', got 'magic'"),
        (("--invalid", "guess"), "expected nearest, far or error"),
        (("--invalid", "error"), "12 pixels"),
        (("--dtype", "int8"), "expected dtype"),
        (("--compression", "12"), "compression None or 0 to 9"),
        (("--shard-size", "0"), "--shard-size >= 1"),
        (("--workers", "0"), "expected workers to be an integer >= 1, got 0"),
        (("--size", "400x20"), "expected a size of at most 26 x 34 px, got 400 x 20"),
        (("--size", "0x20"), "expected a size of at least 1 x 1 px, got 0 x 20"),
        (("--max-radius", "-2"), "--max-radius to be a finite number > 0 px, got -2.0"),
        (("--max-clamped", "1.5"), "--max-clamped to be a finite number >= 0 and <= 1, got 1.5"),
        (("--pixel-pitch", "0"), "pixel"),
        (("--depth-unit", "inch"), "inch"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, message, photos, tmp_path):
    given = {"--scenes": str(photos), "--size": "26x34", "--model": "gather", arguments[0]: arguments[1]}
    options = [word for pair in {"--samples": "1", **given, "--out": str(tmp_path / "a")}.items() for word in pair]
    sentence = refused("generate", *options)
    assert message in sentence
    left = [path.name for path in (tmp_path / "a").iterdir()] if (tmp_path / "a").exists() else []
    assert not [name for name in left if name.startswith("shard")]


def test_a_scheduler_that_does_not_answer_is_named(photos, tmp_path, monkeypatch):
    distributed = pytest.importorskip("dask.distributed")
    connect = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: connect(address, timeout=timeout / 20))
    sentence = refused(*generate_arguments(photos, tmp_path / "a"), "--scheduler", "tcp://127.0.0.1:1")
    assert "--scheduler" in sentence and "tcp://127.0.0.1:1" in sentence
    assert not list((tmp_path / "a").glob("shard*"))


def test_usage_errors_end_with_2(tmp_path):
    for arguments in (["generate"], ["generate", "--samples", "many"], ["frobnicate"], ["verify"], ["merge"]):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert "Traceback" not in result.output


def test_what_is_there_is_not_touched(copy, photos, tmp_path):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    sentence = refused(*generate_arguments(photos, copy))
    assert f"{copy} is a dataset already; `blurphys synth resume {copy}` continues it" in sentence
    assert before == {path.name: path.read_bytes() for path in copy.iterdir()}
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "precious").write_text("x")
    assert "exists and is not a dataset" in refused(*generate_arguments(photos, tmp_path / "used"))
    (tmp_path / "file").write_text("x")
    assert "exists" in refused(*generate_arguments(photos, tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "x"
    (tmp_path / "file.h5").write_text("x")
    sentence = refused(*generate_arguments(photos, tmp_path / "file.h5"))
    assert "exists already" in sentence
    assert "overwrite=" not in sentence
    assert (tmp_path / "file.h5").read_text() == "x"


def test_targets_that_cannot_be_written(photos, tmp_path):
    assert "there is no folder" in refused(*generate_arguments(photos, tmp_path / "no" / "such"))
    assert "there is no folder" in refused(*generate_arguments(photos, tmp_path / "no" / "such.h5"))
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "permission denied" in refused(*generate_arguments(photos, tmp_path / "locked" / "a"))


def test_too_much_clamping_ends_with_2(photos, tmp_path):
    sentence = refused(*generate_arguments(photos, tmp_path / "a", "--max-radius", 0.5, "--max-clamped", 0.01))
    assert not (tmp_path / "a").exists()
    assert "raise --max-radius" in sentence and sentence.endswith("or raise --max-clamped")
    assert "of the pixels of known depth will be clamped to the camera's largest blur radius, more than" in sentence


def test_published_kernels_choose_gather_by_themselves(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Camera, "preset", classmethod(lambda cls, name: replace(_preset(cls, name), max_radius=2.0)), raising=True
    )
    result = good(
        "generate",
        "--scenes",
        photos / "first",
        "--samples",
        1,
        "--camera",
        "iccv2021-0",
        "--out",
        tmp_path / "a",
        "--max-clamped",
        1,
    )
    assert "published kernels, rendered by model gather" in result.stdout
    with synth.open(tmp_path / "a") as data:
        assert data.attrs["model"] == "gather"


# ---- resume, verify, repair -----------------------------------------------------------------------------------------


def test_a_whole_dataset_verifies_and_has_nothing_to_resume(copy):
    result = good("verify", copy)
    assert f"{copy}: 2 of 2 shards intact, 3 samples" in result.stdout
    result = good("resume", copy)
    assert "3 samples (3 of them existed already)" in result.stdout
    assert json.loads((copy / CONFIG).read_text())["storage"]["max_clamped"] == 1
    for arguments in (("--max-clamped", 0.01), ()):  # the second time it is the stored one
        sentence = refused("resume", copy, *arguments)
        assert "of the pixels of known depth were clamped" in sentence and "than the 1.0% allowed" in sentence


@pytest.mark.parametrize("command", ["resume", "repair"])
def test_damage_is_found_named_and_made_good(command, copy, made):
    damage(copy / SHARDS[0])
    (copy / SHARDS[1]).unlink()
    result = run("verify", copy)
    assert result.exit_code == 1, result.output
    first, second, total = result.stdout.strip().splitlines()
    assert first.startswith(f"{SHARDS[0]}: ") and SHARDS[0] in first
    assert second == f"{SHARDS[1]}: missing"
    assert total == f"{copy}: 0 of 2 shards intact, 3 samples"
    result = good(command, copy)
    assert f"{SHARDS[0]}" in result.stderr and "it is made again" in result.stderr
    assert f"{copy}: 3 samples in" in result.stdout
    for name in SHARDS:
        assert (copy / name).read_bytes() == (made / name).read_bytes()
    assert good("verify", copy).exit_code == 0


def test_a_single_file_is_verified_too(copy):
    file = copy / SHARDS[0]
    assert f"{file}: 1 of 1 files intact, 2 samples" in good("verify", file).stdout
    assert "2 of 2" in good("verify", copy / "dataset.h5").stdout
    damage(file)
    result = run("verify", file)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{SHARDS[0]}: ")
    assert "0 of 1 files intact" in result.stdout


def test_views_and_angle(photos, tmp_path):
    good(*generate_arguments(photos, tmp_path / "a.h5", "--views", "top,bottom", "--angle", 30, samples=1))
    with synth.open(tmp_path / "a.h5") as data:
        assert data.names == ("all_in_focus", "top", "bottom", "defocus_map", "depth_m", "valid")
        assert data.configuration["camera"]["pupil"]["angle"] == 30
    out = tmp_path / "sheet.png"
    good("preview", tmp_path / "a.h5", "--out", out)
    sentence = refused(*generate_arguments(photos, tmp_path / "b", "--views", "left,top"))
    assert "expected views combined, or left+right, top+bottom, top_left+top_right+bottom_left+bottom_right" in sentence
    assert "--pixel-pitch, got both" in refused(
        *generate_arguments(photos, tmp_path / "b", "--fit", "--pixel-pitch", 9)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "sheet.png"]


def test_two_at_once_and_the_folders_that_were_taken(copy, photos, tmp_path):
    from synth.dataset.beginning import claim

    with claim(copy):
        assert "another process is making this dataset; wait for it" in refused(*generate_arguments(photos, copy))
    (photos / "notes").mkdir()
    try:
        said = good(*generate_arguments(photos, tmp_path / "b", samples=1)).stderr
    finally:
        (photos / "notes").rmdir()
    assert f"warning: {photos}: took first, second; skipped notes, in which no colour and depth pair was found" in said


def test_repair_rebuilds_the_manifest(copy, made):
    (copy / MANIFEST).write_text("gone")
    result = good("repair", copy)
    assert f"{copy}: manifest of 2 shards" in result.stdout
    assert read_manifest(copy) == read_manifest(made)


def test_an_interrupted_folder_goes_on(photos, made, tmp_path, monkeypatch):
    from synth.generation import run as making

    whole = making.render_shard

    def stopped(folder, number, *arguments):
        if number == 1:
            raise KeyboardInterrupt
        return whole(folder, number, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(making, "render_shard", stopped)
        result = run(*generate_arguments(photos, tmp_path / "a"))
    assert result.exit_code == 130
    goes_on = f"`blurphys synth resume {tmp_path / 'a'}` continues it"
    assert result.stderr.endswith(f"{goes_on}\nblurphys synth: interrupted\n")
    assert (tmp_path / "a" / SHARDS[0]).exists()
    assert run("verify", tmp_path / "a").exit_code == 1
    assert "(2 of them existed already)" in good("resume", tmp_path / "a").stdout
    for name in SHARDS:
        assert (tmp_path / "a" / name).read_bytes() == (made / name).read_bytes()


def test_a_scene_that_went_away_or_changed(photos, tmp_path):
    for name in ("gone", "changed"):
        root = Path(shutil.copytree(photos, tmp_path / f"photos-{name}"))
        good(*generate_arguments(root / "first", tmp_path / name))
        (tmp_path / name / SHARDS[1]).unlink()
        if name == "gone":
            shutil.rmtree(root)
        else:
            shutil.rmtree(root / "first")
            write_scene(root / "first", seed=9)
        from synth.generation.samples import _load_scene

        _load_scene.cache_clear()
        sentence = refused("resume", tmp_path / name)
        assert "first" in sentence
        if name == "changed":
            assert "changed since the dataset was begun" in sentence


@pytest.mark.parametrize("command", ["resume", "verify", "repair"])
def test_folders_that_are_no_dataset(command, copy, tmp_path):
    assert "there is no folder" in refused(command, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "there is no config.json in" in refused(command, tmp_path / "empty")
    (copy / CONFIG).write_text("{")
    assert "not a readable configuration" in refused(command, copy)


def test_another_version_is_refused(copy):
    config = json.loads((copy / CONFIG).read_text())
    (copy / CONFIG).write_text(json.dumps({**config, "version": 2}))
    for command in ("resume", "verify"):
        assert "expected version 1 of the format, got 2" in refused(command, copy)


# ---- diff, merge, preview -------------------------------------------------------------------------------------------


def test_diff(made, copy, photos, tmp_path):
    assert f"{made} and {copy} hold the same" in good("diff", made, copy).stdout
    good(*generate_arguments(photos, tmp_path / "other", "--seed", 6))
    result = run("diff", made, tmp_path / "other")
    assert result.exit_code == 1
    assert "configuration: seed (6 there, 5 now)" in result.stdout
    assert "sample 0: left differs by up to" in result.stdout
    assert "there is no f" in refused("diff", made, tmp_path / "none")
    damage(copy / SHARDS[0])
    assert SHARDS[0] in refused("diff", made, copy)


def test_merge(made, copy, photos, tmp_path):
    assert "would count twice" in refused("merge", made, copy, "--out", tmp_path / "both")
    other = tmp_path / "other"
    good(
        *(arguments := generate_arguments(photos, other))[: arguments.index(5)], 6, *arguments[arguments.index(5) + 1 :]
    )
    result = good("merge", made, other, "--out", tmp_path / "both")
    assert f"wrote {tmp_path / 'both'}: 6 samples of 2 datasets" in result.stdout
    assert len(synth.open(tmp_path / "both")) == 6
    good("verify", tmp_path / "both")
    assert "exists already" in refused("merge", made, copy, "--out", tmp_path / "both")
    assert "at least two" in refused("merge", made, "--out", tmp_path / "c")
    damage(copy / SHARDS[0])
    assert "repair it first" in refused("merge", made, copy, "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_preview(made, tmp_path):
    out = tmp_path / "sheet.png"
    result = good("preview", made, "--out", out, "--samples", 1)
    assert f"wrote {out}" in result.stdout
    before = out.read_bytes()
    assert before.startswith(b"\x89PNG")
    assert "exists already; --force replaces it" in refused("preview", made, "--out", out)
    assert out.read_bytes() == before
    good("preview", made, "-o", out, "-n", 1, "--force")
    assert out.read_bytes() == before
    assert "expected samples to be an integer >= 1, got 0" in refused(
        "preview", made, "--out", tmp_path / "b.png", "--samples", 0
    )
    assert "expected a name ending in .png" in refused("preview", made, "--out", tmp_path / "b.jpg")
    assert "there is no folder or file" in refused("preview", tmp_path / "none", "--out", out)
    assert "there is no f" in refused("preview", tmp_path / "none", "--out", tmp_path / "b.png", "--samples", 0)
    assert "there is no folder" in refused("preview", made, "--out", tmp_path / "no" / "b.png", "--samples", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    "command", [[], ["generate"], ["resume"], ["verify"], ["repair"], ["merge"], ["diff"], ["preview"]], ids=str
)
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(
        cli.application(), ["synth", *command, "--help"], prog_name="blurphys", env={"COLUMNS": "160", "NO_COLOR": "1"}
    )
    assert result.exit_code == 0
    assert "Example: blurphys synth" in " ".join(result.stdout.split())
