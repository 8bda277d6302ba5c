"""Defocused photographs with a map of where, or how much, they are blurred: CUHK and SYNDOF."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blurphys.files.publishing import PathLike

from ._folders import FolderDataset, files_in, find_root, pair_by_key, read_plane

__all__ = ["CUHK", "SYNDOF"]


def _blurred(file: Path, picture: Path) -> np.ndarray:
    values = read_plane(file, picture)
    brightest, white = int(values.max()), np.iinfo(values.dtype).max
    if 0 < brightest <= white // 2:
        raise ValueError(
            f"{file}: expected a mask of 0 (sharp) and {white} (blurred), got nothing above {brightest}; was it "
            "saved as 0 and 1?"
        )
    return values > white // 2


def _sigma(file: Path, picture: Path) -> np.ndarray:
    return read_plane(file, picture).astype(np.float32) / np.float32(10)


def _stem(file: Path) -> str:
    return file.stem


class CUHK(FolderDataset):
    """Defocused photographs of the CUHK blur detection set, with masks drawn by hand and no sharp counterparts.

    Parameters
    ----------
    root : path
        The folder with ``image`` and ``gt``, or one that holds it as ``CUHK`` or ``CUHK-BD``.
    linear : bool
        True returns ``combined`` as linear light, False as encoded values.

    Raises
    ------
    FileNotFoundError
        A folder is missing or without such files.
    ValueError
        A photograph without mask or a mask without photograph. Reading: files of different size, or a mask of other
        values.

    Notes
    -----
    Files: ``image/out_of_focus0001.jpg`` and ``gt/out_of_focus0001.png``, 704 of them, about 640 px wide. The
    photographs with motion blur that share these folders (``motion0001.jpg``) are passed over. ``blurred_mask`` is a
    bool array of shape (H, W), True where the photograph is blurred: 255 in the file. Values between go to the nearer
    of 0 and 255.

    References
    ----------
    J. Shi, L. Xu and J. Jia, Discriminative blur detection features, CVPR 2014.
    """

    _maps = {"blurred_mask": _blurred}

    def __init__(self, root: PathLike, *, linear: bool = False):
        where = find_root("CUHK", root, ("CUHK", "CUHK-BD"), ("image", "gt"))
        kind = "out_of_focus"
        columns = {
            "combined": files_in("CUHK", where / "image", prefix=kind, suffixes=(".jpg", ".jpeg", ".png")),
            "blurred_mask": files_in("CUHK", where / "gt", prefix=kind),
        }
        super().__init__(where, pair_by_key("CUHK", columns, _stem), linear=linear)


class SYNDOF(FolderDataset):
    """Photographs blurred by computer from an image and a depth map, with the blur that each pixel was given.

    Parameters
    ----------
    root : path
        The folder with ``image`` and ``blur_map``, or one that holds it as ``SYNDOF``.
    linear : bool
        True returns ``combined`` as linear light, False as encoded values.

    Raises
    ------
    FileNotFoundError
        A folder is missing or empty.
    ValueError
        A photograph without map or a map without photograph. Reading: files of different size, or a map in colours.

    Notes
    -----
    Files: ``image/X.png`` and ``blur_map/X.png``; the other folders of the set follow from these. ``defocus_map`` is
    float32 of shape (H, W): the standard deviation of the Gaussian blur in px, the stored integer / 10. It is
    unsigned, so that in front of and behind the plane of focus look alike, and it is not the radius that
    ``defocus_map`` is elsewhere in `synth`. The set's generator takes sigma = (d - 1) / 4 for a circle of confusion
    d px wide and 0 below one pixel, so that the radius is 2 ``defocus_map`` + 1/2 where ``defocus_map`` > 0.

    References
    ----------
    J. Lee, S. Lee, S. Cho and S. Lee, Deep defocus map estimation using domain adaptation, CVPR 2019.
    """

    _maps = {"defocus_map": _sigma}

    def __init__(self, root: PathLike, *, linear: bool = False):
        where = find_root("SYNDOF", root, ("SYNDOF",), ("image", "blur_map"))
        folders = {"combined": where / "image", "defocus_map": where / "blur_map"}
        columns = {name: files_in("SYNDOF", folder) for name, folder in folders.items()}
        super().__init__(where, pair_by_key("SYNDOF", columns, _stem), linear=linear)
