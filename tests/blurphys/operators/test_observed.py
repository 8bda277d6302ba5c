"""The unknown boundary: windows of larger scenes, against plain valid convolutions and on a photograph."""

from functools import partial

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.signal import convolve2d

import blurphys as bp
import solvers
from tests.oracles import BOUNDARIES
from tests.profiles import examples
from tests.strategies import NAMESPACES, simplex, to_namespace, to_numpy, unit_psfs

HEIGHT, WIDTH, CHANNELS = 11, 14, 2
SHAPE = (CHANNELS, HEIGHT, WIDTH)


NAMES = (
    "gkm", "rkr", "stagewise", "stack", "convolution", "pixel", "defocus", "dual",
    "product", "sum", "stacked", "mirrored", "tiled", "identity",
)  # fmt: skip


def gather_operator(name, seed, boundary, namespace="numpy", dtype="float64"):
    """An operator that owns its maps on output pixels, one of every kind."""
    rng = np.random.default_rng([seed, NAMES.index(name)])

    def there(values):
        return to_namespace(np.asarray(values, dtype=dtype), namespace)

    def maps(count):
        return there(simplex(rng, (count, HEIGHT, WIDTH)))

    def other(kind):
        return gather_operator(kind, seed, boundary, namespace, dtype)

    where = {"channels": CHANNELS, "boundary": boundary}
    match name:
        case "gkm":
            return bp.GKM(maps(3), sigmas=(0.0, 0.4, 1.1), **where)
        case "rkr" | "stagewise":
            return bp.RKR(maps(3), atoms=there(unit_psfs(rng, (2, 1, 3))[:, 0]), stagewise=name != "rkr", **where)
        case "stack":
            return bp.PSFStack(there(unit_psfs(rng, (2, 4, 3))), weights=maps(2), **where)
        case "convolution":
            return bp.Convolution(there(unit_psfs(rng, (3, 4))), shape=SHAPE, boundary=boundary)
        case "pixel":
            return bp.PixelPSF(there(unit_psfs(rng, (HEIGHT, WIDTH, 3, 4))), **where)
        case "defocus" | "dual":
            bank = bp.PSFBank(bp.Pupil.disk(split=0.2), max_radius=2.5, step=0.5)
            kind = bp.DefocusBlur if name == "defocus" else bp.DualPixel
            return kind(there(rng.uniform(-2.4, 2.4, (HEIGHT, WIDTH))), bank=bank, **where)
        case "product":
            return other("stack") @ other("convolution")
        case "sum":
            return other("gkm") + 0.5 * other("stack")
        case "stacked":
            return bp.stack([other("convolution"), other("gkm")])
        case "mirrored":
            return other("convolution").H
        case "tiled":
            return bp.tiled(other("gkm"), tile=5)
        case "identity":
            return bp.Identity(SHAPE)


cases = given(st.sampled_from(NAMES), st.sampled_from(BOUNDARIES), st.integers(0, 2**16))


def without_frame(scene, margin):
    return scene[..., margin:-margin, margin:-margin] if margin else scene


@cases
def test_it_agrees_with_the_operator_where_the_frame_is_out_of_sight(name, boundary, seed):
    """Pixels further than the halo from the edge do not see it (the adjoint of "reflect" reaches one further)."""
    A = gather_operator(name, seed, boundary)
    U, p = bp.unknown_boundary(A), A.halo
    scene = np.random.default_rng(seed).normal(size=U.in_shape)
    edge = p + (name == "mirrored")
    inside = (slice(edge, HEIGHT - edge), slice(edge, WIDTH - edge))
    found, expected = U(scene), A(without_frame(scene, p))
    assert U.in_shape == (CHANNELS, HEIGHT + 2 * p, WIDTH + 2 * p)
    assert U.out_shape == A.out_shape
    assert found[..., inside[0], inside[1]].size
    assert np.allclose(found[..., inside[0], inside[1]], expected[..., inside[0], inside[1]], atol=1e-12)


