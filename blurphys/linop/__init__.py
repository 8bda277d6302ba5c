"""The base class of operators, their algebra, windows and tiles."""
