"""
A picture in focus from a dual-pixel pair
=========================================

Map, layers, restoration, and back: where the restored layers, blurred again, do not explain the photograph, the
photograph is kept. The grey map shows how much of the restoration was taken.
"""

import matplotlib.pyplot as plt
import numpy as np

import blurphys as bp
import solvers
import synth

scene = synth.scenes.slanted_planes(96, 128, seed=5)
camera = synth.Camera.for_scene(scene, max_radius=4)
photo = synth.render(scene, camera, rng=0, views=("left", "right", "combined"), model="layered")
found = solvers.estimation.dual_pixel_map(photo.left, photo.right, pupil=camera.pupil, max_radius=4)
views = np.concatenate([photo.left, photo.right])
result = solvers.all_in_focus(views, found.defocus_map, pupil=camera.pupil, confidence=found.confidence, slabs=12)


def psnr(image):
    return -10 * np.log10(np.mean((image - photo.all_in_focus) ** 2))


pictures = {"recorded": photo.combined, "restored": result.image, "truth": photo.all_in_focus}
labels = [f"{n}, {psnr(z):.1f} dB" if n != "truth" else n for n, z in pictures.items()]
bp.plot.before_after(*pictures.values(), labels=labels)

# %%
fig, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
shown = ax.imshow(result.trust, cmap="gray", vmin=0, vmax=1)
fig.colorbar(shown, label="share of the restoration")
ax.set_axis_off()
plt.show()
