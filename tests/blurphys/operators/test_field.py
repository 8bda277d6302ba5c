"""Defocus that depends on the place in the frame: the dense twin, the laws, equality with DualPixel, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.operators.field import FieldDefocus
from tests import oracles
from tests.profiles import examples
from tests.strategies import Setup, to_namespace, unit_psfs

RADII = (-2.5, -1.0, 0.0, 0.75, 2.0)
VIEWS = ("left", "right", "combined")


def draw(rng, rows, cols, size, *, colours=()):
    shape = (len(RADII), *colours, *size)
    return [[{view: unit_psfs(rng, shape) for view in VIEWS} for _ in range(cols)] for _ in range(rows)]


def banks_of(psfs, namespace="numpy"):
    return [
        [bp.PSFBank(psfs={v: to_namespace(k, namespace) for v, k in node.items()}, radii=RADII) for node in row]
        for row in psfs
    ]


def defocus_of(rng, shape):
    defocus = rng.uniform(-2.4, 1.9, shape)
    defocus.flat[0], defocus.flat[-1] = 0.75, -2.5
    return defocus


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict", "torch"])
@given(
    seed=st.integers(0, 2**16), height=st.integers(3, 6), width=st.integers(3, 7), rows=st.integers(1, 3),
    cols=st.integers(1, 4), boundary=st.sampled_from(oracles.BOUNDARIES), nodes=st.sampled_from(["corners", "centres"]),
    views=st.sampled_from([("combined",), ("left", "right"), VIEWS[::-1]]), coloured=st.booleans(),
)  # fmt: skip
@examples(8)
def test_dense_twin(namespace, seed, height, width, rows, cols, boundary, nodes, views, coloured):
    rng = np.random.default_rng(seed)
    size = Setup(height=height, width=width, boundary=boundary, support=(3, 4)).supports()
    psfs = draw(rng, rows, cols, size, colours=(2,) if coloured else ())
    defocus = defocus_of(rng, (height, width))
    A = FieldDefocus(
        to_namespace(defocus, namespace), banks=banks_of(psfs, namespace), channels=2, boundary=boundary, views=views,
        nodes=nodes,
    )  # fmt: skip
    expected = oracles.field_defocus(
        defocus, [[[node[v] for v in views] for node in row] for row in psfs], RADII, 2, boundary, nodes
    )
    assert A.in_shape == (2, height, width) and A.out_shape == (2 * len(views), height, width)
    x, u = rng.normal(size=A.in_shape), rng.normal(size=A.out_shape)
    y, back = A(to_namespace(x, namespace)), A.adjoint(to_namespace(u, namespace))
    assert np.allclose(np.asarray(y).ravel(), expected @ x.ravel(), atol=1e-12)
    assert np.allclose(np.asarray(back).ravel(), expected.T @ u.ravel(), atol=1e-12)


def test_one_bank_everywhere_is_dual_pixel_to_the_bit(rng):
    bank = bp.PSFBank(bp.Pupil.disk(cat_eye=(0.4, 0.2)), max_radius=3.0)
    for dtype in (np.float32, np.float64):
        defocus = rng.uniform(-3, 3, (40, 52)).astype(dtype)
        x, u = rng.random((3, 40, 52)).astype(dtype), rng.random((6, 40, 52)).astype(dtype)
        field = FieldDefocus(defocus, banks=[[bank] * 3] * 2, views=("left", "right"))
        plain = bp.DualPixel(defocus, bank=bank)
        assert np.array_equal(field(x), plain(x)) and field(x).dtype == dtype
        assert np.array_equal(field.adjoint(u), plain.adjoint(u))
        again = bp.PSFBank(bp.Pupil.disk(cat_eye=(0.4, 0.2)), max_radius=3.0)  # equal, but not the same object
        other = FieldDefocus(defocus, banks=[[bank, again, bank], [again, bank, bank]], views=("left", "right"))
        assert np.allclose(other(x), plain(x), atol=8 * np.finfo(dtype).eps)
        assert np.allclose(other.adjoint(u), plain.adjoint(u), atol=32 * np.finfo(dtype).eps)


def some(seed=0, shape=(24, 31), namespace="numpy", dtype="float64", **options):
    rng = np.random.default_rng(seed)
    banks = banks_of([[{v: k.astype(dtype) for v, k in n.items()} for n in r] for r in draw(rng, 3, 2, (5, 4))])
    return FieldDefocus(to_namespace(defocus_of(rng, shape).astype(dtype), namespace), banks=banks, **options)


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_passes_the_check(namespace, dtype):
    A = some(namespace=namespace, dtype=dtype, views=("left", "right"), shape=(9, 11))
    report = bp.check(A)
    assert report, str(report)


@pytest.mark.parametrize("boundary", ["reflect", "symmetric", "replicate", "circular"])
def test_constants_and_light_stay(boundary):
    A = some(boundary=boundary, views=VIEWS).validate()
    assert np.allclose(A(np.full(A.in_shape, 0.7)), 0.7)
    assert A(np.random.default_rng(1).random(A.in_shape)).min() >= 0


def test_at_a_node_the_psf_is_the_nodes_own():
    rng = np.random.default_rng(5)
    psfs = draw(rng, 2, 3, (3, 5))
    A = FieldDefocus(np.full((13, 21), 0.75), banks=banks_of(psfs), views=("left", "right"))
    for i, row in enumerate((0, 12)):
        for j, col in enumerate((0, 10, 20)):
            expected = np.stack([psfs[i][j][v][3] for v in ("left", "right")])
            assert np.allclose(A.psf_at(row, col), expected)
    between = 0.5 * (psfs[0][0]["left"][3] + psfs[0][1]["left"][3])
    assert np.allclose(A.psf_at(0, 5)[0], between)
    centres = A.replace(nodes="centres")
    assert np.allclose(centres.psf_at(0, 0)[0], psfs[0][0]["left"][3])
    assert np.allclose(centres.psf_at(2, 3)[1], psfs[0][0]["right"][3])


def test_psf_at_is_a_row_of_the_operator():
    A = some(views=("left", "right"), channels=1)
    y = np.zeros(A.out_shape)
    y[1, 12, 17] = 1
    row, psf = A.adjoint(y)[0], A.psf_at(12, 17)[1]
    assert psf.shape == (5, 4)
    assert np.allclose(row[10:15, 16:20], psf[::-1, ::-1])


def test_banks_of_other_sizes_are_laid_centre_on_centre():
    rng = np.random.default_rng(2)
    sizes = ((3, 4), (1, 7), (4, 4), (5, 1))
    psfs = [[{"combined": unit_psfs(rng, (len(RADII), *size))} for size in sizes]]
    defocus = defocus_of(rng, (6, 9))
    A = FieldDefocus(defocus, banks=banks_of(psfs), channels=1)
    views = [[[node["combined"]] for node in psfs[0]]]
    assert np.allclose(
        bp.to_dense(A), oracles.field_defocus(defocus, views, RADII, 1, "reflect", "corners"), atol=1e-12
    )


def test_shared_and_coloured_banks_mix():
    rng = np.random.default_rng(3)
    one, two = draw(rng, 1, 1, (3, 3))[0][0], draw(rng, 1, 1, (3, 3), colours=(2,))[0][0]
    A = FieldDefocus(np.zeros((5, 9)), banks=banks_of([[one, two]]), channels=2)
    assert np.allclose(A.psf_at(0, 0)[0], one["combined"][2])
    assert np.allclose(A.psf_at(0, 8)[0], two["combined"][2])


def test_a_batch_of_maps(rng):
    single = [defocus_of(rng, (8, 9)) for _ in range(2)]
    x = rng.random((2, 3, 8, 9))
    A = some(shape=(8, 9))
    batch = A.replace(defocus_map=np.stack(single))
    assert batch.batch_shape == (2,)
    for i, defocus in enumerate(single):
        assert np.allclose(batch(x)[i], A.replace(defocus_map=defocus)(x[i]))


@pytest.mark.parametrize("boundary", ["reflect", "circular"])
def test_tiles(boundary, rng):
    A = some(shape=(40, 50), boundary=boundary, views=("left", "right"))
    T = bp.tiled(A, (9, 14))
    x, u = rng.random(A.in_shape), rng.random(A.out_shape)
    assert np.allclose(T(x), A(x), atol=1e-13)
    assert np.allclose(T.adjoint(u), A.adjoint(u), atol=1e-13)


def test_torch_differentiates_in_image_map_and_psfs():
    rng = np.random.default_rng(4)
    psfs = [torch.tensor(unit_psfs(rng, (len(RADII), 3, 3)), requires_grad=True) for _ in range(2)]
    defocus = torch.tensor(rng.uniform(-2.4, 1.9, (4, 5)), requires_grad=True)
    x = torch.tensor(rng.random((1, 4, 5)), requires_grad=True)

    def blur(x, defocus, left, right):
        banks = [[bp.PSFBank(psfs=p, radii=RADII) for p in (left, right)]]
        return FieldDefocus(defocus, banks=banks, channels=1)(x)

    assert torch.autograd.gradcheck(blur, (x, defocus, *psfs), eps=1e-7, atol=1e-5)


def test_the_field_is_where_it_is_said_to_be():
    """Left bank left, lower bank below: an impulse in each quarter spreads as its own corner's PSF."""
    narrow, wide = (np.pad(np.ones((1, 1)), 2), np.ones((5, 5)) / 25)
    banks = [
        [bp.PSFBank(psfs=np.stack([k, k]), radii=(-1.0, 1.0)) for k in row] for row in ((narrow, wide), (narrow,) * 2)
    ]
    A = FieldDefocus(np.zeros((60, 80)), banks=banks, channels=1, nodes="centres")
    x = np.zeros((1, 60, 80))
    x[0, ::10, ::10] = 1
    y = A(x)[0]
    assert y[10, 10] == y[50, 10] == y[50, 70] == 1
    assert y[10, 70] == pytest.approx(1 / 25)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"banks": bp.PSFBank(bp.Pupil.disk(), max_radius=3.0)}, ValueError, "rows of columns"),
        ({"banks": [bp.PSFBank(bp.Pupil.disk(), max_radius=3.0)]}, ValueError, "rows of columns"),
        ({"banks": []}, ValueError, "one length"),
        ({"banks": [[]]}, ValueError, "one length"),
        ({"banks": [["bank"]]}, TypeError, "PSFBank, got str"),
        ({"banks": [[1.0]]}, TypeError, "PSFBank, got float"),
        ({"views": "left"}, ValueError, "tuple of views"),
        ({"views": ()}, ValueError, "different views"),
        ({"views": ("left", "left")}, ValueError, "different views"),
        ({"views": ("up",)}, ValueError, "among"),
        ({"nodes": "middle"}, ValueError, "'corners' or 'centres'"),
        ({"boundary": "mirror"}, ValueError, "boundary"),
        ({"channels": 0}, ValueError, "channels"),
        ({"defocus_map": np.full((24, 31), 9.0)}, ValueError, "within the bank's"),
        ({"defocus_map": np.full((24, 31), np.nan)}, ValueError, "finite defocus_map"),
        ({"defocus_map": np.zeros((24, 31), int)}, TypeError, "floating point"),
        ({"defocus_map": np.zeros((2, 31))}, ValueError, "too small"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        some().replace(**change)


def test_bad_grids():
    a = bp.PSFBank(bp.Pupil.disk(), max_radius=3.0)
    b = bp.PSFBank(bp.Pupil.disk(), max_radius=2.0)
    with pytest.raises(ValueError, match="one length, got \\[2, 1\\]"):
        FieldDefocus(np.zeros((9, 9)), banks=[[a, a], [a]])
    with pytest.raises(ValueError, match="same radii, got 9 levels from -2 to 2 px beside 13"):
        FieldDefocus(np.zeros((9, 9)), banks=[[a, b]])
    coloured = [bp.PSFBank(psfs=np.ones((2, c, 1, 1)), radii=(-1.0, 1.0)) for c in (2, 3)]
    with pytest.raises(ValueError, match="same colours"):
        FieldDefocus(np.zeros((9, 9)), banks=[coloured])
    with pytest.raises(ValueError, match="for 3 colours, got one for 2"):
        FieldDefocus(np.zeros((9, 9)), banks=[coloured[:1]])
    tensors = bp.PSFBank(psfs=torch.ones((2, 1, 1)), radii=(-1.0, 1.0))
    with pytest.raises(TypeError, match="to live where"):
        FieldDefocus(np.zeros((9, 9)), banks=[[tensors]])
