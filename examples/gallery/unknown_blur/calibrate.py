"""
A lens from a dot grid
======================

One photo of a printed dot grid gives the PSFs at many places of the frame. Here the photo is simulated: a lens that
is blurred more towards the corners, by Gaussians that lean outwards.
"""

import numpy as np

import blurphys as bp
import solvers

H, W, SPACING, RATIO, FINE = 240, 360, 20, 0.35, 3


def psf(row, col):
    """Return the true PSF at a place of the frame, (21, 21)."""
    dy, dx = (row - H / 2) / (H / 2), (col - W / 2) / (W / 2)
    y, x = np.mgrid[-10:11, -10:11]
    far = np.hypot(dy, dx)
    along, across = 1.6 + 1.2 * far, 1.6
    angle = np.arctan2(dy, dx)
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    h = np.exp(-(u**2) / (2 * along**2) - v**2 / (2 * across**2))
    return h / h.sum()


rows, cols = np.mgrid[0 : H * FINE, 0 : W * FINE] / FINE
distance = np.hypot((rows % SPACING) - SPACING / 2, (cols % SPACING) - SPACING / 2)
sheet = np.where(distance < RATIO * SPACING / 2, 0.05, 0.9).reshape(H, FINE, W, FINE).mean(axis=(1, 3))
nodes = [[psf(r, c) for c in np.linspace(0, W - 1, 7)] for r in np.linspace(0, H - 1, 5)]
lens = bp.FieldDefocus.from_psfs(np.array(nodes), shape=(1, H, W))
photo = lens(sheet[None]) + 0.002 * np.random.default_rng(0).standard_normal((1, H, W))

found = solvers.estimation.calibrate_grid(photo, ratio=RATIO, cells=(4, 6))
print(found)
bp.plot.psf_field(found.operator, grid=(4, 6))

# %%
# The truth:
bp.plot.psf_field(lens, grid=(4, 6))
