"""The commands that need networks or, like `demo` and `solve`, both synth and solvers."""
