"""Cheap approximate inverses for the Krylov methods and the data steps."""
