"""Deblurring by convolution: one inverse kernel for all sizes of a blur."""
