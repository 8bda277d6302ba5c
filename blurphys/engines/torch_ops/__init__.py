"""The primitives as operators of torch."""
