"""Fit blur models to a real pair, and approximate measured PSFs: the figures of docs/estimation.md.

The pair is a flat board at f/20 and at f/4 (Canon R6 Mark II; see the README beside the data), the mean of the two
dual-pixel views in linear light. All models are fitted with one registration and one kernel size, so that the same
pixels are held out. PSNR of the photograph as decoded from sRGB, peak 1, all colours together, clipped pixels left out.

    python examples/fit_blur.py
    python examples/fit_blur.py --tone
    python examples/fit_blur.py --psfs
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from canon_deblur import linear_light

import blurphys as bp
from solvers import estimation

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
SIZE = 19


def pair(tone: bool) -> None:
    sharp, blurred = (linear_light(DATA / "canon_r6m2_flat_0600mm", aperture) for aperture in ("f20", "f4"))
    first = estimation.fit_radius(sharp, blurred, size=SIZE, tone=tone)
    common = {"registration": first.registration, "size": SIZE}
    still = estimation.Registration(tone=first.registration.tone)
    ring = bp.Pupil.butterworth(floor=0.5)
    models = (
        ("Gaussian", lambda: estimation.fit_radius(sharp, blurred, pupil="gaussian", **common)),
        ("disk", lambda: estimation.fit_radius(sharp, blurred, **common)),
        ("disk, no registration", lambda: estimation.fit_radius(sharp, blurred, registration=still, size=SIZE)),
        ("disk, affine radius", lambda: estimation.fit_radius(sharp, blurred, model="affine", **common)),
        ("Butterworth", lambda: estimation.fit_radius(sharp, blurred, pupil="butterworth", **common)),
        ("Butterworth, floor .5", lambda: estimation.fit_radius(sharp, blurred, pupil=ring, **common)),
        ("GKM, 5 Gaussians", lambda: estimation.fit_gkm(sharp, blurred, **common)),
        ("RKR, symmetric", lambda: estimation.fit_rkr(sharp, blurred, **common)),
        ("mixture, 5 Gaussians", lambda: estimation.fit_mixture(sharp, blurred, **common)),
        ("free kernel", lambda: estimation.fit_psf_bank(sharp, blurred, **common)),
    )
    print(f"{'model':24}{'held out':>10}{'no blur':>10}{'trained':>10}{'unknowns':>10}{'seconds':>9}")
    for name, run in models:
        start = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - start
        print(
            f"{name:24}{found.heldout_psnr:10.2f}{found.identity_psnr:10.2f}{found.train_psnr:10.2f}"
            f"{found.unknowns:10d}{seconds:9.1f}",
            flush=True,
        )


def psfs() -> None:
    lens = np.load(DATA / "lens_psf_summilux35" / "psf.npz")["f3"].astype(float)
    phone = np.load(DATA / "pixel4_dp" / "blur_kernels_left.npy")[19].astype(float)
    for name, psf in (
        ("Summilux f3 at 4 um", bp.psf.normalize(bp.psf.resample(lens, 0.5))),
        ("Pixel 4 left 19", phone),
    ):
        print(name)
        print(estimation.advise(psf, K=(5,)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--psfs", action="store_true", help="approximate measured PSFs instead")
    parser.add_argument("--tone", action="store_true", help="fit a tone curve for each colour")
    given = parser.parse_args()
    if not (DATA / "canon_r6m2_flat_0600mm").is_dir():
        sys.exit(f"expected the photographs in {DATA}")
    psfs() if given.psfs else pair(given.tone)
