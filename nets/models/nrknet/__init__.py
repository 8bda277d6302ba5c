"""NRKNet: unrolled steps on recursive kernels whose maps and atoms are learned."""
