"""
A defocus map by gradient descent
=================================

Tensors are differentiable in the map. Here the map of a dual-pixel pair with a known scene is found from zero, by
Adam. The pupil has a core, a blur that even a point in focus has; without it the gradient at zero is zero.
"""

import numpy as np
import torch

import blurphys as bp
import synth

leaves = synth.scenes.dead_leaves(48, 64, seed=2).all_in_focus
sharp = torch.from_numpy(leaves.mean(axis=0, keepdims=True, dtype=np.float32))
truth = torch.linspace(-2, 2, 64).repeat(48, 1)
bank = bp.PSFBank(bp.Pupil.disk(split=0.3, core=0.4), max_radius=3, step=0.25)
pair = bp.DualPixel(truth, bank=bank, channels=1)(sharp)

radius = torch.zeros(48, 64, requires_grad=True)
adam = torch.optim.Adam([radius], lr=0.1)
for _ in range(80):
    adam.zero_grad()
    loss = (bp.DualPixel(radius.clamp(-3, 3), bank=bank, channels=1)(sharp) - pair).square().sum()
    loss = loss + 2e-4 * (radius.diff(dim=0).abs().sum() + radius.diff(dim=1).abs().sum())
    loss.backward()
    adam.step()
found = radius.detach()
print(f"median error {(found - truth).abs().median():.2f} px")
bp.plot.defocus_map(found.numpy(), limit=3)
