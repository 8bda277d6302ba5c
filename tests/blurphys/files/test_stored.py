"""Arrays on disk: `bp.tiled` from and to memory-mapped files and HDF5, and what is refused."""

from __future__ import annotations

import importlib

import h5py
import numpy as np
import pytest

import blurphys as bp
from blurphys.files import stored
from tests.cases import CASES
from tests.storage import agree, kept, maps_on_disk
from tests.strategies import DTYPES, Setup, to_numpy

# ---- stored sources and sinks -------------------------------------------------------------------------------------

LEAVES = (
    "gkm_per_colour",
    "rkr",
    "rkr_stagewise_mix",
    "psf_stack",
    "scatter",
    "pixel_psf",
    "defocus_blur",
    "dual_pixel",
)


@pytest.mark.parametrize("kind", ("memmap", "hdf5"))
@pytest.mark.parametrize("boundary", ("reflect", "circular"))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LEAVES)
def test_from_file_to_file(tmp_path, name, boundary, dtype, kind):
    s = Setup(boundary=boundary, dtype=dtype, height=17, width=14, batch=() if name == "pixel_psf" else (2,))
    built = CASES[name](s)
    A, T = built.A, bp.tiled(maps_on_disk(built.A, tmp_path, kind), (5, 6))
    x = s.array(s.image(A.in_shape, built.lead))
    u = s.array(s.image(A.out_shape, built.lead, salt=2))
    image, target = (kept(a, tmp_path, kind, n) for a, n in ((x, "image"), (u, "target")))
    assert agree(T(image), A(x), dtype) and type(T(image)) is np.ndarray
    assert agree(T.adjoint(target), A.adjoint(u), dtype)
    assert agree(T(x), A(x), dtype)
    out, back = (kept(np.zeros_like(a), tmp_path, kind, n, "r+") for a, n in ((u, "out"), (x, "back")))
    assert T.forward_into(image, out) is out and T.adjoint_into(target, back) is back
    assert agree(np.array(out), A(x), dtype) and agree(np.array(back), A.adjoint(u), dtype)
    if kind == "memmap":
        assert np.array_equal(np.load(tmp_path / "out.npy"), out)


def test_operators_on_stored_maps_know_their_shapes_and_psfs(tmp_path):
    for name in LEAVES:
        A = CASES[name](Setup(height=9, width=8)).A
        B = maps_on_disk(A, tmp_path, "hdf5")
        assert (B.in_shape, B.out_shape, B.halo, B.batch_shape) == (A.in_shape, A.out_shape, A.halo, A.batch_shape)
        assert B.like.dtype == A.like.dtype and type(B).__name__ in repr(B)
        if "stage" not in name:
            assert np.allclose(B.psf_at(3, 4), A.psf_at(3, 4), rtol=0, atol=1e-15)
            assert bp.tiled(B).validate()
        getattr(B, B._maps).file.close()


def test_values_of_stored_maps_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_BLOCK_BYTES", 500)  # several blocks
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=2.0)
    defocus = np.zeros((40, 9))
    for value, words in ((np.nan, "1 NaN"), (2.5, r"\[0, 2.5\]"), (-3.0, r"\[-3, 0\]")):
        defocus[33, 4] = value
        for kind in ("memmap", "hdf5"):
            with pytest.raises(ValueError, match=words):
                bp.DefocusBlur(kept(defocus, tmp_path, kind, f"map{value}"), bank=bank)
    beta = np.full((2, 40, 9), 0.5)
    beta[0, 21, 3], beta[1, 35, 2] = -0.5, -1.0
    for kind in ("memmap", "hdf5"):
        with pytest.raises(
            ValueError, match=r"no negative weight at every pixel, got 2 .* \(row 21, col 3\) with sum 0"
        ):
            bp.GKM(kept(beta, tmp_path, kind, "beta"), sigmas=(0, 1)).validate()
    psfs = np.full((40, 9, 1, 2), 0.5)
    psfs[30, 2] = 0.75
    for kind in ("memmap", "hdf5"):
        with pytest.raises(ValueError, match=r"sums from 1 to 1.5"):
            bp.PixelPSF(kept(psfs, tmp_path, kind, "psfs")).validate()


