"""The methods of an operator that are built on its class are all there, with their documentation."""

import pydoc

import blurphys as bp
from blurphys.linop.extensions import Extensions, extensions


def test_every_extension_is_registered():
    assert set(vars(extensions)) == set(Extensions.__annotations__)
    assert all(callable(function) for function in vars(extensions).values())


def test_help_shows_every_method():
    text = pydoc.render_doc(bp.LinearOperator, renderer=pydoc.plaintext)
    for name in (
        "forward",
        "adjoint",
        "crop",
        "replace",
        "to",
        "as_scipy",
        "as_pylops",
        "as_deepinv",
        "psf_at",
        "validate",
    ):
        assert f" {name}(self" in text and getattr(bp.LinearOperator, name).__doc__
    for name in ("H", "T", "in_shape", "out_shape", "halo", "batch_shape", "like", "dtype", "device"):
        assert getattr(bp.LinearOperator, name).__doc__
    for name in ("__matmul__", "__add__", "__sub__", "__mul__", "__truediv__"):
        assert getattr(bp.LinearOperator, name).__doc__
