"""The speed of the machine, and the time and memory that every contestant takes on it."""
