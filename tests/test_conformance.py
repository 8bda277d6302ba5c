"""The laws, over every operator: boundary, namespace, dtype and sizes are drawn by hypothesis."""

import importlib
import inspect
import pkgutil
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.linop.algebra import Adjoint
from tests.cases import CASES, FAMILIES, GATHER, OFF_FRAME, ROWS_ARE_PSFS, Built, build
from tests.oracles import BOUNDARIES
from tests.profiles import NIGHTLY, examples, laws
from tests.strategies import DTYPES, EPS, GPU_NAMESPACES, Setup, setups, to_numpy

PACKAGES = ("blurphys", "synth", "solvers", "nets")

every_case = pytest.mark.parametrize("name", CASES)
# More rows of the wrapper whose equality with what it wraps tests/blurphys/linop/test_tiling.py checks for all.
every_family = pytest.mark.parametrize("family", [f for f in FAMILIES if NIGHTLY or f != "Tiled-more"])
BEYOND = Setup(boundary="circular", height=2, width=3, support=(8, 7), count=4, seed=3)  # PSF larger than the image


def stated_types(s: Setup, built: Built, x, lead=()):
    """Apply A and return (input, output) after the promises that hold for every call have been checked."""
    given_x = s.array(x)
    y = built.A(given_x)
    assert type(y) is type(given_x) and y.dtype == given_x.dtype and y.device == given_x.device
    assert tuple(y.shape) == (*lead, *built.out_shape)
    return given_x, y


def matvec(matrix: np.ndarray, x: np.ndarray, shape) -> np.ndarray:
    """Apply matrix (*B, n_out, n_in) to images (..., C, H, W)."""
    flat = x.reshape(*x.shape[:-3], -1, 1)
    out = np.matmul(matrix, flat)[..., 0]
    return out.reshape(*out.shape[:-1], *shape)


# ---- nobody is forgotten ------------------------------------------------------------------------------------------

ELSEWHERE = {
    "blurphys.adapters.foreign.Foreign",  # the functions of others: test_linalg.py
    "blurphys.operators.packed_layers.PackedLayers",  # packed pixels are no image: test_packed_layers.py
    "nets.models.nrknet.recursive_kernels.ColourPairs",  # tensors of three colours alone: test_nrknet.py
}


def subclasses(of: type) -> set[type]:
    return {below for kind in of.__subclasses__() for below in {kind, *subclasses(kind)}}


def test_every_operator_of_the_packages_is_here():
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    kinds = [kind for kind in subclasses(bp.LinearOperator) if not inspect.isabstract(kind)]
    ours = [kind for kind in kinds if kind.__module__.partition(".")[0] in PACKAGES]
    named = {f"{kind.__module__}.{kind.__name__}" for kind in ours if not kind.__name__.startswith("_")}
    built = {type(make(Setup()).A) for make in CASES.values()}
    assert named - {f"{kind.__module__}.{kind.__name__}" for kind in built} == ELSEWHERE


# ---- linearity and batch ------------------------------------------------------------------------------------------


def linear(family, s):
    built = build(family, s)
    lead = built.lead
    a, b = 1.25, -0.5
    x, u = s.image(built.in_shape, lead), s.image(built.in_shape, lead, salt=2)
    combined = to_numpy(built.A(s.array(s.rounded(a * x + b * u))))
    apart = a * to_numpy(built.A(s.array(x))) + b * to_numpy(built.A(s.array(u)))
    gain = 1.0 + np.abs(apart).max()
    assert np.abs(combined - apart).max() <= 100.0 * EPS[s.dtype] * gain * np.sqrt(built.taps)


def batch(family, s):
    built = build(family, s)
    x = s.image(built.in_shape, (2, *built.lead))
    together = to_numpy(stated_types(s, built, x, (2, *built.lead))[1])
    for i in range(2):
        alone = to_numpy(built.A(s.array(x[i])))
        assert np.abs(together[i] - alone).max() <= 20.0 * EPS[s.dtype] * (1.0 + np.abs(alone).max())


# ---- adjoint ------------------------------------------------------------------------------------------------------


