"""The picture of the lab: it shows an image and reports the pixel that was chosen with mouse or keyboard."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import anywidget
import traitlets

__all__ = ["Picture"]


class Picture(anywidget.AnyWidget):
    """A picture with a mark that is moved by clicking, dragging or the arrow keys.

    Attributes
    ----------
    picture : str
        Data address of the image.
    name : str
        What it shows, for screen readers.
    height, width : int
        Of the image, px.
    pick : bool
        Whether there is a mark; without, it is a picture.
    row, col : int
        The chosen pixel.
    note : str
        What stands below a picture without a mark.
    """

    _esm: Any = files(__package__).joinpath("assets", "picture.js").read_text(encoding="utf-8")
    _css: Any = files(__package__).joinpath("assets", "picture.css").read_text(encoding="utf-8")
    picture: Any = traitlets.Unicode().tag(sync=True)
    name: Any = traitlets.Unicode().tag(sync=True)
    height: Any = traitlets.Int(1).tag(sync=True)
    width: Any = traitlets.Int(1).tag(sync=True)
    pick: Any = traitlets.Bool(True).tag(sync=True)
    note: Any = traitlets.Unicode().tag(sync=True)
    row: Any = traitlets.Int(0).tag(sync=True)
    col: Any = traitlets.Int(0).tag(sync=True)
