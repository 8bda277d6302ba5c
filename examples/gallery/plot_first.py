"""
First
=====

Text.
"""

import blurphys as bp

bp.plot.psf_triptych(bp.Pupil.disk(split=0.3), 6)
