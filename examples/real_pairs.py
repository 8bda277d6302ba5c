"""Every method on every photograph at hand: PSNR, SSIM, seconds, memory, and scores of the maps.

Writes the tables of docs/results.md, which says what the columns mean. Each method runs in a process of its own.

    python examples/real_pairs.py --data ../shared/data                     # prints the tables; an hour on two cores
    python examples/real_pairs.py --data ../shared/data --only board --methods input gkmnet-synthetic
    python examples/real_pairs.py --data ../shared/data --nets runs/gkmnet/network-best.safetensors
    python examples/real_pairs.py --data ../shared/data --methods restore --json docs/results.json --markdown

With --json figures that the file has already and this run does not measure are kept, so that a single method can be
measured again; it is written after each method. --markdown rewrites the page between its markers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from photographs.cases import CASES, folder_of
from photographs.methods import FIXED, INPUT, KNOWN, PAIR, RESTORE, TRIVIAL, Worker, applies
from photographs.scores import score
from photographs.tables import replace_between, tables

import nets
from blurphys.files.publishing import publish, refuse_existing

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
DATA = PAGE.parents[2] / "shared" / "data"

Records = dict[str, dict[str, dict[str, Any]]]
"""Method -> case -> figures."""


def choose(asked: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """Return the names that equal one of the asked ones or begin with it, in their order; ValueError if none does."""
    names = list(names)
    for word in asked:
        if not any(name == word or name.startswith((f"{word} ", f"{word},")) for name in names):
            raise ValueError(f"expected {what} among {'; '.join(names)}, got {word!r}")
    return [n for n in names if not asked or any(n == w or n.startswith((f"{w} ", f"{w},")) for w in asked)]


def methods_of(weights: Sequence[str] | None) -> dict[str, str]:
    """Return label -> method in the order of the tables; the labels of networks are those of their files."""
    names = [n for n in nets.pretrained() if nets.load(n).restores] if weights is None else list(weights)
    for name in names:
        if not nets.load(name).restores:
            raise ValueError(f"expected a network that restores photographs, got {name}")
    chosen = [INPUT, TRIVIAL, *names, *([RESTORE] if hasattr(nets, "restore") else []), PAIR, KNOWN]
    labels = {name if name in FIXED else Path(name).stem: name for name in chosen}
    if len(labels) < len(chosen):
        raise ValueError(f"expected weights of different names, got {', '.join(names)}")
    return labels


def missing_folders(data: Path, cases: Sequence[str]) -> list[str]:
    """Return the folders that cases need and --data does not have."""
    folders = dict.fromkeys(folder for name in cases if (folder := folder_of(name)) is not None)
    return [folder for folder in folders if not (data / folder).is_dir()]


def measure(
    methods: dict[str, str],
    cases: Sequence[str],
    data: Path,
    on_method: Callable[[Records], object] = lambda found: None,
) -> Records:
    """Run methods on cases, one process for each method, and score what they return; called back after each method."""
    records: Records = {}
    loaded = {name: CASES[name](data) for name in cases}
    for label, method in methods.items():
        worker = Worker()
        for name, case in loaded.items():
            if not applies(method, case):
                continue
            call = worker(method, name, data)
            if isinstance(call, str):
                figures: dict[str, Any] = {"error": call}
            else:
                cost = {"seconds": call.seconds, "cpu_seconds": call.cpu_seconds, "bytes": call.bytes}
                figures = {**score(case, call.found), **cost}
            records.setdefault(label, {})[name] = figures
            shown = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
            print(f"{label}, {name}: {shown}", file=sys.stderr, flush=True)
        worker.close()
        on_method(records)
    return records


def store(file: Path | None, records: Records) -> None:
    """Write all figures as JSON, if a file is given."""
    if file is not None:
        with publish(file, overwrite=True) as part:
            part.write_text(json.dumps(records, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def merged(old: Records, new: Records) -> Records:
    """Return the old figures with the new ones in their place."""
    return {label: old.get(label, {}) | new.get(label, {}) for label in dict.fromkeys([*old, *new])}


def parse(arguments: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help="folder with the photographs")
    parser.add_argument("--nets", nargs="+", metavar="NAME", help="weights of the package, or files; default: all")
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="these methods alone")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these photographs alone, by first words")
    parser.add_argument("--json", type=Path, metavar="FILE", help="read and write all figures")
    parser.add_argument("--markdown", type=Path, nargs="?", const=PAGE, metavar="PAGE", help="rewrite docs/results.md")
    parser.add_argument("--no-measure", action="store_true", help="write the tables from the figures in --json alone")
    return parser, parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    parser, given = parse(arguments)
    try:
        cases = choose(given.only, CASES, "--only")
        labels = methods_of(given.nets)
        methods = {label: labels[label] for label in choose(given.methods, labels, "--methods")}
        old = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
        if given.json:
            refuse_existing(given.json, overwrite=True)
        if given.markdown:
            replace_between(given.markdown.read_text(encoding="utf-8"), "")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if given.no_measure:
        cases = []
    elif not given.data.is_dir():
        parser.error(f"--data: expected a folder with the photographs, got {given.data}")
    if missing := missing_folders(given.data, cases):
        parser.error(f"--data: expected {', '.join(missing)} in {given.data}; --only chooses other photographs")
    new = measure(methods, cases, given.data, lambda found: store(given.json, merged(old, found)))
    records = merged(old, new)
    text = tables(records)
    print(text)
    if given.markdown:
        page = replace_between(given.markdown.read_text(encoding="utf-8"), text)
        with publish(given.markdown, overwrite=True) as part:
            part.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
