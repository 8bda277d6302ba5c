"""
Training data without a data set
================================

`synth.Stream` renders samples when they are needed, from sharp photographs: random lenses, surfaces that hide each
other, noise, mosaic, tone curves, JPEG. Sample i is a function of seed and i.
"""

import blurphys as bp
import synth

stream = synth.Stream(crop=96, max_radius=6, seed=2)
bp.plot.dataset_sheet([stream.sample(k) for k in range(4)], fields=("sharp", "image", "defocus_map"), encoded=True)
