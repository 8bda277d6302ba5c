"""Import objects by ``module:name``, as command lines and settings refer to the user's own code."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["code_and_file", "describe_error", "import_object", "names_code"]


def names_code(text: str) -> bool:
    """Whether a text has the form ``package.module:name``.

    Examples
    --------
    >>> names_code("my_nets:Small"), names_code("gkmnet"), names_code("C:/net.safetensors")
    (True, False, False)
    """
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def code_and_file(text: str) -> tuple[str, str | None] | None:
    """Split ``module:name`` or ``module:name@FILE``; None if a text has neither form or is the path of a file.

    Examples
    --------
    >>> code_and_file("my_nets:Small@net.safetensors"), code_and_file("my_nets:small"), code_and_file("gkmnet")
    (('my_nets:Small', 'net.safetensors'), ('my_nets:small', None), None)
    """
    code, at, file = text.partition("@")
    return (code, file if at else None) if names_code(code) and not Path(text).exists() else None


def describe_error(error: BaseException) -> str:
    """Return type and message of an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")


def import_object(target: str, example: str = "my_module:my_name") -> Any:
    """Return the object ``package.module:name``; the current folder is searched first, and the name may be dotted.

    Parameters
    ----------
    target : str
    example : str
        An example for the message.

    Raises
    ------
    ValueError
        No colon; a module that is missing or fails to import; no such name in it.
    """
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise ValueError(f"expected {example}, got {target!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            hint = "; leave out the .py" if name.endswith(".py") else f" in {here} or among the installed packages"
            raise ValueError(f"there is no module {name!r}{hint}") from error
        raise ValueError(f"module {name!r} failed to import with {describe_error(error)}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"module {name!r} failed to import with {describe_error(error)}") from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(module) if not n.startswith("_")]
            raise ValueError(f"module {name!r} has no {attribute!r}; it has {', '.join(public[:12]) or 'nothing'}")
        found = getattr(found, part)
    return found
