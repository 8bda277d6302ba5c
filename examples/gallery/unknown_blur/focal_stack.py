"""
Depth and one picture in focus from a focal stack
=================================================

Several photographs of one scene, focused at different distances, determine the depth of each pixel and one picture that
is in focus everywhere. The lens of each photograph is known here; nothing is learned.
"""

from dataclasses import replace

import numpy as np

import blurphys as bp
import solvers
import synth

scene = synth.scenes.slanted_planes(72, 96, seed=5)
camera = synth.Camera.for_scene(scene, max_radius=4)
photos, lenses = [], []
for k, inverse in enumerate(np.linspace(1 / scene.depth_m.max(), 1 / scene.depth_m.min(), 3)):
    lens = replace(camera.lens, focus_distance_m=float(1 / inverse))
    shot = synth.render(scene, replace(camera, lens=lens, max_radius=9.0), rng=k, views=("combined",))
    photos.append(shot.combined)
    lenses.append(lens)

near, far = float(scene.depth_m.min()), float(scene.depth_m.max())
found = solvers.estimation.focal_stack_depth(photos, lenses, pupil=camera.pupil, near_m=near, far_m=far)
merged = solvers.merge_focal_stack(photos, found.defocus_maps, pupil=camera.pupil, strength=1e-4)


def psnr(image):
    return -10 * np.log10(np.mean((image - scene.all_in_focus) ** 2))


labels = [f"focused {name}, {psnr(z):.1f} dB" for name, z in zip(("far", "between", "near"), photos, strict=True)]
bp.plot.before_after(*photos, merged.x, labels=[*labels, f"merged, {psnr(merged.x):.1f} dB"])

# %%
# The radii in the photograph that is focused between the surfaces:
bp.plot.defocus_map(found.defocus_maps[1])
