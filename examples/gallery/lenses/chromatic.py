"""
Colour fringes of defocus
=========================

A lens does not focus all colours at one distance. Behind the plane of focus red is blurred more than blue here, in
front of it less, so that edges have fringes whose colour tells the side.
"""

import numpy as np

import blurphys as bp
import synth

bank = synth.optics.chromatic_bank(bp.Pupil.disk(), max_radius=8, shift_px=(0.8, 0.0, -0.8), views=("combined",))
stripes = np.tile((np.arange(80) // 20 % 2).astype(float), (3, 48, 1))
radius = np.broadcast_to(np.linspace(-5, 5, 48)[:, None], (48, 80)).copy()
blurred = bp.DefocusBlur(radius, bank=bank)(stripes)
bp.plot.before_after(
    stripes, blurred, labels=("stripes", "in front of focus (top) to behind it"), details=[(0, 12, 16), (32, 12, 16)]
)
