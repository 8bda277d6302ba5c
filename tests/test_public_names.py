"""What completion offers: public names that resolve, each with documentation of its own, and nothing else."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

PACKAGES = ("blurphys", "solvers", "synth", "nets")


def public_modules() -> dict[str, ModuleType]:
    """The packages, and the modules that a package's public names lead to, at any depth."""
    found: dict[str, ModuleType] = {}
    waiting = [importlib.import_module(name) for name in PACKAGES]
    while waiting:
        module = waiting.pop()
        if module.__name__ in found:
            continue
        found[module.__name__] = module
        values = (getattr(module, name) for name in module.__all__)
        waiting += [value for value in values if isinstance(value, ModuleType)]
    return found


MODULES = public_modules()
every_module = pytest.mark.parametrize("name", MODULES)


def test_the_walk_has_found_what_it_should():
    assert {*PACKAGES, "blurphys.psf", "blurphys.maps", "synth.scenes", "nets.losses", "nets.metrics"} <= set(MODULES)


@every_module
def test_completion_offers_the_public_names_and_no_others(name):
    module = MODULES[name]
    offered = [n for n in dir(module) if not n.startswith("__")]
    assert offered == sorted(module.__all__)
    assert len(set(offered)) == len(offered)
    assert not [n for n in offered if n.startswith("_")]
    namespace: dict[str, object] = {}
    exec(f"from {name} import *", namespace)
    assert set(offered) <= set(namespace)


@every_module
def test_every_public_name_is_documented(name):
    module = MODULES[name]
    assert module.__doc__
    bare = []
    for public in module.__all__:
        value = getattr(module, public)
        if not (inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, ModuleType)):
            continue  # a constant: its module says what it is
        doc = value.__doc__ or ""
        made = dataclasses.is_dataclass(value) and doc.startswith(f"{value.__name__}(")  # by dataclass, from the fields
        if not doc.strip() or made:
            bare.append(public)
    assert not bare


def test_completion_of_networks_needs_no_torch():
    code = "import sys, nets; dir(nets); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_operator_offers_documented_names():
    operator = MODULES["blurphys"].LinearOperator
    for name in dir(operator):
        if not name.startswith("_"):
            assert inspect.getdoc(getattr(operator, name)), name
