"""The machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...engines.threads import thread_count

__all__ = ["describe"]

_PACKAGES = ("blurphys", "numpy", "scipy", "numba", "torch", "opencv-python-headless", "deepinv", "pylops")


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe(device: str = "cpu") -> dict[str, Any]:
    """Return CPU model (and GPU model), cores, threads used, memory in bytes, load, and versions."""
    torch = import_module("torch")  # once it is loaded, our engines use as many threads as torch
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_model(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": thread_count(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "memory_bytes": memory,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": _versions(),
    }
