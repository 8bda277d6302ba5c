"""Deblurring with a known operator: `blurphys demo` and `blurphys solve`."""
