"""A contact sheet of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .panels import host, limit_of, panels, picture, shown

__all__ = ["dataset_sheet"]


def dataset_sheet(
    samples: Sequence[Mapping[str, Any]],
    *,
    fields: Sequence[str] = (),
    labels: Sequence[str] = (),
    encoded: bool = False,
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw some samples of a dataset, one in a row, one field in a column.

    Parameters
    ----------
    samples : sequence of mappings
        Arrays by name, as ``synth.open(path)[i]`` or ``synth.Stream(...).sample(i)`` give them: images (3, H, W), maps
        (H, W) or (1, H, W).
    fields : sequence of str
        What to show; all images and maps of the first sample if omitted.
    labels : sequence of str
        One for each sample; their numbers if omitted.
    encoded : bool
        Whether the images are encoded for display already.
    ax : Axes or sequence of Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes
        `axes` of shape (samples, fields).

    Raises
    ------
    ValueError
        No samples; a field that a sample does not have; a number of labels other than that of the samples.

    Notes
    -----
    Images are shown in colour, maps as defocus maps with symmetric limits of their own, stated below them.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> samples = [{"sharp": np.random.default_rng(k).random((3, 8, 8)), "map": np.eye(8)} for k in range(2)]
    >>> bp.plot.dataset_sheet(samples)[1].shape
    (2, 2)
    """
    name = "dataset_sheet"
    rows = list(samples)
    if not rows:
        raise ValueError(f"{name}: expected at least one sample, got none")
    chosen = list(fields) or [key for key, value in rows[0].items() if getattr(value, "ndim", 0) in (2, 3)]
    titles = list(labels) or [str(k) for k in range(len(rows))]
    if len(titles) != len(rows):
        raise ValueError(f"{name}: expected {len(rows)} labels, one for each sample, got {len(titles)}")
    for k, sample in enumerate(rows):
        if missing := [field for field in chosen if field not in sample]:
            raise ValueError(f"{name}: sample {k} has no {missing[0]!r}; it has {', '.join(sample)}")
    figure, axes = panels(name, ax, len(rows), len(chosen), size=(2.6, 2.6))
    for line, sample, title in zip(axes, rows, titles, strict=True):
        for place, field in zip(line, chosen, strict=True):
            array = host(name, field, sample[field], 2, 3)
            if array.ndim == 3 and len(array) == 3:
                picture(place, shown(name, field, array, encoded=encoded), None)
            else:
                plane = array if array.ndim == 2 else array[0]
                reach = limit_of(plane)
                picture(place, plane, None, cmap="RdBu", vmin=-reach, vmax=reach)
                place.set_xlabel(f"within {reach:.2g}", fontsize=8)
        line[0].set_ylabel(title, fontsize=9)
    for place, field in zip(axes[0], chosen, strict=True):
        place.set_title(field, fontsize=10)
    return figure, axes
