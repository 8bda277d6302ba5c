"""Layers that hide each other: closed forms, and scenes that the solver's defaults were not chosen on."""

from functools import cache

import numpy as np
import pytest

import blurphys as bp
import solvers
import synth
from blurphys.operators.packed_layers import PackedLayers
from solvers import Status
from solvers.prox.packed_tv import PackedTV
from synth.rendering.layering import layers_of
from tests.profiles import NIGHTLY
from tests.strategies import NAMESPACES, to_namespace, to_numpy

BANK = bp.PSFBank(bp.Pupil.disk(split=0.4), max_radius=3.0, step=0.5)


def small(views=("left", "right"), dtype="float64"):
    """Three layers with holes, soft edges and hidden parts; the last one covers everything."""
    rng = np.random.default_rng(5)
    alphas = np.stack([np.zeros((11, 13)), rng.random((11, 13)) * (rng.random((11, 13)) > 0.4), np.ones((11, 13))])
    alphas[0, 2:7, 3:9] = 1
    alphas[0, 6, 3:9] = 0.5
    return bp.LayeredDefocus(
        alphas.astype(dtype), radii=(-2.5, 0.0, 1.7), bank=BANK, channels=2, views=views, per_layer=True
    )


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


@cache
def scene(kind, seed):
    """Operator, observation and sharp picture of a drawn scene, radii up to 5 px, noise of .005 in both views."""
    draw = {"leaves": synth.scenes.dead_leaves, "planes": synth.scenes.slanted_planes}[kind]
    drawn = draw(120, 160, seed=seed, **({"layers": 5} if kind == "leaves" else {"planes": 3}))
    layers = layers_of(drawn, synth.Camera.for_scene(drawn, max_radius=5))
    bank = bp.PSFBank(bp.Pupil.disk(split=0.45), max_radius=5.0, step=0.25)
    A = bp.LayeredDefocus(
        layers.alphas.astype(np.float32), radii=layers.radii, bank=bank, views=("left", "right"), per_layer=True
    )
    y = A(np.concatenate(layers.colours).astype(np.float32))
    y += 0.005 * np.random.default_rng(seed).standard_normal(y.shape, dtype=np.float32)
    return A, y, drawn.all_in_focus


def psnr(image, sharp, border=12):
    inner = (..., slice(border, -border), slice(border, -border))
    return -10 * np.log10(np.mean((image - sharp)[inner].astype(float) ** 2))


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
def test_a_quadratic_prior_gives_tikhonov_on_the_covered_pixels(namespace):
    A = small()
    y = np.random.default_rng(0).random(A.out_shape)
    matrix, mu = np.asarray(bp.to_dense(A)), 0.05
    covered = np.repeat(A.alphas > 0, 2, axis=0).ravel()
    part = matrix[:, covered]
    expected = np.zeros(A.in_shape)
    expected.reshape(-1)[covered] = np.linalg.solve(part.T @ part + mu * np.eye(covered.sum()), part.T @ y.ravel())
    there = A.replace(alphas=to_namespace(A.alphas, namespace))
    solution = solvers.layered(
        there, to_namespace(y, namespace), prox=shrink, strength=mu, rho=0.1,
        tol=1e-8, inner_tol=1e-9, inner_iterations=40, max_iterations=150,
    )  # fmt: skip
    assert solution.status is Status.CONVERGED
    assert np.abs(to_numpy(solution.x) - expected).max() < 1e-6


def test_of_covered_frames_the_prior_is_joint_total_variation():
    A = bp.LayeredDefocus(np.full((2, 9, 12), 0.5), radii=(0.0, 1.0), bank=BANK, per_layer=True)
    x, packed = np.random.default_rng(1).random((6, 9, 12)), PackedLayers(A)
    found = packed.unpack(PackedTV(packed, iterations=400)(packed.pack(x), 0.2))
    expected = [solvers.tv(part, 0.2, iterations=400, joint=True) for part in (x[:3], x[3:])]
    assert np.abs(found - np.concatenate(expected)).max() < 1e-5