def adjoint_gap(forward, backward, x: np.ndarray, u: np.ndarray, give) -> float:
    """|<Ax,u> - <x,A.H u>| / (|Ax| |u|), inner products in float64; `give` brings an array to the operator."""
    Ax, Hu = to_numpy(forward(give(x))), to_numpy(backward(give(u)))
    scale = np.linalg.norm(Ax) * np.linalg.norm(u)
    return float(abs(np.vdot(Ax, u) - np.vdot(x, Hu)) / scale)


def adjoint_bound(dtype: str, taps: int) -> float:
    return EPS[dtype] * max(8.0, np.sqrt(taps))


def adjoint(family, s):
    built = build(family, s)
    x = s.image(built.in_shape, built.lead, positive=True)
    u = s.image(built.out_shape, built.lead, salt=2)
    gap = adjoint_gap(built.A, built.A.adjoint, x, u, s.array)
    assert gap <= adjoint_bound(s.dtype, built.taps)


# ---- dense twin ---------------------------------------------------------------------------------------------------


def check_twin(built: Built, s: Setup) -> None:
    """Forward and adjoint, probed with every unit image, against the matrix of the oracle."""
    D = built.twin()
    tolerance = s.tolerance * max(1.0, float(np.abs(D).max()))
    ones = (1,) * len(built.batch)
    for apply, matrix, shape, back in (
        (built.A.forward, D, built.in_shape, built.out_shape),
        (built.A.adjoint, np.swapaxes(D, -1, -2), built.out_shape, built.in_shape),
    ):
        n = int(np.prod(shape))
        units = np.broadcast_to(np.eye(n).reshape(n, *ones, *shape), (n, *built.batch, *shape))
        found = to_numpy(apply(s.array(units)))
        assert np.abs(found - matvec(matrix, units, back)).max() <= tolerance


@every_family
@laws
@given(s=setups(signed=(False, True), sides=4))
@example(s=BEYOND)
@example(s=BEYOND.replace(boundary="replicate"))
@example(s=BEYOND.replace(boundary="zero"))
@example(s=Setup(boundary="symmetric", height=3, width=2, support=(7, 5), batch=(2,), seed=5))
def test_dense_twin(family, s):
    check_twin(build(family, s), s)


@pytest.mark.parametrize("name", [name for name in CASES if NIGHTLY or not name.startswith("tiled")])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_dense_twin_on_the_largest_image(name, boundary):
    s = Setup(boundary=boundary, height=9, width=11, support=(5, 6), seed=9)
    check_twin(CASES[name](s), s)


@every_case
@pytest.mark.parametrize("boundary", ("replicate", "circular", "zero"))
def test_dense_twin_with_supports_larger_than_the_image(name, boundary):
    s = BEYOND.replace(boundary=boundary, batch=(2,))
    check_twin(CASES[name](s), s)


@every_case
def test_to_dense_is_the_twin(name):
    s = Setup(height=3, width=5, seed=4)
    built = CASES[name](s)
    D = bp.to_dense(built.A)
    assert tuple(D.shape) == (int(np.prod(built.out_shape)), int(np.prod(built.in_shape)))
    assert np.abs(to_numpy(D) - built.twin()).max() <= 1e-12 * max(1.0, np.abs(to_numpy(D)).max())


# ---- physics ------------------------------------------------------------------------------------------------------


def constants_and_non_negativity(family, s):
    if not set(FAMILIES[family]) & set(GATHER):
        return
    s = s.replace(boundary="replicate") if s.boundary == "zero" else s
    built = build(family, s, tuple(GATHER))
    level = s.rounded(0.37)
    flat = to_numpy(built.A(s.array(np.full((*built.lead, *built.in_shape), level))))
    assert np.abs(flat - level).max() <= 8.0 * EPS[s.dtype] * max(4.0, np.sqrt(built.taps))
    x = np.abs(s.image(built.in_shape, built.lead)) * (s.image(built.in_shape, built.lead, salt=3) > 0)
    assert to_numpy(built.A(s.array(x))).min() >= 0.0


