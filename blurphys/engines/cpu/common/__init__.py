"""What all compiled kernels share: the compiler and its cache, rows of images, sums over rows, vectors."""
