"""Reports: one file that needs nothing else, of everything that can be reported, damaged or not."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import blurphys as bp
import synth
from blurphys.commands.errors import run_safely
from nets.commands.report import report as command
from nets.reports.page import Page
from nets.reports.report import report

VOID = {"meta", "img", "input"}


class Reader(HTMLParser):
    """Checks that every element is closed, and collects addresses, texts and names for screen readers."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.unnamed, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.addresses += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag == "img" and not attributes.get("alt"):
            self.unnamed.append(tag)
        if tag == "input" and not attributes.get("aria-label"):
            self.unnamed.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert not reader.open
    assert not reader.unnamed
    assert all(address.startswith("data:image/") for address in reader.addresses)
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 5 * 2**20
    return reader, " ".join(reader.text)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    scene = synth.scenes.dead_leaves(24, 32, layers=3, seed=0)
    camera = synth.Camera.for_scene(scene, max_radius=2.0)
    synth.generate(scene, folder, camera=camera, samples=4, shard_size=2, seed=1)
    return folder


def test_a_dataset(dataset, tmp_path):
    verdict = report(dataset, tmp_path / "r.html")
    reader, text = read(tmp_path / "r.html")
    assert verdict == "4 samples, all intact: every array equals its checksum."
    assert verdict in text
    assert text.count("recorded") >= 3
    assert len(reader.addresses) == 3 * 3 + 1


def test_a_damaged_dataset_is_named_and_the_rest_shown(dataset, tmp_path):
    copy = tmp_path / "set"
    copy.mkdir()
    for file in dataset.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    shard = sorted(copy.glob("shard*.h5"))[1]
    shard.write_bytes(shard.read_bytes()[:1000])
    verdict = report(copy, tmp_path / "r.html")
    reader, text = read(tmp_path / "r.html")
    assert shard.name in verdict
    assert "2 samples are intact" in verdict
    assert reader.addresses
    assert "Samples" in text


@pytest.mark.parametrize("kind", ["gkm", "pair"])
def test_an_operator(tmp_path, kind):
    beta = np.random.default_rng(0).random((2, 12, 14))
    c = np.linspace(-2, 2, 14).reshape(1, 14).repeat(12, axis=0)
    bank = bp.PSFBank(bp.Pupil.disk(split=0.4), max_radius=2.0)
    A = bp.GKM(beta=beta / beta.sum(0), sigmas=(0.0, 1.0)) if kind == "gkm" else bp.DualPixel(c, bank=bank)
    bp.save(A, tmp_path / "a.h5")
    assert "all laws hold" in report(tmp_path / "a.h5", tmp_path / "r.html")
    _, text = read(tmp_path / "r.html")
    assert ("spectral radius" in text) == (kind == "gkm")


def test_an_operator_without_psfs(tmp_path):
    bp.save(bp.Identity((1, 8, 8)) @ bp.Convolution(np.full((3, 3), 1 / 9), shape=(1, 8, 8)), tmp_path / "a.h5")
    report(tmp_path / "a.h5", tmp_path / "r.html")
    assert "no PSFs that could be shown" in read(tmp_path / "r.html")[1]


def test_a_solution(tmp_path):
    content = {"source": "x<y.png", "operator": "GKM", "method": "hqs", "status": "CONVERGED", "advice": "fine",
               "residuals": [1.0, 0.1, None], "psnr_blurred": 20.0, "psnr_restored": 23.5}  # fmt: skip
    (tmp_path / "s.json").write_text(json.dumps(content))
    assert "+3.50 dB on the blurred image" in report(tmp_path / "s.json", tmp_path / "r.html")
    reader, text = read(tmp_path / "r.html")
    assert "x<y.png" in text
    assert len(reader.addresses) == 1


def test_an_evaluation(tmp_path):
    scores = [
        {"method": method, "image": str(k), "psnr": level + k, "ssim": 0.9}
        for method, level in (("input", 20), ("net", 21))
        for k in (0, 1)
    ]
    means = {"input": {"psnr": 20.5, "ssim": 0.9}, "net": {"psnr": 21.5, "ssim": 0.9}}
    (tmp_path / "e.json").write_text(json.dumps({"protocol": {"name": "p"}, "means": means, "scores": scores}))
    assert report(tmp_path / "e.json", tmp_path / "r.html") == "Best mean PSNR: net, 21.50 dB over 2 images."
    read(tmp_path / "r.html")


