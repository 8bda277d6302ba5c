"""KPAC: kernel-sharing parallel atrous convolutions, the inverse-kernel route as a network."""
