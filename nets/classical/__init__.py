"""Solvers at the work of the networks: the demo, and an image whose blur is known."""
