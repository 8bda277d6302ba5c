"""Layers that several networks share, and rules of precision and resampling."""