@laws
@given(s=setups(boundaries=("circular",)))
def test_scatter_keeps_the_energy(s):
    built = build("PSFStack-scatter", s)
    x = s.image(built.in_shape, built.lead, positive=True)
    before, after = x.sum(axis=(-2, -1)), to_numpy(built.A(s.array(x))).sum(axis=(-2, -1))
    assert np.abs(after / before - 1.0).max() <= 100.0 * EPS[s.dtype]


# ---- types, purity, backends --------------------------------------------------------------------------------------


def kind_of_array_is_kept_and_inputs_are_not_written(family, s):
    built = build(family, s)
    before = [to_numpy(a) for a in built.arrays]
    x = s.image(built.in_shape, built.lead)
    given_x, y = stated_types(s, built, x, built.lead)
    u = s.image(built.out_shape, built.lead, salt=2)
    given_u = s.array(u)
    back = built.A.adjoint(given_u)
    assert type(back) is type(given_u) and back.dtype == given_u.dtype and back.device == given_u.device
    assert tuple(back.shape) == (*built.lead, *built.in_shape)
    assert np.array_equal(to_numpy(given_x), x) and np.array_equal(to_numpy(given_u), u)
    for array, old in zip(built.arrays, before, strict=True):
        assert np.array_equal(to_numpy(array), old)
    if s.namespace == "numpy":  # read-only memory must do, and the result must own its memory
        given_x.flags.writeable = False
        again = built.A(given_x)
        assert np.array_equal(again, y)
        assert family == "Identity" or not np.shares_memory(again, given_x)


def backends_agree_with_numpy_float64(family, s):
    reference = build(family, s.replace(namespace="numpy", dtype="float64"))
    built = build(family, s)
    x, u = s.image(built.in_shape, built.lead), s.image(built.out_shape, built.lead, salt=2)
    for found, expected in (
        (built.A(s.array(x)), reference.A(x)),
        (built.A.adjoint(s.array(u)), reference.A.adjoint(u)),
    ):
        assert np.abs(to_numpy(found) - expected).max() <= s.tolerance * max(1.0, np.abs(expected).max())


@every_family
@examples(12)
@given(s=setups(namespaces=("array_api_strict",)))
def test_nothing_leaves_the_array_standard(family, s):
    reference = build(family, s.replace(namespace="numpy", dtype="float64"))
    built = build(family, s)
    x, u = s.image(built.in_shape, built.lead), s.image(built.out_shape, built.lead, salt=2)
    _, y = stated_types(s, built, x, built.lead)
    back = built.A.adjoint(s.array(u))
    assert type(back) is type(y) and back.dtype == y.dtype and back.device == y.device
    for found, expected in ((y, reference.A(x)), (back, reference.A.adjoint(u))):
        assert np.abs(to_numpy(found) - expected).max() <= s.tolerance * max(1.0, np.abs(expected).max())


def test_memory_layouts_of_torch_images():
    torch = pytest.importorskip("torch")
    for name, make in CASES.items():
        s = Setup(namespace="torch", channels=2, height=4, width=5, seed=2)
        A = make(s).A
        x = s.array(s.image((2, *make(s).in_shape)))
        expected = A(x)
        layouts = (
            x.contiguous(memory_format=torch.channels_last),
            x.transpose(-1, -2).contiguous().transpose(-1, -2),
            torch.cat([x, x], dim=-1)[..., : x.shape[-1]],
            torch.stack([x, 0 * x], dim=-1)[..., 0],
            x[:1].expand(2, -1, -1, -1),
        )
        for i, layout in enumerate(layouts):
            wanted = expected if i < 4 else expected[:1].expand_as(expected)
            assert torch.allclose(A(layout), wanted, rtol=0, atol=1e-13), (name, i)
        u = s.array(s.image(tuple(expected.shape), salt=2))
        flipped = u.transpose(-1, -2).contiguous().transpose(-1, -2)
        assert torch.allclose(A.adjoint(flipped), A.adjoint(u), rtol=0, atol=1e-13), name


