"""Synthetic defocus data: scenes and a camera in, samples out, in HDF5 files.

::

    scene = synth.scenes.stereo_motorcycle()
    camera = synth.Camera.for_scene(scene, max_radius=8)
    print(synth.generate(scene, "data.h5", camera=camera, samples=4, seed=0))
    with synth.open("data.h5") as data:
        left = data[0]["left"]
"""

from . import datasets, io, noise, optics, scenes
from .camera import Camera, Imperfections
from .camera_file import read_camera
from .distortion import RadialDistortion
from .folder_reader import open
from .generate import Report, generate, replay
from .merging import merge
from .operators import OperatorWarning, operator_of
from .render import Sample, render
from .scenes import Layer, Scene
from .sensor import Sensor, ToneCurve
from .shards import resume, verify
from .splitting import split_scenes
from .training_set import Dataset

__all__ = [
    "Camera",
    "Dataset",
    "Imperfections",
    "Layer",
    "OperatorWarning",
    "RadialDistortion",
    "Report",
    "Sample",
    "Scene",
    "Sensor",
    "ToneCurve",
    "datasets",
    "generate",
    "io",
    "merge",
    "noise",
    "open",
    "operator_of",
    "optics",
    "read_camera",
    "render",
    "replay",
    "resume",
    "scenes",
    "split_scenes",
    "verify",
]
__dir__ = __all__.copy  # what completion offers