def test_the_prior_of_a_layer_is_a_proximal_operator():
    """No other image has a smaller objective, and neighbours across the edge of a layer count for nothing."""
    packed = PackedLayers(small())
    rng = np.random.default_rng(2)
    x = rng.random(packed.in_shape)
    z = PackedTV(packed, iterations=3000)(x, 0.1)
    below, right = packed.neighbours()
    here, ahead = np.flatnonzero(below < below.size), np.flatnonzero(right)

    def objective(u):
        down, across = np.zeros_like(u[:, 0]), np.zeros_like(u[:, 0])
        down[:, here], across[:, ahead] = u[:, 0, below[here]] - u[:, 0, here], u[:, 0, ahead + 1] - u[:, 0, ahead]
        return 0.5 * np.sum((u - x) ** 2) + 0.1 * np.sqrt(np.sum(down**2 + across**2, axis=0)).sum()

    least = objective(z)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(20):
            assert objective(z + size * rng.standard_normal(z.shape)) > least
    assert least < objective(x) and least < objective(np.full_like(x, x.mean()))


def test_a_warm_start_is_another_strength_at_once():
    packed = PackedLayers(small())
    x = np.random.default_rng(3).random(packed.in_shape)
    warm = PackedTV(packed, iterations=600)
    warm(x, 0.01)
    assert np.abs(warm(x, 0.1) - PackedTV(packed, iterations=600)(x, 0.1)).max() < 1e-5


@pytest.mark.parametrize(
    ("kind", "seed"), [("leaves", 11), ("planes", 13), *([("leaves", 12), ("planes", 14)] if NIGHTLY else [])]
)
def test_it_beats_the_photograph_and_the_gather_operator(kind, seed):
    """On scenes that did not shape it, by the figures of the one baseline and of the other."""
    A, y, sharp = scene(kind, seed)
    blurred = 0.5 * (y[:3] + y[3:])
    seen = []
    solution = solvers.layered(A, y, on_step=lambda k, picture: seen.append(picture))
    assert np.array_equal(seen[-1], A.composite(solution.x))
    assert psnr(seen[-1], sharp) > psnr(blurred, sharp) + 4
    visible = np.cumprod(np.concatenate([np.ones_like(A.alphas[:1]), 1 - A.alphas[:-1]]), axis=0) * A.alphas
    radii = np.einsum("khw,k->hw", visible, np.asarray(A.radii, np.float32))
    gather = bp.DualPixel(radii.astype(np.float32), bank=A.bank, views=("left", "right"))
    other = solvers.hqs(gather, y, prox=solvers.tv, strength=3e-4, x0=blurred)
    assert psnr(seen[-1], sharp) > psnr(other.x, sharp) + 2


def test_the_strength_that_it_chooses_is_near_the_best():
    for kind, seed in (("planes", 13), *([("leaves", 11), ("planes", 14)] if NIGHTLY else [])):
        A, y, sharp = scene(kind, seed)
        chosen = psnr(A.composite(solvers.layered(A, y).x), sharp)
        others = [psnr(A.composite(solvers.layered(A, y, strength=s).x), sharp) for s in (1e-4, 1e-3)]
        assert chosen > max(others) - 0.3


def test_any_prior_is_applied_to_layer_after_layer():
    A, y, sharp = scene("planes", 13)
    shapes = []

    def prior(image, strength):
        shapes.append(image.shape)
        assert np.isfinite(image).all() and image.min() > -1
        return solvers.tv(image, strength, iterations=10)

    solution = solvers.layered(A, y, prox=prior, max_iterations=3)
    assert len(shapes) == 3 * sum(bool(a.any()) for a in A.alphas)
    assert {shape[0] for shape in shapes} == {3}
    assert psnr(A.composite(solution.x), sharp) > psnr(0.5 * (y[:3] + y[3:]), sharp) + 2


