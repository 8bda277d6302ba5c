"""One photo of `blurphys deblur`: the network loaded, its inputs read, the result written."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from synth.dataset.schema import field_of
from synth.io import Axes, Encoding

from .errors import print_notes

if TYPE_CHECKING:
    from ..net import Net

__all__ = ["Job", "check_views", "load_network", "restore_photo"]


@dataclass(frozen=True)
class Job:
    """How every photo of a command is read, restored and written."""

    tile: int | None
    overlap: int | None
    linear: bool
    encoding: Encoding | None
    layout: Axes | None
    bits: Literal[8, 16]
    force: bool


def restore_photo(network: Net, job: Job, files: Mapping[str, Path | None], target: Path) -> list[str]:
    """Restore one photo, given with its views, into a file; return lines to print about it."""
    from blurphys.colour import srgb_to_linear
    from synth.io import write_array, write_image

    from ..inference.deblurring import deblur as run

    images = _read(network, job, files)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        result = run(network, images, tile=job.tile, overlap=job.overlap)
    seconds = time.perf_counter() - started
    print_notes(raised)
    if not np.isfinite(result).all():
        raise ValueError(f"{network.name}: the result is not finite; was this network trained to the end?")
    is_png = target.suffix.lower() == ".png"
    if is_png:
        write_image(target, result, bits=job.bits, linear=job.linear, overwrite=job.force)
    else:
        write_array(target, result if job.linear else np.asarray(srgb_to_linear(result)), overwrite=job.force)
    outside = float(np.mean((result < 0) | (result > 1)))
    clipped = f", {outside:.2%} of the values clipped" if outside and is_png else ""
    return [f"{network.name}: {result.shape[-2]} x {result.shape[-1]} px in {seconds:.1f} s{clipped}"]


def load_network(path_or_name: str, device: str) -> Net:
    """Load a network onto a device, or raise with one sentence that says why not.

    A network of your own is ``module:Class@FILE``, a file of `nets.save` for a class that this library does not have,
    or
    ``module:factory``, a function that returns a network with its weights.
    """
    import torch

    from ..weights.saving import load

    network = _own(path_or_name) or load(path_or_name)
    try:
        network.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device: cannot use {device!r}: {str(error).splitlines()[0]}") from error
    return network


def _own(name: str) -> Net | None:
    """Return a network given as ``module:...``, None where it is a file or a name."""
    from blurphys.importing import code_and_file, describe_error, import_object

    from ..net import Net
    from ..weights.saving import load

    if (given := code_and_file(name)) is None:
        return None
    code, file = given
    found = import_object(code, "my_nets:MyNet@FILE or my_nets:factory")
    if isinstance(found, type) and issubclass(found, Net):
        if not file:
            raise ValueError(f"--net: {code} is a class without weights; expected {code}@FILE, a file of nets.save")
        return load(file, net_class=found)
    if file is not None:
        raise ValueError(f"--net: {code}: expected a subclass of nets.Net before @, got {found!r}")
    try:
        network = found if isinstance(found, Net) or not callable(found) else found()
    except Exception as error:
        raise ValueError(f"--net: {code} raised {describe_error(error)}") from error
    if not isinstance(network, Net):
        raise ValueError(f"--net: {code}: expected a function that returns a nets.Net, got {type(network).__name__}")
    network.eval()
    return network


def check_views(network: Net, given: Mapping[str, Path | None]) -> None:
    """Raise for a network that does not deblur, or takes other views than those given."""
    views = [key for key in network.inputs if key in ("left", "right")]
    others = [key for key in network.inputs if key not in views]
    if not network.restores or len(others) != 1 or field_of(others[0]) != "combined":
        raise ValueError(f"--net: {network.name} does not deblur a photo, it takes {', '.join(network.inputs)}")
    for key in ("left", "right"):
        if key in views and given.get(key) is None:
            raise ValueError(f"--{key}: {network.name} takes {', '.join(network.inputs)}; give the {key} view too")
        if key not in views and given.get(key) is not None:
            raise ValueError(f"--{key}: {network.name} takes no {key} view, only {', '.join(network.inputs)}")


def _read(network: Net, job: Job, files: Mapping[str, Path | None]) -> list[np.ndarray]:
    """Read one image for each input of the network."""
    from blurphys.files.publishing import existing_file
    from synth.io import read_image

    check_views(network, files)
    photo = files["photo"]
    images: list[Any] = []
    for key in network.inputs:
        file = existing_file(files.get(key) or cast(Path, photo))
        companion = None if file == photo else photo
        images.append(
            read_image(file, linear=job.linear, encoding=job.encoding, layout=job.layout, belongs_to=companion)
        )
        if images[-1].shape != images[0].shape:
            sizes = " and ".join(f"{i.shape[-2]} x {i.shape[-1]}" for i in (images[0], images[-1]))
            raise ValueError(f"expected views of one size, got {sizes} px in {file}")
    return images