def test_a_dataset_is_read_in_windows(tmp_path, monkeypatch):
    A = CASES["rkr"](Setup(height=60, width=50)).A
    B = maps_on_disk(A, tmp_path, "hdf5")
    x = Setup().image(A.in_shape)
    image = kept(x, tmp_path, "hdf5", "image")
    read, plain = [], h5py.Dataset.__getitem__

    def spied(self, index, *more, **options):
        part = plain(self, index, *more, **options)
        read.append(np.size(part) / np.prod(self.shape[:-2]))
        return part

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spied)
    T = bp.tiled(B, (10, 12))
    assert not read, "building must not read the maps"
    T.forward_into(image, np.empty(A.out_shape))
    side = 2 * (A.halo + 1)
    assert len(read) == 2 * 6 * 5 and max(read) <= (10 + side) * (12 + side)


def test_tiles_follow_chunks(tmp_path):
    A = CASES["gkm"](Setup(height=150, width=200)).A
    B = maps_on_disk(A, tmp_path, "hdf5", chunks=(1, 16, 24))
    rows, cols = bp.tiled(B, max_memory=1.2e6).tile_for()
    assert rows % 16 == 0 and (cols % 24 == 0 or cols == 200) and rows < 150
    assert bp.tiled(B, (5, 7)).tile_for() == (5, 7)


def test_private_pages_are_not_lost(tmp_path):
    s = Setup(height=30, width=20)
    A = CASES["gkm"](s).A
    beta = kept(np.zeros_like(A.beta), tmp_path, "memmap", "beta", "c")
    beta[...] = A.beta  # in memory only
    image = kept(np.zeros(A.in_shape), tmp_path, "memmap", "image", "c")
    image[...] = s.image(A.in_shape)
    assert agree(bp.tiled(A.replace(beta=beta), 7)(image), A(np.array(image)), s.dtype)
    assert np.array_equal(beta, A.beta) and not np.array_equal(np.load(tmp_path / "beta.npy"), beta)


def test_pages_are_given_back_and_writes_are_kept(tmp_path):
    mapped = kept(np.zeros((2, 64, 512)), tmp_path, "memmap", "a", "r+")
    mapped[1, 3] = 7.0
    stored.release_pages(mapped[1:])
    stored.release_pages(np.asarray(mapped)[0])
    assert mapped[1, 3].min() == 7.0
    stored.flush_file(mapped)
    assert np.load(tmp_path / "a.npy")[1, 3].min() == 7.0
    stored.release_pages(np.zeros(3))


def test_stored_arrays_where_they_cannot_be(tmp_path):
    A = CASES["gkm"](Setup(height=9, width=8)).A
    x = Setup().image(A.in_shape)
    B = maps_on_disk(A, tmp_path, "hdf5")
    for use in (B.forward, B.adjoint, (2 * B @ A).forward, bp.stack([A, B]).forward, B.H.adjoint):
        with pytest.raises(TypeError, match=r"bp\.tiled\(A\) reads them window by window"):
            use(x)
    assert agree((bp.tiled(B, 3) @ A)(x), A(A(x)), "float64")
    image = kept(x, tmp_path, "hdf5", "image")
    with pytest.raises(TypeError, match=r"bp\.tiled\(A\) may stay on disk"):
        A(image)
    with pytest.raises(TypeError, match="sigmas|atoms|psfs|in memory"):
        bp.PSFStack(kept(np.ones((3, 2, 2)), tmp_path, "hdf5", "psfs"), weights=A.beta)
    torch = importlib.import_module("torch")
    with pytest.raises(TypeError, match="live where"):
        bp.tiled(B)(torch.tensor(x))
    with pytest.raises(TypeError, match="foreign byte order"):
        bp.GKM(kept(A.beta.astype(">f4"), tmp_path, "hdf5", "swapped"), sigmas=(0.0, 0.5, 0.8))
    with pytest.raises(TypeError, match="int"):
        bp.GKM(kept(np.ones((2, 4, 4), dtype=np.int32), tmp_path, "hdf5", "whole"), sigmas=(0.0, 0.5))
    with pytest.raises(ValueError, match="trailing shape"):
        bp.tiled(A)(kept(x[:, :4], tmp_path, "hdf5", "cropped"))
    B.beta.file.close()
    with pytest.raises(ValueError, match="closed"):
        bp.tiled(B, 3)