@cases
@example("mirrored", "reflect", 0)  # its transpose folds one pixel further than it extends
def test_no_boundary_rule_is_left(name, boundary, seed):
    """The five rules give one operator, and a larger margin changes nothing either."""
    A, B = gather_operator(name, seed, boundary), gather_operator(name, seed, "circular")
    U, V, wide = bp.unknown_boundary(A), bp.unknown_boundary(B), bp.unknown_boundary(A, margin=(A.halo, A.halo + 3))
    scene = np.random.default_rng(seed).normal(size=wide.in_shape)
    assert np.allclose(U(scene[..., 3:-3]), V(scene[..., 3:-3]), atol=1e-12)
    assert np.allclose(U(scene[..., 3:-3]), wide(scene), atol=1e-12)


@examples(20)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**16))
def test_a_convolution_becomes_the_valid_one(h, w, seed):
    rng = np.random.default_rng(seed)
    psf = unit_psfs(rng, (h, w))
    U = bp.unknown_boundary(bp.Convolution(psf, shape=SHAPE))
    scene, p = rng.normal(size=U.in_shape), max(h, w) // 2
    top, left = p - h + 1 + h // 2, p - w + 1 + w // 2
    for y, x in zip(U(scene), scene, strict=True):
        valid = convolve2d(x, psf, mode="valid")
        assert np.allclose(y, valid[top : top + HEIGHT, left : left + WIDTH])


@examples(20)
@given(st.integers(0, 2**16), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4]))
def test_each_pixel_keeps_its_psf(seed, h, w):
    rng = np.random.default_rng(seed)
    psfs, p = unit_psfs(rng, (4, 5, h, w)), max(h, w) // 2
    U = bp.unknown_boundary(bp.PixelPSF(psfs, channels=1))
    scene = rng.normal(size=U.in_shape)
    y = U(scene)
    for m, n in np.ndindex(4, 5):
        top, left = m + p - (h - 1 - h // 2), n + p - (w - 1 - w // 2)
        seen = scene[0, top : top + h, left : left + w]
        assert y[0, m, n] == pytest.approx((psfs[m, n, ::-1, ::-1] * seen).sum())


@pytest.mark.parametrize("name", NAMES)
def test_every_law_of_linear_operators_holds(name):
    U = bp.unknown_boundary(gather_operator(name, 1, "reflect"))
    report = bp.check(U)
    assert report.passed, str(report)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["gkm", "stack", "dual", "product"])
def test_every_namespace(namespace, dtype, name):
    U = bp.unknown_boundary(gather_operator(name, 2, "symmetric", namespace, dtype))
    scene = np.random.default_rng(0).random((2, *U.in_shape))
    found = U(to_namespace(scene.astype(dtype), namespace))
    expected = bp.unknown_boundary(gather_operator(name, 2, "symmetric"))(scene)
    assert str(found.dtype).endswith(dtype)
    assert np.abs(to_numpy(found) - expected).max() < (1e-12 if dtype == "float64" else 1e-5)


def test_batches_of_maps_stay_batches():
    beta = simplex(np.random.default_rng(0), (2, 2, HEIGHT, WIDTH))
    U = bp.unknown_boundary(bp.GKM(beta, sigmas=(0.3, 0.9), channels=1))
    scene = np.random.default_rng(1).random((2, *U.in_shape))
    single = bp.unknown_boundary(bp.GKM(beta[1], sigmas=(0.3, 0.9), channels=1))
    assert U.batch_shape == (2,)
    assert np.allclose(U(scene)[1], single(scene[1]), atol=1e-12)


def test_maps_on_disk_are_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    beta = simplex(np.random.default_rng(0), (2, HEIGHT, WIDTH))
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        stored = bp.GKM(file.create_dataset("beta", data=beta), sigmas=(0.3, 0.9))
        U = bp.unknown_boundary(bp.tiled(stored, tile=6))
    V = bp.unknown_boundary(bp.GKM(beta, sigmas=(0.3, 0.9)))
    scene = np.random.default_rng(1).random(U.in_shape)
    assert np.allclose(U(scene), V(scene), atol=1e-12)


