"""The command line `blurphys COMMAND`, with commands found by entry points.

Any distribution may add a command: an entry point of group ``blurphys.commands`` names a plain function with typer
annotations, or a `typer.Typer` with subcommands. It is imported when it is called, or listed by ``--help``.
"""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .commands.errors import run_safely, sentence
from .notes import as_notes

__all__ = ["GROUP", "application", "main", "run_safely"]

GROUP = "blurphys.commands"
_PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
_PANELS = _PLAIN | {"rich_markup_mode": "markdown"}  # groups of options; they cost 0.2 s, so the main help has none


def _as_command(name: str, target: Any) -> Any:
    """Return a click command for a function, or for a Typer with subcommands."""
    if isinstance(target, typer.Typer):
        command = get_command(target)
    else:
        app = typer.Typer(**_PANELS)
        app.command(name)(target)
        command = get_command(app)
    command.name = name
    return command


def _broken(name: str, why: str) -> Any:
    """Return a command that reports that it could not be imported."""

    def unavailable(context: typer.Context) -> None:
        raise ImportError(f"cannot be loaded: {why}")

    app = typer.Typer(**_PLAIN)
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command(name, help=f"(cannot be loaded: {why})", context_settings=settings)(unavailable)
    return get_command(app)


class _EntryPoints(TyperGroup):
    """A group whose commands are entry points, each loaded on first use."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        found = {point.name: point for point in entry_points(group=GROUP)}
        self._points: dict[str, EntryPoint] = found
        self.commands: Any = dict.fromkeys(sorted(found))  # names for "did you mean"; filled by get_command

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self._points)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        point = self._points.get(cmd_name)
        if point is not None and self.commands[cmd_name] is None:
            try:
                command = _as_command(cmd_name, point.load())
            except Exception as error:
                command = _broken(cmd_name, sentence(error))
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Accept `bench nets` for `bench-nets`: two words that together name a command."""
        joined = "-".join(args[:2])
        return super().resolve_command(ctx, [joined, *args[2:]] if joined in self._points else args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List each command with the first paragraph of its help, unabridged."""
        rows = []
        for name in self.list_commands(ctx):
            first, _, _ = (self.get_command(ctx, name).help or "").partition("\n\n")
            rows.append((name, " ".join(first.split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        name = next(iter(getattr(ctx, "_protected_args", None) or ctx.args or [""]))
        with run_safely(name), as_notes():
            return super().invoke(ctx)


def _show_version(value: bool) -> None:
    if value:
        from . import __version__

        typer.echo(f"blurphys {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Spatially varying defocus blur: render it, undo it, and check the operators.

    Every command has its own --help with an example. Bad input ends with one sentence and exit code 2;
    BLURPHYS_DEBUG=1 adds the traceback.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def application() -> typer.Typer:
    """Return the application that `main` runs, for `typer.testing.CliRunner`."""
    app = typer.Typer(cls=_EntryPoints, name="blurphys", **_PLAIN)
    app.callback(invoke_without_command=True, help=inspect.getdoc(_root))(_root)
    return app


def main() -> None:
    """Run the command line and exit with its code."""
    get_command(application())(prog_name="blurphys")
