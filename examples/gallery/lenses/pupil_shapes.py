"""
Out-of-focus lights show the pupil
==================================

A light that is far brighter than white paints the shape of the pupil into the picture: a disk, a ring with a bright
rim (over-corrected spherical aberration), or the polygon of the aperture blades.
"""

import matplotlib.pyplot as plt
import numpy as np

import blurphys as bp
import synth

scene = synth.scenes.highlights(72, 96, lights=16, seed=3)
camera = synth.Camera.for_scene(scene, max_radius=9)
radius = camera.lens.defocus_map(scene.depth_m).clip(-9, 9).astype(np.float32)
pupils = {
    "disk": bp.Pupil.disk(),
    "six blades": bp.Pupil.polygon(6),
    "bright rim": bp.Pupil.butterworth(),
}

fig, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
for ax, (name, pupil) in zip(axes, pupils.items(), strict=True):
    picture = bp.DefocusBlur(radius, bank=bp.PSFBank(pupil, max_radius=9))(scene.all_in_focus)
    ax.imshow(bp.colour.linear_to_srgb(picture.clip(0, 1)).transpose(1, 2, 0))
    ax.set_title(name)
    ax.set_axis_off()
plt.show()
