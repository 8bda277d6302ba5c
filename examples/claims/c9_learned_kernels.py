"""Do learned kernels describe blur better than Butterworth ones, and those better than Gaussians?

Kernels fitted to a sharp and a blurred photograph, all with one registration, scored on blocks that were held out. The
paper deconvolves with its kernels instead (DPDD, maps estimated): its figures measure another thing.

    python examples/claims/c9_learned_kernels.py
"""

from claim import Claim, pair, show

from solvers import estimation


def run(size: str) -> Claim:
    sharp, blurred, what = pair(size)
    common = {"size": 9 if size == "tiny" else 19}
    disk = estimation.fit_radius(sharp, blurred, **common)
    common["registration"] = disk.registration
    fits = {
        "Gaussian": (estimation.fit_radius(sharp, blurred, pupil="gaussian", **common), "22.56"),
        "disk": (disk, ""),
        "Butterworth": (estimation.fit_radius(sharp, blurred, pupil="butterworth", **common), "23.31"),
        "learned": (estimation.fit_psf_bank(sharp, blurred, **common), "23.56"),
    }
    rows = [
        (name, printed, fit.heldout_psnr, fit.train_psnr, fit.unknowns) for name, (fit, printed) in fits.items()
    ] + [("no blur", "", disk.identity_psnr, "", 0)]
    gaussian, _, butterworth, learned = (fit.heldout_psnr for fit, _ in fits.values())
    last = gaussian < min(butterworth, learned) - 0.3
    order = learned > butterworth + 0.1
    return Claim(
        said="learned kernels are better than Butterworth ones, and these better than Gaussians",
        source="DefocusGAN, table 5, PSNR of deconvolved photographs on DPDD. Ours, linear light: " + what,
        header=("kernel", "paper dB", "held out dB", "trained dB", "unknowns"),
        rows=rows,
        verdict=("Gaussian last: reproduced; " if last else "Gaussian last: not reproduced; ")
        + ("learned above Butterworth: reproduced" if order else "learned above Butterworth: not reproduced"),
        why="the paper's figures are of deconvolution and ours of prediction: only the order can be compared. One "
        "lens, one distance, a flat board: a kernel learned for one camera may still be worth it where the lens "
        "has aberrations.",
    )


if __name__ == "__main__":
    show(run, __doc__)
