"""The blurs: mixtures, stacks of PSFs, defocus by a lens, layers that hide each other, a window of a larger scene."""
