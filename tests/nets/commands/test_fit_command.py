"""`blurphys fit` on a rendered pair."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

import blurphys as bp
from blurphys.commands.errors import run_safely
from nets.commands.fit import fit


def run(*words):
    import typer

    app = typer.Typer()
    app.command()(run_safely("fit")(fit))
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(0)
    x = gaussian_filter(rng.random((3, 96, 112)), (0, 0.8, 0.8))
    np.save(tmp_path / "sharp.npy", x)
    np.save(tmp_path / "blurred.npy", bp.Convolution(bp.psf.disk(2.4), shape=x.shape, boundary="replicate")(x))
    return tmp_path / "sharp.npy", tmp_path / "blurred.npy"


def test_a_fit_is_printed_and_its_operator_stored(pair, tmp_path):
    done = run(*pair, "--size", 11, "--encoding", "linear", "--out", tmp_path / "fit.h5")
    assert done.exit_code == 0, done.output
    head, row = done.output.splitlines()[:2]
    assert head.split()[:3] == ["model", "held", "out"]
    assert float(row.split()[-2]) == pytest.approx(2.4, abs=0.05)
    assert bp.load(tmp_path / "fit.h5").in_shape == (3, 96, 112)


def test_all_models_are_drawn(pair, tmp_path):
    plt = pytest.importorskip("matplotlib.image")
    done = run(*pair, "--model", "all", "--size", 9, "--encoding", "linear", "--tone", "--plot", tmp_path / "fit.png")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines()[1:8]]
    assert {row[0] for row in rows} == {"gaussian", "radius", "butterworth", "gkm", "rkr", "psf-bank", "mixture"}
    assert max(rows, key=lambda row: float(row[1]))[0] in ("radius", "psf-bank")
    assert "none lowers" in done.output  # the pair is linear
    picture = plt.imread(tmp_path / "fit.png")
    assert picture.shape[0] > 400 and picture[..., :3].std() > 0.1


def test_a_map_is_drawn(pair, tmp_path):
    done = run(*pair, "--maps", "affine", "--size", 9, "--encoding", "linear", "--plot", tmp_path / "fit.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "fit.png").stat().st_size > 10_000


def test_bad_input_is_one_sentence(pair, tmp_path):
    sharp, blurred = pair
    for words in (
        (sharp, tmp_path / "missing.npy"),
        (sharp, blurred, "--model", "none"),
        (sharp, blurred, "--out", tmp_path / "fit.txt"),
        (sharp, blurred, "--plot", tmp_path / "fit.jpg"),
        (sharp, blurred, "--plot", tmp_path / "none" / "fit.png"),
        (sharp, blurred, "--maps", "wild"),
        (sharp, blurred, "--maps", "free", "--model", "psf-bank"),
        (blurred, sharp, "--encoding", "linear"),
    ):
        done = run(*words)
        assert done.exit_code == 2 and "Traceback" not in done.output and len(done.output.splitlines()) == 1
