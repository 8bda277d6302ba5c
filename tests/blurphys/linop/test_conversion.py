"""`A.dtype`, `A.device` and `A.to`: the same operator in another precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch

import blurphys as bp
from tests.cases import CASES, DAILY
from tests.strategies import Setup, to_numpy

EACH = (
    ("numpy", "float32"),
    ("torch", torch.float32),
    ("array_api_strict", array_api_strict.float32),
)


@pytest.mark.parametrize(("namespace", "dtype"), EACH)
@pytest.mark.parametrize("name", DAILY)
def test_every_operator_changes_its_precision(name, namespace, dtype):
    s = Setup(namespace=namespace, height=6, width=7, batch=(2,), seed=5)
    built = CASES[name](s)
    A = built.A
    single = A.to(dtype)
    assert type(single) is type(A)
    assert (single.in_shape, single.out_shape, single.halo) == (A.in_shape, A.out_shape, A.halo)
    low = s.replace(dtype="float32")
    x, u = s.image(A.in_shape, built.lead), s.image(A.out_shape, built.lead, salt=2)
    for one, other, image in ((single.forward, A.forward, x), (single.adjoint, A.adjoint, u)):
        y = one(low.array(image))
        wanted = to_numpy(other(s.array(image)))
        assert str(y.dtype).endswith("float32")
        assert np.abs(to_numpy(y) - wanted).max() <= 2e-5 * max(1.0, np.abs(wanted).max())
    if A.like is None:
        assert single is A
        assert A.dtype is A.device is None
    else:
        assert (A.dtype, single.dtype) == (A.like.dtype, low.array(x).dtype)
        assert A.device == single.device
        assert single.to(dtype) is single
        assert A.to("float64") is A
        assert A.to(dtype="float32", device=A.device).dtype == single.dtype


def test_a_device_an_array_or_both():
    A = bp.GKM(torch.full((2, 6, 8), 0.5), sigmas=(0.0, 1.0))
    for there in (
        A.to("meta"),
        A.to(torch.device("meta")),
        A.to(device="meta"),
    ):
        assert there.device.type == "meta"
        assert there.dtype == torch.float32
    double = torch.zeros(1, dtype=torch.float64)
    for wide in (A.to(double), A.to(torch.float64, "cpu"), A.to("cpu", float), A.to(device="cpu", dtype=np.float64)):
        assert wide.dtype == torch.float64
        assert wide.device.type == "cpu"
    assert A.to() is A.to("cpu") is A


def test_what_is_shared_stays_shared():
    A = bp.GKM(np.full((2, 6, 8), 0.5), sigmas=(0.0, 1.0))
    normal = (A.H @ A).to("float32")
    assert normal.left.operator is normal.right
    bank = bp.PSFBank(psfs=torch.full((3, 3, 3), 1 / 9, dtype=torch.float64), radii=(-1.0, 0.0, 1.0))
    field = bp.FieldDefocus(torch.zeros(6, 8, dtype=torch.float64), banks=[[bank, bank]]).to(torch.float32)
    assert field.banks[0][0] is field.banks[0][1]
    assert field.banks[0][0].psfs().dtype == torch.float32
    design = bp.PSFBank(bp.Pupil.disk(), max_radius=1.0)
    assert bp.DefocusBlur(np.zeros((6, 8)), bank=design).to("float32").bank is design


def test_a_part_of_a_field_stays_in_its_place():
    banks = [[bp.PSFBank(bp.Pupil.disk(cat_eye=(q, 0.0)), max_radius=2.0) for q in (-0.9, 0.9)]]
    part = bp.FieldDefocus(np.full((20, 24), 1.5), banks=banks).crop(slice(4, 16), slice(10, 24))
    x = np.random.default_rng(0).random(part.in_shape)
    assert np.abs(part.to("float32")(x.astype("f4")) - part(x)).max() < 1e-6


def test_gradients_pass_through_a_conversion():
    beta = torch.full((1, 6, 8), 0.5, requires_grad=True)
    A = bp.GKM(beta, sigmas=(1.0,)).to(torch.float64)
    A(torch.ones(3, 6, 8, dtype=torch.float64)).sum().backward()
    assert beta.grad is not None
    assert beta.grad.abs().min() > 0.9 * 3


class Plain(bp.LinearOperator):
    in_shape = out_shape = (1, 4, 5)
    like = np.zeros(1)

    def _forward(self, x):
        return x

    _adjoint = _forward


@dataclass(frozen=True, eq=False, repr=False)
class Gain(bp.LinearOperator):
    gain: Any
    in_shape = out_shape = (1, 4, 5)
    like = property(lambda self: self.gain)

    def _forward(self, x):
        return self.gain * x

    _adjoint = _forward


def test_own_operators():
    assert (2 * Gain(np.ones((4, 5)))).to("float32").dtype == np.float32
    assert Plain().to("float64").dtype == np.float64
    with pytest.raises(TypeError, match=r"Plain has no named fields.*dataclass"):
        (Plain() @ Gain(np.ones((4, 5)))).to("float32")


class Holder(Plain):
    """Holds its numbers where only it knows."""

    like = None

    def __init__(self, held):
        self.held = held


def test_own_operators_that_hold_something_are_not_left_as_they_are():
    """The result would not be what was asked for."""
    blur = bp.Convolution(bp.psf.gaussian(1.0, 3), shape=(1, 4, 5))
    for held in (blur, np.ones(3), [np.ones(3)], {"blur": (blur,)}, 2 * blur):
        assert Holder(held).to("float64").held is held
        for A in (Holder(held), 2 * Holder(held)):
            with pytest.raises(TypeError, match=r"Holder has no named fields.*dataclass"):
                A.to("float32")
    assert Holder(3.0).to("float32").held == 3.0


@dataclass(frozen=True, eq=False, repr=False)
class Listed(Plain):
    parts: list
    named: dict
    like = property(lambda self: self.parts[0])


def test_lists_and_mappings_are_converted():
    A = Listed([np.ones(3)], {"blur": bp.Convolution(bp.psf.gaussian(1.0, 3), shape=(1, 4, 5))})
    B = A.to("float32")
    assert B.parts[0].dtype == B.named["blur"].dtype == np.float32 and A.parts[0].dtype == np.float64
    assert A.to("float64") is A


@pytest.mark.parametrize(
    ("given", "options", "error", "words"),
    [
        (("float16",), {}, TypeError, "got float16"),
        ((torch.bfloat16,), {}, TypeError, "got bfloat16"),
        ((int,), {}, TypeError, "got int64"),
        (("complex128",), {}, TypeError, "got complex128"),
        (("float32",), {"dtype": "float64"}, TypeError, "one dtype, got 'float64' and 'float32'"),
        (("cpu", "cpu"), {}, TypeError, "one device"),
        (("cuda",), {}, ValueError, "a device of numpy, the namespace of the operator, got 'cuda'"),
        ((), {"dtype": "cuda"}, TypeError, "expected float32 or float64, the dtypes of operators, got cuda"),
    ],
)
def test_what_is_no_precision_and_no_device(given, options, error, words):
    A = bp.GKM(np.full((2, 6, 8), 0.5), sigmas=(0.0, 1.0))
    with pytest.raises(error, match=r"GKM\.to: ") as caught:
        A.to(*given, **options)
    assert words in str(caught.value)
