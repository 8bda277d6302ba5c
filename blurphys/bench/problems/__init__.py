"""The problems: three operators, with their inputs, the code that computes them, and the work that must be done."""
