"""Packages that blurphys can do without: imported when asked for, or named in one sentence."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(package: str, module: str, method: str) -> Any:
    """Import `module` of `package`, which `method` needs.

    Raises
    ------
    ImportError
        If the package is not installed, or is and does not import.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise ImportError(
                f"{method}: expected the package {package!r} to be installed; pip install {package}", name=package
            ) from None
        raise _broken(package, method, error) from error
    except Exception as error:  # a compiled part for another version fails in many ways
        raise _broken(package, method, error) from error


def _broken(package: str, method: str, error: Exception) -> ImportError:
    return ImportError(
        f"{method}: the package {package!r} is installed, but importing it fails with {type(error).__name__}: {error}; "
        f"do the versions of what it builds on fit together?",
        name=package,
    )
