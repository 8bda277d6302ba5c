"""`blurphys evaluate`: compare networks with the ground truth, by a named protocol."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from blurphys.colour import srgb_to_linear
from blurphys.importing import code_and_file
from synth.commands import options as o

from .errors import print_notes, without_owner

if TYPE_CHECKING:
    from ..evaluation.evaluate import Sample
    from ..evaluation.protocols import Report

__all__ = ["evaluate"]

_SETS = {"dpdd": "DPDD", "realdof": "RealDOF", "lfdof": "LFDOF", "rtf": "RTF"}


@without_owner()
def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of DPDD, RealDOF, LFDOF or RTF, of pictures in blurred/ and sharp/, or a dataset of synth.",
        ),
    ],
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="dpdd-8bit, dpdd-16bit, realdof, lfdof, rtf, synthetic or pairs [the last two by themselves].",
        ),
    ] = None,
    net: Annotated[
        list[str] | None,
        typer.Option(
            "--net",
            help="File of nets.save, folder of a training, the name of weights in the package, or your own network: "
            "MODULE:CLASS@FILE, MODULE:FACTORY; may be repeated.",
        ),
    ] = None,
    solver: Annotated[
        list[str] | None,
        typer.Option(
            "--solver", help="For a dataset of synth: a classical method with the blur of the sample, such as hqs."
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            "--operator",
            help="For --solver: the blur of every image, a file of bp.save or MODULE:FACTORY. [default: that of the "
            "sample]",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Of DPDD and LFDOF [test], and of pairs in such folders.")
    ] = None,
    encoding: o.EncodingOption = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many images, from the first on.")] = None,
    tile: Annotated[int | None, typer.Option("--tile", help="As for blurphys deblur.")] = None,
    overlap: Annotated[int | None, typer.Option("--overlap", help="As for blurphys deblur.")] = None,
    lpips_features: Annotated[
        Path | None, typer.Option("--lpips-features", help="Your weights of AlexNet, to measure LPIPS too.")
    ] = None,
    lpips_linear: Annotated[
        Path | None, typer.Option("--lpips-linear", help="Your weights of LPIPS 0.1 for it; both or neither.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON or CSV file with the scores of every image.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Measure networks on pairs of blurred and sharp images, image by image and in the mean.

    The blurred image itself is the first row. Networks are called by their files, with the folder where names repeat
    and where training chose them (net, net-best). Figures of different protocols cannot be compared, which is why one
    table has one protocol.

    Example: blurphys evaluate test.h5 --protocol synthetic --net gkmnet-synthetic --solver hqs --out scores.json
    """
    from blurphys.files.publishing import publish
    from blurphys.progress import progress

    from ..classical.problem import load_blur
    from ..evaluation.evaluate import evaluate as measure
    from .deblur_photo import load_network

    if out is not None:
        if out.suffix.lower() not in (".json", ".csv"):
            raise ValueError(f"--out: expected a name ending in .json or .csv, got {out}")
        if out.exists() and not force:
            raise FileExistsError(f"{out} exists already; --force replaces it")
        if not out.parent.is_dir():
            raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
    if limit is not None and limit < 1:
        raise ValueError(f"--limit: expected at least 1, got {limit}")
    protocol = _protocol_of(data) if protocol is None else protocol
    dataset = _dataset(data, protocol, split, encoding)
    rows: list[tuple[str | None, Any]] = [(None, None)]
    blur = None if operator is None else load_blur(operator)
    methods = _checked_solvers(solver or [], protocol, blur)
    stored = data if protocol == "synthetic" else None
    gather = ", ".join(method for method in methods if method != "layered")
    rows += [(method, _Solver(stored, method, blur, label=gather or method)) for method in methods]
    named = _named(net or [], taken=["input", *(solver or [])])
    rows += [(label, load_network(name, device)) for label, name in named.items()]
    lpips = _lpips(protocol, lpips_features, lpips_linear)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    report: Report | None = None
    with (
        progress("evaluate", total=count * len(rows)) as advance,
        warnings.catch_warnings(record=True) as raised,
    ):
        warnings.simplefilter("always")
        for name, method in rows:
            found = measure(
                method,
                dataset,
                protocol,
                name=name,
                limit=limit,
                tile=tile,
                overlap=overlap,
                lpips=lpips,
                on_image=lambda score: advance(f"{score.method}: {score.image}"),
            )
            report = found if report is None else report + found
    assert report is not None
    print_notes(raised)
    if out is not None:
        text = report.to_csv() if out.suffix.lower() == ".csv" else _json(report)
        with publish(out, overwrite=force) as part:
            part.write_text(text, encoding="utf-8")
    typer.echo(str(report))
    typer.echo(f"protocol: {report.protocol.about}")
    if out is not None:
        typer.echo(f"wrote {out}")


def _protocol_of(path: Path) -> str:
    """The protocol for data that are not a published set."""
    from synth.dataset.schema import CONFIG
    from synth.datasets import Pairs

    from ..evaluation.protocols import EVALUATION_PROTOCOLS

    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_file() or (path / CONFIG).exists():
        return "synthetic"
    if all((path / name).is_dir() for name in ("source", "target")):
        raise ValueError(
            f"--protocol: {path} has source/ and target/, like RealDOF, and like pairs of your own: say realdof or "
            "pairs, whose figures cannot be compared"
        )
    if Pairs.lie_in(path) or Pairs.lie_in(path / "test"):
        return "pairs"
    raise ValueError(
        f"--protocol: {path} is no dataset of synth and no folder of blurred/ and sharp/; for a published set say "
        f"which of {', '.join(EVALUATION_PROTOCOLS)}"
    )


