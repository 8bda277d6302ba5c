"""Parameters and cost of every published network and variant: the papers' figures beside ours.

Each paper counts cost by its own rule. The column "by their rule" shows that we count the same network, and the column
"GMAC" compares networks: convolutions and blur operators, with every multiply-accumulate counted once.

    python examples/network_costs.py                     the networks, some 20 s
    python examples/network_costs.py --all               every variant, minutes
    python examples/network_costs.py --size 720 1280     our counts at one size for all
"""

from __future__ import annotations

import argparse

import nets.registry
from nets.tools.published import COST_RULES, PUBLISHED, Published, by_rule
from nets.tools.summaries import Summary, summary

MAIN = {"GKMNet", "HQS + CG, P = 10", "NRKNet", "KPAC, 2 levels", "KPAC, 3 levels", "DefocusGAN, generator"}
CANON = (1120, 1680)


def counted(row: Published, size: tuple[int, int]) -> tuple[int, Summary] | None:
    """Parameters of the part that the row describes, and the cost of the network; None if it is not ours."""
    if row.net is None:
        return None
    config = dict(row.config) | ({"preset": "paper"} if row.scope == "kernels" else {})
    net = nets.registry.create(row.net, **config)
    cost = summary(net, size)
    if row.scope == "kernels":
        return sum(p.numel() for name, p in net.named_parameters() if ".kernels." in name), cost
    return cost.parameters, cost


def cells(row: Published, size: tuple[int, int] | None) -> tuple[str, ...]:
    at = size or row.size or CANON
    found = counted(row, at)
    printed = "" if row.cost is None or row.size != at else f"{row.cost:g} {row.unit}"
    millions = "" if row.millions is None else f"{row.millions:g} M"
    if row.scope == "kernels" and row.millions is not None:
        millions = f"{1e6 * row.millions:.0f}"
    ours, theirs, parameters, expected = "", "", "", "" if row.parameters is None else f"{row.parameters:,}"
    if found is not None:
        parameters, cost = f"{found[0]:,}", found[1]
        ours = f"{(cost.filters if row.scope == 'kernels' else cost.macs) / 1e9:.2f}"
        value = None if row.rule is None or row.size != at else by_rule(row.rule, cost)
        theirs = "" if value is None else f"{value:.1f}"
    where = f"{at[0]} x {at[1]}" if printed or ours else ""
    return row.title, millions, expected, parameters, where, printed, theirs, ours, row.rule or "", row.source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every variant and every opponent")
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="one size for all, px")
    arguments = parser.parse_args()
    size = tuple(arguments.size) if arguments.size else None
    header = (
        "network",
        "printed",
        "counted",
        "ours",
        "size",
        "printed cost",
        "by their rule",
        "GMAC",
        "rule",
        "source",
    )
    table = [header]
    for row in PUBLISHED:
        if arguments.all or row.title in MAIN:
            try:
                table.append(cells(row, size))
            except ValueError as error:  # a size too small for a network
                raise SystemExit(f"{row.title}: {error}") from error
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    for line in table:
        print(
            "  ".join(
                text.ljust(w) if i in (0, 8, 9) else text.rjust(w)
                for i, (text, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
        )
    print("\nHow the printed costs were obtained; costs of different rules cannot be compared:")
    for rule, text in COST_RULES.items():
        print(f"  {rule}: {text}")


if __name__ == "__main__":
    main()
