"""
Layers that occlude each other
==============================

At depth edges no single PSF explains a pixel, and an operator with one PSF a pixel leaves halos there even if the map
is exact. `solvers.layered` restores the colours of each surface, also where a nearer one hides it.
"""

import numpy as np

import blurphys as bp
import solvers
import synth

scene = synth.scenes.dead_leaves(96, 128, layers=3, seed=4)
camera = synth.Camera.for_scene(scene, max_radius=4)
shot = synth.render(scene, camera, rng=0, views=("combined",), model="layered")
x, y = shot.all_in_focus, shot.combined
bank = bp.PSFBank(camera.pupil, max_radius=4.5, step=0.25)

one = solvers.hqs(bp.DefocusBlur(shot.defocus_map, bank=bank), y, prox=solvers.tv, strength=1e-3)
layers = bp.layers_from_map(y, shot.defocus_map, slabs=8)
A = bp.LayeredDefocus(layers.alphas, radii=layers.radii, bank=bank, per_layer=True)
many = solvers.layered(A, y, max_iterations=5)
picture = A.composite(many.x)


def psnr(image):
    return -10 * np.log10(np.mean((image - x) ** 2))


names = ("recorded", "one PSF a pixel", "layers")
bp.plot.before_after(
    y, one.x, picture, labels=[f"{n}, {psnr(z):.1f} dB" for n, z in zip(names, (y, one.x, picture), strict=True)]
)
