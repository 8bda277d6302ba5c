"""
From depth to signed blur radius
================================

A thin lens turns depth into the radius of the circle of confusion, linear in the inverse of depth. The radius has a
sign: positive behind the plane of focus (blue), negative in front of it (red). Here the same scene is focused at
three distances.
"""

import matplotlib.pyplot as plt

import blurphys as bp
import synth

scene = synth.scenes.stereo_motorcycle()
fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for ax, distance in zip(axes, (2.3, 3.0, 4.5), strict=True):
    lens = bp.ThinLens(focal_length_mm=50, f_number=2, focus_distance_m=distance, pixel_pitch_um=30)
    radius = lens.defocus_map(scene.depth_m, invalid="nearest")
    bp.plot.defocus_map(radius, limit=8, ax=ax)
    ax.set_title(f"focus at {distance} m")
plt.show()
