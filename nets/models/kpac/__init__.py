"""KPAC: kernel-sharing parallel atrous convolutions, deblurring by inverse kernels as a network."""
