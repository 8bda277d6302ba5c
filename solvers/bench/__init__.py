"""`blurphys bench-solvers`: the solvers compared on one photo."""
