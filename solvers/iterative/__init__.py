"""Stationary and gradient iterations: fixed point with its accelerations, Neumann sums, Landweber, Richardson-Lucy."""
