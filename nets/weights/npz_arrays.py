"""Arrays of an npz archive, also where they are pickled in an object array; nothing of the pickle is executed."""

from __future__ import annotations

import io
import math
import pickletools
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_npz"]

MAX_BYTES = 1 << 28
"""Of all arrays of an archive together, unpacked: 256 MiB, thirty times the largest checkpoint this is for."""

MAX_INSTRUCTIONS = 100_000
"""Instructions of one pickle. An array takes some twenty."""

FLOATS = ("f2", "f4", "f8")
ARRAY, DTYPE, RECONSTRUCT = "numpy.ndarray", "numpy.dtype", "_reconstruct"
GLOBALS = {
    ("numpy", "ndarray"): ARRAY,
    ("numpy", "dtype"): DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
}
"""The only names that a pickle may have. They are symbols here: nothing is imported or called."""

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
}
MARK = object()


class _Symbol(str):
    """One of the values of `GLOBALS`."""


class _Dtype:
    def __init__(self, code: str) -> None:
        self.code = code
        self.order: str | None = None


class _Array:
    def __init__(self) -> None:
        self.value: Any = None


def read_npz(path: str | Path) -> dict[str, np.ndarray] | list[np.ndarray]:
    """Read the arrays of an npz archive without executing any pickle.

    Parameters
    ----------
    path : str or Path
        Written by `numpy.savez`, of Python 2 or 3: either arrays of floats or integers, or one array of objects, all of
        them arrays of floats.

    Returns
    -------
    dict of str to ndarray, or list of ndarray
        The arrays by name; for an array of objects, these in order.

    Raises
    ------
    ValueError
        Not such an archive; cut or damaged; of more than 256 MiB; a pickle that holds anything but arrays of floats.

    Notes
    -----
    A pickle is a program, and to load one is to run it. Here its instructions are read one by one. Only those that an
    array of objects needs are followed, on symbols: a shape, a type and the bytes of an array, which must be exactly as
    many as shape and type say, so that a file cannot cause larger allocations than its own size.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > MAX_BYTES:
                raise ValueError(f"holds {total} bytes, which is more than the {MAX_BYTES} read here")
            if not members:
                raise ValueError("holds no arrays")
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
                raise ValueError("is compressed in a way that NumPy does not write")
            strange = [member.filename for member in members if not member.filename.endswith(".npy")]
            if strange:
                raise ValueError(f"holds {strange[0]!r}, which is no array")
            arrays: dict[str, Any] = {}
            for member in members:
                arrays[member.filename.removesuffix(".npy")] = _parse_npy(archive.read(member))
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"{path}: expected an npz archive, which this is not, or a damaged one ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: expected an npz archive of arrays of floats, but it {error}") from error
    for value in arrays.values():
        if isinstance(value, list):
            if len(arrays) > 1:
                raise ValueError(f"{path}: expected a single array of objects, got {len(arrays)} arrays")
            return value
    return arrays


def _parse_npy(data: bytes) -> np.ndarray | list[np.ndarray]:
    """Parse one npy file; an array of objects becomes a list."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 2 wrote shapes as (58L,), which is read nevertheless
            shape, fortran, dtype = header[version](stream)
    except Exception as error:  # NumPy parses it as Python, which fails in many ways
        raise ValueError(f"holds a member whose header is no array's ({error})") from error
    rest = data[stream.tell() :]
    if not dtype.hasobject:
        if dtype.kind not in "fiu":
            raise ValueError(f"holds an array of {dtype}, not of numbers")
        return _shape_array(rest, dtype, shape, fortran)
    if dtype != np.dtype(object):
        raise ValueError(f"holds an array of {dtype}, not of numbers or arrays")
    arrays = _unpickle(rest)
    if math.prod(shape) != len(arrays):
        raise ValueError(f"says it holds {math.prod(shape)} objects, and holds {len(arrays)}")
    return arrays


