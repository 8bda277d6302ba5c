"""`blurphys doctor`: installed versions, engines and GPUs, problems and how to fix them."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from .trials import try_engines

__all__ = ["Facts", "Finding", "diagnose", "doctor", "gather"]

PACKAGES = ("numpy", "scipy", "torch", "numba", "h5py", "array-api-compat", "scikit-image", "deepinv", "pylops")
CUPY_WHEELS = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")
CUPY_WHEEL_OF_CUDA = {11: "cupy-cuda11x", 12: "cupy-cuda12x", 13: "cupy-cuda13x"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about this machine and installation; every field may be missing.

    Attributes
    ----------
    python, system : str
        Interpreter and operating system.
    packages : dict of str to (str or None)
        Distribution name to version; None if not installed.
    cupy_wheels : tuple of str
        Installed distributions that provide `cupy`.
    threads : int or None
        Number of CPU threads of the engines; None if unknown.
    threads_error : str
        Why it is unknown.
    engines : dict of str to str
        Engine name to its error in a small test (`try_engines`); empty if it equals the reference.
    engine : str
        State of the compiled CPU engine in words, and where its code is cached.
    engine_error : str
        Why it cannot be used; empty if it can.
    cache_error : str
        Why its code cannot be cached on disk; empty if it can.
    torch_cuda : str or None
        CUDA version torch was built for; None for a CPU build.
    torch_device : str or None
        Name of the GPU that torch sees.
    cupy_cuda : int or None
        Major CUDA version CuPy runs on.
    cupy_device : str or None
        Name of the GPU that CuPy sees.
    cupy_error : str
        Error of importing or querying CuPy.
    adapters : dict of str to str
        Installed optional package to the error of its import; empty if the import succeeds.
    driver : bool
        Whether an NVIDIA driver is loaded.
    visible_devices : str or None
        Value of CUDA_VISIBLE_DEVICES.
    """

    python: str = ""
    system: str = ""
    packages: dict[str, str | None] = field(default_factory=dict)
    cupy_wheels: tuple[str, ...] = ()
    threads: int | None = None
    threads_error: str = ""
    engines: dict[str, str] = field(default_factory=dict)
    engine: str = ""
    engine_error: str = ""
    cache_error: str = ""
    torch_cuda: str | None = None
    torch_device: str | None = None
    torch_error: str = ""
    cupy_cuda: int | None = None
    cupy_device: str | None = None
    cupy_error: str = ""
    adapters: dict[str, str] = field(default_factory=dict)
    driver: bool = False
    visible_devices: str | None = None


@dataclass(frozen=True)
class Finding:
    """A problem or a note on something that would be possible, and what to do."""

    problem: bool
    what: str
    fix: str


def _major(text: str | None) -> int | None:
    head = (text or "").partition(".")[0]
    return int(head) if head.isdigit() else None


def diagnose(facts: Facts) -> list[Finding]:
    """Return the problems that follow from the facts, and how to fix them.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    list of Finding
        Problems first.
    """
    found = [*_packages(facts), *_gpu(facts)]
    return sorted(found, key=lambda finding: not finding.problem)


def _packages(facts: Facts) -> Iterator[Finding]:
    for name in ("numpy", "scipy", "torch", "numba", "h5py"):
        if name in facts.packages and facts.packages[name] is None:
            yield Finding(True, f"{name} is not installed, although blurphys depends on it.", f"pip install {name}")
    if facts.torch_error:
        yield Finding(True, f"torch is installed but does not import: {facts.torch_error}", "reinstall torch")
    if facts.threads_error:
        yield Finding(True, facts.threads_error, "unset BLURPHYS_NUM_THREADS, or give it a whole number >= 1")
    yield from _engines(facts)
    for name, error in facts.adapters.items():
        if error:
            yield Finding(False, f"{name} is installed but does not import: {error}", f"reinstall what {name} needs")


