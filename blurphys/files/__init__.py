"""Atomic writing of files, locks, arrays on disk, operators in HDF5."""
