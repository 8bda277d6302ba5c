"""Scenes: sharp photographs with depth, readers of RGB-D datasets, and procedural scenes."""

from ..io.depth import Stereo
from .background import with_background
from .chart import text_chart
from .fitting import fit_depth
from .folders import from_files, read_folder
from .motorcycle import stereo_motorcycle
from .procedural import dead_leaves, highlights, slanted_planes, thin_occluders
from .readers import hypersim, middlebury, nyu_labelled, synthia
from .resize import resized, scaled_pitch
from .scene import Layer, Scene

__all__ = [
    "Layer",
    "Scene",
    "Stereo",
    "dead_leaves",
    "fit_depth",
    "from_files",
    "highlights",
    "hypersim",
    "middlebury",
    "nyu_labelled",
    "read_folder",
    "resized",
    "scaled_pitch",
    "slanted_planes",
    "stereo_motorcycle",
    "synthia",
    "text_chart",
    "thin_occluders",
    "with_background",
]
__dir__ = __all__.copy  # what completion offers
