"""The rules of the house, part of `make lint`: short files, small rooms, no import circle.

An import counts wherever it stands, also inside a function.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("blurphys", "synth", "solvers", "nets")
LINES, MODULES = 400, 16


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(name: str, file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Modules of the packages that one imports; those of type checkers only are left out."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                found = next((n for n in (f"{base}.{alias.name}", base) if n in known), name)
                if found != name:
                    yield found
        waiting.extend(ast.iter_child_nodes(node))


def complaints() -> Iterator[str]:
    """Yield a sentence for every rule that is broken."""
    known = modules()
    for file in known.values():
        location, lines = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8").count("\n")
        if lines > LINES:
            yield f"{location} has {lines} lines, more than {LINES}: divide it along its seams"
    rooms = {file.parent for package in (*PACKAGES, "tests") for file in (ROOT / package).rglob("*.py")}
    for room in sorted(rooms):
        location, count = str(room.relative_to(ROOT)), len([f for f in room.glob("*.py") if f.name != "__init__.py"])
        if count > MODULES:
            yield f"{location} has {count} modules, more than {MODULES}: it wants a room inside"
    graph = {name: set(imports(name, file, known)) for name, file in known.items()}
    plain = {n: {m for m in below if known[m].name != "__init__.py"} for n, below in graph.items()}
    try:
        TopologicalSorter(plain).prepare()
    except CycleError as error:
        yield f"an import circle: {' -> '.join(error.args[1])}"


def main() -> None:
    """Print what is wrong, and end with 1 where something is."""
    found = list(complaints())
    print("\n".join(found) or "the house is in order")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
