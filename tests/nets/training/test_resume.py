"""A training that was interrupted goes on as if it had not been, bit for bit."""

import signal

import pytest
import torch
from safetensors.torch import load_file

import nets.training.loop as loop
from nets.training import train
from nets.training.log import Log
from tests.nets.training.cases import adversarial, reblurring, supervised, validation, write_dpdd


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_dpdd(tmp_path_factory.mktemp("dpdd"))
    return write_dpdd(root, "val", 3)


@pytest.fixture(scope="module")
def map_net(data, tmp_path_factory):
    return train(reblurring(data, tmp_path_factory.mktemp("map"), epochs=1), quiet=True).files[0]


def states(folder):
    return load_file(folder / "last.safetensors")


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


class StopHereError(Exception):
    pass


def interrupt(monkeypatch, after):
    """Let training die in the middle of a step, some steps after its last checkpoint."""
    learn = loop._Run._learn

    def dying(self, batch, step, stop):
        if step == after:
            raise StopHereError
        learn(self, batch, step, stop)

    monkeypatch.setattr(loop._Run, "_learn", dying)


@pytest.mark.parametrize("kind", ["supervised", "reblurring", "adversarial"])
def test_resuming_is_exact_to_the_last_bit(kind, data, map_net, tmp_path, monkeypatch):
    def config(out):
        if kind == "supervised":
            return supervised(data, out, validation=validation(data))
        if kind == "reblurring":
            return reblurring(data, out, ema=0.5)
        return adversarial(data, out, map_net, ema=0.5)

    whole = train(config(tmp_path / "whole"), quiet=True)
    with monkeypatch.context() as patch:
        interrupt(patch, after=6)
        with pytest.raises(StopHereError):
            train(config(tmp_path / "parts"), quiet=True)
    between = states(tmp_path / "parts")
    report = train(config(tmp_path / "parts"), resume=True, quiet=True)
    assert report.resumed_from == (5 if kind == "adversarial" else 4) and report.steps == whole.steps
    after = states(tmp_path / "parts")
    assert_same(after, states(tmp_path / "whole"))
    assert any(not torch.equal(between[key], after[key]) for key in after if key in between)
    groups = {key.split("/")[0] for key in after}
    assert groups == {"modules", "averages", "optimisers"}
    assert len({key.split("/")[1] for key in after}) == (1 if kind == "supervised" else 2)
    for one, other in zip(whole.files, report.files, strict=True):
        assert_same(load_file(one), load_file(other))
    rows, again = (Log.read(tmp_path / name) for name in ("whole", "parts"))
    for row in (*rows, *again):
        row.pop("seconds", None)
    assert rows == again


@pytest.mark.parametrize("after", [5, 7, 8])
def test_a_restart_loads_what_an_uninterrupted_run_loads(after, data, tmp_path, monkeypatch):
    """The best network may have been found between the last checkpoint and the end of the interrupted run."""

    def config(out):
        kept = validation(data) | {"every": 1}
        return supervised(data, out, epochs=None, steps=9, restarts=[6], checkpoint_every=4, validation=kept)

    def validated(self, done, last):
        psnr = {1: 10.0, 2: 20.0, 5: 25.0, 7: 30.0}.get(done, 1.0)
        if self.progress.best_psnr is None or psnr > self.progress.best_psnr:
            self.progress.best_psnr, self.progress.best_step = psnr, done
        return psnr, 0.0

    monkeypatch.setattr(loop._Run, "_validated", validated)
    train(config(tmp_path / "whole"), quiet=True)
    with monkeypatch.context() as patch:
        interrupt(patch, after=after)
        with pytest.raises(StopHereError):
            train(config(tmp_path / "parts"), quiet=True)
    train(config(tmp_path / "parts"), resume=True, quiet=True)
    assert_same(states(tmp_path / "parts"), states(tmp_path / "whole"))
    assert_same(load_file(tmp_path / "parts/net-best.safetensors"), load_file(tmp_path / "whole/net-best.safetensors"))


def test_the_unit_of_the_schedules_may_not_change(data, tmp_path):
    train(supervised(data, tmp_path, epochs=1), quiet=True)
    with pytest.raises(ValueError, match="counts in epochs"):
        train(supervised(data, tmp_path, epochs=None, steps=9), resume=True, quiet=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_writes_the_state_and_names_resume(number, data, tmp_path, monkeypatch, capsys):
    whole = train(supervised(data, tmp_path / "whole"), quiet=True)
    learn = loop._Run._learn

    def asked(self, batch, step, stop):
        if step == 2:
            signal.raise_signal(number)
        learn(self, batch, step, stop)

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_learn", asked)
        with pytest.raises(KeyboardInterrupt, match=r"after step 3 of 9.*last\.safetensors.*--resume"):
            train(supervised(data, tmp_path / "parts"), quiet=True)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    report = train(supervised(data, tmp_path / "parts"), resume=True)
    assert report.resumed_from == 3 and report.steps == whole.steps == 9
    assert_same(states(tmp_path / "parts"), states(tmp_path / "whole"))
    assert "train: 3/9 resumed" in capsys.readouterr().err


def test_a_second_ctrl_c_does_not_wait(data, tmp_path, monkeypatch):
    def asked(self, batch, step, stop):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(loop._Run, "_learn", asked)
    with pytest.raises(KeyboardInterrupt):
        train(supervised(data, tmp_path / "out"), quiet=True)


def test_two_trainings_do_not_share_a_folder(data, tmp_path):
    from blurphys.files.locking import locked

    config = supervised(data, tmp_path / "out", epochs=1)
    train(config, quiet=True)
    before = sorted(file.read_bytes() for file in (tmp_path / "out").iterdir())
    with locked(tmp_path / "out" / loop.LOCK, "held"), pytest.raises(ValueError, match="another process trains in"):
        train(config | {"epochs": 2}, resume=True, quiet=True)
    assert sorted(file.read_bytes() for file in (tmp_path / "out").iterdir()) == before
    assert train(config | {"epochs": 2}, resume=True, quiet=True).steps == 6


def test_a_training_that_cannot_begin_leaves_no_folder(tmp_path):
    with pytest.raises((ValueError, FileNotFoundError)):
        train(supervised(tmp_path / "nothing", tmp_path / "new" / "out"), quiet=True)
    assert not (tmp_path / "new" / "out").exists()
