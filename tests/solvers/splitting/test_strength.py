"""The weight of a prior that is chosen from the problem: laws, closed forms, and images that did not shape the rule."""

from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import solvers
import synth
from solvers.splitting.strength import strength_for
from tests import problems
from tests.profiles import NIGHTLY, examples
from tests.strategies import NAMESPACES, to_namespace

SOLVE = {
    "hqs": partial(solvers.hqs, rho=(0.01, 0.1), inner_iterations=3),
    "admm": partial(solvers.admm, rho=0.05, max_iterations=3),
    "fista": partial(solvers.fista, max_iterations=4),
}


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


@cache
def scene(seed, sigma, size=(96, 128), dual=False):
    """A gather blur of radii up to 5 px, what it records with noise, and the sharp picture."""
    drawn = synth.scenes.slanted_planes(*size, planes=3, seed=seed)
    camera = synth.Camera.for_scene(drawn, max_radius=5.0)
    radii = np.clip(camera.defocus_map(drawn.depth_m), -5, 5).astype(np.float32)
    bank = bp.PSFBank(bp.Pupil.disk(split=0.45), max_radius=5.0)
    A = (bp.DualPixel if dual else bp.DefocusBlur)(radii, bank=bank)
    sharp = drawn.all_in_focus.astype(np.float32)
    y = A(sharp)
    return A, y + np.float32(sigma) * np.random.default_rng(seed).standard_normal(y.shape, dtype=np.float32), sharp


def psnr(image, sharp, border=8):
    inner = (..., slice(border, -border), slice(border, -border))
    return -10 * np.log10(np.mean((image - sharp)[inner].astype(float) ** 2))


@pytest.mark.parametrize("name", SOLVE)
def test_auto_is_the_strength_that_choose_strength_returns(name):
    A, y, _ = scene(21, 0.01)
    value = solvers.choose_strength(A, y, prox=solvers.tv).value
    chosen, default = (SOLVE[name](A, y, prox=solvers.tv, **more) for more in ({"strength": value}, {}))
    assert np.array_equal(chosen.x, default.x)
    assert default.operator_applications == chosen.operator_applications + 24


@examples(4)
@given(scale=st.floats(1e-2, 1e2), gain=st.floats(0.1, 10), seed=st.integers(0, 2**16))
def test_it_has_the_unit_of_the_objective(scale, gain, seed):
    """Total variation: 1/2 |gain A x - scale y|^2 + s TV(x) has the same minimiser up to scale for s scale gain."""
    x = np.kron(np.random.default_rng(seed).random((1, 5, 6)), np.ones((1, 5, 5)))
    A = problems.CircularBlur({(0, k): 0.2 for k in range(-2, 3)}, x.shape)
    y = A(x) + 0.01 * np.random.default_rng(seed).normal(size=x.shape)
    start = np.full_like(x, 0.5)
    B = problems.CircularBlur({(0, k): 0.2 * gain for k in range(-2, 3)}, x.shape)
    one = solvers.choose_strength(A, y, prox=solvers.tv, x0=start)
    other = solvers.choose_strength(B, scale * y, prox=solvers.tv, x0=scale / gain * start)
    assert other.value == pytest.approx(scale * gain * one.value, rel=1e-6)
    assert other.misfit == pytest.approx(scale * one.misfit, rel=1e-6)
    assert other.slope == pytest.approx(scale / gain * one.slope, rel=1e-6)


def test_the_slope_of_total_variation_is_total_variation():
    x = np.random.default_rng(0).random((2, 24, 20))
    A, seen = bp.Identity(x.shape), []

    def prior(image, strength):
        z = solvers.tv(image, strength, iterations=3000)
        seen.append(z)
        return z

    found = solvers.choose_strength(A, x, prox=prior, noise_level=0.05)
    total, z = 0.0, seen[-1]
    for c in range(2):
        for i in range(24):
            for j in range(20):
                down = z[c, i + 1, j] - z[c, i, j] if i < 23 else 0.0
                right = z[c, i, j + 1] - z[c, i, j] if j < 19 else 0.0
                total += (down**2 + right**2) ** 0.5
    assert found.slope == pytest.approx(total / x.size, rel=1e-3)


def test_a_quadratic_prior_takes_the_signal_to_noise_ratio():
    """Of phi = 1/2 |x|^2 the most probable weight is noise variance over mean square, the Wiener filter's."""
    x = 0.3 * np.random.default_rng(0).standard_normal((1, 80, 80))
    y = x + 0.01 * np.random.default_rng(1).standard_normal(x.shape)
    found = solvers.choose_strength(bp.Identity(x.shape), y, prox=shrink, noise_level=0.01)
    assert found.value == pytest.approx(0.32 * 0.01**2 / np.mean(x**2), rel=0.02)


