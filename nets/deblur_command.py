"""`blurphys deblur`: a photo through a network."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from .command_errors import without_owner

if TYPE_CHECKING:
    from .net import Net

__all__ = ["deblur"]


@without_owner()
def deblur(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The blurred photo: PNG, JPEG, TIFF, PFM or .npy.")],
    net: Annotated[
        str,
        typer.Option(
            "--net", help="File of nets.save, folder of a training, or the name of weights that come with the package."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="PNG, or .npy (linear light, not clipped). [default: PHOTO_deblurred.png]"),
    ] = None,
    left: Annotated[
        Path | None, typer.Option("--left", help="Left dual-pixel view, for networks that take it.")
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
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    bits: Annotated[int, typer.Option("--bits", help="Bits per channel of the PNG: 8 or 16.")] = 8,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Deblur a photo with a network: any size, in tiles where it is large.

    Networks with statistics over the whole image (triplet or shape attention) give another result in tiles; the
    command says so.

    Example: blurphys deblur photo.png --net gkmnet-synthetic --out sharp.png
    """
    from blurphys.colour import srgb_to_linear
    from synth.io import write_array, write_image

    target = photo.with_name(f"{photo.stem}_deblurred.png") if out is None else out
    suffix = target.suffix.lower()
    if suffix not in (".png", ".npy"):
        raise ValueError(f"--out: expected a name ending in .png or .npy, got {target}")
    if bits not in (8, 16):
        raise ValueError(f"--bits: expected 8 or 16, got {bits}")
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists already; --force replaces it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no folder {target.parent}")
    network = loaded(net, device)
    images = _read(network, photo, left, right, linear=linear)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        from .deblurring import deblur as run

        result = run(network, images, tile=tile, overlap=overlap)
    seconds = time.perf_counter() - started
    for text in {w.category: str(w.message) for w in reversed(raised)}.values():  # each tile may raise its own
        typer.echo(f"note: {text}", err=True)
    if not np.isfinite(result).all():
        raise ValueError(f"{net}: the result is not finite; was this network trained to the end?")
    if suffix == ".png":
        write_image(target, result, bits=16 if bits == 16 else 8, linear=linear, overwrite=force)
    else:
        write_array(target, result if linear else np.asarray(srgb_to_linear(result)), overwrite=force)
    outside = float(np.mean((result < 0) | (result > 1)))
    clipped = f", {outside:.2%} of the values clipped" if outside and suffix == ".png" else ""
    typer.echo(f"{network.name}: {result.shape[-2]} x {result.shape[-1]} px in {seconds:.1f} s{clipped}")
    typer.echo(f"wrote {target}")


def loaded(path_or_name: str, device: str) -> Net:
    """Load a network onto a device, or say in one sentence why not."""
    import torch

    from .saving import load

    network = load(path_or_name)
    try:
        network.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device: cannot use {device!r}: {str(error).splitlines()[0]}") from error
    return network


def _read(network: Net, photo: Path, left: Path | None, right: Path | None, *, linear: bool) -> list[np.ndarray]:
    """Read one image for each input of the network."""
    from blurphys.publishing import existing_file
    from synth.io import read_image

    given: dict[str, Path | None] = {"left": left, "right": right}
    views = [key for key in network.inputs if key in given]
    others = [key for key in network.inputs if key not in given]
    if not network.restores or len(others) != 1 or others[0] not in ("image", "combined", "centre", "center"):
        raise ValueError(f"--net: {network.name} does not deblur a photo, it takes {', '.join(network.inputs)}")
    for key, file in given.items():
        if key in views and file is None:
            raise ValueError(f"--{key}: {network.name} takes {', '.join(network.inputs)}; give the {key} view too")
        if key not in views and file is not None:
            raise ValueError(f"--{key}: {network.name} takes no {key} view, only {', '.join(network.inputs)}")
    images: list[Any] = []
    for key in network.inputs:
        file = existing_file(given.get(key) or photo)
        images.append(read_image(file, linear=linear))
        if images[-1].shape != images[0].shape:
            sizes = " and ".join(f"{i.shape[-2]} x {i.shape[-1]}" for i in (images[0], images[-1]))
            raise ValueError(f"expected views of one size, got {sizes} px in {file}")
    return images
