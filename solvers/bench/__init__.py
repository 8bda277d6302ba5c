"""`blurphys bench-solvers`: the solvers beside each other on one photo."""
