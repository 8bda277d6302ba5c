"""Files that appear whole or not at all, locks, arrays on disk, operators in HDF5."""
