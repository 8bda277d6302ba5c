"""
Gather and scatter
==================

Does the PSF belong to the output pixel or to the input pixel? Gather weighs after the filter: a constant stays
constant. Scatter weighs before it: light is conserved. The two differ where the blur changes, and each is the other's
transpose for symmetric PSFs.
"""

import numpy as np

import blurphys as bp

H, W = 48, 96
left = np.repeat((np.arange(W) < W // 2)[None], H, axis=0).astype(float)
psfs = np.stack([bp.psf.gaussian(0.6, 19), bp.psf.disk(7.0, 19)])
weights = np.stack([left, 1 - left])
gather = bp.PSFStack(psfs, weights=weights, channels=1)
scatter = bp.PSFStack(psfs, weights=weights, channels=1, form="scatter")

points = np.zeros((1, H, W))
points[:, 12::24, 6::12] = 40
bp.plot.before_after(gather(points), scatter(points), labels=("gather", "scatter"), details=[(14, 36, 22)])

# %%
flat = np.ones((1, H, W))
print("a constant stays constant:", np.ptp(gather(flat)) < 1e-12, np.ptp(scatter(flat)) < 1e-12)
# the transpose of scatter is gather, away from the border
assert np.allclose(scatter.H(points)[:, 10:-10, 10:-10], gather(points)[:, 10:-10, 10:-10])
