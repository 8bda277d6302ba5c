"""A network that was first used for inference can be trained afterwards, as if nothing had been."""

import copy

import pytest
import torch

from tests.nets.tools.test_compile_export import SMALL, made


def gradients(net, images):
    images = [image.requires_grad_() for image in images]
    outputs = net(*images)
    outputs = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    wanted = [*images, *(p for p in net.parameters() if p.requires_grad)]
    return torch.autograd.grad(outputs.square().sum(), wanted, allow_unused=True)


@pytest.mark.parametrize("name", SMALL)
def test_training_after_inference(name):
    net, images = made(name)
    fresh = copy.deepcopy(net)
    with torch.inference_mode():
        net(*images)
    found, wanted = gradients(net, images), gradients(fresh, images)
    assert any(g is not None and g.abs().max() > 0 for g in wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    copy.deepcopy(net)
