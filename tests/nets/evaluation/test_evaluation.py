"""Networks against the truth: what each protocol rounds, clips and refuses."""

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
import torch
import typer
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn
from typer.main import get_command

import synth
import synth.datasets
from blurphys.colour import linear_to_srgb
from blurphys.commands.errors import run_safely
from nets.commands.evaluate import evaluate as command
from nets.evaluation.evaluate import evaluate
from nets.evaluation.protocols import EVALUATION_PROTOCOLS
from nets.net import Net
from nets.registry import NETS
from nets.weights.saving import save
from synth.io import write_image


class Gain(Net):
    """Values beyond [0, 1], and not on the grid of 8 bits."""

    name = "gain"

    def __init__(self, *, gain=1.2, views=False):
        super().__init__(gain=gain, views=views)
        self.inputs = ("left", "right") if views else ("image",)
        self.gain = nn.Parameter(torch.tensor(float(gain)))
        self.seen = []

    def forward(self, *images):
        self.seen.append(images[0])
        return self.gain * images[0]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(NETS, "gain", f"{__name__}:Gain")


@pytest.fixture
def pairs(rng):
    """Pairs of images on the grid of 16 bits, and not on that of 8."""

    def image(height, width):
        return (np.rint(rng.random((3, height, width)) * 65535) / 65535).astype(np.float32)

    return [{"all_in_focus": image(13, 17), "combined": image(13, 17)} for _ in range(3)]


def gaussian_ssim(a, b):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    _, full = structural_similarity(a, b, channel_axis=0, full=True, **options)
    return full[:, 5:-5, 5:-5].mean()


