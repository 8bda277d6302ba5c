"""
Five boundaries
===============

What lies beyond the frame has to be assumed. The rule changes a band as wide as the blur, and a restoration changes
with it. The adjoint of an extension adds every copied pixel to where it was copied from.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import blurphys as bp

x = bp.colour.srgb_to_linear(data.astronaut()[360:424, 0:88].transpose(2, 0, 1) / 255)
fig, axes = plt.subplots(1, 5, figsize=(13, 2.3), layout="constrained")
for ax, boundary in zip(axes, bp.BOUNDARIES, strict=True):
    A = bp.Convolution(bp.psf.disk(6.0), shape=x.shape, boundary=boundary)
    ax.imshow(bp.colour.linear_to_srgb(A(x).clip(0, 1)).transpose(1, 2, 0))
    ax.set_title(boundary)
    ax.set_axis_off()
    assert np.isclose(np.vdot(A(x), x), np.vdot(x, A.H(x)))  # each with its exact adjoint
plt.show()
