"""Layers with occlusion: the fused engine, gradients and bad input. Its dense twin stands in `cases.py`."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import blurphys.operators.layered
from blurphys.engines import reference
from tests.oracles import BOUNDARIES
from tests.profiles import examples

PUPIL = bp.Pupil.disk(split=0.4)
BANK = bp.PSFBank(PUPIL, max_radius=3.0, step=0.5)
VIEWS = ("left", "right", "combined", 45.0)


def layers(rng, count, height, width):
    """Alphas with holes, empty rows and soft edges, on an opaque background."""
    alphas = rng.random((count, height, width)) * (rng.random((count, height, width)) > 0.5)
    alphas[:-1, : height // 3] = 0
    alphas[0, :, width // 2 :] = 0
    alphas[-1] = 1
    return alphas


@pytest.mark.parametrize("boundary", BOUNDARIES)
@given(
    seed=st.integers(0, 2**16), count=st.integers(1, 4), height=st.integers(7, 60), width=st.integers(7, 300),
    views=st.sampled_from([1, 2, 3, 4]), per_layer=st.booleans(), normalize=st.booleans(), coloured=st.booleans(),
)  # fmt: skip
@examples(12)
def test_the_fused_engine_is_the_reference(boundary, seed, count, height, width, views, per_layer, normalize, coloured):
    rng = np.random.default_rng(seed)
    bank = BANK
    if coloured:
        psfs = rng.random((3, 3, 5, 4))
        psfs /= psfs.sum(axis=(-2, -1), keepdims=True)
        bank = bp.PSFBank(psfs={"left": psfs, "right": psfs[:, ::-1]}, radii=(-3.0, 0.5, 3.0))
    chosen = (("left", "right", "combined") if coloured else VIEWS)[: min(views, 3 if coloured else 4)]
    alphas = layers(rng, count, height, width)
    A = bp.LayeredDefocus(
        alphas, radii=rng.uniform(-3, 3, count), bank=bank, boundary=boundary, views=chosen, per_layer=per_layer,
        normalize=normalize,
    )  # fmt: skip
    x = rng.random((2, *A.in_shape))
    fused = A(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blurphys.operators.layered, "kernel", lambda name, _: getattr(reference, name))
        expected = A(x)
    assert np.allclose(fused, expected, atol=1e-12)


def test_single_precision_stays_single():
    """Radii between two levels used to turn the PSFs into doubles."""
    rng = np.random.default_rng(0)
    alphas = layers(rng, 3, 30, 40)
    radii = tuple(np.float64(r) for r in (-2.83, 0.17, 1.9))
    double = bp.LayeredDefocus(alphas, radii=radii, bank=BANK)
    single = bp.LayeredDefocus(alphas.astype(np.float32), radii=radii, bank=BANK)
    x = rng.random((3, 30, 40))
    y = single(x.astype(np.float32))
    assert y.dtype == np.float32
    assert np.allclose(y, double(x), atol=1e-5)


def test_one_layer_everywhere_is_a_convolution():
    x = np.random.default_rng(1).random((3, 20, 24))
    A = bp.LayeredDefocus(np.ones((1, 20, 24)), radii=(2.5,), bank=BANK)
    assert np.allclose(A(x), bp.Convolution(PUPIL.psf(2.5), shape=(3, 20, 24))(x), atol=1e-12)


@given(st.integers(0, 2**16), st.sampled_from(BOUNDARIES))
@examples(20)
def test_a_constant_stays_where_the_background_is_closed(seed, boundary):
    alphas = layers(np.random.default_rng(seed), 3, 15, 18)
    A = bp.LayeredDefocus(alphas, radii=(-2.0, 0.0, 3.0), bank=BANK, boundary=boundary, views=("combined",))
    assert np.allclose(A(np.ones(A.in_shape)), 1.0)


@given(seed=st.integers(0, 2**16), count=st.integers(1, 4), normalize=st.booleans())
def test_in_focus_the_picture_is_the_composite(seed, count, normalize):
    """By a loop over pixels; and the operator agrees where nothing is blurred."""
    rng = np.random.default_rng(seed)
    alphas = rng.random((count, 4, 5)) * (rng.random((count, 4, 5)) > 0.4)
    x = rng.random((2 * count, 4, 5))
    bank = bp.PSFBank(psfs=np.eye(3)[[1, 1]][:, None, :] * np.eye(3)[1][:, None], radii=(0.0, 1.0))
    A = bp.LayeredDefocus(alphas, radii=(0.0,) * count, bank=bank, channels=2, per_layer=True, normalize=normalize)
    expected = np.zeros((2, 4, 5))
    for row, col in np.ndindex(4, 5):
        clear = 1.0
        for k in range(count):
            expected[:, row, col] += clear * alphas[k, row, col] * x[2 * k : 2 * k + 2, row, col]
            clear *= 1 - alphas[k, row, col]
        if normalize and clear < 1:
            expected[:, row, col] /= 1 - clear
    assert np.allclose(A.composite(x), expected, rtol=0, atol=1e-13)
    assert np.allclose(A(x), expected, rtol=0, atol=1e-13)
    assert np.allclose(A.composite(np.stack([x, 2 * x]))[1], 2 * expected, rtol=0, atol=1e-13)


def test_composite_of_bad_input():
    alphas = np.ones((2, 4, 5))
    A = bp.LayeredDefocus(alphas, radii=(0.0, 1.0), bank=BANK, per_layer=True)
    with pytest.raises(ValueError, match=r"composite.*\(6, 4, 5\).*\(3, 4, 5\)"):
        A.composite(np.ones((3, 4, 5)))
    with pytest.raises(TypeError, match="float32"):
        A.composite(np.ones((6, 4, 5), np.float32))
    with pytest.raises(ValueError, match="per_layer=True"):
        A.replace(per_layer=False).composite(np.ones((3, 4, 5)))


def test_gaps_are_dark_or_divided_out():
    alphas = np.zeros((2, 12, 12))
    alphas[0, :, :6], alphas[1, :, 6:] = 1, 1
    kinds = {"radii": (-2.0, 2.0), "bank": BANK}
    seam = bp.LayeredDefocus(alphas, **kinds, normalize=False)(np.ones((3, 12, 12)))
    assert seam.min() == pytest.approx(0.75, abs=0.05)  # half, and a half of the other half
    assert np.allclose(bp.LayeredDefocus(alphas, **kinds)(np.ones((3, 12, 12))), 1.0)


def test_what_is_hidden_does_not_count():
    """An opaque layer in focus hides what lies behind it, to the last bit."""
    rng = np.random.default_rng(2)
    alphas = np.ones((2, 14, 15))
    A = bp.LayeredDefocus(alphas, radii=(0.0, 3.0), bank=BANK, per_layer=True)
    x = rng.random((6, 14, 15))
    other = np.concatenate([x[:3], rng.random((3, 14, 15))])
    assert np.array_equal(A(x), A(other))


@pytest.mark.parametrize("per_layer", [False, True])
def test_gradcheck(per_layer):
    rng = np.random.default_rng(3)
    start = torch.tensor(rng.uniform(0.2, 0.8, (2, 7, 8)), requires_grad=True)
    image = torch.tensor(rng.random((3 * (1 + per_layer), 7, 8)), requires_grad=True)

    def through(alphas, x):
        return bp.LayeredDefocus(alphas, radii=(-1.3, 2.1), bank=BANK, per_layer=per_layer)(x)

    assert torch.autograd.gradcheck(through, (start, image), fast_mode=True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alphas": np.ones((4, 5))}, r"shape \(K, H, W\)"),
        ({"alphas": np.full((2, 9, 9), 1.5)}, "alphas from 0 to 1"),
        ({"alphas": np.full((2, 9, 9), np.nan)}, "alphas from 0 to 1"),
        ({"radii": (1.0,)}, "one radius for each of the 2 layers"),
        ({"radii": (1.0, 9.0)}, "is it a diameter"),
        ({"radii": (1.0, np.nan)}, "within the bank's"),
        ({"radii": 3.0}, "sequence of radii"),
        ({"views": "left"}, "tuple of views"),
        ({"views": ("left", "left")}, "different views"),
        ({"views": ("middle",)}, "expected a view among"),
        ({"boundary": "mirror"}, "boundary"),
        ({"alphas": np.ones((2, 2, 9))}, "reaches at most 1 px"),
    ],
)
def test_bad_input(changes, sentence):
    given = {"alphas": np.ones((2, 9, 9)), "radii": (-1.0, 2.0), "bank": BANK} | changes
    with pytest.raises(ValueError, match=sentence):
        bp.LayeredDefocus(given.pop("alphas"), **given)


def test_bad_types():
    with pytest.raises(TypeError, match="floating point"):
        bp.LayeredDefocus(np.ones((2, 9, 9), int), radii=(0.0, 1.0), bank=BANK)
    with pytest.raises(TypeError, match="PSFBank"):
        bp.LayeredDefocus(np.ones((2, 9, 9)), radii=(0.0, 1.0), bank=PUPIL)


@pytest.mark.parametrize("form", ["before", "after", "transform"])
def test_gradient_in_the_alphas_where_a_layer_is_not_yet(form):
    """A layer that grows by a little into a gap sends light into its surroundings, however far from the layer."""
    rng = np.random.default_rng(4)
    alphas = torch.from_numpy(rng.uniform(0.2, 0.8, (2, 7, 9)))
    alphas[0, :, :6], alphas[-1] = 0, 1
    x = torch.from_numpy(rng.normal(size=(2, 7, 9)))
    bank = bp.PSFBank(PUPIL, max_radius=2.0)

    def loss(A):
        return A(x).square().sum()

    def make(alphas):
        return bp.LayeredDefocus(alphas, radii=(1.3, -0.6), bank=bank, channels=1, per_layer=True)

    if form == "transform":
        found = torch.func.grad(lambda a: loss(make(a)))(alphas)
    else:
        leaf = alphas.clone().requires_grad_(form == "before")
        A = make(leaf)
        loss(A)
        leaf.requires_grad_()  # alphas may turn into parameters after the operator was made and used
        (found,) = torch.autograd.grad(loss(A), leaf)
    step = 1e-6
    for row, col in ((0, 0), (3, 2), (6, 5), (3, 7)):
        more = alphas.clone()
        more[0, row, col] += step
        slope = float((loss(make(more)) - loss(make(alphas))) / step)
        assert abs(slope) > 1e-2 and abs(float(found[0, row, col]) - slope) < 1e-3 * (1 + abs(slope))


@pytest.mark.parametrize("kind", ["numpy", "torch", "inference"])
def test_alphas_written_to_afterwards_are_those_in_use(kind):
    """As the operators promise; the places of the layers are looked for anew."""
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=3.0, step=0.5)
    rng = np.random.default_rng(0)
    old, new = np.zeros((2, 2, 24, 30))
    old[0, :, 4:8], new[0, :, 18:24] = 1, 1
    old[1] = new[1] = 1
    x, y = rng.random((2, 3, 24, 30))
    with torch.inference_mode(kind == "inference"):
        give = (lambda a: a.copy()) if kind == "numpy" else torch.tensor
        alphas = give(old)
        A = bp.LayeredDefocus(alphas, radii=(-2.5, 0.0), bank=bank)
        alphas[...] = give(new)
        B = bp.LayeredDefocus(give(new), radii=(-2.5, 0.0), bank=bank)
        for found, wanted in ((A(give(x)), B(give(x))), (A.adjoint(give(y)), B.adjoint(give(y)))):
            assert np.abs(np.asarray(found) - np.asarray(wanted)).max() < 1e-14
