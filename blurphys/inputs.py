"""Checks of arguments: arrays, images, integers, numbers, choices. Errors say what was expected and what was given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import isfinite, nan
from operator import index
from typing import Any, TypeVar, cast

from array_api_compat import array_namespace, device, is_numpy_array, is_torch_array

from .files.stored import is_stored
from .types import Array, Shape

__all__ = [
    "describe",
    "detach",
    "require_choice",
    "require_float",
    "require_image",
    "require_image_shape",
    "require_integer",
    "require_integers",
    "require_number",
    "require_same_kind",
    "require_window",
    "tracing",
]


Choice = TypeVar("Choice", bound=str)


def describe(x: Array) -> str:
    """Name the package, dtype and device of an array."""
    kind = type(x).__module__.split(".")[0]
    return f"{kind} {x.dtype} on {device(x)}"


def require_float(owner: str, name: str, x: Array) -> Any:
    """Return the namespace of `x`; raise TypeError unless it is an array of float32 or float64."""
    if is_stored(x):
        raise TypeError(
            f"{owner}: expected {name} in memory, got an HDF5 dataset; read it by dataset[...]: only the maps of an "
            f"operator and the image of bp.tiled(A) may stay on disk"
        )
    try:
        xp = array_namespace(x)
    except TypeError:
        hint = "numpy.asarray(x) makes one of a list or a picture" if _is_array_like(x) else "convert it first"
        if hasattr(type(x), "in_shape") and hasattr(type(x), "adjoint"):
            hint = "A @ B is the product of operators"
        raise TypeError(
            f"{owner}: expected {name} to be a NumPy, torch or CuPy array, got {type(x).__name__}; {hint}"
        ) from None
    if hasattr(x, "mask") and hasattr(x, "filled"):
        raise TypeError(f"{owner}: expected {name} to be a plain array, got a masked one; fill it with .filled(value)")
    if x.dtype not in (xp.float32, xp.float64):
        raise TypeError(
            f"{owner}: expected {name} to be floating point, float32 or float64, got {_dtype_text(x)}; "
            f"{_suggest_conversion(x)}"
        )
    return xp


def _is_array_like(x: Any) -> bool:
    return isinstance(x, (list, tuple)) or hasattr(x, "__array__") or hasattr(x, "__array_interface__")


def _dtype_text(x: Array) -> str:
    """Return the dtype as text; NumPy marks a foreign byte order by one character only."""
    if is_numpy_array(x) and x.dtype.kind in "fciu" and not x.dtype.isnative:
        return f"{x.dtype.name} in foreign byte order ({x.dtype.str})"
    return str(x.dtype)


def _suggest_conversion(x: Array) -> str:
    """Say how to convert an array of another dtype than float32 and float64."""
    dtype = str(x.dtype).removeprefix("torch.").removeprefix("array_api_strict.")
    to_float = "x.float()" if is_torch_array(x) else "x.astype('float32')"
    if is_numpy_array(x):
        if x.dtype.kind in "fciu" and not x.dtype.isnative:
            return "convert it by x.astype(x.dtype.newbyteorder('='))"
        if x.dtype.kind == "O":
            return "it holds Python objects; numpy.array(x.tolist(), dtype='float64') makes numbers of them"
        if x.dtype.kind not in "fciub":
            return "it holds no numbers"
        dtype = x.dtype.name
    if "complex" in dtype:
        return (
            "operators are real: apply it to the real and the imaginary part in two calls, A(x.real) + 1j * A(x.imag)"
        )
    if dtype == "bool":
        return f"convert a mask by {to_float}"
    if "int" in dtype:
        return "is it an integer image that still has to be scaled to [0, 1]?" + _suggest_scaling(dtype, to_float)
    if "float" in dtype and not dtype.startswith("float8"):  # float16, bfloat16, and the long doubles of NumPy
        wider = "x.astype('float64')" if dtype.startswith(("float96", "float128", "longdouble")) else to_float
        return f"convert it by {wider}"
    return "convert it first"


def _suggest_scaling(dtype: str, to_float: str) -> str:
    """Say how an unsigned image of 8 or 16 bits is scaled to [0, 1]."""
    top = {"uint8": 255, "uint16": 65535}.get(dtype)
    return "" if top is None else f" {to_float} / {top}"


def require_integer(owner: str, name: str, value: Any, least: int = 1, *, odd: bool = False, unit: str = "") -> int:
    """Return `value` as an int; raise ValueError unless it is an integer >= `least`, odd if `odd` is set."""
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None or number < least or (odd and number % 2 == 0):
        kind = "an odd integer" if odd else "an integer"
        raise ValueError(f"{owner}: expected {name} to be {kind} >= {least}{unit and ' ' + unit}, got {value!r}")
    return number


def require_integers(owner: str, name: str, values: Any) -> tuple[int, ...]:
    """Return `values` as a tuple of ints; raise ValueError unless it is a sequence of integers."""
    try:
        return tuple(index(n) for n in values)
    except TypeError:
        raise ValueError(f"{owner}: expected {name} to be a tuple of integers, got {values!r}") from None


def require_image_shape(owner: str, shape: Any) -> tuple[int, int, int]:
    """Return `shape` as (C, H, W); raise ValueError unless it is three positive integers."""
    sizes = require_integers(owner, "shape", shape)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"{owner}: expected shape (C, H, W) of positive sizes, got {sizes}")
    return sizes[0], sizes[1], sizes[2]


def require_number(
    owner: str,
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    unit: str = "",
) -> float:
    """Return `value` as a float; raise ValueError unless it is a finite number >= least, > above and <= most."""
    try:
        number = nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = nan
    bounds = (
        ("> {:g}", above, above is None or number > above),
        (">= {:g}", least, least is None or number >= least),
        ("<= {:g}", most, most is None or number <= most),
    )
    if not isfinite(number) or not all(kept for _, _, kept in bounds):
        limits = " and ".join(text.format(limit) for text, limit, _ in bounds if limit is not None)
        wanted = " ".join(part for part in ("a finite number", limits, unit) if part)
        raise ValueError(f"{owner}: expected {name} to be {wanted}, got {value!r}")
    return number


def require_choice(owner: str, name: str, value: Any, choices: Sequence[Choice]) -> Choice:
    """Return `value`; ValueError unless it is one of the choices, of which there are two or more."""
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices[:-1])
        raise ValueError(f"{owner}: expected {name} to be {known} or {choices[-1]!r}, got {value!r}")
    return cast(Choice, value)


def require_window(owner: str, window: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a window (top, left, height, width), px; ValueError if it leaves the image."""
    top, left, height, width = window
    H, W = shape
    if not (0 <= top and 0 <= left and 0 < height <= H - top and 0 < width <= W - left):
        raise ValueError(
            f"{owner}: expected a window (top, left, height, width) within {H} x {W} px, got {tuple(window)}"
        )
    return slice(top, top + height), slice(left, left + width)