def test_eight_bits(pairs):
    net = Gain()
    report = evaluate(net, pairs, "dpdd-8bit")
    for score, pair, seen in zip(report.scores, pairs, net.seen, strict=True):
        y, truth = (np.rint(np.float64(pair[key]) * 255) / 255 for key in ("combined", "all_in_focus"))
        np.testing.assert_allclose(seen[0].numpy(), y, atol=1e-7)
        x = np.rint(np.float32(1.2) * y * 255) / 255
        clipped = x.clip(0, 1)
        assert (x > 1).any()
        assert score.values["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, clipped, data_range=1), abs=1e-4)
        assert score.values["ssim"] == pytest.approx(gaussian_ssim(x, truth), abs=1e-5)
        assert score.values["mae"] == pytest.approx(np.abs(clipped - truth).mean(), abs=1e-6)


def test_sixteen_bits(pairs):
    net = Gain()
    report = evaluate(net, pairs, "dpdd-16bit")
    for score, pair, seen in zip(report.scores, pairs, net.seen, strict=True):
        np.testing.assert_array_equal(seen[0].numpy(), pair["combined"])
        x, truth = np.float64(np.float32(1.2) * pair["combined"]), np.float64(pair["all_in_focus"])
        assert score.values["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, x, data_range=1), abs=1e-5)
        assert score.values["ssim"] == pytest.approx(
            structural_similarity(truth, x, channel_axis=0, data_range=1.0), abs=1e-6
        )
        assert score.values["mae"] == pytest.approx(np.abs(x - truth).mean(), abs=1e-7)


def test_synthetic_clips_and_rounds_nothing(pairs):
    report = evaluate(Gain(), pairs, "synthetic")
    x, truth = (np.float32(1.2) * pairs[0]["combined"]).clip(0, 1), pairs[0]["all_in_focus"]
    expected = structural_similarity(np.float64(truth), np.float64(x), channel_axis=0, data_range=1.0)
    assert report.scores[0].values["ssim"] == pytest.approx(expected, abs=1e-6)


def test_rtf_is_extended_evenly_and_cropped_back(pairs):
    net = Gain(gain=1.0)
    report = evaluate(net, pairs, "rtf")
    assert net.seen[0].shape == (1, 3, 16, 32)
    inside = net.seen[0][0, :, 1:14, 7:24].numpy()
    np.testing.assert_allclose(inside, np.rint(pairs[0]["combined"] * 255) / 255, atol=1e-7)
    np.testing.assert_array_equal(net.seen[0][0, :, 0], net.seen[0][0, :, 2])
    assert report.mean("gain") == evaluate(None, pairs, "rtf").mean("input")


def test_protocols_differ(pairs):
    means = {name: evaluate(Gain(), pairs, name).mean("gain") for name in ("dpdd-8bit", "dpdd-16bit", "synthetic")}
    assert len({round(mean["psnr"], 4) for mean in means.values()}) == 3
    assert len({round(mean["ssim"], 4) for mean in means.values()}) == 3


def test_means_are_of_metrics_image_by_image(pairs):
    pairs[0]["combined"] = pairs[0]["all_in_focus"] * np.float32(0.99)
    report = evaluate(None, pairs, "synthetic")
    values = [score.values["psnr"] for score in report.scores]
    assert max(values) - min(values) > 20
    assert report.mean("input")["psnr"] == pytest.approx(np.mean(values))
    assert report.methods == ("input",) and report.images == ("0000", "0001", "0002")


def test_any_method_may_be_a_row(pairs):
    def perfect(sample):
        assert set(sample.arrays) == {"combined"}
        return pairs[sample.index]["all_in_focus"] + np.float32(1e-3)

    report = evaluate(None, pairs, "synthetic") + evaluate(perfect, pairs, "synthetic")
    assert report.methods == ("input", "perfect")
    assert report.mean("perfect")["psnr"] > 59 > report.mean("input")["psnr"]
    with pytest.raises(ValueError, match=r"perfect: expected a result of shape \(3, 13, 17\), got \(3, 13, 16\)"):
        evaluate(lambda sample: perfect(sample)[..., 1:], pairs, "synthetic", name="perfect")


def test_views(pairs):
    pairs = [pair | {"left": pair["combined"], "right": 1 - pair["combined"]} for pair in pairs]
    found = evaluate(Gain(views=True), pairs, "synthetic", name="gain of the left view")
    assert found.mean("gain of the left view") == evaluate(Gain(), pairs, "synthetic").mean("gain")


def test_lpips_is_measured_where_it_is_given(pairs):
    seen = []

    def lpips(a, b):
        seen.append((a, b))
        return (a - b).abs().mean()

    report = evaluate(Gain(), pairs, "dpdd-8bit", limit=1, lpips=lpips)
    assert float(seen[0][0].max()) > 1  # rounded and not clipped
    assert torch.equal((255 * seen[0][0]).round() / 255, seen[0][0])
    assert report.scores[0].values["lpips"] > 0 and "LPIPS" in str(report)
    with pytest.raises(ValueError, match="one report has lpips and the other has not"):
        report + evaluate(None, pairs, "dpdd-8bit", limit=1)


# ---- one table, one protocol --------------------------------------------------------------------------------------


def test_protocols_do_not_mix(pairs):
    reports = {name: evaluate(None, pairs, name, limit=1) for name in EVALUATION_PROTOCOLS}
    for first in reports:
        for second in reports:
            if first != second:
                with pytest.raises(ValueError, match=f"protocols '{first}' and '{second}' cannot share a table"):
                    reports[first] + reports[second]


def test_other_images_and_equal_names_do_not_mix(pairs):
    report = evaluate(None, pairs, "synthetic")
    with pytest.raises(ValueError, match="different images cannot share a table: 3 and 2, of which 2 are the same"):
        report + evaluate(Gain(), pairs, "synthetic", limit=2)
    with pytest.raises(ValueError, match="both reports have a method called 'input'"):
        report + report
    with pytest.raises(TypeError):
        report + 1


def test_forms_of_a_report(pairs):
    report = evaluate(None, pairs, "synthetic") + evaluate(Gain(), pairs, "synthetic")
    lines = str(report).splitlines()
    assert lines[0] == "synthetic, mean over 3 images"
    assert lines[1].split() == ["PSNR", "dB", "SSIM", "MAE"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert lines[3].split()[:2] == ["gain", f"{report.mean('gain')['psnr']:.3f}"]
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert len(rows) == 6 and {row["protocol"] for row in rows} == {"synthetic"}
    assert float(rows[4]["ssim"]) == report.scores[4].values["ssim"]
    fields = json.loads(json.dumps(report.to_dict()))
    assert fields["protocol"]["name"] == "synthetic" and fields["means"]["gain"] == report.mean("gain")
    with pytest.raises(ValueError, match="no method is called 'gian'; did you mean 'gain'"):
        report.mean("gian")


# ---- datasets -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of synth, and the folders of RealDOF and RTF."""
    path = tmp_path_factory.mktemp("evaluate")
    scene = synth.scenes.stereo_motorcycle().window(150, 250, 24, 32)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    synth.generate(scene, path / "data.h5", camera=camera, samples=2, seed=0, model="gather")
    rng = np.random.default_rng(0)
    (path / "realdof" / "source").mkdir(parents=True)
    (path / "realdof" / "target").mkdir()
    (path / "rtf").mkdir()
    for file in ("realdof/source/1.png", "realdof/target/1.png", "rtf/image_7.png", "rtf/sharp_7.png"):
        write_image(path / file, rng.random((3, 13, 17)), linear=False)
    return path


def test_linear_light_is_encoded_for_the_synthetic_protocol(made):
    with synth.open(made / "data.h5") as data:
        report = evaluate(None, data, "synthetic")
        sample = data[1]
        x, truth = (linear_to_srgb(np.clip(np.float64(sample[k]), 0, 1)) for k in ("combined", "all_in_focus"))
        assert report.scores[1].values["psnr"] == pytest.approx(
            peak_signal_noise_ratio(truth, x, data_range=1), abs=1e-4
        )
        with pytest.raises(ValueError, match="'dpdd-8bit' is for encoded images, and this dataset is linear light"):
            evaluate(None, data, "dpdd-8bit")
    assert evaluate(None, synth.Dataset(made / "data.h5"), "synthetic").to_dict() == report.to_dict()


def test_sets_of_other_protocols_are_refused(made):
    data = synth.datasets.RealDOF(made / "realdof")
    assert evaluate(Gain(), data, "realdof").images == ("1",)
    with pytest.raises(ValueError, match="the protocol 'rtf' is not for RealDOF; for RealDOF there is realdof"):
        evaluate(Gain(), data, "rtf")
    with pytest.raises(ValueError, match="the protocol 'synthetic' is not for RealDOF"):
        evaluate(Gain(), data, "synthetic")
    with pytest.raises(ValueError, match="is linear light; open it with linear=False"):
        evaluate(Gain(), synth.datasets.RealDOF(made / "realdof", linear=True), "realdof")


def test_bad_input(pairs):
    with pytest.raises(
        ValueError, match=r"no protocol is called 'dpdd'; did you mean 'dpdd-\d+bit'\? There are dpdd-8b"
    ):
        evaluate(None, pairs, "dpdd")
    for data, limit in (([], None), (pairs, 0)):
        with pytest.raises(ValueError, match="expected at least one image"):
            evaluate(None, data, "synthetic", limit=limit)
    net = Gain(views=True)
    with pytest.raises(ValueError, match="gain needs 'left', and the dataset has all_in_focus, combined"):
        evaluate(net, pairs, "synthetic")
    with pytest.raises(ValueError, match="the comparison needs 'all_in_focus', and the dataset has combined"):
        evaluate(Gain(), [{"combined": pairs[0]["combined"]}], "synthetic")
    assert net.seen == []


# ---- the command --------------------------------------------------------------------------------------------------


def run(*arguments):
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command("evaluate")(run_safely("evaluate")(command))
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        get_command(app)([str(a) for a in arguments], prog_name="evaluate")
    return end.value.code or 0, said.getvalue()


def test_command_on_a_dataset_of_synth(made, tmp_path):
    save(Gain(gain=0.5), tmp_path / "half.safetensors")
    out = tmp_path / "scores.json"
    options = ("--net", tmp_path / "half.safetensors", "--solver", "hqs", "--out", out)
    code, said = run(made / "data.h5", "--protocol", "synthetic", *options)
    assert code == 0, said
    assert "synthetic, mean over 2 images" in said and "wrote" in said
    means = json.loads(out.read_text())["means"]
    assert list(means) == ["input", "hqs", "half"]
    assert means["hqs"]["psnr"] > means["input"]["psnr"] > means["half"]["psnr"]


def test_command_says_once_what_a_solver_does_not_know(tmp_path):
    """Data of the default model have occlusion, which the operator of the solvers leaves out."""
    scene = synth.scenes.slanted_planes(24, 32, seed=0)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    for model, count in (("layered", 1), ("gather", 0)):
        data = tmp_path / f"{model}.h5"
        synth.generate(scene, data, camera=camera, samples=2, seed=0, slabs=4, model=model)
        code, said = run(data, "--protocol", "synthetic", "--solver", "cgls")
        assert code == 0, said
        assert said.count("note: cgls: the data were rendered with model 'layered', this operator is") == count
        code, said = run(data, "--protocol", "synthetic", "--solver", "cgls", "--solver", "neumann")
        assert said.count("note: cgls, neumann: the data were rendered with model 'layered'") == count


def test_command_tells_networks_of_equal_names_apart(made, tmp_path):
    files = [tmp_path / folder / "net.safetensors" for folder in ("a", "b", "c/a")]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True)
        save(Gain(gain=0.5 + 0.1 * number), file)
    out = tmp_path / "scores.json"
    common = (made / "data.h5", "--protocol", "synthetic", "--limit", 1, "--out", out, "--force")
    code, said = run(*common, "--net", files[0], "--net", files[1].parent)
    assert code == 0, said
    assert list(json.loads(out.read_text())["means"]) == ["input", "a/net", "b/net"]
    code, said = run(*common, "--net", files[0], "--net", files[2])
    assert code == 0, said
    assert len(json.loads(out.read_text())["means"]) == 3
    code, said = run(*common, "--net", files[0], "--net", files[0].parent)
    assert code == 2 and "--net: " in said and "is given twice" in said and "evaluate: 1/" not in said


def test_command_on_a_published_set(made, tmp_path):
    save(Gain(), tmp_path / "gain.safetensors")
    options = ("--net", tmp_path / "gain.safetensors", "--out", tmp_path / "scores.csv")
    code, said = run(made / "rtf", "--protocol", "rtf", *options)
    assert code == 0, said
    rows = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text())))
    assert [(row["method"], row["image"]) for row in rows] == [("input", "7"), ("gain", "7")]


