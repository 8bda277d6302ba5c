"""
What a blur destroys: the MTF
=============================

The modulation transfer function says how much of each frequency survives. A disk has zeros: what falls on them is
lost, whatever the solver. A Gaussian of the same width has none, but falls below the noise early. That is why fitting
a Gaussian to the blur of a lens costs more than the pictures suggest.
"""

import blurphys as bp

disk, gaussian = bp.psf.disk(4.0, 25), bp.psf.gaussian(2.0, 25)
bp.plot.spectrum(disk, gaussian, labels=("disk, radius 4 px", "Gaussian, sigma 2 px"), noise=0.01)

# %%
# Both have the same second moments, and blur an edge by nearly the same width:
bp.plot.edge_spread(disk, gaussian, labels=("disk, radius 4 px", "Gaussian, sigma 2 px"))
