"""
The two views of a dual-pixel sensor
====================================

Each half of a dual pixel sees one half of the pupil. Behind the plane of focus the PSF of the left view leans to the
left, in front of it to the right; the distance of the centroids is proportional to the signed radius, which is what
makes the map measurable. The mean of both views is the ordinary image.
"""

import numpy as np

import blurphys as bp
import synth

pupil = bp.Pupil.disk(split=0.3)
bp.plot.psf_triptych(pupil, 7)

# %%
# The sign changes with the side of the plane of focus:
bp.plot.psf_triptych(pupil, -7)

# %%
# A scene through such a pupil, in one pass for both views. Their difference is zero where the picture is sharp.
scene = synth.scenes.stereo_motorcycle().window(120, 300, 160, 200)
camera = synth.Camera.for_scene(scene, max_radius=6)
radius = camera.lens.defocus_map(scene.depth_m, invalid="nearest").clip(-6, 6).astype(np.float32)
A = bp.DualPixel(radius, bank=bp.PSFBank(pupil, max_radius=6, step=0.5))
left, right = A(scene.all_in_focus).reshape(2, 3, 160, 200)
_, ax = bp.plot.error_map(left, right, srgb=True)
ax.set(title="left - right", xlabel="")

# %%
# The sum of the views is what a sensor without dual pixels records:
assert np.allclose((left + right) / 2, bp.DefocusBlur(radius, bank=A.bank)(scene.all_in_focus), atol=1e-5)
