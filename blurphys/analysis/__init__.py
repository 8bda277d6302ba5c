"""Analysis of operators: tests of their laws, norm, spectrum, reach, and whether an iteration converges."""