@pytest.mark.parametrize(
    ("sigma", "dual"), [(0.005, False), (0.005, True), *([(0.01, False), (0.002, True)] if NIGHTLY else [])]
)
def test_it_is_near_the_best_and_finds_the_noise(sigma, dual):
    A, y, sharp = scene(22, sigma, dual=dual)
    chosen = solvers.choose_strength(A, y, prox=solvers.tv)
    assert chosen.noise == pytest.approx(sigma, rel=0.1)
    scores = {
        s: psnr(solvers.hqs(A, y, prox=solvers.tv, strength=float(s)).x, sharp) for s in 10 ** np.arange(-5, -2.4, 0.5)
    }
    assert psnr(solvers.hqs(A, y, prox=solvers.tv).x, sharp) > max(scores.values()) - 0.3


def test_much_noise_needs_more_than_a_fixed_strength():
    A, y, sharp = scene(23, 0.03)
    fixed, chosen = (solvers.hqs(A, y, prox=solvers.tv, **s).x for s in ({"strength": 3e-4}, {}))
    assert psnr(chosen, sharp) > psnr(fixed, sharp) + 1.5


def test_a_wrong_operator_counts_as_noise():
    A, y, _ = scene(24, 0.002)
    wrong = A.replace(defocus_map=1.5 * A.defocus_map.clip(-3.3, 3.3))
    right, other = (solvers.choose_strength(B, y, prox=solvers.tv) for B in (A, wrong))
    assert other.misfit > 2 * max(right.misfit, other.noise)
    assert other.value > 3 * right.value


def test_what_a_mask_hides_may_be_anything():
    A, y, _ = scene(25, 0.01)
    seen = np.ones(y.shape[-2:], dtype=bool)
    seen[30:60, 40:70] = False
    values = [
        solvers.choose_strength(A, np.where(seen, y, np.float32(v)), prox=solvers.tv, mask=seen) for v in (np.nan, 7)
    ]
    assert values[0] == values[1]
    assert values[0].noise == pytest.approx(0.01, rel=0.15)
    assert values[0].value == pytest.approx(solvers.choose_strength(A, y, prox=solvers.tv).value, rel=0.3)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_of_every_namespace_and_of_a_batch(namespace):
    x = np.kron(np.random.default_rng(3).random((2, 1, 6, 7)), np.ones((6, 6)))
    A = problems.CircularBlur({(0, k): 0.2 for k in range(-2, 3)}, x.shape[1:])
    y = A(x) + 0.01 * np.random.default_rng(4).normal(size=x.shape)
    expected = solvers.choose_strength(A, y, prox=shrink)
    found = solvers.choose_strength(A, to_namespace(y, namespace), prox=shrink)
    assert found.value == pytest.approx(expected.value, rel=1e-9)


@pytest.mark.parametrize(
    "prox", [lambda x, s: x, lambda x, s: -30 * x, lambda x, s: x * np.inf, lambda x, s: x * np.nan, lambda x, s: 2 * x]
)
def test_a_prior_without_a_gradient_takes_the_rule_for_the_noise(prox):
    p = problems.varying()
    found = solvers.choose_strength(p.A, p.y, prox=prox, noise_level=0.01)
    assert (found.value, found.slope) == (strength_for(0.01**2), 0.0)


def test_images_without_noise_or_light():
    for y in (np.zeros((1, 40, 40)), np.full((1, 40, 40), 0.5), np.full((1, 2, 3), 0.5)):
        found = solvers.choose_strength(bp.Identity(y.shape), y, prox=solvers.tv)
        assert np.isfinite(found.value) and found.value >= 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y": np.full((1, 4, 5), np.nan)}, ("choose_strength", "NaN")),
        ({"y": np.ones((1, 4, 6))}, ("(1, 4, 5)", "(1, 4, 6)")),
        ({"prox": None}, ("prox", "None")),
        ({"noise_level": -1.0}, ("noise_level", "-1")),
        ({"prox": lambda x, s: x[..., :1]}, ("prox", "(1, 4, 1)")),
    ],
)
def test_bad_input(changes, words):
    arguments = {
        "A": bp.Identity((1, 4, 5)),
        "y": np.ones((1, 4, 5)),
        "prox": solvers.tv,
        "noise_level": 0.01,
    } | changes
    with pytest.raises(ValueError) as raised:
        solvers.choose_strength(arguments.pop("A"), arguments.pop("y"), **arguments)
    assert all(word in str(raised.value) for word in words), raised.value


@pytest.mark.parametrize("name", SOLVE)
def test_a_strength_is_a_number_or_auto(name):
    p = problems.identity()
    with pytest.raises(ValueError, match=rf"{name}.*auto.*best"):
        SOLVE[name](p.A, p.y, prox=solvers.tv, strength="best")
