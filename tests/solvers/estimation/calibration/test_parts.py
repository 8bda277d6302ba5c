"""The parts of a calibration: dots as spectra, the lattice, the least-squares problem, the sheet to print."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.estimation import grid_sheet
from solvers.estimation.calibration.calibrate import _nearest_psfs
from solvers.estimation.calibration.detection import Dots, find_dots, number_dots
from solvers.estimation.calibration.geometry import GridGeometry, fit_geometry
from solvers.estimation.calibration.kernels import FieldLeastSquares, node_weights
from solvers.estimation.calibration.pattern import dot_spectra
from tests.profiles import examples


@pytest.mark.parametrize("size", [15, 17])
def test_spectrum_of_a_dot(size, rng):
    """Against the sum over the points of a fine raster that lie in the ellipse."""
    jacobian, diameter, centre = np.array([[10.0, 2.0], [-1.0, 8.0]]), 0.6, np.array([7.3, 6.6])
    fine = (np.arange(-400, 400) + 0.5) / 100
    dy, dx = np.meshgrid(fine, fine, indexing="ij")
    inside = np.hypot(*np.einsum("ij,jkl->ikl", np.linalg.inv(jacobian), np.stack([dy, dx]))) < diameter / 2
    rows, cols = dy[inside] + centre[0], dx[inside] + centre[1]
    spectrum = dot_spectra(centre[None], jacobian[None], diameter, size)[0]
    assert spectrum.shape == (size, size // 2 + 1)
    for i, j in ((0, 0), (1, 0), (0, 1), (3, 2), (size - 2, 5)):
        waves = np.exp(-2j * np.pi * (np.fft.fftfreq(size)[i] * rows + j / size * cols))
        assert spectrum[i, j] == pytest.approx(waves.sum() / 100**2, abs=0.02)


def test_spectra_are_those_of_real_patches(rng):
    for size in (9, 11):
        spectra = dot_spectra(rng.random((3, 2)) * 9, 6 * np.eye(2)[None] + rng.random((3, 2, 2)), 0.4, size)
        again = np.fft.rfft2(np.fft.irfft2(spectra, (size, size)))
        assert np.abs(again - spectra).max() < 1e-12


def problem(rng, cells=(2, 2), support=3, size=9, dots=12):
    weights = node_weights(rng.random((dots, 2)) * (40, 60), (40, 60), cells)
    spectra = dot_spectra(3 + rng.random((dots, 2)), 4 * np.eye(2)[None] + rng.random((dots, 2, 2)), 0.5, size)
    patches = rng.standard_normal((dots, size, size))
    return FieldLeastSquares(patches, spectra, weights, support, cells), np.fft.irfft2(spectra, (size, size)), weights


def dense(drawn, weights, support):
    """The matrix of the model by loops: a dot is the sum of its moved copies."""
    dots, nodes = weights.shape
    columns = []
    for node in range(nodes):
        for i in range(support):
            for j in range(support):
                moved = np.roll(drawn, (i - support // 2, j - support // 2), (1, 2))
                columns.append((weights[:, node, None, None] * moved).ravel())
    return np.array(columns).T


@pytest.mark.parametrize("cells", [(2, 2), (1, 1), (1, 3)])
def test_least_squares_against_a_dense_solution(rng, cells):
    mine, drawn, weights = problem(rng, cells)
    matrix, data = dense(drawn, weights, 3), mine.patches.ravel()
    psfs = rng.standard_normal((len(matrix.T) // 9, 3, 3))
    assert np.allclose(mine.model(psfs).ravel(), matrix @ psfs.ravel())
    assert np.allclose(mine.normal(psfs).ravel(), matrix.T @ (matrix @ psfs.ravel()))
    smooth, alike = 0.02, 0.05
    rows = [np.sqrt(smooth * mine.scale) * differences(psf, cells) for psf in np.eye(psfs.size)]
    like = [np.sqrt(alike * mine.scale) * between(psf, cells) for psf in np.eye(psfs.size)]
    left = matrix.T @ matrix + np.array(rows) @ np.array(rows).T + np.array(like) @ np.array(like).T
    expected = np.linalg.solve(left, matrix.T @ data)
    found = mine.solve(smooth, alike, tol=1e-9)
    assert np.abs(found.ravel() - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.allclose(mine.solve(smooth, alike, start=found, tol=1e-3), found)


def differences(psfs, cells):
    """Of neighbouring samples, PSFs being zero outside."""
    framed = np.pad(psfs.reshape(-1, 3, 3), ((0, 0), (1, 1), (1, 1)))
    return np.concatenate([np.diff(framed, axis=1)[:, :, 1:-1].ravel(), np.diff(framed, axis=2)[:, 1:-1].ravel()])


def between(psfs, cells):
    """Of the PSFs of neighbouring nodes."""
    field = psfs.reshape(*cells, 9)
    return np.concatenate([np.diff(field, axis=0).ravel(), np.diff(field, axis=1).ravel()])


@examples(20)
@given(angle=st.floats(-3.1, 3.1), seed=st.integers(0, 999), keystone=st.floats(-0.02, 0.02), k1=st.floats(-0.05, 0.05))
def test_dots_of_a_tilted_lattice_are_numbered_and_fitted(angle, seed, keystone, k1):
    rng = np.random.default_rng(seed)
    turn = 20 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    homography = np.array([[*turn[0], 150.0], [*turn[1], 120.0], [keystone / 2, -keystone / 3, 1.0]])
    geometry = GridGeometry(homography=homography, distortion=(k1, 0.0), frame=(240, 300))
    grid = np.stack(np.mgrid[-4:5, -4:5], axis=-1).reshape(-1, 2)
    grid = grid[rng.random(len(grid)) > 0.05]
    positions = geometry.positions(grid.astype(float))
    # Steps along a side and a diagonal, as a walk may have them: the numbers must not be those of a sheared lattice.
    steps = np.stack([turn[::-1, 0] + turn[::-1, 1], turn[::-1, 1]])
    dots = Dots(positions, np.ones(len(grid), bool), np.broadcast_to(steps, (len(grid), 2, 2)), True)
    numbers, index = number_dots(dots)
    assert len(index) >= 0.9 * len(grid)
    distances = np.linalg.norm(numbers - numbers[0], axis=1)
    assert np.allclose(distances, np.linalg.norm(grid[index] - grid[index[0]], axis=1))
    fitted, residuals = fit_geometry(numbers, positions[index], (240, 300))
    assert np.abs(residuals).max() < 1e-3
    assert np.abs(fitted.positions(numbers.astype(float)) - positions[index]).max() < 1e-3


def test_there_is_no_grid_in_nothing():
    for light in (np.full((90, 120), 0.5), np.tile(np.linspace(0, 1, 120), (90, 1)), np.zeros((6, 7))):
        assert len(number_dots(find_dots(light))[0]) < 25


def test_node_weights_are_those_of_field_defocus(rng):
    import blurphys as bp

    psfs = rng.random((2, 3, 1, 1))
    psfs = np.concatenate([psfs, 1 - psfs], axis=3)  # the share of each PSF's first tap tells its weight
    image = np.zeros((1, 20, 30))
    places = np.array([[4, 6], [9, 21], [17, 28], [0, 0]])
    image[0, places[:, 0], places[:, 1]] = 1
    operator = bp.FieldDefocus.from_psfs(
        np.pad(psfs, ((0, 0), (0, 0), (0, 0), (0, 1))), shape=(1, 20, 30), nodes="centres"
    )
    seen = operator(image)[0][places[:, 0], places[:, 1]]
    weights = node_weights(places.astype(float), (20, 30), (2, 3))
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(seen, weights @ psfs[..., 0, 1].ravel())


@given(seed=st.integers(0, 2**16), noise=st.floats(0, 1))
def test_the_nearest_psf_is_a_projection(seed, noise):
    """It is feasible, and what was taken away makes an obtuse angle with the way to any other PSF."""
    rng = np.random.default_rng(seed)
    values = rng.dirichlet(np.full(9, 0.5), 4).reshape(4, 3, 3)
    noisy = values + noise * rng.standard_normal(values.shape)
    nearest = _nearest_psfs(noisy)
    assert (nearest >= 0).all() and np.allclose(nearest.sum(axis=(1, 2)), 1)
    assert (((noisy - nearest) * (values - nearest)).sum(axis=(1, 2)) < 1e-12).all()
    assert np.allclose(_nearest_psfs(nearest), nearest)


def test_the_sheet_holds_a_grid_of_the_size_asked_for():
    root = ElementTree.fromstring(grid_sheet(spacing_mm=12, dot_mm=3, paper="a3"))
    circles = [node.attrib for node in root if node.tag.endswith("circle")]
    x, y = (np.unique([float(circle[key]) for circle in circles]) for key in ("cx", "cy"))
    assert len(circles) == len(x) * len(y) and np.allclose(np.diff(x), 12) and np.allclose(np.diff(y), 12)
    assert {float(circle["r"]) for circle in circles} == {1.5}
    assert x[0] >= 8 and x[-1] <= 412 and y[0] >= 8 and y[-1] <= 289
    assert re.fullmatch(r"420\.0mm", root.attrib["width"])


@pytest.mark.parametrize(
    "wrong", [{"paper": "b5"}, {"spacing_mm": -1}, {"dot_mm": 9}, {"spacing_mm": 80, "dot_mm": 20}]
)
def test_a_sheet_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"^grid_sheet: expected [^\n]*, got [^\n]*$"):
        grid_sheet(**wrong)
