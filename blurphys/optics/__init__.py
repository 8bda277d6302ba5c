"""Where PSFs come from: pupil, bank of levels, thin lens, recordings of points."""
