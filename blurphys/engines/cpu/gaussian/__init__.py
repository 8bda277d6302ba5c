"""`gaussian_mixture` on the CPU."""
