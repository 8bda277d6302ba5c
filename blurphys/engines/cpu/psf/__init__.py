"""`psf_gather`, `psf_scatter` and `psf_interpolate` on the CPU."""
