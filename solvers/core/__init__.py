"""What all solvers share: argument checks, the iteration loop, the test of convergence, `Solution` and `Status`."""
