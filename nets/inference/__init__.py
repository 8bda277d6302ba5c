"""Photos of any size through a network."""