def sinks(A, x, place):
    """Bad sinks: (what, array, error, words)."""
    good = np.zeros(A.out_shape)
    locked = good.copy()
    locked.flags.writeable = False
    torch = importlib.import_module("torch")
    yield np.zeros((A.out_shape[0] + 1, *A.out_shape[1:])), ValueError, "out of shape"
    yield np.zeros((1, *A.out_shape)), ValueError, "out of shape"
    yield good.astype(np.float32), TypeError, "dtype"
    yield good.astype(int), TypeError, "floating point"
    yield torch.tensor(good), TypeError, "live where"
    yield good.tolist(), TypeError, "list"
    yield locked, ValueError, "read-only"
    yield kept(good, place, "hdf5", "locked"), ValueError, "read-only"
    yield kept(good, place, "memmap", "locked"), ValueError, "read-only"
    yield x, ValueError, "apart from the image"
    yield x[:, ::-1], ValueError, "apart from the image"
    yield A.beta[: A.out_shape[0]], ValueError, "apart from the beta"


def test_bad_sinks_are_refused_before_anything_is_written(tmp_path):
    A = CASES["gkm"](Setup(height=9, width=8)).A
    x = Setup().image(A.in_shape)
    beta, before = A.beta.copy(), x.copy()
    T = bp.tiled(A, 4)
    for out, error, words in sinks(A, x, tmp_path):
        with pytest.raises(error, match=words):
            T.forward_into(x, out)
        assert np.array_equal(x, before)
        assert words.startswith("apart") or not to_numpy(out).any()
    with pytest.raises(ValueError, match="trailing shape"):
        T.forward_into(x[:, :3], np.zeros(A.out_shape))
    assert np.array_equal(A.beta, beta)


def test_one_file_as_source_and_sink(tmp_path):
    A = CASES["gkm"](Setup(height=9, width=8)).A
    x, T = Setup().image(A.in_shape), bp.tiled(A, 4)
    np.save(tmp_path / "a.npy", np.stack([x, x, x]))
    one, other = (np.load(tmp_path / "a.npy", mmap_mode="r+") for _ in range(2))
    with pytest.raises(ValueError, match="apart from the image"):
        T.forward_into(one[0], other[0])
    assert agree(T.forward_into(one[0], one[1]), A(x), "float64")
    raw = tmp_path / "raw"
    x.tofile(raw)
    source = np.memmap(raw, dtype=float, mode="r+", shape=x.shape)
    with raw.open("ab") as file:
        file.write(bytes(x.nbytes))
    sink = np.memmap(raw, dtype=float, mode="r+", shape=x.shape, offset=x.nbytes)
    assert agree(T.forward_into(source, sink), A(x), "float64")
    raw.unlink()
    with pytest.raises(ValueError, match="apart from the image"):
        T.forward_into(source, source[:, ::-1])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = x, 0 * x
        with pytest.raises(ValueError, match="apart from the image"):
            T.forward_into(file["x"], file["x"])
        assert agree(T.forward_into(file["x"], file["y"])[:], A(x), "float64")
    torch = importlib.import_module("torch")
    B = CASES["gkm"](Setup(height=9, width=8, namespace="torch")).A
    both = torch.stack([torch.tensor(x), torch.zeros(x.shape, dtype=torch.float64)])
    with pytest.raises(ValueError, match="apart from the image"):
        bp.tiled(B, 4).forward_into(both[0], both[0])
    assert agree(bp.tiled(B, 4).forward_into(both[0], both[1]), A(x), "float64")


def test_aliases_of_one_file_overlap(tmp_path):
    """A virtual dataset may show any file; a mapped file may be the one that holds the dataset."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.zeros((3, 6, 7))
        layout = h5py.VirtualLayout((3, 6, 7), "f8")
        layout[...] = h5py.VirtualSource(f["x"])
        f.create_virtual_dataset("v", layout)
        f["other"] = np.zeros((3, 6, 7))
        f.flush()
        mapped = np.memmap(path, "f8", "r+", offset=f["x"].id.get_offset(), shape=(3, 6, 7))
        assert (
            stored.shares_memory(f["x"], f["v"])
            and stored.shares_memory(f["x"], mapped)
            and stored.shares_memory(mapped, f["x"])
        )
        assert not stored.shares_memory(f["x"], f["other"]) and not stored.shares_memory(f["x"], np.zeros((3, 6, 7)))
        del mapped
