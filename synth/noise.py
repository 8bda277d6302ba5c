"""Photon and read noise of a sensor, in linear light."""

from .camera.noise import ShotReadNoise

__all__ = ["ShotReadNoise"]
__dir__ = __all__.copy  # what completion offers
