"""The benchmark: opponents compute what we compute; table and JSON say what was measured. No time is asserted."""

from __future__ import annotations

import json
import os
from statistics import median

import numpy as np
import pytest
from typer.testing import CliRunner

from blurphys import cli
from blurphys.bench import memory, opponents, problems, timing
from blurphys.bench.contestant import Contestant
from blurphys.bench.problems import NAMES, contestants, problem

SHAPE = (48, 61)
OPTIONAL = ("deepinv", "PyLops", "OpenCV")


def silent(message: str, steps: int) -> None:
    """Show no progress."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Tiny images on a busy machine: more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_every_opponent_computes_what_we_compute(name):
    task = problem(name, SHAPE)
    result = timing.measure(task, 1, silent)
    assert [e.name for e in result.entries][:2] == ["ours: NumPy", "ours: torch"]
    for entry in result.entries:
        if entry.skipped:
            assert any(word in entry.name for word in OPTIONAL), (entry.name, entry.skipped)
            assert "not installed" in entry.skipped
            continue
        assert max(entry.difference.values()) <= timing.TOLERANCE, entry
        assert len(entry.seconds["forward"]) == 1
    assert sum(bool(e.seconds) for e in result.entries) >= 4
    assert sum("torch" in e.name and "adjoint" in e.seconds for e in result.entries) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_inputs_can_tell_a_wrong_opponent(name):
    """A flipped image must not pass for the result: maps, taps and PSFs are not symmetric."""
    (_, ours), *_ = contestants(problem(name, SHAPE))
    assert isinstance(ours, Contestant)
    y = ours.forward()
    for axis in (-1, -2):
        assert timing._gap(np.flip(y, axis), y, 0) > 100 * timing.TOLERANCE
    assert timing._gap(y[:, 1:], y, 0) == float("inf")
    assert timing._gap(np.pad(y, ((0, 0), (0, 0), (1, 0)))[..., :-1], y, 0) > 100 * timing.TOLERANCE


def test_a_wrong_opponent_is_caught_and_not_timed(monkeypatch):
    right = opponents.recursive_slices
    monkeypatch.setattr(opponents, "recursive_slices", lambda gamma, atoms: right(gamma, atoms.flip(-1)))
    result = timing.measure(problem("rkr", SHAPE), 1, silent)
    (wrong,) = [e for e in result.entries if not e.right]
    assert wrong.name == "torch shifted slices"
    assert "differs from ours" in wrong.skipped
    assert not wrong.seconds


def test_an_opponent_that_fails_is_reported_not_raised(monkeypatch):
    def fails(*arguments):
        def run(x):
            raise RuntimeError("no kernel for this device")

        return run

    monkeypatch.setattr(opponents, "recursive_depthwise", fails)
    result = timing.measure(problem("rkr", SHAPE), 1, silent)
    (entry,) = [e for e in result.entries if e.name == "torch depthwise"]
    assert "no kernel for this device" in entry.skipped


def test_order_rotates_and_ratios_are_paired(monkeypatch):
    monkeypatch.setattr(timing, "_time", lambda run: (run(), 1.0)[1])
    seen = []
    entries = [(name, lambda name=name: _fake(name, seen)) for name in ("a", "b", "c")]
    task = problems.Problem(name="p", title="P", levels=2, image_bytes=8, entries=tuple(entries))
    timing.measure(task, 3, silent)
    assert seen == [*"aabbcc", *"aabbcc", *"bbccaa", *"ccaabb"]
    assert timing.ratio([2.0, 8.0, 30.0], [1.0, 2.0, 3.0]) == 4.0


def _fake(name: str, seen: list[str]) -> Contestant:
    def run():
        seen.append(name)
        return np.ones((1, 2, 2))

    return Contestant(name=name, family="ours", forward=run, adjoint=lambda: run)


def test_peak_memory_counts_what_a_call_allocates():
    megabytes = 24
    run = lambda: np.ones(megabytes * 2**17)  # noqa: E731
    peak = memory._peak(run)
    if peak is None:
        pytest.skip("peak memory needs Linux's /proc")
    assert megabytes * 2**20 <= peak < (megabytes + 8) * 2**20


def test_quick_run_prints_a_table_and_writes_json(tmp_path):
    out = tmp_path / "bench.json"
    arguments = ["bench", "--quick", "--only", "rkr", "--repeat", "2", "--out", str(out)]
    result = CliRunner().invoke(cli.application(), arguments, prog_name="blurphys")
    assert result.exit_code == 0, result.output
    assert "RKR, J = 20" in result.stdout
    assert "torch depthwise" in result.stdout
    data = json.loads(out.read_text())
    assert data["size"] == [64, 96]
    assert data["machine"]["cpu"]
    assert data["machine"]["versions"]["numpy"] == np.__version__
    (task,) = data["problems"]
    assert task["dense_bytes"] == 20 * task["image_bytes"] == 20 * 3 * 64 * 96 * 4
    for row in task["contestants"]:
        if row["skipped"]:
            continue
        figures = row["forward"]
        assert len(figures["seconds"]) == 2
        assert figures["min"] <= figures["median"] == median(figures["seconds"]) <= figures["max"]
        assert figures["ratio to ours: NumPy"] > 0
        assert figures["peak_bytes"] is None or figures["peak_bytes"] >= 0
    assert os.listdir(tmp_path) == ["bench.json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "720"], ["--size", "'720'"]),
        (["--size", "axb"], ["--size", "'axb'"]),
        (["--size", "32x400"], ["--size", "48x48", "32x400"]),
        (["--only", "fft"], ["--only", "rkr", "'fft'"]),
        (["--out", "missing/bench.json"], ["missing", "does not exist"]),
        (["--out", "."], ["--out", "folder"]),
        (["--out", "old.json"], ["old.json exists already", "--force"]),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_text("{}")
    result = CliRunner().invoke(cli.application(), ["bench", *arguments], prog_name="blurphys")
    assert result.exit_code == 2
    assert result.stderr.startswith("blurphys bench: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
    assert os.listdir(tmp_path) == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "{}"


def test_repeat_must_be_positive():
    result = CliRunner().invoke(cli.application(), ["bench", "--repeat", "0"], prog_name="blurphys")
    assert result.exit_code == 2
