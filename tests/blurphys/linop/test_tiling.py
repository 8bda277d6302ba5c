"""`bp.tiled`: equal to the untiled operator, whatever the tiles, from and to arrays, memory-mapped files and HDF5."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import blurphys as bp
import solvers
from blurphys.bench import large
from blurphys.linop import memory, tiling, windows
from tests.cases import CASES, FAMILIES, OFF_FRAME, build
from tests.oracles import BOUNDARIES
from tests.profiles import NIGHTLY
from tests.storage import agree, maps_on_disk
from tests.strategies import Setup, setups

UNTILED = [family for family in FAMILIES if not family.startswith("Tiled") and family != "Window"]
tiles = st.tuples(st.integers(1, 9), st.integers(1, 9))


def check_equal(A, T, s: Setup, lead=()) -> None:
    x, u = s.array(s.image(A.in_shape, lead)), s.array(s.image(A.out_shape, lead, salt=2))
    assert T.in_shape == A.in_shape and T.out_shape == A.out_shape and T.batch_shape == A.batch_shape
    assert T.like is A.like and T.halo == A.halo
    assert agree(T.forward(x), A.forward(x), s.dtype)
    assert agree(T.adjoint(u), A.adjoint(u), s.dtype)


# ---- tiled == untiled ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", UNTILED)
@given(s=setups(sides=13, signed=(False, True)), tile=tiles)
@example(s=Setup(boundary="reflect", height=12, width=13, support=(8, 7)), tile=(1, 1))
@example(s=Setup(boundary="circular", height=12, width=13, support=(4, 3)), tile=(1, 2))
def test_tiled_is_the_operator(family, s, tile):
    built = build(family, s)
    check_equal(built.A, bp.tiled(built.A, tile), s, built.lead)


@given(
    s=setups(namespaces=("numpy", "torch"), sides=13),
    other=st.sampled_from(BOUNDARIES),
    tile=tiles,
    how=st.sampled_from("@+s"),
)
def test_two_boundaries_in_one_operator(s, other, tile, how):
    A = CASES["convolution"](s).A
    B = CASES["psf_stack"](s.replace(boundary=other, support=(2, 3), seed=s.seed + 1)).A
    A = A @ B if how == "@" else A + B if how == "+" else bp.stack([B.H, A])
    check_equal(A, bp.tiled(A, tile), s, tuple(3 if b == 1 else b for b in s.batch))


@given(s=setups(namespaces=("numpy",), sides=13), tile=tiles, outer=tiles)
def test_tiled_inside_other_operators(s, tile, outer):
    A, B = CASES["rkr"](s).A, CASES["psf_stack_per_colour"](s).A
    lead, identity = tuple(3 if b == 1 else b for b in s.batch), bp.Identity(A.in_shape)
    plain = B @ A.H @ A + 0.5 * identity
    T = bp.tiled(A, tile)
    check_equal(plain, B @ T.H @ T + 0.5 * identity, s, lead)
    check_equal(plain, bp.tiled(bp.tiled(B, tile) @ T.H @ T + 0.5 * identity, outer), s, lead)
    check_equal(A, bp.tiled(bp.tiled(A, tile), outer), s, lead)


def test_images_beyond_the_batch_of_the_maps():
    s = Setup(batch=(2, 1), height=7, width=9)
    A = CASES["gkm"](s).A
    check_equal(A, bp.tiled(A, (3, 4)), s, (5, 2, 3))


def without_the_extra_pixel(monkeypatch, lost: int):
    monkeypatch.setattr(tiling, "margin_of", lambda A: A.halo + 1 - lost)


@pytest.mark.parametrize("lost, method", [(1, "adjoint"), (2, "forward")])
def test_a_smaller_window_would_not_do(monkeypatch, lost, method):
    """The margin is the smallest that is right: halo px for the forward, one more for the adjoint under reflect."""
    without_the_extra_pixel(monkeypatch, lost)
    s = Setup(height=12, width=16, support=(5, 5))
    A = CASES["psf_stack"](s).A
    x = s.image(A.in_shape)
    T = bp.tiled(A, (3, 4))
    assert not agree(getattr(T, method)(x), getattr(A, method)(x), s.dtype)


def test_maps_of_a_normal_operator_are_read_once():
    A = CASES["rkr"](Setup(height=9, width=9)).A
    done: dict = {}
    part = (A.H @ A + bp.Identity(A.in_shape))._window((slice(0, 4),), (slice(0, 9),), done)
    assert part.left.left.operator is part.left.right
    assert part.in_shape == (2, 4, 9) and len(done) == 5


# ---- torch --------------------------------------------------------------------------------------------------------


@given(s=setups(namespaces=("torch",), dtypes=("float64",), sides=9), tile=tiles)
def test_gradients_go_through_tiles(s, tile):
    torch = importlib.import_module("torch")
    bank = bp.PSFBank(
        psfs=s.array(np.random.default_rng(s.seed).random((3, 1, 2))).requires_grad_(), radii=(-1, 0.5, 2)
    )
    beta = CASES["gkm"](s.replace(batch=())).A.beta.requires_grad_()
    sigmas = torch.linspace(0.2, 0.8, beta.shape[0], dtype=torch.float64).requires_grad_()
    supports = (2 * min(s.reach()) + 1 if min(s.reach()) < 2 else 3,) * beta.shape[0]
    A = bp.GKM(beta, sigmas=sigmas, supports=supports, channels=s.channels, boundary=s.boundary)
    c = s.array(np.random.default_rng(s.seed).uniform(-1, 2, beta.shape[1:])).requires_grad_()
    if min(s.height, s.width) > 1 or s.boundary != "reflect":
        A = A @ bp.DefocusBlur(c, bank=bank, channels=s.channels, boundary=s.boundary)
    x = s.array(s.image(A.in_shape, (2,))).requires_grad_()
    u = s.array(s.image(A.out_shape, (2,), salt=2))
    wanted = (x, beta, sigmas) if isinstance(A, bp.GKM) else (x, beta, sigmas, c, bank.psfs())
    for method in ("forward", "adjoint"):
        expected = torch.autograd.grad(getattr(A, method)(x), wanted, u)
        found = torch.autograd.grad(getattr(bp.tiled(A, tile), method)(x), wanted, u)
        for f, e in zip(found, expected, strict=True):
            assert agree(f, e, "float64") or float((f - e).abs().max()) <= 1e-12 * float(e.abs().max())


def test_into_records_nothing():
    torch = importlib.import_module("torch")
    s = Setup(namespace="torch", height=6, width=7)
    A = CASES["gkm"](s).A
    A.beta.requires_grad_()
    x, out = s.array(s.image(A.in_shape)), torch.empty(A.out_shape, dtype=torch.float64)
    assert bp.tiled(A, 3).forward_into(x, out) is out
    assert not out.requires_grad and agree(out, A(x), s.dtype)
    with torch.no_grad():
        assert agree(bp.tiled(A, 3)(x), A(x), s.dtype)


def test_compiled_in_one_piece():
    """The help for a lack of memory must not break a graph."""
    torch = importlib.import_module("torch")
    s = Setup(namespace="torch", height=6, width=7)
    A = CASES["rkr"](s).A
    x = s.array(s.image(A.in_shape))
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dynamo speaks of the caches of array-api-compat
        found = torch.compile(lambda x: A(x), fullgraph=True, backend=backend)(x)
    assert len(seen) == 1 and agree(found, A(x), s.dtype)


# ---- tile and memory ----------------------------------------------------------------------------------------------


def test_tile_and_memory_arguments():
    A = CASES["gkm"](Setup(height=40, width=50)).A
    assert bp.tiled(A, 7).tile_for() == (7, 7)
    assert bp.tiled(A, (7, 1000)).tile_for() == (7, 50)
    assert bp.tiled(A).tile_for() == (40, 50)
    assert "tile (7, 7)" in repr(bp.tiled(A, 7)) and "GKM" in repr(bp.tiled(A, 7))
    assert bp.tiled(A, 7).replace(tile=(3, 4)).tile_for() == (3, 4)
    for bad in (0, (0, 3), (3,), (1, 2, 3), 2.5, "ab", (2.0, 3)):
        with pytest.raises(ValueError, match="tile"):
            bp.tiled(A, bad)
    for bad in (0, -1e9, float("nan"), float("inf"), "2e9", True):
        with pytest.raises(ValueError, match="max_memory"):
            bp.tiled(A, max_memory=bad)


@given(
    name=st.sampled_from(sorted(set(CASES) - set(OFF_FRAME))),
    boundary=st.sampled_from(BOUNDARIES),
    factor=st.floats(1.0, 40.0),
    lead=st.sampled_from(((), (3,))),
)
def test_max_memory_is_kept_and_the_smallest_is_named(name, boundary, factor, lead):
    s = Setup(boundary=boundary, height=70, width=90, batch=())
    A = CASES[name](s).A
    with pytest.raises(ValueError, match="at least") as caught:
        bp.tiled(A, max_memory=1.0)
    least = int(str(caught.value).split("at least ")[1].split(" bytes")[0])
    assert bp.tiled(A, max_memory=least).tile_for()
    with pytest.raises(ValueError, match=f"at least {least} bytes"):
        bp.tiled(A, max_memory=least - 1)
    T = bp.tiled(A, max_memory=factor * windows.smallest_memory(A, 8, lead))
    rows, cols = T.tile_for(lead)
    assert windows.Plan.of(A, 8, lead).bytes((rows, cols)) <= T.max_memory
    assert rows >= 8 and cols >= 8  # no less than 16, then shared out evenly
    x = s.image(A.in_shape, lead)
    assert agree(T(x), A(x), s.dtype)


def test_a_tile_that_needs_more_than_max_memory():
    A = CASES["gkm"](Setup(height=40, width=50)).A
    with pytest.raises(ValueError, match=r"a tile of \(30, 30\)"):
        bp.tiled(A, 30, max_memory=1e4)


def test_more_images_make_smaller_tiles():
    A = CASES["rkr"](Setup(height=200, width=300)).A
    T = bp.tiled(A, max_memory=3e6)
    assert np.prod(T.tile_for((8,))) < np.prod(T.tile_for()) < 200 * 300
    with pytest.raises(ValueError, match="1000 images"):
        T(np.zeros((1000, *A.in_shape)))


# ---- bad input ----------------------------------------------------------------------------------------------------


class Foreign(bp.LinearOperator):
    """Half of everything; knows nothing of windows. `error` is raised instead of a result."""

    in_shape = out_shape = (1, 8, 9)
    error: Exception | None = None

    def _forward(self, x):
        if self.error is not None:
            raise self.error
        return 0.5 * x

    _adjoint = _forward


def test_what_cannot_be_tiled_is_refused():
    for A in (Foreign(), Foreign() @ bp.Identity((1, 8, 9)), bp.stack([bp.Identity((1, 8, 9)), Foreign().H])):
        with pytest.raises(TypeError, match="Foreign"):
            bp.tiled(A)
    with pytest.raises(TypeError, match=r"A\.forward instead of A"):
        bp.tiled(Foreign().forward)


# ---- out of memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 7 GiB"), RuntimeError("alloc_cpu: can't allocate memory")]
)
@pytest.mark.parametrize("method", ("forward", "adjoint"))
@pytest.mark.parametrize("free", (10**9, 5 * 10**5, None))
def test_lack_of_memory_suggests_tiles_that_fit(monkeypatch, error, method, free):
    s = Setup(height=200, width=300)
    A = CASES["gkm"](s).A

    def fail(*arguments):
        raise error

    monkeypatch.setattr("blurphys.operators.gkm.kernel", lambda name, x: fail)
    monkeypatch.setattr(memory, "available", lambda x: free)
    for B in (A, 2 * A, bp.tiled(A)):
        with pytest.raises(MemoryError, match=r"bp\.tiled\(A, max_memory=") as caught:
            getattr(B, method)(s.image(A.in_shape))
        assert caught.value.__cause__ is error
        size = float(str(caught.value).split("max_memory=")[1].split(")")[0])
        assert bp.tiled(A, max_memory=size).tile_for()
        if free == 10**9:
            assert 1e8 < size < 1e9


def test_other_errors_and_operators_are_left_alone(monkeypatch):
    A = Foreign()
    for error in (MemoryError("foreign"), RuntimeError("something else")):
        A.error = error
        with pytest.raises(type(error)) as caught:
            A(np.ones((1, 8, 9)))
        assert caught.value is error
    s = Setup()
    B = CASES["gkm"](s).A
    monkeypatch.setattr(
        "blurphys.operators.gkm.kernel", lambda name, x: lambda *a: (_ for _ in ()).throw(RuntimeError("shapes"))
    )
    with pytest.raises(RuntimeError, match="shapes"):
        B(s.image(B.in_shape))


def test_available_memory():
    free = memory.available(np.zeros(1))
    assert free is None or free > 2**20


# ---- at work ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", (True, False))
def test_inside_conjugate_gradients(tmp_path, outside):
    s = Setup(height=60, width=50, count=4)
    A = CASES["rkr"](s).A
    B = maps_on_disk(A, tmp_path, "hdf5" if outside else "memmap")
    identity = 0.1 * bp.Identity(A.in_shape)
    T = bp.tiled(B, (20, 17))
    normal = T.H @ T + identity if outside else bp.tiled(B.H @ B + identity, (20, 17))
    rhs = A.adjoint(s.image(A.out_shape))
    expected = solvers.cg(A.H @ A + identity, rhs, tol=1e-10)
    found = solvers.cg(normal, rhs, tol=1e-10)
    assert found.converged and expected.converged
    assert np.abs(found.x - expected.x).max() <= 1e-9 * np.abs(expected.x).max()


def test_example_runs(tmp_path, capsys):
    path = Path(__file__).resolve().parents[3] / "examples" / "tiled_cg.py"
    spec = importlib.util.spec_from_file_location("tiled_cg", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--megapixels", "0.01", "--iterations", "3", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 iterations" in said and "residuals" in said
    assert not list(tmp_path.iterdir()), "the maps are removed"


@pytest.mark.parametrize("storage", ("memmap", "hdf5") if NIGHTLY else ("hdf5",))
def test_large_blur_in_bounded_memory(tmp_path, storage):
    found = large.run(3.0, tmp_path, levels=20, storage=storage, max_memory=4e7)
    assert found["difference"] <= 1e-6
    assert np.prod(found["shape"]) == pytest.approx(3e6, rel=0.01)
    assert not list(tmp_path.iterdir())
    if sys.platform == "linux":  # maps, image and result are 312 MB
        assert found["resident_bytes"] - found["resident_before"] <= 8e7


def test_large_blur_bad_input(tmp_path, capsys):
    for options in ({"megapixels": 0}, {"megapixels": float("nan")}, {"megapixels": 1, "levels": 1}):
        with pytest.raises(ValueError, match="megapixels > 0"):
            large.run(folder=tmp_path, **options)
    with pytest.raises(ValueError, match="storage"):
        large.run(1, tmp_path, storage="tape")
    with pytest.raises(OSError, match="free space"):
        large.run(1e9, tmp_path)
    assert large._main(["--megapixels", "0.05", "--folder", str(tmp_path), "--levels", "3", "--max-memory", "10"]) == 2
    assert "at least" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
