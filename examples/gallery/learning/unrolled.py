"""
A network that is a solver
==========================

An unrolled network takes steps of a solver with an operator that it predicts. `solvers.unrolled` takes the same steps
with a given operator, so that everything is differentiable: here the step length that restores best is learned by
gradient descent.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data

import blurphys as bp
import solvers

x = torch.from_numpy(data.camera()[100:164, 170:250][None].astype(np.float32) / 255)
A = bp.Convolution(torch.from_numpy(bp.psf.disk(2.0)).float(), shape=tuple(x.shape))
y = A(x) + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
damping = torch.tensor(0.3, requires_grad=True)
adam, history = torch.optim.Adam([damping], lr=0.1), []
for _ in range(25):
    adam.zero_grad()
    step = lambda state: solvers.landweber_step(A, y, state, damping=damping)  # noqa: E731
    found = solvers.unrolled(step, solvers.landweber_init(A, y, x0=y), steps=8)
    loss = (found.x - x).square().mean()
    loss.backward()
    history.append((float(damping.detach()), float(-10 * torch.log10(loss.detach()))))
    adam.step()

damped, score = np.transpose(history)
fig, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
axes[0].plot(damped)
axes[0].set(xlabel="training step", ylabel="step length")
axes[1].plot(score)
axes[1].set(xlabel="training step", ylabel="PSNR after 8 steps, dB")
plt.show()