def test_command_asks_which_protocol_a_folder_of_source_and_target_is_for(made):
    code, said = run(made / "realdof")
    assert code == 2 and said.count("\n") == 1
    assert "--protocol" in said and "realdof" in said and "pairs" in said and "source/" in said
    for protocol in ("realdof", "pairs"):
        code, said = run(made / "realdof", "--protocol", protocol)
        assert code == 0 and f"{protocol}, mean over 1 image" in said, said


def test_command_says_what_tiles_change(made, tmp_path, monkeypatch):
    monkeypatch.setattr(Gain, "global_statistics", True)
    save(Gain(), tmp_path / "gain.safetensors")
    options = ("--protocol", "synthetic", "--net", tmp_path / "gain.safetensors", "--tile", 16)
    code, said = run(made / "data.h5", *options)
    assert code == 0, said
    assert said.count("note: ") == 1 and "tiles give another result" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.h5", "--protocol", "sythetic"], "--protocol: none is called 'sythetic'; did you mean 'synthetic'?"),
        (["none.h5", "--protocol", "synthetic"], "there is no file or folder none.h5"),
        (["rtf", "--protocol", "rtf", "--solver", "hqs"], "--solver: hqs needs the true blur"),
        (
            ["data.h5", "--protocol", "synthetic", "--solver", "magic"],
            "--solver: none is called 'magic'; there are fix",
        ),
        (["rtf", "--protocol", "rtf", "--net", "nothing"], "neither a file nothing nor weights of that name"),
        (["rtf", "--protocol", "rtf", "--limit", "0"], "--limit: expected at least 1, got 0"),
        (["rtf", "--protocol", "rtf", "--out", "x.txt"], "--out: expected a name ending in .json or .csv"),
        (["rtf", "--protocol", "rtf", "--lpips-linear", "x"], "--lpips-features and --lpips-linear: expected both"),
        (["rtf", "--protocol", "realdof"], "RealDOF: expected"),
    ],
)
def test_command_answers_bad_input_with_one_sentence(made, monkeypatch, arguments, message):
    monkeypatch.chdir(made)
    code, said = run(*arguments)
    assert code == 2
    assert message in said and len(said.strip().splitlines()) == 1


