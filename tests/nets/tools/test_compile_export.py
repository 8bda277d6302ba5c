"""Every network in one graph for `torch.compile`, and as a program of torch alone."""

import subprocess
import sys
import warnings

import pytest
import torch

from blurphys.boundary import BOUNDARIES
from blurphys.engines import reference
from blurphys.engines.primitives import FUSED, conforms
from nets.registry import NETS, create
from nets.tools.decompositions import PLAIN, decompositions
from nets.tools.exporting import export, foreign
from nets.tools.precision_report import difference, report
from tests.profiles import NIGHTLY

SMALL = {
    "gkmnet": {"scales": 1, "width": 2},
    "nrknet": {"scales": 2, "powers": (1, 1), "atoms": 1, "width": 2},
    "kpac": {"channels": 4, "blocks": 1},
    "hqsnet": {"scales": 1, "iterations": 1, "denoiser": None},
    "defocusgan_generator": {"channels": 2, "branches": (0,)},
    "defocusgan_map": {"channels": 2, "branches": (1,)},
    "defocusgan_blur": {"max_radius": 1, "constraint": "projected"},
    "defocusgan_discriminator": {"channels": 2, "layers": 1},
    "blurmap": {"widths": (2, 2, 2, 2)},
}


class Maps(torch.nn.Module):
    """In place of the coefficient network of HQSNet, which is that of GKMNet and takes as long to record."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 44, 1)

    def forward(self, image, state=None):
        return torch.tanh(self.conv(image)), state


def made(name):
    """A small network with its input; 14 is no multiple of what most networks work on inside."""
    torch.manual_seed(3)
    net = create(name, **SMALL[name]).eval()
    if name == "hqsnet":
        net.coefficient_net = Maps()
    height = 18 if name == "blurmap" else 14  # it takes 16 px at least
    return net, tuple(torch.rand(1, 3, height, 24) for _ in net.inputs)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what torch says about its own future
        yield
    torch._dynamo.reset()


def close(found, expected):
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_every_network_has_a_small_form():
    ours = {name for name, home in NETS.items() if home.startswith("nets.")}  # other tests register their own
    assert set(SMALL) == ours


# Each takes seconds: every change tries the networks that unroll operators, the night all of them.
chosen = pytest.mark.parametrize(
    "name", [name for name in SMALL if name in ("gkmnet", "nrknet", "kpac") or (NIGHTLY and name != "defocusgan_blur")]
)


@chosen
def test_compiles_as_one_graph(name):
    net, images = made(name)
    close(torch.compile(net, fullgraph=True, backend="eager")(*images), net(*images))


@torch.enable_grad()
def test_compiles_as_one_graph_with_its_gradients():
    net, (image, radii) = made("defocusgan_blur")
    images = image, 2 * radii - 1  # of both signs, so that every kernel is in use
    gradients = []
    for forward in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        out = forward(*images)
        gradients.append((out, *torch.autograd.grad(out.square().sum(), tuple(net.parameters()))))
    for found, expected in zip(*gradients, strict=True):
        assert expected.abs().max() > 0
        close(found, expected)


@chosen
def test_exports_as_operators_of_torch_alone(name):
    net, images = made(name)
    program = export(net, images)
    assert foreign(program) == ()
    close(program.module()(*images), net(*images))


def test_the_operators_of_blurphys_may_stay():
    net, images = made("defocusgan_blur")
    program = export(net, images, plain=False)
    assert foreign(program) == ("blurphys.psf_interpolate.default",)
    assert torch.equal(program.module()(*images), net(*images))


def test_a_program_runs_without_blurphys(tmp_path):
    net, images = made("defocusgan_blur")
    program = export(net, size=(14, 24))
    assert foreign(program) == ()
    torch.export.save(program, tmp_path / "program.pt2")
    torch.save((images, net(*images)), tmp_path / "images.pt")
    code = (
        "import sys, torch; images, expected = torch.load('images.pt'); "
        "found = torch.export.load('program.pt2').module()(*images); "
        "assert torch.allclose(found, expected, rtol=0, atol=1e-5); "
        "assert not {'blurphys', 'nets', 'solvers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_program_keeps_the_weights_it_was_made_with():
    net, images = made("defocusgan_discriminator")
    before = net(*images)
    program = export(net.train(), images[0])
    assert net.training
    net.convs[0].weight.zero_()
    close(program.module()(*images), before)


def test_what_it_is_given():
    net, images = made("kpac")
    for arguments, given in (({}, "neither"), ({"images": images, "size": (14, 24)}, "both")):
        with pytest.raises(ValueError, match=rf"expected images or a size \(H, W\), one of the two, got {given}"):
            export(net, **arguments)
    with pytest.raises(ValueError, match=r"expected size as two whole numbers \(H, W\), got 24"):
        export(net, size=24)
    with pytest.raises(ValueError, match=r"KPACNet: expected shape \(B, 3, H, W\)"):
        export(net, images[0][0])


def test_an_operator_of_somebody_else_is_named():
    @torch.library.custom_op("somebody::halved", mutates_args=())
    def halved(x: torch.Tensor) -> torch.Tensor:
        return x / 2

    halved.register_fake(torch.empty_like)

    class Odd(torch.nn.Module):
        def forward(self, x):
            return halved(x)

    with pytest.raises(RuntimeError, match=r"operators of torch alone, got somebody\.halved\.default; plain=False"):
        export(Odd(), torch.rand(1, 3, 4, 4))


def test_bf16_changes_the_layers_and_not_the_blur():
    by_name = {
        row.name: row for row in report(size=(32, 48), configs={k: SMALL[k] for k in ("kpac", "defocusgan_blur")})
    }
    assert by_name["defocusgan_blur"].largest == 0
    assert 0 < by_name["kpac"].rms < by_name["kpac"].largest < 0.05
    with pytest.raises(ValueError, match="1 to 440 px, which the photo has, got 441 x 20"):
        report(size=(441, 20), configs={"kpac": SMALL["kpac"]})
    constant = made("kpac")[0]
    constant.decoder[-1].conv.weight.zero_()
    with pytest.raises(ValueError, match="expected an output that varies, got 0.25 everywhere"):
        difference(constant, torch.full((1, 3, 16, 16), 0.25))


# ---- what the operators are made of --------------------------------------------------------------------------------

B, C, H, W, K, EXTRA = 2, 3, 7, 9, 3, 2


def number(*shape):
    return torch.rand(shape, dtype=torch.float64)


def calls(boundary):
    """Arguments of every primitive after the image, with the channels of its input and of its output."""
    maps, psfs = number(B, K, H, W), number(2, K, C, 4, 5)
    for mix, out in ((None, C), (number(2, C, K), 2)):
        # Taps beyond a half-width do not count.
        yield "gaussian_mixture", (maps, number(1, K, 4), [2, 0, 3], boundary, mix), C, out
        for stagewise in (False, True):
            yield "recursive_mixture", (maps, number(K - 1, C, 3), boundary, stagewise, mix), C, out
    yield "psf_gather", (psfs, maps, boundary), C, 2 * C
    yield "psf_gather", (psfs[:, :1, :1], None, boundary), C, 2 * C
    yield "psf_scatter", (psfs[:1], maps, boundary), C, C
    index = torch.randint(0, K - 1, (B, H, W))
    yield "psf_interpolate", (psfs, index, number(B, H, W), boundary), C, 2 * C


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_decompositions_are_the_reference(boundary):
    torch.manual_seed(4)
    seen = set()
    for primitive, arguments, into, out in calls(boundary):
        for name, channels in ((primitive, into), (f"{primitive}_adjoint", out)):
            image = number(EXTRA, B, channels, H, W)
            found = decompositions()[getattr(torch.ops.blurphys, name).default](image, *arguments)
            torch.testing.assert_close(found, getattr(reference, name)(image, *arguments), rtol=1e-12, atol=1e-12)
            seen.add(name)
    assert seen == set(PLAIN) == {name for primitive in FUSED.values() for name in (primitive.name, primitive.adjoint)}
    assert all(conforms(plain, name) for name, plain in PLAIN.items())
