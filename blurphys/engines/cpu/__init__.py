"""The CPU engine: primitives for NumPy arrays, compiled by Numba, one room for each family."""
