"""`blurphys certify`: does the fixed-point iteration converge for an operator?"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from .check import load_operator

__all__ = ["certify", "find_operator"]


def find_operator(target: str) -> Any:
    """Return the operator in a file of `blurphys.save`, or the one that ``module:factory`` returns.

    Parameters
    ----------
    target : str
        An existing file, or a name that ends in ``.h5`` or ``.npz``, is read by `blurphys.load`; others are imported.

    Raises
    ------
    ValueError, FileNotFoundError
        As for `blurphys.load` and `blurphys.commands.check.load_operator`.
    """
    if Path(target).is_file() or target.endswith((".h5", ".npz")):
        from ..files.operators import load

        return load(target)
    return load_operator(target)


def certify(
    target: Annotated[
        str, typer.Argument(metavar="FILE or MODULE:FACTORY", help="The operator, or a function for it.")
    ],
    damping: Annotated[float, typer.Option("--damping", help="Step size of the iteration.")] = 1.0,
    tol: Annotated[float, typer.Option("--tol", help="Accuracy of the spectral radius.")] = 1e-3,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random start vector.")] = 0,
) -> None:
    """Tell in advance whether solvers.fixed_point and solvers.neumann converge for an operator, and what does.

    FILE is written by blurphys.save; FACTORY is a function without arguments that returns a square operator of
    blurphys, SciPy or PyLops, or it is the operator itself. Exit code: 0 if the iteration converges, 1 if it does
    not (or that is uncertain), 2 for bad input.

    Example: blurphys certify blur.h5 --damping 0.8
    """
    with redirect_stdout(sys.stderr):  # output of the user's module must not mix with the report
        operator = find_operator(target)
        from ..analysis.certificate import certificate

        found = certificate(operator, damping=damping, tol=tol, seed=seed)
    typer.echo(found.to_json() if json else str(found))
    raise typer.Exit(0 if found.converges else 1)
