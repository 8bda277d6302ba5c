"""Parameters and costs of the networks: the printed figures, and ours by the same rule and by one rule for all.

`nets.tools.published` has the printed figures and the rules by which they can be reproduced;
`python examples/network_costs.py --all` shows every variant.

    python examples/claims/c3_counts_and_costs.py
"""

from claim import Claim, show

import nets
from nets.tools.published import PUBLISHED, by_rule

TITLES = ("GKMNet", "GKMNet, in NRKNet's table", "HQS + CG, P = 10", "NRKNet", "KPAC, 2 levels", "KPAC, 3 levels",
          "DefocusGAN, generator")  # fmt: skip


def run(size: str) -> Claim:
    rows, counts, costs, missed = [], 0, 0, []
    for published in PUBLISHED:
        if published.title not in (TITLES[4:5] if size == "tiny" else TITLES):
            continue
        cost = nets.summary(nets.create(published.net, **published.config), published.size or (1120, 1680))
        again = None if published.rule is None else by_rule(published.rule, cost)
        if abs(cost.parameters / 1e6 - published.millions) <= 0.05 * 10 ** (published.millions < 4) / 10 + 0.005:
            counts += 1
        else:
            missed.append(published.title)
        if again is not None and abs(again / published.cost - 1) < 0.01:
            costs += 1
        rows.append((
            published.title, f"{published.millions:g} M", f"{cost.parameters / 1e6:.3f} M",
            "" if published.cost is None else f"{published.cost:g} {published.unit}",
            "" if again is None else f"{again:.1f}", f"{cost.macs / 1e9:.2f}", published.source,
        ))  # fmt: skip
    return Claim(
        said="the networks have the printed numbers of parameters and cost the printed FLOP or MAC",
        source="GKMNet tables 1 and 4, supplement table 2; NRKNet table 1; KPAC tables 4 and 5; DefocusGAN table 1",
        header=("network", "printed", "ours", "printed cost", "ours, their rule", "GMAC", "where"),
        rows=rows,
        verdict=f"parameters reproduced for {counts} of {len(rows)}"
        + (f" (not {', '.join(missed)})" if missed else "")
        + f"; costs reproduced within 1 % for {costs} by each paper's own rule, and not comparable with each other",
        why="each column counts by another rule: a Gaussian bank that hooks on modules do not see, transposed "
        "convolutions counted fourfold or not at all, multiply-accumulates halved or doubled. The column GMAC "
        "counts every multiply-accumulate once, at the size of the printed figure.",
    )


if __name__ == "__main__":
    show(run, __doc__)
