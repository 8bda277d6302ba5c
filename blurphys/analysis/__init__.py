"""What can be said of an operator: its laws, norm, spectrum, reach, and whether an iteration converges."""
