"""Training of radii: what a step learns from, and what validation compares."""

import pytest
import torch

from nets.training import TrainConfig
from nets.training.blur_map import BlurMapTask
from nets.training.optimisers import Moment
from nets.training.parallel import Parallel

CPU = Parallel(0, 1, torch.device("cpu"))
NOW = Moment(step=0, epoch=0, now=0, per_unit=1)


def settings(**changes):
    return {
        "kind": "blurmap",
        "net": {"name": "blurmap", "arguments": {"widths": [8, 8, 8, 8]}},
        "data": {"path": "unread.h5"},
        "losses": ["blurmap"],
        "steps": 5,
        "batch": 2,
        "learning_rate": 4e-3,
        "device": "cpu",
    } | changes


@pytest.fixture
def task():
    torch.manual_seed(0)
    return BlurMapTask(TrainConfig.of(settings()), CPU)


def batch():
    """Left of the first photo white noise in focus, right of it and in the second noise whose blur has radius 3."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 3, 32, 48, generator=generator)
    blurred = 0.5 + 2 * (torch.nn.functional.avg_pool2d(noise, 7, stride=1, padding=3, count_include_pad=False) - 0.5)
    radii = torch.full((2, 1, 32, 48), -3.0)
    radii[0, :, :, :24] = 0
    return {"image": torch.where(radii == 0, noise, blurred), "sharp": noise, "defocus_map": radii}


def test_a_step_learns_to_tell_blurred_from_sharp(task):
    data = batch()
    measured = [task.step(data, NOW) for _ in range(60)]
    assert measured[-1]["loss"] < 0.5 * measured[0]["loss"]
    assert measured[-1]["median_error"] < measured[0]["median_error"]
    with task.measuring():
        found, true = task.validation_pair(data)
    assert found.shape == true.shape == (2, 1, 4, 6)
    assert (8 * true).unique().tolist() == [0, 3]
    assert found[0, 0, :, :2].mean() < 0.75 * found[1].mean()
    torch.testing.assert_close(task.unrestored(data), torch.full_like(true, 0.5))


def test_it_reads_the_map(task):
    assert task.fields()["defocus_map"] == "the loss 'blurmap'"
    assert set(task.fields()) == {"image", "defocus_map"}


def test_kind_and_network_belong_together():
    with pytest.raises(ValueError, match="returns radii, no image; set kind = 'blurmap'"):
        TrainConfig.of(settings(kind="supervised"))
    with pytest.raises(ValueError, match="trains the network blurmap, got kpac"):
        BlurMapTask(TrainConfig.of(settings(net="kpac")), CPU)
