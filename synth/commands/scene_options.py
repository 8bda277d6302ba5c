"""Command-line options that name a scene: photograph, depth and what their numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias, cast, get_args

import typer

from .. import scenes
from ..io import Axes, Encoding
from ..io.depth import Stereo
from ..scenes import Scene
from ..scenes.fitting import DepthResize
from ..scenes.folders import holds_rig

__all__ = ["check_seed", "encoding_named", "layout_named", "policy", "range_named", "resize_named", "scene_from"]

Policy: TypeAlias = Literal["nearest", "far", "error"]

_SCENE = "Scene"
ImageOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--image",
        help="All-in-focus photo: PNG, JPEG, TIFF, WebP, JPEG XL, OpenEXR, camera raw (with rawpy), PFM, .npy.",
        rich_help_panel=_SCENE,
    ),
]
DepthOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--depth",
        help="Its depth: PNG or TIFF (16 bit), .exr, .pfm, .npy, .npz, .dpt, COLMAP .bin, of the same proportions.",
        rich_help_panel=_SCENE,
    ),
]
FolderOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--scene", help="Or a folder with an RGB-D pair, recognised by its names.", rich_help_panel=_SCENE),
]
UnitOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--depth-unit",
        help="m, mm, 0.2mm (TUM, ICL-NUIM: value / 5000), disparity, relative (inverse depth of MiDaS, Depth Anything: "
        "large is near; with --near and --far), or the metres of one unit of the file: 1/256, 0.0001.",
        rich_help_panel=_SCENE,
    ),
]
NearOption: TypeAlias = Annotated[
    float | None, typer.Option("--near", help="With relative: depth of the nearest pixel, m.", rich_help_panel=_SCENE)
]
FarOption: TypeAlias = Annotated[
    float | None, typer.Option("--far", help="With relative: depth of the farthest pixel, m.", rich_help_panel=_SCENE)
]
ResizeOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--depth-resize",
        help="Depth of another size than the photo: guided (along the photo's edges), nearest, or off (refused).",
        rich_help_panel=_SCENE,
    ),
]
StereoFocalOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--stereo-focal-px", help="With disparity: focal length, px.", rich_help_panel=_SCENE),
]
BaselineOption: TypeAlias = Annotated[
    float | None, typer.Option("--baseline", help="With disparity: baseline, m.", rich_help_panel=_SCENE)
]
DoffsOption: TypeAlias = Annotated[
    float, typer.Option("--doffs", help="With disparity: offset of the principal points, px.", rich_help_panel=_SCENE)
]
DisparityScaleOption: TypeAlias = Annotated[
    float,
    typer.Option("--disparity-scale", help="With disparity: px for one unit of the file.", rich_help_panel=_SCENE),
]
ZeroOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--zero-known/--zero-unknown",
        help="With disparity: whether 0 in an integer file is the farthest or an unknown pixel. [default: unknown, but "
        "known where focal length x baseline = 1, which is relative inverse depth]",
        rich_help_panel=_SCENE,
    ),
]
EncodingOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        help="Encoding of pictures, overriding the files: srgb or linear. [default: that of the file; "
        "else srgb for integers, linear for floats]",
    ),
]
LayoutOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="Of .npy pictures: hwc (channels last) or chw. [default: as the shape says]",
    ),
]
InvalidOption: TypeAlias = Annotated[
    str,
    typer.Option("--invalid", help="Unknown depths: nearest, far (infinity) or error.", rich_help_panel=_SCENE),
]


def policy(name: str) -> Policy:
    """Return the policy for unknown depths; ValueError for another name."""
    for known in get_args(Policy):
        if name == known:
            return cast(Policy, known)
    raise ValueError(f"--invalid: expected nearest, far or error, got {name!r}")


def check_seed(seed: int) -> int:
    """Return the seed; ValueError for a negative one."""
    if seed < 0:
        raise ValueError(f"--seed: expected a whole number >= 0, got {seed}")
    return seed


def resize_named(name: str) -> DepthResize:
    """Return the way to resize depth; ValueError for another name."""
    if name not in get_args(DepthResize):
        raise ValueError(f"--depth-resize: expected guided, nearest or off, got {name!r}")
    return cast(DepthResize, name)


def range_named(unit: str | None, near: float | None, far: float | None) -> None:
    """Check `--near` and `--far`, which belong to relative inverse depth; ValueError for what does not fit."""
    if unit == "relative" and (near is None or far is None):
        missing = " and ".join(name for name, value in (("--near", near), ("--far", far)) if value is None)
        raise ValueError(
            f"--depth-unit relative: expected {missing} too, the distances in metres of the nearest and the farthest "
            "pixel, which relative inverse depth (MiDaS, Depth Anything) does not say"
        )
    if unit != "relative" and (near is not None or far is not None):
        raise ValueError(f"--near and --far: expected --depth-unit relative with them, got {unit or 'no unit'}")
    if near is not None and far is not None and not 0 < near < far < float("inf"):
        raise ValueError(f"expected 0 < --near < --far in metres, got {near:g} and {far:g}")


def encoding_named(name: str | None) -> Encoding | None:
    """Return the encoding; ValueError for another name."""
    if name not in (None, *get_args(Encoding)):
        raise ValueError(f"--encoding: expected srgb or linear, got {name!r}")
    return cast(Encoding | None, name)


def layout_named(name: str | None) -> Axes | None:
    """Return the layout; ValueError for another name."""
    if name not in (None, *get_args(Axes)):
        raise ValueError(f"--layout: expected hwc (rows, columns, channels) or chw, got {name!r}")
    return cast(Axes | None, name)


def scene_from(
    image: Path | None,
    depth: Path | None,
    folder: Path | None,
    *,
    unit: str | None,
    focal_px: float | None,
    baseline_m: float | None,
    doffs: float,
    disparity_scale: float,
    zero_known: bool | None = None,
    near: float | None = None,
    far: float | None = None,
    resize: str = "guided",
    encoding: str | None = None,
    layout: str | None = None,
) -> Scene | None:
    """Read the scene that the options name.

    Returns
    -------
    Scene, or None where no scene was named

    Raises
    ------
    ValueError
        An image without depth or the reverse, both and a folder, or an incomplete stereo rig.
    FileNotFoundError
        A file or folder is missing.
    """
    if (focal_px is None) != (baseline_m is None):
        raise ValueError("expected --stereo-focal-px and --baseline together, got one of them")
    meant, axes, how = encoding_named(encoding), layout_named(layout), resize_named(resize)
    range_named(unit, near, far)
    stereo = None
    if focal_px is not None and baseline_m is not None:
        stereo = Stereo(
            focal_px=focal_px, baseline_m=baseline_m, doffs=doffs, scale=disparity_scale, zero_known=zero_known
        )
    if folder is not None:
        if image is not None or depth is not None:
            raise ValueError("expected either --scene or --image with --depth, got both")
        return scenes.read_folder(
            folder, unit, stereo=stereo, near_m=near, far_m=far, depth_resize=how, encoding=meant
        )  # fmt: skip
    if image is None and depth is None:
        return None
    if image is None or depth is None:
        missing = "--depth" if depth is None else "--image"
        raise ValueError(f"expected --image and --depth together, got no {missing}; the blur follows from depth")
    if unit == "disparity" and stereo is None and not holds_rig(image, depth):
        raise ValueError(
            "--depth-unit disparity: expected the stereo rig too, --stereo-focal-px and --baseline (with --doffs and "
            "--disparity-scale where they apply), or Middlebury's calib.txt beside the files; for the inverse depth "
            "that networks predict there is --depth-unit relative, or, where A and B of 1/z = A + B q are known, "
            "--stereo-focal-px 1 --baseline 1 --doffs A --disparity-scale B"
        )
    return scenes.from_files(
        image, depth, depth_unit=unit, stereo=stereo, near_m=near, far_m=far, depth_resize=how, encoding=meant,
        layout=axes,
    )  # fmt: skip
