"""A folder whose parts were stored by different curves: every sample is read by its own, whatever stands first."""

import dataclasses
import json

import matplotlib.axes
import numpy as np
import pytest
from torch.utils.data import ConcatDataset, Subset

import blurphys as bp
import synth
from blurphys.colour import linear_to_srgb
from nets.classical.problem import from_dataset
from nets.evaluation.evaluate import evaluate
from nets.training.data import Draw, Samples
from nets.training.settings.records import DataConfig
from synth.generation.preview import preview
from tests.nets.evaluation.test_evaluation import run

ORDERS = (("lin", "srgb"), ("srgb", "lin"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The same two samples in linear light and encoded, and both merged in either order."""
    root = tmp_path_factory.mktemp("mixed")
    scene = synth.scenes.dead_leaves(40, 56, seed=0)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    for name, tone in (("lin", "linear"), ("srgb", "srgb"), ("filmic", "filmic")):
        shot = dataclasses.replace(camera, tone=synth.ToneCurve(tone))
        synth.generate(scene, root / name, camera=shot, samples=2, seed=0, model="gather", shard_size=1)
    for order in ORDERS:
        synth.merge([root / name for name in order], root / "-".join(order))
    return root


def psnr(dataset):
    return [score.values["psnr"] for score in evaluate(None, dataset, "synthetic").scores]


@pytest.mark.parametrize("order", ORDERS)
def test_it_is_scored_like_its_parts(root, order):
    parts = [value for name in order for value in psnr(synth.Dataset(root / name))]
    assert parts[0] == pytest.approx(parts[2], abs=2e-3)
    merged = root / "-".join(order)
    with synth.open(merged) as data:
        assert psnr(data) == parts
    whole = synth.Dataset(merged)
    assert psnr(whole) == parts
    assert psnr(Subset(whole, [3, 0])) == [parts[3], parts[0]]
    assert psnr(ConcatDataset([whole, synth.Dataset(root / "lin")])) == parts + psnr(synth.Dataset(root / "lin"))
    with pytest.raises(ValueError, match=r"for encoded images, and (sample 2 of )?this dataset is linear light"):
        evaluate(None, whole, "dpdd-8bit")


@pytest.mark.parametrize("order", ORDERS)
def test_training_sees_each_sample_encoded_once(root, order):
    samples = Samples(DataConfig(path=str(root / "-".join(order))), ("image", "sharp"))
    for index, name in enumerate(name for name in order for _ in range(2)):
        with synth.open(root / name) as data:
            stored = data[index % 2]["combined"]
        seen = samples.read(Draw(index, 0.0, 0.0, False, False, 0))["image"]
        np.testing.assert_array_equal(seen, linear_to_srgb(stored.clip(0, 1)) if name == "lin" else stored)
    with pytest.raises(ValueError, match=r"'linear', but .* is in part encoded with the curve 'srgb'"):
        Samples(DataConfig(path=str(root / "-".join(order)), transfer="linear"), ("image",))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sample", range(4))
def test_solving_begins_with_the_same_light(root, order, sample):
    """Encoded samples are decoded: light, truth and noise are those of the linear ones."""
    given, plain = (
        from_dataset(root / name, i, "left") for name, i in (("-".join(order), sample), ("lin", sample % 2))
    )
    np.testing.assert_allclose(given.y, plain.y, atol=1e-6)
    np.testing.assert_allclose(given.truth, plain.truth, atol=1e-6)
    assert given.noise_level == pytest.approx(plain.noise_level, rel=1e-4)
    np.testing.assert_array_equal(given.A(given.truth), plain.A(given.truth))
    assert ("decoded" in given.source) == (order[sample // 2] == "srgb")


def test_a_restored_image_goes_back_to_the_curve_of_its_sample(root):
    given = from_dataset(root / "filmic", 0, "combined")
    with synth.open(root / "filmic") as data:
        np.testing.assert_allclose(given.encode(given.truth), data[0]["all_in_focus"], atol=1e-6)


def test_the_noise_is_that_of_the_view(root):
    levels = {view: from_dataset(root / "lin", 0, view).noise_level for view in ("combined", "left", "dual")}
    assert levels["left"] / levels["combined"] == pytest.approx(2**0.5, rel=0.02)
    assert levels["dual"] == pytest.approx(levels["left"], rel=0.02)


@pytest.mark.parametrize("name", ["lin", "filmic"])
def test_solvers_with_the_operator_of_a_file_keep_curve_and_noise(root, tmp_path, name):
    """The operator that the sample brings, given as a file, changes nothing."""
    with synth.open(root / name) as data:
        bp.save(synth.operator_of(data, 0, "combined"), tmp_path / "blur.h5")
    found = []
    for more in ((), ("--operator", tmp_path / "blur.h5")):
        out = tmp_path / f"{len(found)}.json"
        code, said = run(root / name, "--solver", "hqs", "--limit", 1, "--out", out, *more)
        assert code == 0, said
        found.append(json.loads(out.read_text())["means"]["hqs"])
    assert found[0] == found[1]


def test_an_operator_of_another_size_is_one_sentence(root, tmp_path):
    bp.save(bp.Convolution(bp.psf.disk(1.5), shape=(3, 40, 50)), tmp_path / "blur.h5")
    code, said = run(root / "lin", "--solver", "cgls", "--operator", tmp_path / "blur.h5")
    assert code == 2 and "(3, 40, 50)" in said and "lin, sample 0 has (3, 40, 56)" in said, said


def test_the_contact_sheet_encodes_linear_light_alone(root, tmp_path, monkeypatch):
    shown, draw = [], matplotlib.axes.Axes.imshow

    def seen(self, image, *arguments, **options):
        shown.append(image)
        return draw(self, image, *arguments, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "imshow", seen)
    preview(root / "srgb-lin", tmp_path / "a.png", samples=4)
    sharp = shown[::5]
    with synth.open(root / "srgb") as data:
        for index in range(2):
            truth = data[index]["all_in_focus"].transpose(1, 2, 0)
            np.testing.assert_allclose(sharp[index], truth, atol=1e-6)
            np.testing.assert_allclose(sharp[index + 2], truth, atol=1e-6)