def test_a_training(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    rows = [
        {"step": 10 * k, "loss": 1 / k, "seconds": k, "validation_psnr": 20 + k, "input_psnr": 22.0} for k in (1, 2, 3)
    ]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (run / "config.json").write_text(json.dumps({"net": {"name": "gkmnet"}, "steps": 30}))
    assert report(run, tmp_path / "r.html") == "Best validation PSNR 23.00 dB at step 30, +1.00 dB on the input."
    assert "name: gkmnet" in read(tmp_path / "r.html")[1]


@pytest.fixture
def restored(tmp_path):
    folder = tmp_path / "restored"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with h5py.File(folder / "restoration.h5", "w") as file:
        for name in ("recorded", "all_in_focus"):
            file[name] = rng.random((3, 16, 20))
        for name in ("defocus_map", "trust", "misfit", "confidence"):
            file[name] = rng.random((16, 20))
    (folder / "report.json").write_text(
        json.dumps({"verdict": "Restored.", "noise": 0.01, "radius_px": {"median": 2.25}})
    )
    return folder


def test_a_restored_photograph(restored, tmp_path):
    assert report(restored, tmp_path / "r.html") == "Restored."
    reader, text = read(tmp_path / "r.html")
    assert "median: 2.25" in text
    assert len(reader.addresses) == 5


@pytest.mark.parametrize("damage", [None, "trust.png", "photo"])
def test_one_photograph(tmp_path, damage):
    """With the photograph there are a slider, a detail, a spectrum and the maps; without it, the maps."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "one"
    folder.mkdir()
    photo = tmp_path / "photo.png"
    synth.io.write_image(photo, rng.random((3, 16, 20)))
    synth.io.write_image(folder / "restored.png", rng.random((3, 16, 20)))
    np.save(folder / "defocus_map.npy", rng.random((16, 20)).astype(np.float32))
    for name in ("confidence.png", "trust.png"):
        synth.io.write_array(folder / name, (255 * rng.random((16, 20))).astype(np.uint8))
    (folder / "report.json").write_text(json.dumps({"verdict": "Restored.", "photograph": str(photo)}))
    if damage == "photo":
        photo.unlink()
    elif damage:
        (folder / damage).write_bytes(b"x")
    verdict = report(folder, tmp_path / "r.html")
    assert verdict == ("Damaged: trust.png; the rest is shown. Restored." if damage == "trust.png" else "Restored.")
    assert len(read(tmp_path / "r.html")[0].addresses) == (1 if damage == "photo" else 5)


def test_a_focal_stack(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "stack"
    folder.mkdir()
    for path in (tmp_path / "near.png", folder / "all_in_focus.png"):
        synth.io.write_image(path, rng.random((3, 16, 20)))
    synth.io.write_array(folder / "confidence.png", (255 * rng.random((16, 20))).astype(np.uint8))
    figures = {"verdict": "One picture.", "photographs": [str(tmp_path / "near.png")], "focus_distances_m": [1.0, 2.0]}
    (folder / "report.json").write_text(json.dumps(figures))
    assert report(folder, tmp_path / "r.html") == "One picture."
    assert len(read(tmp_path / "r.html")[0].addresses) == 5


def test_figures_that_are_none(tmp_path):
    (tmp_path / "report.json").write_text("[1]")
    with pytest.raises(ValueError, match="figures by name"):
        report(tmp_path, tmp_path / "r.html")


def test_a_damaged_restoration(restored, tmp_path):
    (restored / "restoration.h5").write_bytes(b"no HDF5")
    assert report(restored, tmp_path / "r.html").startswith("Damaged: restoration.h5")
    assert "median: 2.25" in read(tmp_path / "r.html")[1]


def test_all_text_is_escaped():
    page = Page(title="<script>a", kind="<b>", verdict="<i>")
    page.section("<u>")
    page.text("<s>")
    page.table([("<p>", "<q>")], ("<t>", "v"))
    body = page.html().split("<main>")[1].split("</main>")[0]
    assert not re.search(r"<(script|b|i|u|s|q|t)>", body)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"x", "expected a dataset"),
        ("a.json", b"{}", "neither a solution nor an evaluation"),
        ("a.json", b"{", "is no JSON"),
        ("a.h5", b"x", "damaged or no HDF5"),
        ("gone.h5", None, "no file or folder"),
    ],
)
def test_bad_input(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(run_safely("report")(command))
    result = CliRunner().invoke(app, [str(tmp_path / name), "--out", str(tmp_path / "r.html")])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert not (tmp_path / "r.html").exists()


def test_pictures_to_compare(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"operator": "", "method": "m", "status": "", "residuals": []}))
    for name, size in (("a.png", 8), ("b.png", 8), ("c.png", 9)):
        synth.io.write_image(tmp_path / name, np.random.default_rng(0).random((3, size, 8)))
    pair = (tmp_path / "a.png", tmp_path / "b.png")
    report(tmp_path / "s.json", tmp_path / "r.html", pictures=pair)
    assert len(read(tmp_path / "r.html")[0].addresses) == 2
    with pytest.raises(ValueError, match="pictures of one size"):
        report(tmp_path / "s.json", tmp_path / "q.html", pictures=(pair[0], tmp_path / "c.png"))
    with pytest.raises(FileExistsError):
        report(tmp_path / "s.json", tmp_path / "r.html")
