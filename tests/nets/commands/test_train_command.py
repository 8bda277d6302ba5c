"""`blurphys train` from its settings to its files, and what it says when something is wrong."""

import io
import os
import stat
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest
import typer

import nets.training
from nets.commands.train import train
from nets.weights.saving import load
from tests.nets.training.cases import write_dpdd

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
    assert "--resume" in again.output and "--out" in again.output and "train: train:" not in again.output
    more = run(*common, "--resume", "--quiet", "--set", "steps=4")
    assert more.exit_code == 0 and "from step 3 on" in more.output and "train: 4/4" not in more.output
    written = run(folder / "run" / "config.json", "--resume", "--quiet", "--set", "steps=5")
    assert written.exit_code == 0 and "steps   5 of" in written.output and "from step 4 on" in written.output


def test_files_have_the_mode_that_the_umask_leaves(folder):
    before = os.umask(0o027)
    try:
        outcome = run(folder / "mine.toml", "--set", f"data.root={folder / 'data'}", "--out", folder / "modes", "-q")
    finally:
        os.umask(before)
    assert outcome.exit_code == 0, outcome.output
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folder / "modes").iterdir()}
    assert {"net.safetensors", "last.safetensors", "config.json"} <= modes.keys()
    assert set(modes.values()) == {0o640}


def test_a_setting_takes_the_place_of_what_it_excludes(folder):
    """The reader's root is none, so that the training can only end where the path is looked for."""
    missing = folder / "missing"
    outcome = run("gkmnet", "--set", "steps=3", "--set", f"data.path={missing}", "--out", folder / "never")
    assert outcome.exit_code == 2
    first, second, last = outcome.output.splitlines()
    assert first == "note: steps takes the place of epochs; schedules and validation.every count in steps now"
    assert second == "note: data.path takes the place of data.reader, data.root, data.split"
    assert last == f"blurphys train: there is no data set {missing}; blurphys synth generate makes such data"


def test_a_network_below_its_input_is_said(folder):
    write_dpdd(folder / "data", "val", 2)
    split = f"{{reader='DPDD',root='{folder / 'data'}',split='val'}}"
    settings = ("--set", f"validation.data={split}", "--set", f"data.root={folder / 'data'}", "--set", "seed=1")
    rate = ("--set", "learning_rate=0.3")
    outcome = run(folder / "mine.toml", *settings, *rate, "--out", folder / "worse", "--quiet")
    assert outcome.exit_code == 0, outcome.output
    assert "note: in validation the network ends at" in outcome.output and "below the blurred input" in outcome.output


def test_only_the_first_process_reports(folder, monkeypatch):
    monkeypatch.setattr("nets.training.started_first", lambda: False)
    outcome = run(folder / "mine.toml", "--set", f"data.root={folder / 'data'}", "--out", folder / "second", "--quiet")
    assert outcome == (0, "")


def test_a_later_process_is_silent_only_about_what_the_first_says(folder, monkeypatch):
    monkeypatch.setattr("nets.training.started_first", lambda: False)
    for error, said in (
        (nets.training.AgreedError("train: no data"), ""),
        (ValueError("train: no data"), "blurphys train: no data\n"),
        (FileNotFoundError("train: no data"), "blurphys train: no data\n"),
    ):

        def fail(*arguments, error=error, **options):
            raise error

        monkeypatch.setattr("nets.training.train", fail)
        assert run(folder / "mine.toml", "--quiet") == (2, said)


def test_help_lists_the_recipes():
    said = " ".join(run("--help").output.split())
    names = "".join(said.split())  # lines may break within names
    assert "gkmnet-official" in names and "kpac-tiny" in names
    assert "*-tiny need data that blurphys synth generate makes" in said


def test_a_recipe_without_data_says_how_to_make_them(folder, monkeypatch):
    monkeypatch.chdir(folder)
    outcome = run("kpac-tiny")
    assert outcome.exit_code == 2 and outcome.output.count("\n") == 1
    assert (
        "no data set data/train; make it with: mkdir -p data && blurphys synth generate --scenes dead" in outcome.output
    )
    assert outcome.output.rstrip().endswith("--fit --split val --out data/val")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gkmnte",), "no recipe of that name; recipes: blurmap-small, "),
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
    assert "blurphys train: the" in outcome.output and "samples [" in outcome.output
    assert not (folder / "broken" / "net.safetensors").exists()
