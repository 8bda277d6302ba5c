"""
Cat's eyes towards the corners
==============================

The barrel of a lens clips the pupil for oblique light, so that PSFs become lemons towards the corners and light is
lost there. A grid of banks describes it; `bp.FieldDefocus` interpolates between them.
"""

import numpy as np

import blurphys as bp
import synth

banks = synth.optics.cat_eye_banks(rows=3, cols=5, strength=0.7, max_radius=8)
A = bp.FieldDefocus(np.full((90, 150), 7.0), banks=banks)
bp.plot.psf_field(A, grid=(5, 7))

# %%
# The same lens in front of the plane of focus: every PSF is turned by 180 degrees.
bp.plot.psf_field(bp.FieldDefocus(np.full((90, 150), -7.0), banks=banks), grid=(5, 7))