def _engines(facts: Facts) -> Iterator[Finding]:
    if facts.engine_error and facts.packages.get("numba", "") is not None:
        fix = "unset NUMBA_DISABLE_JIT" if "NUMBA_DISABLE_JIT" in facts.engine_error else "reinstall numba and llvmlite"
        what = f"The compiled CPU engine does not work ({facts.engine_error}): the slower reference is used."
        yield Finding(True, what, fix)
    if facts.cache_error:
        fix = "set NUMBA_CACHE_DIR to a folder that can be written"
        yield Finding(
            True, f"Compiled kernels cannot be kept ({facts.cache_error}): every process compiles them again.", fix
        )
    for name, error in facts.engines.items():
        if not error or name == "cpu":
            continue
        if "not installed" in error:  # the reference is used
            yield Finding(False, f"No compiled engine for {name}: {error}", "install it for speed")
        else:
            fix = "reinstall numpy" if name == "reference" else "reinstall torch" if name == "torch" else "see CuPy"
            yield Finding(True, f"The engine for {name} does not work: {error}", fix)


def _gpu(facts: Facts) -> Iterator[Finding]:
    torch_major = _major(facts.torch_cuda)
    wheels = [w for w in facts.cupy_wheels if w in CUPY_WHEEL_OF_CUDA.values()]
    if len(facts.cupy_wheels) > 1:
        keep = CUPY_WHEEL_OF_CUDA.get(torch_major or 0) or facts.cupy_wheels[-1]
        yield Finding(
            True,
            f"{' and '.join(facts.cupy_wheels)} are both installed; they overwrite each other's files.",
            f"pip uninstall -y {' '.join(facts.cupy_wheels)} && pip install {keep}",
        )
    elif facts.cupy_error:
        yield Finding(True, f"CuPy is installed but does not work: {facts.cupy_error}", _fix_cupy(facts, torch_major))
    wheel_major = next((m for m, w in CUPY_WHEEL_OF_CUDA.items() if wheels == [w]), None)
    cupy_major = facts.cupy_cuda if facts.cupy_cuda is not None else wheel_major
    if len(facts.cupy_wheels) == 1 and torch_major and cupy_major and torch_major != cupy_major:
        right = CUPY_WHEEL_OF_CUDA.get(torch_major, "a CuPy built for the same CUDA")
        yield Finding(
            True,
            f"CuPy is built for CUDA {cupy_major} and torch for CUDA {facts.torch_cuda}; one process cannot rely on "
            f"both.",
            f"pip uninstall -y {facts.cupy_wheels[0]} && pip install {right}",
        )
    if facts.packages.get("torch") is None or facts.torch_error or facts.torch_device:
        return
    if facts.torch_cuda is None:
        yield Finding(
            facts.driver,
            "torch is the CPU build and sees no GPU." + (" This machine has an NVIDIA driver." if facts.driver else ""),
            "for a GPU, install torch from https://pytorch.org/get-started/locally with the CUDA of your driver",
        )
    elif facts.visible_devices is not None and facts.visible_devices.strip() in ("", "-1"):
        hidden = f"torch sees no GPU because CUDA_VISIBLE_DEVICES={facts.visible_devices!r} hides it."
        yield Finding(True, hidden, "unset CUDA_VISIBLE_DEVICES")
    elif not facts.driver:
        yield Finding(
            False,
            f"torch is built for CUDA {facts.torch_cuda} but sees no GPU: no NVIDIA driver is loaded.",
            "if the machine has a GPU, install its driver (nvidia-smi must list the device); in a container, start it "
            "with --gpus all",
        )
    else:
        yield Finding(
            True,
            f"torch is built for CUDA {facts.torch_cuda} but sees no GPU, although an NVIDIA driver is loaded.",
            f"compare the CUDA version that nvidia-smi shows with {facts.torch_cuda}: the driver must be as new; or "
            f"install a torch built for an older CUDA",
        )


