"""Networks in files: what comes back is what was saved, and what is wrong with a file is named."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from nets.net import Net
from nets.registry import NETS, create
from nets.weights import saving
from nets.weights.saving import TRAINING, describe, load, load_weights, pretrained, save, write_tensors


class Tiny(Net):
    name = "tiny"

    def __init__(self, *, width=4, names=("a",)):
        if width < 1:
            raise ValueError(f"Tiny: expected a width of at least 1, got {width}")
        super().__init__(width=width, names=list(names))
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 3, 1)
        self.register_buffer("fixed", torch.full((3, 1, 1), 0.25), persistent=False)

    def forward(self, image):
        return self.fixed + self.last(self.norm(self.first(image)))


class Other(Tiny):
    name = "other"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(NETS, "tiny", f"{__name__}:Tiny")
    monkeypatch.setitem(NETS, "other", f"{__name__}:Other")


@pytest.fixture
def net():
    torch.manual_seed(3)
    made = Tiny(width=5)
    made.norm.running_mean += torch.rand(5)
    return made.eval()


@pytest.fixture
def image():
    return torch.rand((1, 3, 6, 7), generator=torch.Generator().manual_seed(0))


def changed(path, change):
    """Rewrite a file with other tensors or metadata."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def test_round_trip(net, image, tmp_path):
    save(net, tmp_path / "net.safetensors", notes={"psnr": 25.5})
    again = load(tmp_path / "net.safetensors")
    assert type(again) is Tiny and again.config == net.config and not again.training
    assert torch.equal(again(image), net(image))
    said = describe(tmp_path / "net.safetensors")
    assert (said.name, said.config, said.notes) == ("tiny", {"width": 5, "names": ["a"]}, {"psnr": 25.5})
    assert said.shapes["first.weight"] == (5, 3, 3, 3) and "fixed" not in said.shapes
    with safe_open(tmp_path / "net.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "blurphys-net" and json.loads(file.metadata()["config"])["width"] == 5


@pytest.mark.parametrize(
    ("name", "config"), [("gkmnet", {"scales": 2}), ("nrknet", {"width": 8}), ("kpac", {"channels": 8, "levels": 3})]
)
def test_networks_of_the_papers(name, config, tmp_path):
    net = create(name, **config).eval()
    save(net, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert again.config == net.config
    image = torch.rand((1, 3, 48, 56), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again(image), net(image))


def test_equal_networks_make_equal_files(net, tmp_path):
    files = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for file in files:
        save(net, file, notes={"author": "Ünal \u4e2d", "psnr": 25.5})
    assert len({file.read_bytes() for file in files}) == 1
    assert describe(files[0]).notes["author"] == "Ünal \u4e2d"


def test_loading_draws_no_random_numbers(net, tmp_path):
    save(net, tmp_path / "net.safetensors")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(tmp_path / "net.safetensors")
    assert torch.equal(torch.rand(3), expected)


def test_half_precision_comes_back_as_float32(net, image, tmp_path):
    save(net, tmp_path / "half.safetensors", half=True)
    save(net, tmp_path / "full.safetensors")
    assert describe(tmp_path / "half.safetensors").dtypes == {"F16"}
    again = load(tmp_path / "half.safetensors")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.equal(again.first.weight, net.first.weight.half().float())
    assert again.norm.num_batches_tracked.dtype == torch.int64
    error = (again(image) - net(image)).abs().max()
    assert 0 < error < 5e-3
    sizes = [(tmp_path / name).stat().st_size for name in ("half.safetensors", "full.safetensors")]
    assert sizes[1] - sizes[0] > sum(p.numel() for p in net.parameters())


def test_double_precision_stays(net, tmp_path):
    net.double()
    save(net, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert again.first.weight.dtype == again.fixed.dtype == torch.float64
    assert torch.equal(again.first.weight, net.first.weight)


def test_weights_into_a_net_that_is_there(net, tmp_path):
    save(net, tmp_path / "net.safetensors")
    target = Tiny(width=5, names=("b",)).double().train()
    load_weights(target, tmp_path / "net.safetensors")
    assert target.training and target.config["names"] == ["b"]
    assert torch.equal(target.last.weight, net.last.weight.double())


def test_the_file_of_another_net_is_named(net, tmp_path):
    save(net, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"net.safetensors holds weights of 'tiny', and this is a 'other'"):
        load_weights(Other(), tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t.pop("last.bias"), r"of this tiny: missing last.bias;"),
        (lambda t, m: t.update(more=torch.ones(2)), r"extra more;"),
        (lambda t, m: t.update({"last.bias": torch.ones(4)}), r"misshapen: last.bias is \(4,\) instead of \(3,\);"),
        (
            lambda t, m: t["last.bias"].fill_(float("nan")),
            r"damaged or of a training that failed: last.bias is not fin",
        ),
        (lambda t, m: m.update(version="2"), r"version 2 of the format, this library reads 1; a newer"),
        (lambda t, m: m.update(format="pt"), r"expected a file of nets.save, with format 'blurphys-net', got 'pt'"),
        (lambda t, m: m.clear(), r"got 'no format'"),
        (lambda t, m: m.update(net="tinny"), r"no network is called 'tinny'; did you mean 'tiny'\?"),
        (lambda t, m: m.update(config='{"width": 0}'), r"net.safetensors: Tiny: expected a width of at least 1, got 0"),
        (lambda t, m: m.update(config='{"wide": 2}'), r"tiny has no argument 'wide'; did you mean 'width'"),
        (lambda t, m: m.update(config="{"), r"is damaged: JSONDecodeError"),
        (lambda t, m: m.update(config="[]"), r"is damaged: ValueError: config and notes are no objects"),
        (lambda t, m: m.pop("net"), r"is damaged: KeyError: 'net'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(net, tmp_path, change, message):
    path = tmp_path / "net.safetensors"
    save(net, path)
    changed(path, change)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_failed_load_leaves_the_net_alone(net, tmp_path):
    save(net, tmp_path / "net.safetensors")
    changed(tmp_path / "net.safetensors", lambda t, m: t.pop("norm.weight"))
    target = Tiny(width=5)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(ValueError, match="missing norm.weight"):
        load_weights(target, tmp_path / "net.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_unread(net, tmp_path, name, zipped):
    torch.save(net.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"may hold a pickle.*nets.load_official.*weights_only=True"):
        load(tmp_path / name)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("no network")
    with pytest.raises(ValueError, match="no safetensors file, or it is damaged"):
        load(tmp_path / "text.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match="expected a file, got the folder"):
        load(tmp_path)


def test_folders_of_trainings(net, image, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_tensors({"x": torch.ones(1)}, _empty(run / "last.safetensors"), {"format": TRAINING})
    with pytest.raises(ValueError, match=r"has no network of a training"):
        load(run)
    save(net, run / "net.safetensors")
    assert torch.equal(load(run)(image), net(image))
    with torch.no_grad():
        net.last.bias[0] += 1
    save(net, run / "net-best.safetensors")
    assert torch.equal(load(run)(image), net(image))
    with pytest.raises(ValueError, match=r"state of a training.*net-best.safetensors, .*net.safetensors"):
        load(run / "last.safetensors")


def _empty(path):
    path.touch()
    return path


def test_a_truncated_file_is_refused(net, tmp_path):
    path = tmp_path / "net.safetensors"
    save(net, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged"):
        load(path)


def test_names_are_those_of_the_package(net, image, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "PRETRAINED", tmp_path)
    monkeypatch.chdir(tmp_path)
    save(net, tmp_path / "tiny-synthetic.safetensors")
    assert pretrained() == ("tiny-synthetic",)
    assert torch.equal(load("tiny-synthetic")(image), net(image))
    with pytest.raises(
        FileNotFoundError, match=r"neither a file tiny-synth nor weights.*did you mean 'tiny-synthetic'"
    ):
        load("tiny-synth")


def test_weights_of_the_package_load():
    image = torch.full((1, 3, 32, 48), 0.5)
    for name in pretrained():
        with torch.no_grad():
            assert torch.isfinite(load(name)(image)).all(), name


def test_what_cannot_be_saved(net, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match="a name ending in .safetensors, got .*net.pt"):
        save(net, tmp_path / "net.pt")
    with pytest.raises(TypeError, match="expected a Net, got Conv2d"):
        save(nn.Conv2d(3, 3, 1), path)
    with pytest.raises(TypeError, match="expected notes to hold what JSON can"):
        save(net, path, notes={"bad": float("nan")})
    with torch.no_grad():
        net.last.bias[0] = 1e6
    with pytest.raises(ValueError, match="last.bias has values that are too large for 16 bits"):
        save(net, path, half=True)
    with torch.no_grad():
        net.last.bias[0] = float("inf")
    with pytest.raises(ValueError, match="last.bias has values that are not finite"):
        save(net, path)
    monkeypatch.setitem(NETS, "tiny", f"{__name__}:Impostor")
    with pytest.raises(TypeError, match="is another class than Tiny"):
        save(Tiny(), path)
    assert list(tmp_path.iterdir()) == []


class Impostor(Net):
    name = "tiny"


def test_files_appear_whole_or_not_at_all(net, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save(net, path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        save(net, path)

    def fail(tensors, file, metadata):
        file.write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_file", fail)
    with pytest.raises(OSError, match="the disk is full; nothing was left behind"):
        save(net, path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_no_length_of_the_header_is_taken_for_a_pickle(tmp_path):
    """The first byte of a safetensors file is the low byte of a length, 0x80 among others."""
    net = create("gkmnet", width=1, scales=1)
    seen = set()
    for length in range(0, 256, 8):
        save(net, tmp_path / "net.safetensors", notes={"a": "x" * length}, overwrite=True)
        seen.add((tmp_path / "net.safetensors").read_bytes()[0])
        describe(tmp_path / "net.safetensors")
    assert 0x80 in seen
