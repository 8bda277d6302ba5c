"""
A blur as a mixture of Gaussians
================================

`bp.GKM`, the model of GKMNet, filters the image with a few Gaussians and mixes the results pixel by pixel. The maps
that do it for a known defocus come from `bp.maps.defocus_to_beta`: each pixel interpolates between two Gaussians.
"""

import numpy as np

import blurphys as bp
import synth

scene = synth.scenes.stereo_motorcycle().window(120, 300, 160, 200)
camera = synth.Camera.for_scene(scene, max_radius=6)
radius = camera.lens.defocus_map(scene.depth_m, invalid="nearest").clip(-6, 6)
sigmas = (0.0, 0.75, 1.5, 2.25, 3.0)
A = bp.GKM(bp.maps.defocus_to_beta(radius, sigmas), sigmas=sigmas)
bp.plot.coefficient_maps(A)

# %%
# The picture, and what the mixture makes of it:
sharp = scene.all_in_focus.astype(float)
bp.plot.before_after(sharp, A(sharp))

# %%
# The maps of a pixel sum to one, so that a grey wall stays as bright as it is:
assert np.allclose(A.beta.sum(axis=0), 1)
