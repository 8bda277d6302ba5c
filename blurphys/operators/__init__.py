"""Blur operators: mixtures, PSF stacks, lens defocus, layers that occlude each other, a window of a larger scene."""