def test_batches_and_every_namespace_give_the_same():
    A = small(dtype="float32")
    y = np.random.default_rng(4).random((2, *A.out_shape), dtype=np.float32)
    settings = {"strength": 1e-3, "max_iterations": 2}
    one = [solvers.layered(A, image, **settings).x for image in y]
    together = solvers.layered(A, y, **settings).x
    assert np.abs(together - np.stack(one)).max() < 2e-4
    for namespace in NAMESPACES:
        there = A.replace(alphas=to_namespace(A.alphas, namespace))
        found = solvers.layered(there, to_namespace(y[0], namespace), **settings).x
        assert np.abs(to_numpy(found) - one[0]).max() < 2e-4


@pytest.mark.parametrize("strength", ["auto", 1e-3])
def test_what_a_mask_hides_may_be_anything(strength):
    A, y, sharp = scene("planes", 13)
    seen = np.ones(y.shape[-2:], dtype=bool)
    seen[50:60, 70:80] = False
    settings = {"mask": seen, "strength": strength, "max_iterations": 3}
    hidden = [solvers.layered(A, np.where(seen, y, np.float32(v)), **settings) for v in (np.nan, 5.0)]
    assert np.isfinite(hidden[0].x).all() and np.array_equal(hidden[0].x, hidden[1].x)
    assert psnr(A.composite(hidden[0].x), sharp) > psnr(0.5 * (y[:3] + y[3:]), sharp) + 2


def test_an_initial_guess_for_one_picture_or_for_all_layers():
    A = small()
    y = np.random.default_rng(6).random(A.out_shape)
    guess = np.random.default_rng(7).random(A.in_shape)
    nothing = {"max_iterations": 0, "strength": 1e-3}
    covered = np.repeat(A.alphas > 0, 2, axis=0)
    assert np.array_equal(solvers.layered(A, y, x0=guess, **nothing).x, guess * covered)
    assert np.array_equal(solvers.layered(A, y, x0=guess[:2], **nothing).x, np.tile(guess[:2], (3, 1, 1)) * covered)
    mean = np.tile(0.5 * (y[:2] + y[2:]), (3, 1, 1))
    assert np.allclose(solvers.layered(A, y, **nothing).x, mean * covered, rtol=0, atol=1e-15)


def test_an_operator_that_takes_one_image_is_taken_by_layers():
    A = small(views=("combined",))
    y = np.random.default_rng(8).random(A.out_shape)
    settings = {"strength": 1e-3, "max_iterations": 2}
    same = solvers.layered(A.replace(per_layer=False), y, **settings).x
    assert np.array_equal(same, solvers.layered(A, y, **settings).x)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"A": bp.Identity((4, 11, 13))}, TypeError, ("LayeredDefocus", "Identity", "hqs")),
        ({"y": np.zeros((4, 11, 12))}, ValueError, ("(4, 11, 13)", "(4, 11, 12)")),
        ({"y": np.zeros((4, 11, 13), np.float32)}, TypeError, ("float32", "float64")),
        ({"y": np.full((4, 11, 13), np.nan)}, ValueError, ("layered", "NaN")),
        ({"x0": np.zeros((3, 11, 13))}, ValueError, ("(6, 11, 13)", "(3, 11, 13)")),
        ({"x0": np.zeros((6, 11, 13), np.float32)}, TypeError, ("x0", "float32")),
        ({"x0": "mean"}, TypeError, ("x0", "str")),
        ({"strength": "best"}, ValueError, ("auto", "best")),
        ({"strength": -1.0}, ValueError, ("strength", "-1")),
        ({"rho": 0.0}, ValueError, ("rho", "0")),
        ({"prox": None}, ValueError, ("prox", "None")),
        ({"on_step": 3}, ValueError, ("on_step", "3")),
        ({"max_iterations": -1}, ValueError, ("max_iterations", "-1")),
        ({"mask": np.ones((2, 2))}, ValueError, ("mask", "(2, 2)")),
    ],
)
def test_bad_input(changes, error, words):
    arguments = {"A": small(), "y": np.full((4, 11, 13), 0.5), "strength": 1e-3} | changes
    with pytest.raises(error) as raised:
        solvers.layered(arguments.pop("A"), arguments.pop("y"), **arguments)
    assert all(word in str(raised.value) for word in words), raised.value