def detach(x: Array) -> Array:
    """Return `x` without its torch graph, for checks of values; other arrays unchanged."""
    return x.detach() if hasattr(x, "detach") else x


def tracing() -> bool:
    """Whether torch traces a program (`torch.compile`, `torch.func.linearize`): then arrays have no values to check."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    recorder = sys.modules.get("torch.fx.experimental.proxy_tensor")
    return bool(torch.compiler.is_compiling()) or (recorder is not None and recorder.get_proxy_mode() is not None)


def require_same_kind(owner: str, name: str, x: Array, like_name: str, like: Array) -> None:
    """Raise TypeError unless `x` has the namespace, dtype and device of `like`: nothing is cast or moved silently."""
    xp = require_float(owner, name, x)
    if xp is array_namespace(like) and device(x) == device(like) and x.dtype != like.dtype:
        raise TypeError(
            f"{owner}: expected {name} to have the dtype of {like_name}, {like.dtype}, got {x.dtype}; "
            f"convert one of them, the operator by A.to({str(x.dtype).split('.')[-1]!r})"
        )
    if xp is not array_namespace(like) or device(x) != device(like):
        raise TypeError(
            f"{owner}: expected {name} to live where {like_name} lives ({describe(like)}), got {describe(x)}; "
            f"convert one of them"
        )


def require_image(owner: str, x: Array, like: Array | None, shape: Shape, batch: Shape) -> None:
    """Raise TypeError unless `x` is of the kind of `like`, ValueError unless its shape ends with (*batch, *shape)."""
    if like is None:
        require_float(owner, "the image", x)
    else:
        require_same_kind(owner, "the image", x, "the operator", like)
    got = tuple(x.shape)
    if got[-3:] != tuple(shape):
        raise ValueError(
            f"{owner}: expected trailing shape {tuple(shape)} = (C, H, W), got {got}{_shape_hint(got, shape)}"
        )
    lead = got[:-3]
    fits = len(lead) >= len(batch) and all(
        b in (1, n) for n, b in zip(lead[len(lead) - len(batch) :], batch, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{owner}: expected leading axes that end with {batch} (the batch of the maps), got {lead}; "
            f"does every image of the batch have its own map?"
        )


def _shape_hint(got: Shape, shape: Shape) -> str:
    """Guess the mistake behind an image of another shape."""
    channels, size = shape[0], tuple(shape[-2:])
    if len(got) == 1:
        return f"; x.reshape({tuple(shape)}) makes an image of a flat vector, and A.as_scipy() takes flat vectors"
    if len(got) < 3:
        hint = "; an image needs a channel axis, x[None] adds one"
        return hint if channels == 1 or got != size else f"{hint}, and a grey image an operator with channels=1"
    if got[-1:] + got[-3:-1] == tuple(shape):
        return "; is the image channels-last? Move the last axis to the front of H, W"
    if got[-3] == channels and got[:-3:-1] == size:
        return "; are rows and columns swapped?"
    if got[-2:] == size:
        grey = ", or are these grey images? x[:, None] adds their channel axis" if channels == 1 else ""
        return f"; is the operator built for channels={channels}?{grey}"
    return ""