def _fix_cupy(facts: Facts, torch_major: int | None) -> str:
    if not facts.driver:
        return "CuPy needs an NVIDIA driver; without a GPU, pip uninstall it"
    right = CUPY_WHEEL_OF_CUDA.get(torch_major or 0, "the wheel of your CUDA: cupy-cuda12x or cupy-cuda13x")
    return f"pip uninstall -y {' '.join(facts.cupy_wheels) or 'cupy'} and install {right}"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _brief(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _engine_facts() -> dict[str, Any]:
    """Test every engine, and the folder in which compiled CPU kernels are cached."""
    found = {trial.engine: trial.error for trial in try_engines()}
    error = found["cpu"]
    facts: dict[str, Any] = {"engines": found, "engine_error": error}
    if find_spec("numba") is None:
        return facts | {"engine": "numba is not installed"}
    if error:
        return facts | {"engine": "does not work"}
    from ..engines.cpu.common.cache import kept_in

    folder, trouble = kept_in()
    kept = f"kept in {folder}" if folder else "compiled again by every process"
    return facts | {"engine": f"equals the reference; {kept}", "cache_error": trouble}


def _torch_facts() -> dict[str, Any]:
    if find_spec("torch") is None:
        return {}
    try:
        import torch

        seen = torch.cuda.is_available()
        return {
            "torch_cuda": torch.version.cuda,
            "torch_device": torch.cuda.get_device_name(0) if seen else None,
        }
    except Exception as error:
        return {"torch_error": _brief(error)}


def _cupy_facts() -> dict[str, Any]:
    if find_spec("cupy") is None:
        return {}
    facts: dict[str, Any] = {}
    try:
        cupy: Any = import_module("cupy")
        facts["cupy_cuda"] = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
        facts["cupy_device"] = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except Exception as error:
        facts["cupy_error"] = _brief(error)
    return facts


def _adapter_facts() -> dict[str, Any]:
    """Import the installed packages for which there are adapters."""
    found = {}
    for name, module in (("deepinv", "deepinv.physics"), ("pylops", "pylops")):
        if _installed(name):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    import_module(module)
            except Exception as error:
                found[name] = _brief(error)
            else:
                found[name] = ""
    return {"adapters": found}


def _thread_facts() -> dict[str, Any]:
    from ..engines.threads import thread_count

    try:
        return {"threads": thread_count()}
    except ValueError as error:
        return {"threads_error": str(error)}


def gather() -> Facts:
    """Return the facts about this machine; missing ones are left out, and no error is raised."""
    threads = _thread_facts()
    engines = {} if "threads_error" in threads else _engine_facts()  # without a number of threads no engine works
    return Facts(
        python=f"{platform.python_version()} ({sys.executable})",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages={name: _installed(name) for name in PACKAGES},
        cupy_wheels=tuple(name for name in CUPY_WHEELS if _installed(name)),
        driver=Path("/proc/driver/nvidia/version").exists(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        **_torch_facts(),
        **_cupy_facts(),
        **_adapter_facts(),
        **threads,
        **engines,
    )


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    from .. import __version__

    yield "blurphys", __version__
    yield "python", facts.python
    yield "system", facts.system
    for name, found in facts.packages.items():
        yield name, found or "not installed"
    yield "cupy", ", ".join(f"{w} {_installed(w)}" for w in facts.cupy_wheels) or "not installed"
    yield "CPU threads", "unknown" if facts.threads is None else str(facts.threads)
    for name, error in facts.engines.items():
        yield f"engine {name}", facts.engine if name == "cpu" else error or "works"
    cuda = f" (built for CUDA {facts.torch_cuda})" if facts.torch_cuda else " (CPU build)"
    yield "torch GPU", (facts.torch_device or "none") + (cuda if facts.packages.get("torch") else "")
    cuda = f" (CUDA {facts.cupy_cuda})" if facts.cupy_cuda else ""
    yield "CuPy GPU", (facts.cupy_device or "none") + cuda


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show versions, threads, engines and GPUs, what is wrong with the installation, and how to fix it.

    Example: blurphys doctor
    """
    facts = gather()
    findings = diagnose(facts)
    if json:
        typer.echo(dumps({"facts": asdict(facts), "findings": [asdict(f) for f in findings]}, indent=2))
        return
    for name, value in _rows(facts):
        typer.echo(f"{name:<18}{value}")
    typer.echo("")
    for finding in findings:
        typer.echo(f"{'PROBLEM' if finding.problem else 'note':<9}{finding.what}\n{'':<9}-> {finding.fix}")
    if not any(finding.problem for finding in findings):
        typer.echo("No problems found.")
