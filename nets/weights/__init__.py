"""Weights in files: our own, and those the authors published."""
