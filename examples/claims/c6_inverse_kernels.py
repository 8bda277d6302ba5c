"""Does one inverse kernel, upsampled, dilated or blended, serve many scales of a blur?

The means of `examples/inverse_kernels.py`, which shows every photograph, and how they move with the interpolation,
the signal-to-noise ratio and the scale between 3.5 and 4.0, none of which the text that we have states.

    python examples/claims/c6_inverse_kernels.py
"""

import numpy as np
from claim import Claim, show
from inverse_kernels import BLURS, blending, photographs, stretching

CASES = (
    ("disk", 100.0, "cubic", 3.75),
    ("disk", 100.0, "cubic", 3.6),
    ("disk", 30.0, "cubic", 3.75),
    ("disk", 100.0, "linear", 3.75),
    ("gaussian", 100.0, "cubic", 3.75),
)


def run(size: str) -> Claim:
    photos = photographs(size != "full")
    if size == "tiny":
        photos = {name: x[:, :160, :160] for name, x in photos.items()}
    rows: list[tuple[object, ...]] = [("paper", 51.09, 21.64, 21.59, 53.74, "87.4", "92.5")]
    for name, snr, interpolation, scale in CASES[: 1 if size == "tiny" else None]:
        both = [
            stretching(x, BLURS[name], snr, interpolation) | blending(x, BLURS[name], snr, interpolation, scale)
            for x in photos.values()
        ]
        mean = {key: float(np.mean([found[key] for found in both])) for key in both[0]}
        rows.append((
            f"{name}, snr {snr:g}, {interpolation}, scale {scale:g}",
            mean["a"], mean["truth 1"], mean["truth 2"], mean["b"],
            f"{mean['kernel equal']:.1f}", f"{mean['kernel nnls']:.1f}",
        ))  # fmt: skip
    holds = all(row[1] > max(row[2], row[3]) + 10 for row in rows[1:])
    return Claim(
        said="the inverse of a 5x blur equals the 5x inverse (51.09 dB) and the dilated one (53.74 dB); two scales "
        "blend into one between them, equal weights 87.4 %, non-negative least squares 92.5 %",
        source="KPAC (ICCV 2021), figures 1, 2 and 4; kernel, noise and photograph not in our source",
        header=("blur", "upsampled dB", "to truth dB", "to truth dB", "dilated dB", "blend equal %", "blend NNLS %"),
        rows=rows,
        verdict="reproduced in kind and order of magnitude; the figures themselves are not comparable"
        if holds
        else "not reproduced",
        why="the routes are at least 10 dB closer to each other than to the truth throughout, which is the claim. How "
        "close depends on interpolation, noise level and photograph, and these are not stated.",
    )


if __name__ == "__main__":
    show(run, __doc__)
