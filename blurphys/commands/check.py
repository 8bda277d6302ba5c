"""`blurphys check`: test the properties of a linear operator."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from ..importing import describe_error, import_object

__all__ = ["check", "load_operator"]


def _is_operator(target: Any) -> bool:
    """Whether `target` is an operator rather than a function that returns one."""
    from ..linop.base import LinearOperator

    if isinstance(target, type):
        return False
    names = (("matvec", "rmatvec"), ("A", "A_adjoint"))
    return isinstance(target, LinearOperator) or any(all(hasattr(target, n) for n in pair) for pair in names)


def load_operator(target: str) -> Any:
    """Import ``module:factory`` and return the operator that the factory returns.

    Parameters
    ----------
    target : str
        ``package.module:name``; the current directory is searched first, and the name may be dotted. An operator, or an
        object that is not callable, is returned unchanged.

    Raises
    ------
    ValueError
        No colon; a module that is missing or fails to import; no such name in it; a factory that raises.
    """
    found = import_object(target, "module:factory, for example my_blur:build")
    if _is_operator(found) or not callable(found):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{target} raised {describe_error(error)}") from error


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
    target: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="A function that returns the operator.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random images.")] = 0,
    in_shape: Annotated[
        str | None, typer.Option("--in-shape", help="Shape of one input, as 3x48x64, if the operator does not have it.")
    ] = None,
) -> None:
    """Test that an operator is linear and has the right adjoint: linearity, dot test, dense twin, gradients.

    FACTORY is a function without arguments that returns an operator of blurphys, SciPy, PyLops or deepinv, or a pair
    (forward, adjoint) of functions; or it is the operator itself. Exit code: 0 if all laws hold, 1 if one is broken,
    2 for bad input.

    Example: blurphys check my_blur:build --json
    """
    shape = _shape(in_shape)
    with redirect_stdout(sys.stderr):  # output of the user's module must not mix with the report
        operator = load_operator(target)
        from ..analysis.check import check as try_laws

        report = try_laws(operator, in_shape=shape, seed=seed)
    typer.echo(report.to_json() if json else str(report))
    raise typer.Exit(0 if report.passed else 1)
