"""Reproduce the checks behind the inverse-kernel idea: one inverse kernel, stretched, serves every size of a blur.

The paper (Son, Lee, Cho, Lee, "Single Image Defocus Deblurring Using Kernel-Sharing Parallel Atrous Convolutions", ICCV
2021) shows three things, each here on the photographs that come with scikit-image:

(a) the inverse of a 5x upsampled blur equals the 5x upsampled inverse of the blur
(b) dilating the inverse (taps moved apart) does the same as upsampling it
(c) the inverses of scales 3.5 and 4.0, weighted, stand in for a scale in between

The paper leaves these points open; unless an option says otherwise, we assume:
  photographs   scikit-image's, in [0, 1] as stored (not linearised), all channels, all pixels
  blur          a disk of radius 2 px and a Gaussian of sigma 1 px at scale 1, no noise, boundary "reflect" throughout
  Wiener        constant signal-to-noise power ratio 100; supports chosen so that truncation costs at most 1 % of the
                response
  upsampling    cubic convolution; --interpolation linear shows how much that matters
  (c)           the scale in between is 3.75; least squares on the kernels and on the images; the ratio is that of
                deblurred images (clipped to [0, 1], + 1/255), and of kernels, weighted by the magnitude of the target

    python examples/inverse_kernels.py            a minute or two
    python examples/inverse_kernels.py --quick    one crop, seconds
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import skimage.data

import blurphys as bp
from solvers import inverse_kernel, nnls_weights, scaled_inverse, upsampled_inverse

WHY = """
How far this goes:
(a, b) The figures are of the paper's order, but no proof of it: they move by 9 dB from photograph to photograph, by
       3 dB with the blur's shape, by 4 to 6 dB between snr 30 and 100, and by 7 to 13 dB with the interpolation: linear
       interpolation is a low-pass filter that one route applies to the blur, which its inverse then undoes, and the
       other to the inverse. What holds throughout: both routes are far closer to each other than to the truth.
(c)    The paper's ratio is not defined in the text we have. On images it is near 100 % for any sensible weights, since
       most pixels are flat; on kernels equal weights come near the paper's figure, and NNLS gains less than in the
       paper, because 3.75 lies in the middle: try --scale 3.6. NNLS cannot lose in least squares, on what it was
       fitted to; the ratio is another measure.
