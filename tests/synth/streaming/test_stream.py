"""A sample of a stream is a function of (seed, split, index), and what it says of itself is true."""

import pickle
import subprocess
import sys
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, gaussian_filter
from torch.utils.data import DataLoader, IterableDataset

import blurphys as bp
import synth
import synth.streaming.stream as module
from blurphys.colour import linear_to_srgb
from synth.io import write_image
from synth.streaming.lenses import Lenses, read_psfs
from synth.streaming.photos import Photos, blur_of_cells, scenes_of
from synth.streaming.surfaces import draw_radii, visible_map

PLAIN = {"noise": None, "mosaic": 0.0, "jpeg": 0.0, "tone": False, "bits": None, "transfer": "linear"}
"""A camera that changes nothing."""


def texture(seed, size=(120, 150)):
    """Patches with sharp borders, darker than what counts as a light."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 12, (size[0] // 6, size[1] // 6))
    colours = rng.uniform(0.05, 0.75, (12, 3))
    return colours[labels].repeat(6, 0).repeat(6, 1).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        write_image(folder / f"{number}.png", texture(number))
    (folder / "notes.txt").write_text("no photograph")
    return folder


def stream(photos, **changes):
    return synth.Stream(photos, **{"crop": 32, "max_radius": 2.0, **changes})


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_sample_depends_on_seed_split_and_index_alone(photos):
    first, again = stream(photos), stream(photos)
    forwards = [first.sample(index) for index in range(6)]
    backwards = [again.sample(index) for index in reversed(range(6))][::-1]
    assert all(map(same, forwards, backwards))
    assert same(forwards[3], pickle.loads(pickle.dumps(first)).sample(3))
    assert isinstance(first, IterableDataset)
    for name in ("image", "sharp"):
        assert len({sample[name].tobytes() for sample in forwards}) == 6
    for other in (stream(photos, seed=1), stream(photos, split="val"), stream(photos, split="all")):
        assert not np.array_equal(other.sample(0)["image"], forwards[0]["image"])


@pytest.mark.parametrize(("start", "world", "workers"), [(0, 1, 1), (5, 1, 3), (2, 2, 1), (0, 2, 2)])
def test_workers_and_processes_share_the_indices(photos, monkeypatch, start, world, workers):
    monkeypatch.setattr(module.Renderer, "sample", lambda self, index: {"noise": np.array([index], np.float32)})
    seen = []
    for rank in range(world):
        data = stream(photos, start=start, samples=13, rank=rank, world=world)
        for worker in range(workers):
            info = None if workers == 1 else SimpleNamespace(id=worker, num_workers=workers)
            monkeypatch.setattr(module, "get_worker_info", lambda info=info: info)
            seen.append([int(sample["noise"]) for sample in data])
    assert sorted(sum(seen, [])) == list(range(start, start + 13))
    assert seen[-1][0] == start + world * workers - 1


def test_a_loader_makes_batches_and_goes_on_where_it_ended(photos):
    whole = list(DataLoader(stream(photos, samples=6), batch_size=2))
    rest = next(iter(DataLoader(stream(photos, start=4), batch_size=2)))
    assert whole[0]["image"].shape == (2, 3, 32, 32) and whole[0]["noise"].shape == (2, 1)
    assert all(torch.equal(whole[2][name], rest[name]) for name in rest)


@pytest.mark.parametrize("occlusion", [0.0, 1.0])
def test_in_focus_the_photograph_is_the_sharp_image(photos, occlusion):
    data = stream(photos, focus=1.0, occlusion=occlusion, **{**PLAIN, "tone": True, "transfer": "display"})
    for sample in islice(data, 5):
        assert torch.equal(sample["image"], sample["sharp"])
        assert not sample["defocus_map"].any()


@pytest.mark.parametrize("views", ["combined", ("left", "right")])
def test_the_map_and_the_bank_reproduce_the_blur(photos, views):
    data = stream(photos, crop=48, views=views, occlusion=0.0, focus=0.0, core=(0.0, 0.0), **PLAIN)
    reach, changed = 4, 0.0
    inner = slice(reach, -reach)
    for index in range(8):
        sample = data.sample(index)
        chosen = ("combined",) if views == "combined" else views
        blur = bp.DualPixel(sample["defocus_map"][0], bank=data.bank(index), views=chosen)
        seen = np.concatenate([sample["image" if view == "combined" else view] for view in chosen])
        assert np.abs(blur(sample["sharp"]) - seen)[:, inner, inner].max() < 2e-6
        changed = max(changed, float(np.abs(seen[:3] - sample["sharp"])[:, inner, inner].max()))
    assert changed > 0.1


def test_layers_in_focus_stay_sharp_and_others_do_not(photos):
    data = stream(photos, crop=64, occlusion=1.0, focus=0.0, **PLAIN)
    kept, moved = 0, 0.0
    for index in range(12):
        sample = data.sample(index)
        difference = np.abs(sample["image"] - sample["sharp"]).max(axis=0)
        radius, valid = sample["defocus_map"][0], sample["valid"][0] == 1
        focused = binary_erosion((radius == 0) & valid, iterations=2 * data.renderer.lenses.reach, border_value=0)
        kept += int(focused.sum())
        moved = max(moved, float(difference[np.abs(radius) > 1].max(initial=0)))
        assert difference[focused].max(initial=0) < 2e-6
    assert kept > 200 and moved > 0.1


def test_the_map_shows_the_front_and_mixed_pixels_are_not_valid():
    alphas = np.array([[[1.0, 0.95, 0.5, 0.05, 0.0]], [[1.0] * 5]], np.float32)
    radius, valid = visible_map(alphas, (-1.5, 2.0))
    assert radius.tolist() == [[-1.5, -1.5, -1.5, 2.0, 2.0]]
    assert valid.tolist() == [[True, True, False, True, True]]


def test_radii_are_of_both_signs_mostly_small_and_increase_with_depth():
    rng = np.random.default_rng(0)
    drawn = [draw_radii(rng, 3, 8.0) for _ in range(400)]
    assert all(list(radii) == sorted(radii) for radii in drawn)
    values = np.array(drawn)
    assert np.abs(values).max() <= 8 and (values < -1).mean() > 0.2 and (values > 1).mean() > 0.2
    assert 0.3 < (np.abs(values) < 1).mean() < 0.8


@pytest.mark.parametrize("transfer", ["display", "linear"])
@pytest.mark.parametrize("views", [("combined",), ("left", "right"), ("combined", "left", "right")])
def test_shapes_types_and_ranges(photos, transfer, views):
    data = stream(photos, crop=(24, 40), views=views, transfer=transfer, jpeg=1.0)
    names = {"image" if view == "combined" else view for view in views}
    for index in range(6):
        sample = data.sample(index)
        assert set(sample) == names | {"sharp", "defocus_map", "valid", "noise"}
        for name, array in sample.items():
            lead = 1 if name in ("defocus_map", "valid") else 3
            assert array.dtype == np.float32 and array.shape == ((1,) if name == "noise" else (lead, 24, 40)), name
            assert array.flags.c_contiguous and np.isfinite(array).all()
        for name in names | {"sharp", "valid"}:
            assert sample[name].min() >= 0 and sample[name].max() <= 1
        assert np.abs(sample["defocus_map"]).max() <= 2
        assert 0.001 <= sample["noise"][0] <= 0.0301


def test_recorded_values_are_codes_of_8_bits(photos):
    codes = 255 * stream(photos).sample(1)["image"].astype(np.float64)
    assert np.abs(codes - np.rint(codes)).max() < 1e-4


def test_linear_is_what_the_srgb_curve_decodes(photos):
    shown, light = (stream(photos, transfer=transfer).sample(2) for transfer in ("display", "linear"))
    for name in ("image", "sharp"):
        assert np.allclose(linear_to_srgb(light[name]), shown[name], atol=1e-6)


@pytest.mark.parametrize("view", ["combined", ("left", "right")])
def test_noise_is_what_the_sample_says_at_mid_grey(tmp_path, view):
    for name in "ab":
        write_image(tmp_path / f"{name}.png", np.full((3, 130, 130), 0.18))
    data = stream(tmp_path, split="all", crop=96, views=view, occlusion=0.0, **{**PLAIN, "noise": (0.02, 0.02)})
    for index in range(3):
        sample = data.sample(index)
        for name in ("image",) if view == "combined" else view:
            error = sample[name] - sample["sharp"]
            assert sample["noise"][0] == pytest.approx(0.02)
            assert np.sqrt(error.var(axis=(1, 2)).mean()) == pytest.approx(0.02, rel=0.05)
            # A half of a pupil that is clipped on one side has less light than the other.
            assert abs(error.mean()) < (0.001 if name == "image" else 0.02)


def test_scenes_of_the_splits_are_disjoint_and_keep_their_split(photos, tmp_path):
    parts = {split: set(stream(photos, split=split).scenes) for split in ("train", "val", "all")}
    assert parts["train"] & parts["val"] == set() and parts["train"] | parts["val"] == parts["all"]
    assert len(parts["all"]) == 8 and len(parts["val"]) == 1
    elsewhere = tmp_path / photos.name
    elsewhere.mkdir()
    for file in photos.glob("*.png"):
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert set(stream(elsewhere, seed=9, split="val").scenes) == parts["val"]
    both = stream([photos, elsewhere], split="all").scenes
    assert len(set(both)) == 16


def test_sources_of_the_package_need_no_folder():
    scenes = scenes_of(None, "all")
    assert {scene.kind for scene in scenes} == {"picture", "drawn"}
    drawn = Photos([scene for scene in scenes if scene.kind == "drawn"][:1])
    assert drawn.crop(np.random.default_rng(0), (40, 50)).shape == (3, 40, 50)


def test_the_blur_of_a_photograph_is_measured():
    steps = np.zeros((96, 192)) + 0.2
    steps[:, 8::32] = np.nan
    steps = np.where(np.cumsum(np.isnan(steps), axis=1) % 2 == 1, 0.7, 0.2)
    for sigma in (1.0, 2.0, 3.0):
        plane = np.rint(255 * gaussian_filter(steps, sigma)).astype(np.uint8)
        found = blur_of_cells(np.stack([plane] * 3, -1))[1:-1, 1:-1]
        assert np.nanmedian(found) == pytest.approx(sigma, rel=0.25)
    assert np.isnan(blur_of_cells(np.full((64, 64, 3), 90, np.uint8))).all()


def test_crops_are_taken_where_a_photograph_is_sharp(tmp_path):
    whole = texture(3, (180, 360))
    whole[:, :, 180:] = gaussian_filter(whole[:, :, 180:], (0, 3, 3))
    write_image(tmp_path / "half.png", whole)
    photos = Photos(scenes_of(tmp_path, "all"))
    crops = [photos.crop(np.random.default_rng(seed), (48, 48)) for seed in range(40)]
    sharp = [
        np.abs(np.diff(crop, axis=2)).max() > 0.25 and np.abs(np.diff(crop[..., 24:], axis=2)).max() > 0.25
        for crop in crops
    ]
    assert np.mean(sharp) > 0.85


def test_banks_of_the_pool_are_functions_of_their_number():
    lenses, again = (Lenses(0, max_radius=2.0, core=(0.3, 0.7), views=("left", "right")) for _ in range(2))
    banks = [lenses.bank(number) for number in range(12)]
    others = [again.bank(number) for number in reversed(range(12))][::-1]
    for bank, other in zip(banks, others, strict=True):
        assert np.array_equal(bank.psfs("left"), other.psfs("left"))
        assert bank.psfs().shape[-1] // 2 <= lenses.reach
        assert 0.3 <= bank.pupil.core <= 0.7
    assert len({bank.pupil.intensity.tobytes() for bank in banks}) >= 8


def test_a_radius_is_that_of_a_disk_as_wide_as_the_psf():
    lenses = Lenses(1, max_radius=8.0, core=(0.0, 0.0), views=("combined",))
    for bank in map(lenses.bank, range(16)):
        psf = bank.psfs()[-1]
        line = np.arange(len(psf)) - len(psf) // 2
        spread = [float(side @ line**2 - (side @ line) ** 2) for side in (psf.sum(0), psf.sum(1))]
        assert 2 * np.sqrt(np.mean(spread) - 1 / 12) == pytest.approx(8.0, rel=0.01)  # 1 / 12: the pixel


def test_measured_psfs_keep_their_shape(tmp_path):
    ring = np.zeros((41, 41))
    y, x = np.mgrid[-20:21, -20:21]
    ring[(np.hypot(x, y) < 12) & (np.hypot(x, y) > 8)] = 1
    np.savez(tmp_path / "psfs.npz", ring=ring[None])
    lenses = Lenses(0, max_radius=6.0, core=(0.0, 0.0), views=("combined",), psfs=read_psfs(tmp_path / "psfs.npz"))
    darkest = [
        bank.psfs()[-1][bank.psfs().shape[1] // 2, bank.psfs().shape[2] // 2] for bank in map(lenses.bank, range(16))
    ]
    assert 2 <= sum(value < 1e-6 for value in darkest) <= 9  # the middle of a ring


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop": 8}, "a side of the crop to be an integer >= 16 px, got 8"),
        ({"crop": (32, 32, 3)}, "crop as a size or \\(height, width\\)"),
        ({"max_radius": 0}, "max_radius to be a finite number > 0"),
        ({"views": ("left",)}, "'left' and 'right'"),
        ({"views": ("middle",)}, "got \\('middle',\\)"),
        ({"split": "test"}, "split to be 'train', 'val' or 'all', got 'test'"),
        ({"transfer": "srgb"}, "transfer to be 'display' or 'linear'"),
        ({"occlusion": 1.5}, "occlusion to be a finite number >= 0 and <= 1"),
        ({"core": 0.5}, "core as \\(smallest, largest\\), got 0.5"),
        ({"noise": (0.02, 0.01)}, "noise as \\(smallest, largest\\), got 0.02 before 0.01"),
        ({"bits": 17}, "bits from 1 to 16"),
        ({"tone": 1}, "tone to be True or False"),
        ({"start": -1}, "start to be an integer >= 0"),
        ({"rank": 2, "world": 2}, "rank below world"),
        ({"psfs": np.full((3, 3), np.nan)}, "psfs that are finite"),
        ({"psfs": np.ones(3)}, "psfs of shape"),
    ],
)
def test_bad_arguments_are_one_sentence(photos, changes, words):
    with pytest.raises(ValueError, match=words) as error:
        stream(photos, **changes)
    assert "\n" not in str(error.value) and str(error.value).startswith("Stream: ")


def test_bad_sources_are_one_sentence(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        stream(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="png"):
        stream(tmp_path)
    with pytest.raises(FileNotFoundError, match="file of PSFs"):
        stream(photos, psfs=tmp_path / "none.npz")
    with pytest.raises(ValueError, match="got the file"):
        stream(photos / "0.png")
    with pytest.raises(ValueError, match="expected sources"):
        stream([])
    with pytest.raises(ValueError, match="no .npy or .npz file"):
        stream(photos, psfs=photos / "notes.txt")
    with pytest.raises(ValueError, match="at least 210 x 210 px"):
        stream(photos, crop=190).sample(0)
    write_image(tmp_path / "one.png", texture(0))
    with pytest.raises(ValueError, match="use split='all'"):
        stream(tmp_path)
    (tmp_path / "one.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="one.png"):
        stream(tmp_path, split="all").sample(0)


@pytest.mark.data
def test_real_photographs(data):
    found = synth.Stream(data / "photos_cc0", crop=64)
    sample = found.sample(0)
    assert len(found.scenes) == 31 and sample["sharp"].std() > 0.01


@pytest.mark.parametrize("changes", [{"jpeg": 1.0}, {"noise": None}, {"mosaic": 1.0}, {"bits": 4}])
def test_the_camera_changes_the_photograph_and_nothing_else(photos, changes):
    plain, changed = stream(photos, jpeg=0.0, mosaic=0.0), stream(photos, **{"jpeg": 0.0, "mosaic": 0.0, **changes})
    for index in range(3):
        one, other = plain.sample(index), changed.sample(index)
        assert not np.array_equal(one["image"], other["image"])
        assert np.abs(one["image"] - other["image"]).mean() < 0.1
        assert all(np.array_equal(one[name], other[name]) for name in ("sharp", "defocus_map", "valid"))


def test_synth_loads_torch_for_a_stream_alone():
    code = "import sys, synth; assert 'torch' not in sys.modules; synth.Stream; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Streams'"):
        _ = synth.Streams
