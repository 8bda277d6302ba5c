"""Synthetic defocus data: scenes and a camera in, samples out, in HDF5 files.

::

    scene = synth.scenes.stereo_motorcycle()
    camera = synth.Camera.for_scene(scene, max_radius=8)
    print(synth.generate(scene, "data.h5", camera=camera, samples=4, seed=0))
    with synth.open("data.h5") as data:
        left = data[0]["left"]
"""

from typing import TYPE_CHECKING, Any

from . import datasets, io, noise, optics, scenes
from .camera.camera import Camera
from .camera.distortion import RadialDistortion
from .camera.file import read_camera
from .camera.imperfections import Imperfections
from .camera.sensor import Sensor
from .camera.tone import ToneCurve
from .dataset.folder import open
from .dataset.merging import merge
from .dataset.training_set import Dataset
from .generation.generate import generate, replay
from .generation.operators import OperatorWarning, layered_operator_of, operator_of
from .generation.report import Report
from .generation.run import resume
from .generation.splitting import split_scenes
from .generation.verify import verify
from .rendering.render import Sample, render
from .scenes import Layer, Scene

if TYPE_CHECKING:
    from .streaming.stream import Stream

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
    "Stream",
    "ToneCurve",
    "datasets",
    "generate",
    "io",
    "layered_operator_of",
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


def __getattr__(name: str) -> Any:
    if name != "Stream":  # the only name that loads torch
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .streaming.stream import Stream

    globals()[name] = Stream
    return Stream
