"""`blurphys train`: train a network as a file of settings says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blurphys.notes import say_note
from synth import options as o

from .command_errors import command_message, without_owner

if TYPE_CHECKING:
    from .training import TrainReport

__all__ = ["train"]

_RECIPES = ", ".join(sorted(file.stem for file in (Path(__file__).parent / "recipes").glob("*.toml")))


@without_owner()
def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help=f"A TOML file, the config.json of a training, or a recipe that comes with blurphys: {_RECIPES}.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE in place of a setting, such as data.path=data/train; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Instead of the data in CONFIG: a dataset of synth, or a folder of blurred/ and sharp/.",
        ),
    ] = None,
    encoding: o.EncodingOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for checkpoints and logs.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")] = False,
) -> None:
    """Train a network on pairs of blurred and sharp images.

    Networks are written as safetensors for nets.load, beside a log in CSV and JSON lines and the state to resume from.
    Under torchrun each process takes its share of every batch: torchrun --nproc-per-node 4 -m blurphys train CONFIG.

    Pictures of your own, blurred/NAME and sharp/NAME in PNG, JPEG or TIFF, are read by --data FOLDER, or in a file of
    settings by reader = "pairs" and root = "FOLDER".

    The recipes named *-tiny need data that blurphys synth generate makes; without them the command says how. The others
    need DPDD or LFDOF.

    Ctrl-C and SIGTERM end it after the step that is under way and write the state; --resume goes on exactly from there.

    Exit code: 0 when all steps are done, 1 if a loss became non-finite, 2 for bad input, 130 when it was interrupted.

    Example: blurphys train kpac-tiny --set data.path=data/train --out runs/kpac
    """
    from . import training

    told = [*_data_settings(data, o.encoding_named(encoding)), *(settings or [])]
    values, notes = training.changed_settings(config if data is None else _without_data(config), told)
    if out is not None:
        values["out"] = str(out)
    first = training.started_first()
    for note in notes if first else ():
        say_note(note)
    try:
        report = training.train(values, resume=resume, quiet=quiet)
    except KeyboardInterrupt as error:
        raise (KeyboardInterrupt(command_message(str(error))) if first else typer.Exit(130)) from None
    except (ValueError, TypeError, OSError):
        if first:
            raise
        raise typer.Exit(2) from None  # the first process says it
    except training.NonFiniteLossError as error:
        print(f"blurphys train: {command_message(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None
    if first:
        _say(report)


def _without_data(config: str) -> dict[str, Any]:
    """The settings less what they say of where the data are."""
    from .training.reading import READER, read_settings

    values = read_settings(config)
    if isinstance(table := values.get("data"), dict):
        values["data"] = {key: value for key, value in table.items() if key not in ("path", *READER)}
    return values


def _data_settings(data: Path | None, encoding: str | None) -> list[str]:
    """What --data and --encoding stand for."""
    from synth.datasets import Pairs

    settings = []
    if data is not None:
        split = "train" if not Pairs.lie_in(data) and Pairs.lie_in(data / "train") else None
        if split or Pairs.lie_in(data):
            settings = ["data.reader=pairs", f"data.root={json.dumps(str(data))}"]
            settings += [f"data.split={split}"] if split else []
        else:
            settings = [f"data.path={json.dumps(str(data))}"]
    return settings + ([f"data.encoding={encoding}"] if encoding else [])


def _say(report: TrainReport) -> None:
    done = f"{report.steps} of {report.kind} training, {report.epochs} epochs"
    rows = [("steps", done + (f", from step {report.resumed_from} on" if report.resumed_from else ""))]
    if report.loss is not None and report.psnr is not None:
        rows.append(("loss", f"{report.loss:.4g}, {report.psnr:.2f} dB on the last batches"))
    if report.best_psnr is not None:
        rows.append(("best", f"{report.best_psnr:.2f} dB in validation, after step {report.best_step}"))
    rows.append(("time", f"{report.seconds:.1f} s"))
    for name, text in rows:
        typer.echo(f"{name:<8}{text}")
    typer.echo(f"wrote {', '.join(str(file) for file in report.files)}")
    _say_if_worse(report)


def _say_if_worse(report: TrainReport) -> None:
    """Say that the network makes images worse, where validation found so."""
    if report.input_psnr is None or report.validation_psnr[-1][1] >= report.input_psnr:
        return
    what = "the sharp image as it is" if report.kind == "reblurring" else "the blurred input"
    last, best = report.validation_psnr[-1][1], report.best_psnr
    better = f" (the best before: {best:.2f} dB)" if best is not None and best - last >= 0.01 else ""
    say_note(
        f"in validation the network ends at {last:.2f} dB{better}, below {what} with {report.input_psnr:.2f} dB; it "
        "may need more steps"
    )
