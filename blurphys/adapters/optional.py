"""Optional dependencies: imported on first use, with one clear error if that fails."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(package: str, module: str, method: str) -> Any:
    """Import `module` of `package`, which `method` needs.

    Raises
    ------
    ImportError
        If the package is not installed, or is installed but cannot be imported.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise ImportError(
                f"{method}: expected the package {package!r} to be installed; pip install {package}", name=package
            ) from None
        raise _broken(package, method, error) from error
    except Exception as error:  # compiled code for another version fails in many ways
        raise _broken(package, method, error) from error


def _broken(package: str, method: str, error: Exception) -> ImportError:
    return ImportError(
        f"{method}: the package {package!r} is installed, but importing it fails with {type(error).__name__}: {error}; "
        f"are the versions of its dependencies compatible?",
        name=package,
    )
