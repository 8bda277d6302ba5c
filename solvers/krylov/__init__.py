"""Krylov methods: conjugate gradients, least squares (CGLS, LSQR), GMRES and BiCGSTAB."""
