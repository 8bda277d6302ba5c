"""Networks by their names."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from nets.net import Net
from nets.registry import NETS, create, nearest, net_class


@pytest.mark.parametrize("name", NETS)
def test_every_entry_is_a_net_of_that_name(name):
    assert issubclass(net_class(name), Net)
    assert net_class(name).name == name


@pytest.mark.parametrize("name", NETS)
def test_every_configuration_goes_through_json(name):
    with torch.device("meta"):
        config = create(name).config
        assert create(name, **json.loads(json.dumps(config, allow_nan=False))).config == config


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gkmnet", {"width": np.int64(8), "iterations": np.int32(1)}),
        ("nrknet", {"width": np.int64(8), "atoms": np.int64(3), "powers": np.arange(1, 4)}),
        ("kpac", {"blocks": np.int64(1)}),
        ("hqsnet", {"scales": np.int64(2), "rho": np.float32(0.5)}),
        ("blurmap", {"widths": np.arange(1, 5), "depths": np.arange(4), "step": np.float32(0.25)}),
        ("defocusgan_generator", {"channels": np.int64(4), "branches": np.arange(4)}),
        ("defocusgan_map", {"channels": np.int64(4), "max_radius": np.float32(24)}),
        ("defocusgan_blur", {"max_radius": np.int64(3)}),
        ("defocusgan_discriminator", {"channels": np.int64(4), "layers": np.int64(2)}),
    ],
)
def test_numbers_of_numpy_go_through_json(name, options):
    with torch.device("meta"):
        config = create(name, **options).config
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert all(np.array_equal(config[key], value) for key, value in options.items())


def test_create_passes_the_configuration_on():
    net = create("kpac", levels=3, channels=8)
    assert net.config["levels"] == 3
    assert type(net)(**net.config).config == net.config


def test_unknown_names_are_answered_with_the_nearest_and_the_list():
    with pytest.raises(
        ValueError, match=r"no network is called 'gkm-net'; did you mean 'gkmnet'\? There are gkmnet, nr"
    ):
        create("gkm-net")
    with pytest.raises(ValueError, match=r"no network is called 'zzz'; there are gkmnet, nrknet, kpac"):
        create("zzz")
    with pytest.raises(ValueError, match="no network is called 3"):
        create(3)


def test_unknown_arguments_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"kpac has no argument 'block'; did you mean 'blocks'\? There are levels, "):
        create("kpac", block=1)


def test_an_entry_that_is_no_net(monkeypatch):
    monkeypatch.setitem(NETS, "odd", "collections:OrderedDict")
    with pytest.raises(TypeError, match=r"NETS\['odd'\]: expected a subclass of Net"):
        create("odd")
    monkeypatch.setitem(NETS, "odd", NETS["kpac"])
    with pytest.raises(TypeError, match="whose name is 'odd'"):
        create("odd")


def test_nothing_known():
    assert nearest("a", []) == "there are none"


def test_networks_are_imported_when_asked_for():
    code = "import sys, nets.registry; print([m for m in sys.modules if m.startswith('nets.models')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["gkmnet", "hqsnet", "kpac", "defocusgan_generator", "defocusgan_map"])
def test_another_precision_and_an_empty_batch_are_refused_in_a_sentence(name):
    small = {"gkmnet": {"width": 2, "scales": 1}, "hqsnet": {"scales": 1, "denoiser": None}, "kpac": {"channels": 4}}
    net = create(name, **small.get(name, {})).eval()
    images = [torch.rand(1, 3, 32, 32)] * len(net.inputs)
    with pytest.raises(TypeError, match=r"network's torch.float32, got torch.float64"):
        net(*(image.double() for image in images))
    with pytest.raises(ValueError, match="at least one image"):
        net(*(image[:0] for image in images))
