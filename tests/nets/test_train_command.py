"""`blurphys train` from its settings to its files, and what it says when something is wrong."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest
import typer

from nets.saving import load
from nets.train_command import train
from tests.nets.training_cases import write_dpdd

RECIPE = """
steps = 3
batch = 2
losses = ["l2"]
device = "cpu"
log_every = 1
net = { name = "kpac", arguments = { channels = 4, blocks = 1 } }

[data]
reader = "DPDD"
root = "nowhere"
split = "train"
crop = 16
"""


class Outcome(NamedTuple):
    exit_code: int
    output: str


def run(*arguments):
    """Call the command as the front door does, errors in one sentence."""
    from blurphys.commands.errors import run_safely

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("train")(run_safely("train")(train))
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        app([str(a) for a in arguments], prog_name="blurphys train")
    return Outcome(end.value.code or 0, said.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("train")
    write_dpdd(path / "data")
    (path / "mine.toml").write_text(RECIPE)
    return path


def test_a_training_and_its_continuation(folder):
    common = (folder / "mine.toml", "--set", f"data.root={folder / 'data'}", "--out", folder / "run")
    first = run(*common)
    assert first.exit_code == 0, first.output
    for word in ("train: 3/3 loss", "steps   3 of supervised training", "dB on the last batches", "net.safetensors"):
        assert word in first.output
    assert load(folder / "run" / "net.safetensors").config["channels"] == 4
    again = run(*common)
    assert again.exit_code == 2 and "exists already" in again.output and "Traceback" not in again.output
    more = run(*common, "--resume", "--quiet", "--set", "steps=4")
    assert more.exit_code == 0 and "from step 3 on" in more.output and "train: 4/4" not in more.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gkmnte",), "no recipe of that name; recipes: defocusgan, "),
        (("kpac-tiny", "--set", "batches=3"), "unknown setting 'batches' in the configuration; did you mean 'batch'?"),
        (("kpac-tiny", "--set", "batch"), "form key=value"),
        (("kpac-tiny", "--set", "net.arguments.channel=3"), "kpac has no argument 'channel'"),
        (("kpac-tiny", "--set", "data.path=no.h5", "--out", "runs/never"), "no.h5"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(arguments, words):
    outcome = run(*arguments)
    assert outcome.exit_code == 2
    assert words in outcome.output and outcome.output.count("\n") == 1


def test_a_loss_that_breaks_ends_with_one(folder):
    settings = ["learning_rate=1e30", "steps=9", f"data.root={folder / 'data'}"]
    options = [option for setting in settings for option in ("--set", setting)]
    outcome = run(folder / "mine.toml", *options, "--out", folder / "broken", "--quiet")
    assert outcome.exit_code == 1
    assert "blurphys train: train: the" in outcome.output and "samples [" in outcome.output
    assert not (folder / "broken" / "net.safetensors").exists()