def test_gradients_reach_the_maps():
    beta = torch.tensor(simplex(np.random.default_rng(0), (2, 4, 5)), requires_grad=True)
    scene = torch.rand(1, 8, 9, dtype=torch.float64, requires_grad=True)

    def blurred(beta, scene):
        return bp.unknown_boundary(bp.GKM(beta, sigmas=(0.0, 0.6), channels=1, boundary="zero"))(scene)

    assert torch.autograd.gradcheck(blurred, (beta, scene), fast_mode=True)


def test_a_window_is_a_crop_and_its_transpose_a_frame_of_zeros():
    W = bp.Window((2, 3, 4), margin=(1, 2))
    scene = np.arange(2 * 5 * 8.0).reshape(W.in_shape)
    assert np.array_equal(W(scene), scene[:, 1:4, 2:6])
    assert np.array_equal(W.H(W(scene)), np.pad(W(scene), ((0, 0), (1, 1), (2, 2))))
    assert bp.check(W).passed
    y = W(scene)
    y += 1  # not a view
    assert scene[0, 1, 2] == 10.0
    bare = bp.Window((2, 3, 4))
    assert not np.shares_memory(bare(y), y)
    assert not np.shares_memory(bare.adjoint(y), y)


def test_the_scatter_form_is_served_by_a_window_on_the_larger_scene():
    rng = np.random.default_rng(0)
    psfs, weights = unit_psfs(rng, (2, 3, 3)), simplex(rng, (2, HEIGHT + 2, WIDTH + 2))
    A = bp.Window((3, HEIGHT, WIDTH), margin=1) @ bp.PSFStack(psfs, weights=weights, form="scatter")
    assert A.out_shape == (3, HEIGHT, WIDTH)
    assert bp.check(A).passed


def test_the_adjoint_of_the_scatter_form_is_a_gather_form():
    rng = np.random.default_rng(0)
    A = bp.PSFStack(unit_psfs(rng, (2, 3, 3)), weights=simplex(rng, (2, HEIGHT, WIDTH)), form="scatter").H
    U = bp.unknown_boundary(A)
    scene = rng.random(U.in_shape)
    assert np.allclose(U(scene)[:, 2:-2, 2:-2], A(scene[:, 1:-1, 1:-1])[:, 2:-2, 2:-2], atol=1e-12)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_start_repeats_the_edge(namespace):
    y = np.random.default_rng(0).random((2, 6, 4, 5))
    found = bp.extended(to_namespace(y, namespace), (2, 1))
    assert np.array_equal(to_numpy(found), np.pad(y, ((0, 0), (0, 0), (2, 2), (1, 1)), mode="edge"))
    views = to_numpy(bp.extended(to_namespace(y, namespace), 0, channels=3))
    assert np.allclose(views, (y[:, :3] + y[:, 3:]) / 2)
    assert not np.shares_memory(bp.extended(y, 0), y)


class Foreign(bp.LinearOperator):
    in_shape = out_shape = SHAPE

    def _forward(self, x):
        return x

    _adjoint = _forward


