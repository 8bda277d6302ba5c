"""
Large kernels from small atoms
==============================

`bp.RKR`, the model of NRKNet, convolves again and again with small atoms: kernel j is kernel j - 1 convolved with an
atom. Ten atoms of three taps reach ten pixels, for the cost of thirty taps.
"""

import matplotlib.pyplot as plt
import numpy as np

import blurphys as bp

atoms = np.full((10, 3), 1 / 3)
fig, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for ax, j in zip(axes, (1, 3, 6, 10), strict=True):
    gamma = np.zeros((11, 24, 24))
    gamma[j] = 1
    ax.imshow(bp.RKR(gamma, atoms=atoms).psf_at(12, 12), cmap="gray")
    ax.set_title(f"after {j} atoms")
    ax.set_axis_off()
plt.show()

# %%
# Maps that mix these kernels give every pixel its own width. Here the width grows from left to right.
col = np.linspace(0, 10, 96)
gamma = np.clip(1 - np.abs(np.arange(11)[:, None] - col), 0, 1)[:, None, :].repeat(64, axis=1)
bp.plot.psf_field(bp.RKR(gamma, atoms=atoms), grid=(3, 8))
