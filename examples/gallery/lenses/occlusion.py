"""
Thin things in front: why occlusion matters
===========================================

One PSF for each pixel lets the background through where a blurred twig should cover it, and gives blurred things hard
edges. Layers that hide each other do it right, and are still linear in their colours. The reference samples the
aperture, view by view.
"""

import blurphys as bp
import synth

scene = synth.scenes.thin_occluders(96, 128, kinds=("hair", "leaves"), seed=2)
camera = synth.Camera.for_scene(scene, max_radius=5, focus_distance_m=4.0)
pictures = {
    name: synth.render(scene, camera, rng=0, views=("combined",), model=model).combined
    for name, model in (("one PSF a pixel", "gather"), ("layers", "layered"), ("aperture sampled", "aperture"))
}

bp.plot.before_after(*pictures.values(), labels=tuple(pictures), details=2)
