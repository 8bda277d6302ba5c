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
ELSEWHERE = (slice(None), slice(250, 410), slice(100, 260))
BORDER = 24


@pytest.fixture(scope="module")
def frames(data):
    """Aperture -> mean of the two views in linear light, (3, 160, 160) float32; "f4_l" -> left view, elsewhere."""
    folder = data / "canon_r6m2_flat_0600mm"
    if not folder.is_dir():
        pytest.skip("canon_r6m2_flat_0600mm is missing from ../shared/data")

    def view(name, window=WINDOW):
        return srgb_to_linear(np.asarray(Image.open(folder / f"{name}.png")).transpose(2, 0, 1)[window] / 255.0)

    both = {a: ((view(f"{a}_l") + view(f"{a}_r")) / 2).astype(np.float32) for a in ("f4", "f20")}
    return both | {f"{a}_l": view(f"{a}_l", ELSEWHERE).astype(np.float32) for a in ("f4", "f20")}


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


def test_the_strength_is_chosen_by_the_residual(frames):
    """The disk is not the lens: the misfit, not the noise, sets the strength. Left view, a part nobody chose it on."""
    y, sharp = frames["f4_l"], frames["f20_l"]
    A = bp.Convolution(bp.psf.disk(4.0).astype(np.float32), shape=y.shape, boundary="symmetric")
    chosen = solvers.choose_strength(A, y, prox=solvers.tv)
    assert chosen.misfit > 2 * chosen.noise
    scores = [
        psnr(solvers.hqs(A, y, prox=solvers.tv, strength=s).x, sharp) for s in (5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3)
    ]
    restored = solvers.hqs(A, y, prox=solvers.tv)
    assert psnr(restored.x, sharp) > max(scores) - 0.3
    noise_alone = solvers.hqs(A, y, prox=solvers.tv, strength=15 * chosen.noise**2)
    assert psnr(restored.x, sharp) > psnr(noise_alone.x, sharp) + 0.3
