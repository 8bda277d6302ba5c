"""The GPU engine: CUDA C in ``src``, and the Python code that launches it."""
