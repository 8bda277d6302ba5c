"""Synthetic defocus data: a scene and a camera in, samples out, in HDF5 files.

::

    scene = synth.scenes.stereo_motorcycle()
    camera = synth.Camera.for_scene(scene, max_radius=8)
    print(synth.generate(scene, "data.h5", camera=camera, samples=4, seed=0))
    with synth.open("data.h5") as data:
        left = data[0]["left"]
"""

from . import io, noise, scenes
from .camera import Camera
from .dataset import Dataset, open
from .generate import Report, generate, replay
from .render import Sample, render
from .scenes import Scene

__all__ = [
    "Camera",
    "Dataset",
    "Report",
    "Sample",
    "Scene",
    "generate",
    "io",
    "noise",
    "open",
    "render",
    "replay",
    "scenes",
]
