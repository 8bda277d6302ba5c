"""Proximal operators of the priors: total variation, hyper-Laplacian, wavelets, any denoiser."""
