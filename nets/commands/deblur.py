"""`blurphys deblur`: a photo, or a folder of them, through a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synth.commands import options as o

from .deblur_photo import Job, load_network, restore_photo
from .errors import without_owner

if TYPE_CHECKING:
    pass

__all__ = ["deblur"]


@without_owner()
def deblur(
    photo: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTO|FOLDER", help="The blurred photo (PNG, JPEG, TIFF, WebP, PFM or .npy), or a folder of them."
        ),
    ],
    net: Annotated[
        str,
        typer.Option(
            "--net",
            help="File of nets.save, folder of a training, the name of weights that come with the package, or your own "
            "network: MODULE:CLASS@FILE, MODULE:FACTORY.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="PNG, or .npy (linear light, not clipped); of a folder the folder of the results. [default: "
            "PHOTO_deblurred.png, FOLDER_deblurred]",
        ),
    ] = None,
    left: Annotated[
        Path | None,
        typer.Option("--left", help="Left dual-pixel view, for networks that take it; of a folder a folder of them."),
    ] = None,
    right: Annotated[Path | None, typer.Option("--right", help="Right dual-pixel view.")] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", help="Side of the tiles, px. [default: the whole photo, up to 4 megapixels]")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option("--overlap", help="Blended overlap of the tiles, px. [default: that of the network]")
    ] = None,
    linear: Annotated[
        bool, typer.Option("--linear", help="The network was trained on linear light instead of display values.")
    ] = False,
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    bits: Annotated[int, typer.Option("--bits", help="Bits per channel of the PNG: 8 or 16.")] = 8,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Deblur a photo, or every photo of a folder, with a network: any size, in tiles where it is large.

    Networks with statistics over the whole image (triplet or shape attention) give another result in tiles; the
    command says so.

    Of a folder every picture is read and NAME.png written into the folder of the results. An error of one photo does
    not stop the others: it is reported at the end, with exit code 1.

    Example: blurphys deblur photo.png --net gkmnet-synthetic --out sharp.png
    """
    from .deblur_folder import deblur_folder

    if bits not in (8, 16):
        raise ValueError(f"--bits: expected 8 or 16, got {bits}")
    meant, axes = o.encoding_named(encoding), o.layout_named(layout)
    job = Job(tile, overlap, linear, meant, axes, 16 if bits == 16 else 8, force)
    if photo.is_dir():
        folder = photo.resolve().with_name(f"{photo.resolve().name}_deblurred") if out is None else out
        raise typer.Exit(deblur_folder(lambda: load_network(net, device), job, photo, folder, left, right))
    target = photo.with_name(f"{photo.stem}_deblurred.png") if out is None else out
    if target.suffix.lower() not in (".png", ".npy"):
        raise ValueError(f"--out: expected a name ending in .png or .npy, got {target}")
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists already; --force replaces it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no folder {target.parent}")
    network = load_network(net, device)
    for line in restore_photo(network, job, {"photo": photo, "left": left, "right": right}, target):
        typer.echo(line)
    typer.echo(f"wrote {target}")
