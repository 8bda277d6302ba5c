"""Named protocols: which data, which convention of PSNR and SSIM, and what a method scored."""
