"""Blur models fitted to a sharp and a blurred photograph of the same scene, or to a measured PSF."""
