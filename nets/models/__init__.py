"""The networks, each with what is its own beside it."""
