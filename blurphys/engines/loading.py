"""Loads a fast engine when it is first asked for: Numba takes a second to import, and blurphys must not."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module

from .registry import Kernel, forget, lookup

__all__ = ["cpu_engine_missing", "fast_kernel"]


def fast_kernel(primitive: str, namespace: str) -> Kernel | None:
    """Return the function of the engine for ``"numpy"`` or ``"cupy"``; None where it has none, or does not load."""
    _load(namespace)
    return lookup(primitive, namespace)


@cache
def _load(namespace: str) -> None:
    if namespace == "cupy":
        import_module("blurphys.engines.cuda.engine")
    if namespace == "numpy":
        reason = cpu_engine_missing()
        if reason:
            logging.getLogger("blurphys").warning("no compiled CPU engine (%s): the slower reference serves", reason)


@cache
def cpu_engine_missing() -> str:
    """Return why NumPy arrays and CPU tensors have no compiled engine in this process; empty if they have."""
    try:
        if import_module("numba").config.DISABLE_JIT:
            return "NUMBA_DISABLE_JIT is set"
        import_module("blurphys.engines.cpu.engine")
    except Exception as error:  # a broken compiler raises anything, OSError among it
        forget("numpy")
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""
