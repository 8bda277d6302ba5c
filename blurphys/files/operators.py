"""Operators in HDF5 files, without pickle: a file contains numbers and names only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from ..analysis.linalg import to_numpy
from ..linop.algebra import Adjoint, Composed, Scaled, Stacked, Sum
from ..linop.base import LinearOperator
from ..linop.elementary import Identity, Window
from ..linop.tiling import Tiled
from ..operators.defocus import DefocusBlur, DualPixel
from ..operators.field import FieldDefocus
from ..operators.gkm import GKM
from ..operators.layered import LayeredDefocus
from ..operators.psf_stack import Convolution, PixelPSF, PSFStack
from ..operators.rkr import RKR
from ..operators.symmetric import SymmetricMixture
from ..optics.bank import PSFBank
from ..types import Array
from .publishing import PathLike, existing_file, publish
from .stored import is_stored

if TYPE_CHECKING:
    import h5py

__all__ = ["load", "save"]

FORMAT, VERSION = "blurphys operator", 1

_LEAVES = (
    GKM, SymmetricMixture, RKR, PSFStack, PixelPSF, Convolution, DefocusBlur, DualPixel, LayeredDefocus, FieldDefocus,
    Identity, Window,
)  # fmt: skip
_KINDS: dict[str, type[LinearOperator]] = {
    kind.__name__: kind for kind in (*_LEAVES, Adjoint, Composed, Sum, Scaled, Stacked, Tiled)
}

Convert = Callable[[Any], Array]


def save(A: LinearOperator, path: PathLike, *, overwrite: bool = False) -> None:
    """Write an operator to an HDF5 file, atomically: the file is complete or does not appear.

    Parameters
    ----------
    A : LinearOperator
        Any operator of blurphys, combinations included. Maps on disk are copied block by block.
    path : path
        The file, usually ``*.h5``.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    TypeError
        A is not an operator of blurphys, or is of a class of your own (rebuild it in a module of your own).
    FileExistsError, FileNotFoundError, OSError
        The file exists, its folder does not, or it cannot be written.

    Notes
    -----
    Every parameter of the operator is an attribute (JSON) or a dataset of its group; operators inside others have
    groups of their own. For a `PSFBank` of a pupil the kernels are stored, not the pupil.

    Examples
    --------
    >>> import blurphys as bp, numpy as np, tempfile, os
    >>> A = bp.GKM(np.full((2, 4, 5), 0.5), sigmas=(0.0, 1.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     bp.save(A, os.path.join(folder, "blur.h5"))
    ...     bp.load(os.path.join(folder, "blur.h5"))
    GKM((3, 4, 5) -> (3, 4, 5), numpy float64 on cpu)
    """
    import h5py

    if not isinstance(A, LinearOperator):
        raise TypeError(f"save: expected a LinearOperator, got {type(A).__name__}")
    with publish(path, overwrite=overwrite) as part, h5py.File(part, "w") as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        _put_operator(file.create_group("operator"), A)


def load(path: PathLike, *, like: Array | None = None) -> LinearOperator:
    """Read an operator that `save` wrote.

    Parameters
    ----------
    path : path
        The file.
    like : array, optional
        Determines namespace and device of the operator, by default NumPy. The dtype is that of the file.

    Returns
    -------
    LinearOperator

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not in this format, is of a newer version, or is damaged.
    """
    import h5py

    def convert(values: Any) -> Array:
        return values if like is None else array_namespace(like).asarray(values, device=device(like))

    file = existing_file(path)
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise ValueError(f"load: {file} is not an HDF5 file, or it is damaged; bp.save writes such files") from error
    with opened as data:
        if data.attrs.get("format") != FORMAT:
            found = data.attrs.get("format", "no format")
            found = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
            hint = (
                "; for samples of a dataset there is synth.operator_of(synth.open(...), i)"
                if "dataset" in found
                else ""
            )
            raise ValueError(f"load: expected a file with format {FORMAT!r}, got {found!r} in {file}{hint}")
        if data.attrs.get("version") != VERSION:
            raise ValueError(
                f"load: {file} has version {data.attrs.get('version')} of the format, this library reads {VERSION}; "
                f"a newer blurphys wrote it"
            )
        try:
            return _get_operator(data["operator"], convert)
        except (KeyError, OSError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"load: {file} is damaged: {type(error).__name__}: {error}") from error


def _put_operator(group: h5py.Group, A: LinearOperator) -> None:
    name = type(A).__name__
    if _KINDS.get(name) is not type(A):
        raise TypeError(f"save: expected an operator of blurphys, got {type(A).__module__}.{name}")
    group.attrs["kind"] = name
    for field in _given(type(A)):
        _put(group, field.name, getattr(A, field.name), tuple(getattr(A, "views", ())))


def _given(kind: type[LinearOperator]) -> list[dataclasses.Field[Any]]:
    """Return the fields of an operator that its constructor takes."""
    return [field for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]


def _put(group: h5py.Group, name: str, value: Any, views: tuple[str | float, ...] = ()) -> None:
    """Write one field. For the bank of a pupil, which has any view, the usual views and those in use are written."""
    if isinstance(value, LinearOperator):
        _put_operator(group.create_group(name), value)
    elif isinstance(value, PSFBank):
        bank = group.create_group(name)
        bank.attrs["kind"] = "PSFBank"
        bank["radii"] = value.radii
        kept = list(dict.fromkeys((*value.views, *views)))
        bank.attrs["views"] = json.dumps(kept)
        for view in kept:
            bank[f"psfs/{view}"] = to_numpy(value.psfs(view))
    elif isinstance(value, tuple) and _nested(value):
        many = group.create_group(name)
        many.attrs["kind"] = "tuple"
        for index, item in enumerate(value):
            _put(many, str(index), item, views)
    elif is_stored(value) or is_numpy_array(value):
        _copy(group, name, value)
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        _copy(group, name, to_numpy(value))
    else:
        group.attrs[name] = json.dumps(value)


def _nested(value: Any) -> bool:
    """Whether a tuple contains operators or banks, at any depth, which JSON cannot represent."""
    if isinstance(value, tuple):
        return any(_nested(item) for item in value)
    return isinstance(value, LinearOperator | PSFBank)


def _copy(group: h5py.Group, name: str, values: Any) -> None:
    """Write an array plane by plane, without a copy of all of it in memory."""
    target = group.create_dataset(name, shape=values.shape, dtype=values.dtype, fletcher32=values.ndim > 0)
    if values.ndim < 3:
        target[...] = values[...]
        return
    for index in np.ndindex(*values.shape[:-2]):
        target[index] = values[index]


def _get_operator(group: h5py.Group, convert: Convert) -> LinearOperator:
    name = group.attrs["kind"]
    if name not in _KINDS:
        raise ValueError(f"unknown operator {name!r}")
    fields = [field.name for field in _given(_KINDS[name])]
    given = {key: _get(group, key, convert) for key in fields if key in group or key in group.attrs}
    return _KINDS[name](**given)


def _get(group: h5py.Group, name: str, convert: Convert) -> Any:
    if name not in group:
        return _tuples(json.loads(group.attrs[name]))
    item = group[name]
    kind = item.attrs.get("kind")
    if kind is None:
        return convert(item[...])
    if kind == "tuple":
        return tuple(_get(item, str(index), convert) for index in range(len(item)))
    if kind == "PSFBank":
        named = json.loads(item.attrs["views"]) if "views" in item.attrs else list(item["psfs"])
        views = {view: np.asarray(item["psfs"][str(view)][...]) for view in named}
        return PSFBank(psfs=views, radii=item["radii"][...].tolist())
    return _get_operator(item, convert)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
