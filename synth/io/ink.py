"""Pictures in ink (CMYK) to sRGB: by their colour profile, else by the plain formula."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ink_to_srgb"]


def ink_to_srgb(image: Image.Image) -> tuple[np.ndarray, str]:
    """Convert a picture of Pillow's mode CMYK to sRGB.

    Parameters
    ----------
    image : PIL.Image.Image
        255 is full ink.

    Returns
    -------
    values : ndarray of shape (H, W, 3)
        uint8.
    note : str
        What was done, for a message.

    Notes
    -----
    With a profile: relative colorimetric with black point compensation, by Little CMS. Without one, or with one that
    cannot be used: R = (1 - C) (1 - K), and so on. Neither gives back the light of the scene, which the conversion to
    ink has compressed. Cost O(H W).
    """
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    how = "without a profile, by R = (1 - C) (1 - K)"
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image,
                source,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            name = " ".join(ImageCms.getProfileDescription(source).split())[:60]
            return np.array(converted), _note(f"by its colour profile {name!r}")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            how = "by R = (1 - C) (1 - K), since its profile cannot be used"
    return np.array(image.convert("RGB")), _note(how)


def _note(how: str) -> str:
    return f"ink (CMYK) was converted to sRGB {how}; its light is that of a print"
