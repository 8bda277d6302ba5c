"""Shared by all solvers: checks of arguments, the iteration loop, the test of convergence, `Solution` and `Status`."""
