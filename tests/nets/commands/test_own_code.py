"""One's own network, loss and operator by MODULE:NAME, in every command alike."""

import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import blurphys as bp
import nets
from blurphys.cli import application
from nets.losses import create_loss
from nets.training import TrainConfig
from nets.training.terms import Terms
from synth.io import read_image, write_image
from tests.nets.training.cases import supervised, write_dpdd

CODE = """
import blurphys as bp, nets, torch
from nets.losses import Loss

class Gain(nets.Net):
    name = "gain"
    def __init__(self, *, start=1.0):
        super().__init__(start=start)
        self.gain = torch.nn.Parameter(torch.tensor(float(start)))
    def forward(self, image):
        return self.gain * image
    def outputs(self, image, sharp=None):
        out = self(image)
        return nets.Outputs(out, (out,))

class Shift(Loss):
    def forward(self, outputs, sharp, image, epoch=0):
        total = (outputs.image - sharp).square().mean()
        return total, {"shift": total.detach()}

def ready():
    return Gain(start=0.5)

def broken():
    raise RuntimeError("no weights here")

def blur():
    return bp.Convolution(bp.psf.disk(1.5), shape=(3, 28, 36))

class Shift_of_a_subclass(Shift):
    "Python names it where it refuses arguments."

number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_code.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("own_code", None)


def run(*words, code=0):
    result = CliRunner().invoke(application(), [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def photo(path, shape=(3, 28, 36)):
    write_image(path, np.random.default_rng(0).random(shape), bits=16)
    return path


def test_a_network_of_ones_own_is_trained_and_used(here):
    data = write_dpdd(here / "data")
    settings = supervised(data, here / "run", net={"name": "own_code:Gain"}, losses=["own_code:Shift"], epochs=1)
    report = nets.train(settings, quiet=True)
    file = report.files[0]
    with pytest.raises(ValueError, match="no network is called 'gain'.*net_class"):
        nets.load(file)
    import own_code

    assert nets.load(file, net_class=own_code.Gain).gain.item() != 1.0
    shot = photo(here / "shot.png")
    run("deblur", shot, "--net", f"own_code:Gain@{file}", "--out", "out.png")
    assert read_image(here / "out.png").shape == (3, 28, 36)
    run("deblur", shot, "--net", "own_code:ready", "--out", "half.png", "--bits", 16)
    assert np.allclose(read_image("half.png", linear=False), 0.5 * read_image(shot, linear=False), atol=1e-4)


def test_evaluate_takes_ones_own_network_and_operator(here):
    for number in range(2):
        for folder in ("blurred", "sharp"):
            (here / "pairs" / folder).mkdir(parents=True, exist_ok=True)
        sharp = np.random.default_rng(number).random((3, 28, 36))
        write_image(here / "pairs" / "sharp" / f"{number}.png", sharp, bits=16)
        blurred = bp.Convolution(bp.psf.disk(1.5), shape=sharp.shape)(sharp)
        write_image(here / "pairs" / "blurred" / f"{number}.png", blurred, bits=16)
    words = ("--net", "own_code:ready", "--solver", "cgls", "--operator", "own_code:blur")
    output = run("evaluate", "pairs", *words)
    figures = {
        line.split()[0]: float(line.split()[1]) for line in output.splitlines() if line[:3] in ("inp", "own", "cgl")
    }
    assert figures["cgls"] > figures["input"] + 3 > figures["own_code:ready"] + 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_code:Gain", "class without weights.*own_code:Gain@FILE"),
        ("own_code:number", "returns a nets.Net, got int"),
        ("own_code:broken", "no weights here"),
        ("own_code:Missing", "has no 'Missing'"),
        ("no_such_code:Gain", "no module 'no_such_code'"),
        ("own_code:ready@net.safetensors", "subclass of nets.Net before @"),
    ],
)
def test_slips_are_named(here, name, words):
    output = " ".join(run("deblur", photo(here / "shot.png"), "--net", name, code=2).split())
    import re

    assert re.search(words, output) and "Traceback" not in output


def test_what_is_no_network_or_loss_is_refused(here):
    with pytest.raises(TypeError, match=r"subclass of nets\.Net, got 3"):
        nets.create("own_code:number")
    with pytest.raises(ValueError, match=r"subclass of nets\.losses\.Loss"):
        create_loss("own_code:Gain")
    assert isinstance(nets.create("own_code:Gain", start=2.0).gain, torch.nn.Parameter)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("own_code:Gain", r"^own_code:Gain: expected a subclass of nets\.losses\.Loss"),
        (
            {"name": "own_code:Shift_of_a_subclass", "arguments": {"far": 1}},
            "^train: the loss 'own_code:Shift_of_a_subclass' refuses its arguments: .*'far'",
        ),
    ],
)
def test_a_training_says_what_is_wrong_with_a_loss(here, loss, words):
    with pytest.raises(ValueError, match=words):
        Terms(TrainConfig.of(supervised(here, here / "run", losses=[loss])).losses, torch.device("cpu"))


def write_pairs(folder):
    sharp = np.random.default_rng(0).random((3, 28, 36))
    for kind, gain in (("blurred", 0.9), ("sharp", 1.0)):
        (folder / kind).mkdir(parents=True)
        write_image(folder / kind / "0.png", gain * sharp, bits=16)
    return folder


def test_evaluate_refuses_a_network_that_is_given_twice(here):
    import own_code

    pairs = write_pairs(here / "pairs")
    nets.save(own_code.Gain(), "gain.safetensors")
    for name in ("own_code:ready", "own_code:Gain@gain.safetensors"):
        output = run("evaluate", pairs, "--net", name, "--net", name, code=2)
        assert f"--net: {name} is given twice" in output and output.count("\n") == 1
    assert "own_code:ready" in run(
        "evaluate", pairs, "--net", "own_code:ready", "--net", "own_code:Gain@gain.safetensors"
    )


def test_the_file_of_ones_own_class_may_have_any_name(here):
    import own_code

    (here / "a@b").mkdir()
    nets.save(own_code.Gain(), "a@b/gain@1.safetensors")
    output = run("evaluate", write_pairs(here / "pairs"), "--net", "own_code:Gain@a@b/gain@1.safetensors")
    assert "gain@1" in output
    run("deblur", photo(here / "shot.png"), "--net", "own_code:Gain@a@b/gain@1.safetensors", "--out", "out.png")


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_evaluate_knows_the_range_of_integers_and_refuses_other_ranges():
    x = np.random.default_rng(0).random((3, 50, 70)).astype(np.float32)

    def psnr(**sample):
        return nets.evaluate(None, [sample], "synthetic").scores[0].values["psnr"]

    want = psnr(all_in_focus=x, combined=0.9 * x)
    for kind in (np.uint8, np.uint16):
        top = np.iinfo(kind).max
        whole = {name: np.rint(top * v).astype(kind) for name, v in (("all_in_focus", x), ("combined", 0.9 * x))}
        assert psnr(**whole) == pytest.approx(want, abs=0.05)
    for bad in (255 * x, -3 * x, np.where(x > 0.5, np.nan, x)):
        with pytest.raises(ValueError, match=r"'combined' of 0000"):
            psnr(all_in_focus=x, combined=bad)
    with pytest.raises(TypeError, match="got int64"):
        psnr(all_in_focus=x, combined=(255 * x).astype(np.int64))
    assert psnr(all_in_focus=x, combined=1.2 * x) > 0  # an overshoot is no other range


def test_evaluate_says_that_a_generator_is_no_dataset():
    with pytest.raises(TypeError, match=r"sequence of samples.*generator.*list\("):
        nets.evaluate(None, (i for i in ()), "synthetic")
