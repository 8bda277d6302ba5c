"""The three operators of the benchmark by name, and their contestants."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import dual_pixel, gkm, rkr
from .contestant import Contestant
from .problem import MIN_SIDE, Problem

__all__ = ["NAMES", "contestants", "problem"]

_MAKERS: dict[str, Callable[[tuple[int, int], str, bool], Problem]] = {
    "rkr": rkr.make,
    "gkm": gkm.make,
    "dual-pixel": dual_pixel.make,
}
NAMES = tuple(_MAKERS)


def problem(name: str, shape: tuple[int, int], device: str = "cpu", *, fewer: bool = False) -> Problem:
    """Make the inputs of one problem.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    shape : (int, int)
        H, W of the images; three colours, float32.
    device : str
        "cpu", or "cuda" for torch code only.
    fewer : bool
        About half as many levels, to see what depends on their number.

    Raises
    ------
    ValueError
        For an unknown name, or an image smaller than 48 x 48 (the largest PSFs reach 20 px beyond the frame).
    """
    if name not in NAMES:
        raise ValueError(f"expected a problem among {', '.join(NAMES)}, got {name!r}")
    if min(shape) < MIN_SIDE:
        raise ValueError(f"expected an image of at least {MIN_SIDE} x {MIN_SIDE} px, got {shape[0]} x {shape[1]}")
    return _MAKERS[name](shape, device, fewer)


def contestants(task: Problem) -> Iterator[tuple[str, Contestant | str]]:
    """Yield (name, contestant), or (name, why it does not take part)."""
    for name, make in task.entries:
        try:
            yield name, make()
        except ImportError as error:
            package = (error.name or "its package").partition(".")[0]
            yield name, f"{package} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
        except TypeError as error:
            yield name, f"the installed version does not fit: {error}"