"""
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
BLURS = {"disk": bp.psf.disk(2.0), "gaussian": bp.psf.gaussian(1.0)}
SCALES = (3.5, 4.0)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def convolved(kernel: np.ndarray, x: np.ndarray) -> np.ndarray:
    return bp.Convolution(kernel, shape=x.shape)(x)


def image_accuracy(x: np.ndarray, target: np.ndarray) -> float:
    """1 - mean |ratio - 1| of two images, in percent."""
    ratio = (np.clip(x, 0, 1) + 1 / 255) / (np.clip(target, 0, 1) + 1 / 255)
    return float(100 * (1 - np.mean(np.abs(ratio - 1))))


def kernel_accuracy(weights: np.ndarray, kernels: list[np.ndarray], target: np.ndarray) -> float:
    """1 - mean |ratio - 1| for a weighted sum of kernels over the target, the mean weighted by |target|, in percent."""
    size = max(k.shape[-1] for k in (*kernels, target))
    *parts, wanted = (np.pad(k, (size - k.shape[-1]) // 2) for k in (*kernels, target))
    blend = sum(w * k for w, k in zip(weights, parts, strict=True))
    return float(100 * (1 - np.abs(blend - wanted).sum() / np.abs(wanted).sum()))


def stretching(photo: np.ndarray, psf: np.ndarray, snr: float, interpolation: str) -> dict[str, float]:
    """Checks (a) and (b) on one photograph."""
    large = upsampled_inverse(psf, 5, interpolation=interpolation)
    y = convolved(large, photo)
    small = inverse_kernel(psf, snr=snr)
    of_upsampled = convolved(inverse_kernel(large, snr=snr), y)
    upsampled = scaled_inverse(y, small, scales=[5], method=interpolation)
    dilated = scaled_inverse(y, small, scales=[5], method="dilated")
    return {
        "blurred": psnr(y, photo),
        "a": psnr(of_upsampled, upsampled),
        "truth 1": psnr(of_upsampled, photo),
        "truth 2": psnr(upsampled, photo),
        "b": psnr(upsampled, dilated),
    }


def blending(photo: np.ndarray, psf: np.ndarray, snr: float, interpolation: str, scale: float) -> dict[str, float]:
    """Check (c) on one photograph: equal weights, NNLS on the kernels, NNLS on the images."""
    y = convolved(upsampled_inverse(psf, scale, interpolation=interpolation), photo)
    small = inverse_kernel(psf, snr=snr)
    kernels = [upsampled_inverse(small, s, interpolation=interpolation) for s in SCALES]
    goal = upsampled_inverse(small, scale, interpolation=interpolation)
    parts = [scaled_inverse(y, small, scales=[s], method=interpolation) for s in SCALES]
    target = scaled_inverse(y, small, scales=[scale], method=interpolation)
    equal, by_kernel, by_image = np.full(2, 0.5), nnls_weights(kernels, goal), nnls_weights(parts, target)

    def blend(weights: np.ndarray) -> np.ndarray:
        return scaled_inverse(y, small, scales=SCALES, weights=weights, method=interpolation)

    return {
        "kernel equal": kernel_accuracy(equal, kernels, goal),
        "kernel nnls": kernel_accuracy(by_kernel, kernels, goal),
        "image equal": image_accuracy(blend(equal), target),
        "image nnls": image_accuracy(blend(by_image), target),
        "w1": by_image[0],
        "w2": by_image[1],
    }


def photographs(quick: bool) -> dict[str, np.ndarray]:
    names = PHOTOS[:1] if quick else PHOTOS
    found = {name: np.moveaxis(getattr(skimage.data, name)() / 255.0, -1, 0) for name in names}
    return {name: x[:, 40:340, 100:400] for name, x in found.items()} if quick else found


def table(title: str, names: list[str], rows: dict[str, dict[str, float]], paper: dict[str, str]) -> None:
    print(f"\n{title}")
    print(f"{'':<12}" + "".join(f"{name:>15}" for name in names))
    mean = {name: float(np.mean([row[name] for row in rows.values()])) for name in names}
    for label, row in (*rows.items(), ("mean", mean)):
        print(f"{label:<12}" + "".join(f"{row[name]:>15.2f}" for name in names))
    print(f"{'paper':<12}" + "".join(f"{paper.get(name, '-'):>15}" for name in names))


def run(*, quick: bool, snr: float, interpolation: str, scale: float) -> dict[str, dict[str, dict[str, float]]]:
    """Print the tables of both blurs; returns their numbers as {blur: {photo: {column: value}}}."""
    photos = photographs(quick)
    results = {}
    for name, psf in BLURS.items():
        first = {label: stretching(x, psf, snr, interpolation) for label, x in photos.items()}
        table(
            f"{name}, snr {snr:g}, {interpolation}: PSNR in dB of (a) the inverse of the 5x blur against the 5x "
            "upsampled inverse,\nof both against the truth, and (b) of the upsampled against the dilated inverse",
            ["blurred", "a", "truth 1", "truth 2", "b"],
            first,
            {"a": "51.09", "truth 1": "21.64", "truth 2": "21.59", "b": "53.74"},
        )  # fmt: skip
        second = {label: blending(x, psf, snr, interpolation, scale) for label, x in photos.items()}
        table(
            f"{name}, snr {snr:g}, {interpolation}: (c) accuracy in % of scales {SCALES} blended into {scale:g}, on "
            "kernels and on images,\nand the weights found on the images",
            ["kernel equal", "kernel nnls", "image equal", "image nnls", "w1", "w2"],
            second,
            {"kernel equal": "87.4?", "kernel nnls": "92.5?", "image equal": "87.4?", "image nnls": "92.5?"},
        )
        results[name] = {label: first[label] | second[label] for label in photos}
    print(WHY)
    return results


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one crop of one photograph")
    parser.add_argument("--snr", type=float, default=100.0, help="power ratio of image and noise (default: 100)")
    parser.add_argument("--interpolation", choices=("cubic", "linear"), default="cubic", help="default: cubic")
    parser.add_argument("--scale", type=float, default=3.75, help="the scale to emulate in (c) (default: 3.75)")
    given = parser.parse_args(arguments)
    try:
        run(quick=given.quick, snr=given.snr, interpolation=given.interpolation, scale=given.scale)
    except ValueError as error:
        print(f"inverse_kernels: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
