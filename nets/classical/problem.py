"""An observed image and its operator, read from an image, an array or a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import blurphys as bp
from blurphys.colour import linear_to_srgb
from synth.dataset.schema import RECORDED, TRUTH
from synth.io import Axes, Encoding, read_image

__all__ = ["Problem", "Image", "from_array", "from_dataset", "from_image", "load_blur"]

Image = NDArray[np.floating]


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A deblurring problem: an observed image and its operator.

    Attributes
    ----------
    A : LinearOperator
        The blur.
    y : ndarray of shape (D, H, W)
        The observed image, linear light, of the dtype of A.
    truth : ndarray of shape (C, H, W) or None
        The image in focus, where it is known.
    noise_level : float or None
        Standard deviation of the noise in y, in its unit, where it is known; 0 for none.
    source : str
        Description of its source.
    notes : tuple of str
        What A does not model of the image formation of y.
    encode : callable
        From linear light to the encoding of y in its file, or to sRGB.
    """

    A: bp.LinearOperator
    y: Image
    truth: Image | None
    noise_level: float | None
    source: str
    notes: tuple[str, ...] = ()
    encode: Callable[[Image], Image] = linear_to_srgb


def from_image(
    image: Path,
    operator: Any,
    *,
    encoding: Encoding | None = None,
    layout: Axes | None = None,
    observed: Image | None = None,
) -> Problem:
    """Read an observed image for an operator.

    Parameters
    ----------
    image : Path
        What `synth.io.read_image` reads; encoded images become linear light. A ``.npy`` file may have any number of
        channels.
    operator : LinearOperator
        Its blur, with NumPy arrays.
    encoding, layout, observed
        As for `synth.io.read_image`.

    Raises
    ------
    ValueError
        The image does not have the operator's output shape, or the operator is not one of ours on NumPy.
    """
    A = _on_numpy(operator)
    dtype = np.dtype(np.float64 if A.like is None else A.like.dtype)
    y = read_image(
        image, encoding=encoding, layout=layout, shape=A.out_shape, dtype=dtype if dtype.kind == "f" else np.float64,
        observed=observed,
    )  # fmt: skip
    return from_array(y, A, str(image))


def from_array(y: Image, operator: Any, source: str) -> Problem:
    """Take an observed image (C, H, W) of linear light for an operator; `source` names it in messages.

    Raises
    ------
    ValueError
        As `from_image`.
    """
    A = _on_numpy(operator)
    _check_fits(A, y, source)
    return Problem(A=A, y=_cast(y, A), truth=None, noise_level=None, source=source)


def _check_fits(A: bp.LinearOperator, y: Image, source: str) -> None:
    """Refuse an operator that does not return images of this shape."""
    if tuple(y.shape) != A.out_shape and y.shape[-2:] == A.out_shape[-2:] and A.out_shape[0] == 1:
        raise ValueError(
            f"the operator is for one channel, but {source} has {y.shape[0]} that differ; build it with channels=3"
        )
    if tuple(y.shape) != A.out_shape:
        turned = "; it was turned upright" if tuple(y.shape[:0:-1]) == A.out_shape[1:] else ""
        raise ValueError(
            f"the operator returns images of shape {A.out_shape} (C, H, W), but {source} has {tuple(y.shape)}{turned}; "
            "is it the operator of this photo, at this size?"
        )


def from_dataset(path: Path, sample: int, view: str, operator: Any = None, *, layered: bool | None = False) -> Problem:
    """Read one sample of a dataset as linear light, and build its blur, `synth.operator_of`.

    Parameters
    ----------
    path : Path
        A file or folder that `synth.generate` wrote.
    sample : int
        Index of the sample.
    view : str
        A view that is stored (combined, left, right, ...), or dual: left and right together.
    operator : LinearOperator, optional
        Another operator than the one the sample was made with.
    layered : bool
        With layers of the stored map, `synth.layered_operator_of`, which the method `layered` takes; None: for data
        rendered with occlusion by a camera that layers can describe.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, sample or view; no dataset; an operator for images of another shape.
    """
    import synth
    from synth.generation.operators import noise_of

    views = ("left", "right") if view == "dual" else (view,)
    with synth.open(path) as data:
        stored = [name for name in data.names if name in RECORDED]
        if not set(views) <= set(stored):
            dual = " or dual" if {"left", "right"} <= set(stored) else ""
            raise ValueError(f"--view: expected {', '.join(stored)}{dual}, which {path} has, got {view!r}")
        if not -len(data) <= sample < len(data):
            raise ValueError(f"--sample: expected one of the {len(data)} samples of {path}, got {sample}")
        fields = data.read(sample, names=(TRUTH, *views))
        camera, curve = data.camera(sample), data.attrs_of(sample)["transfer_function"]
        noises = [noise_of(data, sample, name) for name in views]
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            A = _operator_of(data, sample, views, layered) if operator is None else _on_numpy(operator)
    # Blur is linear in light only, and so is the noise.
    light = {name: camera.tone.invert(image) if curve != "linear" else image for name, image in fields.items()}
    y = np.concatenate([light[name] for name in views])
    source = f"{path}, sample {sample}"
    _check_fits(A, y, source)
    variances = [noise.variance(np.maximum(light[name], 0.0)).mean() for noise, name in zip(noises, views, strict=True)]
    level = float(np.sqrt(np.mean(variances)))
    truth = light[TRUTH].astype(y.dtype)
    source += f", decoded from the curve {curve!r}" if curve != "linear" else ""
    notes = tuple(str(warning.message) for warning in raised)
    source += f" ({'; '.join(notes)})" if notes else ""
    return Problem(
        A=A, y=_cast(y, A), truth=truth, noise_level=level, source=source, notes=notes,
        encode=linear_to_srgb if curve == "linear" else camera.tone.apply,
    )  # fmt: skip


def _operator_of(data: Any, sample: int, views: tuple[str, ...], layered: bool | None) -> bp.LinearOperator:
    """Return the operator of a sample, with layers or without."""
    import synth

    if layered is None and data.configuration_of(sample)["model"] != "gather":
        try:
            return synth.layered_operator_of(data, sample, views)
        except ValueError:  # PSFs or exposure that differ over the frame
            pass
    return synth.layered_operator_of(data, sample, views) if layered else synth.operator_of(data, sample, views)


def load_blur(text: str) -> Any:
    """Return the operator of a file that `blurphys.save` wrote, or of ``module:factory``."""
    from blurphys.commands.check import load_operator

    if Path(text).exists() or text.lower().endswith((".h5", ".hdf5")):
        return bp.load(text)
    return load_operator(text)


def _on_numpy(operator: Any) -> bp.LinearOperator:
    if not isinstance(operator, bp.LinearOperator):
        raise ValueError(f"expected an operator of blurphys, got {type(operator).__name__}")
    if operator.like is not None and not isinstance(operator.like, np.ndarray):
        raise ValueError("expected an operator with NumPy arrays; bp.save and bp.load bring any operator there")
    if operator.batch_shape:
        raise ValueError(f"expected an operator for one image, got one with batch axes {operator.batch_shape}")
    return operator


def _cast(y: Image, A: bp.LinearOperator) -> Image:
    return y if A.like is None else y.astype(A.like.dtype)
