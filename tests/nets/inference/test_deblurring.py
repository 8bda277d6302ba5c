"""A photo through a network: any size, in tiles or not, and by the command line."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

import numpy as np
import pytest
import torch
import typer
from torch import nn
from torch.nn import functional
from typer.main import get_command

from blurphys.colour import linear_to_srgb, srgb_to_linear
from blurphys.commands.errors import run_safely
from nets.commands.deblur import deblur as command
from nets.inference.deblurring import TilingWarning, deblur
from nets.net import Net, check_images, crop_to_size, pad_to_multiple
from nets.registry import NETS
from nets.weights.saving import load, save
from synth.io import read_image, write_image


class Local(Net):
    """Half resolution and back, so that where a tile begins matters, with a reach of 7 px."""

    name = "local"
    multiple = 4

    def __init__(self, *, views=False):
        super().__init__(views=views)
        if views:
            self.inputs = ("combined", "left", "right")
        self.body = nn.Conv2d(9 if views else 3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    @property
    def reach(self):
        return 7

    def forward(self, *images):
        check_images("Local", *images, least=2)
        image = pad_to_multiple(torch.cat(images, dim=1), self.multiple)
        half = self.body(functional.avg_pool2d(image, 2))
        whole = self.norm(functional.interpolate(half, scale_factor=2.0))
        return crop_to_size(1.5 * images[0] + crop_to_size(whole, images[0].shape[-2:]), images[0].shape[-2:])


class Global(Net):
    name = "global"
    global_statistics = True

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image):
        return self.scale * image - image.mean(dim=(-2, -1), keepdim=True)


class Identity(Net):
    name = "identity"

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image):
        return self.scale * image


class Blur(Identity):
    name = "blur"
    inputs = ("image", "radius_map")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for cls in (Local, Global, Identity, Blur):
        monkeypatch.setitem(NETS, cls.name, f"{__name__}:{cls.__name__}")


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Local().train()


def photo(rng, *shape):
    return rng.random((3, *shape)).astype(np.float32)


@pytest.mark.parametrize("size", [(2, 3), (13, 29), (16, 8)])
def test_any_size(net, rng, size):
    image = photo(rng, *size)
    result = deblur(net, image)
    assert result.shape == image.shape and result.dtype == np.float32
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_array_equal(result, expected)


def test_the_net_stays_as_it_was(net, rng):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    deblur(net, photo(rng, 8, 9))
    assert net.training and net.norm.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("size", [(61, 83), (64, 48), (33, 130), (16, 17)])
@pytest.mark.parametrize("tile", [16, 20, 31])
def test_tiles_make_no_difference_beyond_the_reach(net, rng, size, tile):
    image = photo(rng, *size)
    whole = deblur(net, image)
    np.testing.assert_allclose(deblur(net, image, tile=tile), whole, atol=2e-6)
    if max(size) > 20:  # without context it shows where the tiles met
        apart = np.abs(deblur(net, image, tile=tile, overlap=0) - whole)
        assert apart.max() > 1e-3


@pytest.mark.parametrize("overlap", [0, 1, 5, 12, 100])
@pytest.mark.parametrize("tile", [1, 7, 12, 50])
def test_weights_of_tiles_sum_to_one(rng, tile, overlap):
    image = photo(rng, 29, 41)
    np.testing.assert_allclose(deblur(Identity(), image, tile=tile, overlap=overlap), image, atol=1e-6)


def test_tiles_blend_without_a_step():
    """Tiles that differ by a constant meet in a ramp."""

    class Counter(Identity):
        calls = 0

        def forward(self, image):
            self.calls += 1
            return torch.full_like(image, float(self.calls))

    line = deblur(Counter(), np.zeros((3, 16, 64), np.float32), tile=32, overlap=16)[0, 8]
    assert line[0] == line[23] == 1.0 and line[-1] == line[40] == 2.0
    np.testing.assert_allclose(np.diff(line[23:41]), [1 / 32, *[1 / 16] * 15, 1 / 32], atol=1e-6)


def test_large_images_are_tiled_by_themselves(net, rng, monkeypatch):
    image = photo(rng, 40, 50)
    sizes = []
    net.register_forward_hook(lambda _, images, __: sizes.append(tuple(images[0].shape[-2:])))
    deblur(net, image)
    assert sizes == [(40, 50)]
    module = import_module("nets.inference.deblurring")
    monkeypatch.setattr(module, "MAX_WHOLE_PIXELS", 1999)
    monkeypatch.setattr(module, "TILE", 16)
    sizes.clear()
    deblur(net, image)
    assert len(sizes) == 12 and max(max(size) for size in sizes) <= 16 + 2 * 16


def test_tiles_of_global_nets_are_warned_of_once(rng):
    image = photo(rng, 40, 50)
    with pytest.warns(
        TilingWarning, match=r"every pixel of global depends on the whole image, so that 4 tiles"
    ) as said:
        tiled = deblur(Global(), image, tile=32, overlap=8)
    assert len(said) == 1 and said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = deblur(Global(), image)
        deblur(Global(), image, tile=50)
        deblur(Local(), image, tile=16)
    assert np.abs(tiled - whole).max() > 1e-3


def test_kind_dtype_and_batch_come_back(net, rng):
    image = photo(rng, 9, 11)
    result = deblur(net, torch.from_numpy(image).double())
    assert isinstance(result, torch.Tensor) and result.dtype == torch.float64
    np.testing.assert_allclose(result.numpy(), deblur(net, image), atol=1e-6)
    batch = np.stack([image, image[:, ::-1]])
    np.testing.assert_array_equal(deblur(net, batch)[0], deblur(net, image))
    np.testing.assert_array_equal(deblur(net, batch)[1], deblur(net, np.ascontiguousarray(image[:, ::-1])))
    np.testing.assert_allclose(deblur(net.double(), image), deblur(net.float(), image), atol=1e-6)


def test_linear_light(rng):
    image = photo(rng, 9, 11)
    np.testing.assert_allclose(deblur(Identity(), image, linear=True), image, atol=1e-6)

    class Darker(Identity):
        def forward(self, image):
            return 0.5 * image

    expected = srgb_to_linear(0.5 * linear_to_srgb(image))
    np.testing.assert_allclose(deblur(Darker(), image, linear=True), expected, atol=1e-6)


def test_several_views(rng):
    net = Local(views=True)
    views = [photo(rng, 40, 21) for _ in range(3)]
    whole = deblur(net, views)
    np.testing.assert_allclose(deblur(net, views, tile=16), whole, atol=2e-6)
    assert np.abs(whole - deblur(net, [views[0], views[2], views[1]])).max() > 1e-3
    with pytest.raises(ValueError, match=r"local takes 3 images \(combined, left, right\), got 1"):
        deblur(net, views[0])
    with pytest.raises(ValueError, match="expected images of one shape"):
        deblur(net, [views[0], views[1], views[2][:, :-1]])


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), {}, TypeError, "divide 8-bit values by 255"),
        (np.zeros((8, 8, 3)), {}, ValueError, r"got \(8, 8, 3\); is it channels-last"),
        (np.zeros((8, 8)), {}, ValueError, r"expected shape \(3, H, W\)"),
        (np.zeros((3, 0, 8)), {}, ValueError, r"expected shape \(3, H, W\)"),
        ("photo.png", {}, TypeError, "got the text 'photo.png'; synth.io.read_image reads files"),
        (np.full((3, 8, 8), np.nan), {}, ValueError, "an image with NaN or infinity"),
        (None, {}, TypeError, "got NoneType"),
        (np.zeros((3, 8, 8)), {"tile": 0}, ValueError, "tile to be an integer >= 1 px, got 0"),
        (np.zeros((3, 8, 8)), {"overlap": -1}, ValueError, "overlap to be an integer >= 0 px, got -1"),
        (np.zeros((3, 1, 8)), {}, ValueError, "at least 2 x 2 px"),
    ],
)
def test_bad_input(net, image, options, error, message):
    with pytest.raises(error, match=message):
        deblur(net, image, **options)
    assert net.training


def test_no_network(rng):
    with pytest.raises(TypeError, match="expected a network, got str; nets.load reads one"):
        deblur("gkmnet", photo(rng, 8, 8))


# ---- the command --------------------------------------------------------------------------------------------------


def run(*arguments):
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command("deblur")(run_safely("deblur")(command))
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        get_command(app)([str(a) for a in arguments], prog_name="deblur")
    return end.value.code or 0, said.getvalue()


@pytest.fixture
def folder(tmp_path, rng, net):
    for name in ("y", "left", "right"):
        write_image(tmp_path / f"{name}.png", photo(rng, 21, 34), bits=16, linear=False)
    write_image(tmp_path / "small.png", photo(rng, 20, 34), linear=False)
    save(Identity(), tmp_path / "identity.safetensors")
    save(Global(), tmp_path / "global.safetensors")
    save(Local(views=True), tmp_path / "views.safetensors")
    save(Blur(), tmp_path / "blur.safetensors")
    return tmp_path


def test_command(folder):
    code, said = run(folder / "y.png", "--net", folder / "identity.safetensors", "--bits", 16)
    assert code == 0, said
    assert "identity: 21 x 34 px in" in said
    np.testing.assert_array_equal(
        read_image(folder / "y_deblurred.png", linear=False), read_image(folder / "y.png", linear=False)
    )


@pytest.mark.parametrize("linear", [[], ["--linear"]])
def test_command_writes_numbers_in_linear_light(folder, linear):
    code, said = run(folder / "y.png", "--net", folder / "identity.safetensors", "--out", folder / "x.npy", *linear)
    assert code == 0, said
    np.testing.assert_allclose(np.load(folder / "x.npy"), read_image(folder / "y.png"), atol=1e-6)


def test_command_says_what_tiles_change_and_what_is_clipped(folder):
    options = ("--net", folder / "global.safetensors", "--tile", 16, "--overlap", 8, "--out", folder / "x.png")
    code, said = run(folder / "y.png", *options)
    assert code == 0, said
    assert said.count("note: ") == 1 and "tiles give another result" in said
    assert "% of the values clipped" in said


def test_command_with_views(folder):
    options = ("--net", folder / "views.safetensors", "--left", folder / "left.png", "--right", folder / "right.png")
    code, said = run(folder / "y.png", *options, "-o", folder / "x.npy")
    assert code == 0, said
    images = [read_image(folder / f"{name}.png", linear=False) for name in ("y", "left", "right")]
    expected = srgb_to_linear(deblur(load(folder / "views.safetensors"), images))
    np.testing.assert_allclose(np.load(folder / "x.npy"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.png", "--net", "identity.safetensors"], "there is no file"),
        (["y.png", "--net", "identity.safetensors", "--out", "x.jpg"], "--out: expected a name ending in .png or .npy"),
        (["y.png", "--net", "identity.safetensors", "--out", "y.png"], "exists already; --force replaces it"),
        (["y.png", "--net", "identity.safetensors", "--bits", "12"], "--bits: expected 8 or 16"),
        (["y.png", "--net", "identity.safetensors", "--tile", "0"], "tile to be an integer >= 1 px"),
        (["y.png", "--net", "identity.safetensors", "--left", "left.png"], "--left: identity takes no left view"),
        (["y.png", "--net", "identity.safetensors", "--device", "gpu"], "--device: cannot use 'gpu'"),
        (["y.png", "--net", "views.safetensors", "--left", "left.png"], "--right: local takes combined, left, right"),
        (["y.png", "--net", "views.safetensors", "--left", "left.png", "--right", "small.png"], "views of one size"),
        (["y.png", "--net", "blur.safetensors"], "blur does not deblur a photo, it takes image, radius_map"),
        (["y.png", "--net", "no-such-net"], "neither a file no-such-net nor weights of that name in the package"),
        (["y.png", "--net", "y.png"], "deblur: y.png is no safetensors file, or it is damaged"),
    ],
)
def test_command_answers_bad_input_with_one_sentence(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    before = sorted(file.name for file in folder.iterdir())
    code, said = run(*arguments)
    assert code == 2
    assert message in said and len(said.strip().splitlines()) == 1
    assert sorted(file.name for file in folder.iterdir()) == before


def test_command_has_help_with_an_example():
    code, said = run("--help")
    assert code == 0
    assert "Example: blurphys deblur photo.png --net gkmnet-synthetic" in " ".join(said.split())
