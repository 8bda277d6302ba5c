"""What bf16 changes in every network: its output under autocast beside its output in float32.

The networks have their default settings and seeded random weights; those with pretrained weights in blurphys are
included, too. The input is a photo from scikit-image. Differences are in percent of the range of the output.

    python examples/network_precision.py                    half a minute
    python examples/network_precision.py --size 256 384     a larger part of the photo
"""

from __future__ import annotations

import argparse

from nets.tools.precision_report import report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), default=(128, 192), help="px")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    arguments = parser.parse_args()
    rows = report(size=tuple(arguments.size), seed=arguments.seed)
    print("| network | weights | largest difference | rms |\n|---|---|---:|---:|")
    for row in rows:
        print(f"| {row.name} | {row.weights} | {100 * row.largest:.2g} % | {100 * row.rms:.2g} % |")


if __name__ == "__main__":
    main()
