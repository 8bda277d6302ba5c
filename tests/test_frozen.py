"""Frozen means frozen: nothing in the packages changes an object after it was made."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for package in ("blurphys", "solvers", "synth", "nets") for path in (ROOT / package).rglob("*.py")]


def offences(tree):
    """Places where a frozen object could be changed: (line, what)."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def function(node):
        while node in parents and not isinstance(node, ast.FunctionDef):
            node = parents[node]
        return getattr(node, "name", "")

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "__setattr__" and function(node) != "freeze":
            yield node.lineno, "object.__setattr__ instead of blurphys.frozen.freeze"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "freeze":
            name = function(node)
            if name not in ("__post_init__", "_with") and not name.startswith("_check"):
                yield node.lineno, "freeze outside of __post_init__, its checks and _with"
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "__dict__"
            and function(node) not in ("__getstate__", "__reduce__")
        ):
            yield node.lineno, "__dict__ instead of fields"


def test_no_object_is_changed_behind_its_back():
    assert len(SOURCES) > 100
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in SOURCES}
    suspects = {name: text for name, text in texts.items() if re.search(r"__setattr__|__dict__|freeze\(", text)}
    assert len(suspects) > 10
    found = {name: list(offences(ast.parse(text))) for name, text in suspects.items()}
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "text",
    [
        "def taps(self):\n    object.__setattr__(self, 'table', 1)",
        "def taps(self):\n    freeze(self, table=1)",
        "def taps(self):\n    self.__dict__['table'] = 1",
    ],
)
def test_the_rule_sees_what_it_forbids(text):
    assert len(list(offences(ast.parse(text)))) == 1
