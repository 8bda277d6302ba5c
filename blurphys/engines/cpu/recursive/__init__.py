"""`recursive_mixture` on the CPU."""
