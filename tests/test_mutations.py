"""Wrong adjoints and wrong forwards must fail: a law that cannot fail proves nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from tests import oracles
from tests.profiles import examples
from tests.strategies import simplex, to_numpy, unit_psfs
from tests.test_conformance import adjoint_bound, adjoint_gap

C, H, W = 2, 5, 7


class Parts:
    """A gather operator with asymmetric PSFs per colour and varying maps, and what a mistaken author might write."""

    def __init__(self, boundary="reflect", size=(3, 5), seed=0):
        rng = np.random.default_rng(seed)
        self.boundary = boundary
        self.psfs = unit_psfs(rng, (3, C, *size))
        self.weights = simplex(rng, (3, H, W))
        self.A = self.stack()

    def stack(self, **changes):
        options = {"psfs": self.psfs, "weights": self.weights, "boundary": self.boundary, "form": "gather"} | changes
        return bp.PSFStack(options.pop("psfs"), channels=C, **options)

    @property
    def twin(self):
        return oracles.psf_stack(self.psfs, self.weights, C, self.boundary)


def shifted_down(p):
    return p.A.forward, lambda u: np.roll(p.A.adjoint(u), 1, axis=-2)


def shifted_right(p):
    return p.A.forward, lambda u: np.roll(p.A.adjoint(u), 1, axis=-1)


def psf_unflipped(p):
    """Weights before the filter as it should be, but the PSF is not mirrored."""
    return p.A.forward, p.stack(form="scatter").forward


def psf_mirrored_in_one_axis(p):
    return p.A.forward, p.stack(psfs=p.psfs[..., ::-1].copy(), form="scatter").forward


def boundary_adjoint_missing(p):
    """What the extension added is thrown away instead of being folded back."""
    return p.A.forward, p.stack(boundary="zero").adjoint


def extension_instead_of_fold(p):
    """The image is extended again where the transpose must fold: the classical 'same padding both ways'."""
    return p.A.forward, p.stack(psfs=p.psfs[..., ::-1, ::-1].copy(), form="scatter").forward


def weights_after_the_filter(p):
    """Gather confused with scatter: PSF mirrored, boundary right, weights on the wrong side."""
    flipped = p.stack(psfs=p.psfs[..., ::-1, ::-1].copy(), boundary="zero")
    return p.stack(boundary="zero").forward, flipped.forward


def colours_swapped(p):
    return p.A.forward, p.stack(psfs=p.psfs[:, ::-1].copy()).adjoint


def maps_in_wrong_order(p):
    return p.A.forward, p.stack(weights=p.weights[::-1].copy()).adjoint


def boundaries_confused(p):
    return p.A.forward, p.stack(boundary="symmetric" if p.boundary == "reflect" else "reflect").adjoint


def scaled_by_a_part_in_a_thousand(p):
    return p.A.forward, lambda u: 1.001 * p.A.adjoint(u)


WRONG = (
    shifted_down,
    shifted_right,
    psf_unflipped,
    psf_mirrored_in_one_axis,
    boundary_adjoint_missing,
    extension_instead_of_fold,
    weights_after_the_filter,
    colours_swapped,
    maps_in_wrong_order,
    boundaries_confused,
    scaled_by_a_part_in_a_thousand,
)
every_mutation = pytest.mark.parametrize("mutate", WRONG, ids=lambda f: f.__name__)
drawn_parts = st.builds(
    Parts,
    boundary=st.sampled_from(("reflect", "symmetric", "replicate")),
    size=st.sampled_from(((3, 5), (5, 3), (3, 3))),
    seed=st.integers(0, 2**16),
)


def worst_gap(forward, adjoint, seeds=3):
    gaps = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 99])
        x, u = rng.uniform(0.05, 1.0, (C, H, W)), rng.normal(size=(C, H, W))
        gaps.append(adjoint_gap(forward, adjoint, x, u, np.array))
    return max(gaps)


@every_mutation
@examples(12)
@given(parts=drawn_parts)
def test_the_adjoint_law_catches_a_wrong_adjoint(mutate, parts):
    """Even the tolerance of float32 does not hide it."""
    assert worst_gap(*mutate(parts)) > 2.0 * adjoint_bound("float32", 25)


@given(parts=drawn_parts)
def test_the_right_adjoint_passes(parts):
    assert worst_gap(parts.A.forward, parts.A.adjoint) <= adjoint_bound("float64", 25)


@every_mutation
@pytest.mark.parametrize("boundary", ("reflect", "symmetric", "replicate"))
def test_check_catches_a_wrong_adjoint(mutate, boundary):
    report = bp.check(mutate(Parts(boundary)), in_shape=(C, H, W))
    assert not report.passed


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_check_passes_the_right_pair(boundary):
    p = Parts(boundary)
    report = bp.check((p.A.forward, p.A.adjoint), in_shape=(C, H, W))
    assert report.passed, str(report)
    assert bp.check(p.A).passed


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_check_passes_the_matrix_pair(boundary):
    """A pair that shares nothing with the package."""
    D = Parts(boundary).twin
    pair = (lambda x: (D @ x.reshape(-1)).reshape(C, H, W), lambda u: (D.T @ u.reshape(-1)).reshape(C, H, W))
    assert bp.check(pair, in_shape=(C, H, W)).passed


def matrix(forward):
    n = C * H * W
    return to_numpy(forward(np.eye(n).reshape(n, C, H, W))).reshape(n, n).T


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_the_dense_twin_catches_a_wrong_forward(boundary):
    """Each of these has an exact adjoint; only the twin sees that it is another operator."""
    for size in ((3, 5), (4, 3), (2, 6)):
        p = Parts(boundary, size)
        D = p.twin
        assert np.abs(matrix(p.A.forward) - D).max() <= 1e-12
        other = "circular" if boundary != "circular" else "replicate"
        padded = np.pad(p.psfs, ((0, 0), (0, 0), (0, 0), (0, 2)))  # the centre moves by one pixel
        wrong = {
            "correlation": p.stack(psfs=p.psfs[..., ::-1, ::-1].copy()),
            "scatter": p.stack(form="scatter"),
            "centre": p.stack(psfs=padded),
            "boundary": p.stack(boundary=other),
            "colours": p.stack(psfs=p.psfs[:, ::-1].copy()),
            "transposed PSF": p.stack(psfs=np.swapaxes(p.psfs, -1, -2).copy()) if size[0] == size[1] else None,
            "maps": p.stack(weights=p.weights[:, ::-1].copy()),
        }
        for slip, B in wrong.items():
            if B is not None:
                assert np.abs(matrix(B.forward) - D).max() > 1e-3, (slip, size)


def test_check_catches_what_is_not_linear():
    p = Parts()
    assert not bp.check((lambda x: p.A(x) + 1e-3, p.A.adjoint), in_shape=(C, H, W)).passed
    assert not bp.check((lambda x: np.abs(p.A(x)), p.A.adjoint), in_shape=(C, H, W)).passed


def test_check_catches_a_written_input():
    p = Parts()

    def forward(x):
        y = p.A(x)
        x *= 1.0 + 1e-3
        return y

    assert not bp.check((forward, p.A.adjoint), in_shape=(C, H, W)).passed


def test_check_catches_a_changed_dtype():
    p = Parts()

    def narrow(x):
        return p.A(np.asarray(x, dtype=np.float64)).astype(np.float16)

    assert not bp.check((narrow, p.A.adjoint), in_shape=(C, H, W)).passed


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_the_laws_catch_it_in_float32_torch_too(dtype):
    torch = pytest.importorskip("torch")
    p = Parts()
    kind = getattr(torch, dtype)
    A = bp.PSFStack(torch.tensor(p.psfs, dtype=kind), weights=torch.tensor(p.weights, dtype=kind), channels=C)
    rng = np.random.default_rng(1)
    x, u = (np.float32(rng.uniform(size=(C, H, W))).astype(float) for _ in range(2))

    def give(a):
        return torch.tensor(a, dtype=kind)

    assert adjoint_gap(A, A.adjoint, x, u, give) <= adjoint_bound(dtype, 15)
    assert adjoint_gap(A, lambda v: torch.roll(A.adjoint(v), 1, -1), x, u, give) > 10 * adjoint_bound(dtype, 15)
