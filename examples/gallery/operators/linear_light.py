"""
Why linear light
================

Blur mixes light. A picture file has a tone curve; whoever blurs its values mixes something else, and lights that are
brighter than white are lost. On the left light is blurred, in the middle the recorded values.
"""

import numpy as np

import blurphys as bp
import synth

scene = synth.scenes.highlights(96, 128, lights=25, seed=5)
light = scene.all_in_focus.astype(float)
A = bp.Convolution(bp.psf.disk(5.0), shape=light.shape)
encode, decode = bp.colour.linear_to_srgb, bp.colour.srgb_to_linear
right = A(light)
wrong = decode(A(encode(light.clip(0, 1))))
bp.plot.before_after(right.clip(0, 1), wrong, labels=("light is blurred", "recorded values are blurred"))

# %%
# The difference is not small:
print(f"largest error {np.abs(right.clip(0, 1) - wrong).max():.2f} of white")
