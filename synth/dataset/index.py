"""Checking the index of a sample."""

from __future__ import annotations

import operator

__all__ = ["row_of"]


def row_of(owner: str, index: object, count: int) -> int:
    """Return the row of a sample; negative indices count from the end.

    Parameters
    ----------
    owner : str
        What is asked, for messages.
    index : object
        Any whole number: int, a NumPy integer, a tensor of one.
    count : int
        How many samples there are.

    Raises
    ------
    IndexError
        No such sample.
    TypeError
        Not a whole number; the message names the likely intention.
    """
    try:
        number = None if isinstance(index, bool) else operator.index(index)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{owner}: expected the number of a sample, 0 to {count - 1}, got {index!r}{_slip(index)}")
    row = number + count if number < 0 else number
    if not 0 <= row < count:
        raise IndexError(f"{owner}: sample {number} of {count}")
    return row


def _slip(index: object) -> str:
    if isinstance(index, str):
        return f"; an array is found in its sample, data[0][{index!r}]"
    if isinstance(index, slice):
        return "; several samples are [data[i] for i in range(...)], or torch.utils.data.Subset(data, range(...))"
    if isinstance(index, tuple):
        return "; a part of a sample is data[0]['left'][..., rows, columns], or data.read(0, window=...)"
    return ""
