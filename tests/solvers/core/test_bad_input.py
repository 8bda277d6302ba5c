"""Bad arguments: one clear sentence, before anything is computed."""

import re

import numpy as np
import pytest
import torch

import solvers
from tests import problems

SQUARE = problems.varying()
TALL = problems.rectangular()


def run(name, A=None, y=None, **more):
    A, y = SQUARE.A if A is None else A, SQUARE.y if y is None else y
    prior = {"prox": solvers.tv}
    needed = {"neumann": {"terms": 2}, "hqs": prior | {"rho": 0.1}, "admm": prior | {"rho": 0.1}, "fista": prior}.get(
        name, {}
    )
    return getattr(solvers, name)(A, y, **{**needed, **more})


SQUARE_ONLY = ("fixed_point", "cg", "gmres", "bicgstab")
STOPPING = (*SQUARE_ONLY, "cgls", "lsqr", "landweber", "hqs", "admm", "fista", "richardson_lucy")
ALL = ("neumann", *STOPPING)


@pytest.mark.parametrize("name", ("neumann", *SQUARE_ONLY))
def test_an_operator_that_is_not_square(name):
    with pytest.raises(ValueError, match=f"{name} needs a square operator, but A maps .1, 4, 5. to .2, 4, 5."):
        run(name, TALL.A, TALL.y)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (SQUARE.y[..., :-1], ValueError, "trailing shape"),
        (np.moveaxis(SQUARE.y, 0, -1), ValueError, "channels-last"),
        (np.where(SQUARE.y == SQUARE.y[0, 0, 0], np.nan, SQUARE.y), ValueError, "NaN"),
        (np.where(SQUARE.y == SQUARE.y[0, 0, 0], np.inf, SQUARE.y), ValueError, "infinite"),
        ((255 * SQUARE.y).astype(np.uint8), TypeError, "floating"),
        (SQUARE.y.tolist(), TypeError, "array"),
        (SQUARE.y[0], ValueError, "shape"),
        (SQUARE.y[:, :0], ValueError, "shape"),
        ((1e-20 * SQUARE.y).astype(np.float32), ValueError, "scale it to about 1"),
        (1e200 * SQUARE.y, ValueError, "scale it to about 1"),
    ],
)
def test_a_bad_y(name, y, error, words):
    with pytest.raises(error, match=words):
        run(name, y=y)


@pytest.mark.parametrize("name", ALL)
def test_a_grey_image_lacks_an_axis(name):
    with pytest.raises(ValueError, match=r"got \(5, 6\); a grey image needs its channel axis, y\[None\]"):
        run(name, y=SQUARE.y[0])


@pytest.mark.parametrize("name", STOPPING)
@pytest.mark.parametrize(
    ("x0", "error", "words"),
    [
        (SQUARE.y[..., :-1], ValueError, "x0"),
        (np.stack([SQUARE.y, SQUARE.y]), ValueError, "x0"),
        (SQUARE.y * np.nan, ValueError, "x0 has NaN"),
        (SQUARE.y.astype(np.float32), TypeError, "x0"),
        (torch.tensor(SQUARE.y), TypeError, "x0"),
    ],
)
def test_a_bad_start(name, x0, error, words):
    with pytest.raises(error, match=words):
        run(name, x0=x0)


NUMBERS = [
    *((name, "tol", value) for name in STOPPING for value in (0.0, -1e-3, np.nan, np.inf, "small", None)),
    *((name, "max_iterations", value) for name in STOPPING for value in (-1, 2.5, True)),
    *((name, "on_step", 3) for name in ALL),
    *(("fixed_point", "damping", value) for value in (0.0, -1.0, np.nan)),
    *(("fixed_point", "divergence_factor", value) for value in (1.0, 0.5, np.inf)),
    *(("neumann", "terms", value) for value in (-1, 1.5, None)),
    ("cg", "preconditioner", "jacobi"),
    *(("hqs", "prox", value) for value in (None, "tv")),
    *(("hqs", "rho", value) for value in (0.0, -1.0, np.nan, [], [0.1, 0.0], [0.1, -1], None)),
    *(("hqs", "strength", value) for value in (-1e-3, np.nan)),
    *(("hqs", "inner_tol", value) for value in (0.0, -1.0)),
    *(("hqs", "inner_iterations", value) for value in (0, 1.5)),
]


@pytest.mark.parametrize(("name", "argument", "value"), NUMBERS)
def test_an_argument_out_of_range(name, argument, value):
    with pytest.raises(ValueError, match=f"{name}: {argument} must be .*got"):
        run(name, **{argument: value})


@pytest.mark.parametrize("name", ALL)
def test_an_operator_that_cannot_be_called(name):
    with pytest.raises(ValueError, match="A must be a linear operator or a callable"):
        run(name, np.eye(3))


@pytest.mark.parametrize("name", ("cgls", "hqs"))
def test_an_operator_without_an_adjoint(name):
    with pytest.raises(ValueError, match=f"{name} needs an operator with an adjoint"):
        run(name, lambda x: x)


@pytest.mark.parametrize("name", ("fixed_point", "neumann", "cg"))
def test_an_operator_that_changes_shape_or_dtype(name):
    with pytest.raises(ValueError, match=r"A\(x\) has shape"):
        run(name, lambda x: x[..., :1])
    with pytest.raises(TypeError, match=r"A\(x\) has dtype float32"):
        run(name, lambda x: x.astype(np.float32))


def test_a_prox_that_changes_shape_or_dtype():
    with pytest.raises(ValueError, match=r"prox\(x, strength\) has shape"):
        run("hqs", prox=lambda x, s: x[..., :1])
    with pytest.raises(TypeError, match=r"prox\(x, strength\) has dtype float32"):
        run("hqs", prox=lambda x, s: x.astype(np.float32))


class InPlace:
    """Halves an image in its own memory."""

    def __init__(self, which):
        self.which = which

    def apply(self, x, which):
        if which != self.which:
            return 0.5 * x
        x *= 0.5
        return x

    def __call__(self, x):
        return self.apply(x, "A(x)")

    def adjoint(self, y):
        return self.apply(y, "A.adjoint(y)")


WITH_ADJOINT = ("cgls", "lsqr", "landweber", "hqs", "admm", "fista", "richardson_lucy")


@pytest.mark.parametrize(
    ("name", "which"), [*((name, "A(x)") for name in ALL), *((name, "A.adjoint(y)") for name in WITH_ADJOINT)]
)
def test_an_operator_that_writes_into_its_argument(name, which):
    """It would write into y, and every residual be zero."""
    y = SQUARE.y.copy()
    with pytest.raises(ValueError, match=f"{name}: {re.escape(which)} changes its argument; it must return a new arr"):
        run(name, InPlace(which), y)
    assert np.array_equal(y, SQUARE.y)


@pytest.mark.parametrize("name", ("landweber", "fista"))
@pytest.mark.parametrize("value", (np.inf, np.nan, 0.0))
def test_an_operator_without_a_norm(name, value):
    class Broken:
        def __call__(self, x):
            return np.full_like(x, value)

        adjoint = __call__

    with pytest.raises(ValueError, match=f"{name}: the norm of A must be positive and finite"):
        run(name, Broken())
