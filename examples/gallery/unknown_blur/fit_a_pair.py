"""
Which blur lies between two apertures?
======================================

From a photo at a small aperture and one at a large aperture of the same scene, models of the blur are fitted to one
half of the frame and scored on the other, which they have not seen. The pair is moved and brightened against each
other, as hand-held pairs are.
"""

import numpy as np
from scipy.ndimage import shift
from skimage import data

import blurphys as bp
import solvers

whole = bp.colour.srgb_to_linear(data.astronaut()[0:200, 120:360].transpose(2, 0, 1) / 255)
rng = np.random.default_rng(0)
sharp = whole + 0.002 * rng.standard_normal(whole.shape)
blurred = bp.Convolution(bp.psf.disk(3.3), shape=whole.shape)(whole)
blurred = 0.9 * shift(blurred, (0, 0.7, -1.3), order=3, mode="nearest") + 0.002 * rng.standard_normal(whole.shape)

registration = solvers.estimation.register(sharp, blurred)
fits = {
    "disk": solvers.estimation.fit_radius(sharp, blurred, registration=registration),
    "Gaussian": solvers.estimation.fit_radius(sharp, blurred, pupil="gaussian", registration=registration),
}
for name, fit in fits.items():
    print(name, fit, sep=": ")

# %%
psfs = [fit.operator.psf_at(100, 120) for fit in fits.values()]
bp.plot.edge_spread(*psfs, labels=tuple(fits))
