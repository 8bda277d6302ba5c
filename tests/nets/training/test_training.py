"""Training that goes on exactly where it stopped, stops where numbers break, and writes down what it did."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nets.training import NonFiniteLossError, TrainConfig, train
from nets.training.checkpoint import Progress, differing_setting, read_state, write_state
from nets.training.data import Samples
from nets.training.optimisers import Average, Moment, scheduled_value
from nets.training.parallel import Parallel
from nets.training.settings.records import DataConfig
from nets.training.supervised import Supervised
from nets.weights.saving import describe, load
from tests.nets.training.cases import supervised, validation, write_dpdd

CPU = Parallel(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_dpdd(tmp_path_factory.mktemp("dpdd"))
    return write_dpdd(root, "val", 3)


def states(folder):
    return load_file(folder / "last.safetensors")


def test_the_average_of_the_weights_is_what_is_measured_and_published(data, tmp_path):
    config = supervised(data, tmp_path / "a", validation=validation(data), ema=0.5, net={"name": "tiny"}, epochs=1)
    report = train(config, quiet=True)
    state = states(tmp_path / "a")
    published = load(report.files[0])
    for name, parameter in published.named_parameters():
        assert torch.equal(parameter, state[f"averages/net/{name}"])
        assert not torch.equal(parameter, state[f"modules/net/{name}"])
    assert torch.equal(published.state_dict()["norm.running_mean"], state["modules/net/norm.running_mean"])
    samples = Samples(TrainConfig.of(config).validation.data, ("image", "sharp"))
    psnr = []
    with torch.no_grad():
        for index in range(3):
            sample = samples.middle(index)
            out = published(torch.from_numpy(sample["image"])[None]).clamp(0, 1)[0].numpy()
            psnr.append(-10 * np.log10(np.mean((out - sample["sharp"]) ** 2)))
    assert report.validation_psnr[-1] == (3, pytest.approx(np.mean(psnr), abs=1e-3))


def test_one_step_is_adam_on_the_loss_and_the_average_follows(data, tmp_path):
    config = TrainConfig.of(
        supervised(data, tmp_path / "a", ema=0.75, net={"name": "tiny"}, losses=[{"name": "l2", "weight": 3.0}])
    )
    torch.manual_seed(0)
    task = Supervised(config, CPU)
    batch = {name: torch.rand(2, 3, 12, 12) for name in ("image", "sharp")}
    before = {name: p.detach().clone() for name, p in task.net.named_parameters()}
    measured = task.step(batch, Moment(step=3, epoch=1, now=1, per_unit=3))
    decay = 4 / 13  # below 0.75 so early
    own = torch.nn.functional.mse_loss
    for name, parameter in task.net.named_parameters():
        change = parameter.detach() - before[name]
        moved = parameter.grad.abs() > 1e-4
        # The first step of Adam has the length of the learning rate, that of epoch 1.
        torch.testing.assert_close(change[moved], -2e-3 * parameter.grad[moved].sign(), rtol=1e-3, atol=0.0)
        average = decay * before[name] + (1 - decay) * parameter.detach()
        torch.testing.assert_close(task.averages["net"].values[name], average)
    assert measured["loss"].item() == pytest.approx(3 * measured["l2"].item(), rel=1e-6)
    assert own(batch["image"], batch["sharp"]).item() == pytest.approx(measured["l2"].item(), rel=0.5)


def test_the_average_forgets_the_start():
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    average = Average(net, 0.99)
    torch.nn.init.ones_(net.weight)
    for step in range(20):
        average.update(net, step)
    assert average.values["weight"].item() > 1 - 1e-6  # with the decay of 0.99 it would be 0.18
    torch.nn.init.zeros_(net.weight)
    average.update(net, 10_000)
    assert average.values["weight"].item() == pytest.approx(0.99, abs=1e-5)


def test_the_log_says_what_happened(data, tmp_path, capsys):
    report = train(supervised(data, tmp_path / "a", validation=validation(data, limit=2)))
    rows = list(csv.DictReader((tmp_path / "a" / "log.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == ["2", "3", "4", "6", "8", "9"]
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 8, 9]
    assert [line["learning_rate"] for line in lines if "loss" in line] == [1e-2, 2e-3, 2e-3, 2e-3, 2e-3]
    assert [line["epoch"] for line in lines if "loss" in line] == [0, 1, 1, 2, 2]
    assert all(line["l2"] == line["loss"] > 0 and line["psnr"] > 5 for line in lines if "loss" in line)
    assert [step for step, _ in report.validation_psnr] == [3, 6, 9]
    held_out = Samples(DataConfig(reader="DPDD", root=str(data), split="val"), ("image", "sharp"))
    pairs = [held_out.middle(index) for index in range(2)]
    psnr = [-10 * np.log10(np.mean((pair["image"] - pair["sharp"]) ** 2)) for pair in pairs]
    assert report.input_psnr == pytest.approx(np.mean(psnr), abs=1e-3)
    assert lines[-1]["input_psnr"] == pytest.approx(report.input_psnr, abs=1e-4)
    assert report.loss == pytest.approx(lines[-1]["loss"], rel=1e-5)
    said = capsys.readouterr().err
    assert "train: 9/9 loss" in said and "dB" in said and "validation" in said
    best = max(report.validation_psnr, key=lambda pair: pair[1])
    assert (report.best_step, report.best_psnr) == best
    notes = describe(tmp_path / "a" / "net-best.safetensors").notes
    assert notes["step"] == report.best_step and notes["config"]["batch"] == 2


def test_a_loss_that_breaks_names_the_samples_and_leaves_the_checkpoint(tmp_path):
    root = write_dpdd(tmp_path / "data", black=4)
    net = {"name": "tiny", "arguments": {"poison": True}}
    config = supervised(root, tmp_path / "a", net=net, checkpoint_every=1, epochs=5)
    with pytest.raises(
        NonFiniteLossError, match=r"the loss of the net is (nan|inf) in step \d, samples \[.*4.*\] of DPDD"
    ):
        train(config, quiet=True)
    state = tmp_path / "a" / "last.safetensors"
    assert not state.exists() or all(t.isfinite().all() for t in states(tmp_path / "a").values())
    assert not list((tmp_path / "a").glob("*.part")) and not (tmp_path / "a" / "net.safetensors").exists()


def test_a_gradient_that_breaks_changes_nothing(data, tmp_path):
    task = Supervised(TrainConfig.of(supervised(data, tmp_path / "a")), CPU)
    before = {name: p.detach().clone() for name, p in task.net.named_parameters()}
    bad = next(task.net.parameters()).flatten()[0]
    with pytest.raises(NonFiniteLossError, match="the gradient has the norm"):
        task.learn("net", torch.sqrt((bad - bad.detach()).abs()), Moment(0, 0, 0, 1))
    assert all(torch.equal(before[name], p) for name, p in task.net.named_parameters())


def test_a_network_that_broke_is_not_written(data, tmp_path):
    config = TrainConfig.of(supervised(data, tmp_path / "a"))
    task = Supervised(config, CPU)
    file = tmp_path / "last.safetensors"
    write_state(file, task, Progress(sums={}), config.to_dict())
    before = file.read_bytes()
    task.net.norm.running_var[1] = torch.inf
    with pytest.raises(NonFiniteLossError, match="modules/net/norm.running_var is not finite after step 7"):
        write_state(file, task, Progress(step=7, sums={}), config.to_dict())
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_checkpoints_of_others_are_refused(data, tmp_path):
    out = tmp_path / "a"
    train(supervised(data, out, epochs=1), quiet=True)
    with pytest.raises(FileExistsError, match=r"exists already; resume \(--resume\) goes on"):
        train(supervised(data, out, epochs=1), quiet=True)
    for changes, words in (
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"optimiser": {"clip": 1.0}}, "optimiser.clip was None and is now 1.0"),
        ({"losses": ["mae"]}, "losses.0.name was 'l2' and is now 'mae'"),
        ({"learning_rate": [[0, 1e-3], [1, 2e-3]]}, r"learning_rate.0.1 was 0.01 and is now 0.001"),
        ({"ema": None}, "ema was 0.9 and is now None"),
    ):
        with pytest.raises(ValueError, match=words):
            train(supervised(data, out, epochs=1, **changes), resume=True, quiet=True)
    longer = train(supervised(data, out, epochs=2, workers=0, log_every=5), resume=True, quiet=True)
    assert (longer.resumed_from, longer.steps) == (3, 6)
    done = train(supervised(data, out, epochs=2), resume=True, quiet=True)
    assert (done.resumed_from, done.steps, done.loss) == (6, 6, None)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(supervised(data, tmp_path / "b"), resume=True, quiet=True)
    config = TrainConfig.of(supervised(data, out, epochs=2))
    with pytest.raises(ValueError, match="trained on 6 samples, and the data have 7 now"):
        read_state(out / "last.safetensors", Supervised(config, CPU), config.to_dict(), 7)
    whole = (out / "last.safetensors").read_bytes()
    (out / "last.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no checkpoint, or it is damaged"):
        train(supervised(data, out, epochs=2), resume=True, quiet=True)


def test_the_first_difference_of_two_configurations():
    assert differing_setting({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == "a.1.b"
    assert differing_setting({"a": [1]}, {"a": [1, 2]}) == "a"
    assert differing_setting({"a": 1}, {"a": 1, "c": 2}) == "c"
    assert differing_setting({"a": 1}, {"a": 1, "c": None}) is None
    assert differing_setting({"workers": 1, "out": "a"}, {"workers": 2, "out": "b"}) is None


def test_restarts_load_the_best_and_forget_the_optimiser(data, tmp_path):
    config = supervised(
        data, tmp_path / "a", epochs=2, restarts=[1], validation=validation(data), checkpoint_every=3, ema=None
    )
    config |= {"learning_rate": [[0, 1e-2], [1, 1e-12]]}
    train(config, quiet=True)
    state, best = states(tmp_path / "a"), load_file(tmp_path / "a" / "net-best.safetensors")
    assert float(state["optimisers/net/0/step"]) == 3  # of six
    torch.testing.assert_close(state["modules/net/first.weight"], best["first.weight"])


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_half_precision_stays_finite_and_near(amp, data, tmp_path):
    config = supervised(data, tmp_path / amp, amp=amp, losses=["l2", {"name": "frequency", "weight": 0.1}], epochs=1)
    config["net"] = {"name": "nrknet", "arguments": {"width": 4, "atoms": 3, "scales": 2}}
    report = train(config, quiet=True)
    assert report.loss is not None and np.isfinite(report.loss)
    state = states(tmp_path / amp)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in state.values() if tensor.ndim)


def test_checkpointing_is_handed_to_the_network(data, tmp_path):
    config = supervised(data, tmp_path / "a", checkpointing=True, net={"name": "kpac", "arguments": {"channels": 4}})
    with pytest.raises(ValueError, match="kpac has no unrolled steps"):
        train(config, quiet=True)
    net = {"name": "nrknet", "arguments": {"width": 4, "atoms": 3, "scales": 2}}
    reports = [
        train(supervised(data, tmp_path / str(on), checkpointing=on, net=net, epochs=1), quiet=True)
        for on in (False, True)
    ]
    assert reports[0].loss == pytest.approx(reports[1].loss, rel=1e-5)


def test_schedules_and_moments():
    assert [scheduled_value(((0, "a"), (10, "b"), (15, "a")), now) for now in (0, 9, 10, 14, 15, 99)] == list("aabbaa")
    assert Moment(step=25, epoch=2, now=2, per_unit=10).steps_since(2) == 5
    assert Moment(step=25, epoch=2, now=25, per_unit=1).steps_since(30) == -5
