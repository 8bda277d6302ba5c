"""Adversarial losses and the gradient penalty against closed forms and finite differences."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from nets import losses


def image(*shape, seed=0):
    return torch.rand(*shape, generator=torch.manual_seed(seed), dtype=torch.float64)


def test_discriminator_loss_weighs_scores_by_defocus():
    radii = torch.tensor([[0.0, -3.0, 1.0, 5.0], [2.0, 0.0, 7.0, -1.0]])[None, None].expand(1, 3, 2, 4).clone()
    radii[0, 2, 0, 0] = -9.0
    weight = losses.defocus_weight(radii, (1, 2))
    assert weight.tolist() == [[[[9.0, 1.0]]]]
    assert torch.equal(losses.defocus_weight(radii[:, 0], (1, 2)), torch.tensor([[[[0.0, 1.0]]]]))
    real, fake = torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[[[0.5, 4.0]]]])
    e = (-0.5, 6.0)
    assert float(losses.discriminator_loss(real, fake)) == pytest.approx(sum(e) / 2)
    assert float(losses.discriminator_loss(real, fake, weight)) == pytest.approx(
        sum(e) / 2 + 0.1 * (9 * e[0] + e[1]) / 2
    )
    assert float(losses.adversarial_loss(fake)) == pytest.approx(-2.25)
    assert float(losses.adversarial_loss(fake, weight)) == pytest.approx(-(4.5 + 4.0) / 2)


def test_penalty_of_a_linear_discriminator():
    w = image(3, 4, 5, seed=4)
    real, fake = image(2, 3, 4, 5), image(2, 3, 4, 5, seed=1)

    def discriminator(x):
        return (w * x).sum(dim=(1, 2, 3))

    pixel = 10 * ((w.square().sum(dim=0).sqrt() - 1) ** 2).mean()
    sample = 10 * (w.square().sum().sqrt() - 1) ** 2
    torch.testing.assert_close(losses.gradient_penalty(discriminator, real, fake), pixel)
    torch.testing.assert_close(losses.gradient_penalty(discriminator, real, fake, norm="sample"), sample)
    with pytest.raises(ValueError, match="norm to be one of 'pixel', 'sample'"):
        losses.gradient_penalty(discriminator, real, fake, norm="image")


def test_penalty_lies_between_the_images():
    real, fake = image(2, 3, 4, 5), image(2, 3, 4, 5, seed=1)
    seen = []

    def discriminator(x):
        seen.append(x.detach())
        return x.square().sum(dim=(1, 2, 3))

    losses.gradient_penalty(discriminator, real, fake, share=torch.tensor(0.25, dtype=torch.float64))
    torch.testing.assert_close(seen[-1], 0.25 * real + 0.75 * fake)
    for norm, equal in (("pixel", True), ("sample", False)):
        draws = [
            losses.gradient_penalty(discriminator, real, fake, norm=norm, generator=torch.manual_seed(5)) for _ in "ab"
        ]
        assert draws[0] == draws[1]
        shares = ((seen[-1] - fake) / (real - fake)).flatten(1)
        torch.testing.assert_close(shares, shares[:, :1].expand_as(shares))
        assert bool(((shares >= 0) & (shares <= 1)).all())
        assert (abs(float(shares[0, 0] - shares[1, 0])) < 1e-9) is equal


@pytest.mark.parametrize("norm", ["pixel", "sample"])
def test_penalty_is_differentiable_in_the_discriminator(norm):
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3).double(), nn.Conv2d(4, 1, 3).double()
    real, fake = image(2, 3, 6, 7), image(2, 3, 6, 7, seed=1)
    share = torch.full((2, 1, 1, 1), 0.3, dtype=torch.float64)

    def penalty(a, b):
        def discriminator(x):
            return nn.functional.conv2d(torch.tanh(nn.functional.conv2d(x, a)), b)

        return losses.gradient_penalty(discriminator, real, fake, norm=norm, share=share)

    assert gradcheck(penalty, (first.weight, second.weight), fast_mode=True)