def test_memory_layouts_of_numpy_images():
    for name, make in CASES.items():
        s = Setup(seed=2)
        built = make(s)
        x = s.image(built.in_shape)
        expected = built.A(x)
        for layout in (
            np.asfortranarray(x),
            np.repeat(x, 2, axis=-1)[..., ::2],
            x[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
        ):
            assert np.allclose(built.A(layout), expected, rtol=0, atol=1e-13), name


# ---- gradients in the image ---------------------------------------------------------------------------------------


def gradient_in_the_image_is_the_adjoint(family, s):
    torch = importlib.import_module("torch")
    s = s.replace(namespace="torch")
    built = build(family, s)
    x = s.array(s.image(built.in_shape, built.lead)).requires_grad_()
    u = s.array(s.image(built.out_shape, built.lead, salt=2))
    (found,) = torch.autograd.grad(built.A(x), x, u)
    expected = built.A.adjoint(u)
    scale = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) <= 200.0 * EPS[s.dtype] * scale


# ---- PSF of one pixel ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [f for f, names in FAMILIES.items() if set(names) & set(ROWS_ARE_PSFS)])
@laws
@given(s=setups(namespaces=("numpy", "torch"), sides=4), place=st.tuples(st.integers(0, 5), st.integers(0, 6)))
def test_psf_at_is_the_row_of_the_matrix(family, s, place):
    """With the zero boundary a row of the matrix is the PSF itself, cut at the frame."""
    s = s.replace(boundary="zero", batch=())
    built = build(family, s, tuple(ROWS_ARE_PSFS))
    row, column = min(place[0], s.height - 1), min(place[1], s.width - 1)
    psf = to_numpy(built.A.psf_at(row, column))
    coloured = psf if psf.ndim == 3 else np.stack([psf] * s.channels)
    D = built.twin().reshape(*built.out_shape, *built.in_shape)
    height, width = coloured.shape[-2:]
    row_of_psf = np.zeros((s.channels, s.height, s.width))
    for m in range(s.height):
        for n in range(s.width):
            # entry (row, column) <- (m, n) is the tap i - ci = row - m, j - cj = column - n
            i, j = row - m + height // 2, column - n + width // 2
            if 0 <= i < height and 0 <= j < width:
                row_of_psf[:, m, n] = coloured[:, i, j]
    for c in range(s.channels):
        assert np.abs(D[c, row, column, c] - row_of_psf[c]).max() <= s.tolerance


def test_psf_at_shapes():
    for name in ROWS_ARE_PSFS:
        make, s = CASES[name], Setup(channels=2)
        built = make(s)
        psf = built.A.psf_at(1, 2)
        wanted = (2, *built.psf) if "per_colour" in name else built.psf
        assert tuple(psf.shape) == wanted, name
        batched = make(s.replace(batch=(2,)))
        if batched.batch:
            assert tuple(batched.A.psf_at(1, 2).shape) == (2, *wanted), name
    views = CASES["dual_pixel"](Setup(support=(3, 4))).A.psf_at(0, 0)
    assert tuple(views.shape) == (2, 3, 4)
    coloured = CASES["dual_pixel_three_views"](Setup(support=(3, 4))).A.psf_at(0, 0)
    assert tuple(coloured.shape) == (3, 2, 3, 4)


def test_psf_at_belongs_to_the_output_pixel_of_each_view():
    s = Setup(boundary="zero", support=(3, 4), height=5, width=6)
    built = CASES["dual_pixel"](s)
    D = built.twin().reshape(2, s.channels, s.height, s.width, *built.in_shape)
    psf = built.A.psf_at(2, 3)
    for v in range(2):
        for i in range(3):
            for j in range(4):
                assert abs(D[v, 1, 2, 3, 1, 2 - (i - 1), 3 - (j - 2)] - psf[v, i, j]) <= 1e-14


@laws
@given(s=setups(namespaces=("numpy", "torch"), sides=4), place=st.tuples(st.integers(0, 3), st.integers(0, 4)))
def test_psf_at_of_the_scatter_form_belongs_to_the_input_pixel(s, place):
    """Light leaves a pixel with that pixel's PSF: `psf_at` is the response to an impulse there."""
    s = s.replace(boundary="zero", batch=())
    built = build("PSFStack-scatter", s)
    row, column = min(place[0], s.height - 1), min(place[1], s.width - 1)
    psf = to_numpy(built.A.psf_at(row, column))
    coloured = psf if psf.ndim == 3 else np.stack([psf] * s.channels)
    D = built.twin().reshape(*built.out_shape, *built.in_shape)
    height, width = coloured.shape[-2:]
    for c in range(s.channels):
        for m in range(s.height):
            for n in range(s.width):
                i, j = m - row + height // 2, n - column + width // 2
                tap = coloured[c, i, j] if 0 <= i < height and 0 <= j < width else 0.0
                assert abs(D[c, m, n, c, row, column] - tap) <= s.tolerance


