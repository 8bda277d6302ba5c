"""`blurphys check`: the laws of a linear operator, tried on yours."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from ..importing import described, imported

__all__ = ["check", "load_operator"]


def _is_operator(target: Any) -> bool:
    """Whether `target` itself is what `blurphys.check` takes, rather than a function that makes it."""
    from ..linop.base import LinearOperator

    if isinstance(target, type):
        return False
    names = (("matvec", "rmatvec"), ("A", "A_adjoint"))
    return isinstance(target, LinearOperator) or any(all(hasattr(target, n) for n in pair) for pair in names)


def load_operator(target: str) -> Any:
    """Import ``module:factory`` and return what the factory makes.

    Parameters
    ----------
    target : str
        ``package.module:name``; the current directory is searched first. A name that is an operator already, or that
        is not callable, is taken as it is; a dotted name is followed.

    Raises
    ------
    ValueError
        No colon, a module that is missing or fails to import, no such name in it, a factory that raises.
    """
    found = imported(target, "module:factory, for example my_blur:build")
    if _is_operator(found) or not callable(found):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{target} raised {described(error)}") from error


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        shape = tuple(int(n) for n in text.lower().split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(f"--in-shape: expected numbers like 3x48x64, got {text!r}")
    return shape


def check(
    target: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="Where the operator is made.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random images.")] = 0,
    in_shape: Annotated[
        str | None, typer.Option("--in-shape", help="Shape of one input, as 3x48x64, if the operator does not tell.")
    ] = None,
) -> None:
    """Try the laws of a linear operator with an adjoint on yours: linearity, dot test, dense twin, gradients.

    FACTORY is a function without arguments that returns an operator of blurphys, SciPy, PyLops or deepinv, or a pair
    (forward, adjoint) of functions; or it is the operator itself. Exit code: 0 if all laws hold, 1 if one is broken,
    2 for bad input.

    Example: blurphys check my_blur:build --json
    """
    shape = _shape(in_shape)
    with redirect_stdout(sys.stderr):  # what the user's module prints must not mix with the report
        operator = load_operator(target)
        from ..analysis.check import check as try_laws

        report = try_laws(operator, in_shape=shape, seed=seed)
    typer.echo(report.to_json() if json else str(report))
    raise typer.Exit(0 if report.passed else 1)
