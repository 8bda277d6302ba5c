"""Gradients through a solver with torch: unrolled, checkpointed, implicit."""
