"""What a training sees of a dataset: other crops in every epoch, and the same ones when the run is repeated."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

import synth
from synth.dataset.writer import writing

N, H, W = 6, 20, 28
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
LOADERS = {
    "main process": {},
    "workers": {"num_workers": 2},
    "workers that stay": {"num_workers": 2, "persistent_workers": True},
    "one at a time": {"batch_size": None},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("augmentation") / "data.h5"
    told = {"camera": {"pupil": {"angle": 0.0}}}
    names = ("all_in_focus", "defocus_map", "depth_m", "valid")
    with writing(path, samples=N, shape=(H, W), names=names, configuration=told, seed=0) as writer:
        for i in range(N):
            plane = np.arange(H * W, dtype=np.float32).reshape(H, W) + 1000 * i
            arrays = {
                "all_in_focus": np.stack([plane] * 3),
                "defocus_map": plane,
                "depth_m": plane,
                "valid": plane >= 0,
            }
            writer.write(i, arrays, {"scene": 0})
    return path


def epochs(dataset, count=3, set_epoch=False, shuffle=False, **options):
    """The maps of each epoch, in order of the samples."""
    loader = DataLoader(dataset, **({"batch_size": 3, "shuffle": shuffle} | options))
    seen = []
    for epoch in range(count):
        if set_epoch:
            dataset.set_epoch(epoch + 4)
        batches = [torch.atleast_3d(batch["defocus_map"]).reshape(-1, 9, 9) for batch in loader]
        maps = torch.cat(batches).numpy()
        seen.append(maps[np.argsort(maps[:, 0, 0] // 1000, kind="stable")])
    return seen


def alike(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def dataset(file, seed=0):
    return synth.Dataset(file, crop=9, augment=True, seed=seed)


@pytest.mark.parametrize("kind", LOADERS)
def test_the_plain_loop_sees_other_crops_in_every_epoch(file, kind):
    seen = epochs(dataset(file), **LOADERS[kind])
    for i, one in enumerate(seen):
        for other in seen[i + 1 :]:
            assert sum(np.array_equal(a, b) for a, b in zip(one, other, strict=True)) <= 1


@pytest.mark.parametrize(("kind", "shuffle"), [("main process", False), ("workers", True), ("workers that stay", True)])
def test_a_run_is_repeated_by_its_seeds(file, kind, shuffle):
    options = LOADERS[kind] | {"shuffle": shuffle}

    def run(seed, torch_seed):
        torch.manual_seed(torch_seed)
        return epochs(dataset(file, seed), **options)

    first = run(1, 5)
    assert alike(first, run(1, 5))
    assert not alike(first, run(2, 5))


@pytest.mark.parametrize("kind", ["main process", "workers that stay"])
def test_one_dataset_repeats_after_manual_seed(file, kind):
    data = dataset(file)
    torch.manual_seed(0)
    first = epochs(data, **LOADERS[kind])
    torch.manual_seed(0)
    assert alike(first, epochs(data, **LOADERS[kind]))
    torch.manual_seed(1)
    assert not alike(first, epochs(data, **LOADERS[kind]))


@pytest.mark.parametrize("kind", [*LOADERS, "spawned"])
def test_set_epoch_decides_everywhere(file, kind):
    """Also in workers that were started before it was called, forked or spawned."""
    stay = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "spawn"}
    alone = dataset(file)
    truth = []
    for epoch in range(3):
        alone.set_epoch(epoch + 4)
        truth.append(np.stack([alone[i]["defocus_map"] for i in range(N)]))
    assert not alike(truth[:2], truth[1:])
    assert alike(truth, epochs(dataset(file), set_epoch=True, **LOADERS.get(kind, stay)))


def test_by_hand_the_nth_time_is_the_nth_epoch(file):
    data, chosen = dataset(file), dataset(file)
    for epoch in range(3):
        chosen.set_epoch(epoch)
        for i in (2, 0):
            assert np.array_equal(data[i]["defocus_map"], chosen[i]["defocus_map"])
    assert not np.array_equal(data[2]["defocus_map"], data[2]["defocus_map"])


def test_parts_of_datasets_are_drawn_anew_too(file):
    for made in (Subset(dataset(file), [0, 2, 4]), ConcatDataset([dataset(file), dataset(file)])):
        seen = [next(iter(DataLoader(made, batch_size=3)))["defocus_map"] for _ in range(2)]
        assert not torch.equal(*seen)


def test_a_copy_has_an_epoch_of_its_own(file):
    data = dataset(file)
    data.set_epoch(3)
    for other in (copy.copy(data), copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert other.epoch == 3
        other.set_epoch(5)
        assert data.epoch == 3


def test_without_augmentation_nothing_changes(file):
    data = synth.Dataset(file, crop=9)
    assert alike(*(epochs(data, count=1) for _ in range(2)))


@pytest.mark.parametrize("epoch", [-1, 1.0, True, "1", None])
def test_bad_epochs_and_seeds(file, epoch):
    with pytest.raises(ValueError, match=f"expected epoch .* >= 0, got {epoch!r}"):
        dataset(file).set_epoch(epoch)
    with pytest.raises(ValueError, match=f"expected seed .* >= 0, got {epoch!r}"):
        dataset(file, seed=epoch)
