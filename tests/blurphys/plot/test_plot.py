"""Figures: what they show, not how pretty it is."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp

mpl.use("Agg")
from matplotlib import pyplot as plt

RNG = np.random.default_rng(0)
IMAGE = RNG.random((3, 16, 24))


@pytest.fixture(autouse=True)
def no_figures_left_open():
    yield
    plt.close("all")


def lens(width=24, height=16):
    c = np.linspace(-3.0, 3.0, width).reshape(1, width).repeat(height, axis=0)
    return c, bp.PSFBank(bp.Pupil.disk(split=0.4), max_radius=3.0)


def calls():
    c, bank = lens()
    A = bp.DefocusBlur(c, bank=bank)
    B = bp.Convolution(np.array([[0.3, 0.4, 0.3]]), shape=(1, 6, 8), boundary="circular")
    disk = bp.psf.disk(2.0)
    return {
        "psf_field": (A,),
        "psf_triptych": (bp.Pupil.disk(split=0.4), 2.0),
        "defocus_map": (c,),
        "coefficient_maps": (IMAGE,),
        "before_after": (IMAGE, IMAGE[::-1]),
        "error_map": (IMAGE, IMAGE[::-1]),
        "spectrum": (disk,),
        "edge_spread": (disk,),
        "radial_spectrum": (IMAGE,),
        "residuals": ([1.0, 0.1],),
        "ritz_values": (bp.certificate(B),),
        "dataset_sheet": ([{"sharp": IMAGE, "map": c}],),
    }


@pytest.mark.parametrize("name", bp.plot.__all__)
def test_figures_and_axes(name):
    """Alone, inside one Axes, and in axes that are given, a figure has the same panels, and can be drawn."""
    function, given_ = getattr(bp.plot, name), calls()[name]
    figure, axes = function(*given_)
    count = np.size(axes)
    assert all(ax.figure is figure for ax in np.ravel(axes))
    whole, cells = plt.subplots(1, 2)
    inside = function(*given_, ax=cells[0])
    assert inside[0] is whole
    assert np.size(inside[1]) == count
    many = plt.subplots(1, count, squeeze=False)[1].ravel()
    again = function(*given_, ax=list(many))
    assert list(np.ravel(again[1])) == list(many)
    figure.canvas.draw()
    whole.canvas.draw()
    with pytest.raises((ValueError, TypeError), match=f"{name}: expected"):
        function(*given_, ax=[*many, *many])


def test_no_matplotlib_until_a_figure_is_drawn():
    code = "import sys, blurphys as bp; bp.plot.defocus_map; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(st.floats(0.5, 3.0), st.sampled_from([-1, 1]))
def test_centroids_of_the_views(radius, sign):
    """A split of .4 moves the views of a disk by .2 radii each, mirrored by the sign of the radius."""
    _, axes = bp.plot.psf_triptych(bp.Pupil.disk(split=0.4), sign * radius)
    x = [float(ax.get_lines()[0].get_xdata()[0]) for ax in axes]
    plt.close("all")
    assert x[0] == pytest.approx(-sign * 0.2 * radius, abs=0.12)
    assert x[1] == pytest.approx(-x[0], abs=1e-9)
    assert x[2] == pytest.approx(0, abs=1e-9)


@given(st.integers(2, 5), st.integers(2, 6))
def test_tiles_of_a_psf_field_are_the_psfs(rows, cols):
    c, bank = lens()
    A = bp.DefocusBlur(c, bank=bank)
    _, ax = bp.plot.psf_field(A, grid=(rows, cols), common_scale=True)
    mosaic = np.ma.filled(ax.images[0].get_array(), np.nan)
    plt.close("all")
    high, wide = (n // k for n, k in zip(mosaic.shape, (rows, cols), strict=True))
    peak = max(A.psf_at(0, int((k + 0.5) * 24 / cols)).max() for k in range(cols))
    for r in range(rows):
        for k in range(cols):
            tile = mosaic[r * high + 1 : (r + 1) * high, k * wide + 1 : (k + 1) * wide]
            psf = A.psf_at(int((r + 0.5) * 16 / rows), int((k + 0.5) * 24 / cols))
            margin = [(n - m) // 2 for n, m in zip(psf.shape, tile.shape, strict=True)]
            inner = psf[margin[0] : margin[0] + tile.shape[0], margin[1] : margin[1] + tile.shape[1]]
            assert np.allclose(tile * peak, inner, atol=1e-12)
            assert inner.sum() > 0.99 * psf.sum()


@given(st.floats(0.6, 4.0))
def test_the_mtf_is_that_of_the_fft(radius):
    psf = bp.psf.disk(radius)
    _, ax = bp.plot.spectrum(psf)
    x, y = ax.get_lines()[0].get_data()
    plt.close("all")
    padded = np.abs(np.fft.rfft(psf.sum(axis=0), 510))
    assert np.allclose(y, np.interp(x, np.fft.rfftfreq(510), padded), atol=1e-3)
    assert y[0] == pytest.approx(1)


def test_the_edge_of_a_box():
    _, ax = bp.plot.edge_spread(np.full((1, 5), 0.2))
    assert ax.get_legend_handles_labels()[1] == ["10 to 90 %: 4.0 px"]


def test_details_are_where_the_pictures_differ():
    other = IMAGE.copy()
    other[:, 9, 17] = 1 - other[:, 9, 17]
    _, axes = bp.plot.before_after(IMAGE, other, encoded=True)
    detail = axes[1, 0].images[0].get_array()
    side = detail.shape[0]
    places = [(r, k) for r in range(17 - side) for k in range(25 - side)
              if np.array_equal(IMAGE[:, r : r + side, k : k + side].transpose(1, 2, 0), detail)]  # fmt: skip
    assert len(places) == 1
    assert places[0][0] <= 9 < places[0][0] + side
    assert places[0][1] <= 17 < places[0][1] + side


def test_limits_are_symmetric():
    _, ax = bp.plot.defocus_map(np.linspace(-1, 3, 12).reshape(3, 4))
    assert ax.images[0].get_clim() == (-3, 3)
    _, ax = bp.plot.error_map(IMAGE, IMAGE * 0.5)
    low, high = ax.images[0].get_clim()
    assert low == -high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bp.plot.before_after(IMAGE), "at least two images"),
        (lambda: bp.plot.before_after(IMAGE, IMAGE[:, :4]), "one size"),
        (lambda: bp.plot.before_after(IMAGE, IMAGE, labels=("a",)), "2 labels"),
        (lambda: bp.plot.before_after(IMAGE, IMAGE, details=[(10, 0, 9)]), "inside 16 x 24"),
        (lambda: bp.plot.before_after(IMAGE.transpose(1, 2, 0), IMAGE.transpose(1, 2, 0)), "is C the last"),
        (lambda: bp.plot.error_map(IMAGE, IMAGE[0]), "one shape"),
        (lambda: bp.plot.error_map(IMAGE, IMAGE, limit=0), "positive limit"),
        (lambda: bp.plot.defocus_map(IMAGE), "a defocus map"),
        (lambda: bp.plot.defocus_map(np.full((2, 2), np.nan)), "finite"),
        (lambda: bp.plot.coefficient_maps(IMAGE, labels=("a",)), "3 labels"),
        (lambda: bp.plot.psf_field(bp.Identity((1, 4, 4)), grid=(9, 9)), "1 to 4 rows"),
        (lambda: bp.plot.psf_field(IMAGE), "psf_at"),
        (lambda: bp.plot.psf_triptych(lens()[1], 9.0), "within the bank"),
        (lambda: bp.plot.spectrum(), "at least one PSF"),
        (lambda: bp.plot.edge_spread(np.zeros((3, 3))), "positive sum"),
        (lambda: bp.plot.residuals([1.0], times=[[0.0, 1.0]]), "as many times"),
        (lambda: bp.plot.ritz_values(IMAGE), "Certificate"),
        (lambda: bp.plot.dataset_sheet([]), "at least one sample"),
        (lambda: bp.plot.dataset_sheet([{"a": IMAGE}, {"b": IMAGE}]), "sample 1 has no 'a'"),
        (lambda: bp.plot.defocus_map(IMAGE[0], ax=3), "matplotlib Axes"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
