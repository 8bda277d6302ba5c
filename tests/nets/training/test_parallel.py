"""Two processes with half of each batch do what one process does with all of it, up to rounding."""

import json
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing

from nets.training import train
from nets.training.log import Log
from nets.training.parallel import parallel, started_first
from tests.nets.training.cases import adversarial, reblurring, supervised, validation, write_dpdd

WORLD = 2


def _process(rank, port, configs):
    import os

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo")
    try:
        for config in configs:
            train(config, quiet=True)
    finally:
        torch.distributed.destroy_process_group()


def _resuming(rank, ports, outs, config):
    """Two groups one after the other, each on a port of its own: a process may leave the first one late."""
    import os

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    said, new = [], {"out": str(outs[rank] / f"new{rank}"), "batch": 2 + rank}
    for port, resume, change in zip(ports, (True, False), ({}, new), strict=True):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        try:
            train(config | {"out": str(outs[rank])} | change, resume=resume, quiet=True)
        except ValueError as error:
            said.append(f"{type(error).__name__} {error}")
    (outs[rank] / "said.txt").write_text("\n".join(said))


def _disagreeing(rank, ports, out, config):
    """What each process raises where it fails alone or with another, and where the best network is gone."""
    import os

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ports[0])}
    said = []
    with parallel("cpu") as machine:
        for errors in (
            (None, OSError("b")),
            (ValueError("a"), None),
            (ValueError("a"), ValueError("a")),
            (ValueError("a"), ValueError("b")),
            (None, ZeroDivisionError("b")),
        ):
            try:
                machine.agree(partial(_fail, errors[rank]))
            except Exception as error:
                said.append([type(error).__name__, str(error)])
    os.environ["MASTER_PORT"] = str(ports[1])
    try:
        train(config | {"epochs": 3}, resume=True, quiet=True)
    except (ValueError, OSError) as error:
        said.append([type(error).__name__, str(error)])
    tasks = Path("/proc/self/task")  # of Linux; elsewhere nothing is found
    threads = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.exists() else []
    said.append([name for name in threads if "gloo" in name])
    (out / f"said{rank}.json").write_text(json.dumps(said))


def _fail(error):
    if error is not None:
        raise error


def _ports(count):
    """Return free ports."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in found:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in found]


def test_processes_that_would_go_on_from_different_states_end_with_one_sentence(tmp_path):
    """Each machine has a disk of its own, where trainings of two lengths lie; a batch that does not divide."""
    data = write_dpdd(tmp_path / "data")
    outs = [tmp_path / "a", tmp_path / "b"]
    config = supervised(data, tmp_path, validation=None) | {"ema": None}
    for out, epochs in zip(outs, (2, 1), strict=True):
        train(config | {"out": str(out), "epochs": epochs}, quiet=True)
    multiprocessing.spawn(_resuming, args=(_ports(2), outs, config), nprocs=WORLD)
    first, second = ((out / "said.txt").read_text().splitlines() for out in outs)
    assert [line.partition(" ")[0] for line in (*first, *second)] == ["ValueError"] * 2 + ["AgreedError"] * 2
    first, second = ([line.partition(" ")[2] for line in lines] for lines in (first, second))
    assert first == second
    assert "process 0 at step 6 and process 1 at step 3" in first[0] and "last.safetensors" in first[0]
    assert "batch" in first[1] and not (outs[0] / "new0").exists()


def test_an_error_is_said_once_and_another_is_not_hidden(tmp_path):
    data = write_dpdd(write_dpdd(tmp_path / "data"), "val", 2)
    rates = [[0, 1e-3], [1, 10.0]]  # the first epoch is the best
    config = supervised(
        data, tmp_path / "out", learning_rate=rates, restarts=[2], validation=validation(data), ema=None
    )
    assert train(config | {"epochs": 2}, quiet=True).best_step == 3
    (tmp_path / "out" / "net-best.safetensors").unlink()
    multiprocessing.spawn(_disagreeing, args=(_ports(2), tmp_path, config), nprocs=WORLD)
    first, second = (json.loads((tmp_path / f"said{rank}.json").read_text()) for rank in range(WORLD))
    assert first[:5] == [["ValueError", word] for word in "baaab"]
    assert second[:5] == [
        ["AgreedError", "b"],
        ["AgreedError", "a"],
        ["AgreedError", "a"],
        ["ValueError", "b"],
        ["ZeroDivisionError", "b"],
    ]
    assert (first[5][0], second[5][0]) == ("FileNotFoundError", "AgreedError")
    assert first[5][1] == second[5][1] and "net-best.safetensors" in first[5][1]
    assert first[6] == second[6] == [], "threads of a group that is left abort the process at its end"


def shorter(config, **changes):
    config = {key: value for key, value in config.items() if key != "epochs"} | {"steps": 3}
    return config | {config["kind"]: config[config["kind"]] | changes}


def test_two_processes_equal_one(tmp_path):
    data = write_dpdd(write_dpdd(tmp_path / "data"), "val", 3)
    # Batch statistics would be those of the halves.
    net = {"name": "tiny", "arguments": {"norm": False}}

    def configs(kind):
        map_net = tmp_path / "one" / "b" / "map.safetensors"
        return [
            supervised(data, tmp_path / kind / "a", net=net, validation=validation(data), epochs=1),
            shorter(reblurring(data, tmp_path / kind / "b"), phases=[[0, "map"], [2, "kernel"]], smoothness_from=1),
            shorter(adversarial(data, tmp_path / kind / "c", map_net), discriminator_from=1, adversarial_from=1),
        ]

    for config in configs("one"):
        train(config, quiet=True)
    multiprocessing.spawn(_process, args=(*_ports(1), configs("two")), nprocs=WORLD)
    for run in "abc":
        one, two = (load_file(tmp_path / kind / run / "last.safetensors") for kind in ("one", "two"))
        assert one.keys() <= two.keys()
        for key, tensor in one.items():
            # The discriminator's loss does not see its biases: Adam follows what rounding leaves of their gradients.
            if not key.startswith("optimisers") and not ("discriminator" in key and key.endswith("bias")):
                torch.testing.assert_close(two[key], tensor, rtol=1e-3, atol=2e-5, msg=key)
        rows, others = (Log.read(tmp_path / kind / run) for kind in ("one", "two"))
        assert [row.keys() for row in rows] == [row.keys() for row in others]
        for row, other in zip(rows, others, strict=True):
            row["seconds"] = other["seconds"] = 0
            assert other == pytest.approx(row, rel=1e-3)


def test_a_missing_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="torch finds no CUDA device"), parallel("cuda"):
        pass


def test_the_first_process_is_known_before_they_meet(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert started_first()
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, first in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert started_first() is first