def _dataset(path: Path, protocol: str, split: str | None, encoding: str | None) -> Any:
    import synth
    import synth.datasets

    from ..evaluation.protocols import EVALUATION_PROTOCOLS
    from ..registry import nearest

    if protocol not in EVALUATION_PROTOCOLS:
        raise ValueError(f"--protocol: none is called {protocol!r}; {nearest(protocol, EVALUATION_PROTOCOLS)}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    meant = o.encoding_named(encoding)
    if protocol == "pairs":
        pairs = synth.datasets.Pairs
        chosen = "test" if split is None and not pairs.lie_in(path) and pairs.lie_in(path / "test") else split
        return pairs(path, chosen, encoding=meant)
    if meant is not None:
        raise ValueError(f"--encoding is for pairs of pictures; the protocol {protocol} knows what its numbers mean")
    if protocol == "synthetic":
        return synth.open(path)
    name = _SETS[protocol.partition("-")[0]]
    split = "test" if split is None else split
    options = {"split": split} if name in ("DPDD", "LFDOF") else {}
    views = {"views": ("combined", "left", "right")} if name == "DPDD" and (path / f"{split}_l").is_dir() else {}
    return getattr(synth.datasets, name)(path, **options, **views)


def _named(nets: list[str], *, taken: list[str]) -> dict[str, str]:
    """Name the row of each network: the stem of its file, with the folder where stems repeat."""
    from ..weights.saving import ROLES, describe

    saved = {name: describe(file).path.resolve() for name in nets if (file := _file_of(name))}
    given = [saved.get(name, name) for name in nets]
    for name, source in zip(nets, given, strict=True):
        if given.count(source) > 1:
            raise ValueError(f"--net: {name} is given twice")
    files, own = list(saved.values()), [name for name in nets if name not in saved]
    stems = [file.stem for file in files]
    alike = {stem for stem in stems if stems.count(stem) > 1 or stem in taken or stem.removesuffix("-best") in ROLES}
    short = [f"{file.parent.name}/{file.stem}" if file.stem in alike else file.stem for file in files]
    labels = [str(file.with_suffix("")) if short.count(s) > 1 else s for file, s in zip(files, short, strict=True)]
    return dict(zip(labels, saved, strict=True)) | {name: name for name in own}


def _file_of(net: str) -> str | None:
    """The file or name of a network's weights; None where they come from code."""
    given = code_and_file(net)
    return net if given is None else given[1] or None


def _lpips(protocol: str, features: Path | None, linear: Path | None) -> Any:
    from ..evaluation.protocols import EVALUATION_PROTOCOLS

    if features is None and linear is None:
        return None
    if features is None or linear is None:
        raise ValueError("--lpips-features and --lpips-linear: expected both files or neither")
    return EVALUATION_PROTOCOLS[protocol].convention.lpips(features=features, linear=linear)


class _Solver:
    """A classical method of `blurphys solve`, with the operator that a sample was made with or one for all.

    Samples of a dataset of synth, `stored`, are read with their tone curve and noise; of other pictures, which have
    been encoded as sRGB, the noise is not known. Warnings about the operator name all methods, `label`.
    """

    def __init__(self, stored: Path | None, method: str, operator: Any, *, label: str) -> None:
        self.stored, self.method, self.operator, self.label = stored, method, operator, label

    def __call__(self, sample: Sample) -> np.ndarray:
        from synth import OperatorWarning

        from ..classical.problem import from_array, from_dataset
        from ..classical.solve import solve

        if self.stored is not None:
            layered = self.method == "layered"
            given = from_dataset(self.stored, sample.index, "combined", self.operator, layered=layered)
        else:
            light = np.asarray(srgb_to_linear(sample.arrays["combined"]))
            given = from_array(light, self.operator, sample.name)
        for note in given.notes:
            warnings.warn(f"{self.label}: {note}", OperatorWarning, stacklevel=2)
        x, _, _ = solve(given, self.method)
        return np.asarray(given.encode(x))


def _checked_solvers(methods: list[str], protocol: str, operator: Any) -> list[str]:
    from ..classical.solve import METHODS
    from ..registry import nearest

    if operator is not None and not methods:
        raise ValueError("--operator is the blur for --solver, and none is named")
    for method in methods:
        if methods.count(method) > 1:
            raise ValueError(f"--solver: {method} is given twice")
        if method not in METHODS:
            raise ValueError(f"--solver: none is called {method!r}; {nearest(method, METHODS)}")
        if protocol != "synthetic" and operator is None:
            raise ValueError(
                f"--solver: {method} needs the true blur, which only datasets of synth have; --operator gives one"
            )
    return methods


def _json(report: Report) -> str:
    def plain(value: Any) -> Any:  # JSON has no infinity
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return json.dumps(plain(report.to_dict()), indent=2, allow_nan=False) + "\n"
