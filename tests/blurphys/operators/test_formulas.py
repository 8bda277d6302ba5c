"""Operators in formulas: what works, and the sentence that names the right spelling of what does not."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from fractions import Fraction

import array_api_strict
import numpy as np
import pytest
import torch

import blurphys as bp
from tests.strategies import simplex

SHAPE = (3, 7, 9)
X = np.random.default_rng(1).random(SHAPE)
BETA = simplex(np.random.default_rng(0), (2, 7, 9))
A = bp.GKM(BETA, sigmas=(0.0, 1.0))
B = bp.GKM(BETA[::-1].copy(), sigmas=(0.0, 0.6))
TORCH = bp.GKM(torch.as_tensor(BETA), sigmas=(0.0, 1.0))
STRICT = bp.GKM(array_api_strict.asarray(BETA), sigmas=(0.0, 1.0))
TENSOR = torch.as_tensor(X)


def same(formula, wanted):
    np.testing.assert_allclose(np.asarray(formula), np.asarray(wanted), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "factor", (2, 2.0, np.float64(2), np.float32(2), np.int64(2), Fraction(2), True + 1), ids=lambda f: type(f).__name__
)
def test_numbers_of_every_kind_scale_an_operator(factor):
    for scaled in (factor * A, A * factor, A / (1 / factor)):
        same(scaled(X), 2 * A(X))
        same(scaled.adjoint(X), 2 * A.adjoint(X))


def test_sums_differences_signs_and_transposes():
    same((A - B)(X), A(X) - B(X))
    same(sum([A, B, A])(X), 2 * A(X) + B(X))
    same((-A)(X), -A(X))
    same((0 - A)(X), -A(X))
    assert A + 0 is A
    assert A - 0 is A
    assert 0.0 + A is A
    assert +A is A
    same(A.T(X), A.adjoint(X))
    assert A.T.T is A
    same((A / 4)(X), 0.25 * A(X))


def test_a_product_with_an_image_applies_the_operator():
    same(A @ X, A(X))
    same(A.H @ A @ X, A.adjoint(A(X)))
    same(TORCH @ TENSOR, A(X))
    same(STRICT @ array_api_strict.asarray(X), A(X))
    assert (A @ np.stack([X, X])).shape == (2, *SHAPE)


class Preconditioner:
    def __rmatmul__(self, left):
        return "rmatmul"

    def __rmul__(self, left):
        return "rmul"

    def __radd__(self, left):
        return "radd"

    def __rsub__(self, left):
        return "rsub"


def test_classes_of_others_have_their_say():
    P = Preconditioner()
    assert (A @ P, A * P, A + P, A - P) == ("rmatmul", "rmul", "radd", "rsub")


SLIPS = {
    "A * x": (lambda: A * X, "A(x)"),
    "x * A": (lambda: X * A, "A(x)"),
    "x @ A": (lambda: X @ A, "A(x)"),
    "tensor * A": (lambda: TENSOR * TORCH, "A(x)"),
    "tensor @ A": (lambda: TENSOR @ TORCH, "A(x)"),
    "A * strict": (lambda: STRICT * array_api_strict.asarray(X), "A(x)"),
    "x + A": (lambda: X + A, "A(x) + b"),
    "x - A": (lambda: X - A, "A(x) + b"),
    "tensor + A": (lambda: TENSOR + TORCH, "A(x) + b"),
    "A - x": (lambda: A - X, "A(x) + b"),
    "x / A": (lambda: X / A, "solvers"),
    "A / x": (lambda: A / X, "A(x)"),
    "2 / A": (lambda: 2 / A, "solvers"),
    "A / B": (lambda: A / B, "solvers"),
    "A.H * A": (lambda: A.H * A, "A @ B"),
    "A ** 2": (lambda: A**2, "A @ A"),
    "A @ 2": (lambda: A @ 2.0, "2.0 * A"),
    "2 @ A": (lambda: np.float64(2) @ A, "A(x)"),
    "A + 0.1": (lambda: A + 0.1, "0.1 * bp.Identity"),
    "1 - A": (lambda: 1 - A, "1 * bp.Identity"),
    "1j * A": (lambda: 1j * A, "x.imag"),
    "complex64 * A": (lambda: np.complex64(1) * A, "x.imag"),
    "Decimal * A": (lambda: Decimal(2) * A, "float(b)"),
    "0-d tensor * A": (lambda: torch.tensor(2.0) * TORCH, "float(b)"),
    "A * 0-d tensor": (lambda: TORCH * torch.tensor(2.0), "float(b)"),
    "0-d array * A": (lambda: np.array(2.0) * A, "float(b)"),
    "A @ None": (lambda: A @ None, "2.0 * A"),
    "sum with an image": (lambda: sum([A, X]), "A(x) + b"),
    "numpy.dot": (lambda: np.dot(A, X), "A(x)"),
    "x.dot": (lambda: X.dot(A), "A(x)"),
    "numpy.asarray": (lambda: np.asarray(A), "bp.to_dense(A)"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told_the_right_spelling(slip):
    run, spelling = SLIPS[slip]
    with pytest.raises(TypeError) as error:
        run()
    assert spelling in str(error.value)
    assert "\n" not in str(error.value)


def test_factors_that_are_no_numbers_are_refused():
    for factor in (float("nan"), float("inf"), np.float64("nan")):
        with pytest.raises(ValueError, match="finite number"):
            factor * A
    for divisor in (0, 0.0, np.float64(0), 1e-320):
        with pytest.raises(ZeroDivisionError, match="other than zero"):
            A / divisor


@pytest.mark.parametrize(
    ("name", "spelling"),
    {
        "shape": "A.in_shape",
        "matvec": "A(x)",
        "rmatvec": "A.adjoint(y)",
        "A_adjoint": "A.adjoint(y)",
        "A_dagger": "solvers",
        "todense": "bp.to_dense(A)",
        "gram_op": "A.H @ A",
        "cuda": "A.to('cuda')",
        "double": "A.to('float64')",
    }.items(),
)
def test_names_of_other_packages_are_told_ours(name, spelling):
    assert not hasattr(A, name)
    with pytest.raises(AttributeError, match=name) as error:
        getattr(A.H, name)
    assert spelling in str(error.value)


class Own(bp.LinearOperator):
    in_shape = out_shape = SHAPE

    def _forward(self, x):
        return x + self.missing

    _adjoint = _forward

    @property
    def failing(self):
        return self.missing


def test_an_attribute_that_is_missing_inside_of_a_property_is_the_one_named():
    with pytest.raises(AttributeError, match="'missing'"):
        _ = Own().failing


def test_operators_are_still_copied_and_pickled():
    for other in (copy.copy(A), copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
        same(other(X), A(X))


# ---- kinds of arrays

KINDS = {
    "float16": (X.astype("f2"), "got float16; convert it by x.astype('float32')"),
    "long double": (X.astype("longdouble"), "convert it by x.astype('float64')"),
    "complex": (X + 0j, "A(x.real) + 1j * A(x.imag)"),
    "big endian": (X.astype(">f8"), "got float64 in foreign byte order (>f8); convert it by x.astype(x.dtype.newbyteo"),
    "bool": (X > 0.5, "a mask"),
    "8 bits": ((255 * X).astype("u1"), "scaled to [0, 1]? x.astype('float32') / 255"),
    "16 bits": ((65535 * X).astype("u2"), "scaled to [0, 1]? x.astype('float32') / 65535"),
    "int64": ((255 * X).astype("i8"), "integer image that still has to be scaled to [0, 1]?"),
    "objects": (X.astype(object), "Python objects"),
    "text": (X.astype("U4"), "no numbers"),
    "list": (X.tolist(), "numpy.asarray(x)"),
    "None": (None, "got NoneType"),
    "masked": (np.ma.masked_array(X), ".filled(value)"),
    "tensor of float16": (TENSOR.half(), "got torch.float16; convert it by x.float()"),
    "tensor of bfloat16": (TENSOR.bfloat16(), "got torch.bfloat16; convert it by x.float()"),
    "complex tensor": (TENSOR + 0j, "A(x.real) + 1j * A(x.imag)"),
    "bool tensor": (TENSOR > 0.5, "x.float()"),
    "8-bit tensor": ((255 * TENSOR).to(torch.uint8), "x.float() / 255"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_array_has_its_sentence(kind):
    x, hint = KINDS[kind]
    calls = [A.forward, A.H.forward] if not isinstance(x, torch.Tensor) else [TORCH.forward, bp.Identity(SHAPE).forward]
    for call in (*calls, lambda maps: bp.GKM(maps, sigmas=(0.0, 1.0, 1.0))):
        with pytest.raises(TypeError) as error:
            call(x)
        assert hint in str(error.value)
        assert ("integer image" in str(error.value)) == (kind.endswith("bits") or kind in ("int64", "8-bit tensor"))


def test_another_float_names_the_conversion_of_the_operator():
    with pytest.raises(TypeError, match=r"A\.to\('float32'\)"):
        A(X.astype("f4"))
    with pytest.raises(TypeError, match=r"A\.to\('float32'\)"):
        TORCH(TENSOR.float())


def test_grey_images_are_told_their_axis():
    grey = bp.Identity((1, 7, 9))
    with pytest.raises(ValueError, match=r"x\[None\] adds one$"):
        grey(X[0])
    with pytest.raises(ValueError, match=r"x\[None\] adds one.*channels=1"):
        A(X[0])
    with pytest.raises(ValueError, match=r"x\[:, None\]"):
        grey(X)
    with pytest.raises(ValueError, match=r"channels=3\?$"):
        A(X[:2])
    with pytest.raises(ValueError, match="channels-last"):
        A(np.moveaxis(X, 0, -1))
    with pytest.raises(ValueError, match="swapped"):
        A(np.swapaxes(X, -1, -2))
