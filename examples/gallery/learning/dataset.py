"""
A data set with complete ground truth
=====================================

`synth.generate` renders views, sharp image, defocus map and depth, and stores them. The file can be read by h5py
alone, and any sample can be rendered again from its parameters.
"""

import tempfile
from pathlib import Path

import blurphys as bp
import synth

folder = Path(tempfile.mkdtemp())
scene = synth.scenes.stereo_motorcycle()
camera = synth.Camera.for_scene(scene, max_radius=6)
report = synth.generate(scene, folder / "data.h5", camera=camera, samples=3, size=(96, 128), seed=1)
print(report)

# %%
with synth.open(folder / "data.h5") as data:
    print(sorted(data[0]))
    fields = ("left", "right", "combined", "all_in_focus", "defocus_map")
    bp.plot.dataset_sheet([data[k] for k in range(3)], fields=fields)