def test_psf_at_of_a_product_is_refused():
    for name in ("composed", "sum", "adjoint"):
        with pytest.raises(TypeError, match="psf_at"):
            CASES[name](Setup()).A.psf_at(0, 0)


def test_halo_is_how_far_an_output_pixel_looks():
    for name, make in CASES.items():
        if name in OFF_FRAME:
            continue
        s = Setup(boundary="zero", height=9, width=11, channels=1, support=(5, 6))
        built = make(s)
        D = built.twin().reshape(*built.out_shape, *built.in_shape)
        c, m, n, _, p, q = np.nonzero(D)
        reach = int(max(np.abs(m - p).max(), np.abs(n - q).max()))
        assert isinstance(built.A.halo, int) and built.A.halo >= reach, name
        if built.psf is not None:
            assert built.A.halo == max(v // 2 for v in built.psf), name


# ---- the adjoint as an operator -----------------------------------------------------------------------------------


def adjoint_operator(family, s):
    built = build(family, s)
    A = built.A
    assert A.H.H is A or (isinstance(A, Adjoint) and A.H is A.operator is A.H.H.H)
    assert A.H.in_shape == A.out_shape == built.out_shape and A.H.out_shape == A.in_shape == built.in_shape
    u = s.array(s.image(built.out_shape, built.lead, salt=2))
    x = s.array(s.image(built.in_shape, built.lead))
    assert np.array_equal(to_numpy(A.H(u)), to_numpy(A.adjoint(u)))
    assert np.array_equal(to_numpy(A.H.adjoint(x)), to_numpy(A(x)))
    assert np.array_equal(to_numpy(A(x)), to_numpy(A.forward(x)))


# ---- every law ----------------------------------------------------------------------------------------------------

UNSIGNED = (
    batch,
    adjoint,
    constants_and_non_negativity,
    kind_of_array_is_kept_and_inputs_are_not_written,
    backends_agree_with_numpy_float64,
    gradient_in_the_image_is_the_adjoint,
    adjoint_operator,
)


@every_family
@laws
@given(s=setups(signed=(False, True)))
@example(s=BEYOND)
@example(s=BEYOND.replace(boundary="replicate", dtype="float32"))
@example(s=BEYOND.replace(boundary="zero", namespace="torch"))
def test_laws(family, s):
    """All of them on every operator drawn, because drawing one takes longer than a law."""
    linear(family, s)
    for law in UNSIGNED:
        law(family, s.replace(signed=False))


# ---- products, sums and stacks ------------------------------------------------------------------------------------

ALGEBRA = {
    "(A @ B).H = B.H @ A.H": lambda A, B: ((A @ B).H, B.H @ A.H),
    "(A + B).H = A.H + B.H": lambda A, B: ((A + B).H, A.H + B.H),
    "(2.5 A).H = 2.5 A.H": lambda A, B: ((2.5 * A).H, 2.5 * A.H),
    "A 2.5 = 2.5 A": lambda A, B: (A * 2.5, 2.5 * A),
    "A + B = B + A": lambda A, B: (A + B, B + A),
    "-A": lambda A, B: (-A, -1.0 * A),
    "A - B": lambda A, B: (A - B, A + (-1.0) * B),
    "associative": lambda A, B: ((A @ B) @ A, A @ (B @ A)),
    "distributive": lambda A, B: ((A + B) @ A, A @ A + B @ A),
    "A @ I": lambda A, B: (A @ bp.Identity(A.in_shape), A),
    "I @ A": lambda A, B: (bp.Identity(A.out_shape) @ A, A),
    "stack.H @ stack": lambda A, B: (bp.stack([A, B]).H @ bp.stack([A, B]), A.H @ A + B.H @ B),
}
squares = st.sampled_from(("gkm", "rkr", "scatter", "defocus_blur", "pixel_psf", "convolution"))


@laws
@given(s=setups(), first=squares, second=squares, law=st.sampled_from(sorted(ALGEBRA)))
def test_algebra(s, first, second, law):
    parts = CASES[first](s), CASES[second](s.replace(seed=s.seed + 1))
    one, other = ALGEBRA[law](parts[0].A, parts[1].A)
    x = s.array(s.image(parts[0].in_shape, parts[0].lead or parts[1].lead))
    assert one.in_shape == other.in_shape and one.out_shape == other.out_shape
    assert np.abs(to_numpy(one(x)) - to_numpy(other(x))).max() <= 10.0 * s.tolerance
    assert np.abs(to_numpy(one.adjoint(x)) - to_numpy(other.adjoint(x))).max() <= 10.0 * s.tolerance


@laws
@given(s=setups(), names=st.lists(squares, min_size=1, max_size=3))
def test_stack_concatenates_on_the_channel_axis(s, names):
    parts = [CASES[name](s).A for name in names]
    A = bp.stack(parts)
    assert A.out_shape == (len(names) * s.channels, s.height, s.width)
    x = s.array(s.image((s.channels, s.height, s.width), tuple(3 if b == 1 else b for b in s.batch)))
    found = to_numpy(A(x))
    for i, part in enumerate(parts):
        view = found[..., i * s.channels : (i + 1) * s.channels, :, :]
        assert np.abs(view - to_numpy(part(x))).max() <= s.tolerance


@every_case
def test_operators_are_records(name):
    A = CASES[name](Setup()).A
    with pytest.raises((AttributeError, TypeError)):
        A.halo = 3
    assert not hasattr(A, "update")
    assert type(A).__name__ in repr(A)


def test_replace_makes_a_new_operator():
    s = Setup()
    A = CASES["gkm"](s).A
    other = s.image((s.count, s.height, s.width), positive=True)
    B = A.replace(beta=other)
    x = s.image(A.in_shape)
    assert B is not A and B.beta is not A.beta
    assert np.allclose(B(x), bp.GKM(other, sigmas=A.sigmas, channels=s.channels)(x), rtol=0, atol=1e-14)
    assert not np.allclose(A(x), B(x))
    C = CASES["defocus_blur"](s).A
    moved = C.replace(defocus_map=np.zeros((s.height, s.width)))
    assert np.abs(moved.psf_at(0, 0) - C.bank.psfs("combined")[2]).max() == 0.0


def test_validate_is_opt_in():
    for name in ("gkm", "rkr", "psf_stack", "scatter"):
        good = CASES[name](Setup()).A
        assert good.validate() is good
        bad = CASES[name](Setup(signed=True)).A  # accepted without a word until asked
        with pytest.raises(ValueError, match=r"negative|sum|finite"):
            bad.validate()


# ---- gpu ----------------------------------------------------------------------------------------------------------


def _need(namespace: str) -> None:
    if namespace == "torch-cuda":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device for torch")
    else:
        cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                cupy.cuda.runtime.getDeviceCount()
            except cupy.cuda.runtime.CUDARuntimeError:
                pytest.skip("no CUDA device for CuPy")


@pytest.mark.gpu
@pytest.mark.parametrize("namespace", GPU_NAMESPACES)
def test_laws_on_the_gpu(namespace):
    _need(namespace)
    for name, make in CASES.items():
        for boundary in BOUNDARIES:
            for dtype in DTYPES:
                s = Setup(namespace=namespace, dtype=dtype, boundary=boundary, batch=(2,), support=(5, 6), seed=6)
                built = make(s)
                check_twin(built, s)
                x = s.image(built.in_shape, built.lead, positive=True)
                u = s.image(built.out_shape, built.lead, salt=2)
                gap = adjoint_gap(built.A, built.A.adjoint, x, u, s.array)
                assert gap <= adjoint_bound(dtype, built.taps), (name, boundary, dtype)
                stated_types(s, built, x, built.lead)
