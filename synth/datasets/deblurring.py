"""Defocused photographs with their sharp counterparts, and dual-pixel photographs without: DPDD, RealDOF, LFDOF, ..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from blurphys.files.publishing import PathLike

from ._folders import FolderDataset, files_in, find_root, natural, pair_by_key, pair_by_order

__all__ = ["DPDD", "LFDOF", "RTF", "PixelDP", "RealDOF"]

_VIEWS = {"combined": "c", "left": "l", "right": "r"}
_ORDER_SLIP = "has a file been added, removed or renamed, so that the sorted order pairs different scenes?"
Split = Literal["train", "val", "test"]


class DPDD(FolderDataset):
    """Dual-pixel defocus deblurring set: 500 scenes of a Canon 5D IV at a wide and at a narrow aperture.

    Parameters
    ----------
    root : path
        The folder with ``train_c``, ``train_l``, ..., or one that holds it as ``dd_dp_dataset_canon``, ``DPDD`` or
        ``dd_dp_dataset_png``.
    split : {"train", "val", "test"}
        350, 74 and 76 scenes.
    views : sequence of {"combined", "left", "right"}
        Which defocused images to read beside ``all_in_focus``.
    linear : bool
        True returns linear light, False the encoded values.

    Raises
    ------
    FileNotFoundError
        A folder is missing or empty.
    ValueError
        Unknown split or view, or folders with different numbers of files. Reading: files of different size.

    Notes
    -----
    Files: ``{split}_{c,l,r}/source/*.png`` and ``{split}_c/target/*.png``, 16-bit sRGB of 1680 x 1120 px, some upright.
    The two photographs of a scene are two shots with numbers of their own, so that names differ between source and
    target, and the pairing is that of the sorted names.

    References
    ----------
    A. Abuolaim and M. S. Brown, Defocus deblurring using dual-pixel data, ECCV 2020.
    """

    _slip = _ORDER_SLIP

    def __init__(
        self,
        root: PathLike,
        split: Split = "train",
        views: Sequence[str] = ("combined", "left", "right"),
        *,
        linear: bool = False,
    ):
        chosen = _chosen_views("DPDD", views)
        splits = _known_split("DPDD", split, get_args(Split))
        marks = [f"{s}_{letter}" for s in splits for letter in _VIEWS.values()]
        where = find_root("DPDD", root, ("dd_dp_dataset_canon", "DPDD", "dd_dp_dataset_png"), marks)
        folders = {"all_in_focus": where / f"{split}_c" / "target", **_sources(where, split, chosen)}
        columns = {name: files_in("DPDD", folder) for name, folder in folders.items()}
        rows = pair_by_order("DPDD", columns, named_by=chosen[0])
        super().__init__(where, rows, linear=linear, split=split, views=chosen)


class PixelDP(FolderDataset):
    """Dual-pixel photographs of a Pixel 4 without sharp counterparts, published for testing.

    Parameters
    ----------
    root : path
        The folder with ``test_c``, ``test_l`` and ``test_r``, or one that holds it as ``PixelDP``.
    views : sequence of {"combined", "left", "right"}
        Which images to read.
    linear : bool
        True returns linear light, False the encoded values.

    Raises
    ------
    FileNotFoundError
        A folder is missing or empty.
    ValueError
        Unknown view, or folders with different numbers of files. Reading: files of different size.

    Notes
    -----
    Files: ``test_{c,l,r}/source/*.png``, 16 bits, returned as stored.

    References
    ----------
    A. Abuolaim and M. S. Brown, Defocus deblurring using dual-pixel data, ECCV 2020.
    """

    _slip = _ORDER_SLIP

    def __init__(self, root: PathLike, views: Sequence[str] = ("combined", "left", "right"), *, linear: bool = False):
        chosen = _chosen_views("PixelDP", views)
        where = find_root("PixelDP", root, ("PixelDP",), [f"test_{letter}" for letter in _VIEWS.values()])
        columns = {name: files_in("PixelDP", folder) for name, folder in _sources(where, "test", chosen).items()}
        rows = pair_by_order("PixelDP", columns, named_by=chosen[0])
        super().__init__(where, rows, linear=linear, views=chosen)


class RealDOF(FolderDataset):
    """Fifty scenes, defocused and sharp at the same instant, from two Sony a7R IV behind one beam splitter.

    Parameters
    ----------
    root : path
        The folder with ``source`` and ``target``, or one that holds it as ``RealDOF``.
    linear : bool
        True returns linear light, False the encoded values.

    Raises
    ------
    FileNotFoundError
        A folder is missing or empty.
    ValueError
        Folders with different numbers of files. Reading: files of different size.

    Notes
    -----
    Files: ``{source,target}/*.png`` of 2320 x 1536 px, paired by sorted order. Copies of 8 and of 16 bits exist; each
    file is divided by the white of its own type.

    References
    ----------
    J. Lee et al., Iterative filter adaptive network for single image defocus deblurring, CVPR 2021.

    Examples
    --------
    >>> import tempfile, numpy, synth.datasets
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for kind in ("source", "target"):
    ...         (Path(folder) / kind).mkdir()
    ...         synth.io.write_image(Path(folder) / kind / "01.png", numpy.full((3, 4, 6), 0.5), bits=16, linear=False)
    ...     data = synth.datasets.RealDOF(folder)
    ...     [(name, image.shape, image.max().round(4).item()) for name, image in data[0].items()]
    [('all_in_focus', (3, 4, 6), 0.5), ('combined', (3, 4, 6), 0.5)]
    """

    _slip = _ORDER_SLIP

    def __init__(self, root: PathLike, *, linear: bool = False):
        where = find_root("RealDOF", root, ("RealDOF",), ("source", "target"))
        folders = {"all_in_focus": where / "target", "combined": where / "source"}
        columns = {name: files_in("RealDOF", folder) for name, folder in folders.items()}
        super().__init__(where, pair_by_order("RealDOF", columns, named_by="combined"), linear=linear)


class LFDOF(FolderDataset):
    """Photographs refocused from Lytro light fields, many with different focus and aperture to one sharp image.

    Parameters
    ----------
    root : path
        The folder with ``train_data`` and ``test_data``, or one that holds it as ``LFDOF``.
    split : {"train", "test"}
        Which of the two.
    linear : bool
        True returns linear light, False the encoded values.

    Raises
    ------
    FileNotFoundError
        A folder is missing or empty.
    ValueError
        Unknown split, a file whose name does not tell its scene, or a scene without sharp image. Reading: files of
        different size, or transparent pixels; an opaque alpha channel, which some files have, is dropped.

    Notes
    -----
    Files of 1008 x 688 px, 8 bits: ``{split}_data/input/IMG_0001/IMG_0001_ap1_02.png`` belongs to
    ``{split}_data/ground_truth/IMG_0001.png``; the part of the name before ``_ap`` decides. Inputs may also lie in
    ``input`` itself. Samples that share a sharp image share its file; split them by scene, never by sample.

    References
    ----------
    L. Ruan et al., AIFNet: all-in-focus image restoration network using a light field-based dataset, IEEE TCI 2021.
    """

    def __init__(self, root: PathLike, split: Literal["train", "test"] = "train", *, linear: bool = False):
        splits = _known_split("LFDOF", split, ("train", "test"))
        where = find_root("LFDOF", root, ("LFDOF",), [f"{s}_data" for s in splits])
        inputs, truth = where / f"{split}_data" / "input", where / f"{split}_data" / "ground_truth"
        sharp = {file.stem: file for file in files_in("LFDOF", truth)}
        blurred = files_in("LFDOF", inputs, empty=True)
        for scene in inputs.iterdir():
            if scene.is_dir() and not scene.name.startswith("."):
                blurred += files_in("LFDOF", scene, empty=True)
        blurred.sort(key=lambda file: natural(file.name))
        if not blurred:
            raise FileNotFoundError(
                f"LFDOF: expected files *.png in {inputs} or in the folders there, found none; is the download "
                "complete?"
            )
        rows = [(file.stem, {"all_in_focus": _sharp_of(file, sharp, truth), "combined": file}) for file in blurred]
        super().__init__(where, rows, linear=linear, split=split)


class RTF(FolderDataset):
    """Twenty-two defocused and sharp pairs of 360 x 360 px from a Lytro camera; a test set.

    Parameters
    ----------
    root : path
        The folder with the files, or one that holds it as ``Ground_Truth_Data`` or ``RTF/Ground_Truth_Data`` or
        ``RTF``.
    linear : bool
        True returns linear light, False the encoded values.

    Raises
    ------
    FileNotFoundError
        The folder is missing or without such files.
    ValueError
        A photograph without its counterpart. Reading: files of different size.

    Notes
    -----
    Files: ``image_X.png`` is defocused and ``sharp_X.png`` its counterpart, 8 bits; the sample is named ``X``.

    References
    ----------
    L. D'Andrès, J. Salvador, A. Kochale and S. Süsstrunk, Non-parametric blur map regression for depth of field
    extension, IEEE TIP 2016.
    """

    def __init__(self, root: PathLike, *, linear: bool = False):
        spellings = ("Ground_Truth_Data", "RTF/Ground_Truth_Data", "RTF")
        where = find_root("RTF", root, spellings, ("image_*.png", "sharp_*.png"))
        prefixes = {"all_in_focus": "sharp_", "combined": "image_"}
        columns = {name: files_in("RTF", where, prefix=prefix) for name, prefix in prefixes.items()}
        super().__init__(where, pair_by_key("RTF", columns, _after_prefix), linear=linear)


def _known_split(owner: str, split: str, splits: tuple[str, ...]) -> tuple[str, ...]:
    if split not in splits:
        raise ValueError(f"{owner}: expected the split {', '.join(splits[:-1])} or {splits[-1]}, got {split!r}")
    return splits


def _chosen_views(owner: str, views: Sequence[str]) -> tuple[str, ...]:
    known = ", ".join(_VIEWS)
    if isinstance(views, str):
        raise ValueError(f"{owner}: expected a sequence of views among {known}, got {views!r}; write ({views!r},)")
    chosen = tuple(views)
    if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(_VIEWS):
        raise ValueError(f"{owner}: expected one or more views among {known}, each once, got {chosen}")
    return chosen


def _sources(root: Path, split: str, views: tuple[str, ...]) -> dict[str, Path]:
    return {view: root / f"{split}_{_VIEWS[view]}" / "source" for view in views}


def _sharp_of(file: Path, sharp: dict[str, Path], truth: Path) -> Path:
    scene, mark, _ = file.stem.rpartition("_ap")
    if not mark:
        raise ValueError(f"LFDOF: expected a name such as IMG_0001_ap1_02.png, whose scene is IMG_0001, got {file}")
    if scene not in sharp:
        raise ValueError(f"LFDOF: {file} has no sharp image {truth / scene}.png; is the download complete?")
    return sharp[scene]


def _after_prefix(file: Path) -> str:
    return file.stem.partition("_")[2]
