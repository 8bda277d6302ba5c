"""
The same result, tile by tile
=============================

`bp.tiled` applies any operator in bounded memory. Each tile is computed from a window that is larger by the reach of
the blur, so that no seam is left: the difference is rounding.
"""

import numpy as np

import blurphys as bp

x = np.random.default_rng(0).random((3, 96, 128))
radius = np.broadcast_to(np.linspace(-6, 6, 128), (96, 128)).copy()
A = bp.DefocusBlur(radius, bank=bp.PSFBank(bp.Pupil.disk(), max_radius=6))
T = bp.tiled(A, max_memory=1.2e6)
print(T)
bp.plot.error_map(T(x), A(x))