def _shape_array(data: bytes, dtype: np.dtype, shape: Any, fortran: Any) -> np.ndarray:
    """Return bytes as an array; ValueError where their number does not fit its shape."""
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(size) is int for size in shape):
        raise ValueError("holds an array whose shape is none")
    if any(not 0 < size <= MAX_BYTES for size in shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"holds {len(data)} bytes for an array of shape {shape} of {dtype}; it is cut or damaged")
    array = np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def _unpickle(data: bytes) -> list[np.ndarray]:
    """Return the arrays of floats in the pickle of an array of objects."""
    stream = io.BytesIO(data)
    try:
        result = _interpret(stream)
    except (IndexError, KeyError, AttributeError, TypeError, OverflowError, UnicodeError) as error:
        raise ValueError(f"holds a pickle that is damaged or no list of arrays ({error})") from error
    if stream.read(1):
        raise ValueError("goes on after the end of its pickle")
    if not isinstance(result, _Array) or not isinstance(result.value, list):
        raise ValueError("holds a pickle of something else than an array of objects")
    arrays = [item.value for item in result.value if isinstance(item, _Array) and isinstance(item.value, np.ndarray)]
    if len(arrays) != len(result.value):
        raise ValueError("holds a pickle of objects that are not all arrays of floats")
    return arrays


def _interpret(stream: io.BytesIO) -> Any:
    """Run the stack machine of a pickle, with symbols in place of everything that would be called."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def above_mark() -> list[Any]:
        items = []
        while stack[-1] is not MARK:
            items.append(stack.pop())
        stack.pop()
        return items[::-1]

    for step, (opcode, argument, _) in enumerate(_instructions(stream)):
        name = opcode.name
        if step > MAX_INSTRUCTIONS:
            raise ValueError(f"holds a pickle of more than {MAX_INSTRUCTIONS} instructions")
        if name in ("PROTO", "FRAME"):
            pass
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in LITERALS:
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(_look_up(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_look_up(module, attribute))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(MARK)
        elif name == "TUPLE":
            stack.append(tuple(above_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            size = int(name[-1])
            items = tuple(stack[-size:])
            del stack[-size:]
            stack.append(items)
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif name == "APPENDS":
            items_above = above_mark()
            stack[-1].extend(items_above)
        elif name == "REDUCE":
            arguments, callable_ = stack.pop(), stack.pop()
            stack.append(_call(callable_, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _set_state(stack[-1], state)
        elif name == "STOP":
            return stack.pop()
        else:
            raise ValueError(f"holds a pickle with the instruction {name}, which arrays do not need")
    raise ValueError("holds a pickle without an end")


def _instructions(stream: io.BytesIO) -> Any:
    """The instructions of a pickle; ValueError where it cannot be read."""
    try:
        yield from pickletools.genops(stream)
    except (ValueError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"holds a pickle that is cut or damaged ({error})") from error


def _look_up(module: Any, attribute: Any) -> _Symbol:
    """Return the symbol of a global name."""
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise ValueError("holds a pickle that asks for a name that is no text")
    if (module, attribute) not in GLOBALS:
        raise ValueError(f"holds a pickle that asks for {module[:60]}.{attribute[:60]}, of which nothing was run")
    return _Symbol(GLOBALS[module, attribute])


def _call(function: Any, arguments: Any) -> _Array | _Dtype:
    """Return the object that a call would make."""
    if not isinstance(function, _Symbol) or not isinstance(arguments, tuple):
        raise ValueError("holds a pickle that calls something else than NumPy's array and type")
    if function == RECONSTRUCT and len(arguments) == 3 and arguments[0] == ARRAY and isinstance(arguments[0], _Symbol):
        return _Array()
    if function == DTYPE and len(arguments) == 3 and isinstance(arguments[0], str):
        if arguments[0] in (*FLOATS, "O", "O8", "O4"):
            return _Dtype(arguments[0])
        raise ValueError(f"holds a pickle with an array of type {arguments[0][:20]!r}, not of floats")
    raise ValueError("holds a pickle that calls NumPy in another way than arrays do")


def _set_state(target: Any, state: Any) -> None:
    """Set the state of an array or a type."""
    if isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) >= 2 and target.order is None:
        if not isinstance(state[1], str) or state[1] not in ("<", ">", "=", "|"):
            raise ValueError("holds a pickle with a byte order that is none")
        target.order = state[1]
        return
    if not isinstance(target, _Array) or target.value is not None or not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("holds a pickle that gives a state to something else than a new array or type")
    _, shape, dtype, fortran, content = state
    if not isinstance(dtype, _Dtype):
        raise ValueError("holds a pickle with an array of no type")
    if dtype.code not in FLOATS:
        if not isinstance(content, list):
            raise ValueError("holds a pickle with an array of objects without a list of them")
        target.value = content
        return
    data = content.encode("latin-1") if isinstance(content, str) else content  # Python 2 had no bytes
    if not isinstance(data, bytes):
        raise ValueError("holds a pickle with an array whose content is not bytes")
    target.value = _shape_array(data, np.dtype((dtype.order or "=") + dtype.code), shape, fortran)
