"""Operators in files come back as they were, and a file that is none says so."""

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from tests.cases import FAMILIES, build
from tests.profiles import examples
from tests.strategies import setups, to_numpy


@pytest.mark.parametrize("family", FAMILIES)
@examples(10)
@given(data=st.data())
def test_round_trip(family, data, tmp_path_factory):
    s = data.draw(setups(namespaces=("numpy", "torch")))
    built = build(family, s)
    path = tmp_path_factory.mktemp("operators") / "A.h5"
    bp.save(built.A, path)
    like = None if s.namespace == "numpy" else s.array(s.image(built.in_shape, built.lead))
    again = bp.load(path, like=like)
    x = s.array(s.image(built.in_shape, built.lead))
    assert type(again) is type(built.A)
    assert repr(again) == repr(built.A)
    assert np.array_equal(to_numpy(again(x)), to_numpy(built.A(x)))


def test_a_bank_of_a_pupil_keeps_its_kernels(tmp_path):
    bank = bp.PSFBank(bp.Pupil.butterworth(order=2, cutoff=0.7, split=0.2), max_radius=4, step=1)
    A = bp.DualPixel(np.linspace(-4, 4, 12 * 15).reshape(12, 15), bank=bank, views=("right", "combined", "left"))
    bp.save(A, tmp_path / "A.h5")
    again = bp.load(tmp_path / "A.h5")
    assert again.views == A.views
    for view in bank.views:
        assert np.array_equal(again.bank.psfs(view), bank.psfs(view))


def test_an_unknown_boundary_is_kept(tmp_path):
    A = bp.unknown_boundary(bp.Convolution(bp.psf.normalize(np.random.default_rng(0).random((3, 4))), shape=(1, 6, 7)))
    bp.save(A, tmp_path / "A.h5")
    x = np.random.default_rng(1).random(A.in_shape)
    assert np.array_equal(bp.load(tmp_path / "A.h5")(x), A(x))


def test_maps_on_disk_are_copied(tmp_path):
    beta = np.random.default_rng(0).random((3, 20, 24))
    with h5py.File(tmp_path / "maps.h5", "w") as maps:
        maps["beta"] = beta
        A = bp.tiled(bp.GKM(maps["beta"], sigmas=(0.0, 1.0, 2.0)), tile=8)
        bp.save(A, tmp_path / "A.h5")
    x = np.random.default_rng(1).random((3, 20, 24))
    again = bp.load(tmp_path / "A.h5")
    assert type(again) is type(A)
    assert np.allclose(again(x), bp.GKM(beta, sigmas=(0.0, 1.0, 2.0))(x), atol=1e-13)


def test_nothing_is_pickled_and_nothing_foreign_is_saved(tmp_path):
    class Mine(bp.LinearOperator):
        in_shape = out_shape = (1, 2, 2)

        def _forward(self, x):
            return x

        _adjoint = _forward

    for A in (Mine(), 2.0 * Mine() + bp.Identity((1, 2, 2))):
        with pytest.raises(TypeError, match="expected an operator of blurphys"):
            bp.save(A, tmp_path / "A.h5")
    with pytest.raises(TypeError, match="expected a LinearOperator, got ndarray"):
        bp.save(np.eye(3), tmp_path / "A.h5")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(tmp_path):
    bp.save(bp.Identity((1, 2, 2)), tmp_path / "A.h5")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        bp.save(bp.Identity((1, 3, 3)), tmp_path / "A.h5")
    assert bp.load(tmp_path / "A.h5").in_shape == (1, 2, 2)
    bp.save(bp.Identity((1, 3, 3)), tmp_path / "A.h5", overwrite=True)
    assert bp.load(tmp_path / "A.h5").in_shape == (1, 3, 3)


def _edited(path, edit):
    bp.save(bp.RKR(np.full((2, 4, 5), 0.5), atoms=np.array([[0.25, 0.5, 0.25]])), path)
    with h5py.File(path, "r+") as file:
        edit(file)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda f: f.attrs.__setitem__("format", "blurphys dataset"), "synth.open"),
        (lambda f: f.attrs.__setitem__("format", "mine"), "got 'mine'"),
        (lambda f: f.attrs.__delitem__("format"), "no format"),
        (lambda f: f.attrs.__setitem__("version", 99), "version 99"),
        (lambda f: f["operator"].attrs.__setitem__("kind", "os.system"), "unknown operator 'os.system'"),
        (lambda f: f["operator"].__delitem__("gamma"), "damaged"),
        (lambda f: f["operator"].attrs.__setitem__("channels", "-3"), "channels"),
        (lambda f: f["operator"].attrs.__setitem__("channels", "{"), "damaged"),
        (lambda f: f.__delitem__("operator"), "damaged"),
    ],
)
def test_a_file_that_is_none(edit, words, tmp_path):
    _edited(tmp_path / "A.h5", edit)
    with pytest.raises(ValueError, match=words):
        bp.load(tmp_path / "A.h5")


def test_other_files(tmp_path):
    (tmp_path / "A.h5").write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        bp.load(tmp_path / "A.h5")
    with pytest.raises(FileNotFoundError, match="no file"):
        bp.load(tmp_path / "B.h5")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_a_truncated_file(cut, tmp_path):
    _edited(tmp_path / "A.h5", lambda f: None)
    whole = (tmp_path / "A.h5").read_bytes()
    (tmp_path / "A.h5").write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(ValueError, match="damaged"):
        bp.load(tmp_path / "A.h5")


def test_like_chooses_the_namespace(tmp_path):
    bp.save(bp.GKM(np.full((2, 4, 5), 0.5, dtype=np.float32), sigmas=(0.0, 1.0)), tmp_path / "A.h5")
    A = bp.load(tmp_path / "A.h5", like=torch.zeros(1))
    assert isinstance(A.beta, torch.Tensor)
    assert A.beta.dtype == torch.float32


def test_views_between_the_usual_ones(tmp_path):
    """A bank of a pupil has every view, so those in use are stored; names of views stay numbers."""
    rng, x = np.random.default_rng(0), np.random.default_rng(1).random((3, 20, 24))
    pupil = bp.PSFBank(bp.Pupil.disk(split=0.3), max_radius=2.0, step=1.0)
    measured = bp.PSFBank(psfs={0.5: bp.psf.normalize(rng.random((3, 3, 3)))}, radii=(-2.0, 0.0, 2.0))
    radii = rng.uniform(-2, 2, (20, 24))
    operators = (
        bp.DualPixel(radii, bank=pupil, views=(0.5, -0.5)),
        bp.DualPixel(radii, bank=measured, views=(0.5,)),
        bp.FieldDefocus(radii, banks=[[pupil, pupil]], views=(0.25, "left")),
        bp.LayeredDefocus(np.ones((1, 20, 24)), radii=(1.5,), bank=pupil, views=(-0.5,)),
    )
    for i, A in enumerate(operators):
        bp.save(A, tmp_path / f"{i}.h5")
        B = bp.load(tmp_path / f"{i}.h5")
        assert B.views == A.views and np.allclose(B(x), A(x), rtol=0, atol=1e-14)
