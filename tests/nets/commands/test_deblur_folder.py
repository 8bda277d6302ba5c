"""`blurphys deblur FOLDER`: every photo in, every result or reason out."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nets.commands.deblur_folder import pictures_in, result_names
from nets.weights.saving import save
from synth.io import read_image, write_image
from tests.nets.inference.test_deblurring import Identity, Local, photo, registered, run

__all__ = ["registered"]  # a fixture for every test here


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("a", "b", "c"):
        write_image(f"photos/{name}.png", photo(rng, 12, 16), bits=16, linear=False)
    save(Identity(), "identity.safetensors")
    save(Local(views=True), "views.safetensors")
    return tmp_path


def names(path):
    return sorted(file.name for file in Path(path).iterdir())


def deblur(*more):
    return run("photos", "--net", "identity.safetensors", *more)


def test_every_photo_under_its_name(folder):
    code, said = deblur("--bits", 16)
    assert code == 0, said
    assert names("photos_deblurred") == ["a.png", "b.png", "c.png"]
    for name in ("a", "b", "c"):
        before, after = (read_image(f"{place}/{name}.png") for place in ("photos", "photos_deblurred"))
        assert np.array_equal(before, after)
    assert "wrote 3 photos to" in said and "deblur" in said


def test_one_bad_photo_does_not_keep_the_others_from_it(folder):
    Path("photos/bad.jpg").write_bytes(b"\xff\xd8\xff")
    Path("photos/empty.tif").touch()
    Path("photos/notes.txt").write_text("x")
    Path("photos/.hidden.png").write_text("x")
    Path("photos/more").mkdir()
    code, said = deblur("--out", "out")
    assert code == 1
    assert names("out") == ["a.png", "b.png", "c.png"]
    lines = said.splitlines()
    assert "note: photos holds more than photos; passed over more/, notes.txt" in lines
    at = lines.index("2 of 5 photos have no new result:")
    assert lines[at + 1].startswith("  bad.jpg: photos/bad.jpg: JPEG file is damaged")
    assert lines[at + 2].startswith("  empty.tif: photos/empty.tif: expected a PNG") and "empty file" in lines[at + 2]
    assert len(lines) == at + 3


def test_what_is_there_is_kept_unless_told(folder):
    Path("out").mkdir()
    Path("out/b.png").write_text("mine")
    code, said = deblur("--out", "out")
    assert code == 1 and "b.png: out/b.png exists already; --force replaces it" in said
    assert Path("out/b.png").read_text() == "mine" and names("out") == ["a.png", "b.png", "c.png"]
    code, said = deblur("--out", "out", "--force")
    assert code == 0, said
    assert read_image("out/b.png").shape == (3, 12, 16)


def test_photos_of_one_name_do_not_overwrite_each_other(folder, rng):
    Image.fromarray(np.full((12, 16, 3), 90, np.uint8)).save("photos/A.jpg")
    code, said = deblur()
    assert code == 0, said
    assert names("photos_deblurred") == ["A_jpg.png", "a_png.png", "b.png", "c.png"]
    assert "note: photos of one name: A.jpg becomes A_jpg.png, a.png becomes a_png.png" in said
    with pytest.raises(ValueError, match=r"got a_jpg\.png of a\.jpg and a_jpg\.png"):
        result_names([Path("a.jpg"), Path("a.png"), Path("a_jpg.png")])


def test_views_are_found_by_name(folder, rng):
    for side in ("left", "right"):
        Path(side).mkdir()
        for name in ("a", "b"):
            write_image(f"{side}/{name}.png", photo(rng, 12, 16), linear=False)
    options = ("--net", "views.safetensors", "--left", "left", "--right", "right")
    code, said = run("photos", *options)
    assert code == 1 and "c.png: it has no left view of that name" in said
    assert names("photos_deblurred") == ["a.png", "b.png"]
    code, _ = run("photos/a.png", "--net", "views.safetensors", "--left", "left/a.png", "--right", "right/a.png",
                  "--out", "alone.png")  # fmt: skip
    assert code == 0 and np.array_equal(read_image("alone.png"), read_image("photos_deblurred/a.png"))


def test_views_of_a_name_in_another_spelling_of_unicode(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Local(views=True), "views.safetensors")
    for place, form in (("photos", "NFC"), ("left", "NFD"), ("right", "NFC")):
        Path(place).mkdir()
        name = unicodedata.normalize(form, "zwei B\u00e4ume.png")
        write_image(Path(place) / name, photo(rng, 12, 16), linear=False)
    code, said = run("photos", "--net", "views.safetensors", "--left", "left", "--right", "right")
    assert code == 0, said
    assert names("photos_deblurred") == ["zwei B\u00e4ume.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "--net", "identity.safetensors"], "expected photos (.png, .jpg"),
        (["photos", "--net", "identity.safetensors", "--out", "x.png"], "need a folder for their results"),
        (["photos", "--net", "identity.safetensors", "--out", "photos"], "another folder than those that are read"),
        (["photos", "--net", "identity.safetensors", "--out", "no/where"], "there is no folder"),
        (["photos", "--net", "views.safetensors"], "give the left view too"),
        (["photos", "--net", "identity.safetensors", "--left", "photos"], "takes no left view"),
        (["photos", "--net", "views.safetensors", "--left", "a.png"], "--left: expected a folder of left views"),
        (["photos", "--net", "no-such-net"], "neither a file no-such-net nor weights"),
        (["photos", "--net", "identity.safetensors", "--encoding", "gamma"], "--encoding: expected srgb or linear"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(arguments, message, folder):
    Path("empty").mkdir()
    before = names(".")
    code, said = run(*arguments)
    assert code == 2
    assert message in said and len(said.strip().splitlines()) == 1
    assert names(".") == before


def test_a_folder_that_gets_no_result_is_not_left_behind(folder):
    for name in ("a", "b", "c"):
        Path(f"photos/{name}.png").write_bytes(b"")
    code, said = deblur("--out", "out")
    assert code == 1 and "3 of 3 photos have no new result" in said
    assert not Path("out").exists()


def test_a_full_disk_ends_it(folder, monkeypatch):
    def full(path, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    code, said = deblur()
    assert code == 2 and "the disk is full" in said and "no new result" not in said
    assert not Path("photos_deblurred").exists()


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_interrupt_says_how_to_go_on(done, folder, monkeypatch):
    real, calls = Identity.forward, []

    def forward(self, image):
        calls.append(image)
        if len(calls) == done + 1:
            raise KeyboardInterrupt
        return real(self, image)

    monkeypatch.setattr(Identity, "forward", forward)
    code, said = deblur()
    place = f", in {folder / 'photos_deblurred'}" if done else ""
    assert code == 130
    last = f"blurphys deblur: {done} of 3 photos are done{place}; the same command goes on with the others"
    assert said.splitlines()[-1] == last and "Traceback" not in said
    assert names(folder) == ["identity.safetensors", "photos", *["photos_deblurred"] * bool(done), "views.safetensors"]
    assert not done or names("photos_deblurred") == ["a.png", "b.png"][:done]
    del calls[done:]
    code, said = deblur()
    assert code == 130 and f"blurphys deblur: {done} of 3 photos are done{place}" in said
    monkeypatch.setattr(Identity, "forward", real)
    code, said = deblur()
    assert names("photos_deblurred") == ["a.png", "b.png", "c.png"] and f"wrote {3 - done} photo" in said


def test_an_interrupt_between_two_photos_loses_none(folder, monkeypatch):
    from nets.commands import deblur_folder

    real = deblur_folder.restore_photo

    def restored(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(deblur_folder, "restore_photo", restored)
    code, said = deblur()
    assert code == 130 and "1 of 3 photos are done, in" in said
    assert names("photos_deblurred") == ["a.png"]


def test_an_interrupt_of_a_command_that_replaces(folder, monkeypatch):
    assert deblur()[0] == 0
    real, calls = Identity.forward, []

    def forward(self, image):
        calls.append(image)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, image)

    monkeypatch.setattr(Identity, "forward", forward)
    code, said = deblur("--force")
    assert code == 130 and "1 of 3 photos are done, in" in said
    assert said.endswith("; the same command begins again, without --force it makes those that are not there\n")
    assert names("photos_deblurred") == ["a.png", "b.png", "c.png"]


def test_hidden_files_are_nothing(folder):
    Path("photos/._a.png").write_text("x")
    files, others = pictures_in(Path("photos"))
    assert [file.name for file in files] == ["a.png", "b.png", "c.png"] and others == []