GKM = gather_operator("gkm", 0, "reflect")
SCATTER = bp.PSFStack(np.ones((1, 3, 3)) / 9, weights=np.ones((1, HEIGHT, WIDTH)), channels=CHANNELS, form="scatter")
BAD = [
    (lambda: bp.unknown_boundary(SCATTER), ValueError, "scatter form"),
    (lambda: bp.unknown_boundary(GKM + SCATTER), ValueError, "scatter form"),
    (lambda: bp.unknown_boundary(GKM.H), ValueError, r"unknown_boundary\(A\)\.H"),
    (lambda: bp.unknown_boundary(GKM.H @ GKM), ValueError, "adjoint of GKM"),
    (lambda: bp.unknown_boundary(GKM, margin=3), ValueError, "at least the halo, 4 px"),
    (lambda: bp.unknown_boundary(GKM, margin=(9, 3)), ValueError, "at least the halo"),
    (lambda: bp.unknown_boundary(GKM, margin=-1), ValueError, "margin >= 0"),
    (lambda: bp.unknown_boundary(GKM, margin=4.5), ValueError, r"margin .*4\.5"),
    (lambda: bp.unknown_boundary(GKM, margin=(5, 5, 5)), ValueError, "rows, columns"),
    (lambda: bp.unknown_boundary(bp.unknown_boundary(GKM)), TypeError, "got Window"),
    (lambda: bp.unknown_boundary(Foreign()), TypeError, "got Foreign"),
    (lambda: bp.unknown_boundary(GKM.forward), TypeError, "A.forward instead"),
    (lambda: bp.Window((3, 4)), ValueError, r"\(C, H, W\)"),
    (lambda: bp.Window((3, 0, 4)), ValueError, "positive"),
    (lambda: bp.Window((3, 4, 5), margin=-1), ValueError, "margin >= 0"),
    (lambda: bp.Window((3, 4, 5), margin="1"), ValueError, "margin .*'1'"),
    (lambda: bp.extended(np.ones((4, 5)), 1), ValueError, "D, H, W"),
    (lambda: bp.extended(np.ones((3, 4, 5)), 1, channels=2), ValueError, "divide the 3"),
    (lambda: bp.extended(np.ones((3, 4, 5)), -1), ValueError, "margin >= 0"),
    (lambda: bp.extended(np.ones((3, 4, 5), dtype=int), 1), TypeError, "floating"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


NOISE = 0.002


@pytest.fixture(scope="module")
def photograph():
    """A crop of a photo, blurred by a lens that saw what lies around the crop: (A, scene, observed)."""
    height, width = 72, 96
    photo = np.moveaxis(skimage.data.coffee() / 255.0, -1, 0)
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=6.0, step=0.5)
    A = bp.DefocusBlur(np.broadcast_to(np.linspace(1.5, 6.0, width), (height, width)).copy(), bank=bank)
    p = A.halo
    scene = photo[:, 40 - p : 40 + height + p, 180 - p : 180 + width + p]
    noise = NOISE * np.random.default_rng(0).standard_normal(A.out_shape)
    return A, scene, bp.unknown_boundary(A)(scene) + noise


def errors(x, scene, margin):
    """Root-mean-square error in a strip of one halo along the border, and inside it."""
    squared = (x - without_frame(scene, margin)) ** 2
    inside = np.zeros(squared.shape[-2:], dtype=bool)
    inside[margin:-margin, margin:-margin] = True
    return np.sqrt(squared[:, ~inside].mean()), np.sqrt(squared[:, inside].mean())


def by_cgls(A, y, x0):
    return solvers.cgls(A, y, x0=x0, noise_level=NOISE, max_iterations=40).x


def by_hqs(A, y, x0):
    prox = partial(solvers.tv, iterations=20)
    return solvers.hqs(A, y, x0=x0, prox=prox, rho=(0.01, 0.03, 0.1), strength=3e-4, max_iterations=6).x


@pytest.mark.parametrize("solve", [by_cgls, by_hqs])
def test_a_real_border_does_not_ring(photograph, solve):
    A, scene, y = photograph
    p = A.halo
    blurred = errors(y, scene, p)
    known = bp.Window(A.in_shape, p)
    border, interior = errors(known(solve(bp.unknown_boundary(A), y, bp.extended(y, p))), scene, p)
    assert border < 0.8 * blurred[0]
    assert interior < 0.8 * blurred[1]
    for rule, gain in {"reflect": 0.55, "replicate": 0.9, "circular": 0.1}.items():
        wrong = errors(solve(A.replace(boundary=rule), y, y), scene, p)
        assert border < gain * wrong[0], rule
        assert interior < 1.02 * wrong[1], rule
        assert rule == "replicate" or wrong[0] > 1.1 * blurred[0]  # worse than to leave it blurred
