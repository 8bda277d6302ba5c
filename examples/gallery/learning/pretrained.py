"""
What the small network that comes along does
============================================

`gkmnet-synthetic` was trained in half an hour on two processor cores, for blur of up to three pixels. Within that
range it gains; beyond it does nothing. Its card says more.
"""

import numpy as np
from skimage import data

import blurphys as bp
import nets

sharp = data.coffee()[110:206, 210:338].transpose(2, 0, 1).astype(np.float32) / 255
light = bp.colour.srgb_to_linear(sharp)
net = nets.load("gkmnet-synthetic")


def psnr(image):
    return -10 * np.log10(np.mean((image - sharp) ** 2))


for radius in (2.0, 6.0):
    A = bp.Convolution(bp.psf.disk(radius).astype(np.float32), shape=light.shape)
    photo = bp.colour.linear_to_srgb(A(light)).clip(0, 1)
    restored = nets.deblur(net, photo)
    labels = [f"radius {radius:g} px, {psnr(photo):.1f} dB", f"deblurred, {psnr(restored):.1f} dB"]
    bp.plot.before_after(photo, restored, labels=labels, encoded=True)