def test_command_has_help_with_an_example():
    code, said = run("--help")
    assert code == 0
    assert "Example: blurphys evaluate test.h5 --protocol synthetic" in " ".join(said.split())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_any_number_of_channels_are_scaled_and_looked_at(channels):
    rng = np.random.default_rng(0)
    sharp = rng.random((channels, 50, 70), dtype=np.float32)

    def psnr(give):
        dataset = [{"all_in_focus": give(sharp), "combined": give(0.9 * sharp), "defocus_map": 9 * sharp[0]}]
        return evaluate(None, dataset, "synthetic").scores[0].values["psnr"]

    wanted = psnr(np.copy)
    assert psnr(lambda a: np.rint(255 * a).astype(np.uint8)) == pytest.approx(wanted, abs=0.1)
    for spoil, words in ((lambda a: 255 * a, "divide"), (lambda a: a * np.nan, "finite")):
        with pytest.raises(ValueError, match=words):
            psnr(spoil)


def test_what_a_method_returns_is_looked_at():
    rng = np.random.default_rng(1)
    dataset = [{name: rng.random((3, 20, 30), dtype=np.float32) for name in ("all_in_focus", "combined")}]

    def psnr(change):
        return evaluate(lambda s: change(s.arrays["combined"]), dataset, "synthetic").scores[0].values["psnr"]

    wanted = psnr(np.copy)
    assert psnr(lambda a: torch.tensor(a, requires_grad=True)) == pytest.approx(wanted)
    assert psnr(lambda a: np.rint(255 * a).astype(np.uint8)) == pytest.approx(wanted, abs=0.1)
    assert np.isfinite(psnr(lambda a: 1.2 * a))  # overshoot is the method's own
    assert np.isfinite(psnr(lambda a: np.where(a > 0.99, 9.0, a)))  # as a solver without a prior leaves it
    for spoil, words in (
        (lambda a: 255 * a, r"from 0 to 25\d"),
        (lambda a: np.where(a > 0.9, np.nan, a), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            psnr(spoil)
