"""
The defocus map of a dual-pixel pair
====================================

The two views differ by a blur of known shape and unknown signed radius. `solvers.estimation.dual_pixel_map` tries
radii and keeps, for each pixel, the one that makes the views agree. Nothing is learned. It also says where it is
uncertain.
"""

import matplotlib.pyplot as plt
import numpy as np

import blurphys as bp
import solvers
import synth

scene = synth.scenes.with_background(synth.scenes.stereo_motorcycle().window(120, 300, 128, 160))
camera = synth.Camera.for_scene(scene, max_radius=4, base=synth.Camera.preset("canon-r6ii"))
photo = synth.render(scene, camera, rng=0, views=("left", "right"), model="layered")
found = solvers.estimation.dual_pixel_map(photo.left, photo.right, pupil=camera.pupil, max_radius=4)

fig, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
bp.plot.defocus_map(photo.defocus_map, limit=4, ax=axes[0])
bp.plot.defocus_map(found.defocus_map, limit=4, ax=axes[1])
axes[2].imshow(found.confidence, cmap="gray", vmin=0, vmax=1)
for ax, name in zip(axes, ("truth", "estimate", "confidence"), strict=True):
    ax.set_title(name)
    ax.set_axis_off()
plt.show()
print(f"median error {np.median(np.abs(found.defocus_map - photo.defocus_map)):.2f} px")
