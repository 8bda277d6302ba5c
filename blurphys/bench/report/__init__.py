"""The measurements as tables, JSON and a plot, and the targets."""
