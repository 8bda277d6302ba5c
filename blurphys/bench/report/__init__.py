"""What was measured as tables, JSON and a plot, and the targets."""
