"""PSFs: pupil, bank of levels, thin lens, measured PSFs."""
