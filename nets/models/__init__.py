"""The networks, each with its own coefficients, kernels and steps."""
