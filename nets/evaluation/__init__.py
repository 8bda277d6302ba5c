"""Evaluation by named protocols: data, conventions of PSNR and SSIM, and scores."""
