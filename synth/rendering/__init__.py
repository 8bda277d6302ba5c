"""Scene and camera to sample: gather, layered, or by sampling the aperture."""
