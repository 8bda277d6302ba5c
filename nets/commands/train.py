"""`blurphys train`: train a network with the settings of a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blurphys.notes import say_note
from synth.commands import options as o

from .errors import command_message, without_owner

if TYPE_CHECKING:
    from ..training import TrainReport

__all__ = ["train"]

_RECIPES = ", ".join(sorted(file.stem for file in (Path(__file__).parents[1] / "recipes").glob("*.toml")))


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
            help="Instead of the data in CONFIG: a dataset of synth, a folder of blurred/ and sharp/, or either in "
            "train/, with val/ for validation.",
        ),
    ] = None,
    encoding: o.EncodingOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for checkpoints and logs.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the training in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")] = False,
) -> None:
    """Train a network on pairs of blurred and sharp images.

    Networks are written as safetensors for nets.load, beside a log in CSV and JSON lines and the state to resume from.
    Under torchrun each process takes its share of every batch: torchrun --nproc-per-node 4 -m blurphys train CONFIG.

    Pictures of your own, blurred/NAME and sharp/NAME in PNG, JPEG or TIFF, are read by --data FOLDER, or in a file of
    settings by reader = "pairs" and root = "FOLDER".

    The recipes named *-tiny need data that blurphys synth generate makes; without them the command says how. pocket-*,
    blurmap-small and dualpixel-* render theirs from sharp photographs in data/photos. The others need DPDD or LFDOF.

    Ctrl-C and SIGTERM end it after the step that is under way and write the state; --resume goes on exactly from there.

    Exit code: 0 when all steps are done, 1 if a loss became non-finite, 2 for bad input, 130 when it was interrupted.

    Example: blurphys train kpac-tiny --set data.path=data/train --out runs/kpac
    """
    from .. import training

    settings, meant = list(settings or []), o.encoding_named(encoding)
    values, notes = training.read_settings(config), list[str]()
    if data is not None:
        notes += _on_data(values, config, data, meant, settings)
    elif meant:
        settings.insert(0, f"data.encoding={meant}")
    values, more = training.changed_settings(values, settings)
    if out is not None:
        values["out"] = str(out)
    first = training.started_first()
    for note in (*notes, *more) if first else ():
        say_note(note)
    try:
        report = training.train(values, resume=resume, quiet=quiet)
    except KeyboardInterrupt as error:
        raise (KeyboardInterrupt(command_message(str(error))) if first else typer.Exit(130)) from None
    except training.AgreedError:
        raise typer.Exit(2) from None  # the first process says it
    except training.NonFiniteLossError as error:
        print(f"blurphys train: {command_message(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None
    if first:
        _print_report(report)


def _on_data(values: dict[str, Any], config: str, data: Path, encoding: str | None, settings: list[str]) -> list[str]:
    """Put the data of a folder in place of those of a configuration; return notes to print.

    A validation, and the restarts that need one, stay where its data are set explicitly or lie in the folder, and where
    the folder is the one that the configuration names. Otherwise it is on the folder's own val/, or left out.
    """
    from ..training.settings.reading import READER

    place = ("path", "stream", *READER)
    table = values.get("data")
    before = table if isinstance(table, dict) else {}
    own, held_out = _places(data)
    meaning = {"encoding": encoding} if encoding else {}
    values["data"] = {key: value for key, value in before.items() if key not in place} | own | meaning
    checked = values.get("validation")
    if not isinstance(checked, dict) or not _VALIDATION.isdisjoint(
        setting.partition("=")[0].strip() for setting in settings
    ):
        return []
    checked_on = checked.get("data")
    inner = checked_on if isinstance(checked_on, dict) else {}
    if _lie_in(data, inner) or _lie_in(data, before, exactly=True):
        if inner.get("reader") == "pairs" and _lie_in(data, inner):
            checked["data"] = {key: value for key, value in inner.items() if key != "encoding"} | meaning
        return []
    if held_out is not None:
        checked["data"] = {key: value for key, value in inner.items() if key not in place} | held_out | meaning
        return [f"validation is on {data / 'val'}, and not on the data that {config} names"]
    del values["validation"]
    restarts = ", and so are the restarts" if values.pop("restarts", None) else ""
    return [
        f"the validation of {config} is on other data than {data} and left out{restarts}; a folder {data / 'val'} "
        f"beside {data / 'train'} would take its place"
    ]


_VALIDATION = frozenset(
    {"validation", *(f"validation.data{name}" for name in ("", ".path", ".stream", ".reader", ".root"))}
)
"""Settings of the data of a validation."""


def _places(data: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Settings for the data of a folder, and for those of its own val/ where it has one beside train/."""
    from synth.dataset.schema import CONFIG
    from synth.datasets import Pairs

    train, val = data / "train", data / "val"
    pairs: dict[str, Any] = {"reader": "pairs", "root": str(data)}
    if Pairs.lie_in(data):
        return pairs, None
    if Pairs.lie_in(train):
        return {**pairs, "split": "train"}, {**pairs, "split": "val"} if Pairs.lie_in(val) else None
    if (train / CONFIG).exists() and not (data / CONFIG).exists():
        return {"path": str(train)}, {"path": str(val)} if (val / CONFIG).exists() else None
    return {"path": str(data)}, None


def _lie_in(folder: Path, table: dict[str, Any], *, exactly: bool = False) -> bool:
    """Whether the data of a table of settings are this folder, or (unless `exactly`) lie in it."""
    path = table.get("root") or table.get("path")
    named = [file for file in (path if isinstance(path, list) else [path]) if isinstance(file, str)]
    files = [Path(file).resolve() for file in named]
    whole = folder.resolve()
    return bool(files) and all(file == whole or (not exactly and whole in file.parents) for file in files)


def _print_report(report: TrainReport) -> None:
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
    _warn_if_worse(report)


def _warn_if_worse(report: TrainReport) -> None:
    """Print a warning where validation found that the network makes images worse."""
    if report.input_psnr is None or report.validation_psnr[-1][1] >= report.input_psnr:
        return
    baselines = {"reblurring": "the sharp image as it is", "blurmap": "a constant map"}
    what = baselines.get(report.kind, "the blurred input")
    last, best = report.validation_psnr[-1][1], report.best_psnr
    better = f" (the best before: {best:.2f} dB)" if best is not None and best - last >= 0.01 else ""
    say_note(
        f"in validation the network ends at {last:.2f} dB{better}, below {what} with {report.input_psnr:.2f} dB; it "
        "may need more steps"
    )
