"""A real photograph becomes better by at least 2 dB: Canon board at f/4 towards f/20, a fitted disk, linear light.

The strengths were chosen on this board: what is tested is that the methods go on doing what they did.
"""

import math
from functools import partial

import numpy as np
import pytest
from PIL import Image

import blurphys as bp
import solvers
from blurphys.colour import srgb_to_linear

pytestmark = pytest.mark.data
WINDOW = (slice(None), slice(176, 336), slice(304, 464))  # the centre of the frame
BORDER = 24


@pytest.fixture(scope="module")
def frames(data):
    """Aperture -> mean of the two views in linear light, (3, 160, 160) float32."""
    folder = data / "canon_r6m2_flat_0600mm"
    if not folder.is_dir():
        pytest.skip("canon_r6m2_flat_0600mm is missing from ../shared/data")

    def view(name):
        return srgb_to_linear(np.asarray(Image.open(folder / f"{name}.png")).transpose(2, 0, 1)[WINDOW] / 255.0)

    return {a: ((view(f"{a}_l") + view(f"{a}_r")) / 2).astype(np.float32) for a in ("f4", "f20")}


def psnr(found, wanted):
    inside = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    found, wanted = found[inside].astype(np.float64), wanted[inside].astype(np.float64)
    gain = np.sum(found * wanted, axis=(1, 2), keepdims=True) / np.sum(found**2, axis=(1, 2), keepdims=True)
    return -10 * math.log10(np.mean((gain * found - wanted) ** 2))


SOLVE = {
    "richardson_lucy": lambda A, y: solvers.richardson_lucy(A, y, max_iterations=40, tol=1e-6),
    "hqs_tv": lambda A, y: solvers.hqs(
        A, y, prox=partial(solvers.tv, iterations=20), rho=(0.003, 0.01, 0.03, 0.1), strength=3e-4, inner_iterations=8
    ),
    "hqs_hyper_laplacian": lambda A, y: solvers.hqs(
        A, y, prox=partial(solvers.hyper_laplacian, iterations=8), rho=(0.003, 0.01, 0.03, 0.1), strength=1e-4,
        inner_iterations=8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLVE)
def test_two_decibels(frames, name):
    A = bp.Convolution(bp.psf.disk(4.0).astype(np.float32), shape=frames["f4"].shape, boundary="symmetric")
    restored = SOLVE[name](A, frames["f4"]).x
    assert restored.dtype == np.float32
    assert psnr(restored, frames["f20"]) >= psnr(frames["f4"], frames["f20"]) + 2.0
