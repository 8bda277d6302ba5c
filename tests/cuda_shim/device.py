"""`CpuDevice` runs the hosts of the GPU primitives on NumPy arrays, with the kernels compiled by g++."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

SHIM = Path(__file__).with_name("shim.cpp")
# Without optimisation a program compiles six times faster, and the tests run each one only a few times.
OPTIONS = ["-std=c++17", "-O0", "-shared", "-fPIC", "-fno-strict-aliasing", "-w"]


def compiler():
    return shutil.which("g++")


class CpuDevice:
    """A device whose memory is the machine's and whose blocks run one after the other.

    Parameters
    ----------
    folder : Path
        Where compiled programs are kept; processes may share it.
    shared_limit : int
        Shared memory of a block, bytes; at most what sm_90 has.
    options : list of str
        Further options of g++, for sanitizers.
    """

    xp = np

    def __init__(self, folder, shared_limit=232448, options=()):
        self.folder = Path(folder)
        self.shared_limit = shared_limit
        self.options = [*OPTIONS, *options]
        self.libraries = {}
        self.launches = []

    def empty(self, shape, dtype):
        """Not a number everywhere: what a kernel forgets to write is seen."""
        dtype = np.dtype(dtype)
        return np.full(shape, np.nan if dtype.kind == "f" else -(2**31), dtype=dtype)

    def launch(self, program, kernel, grid, shared, arguments):
        """As CuPy would: it makes a grid of 0 a 1, and before version 14 None an address; both are refused here."""
        assert shared <= self.shared_limit and max(grid[1:]) <= 65535
        assert len(grid) == 3 and min(grid) >= 1, f"{kernel}: a grid of {grid} has no block"
        assert not any(value is None for value in arguments), f"{kernel}: None is no address"
        assert all(isinstance(value, np.ndarray | np.generic) for value in arguments), (
            f"{kernel}: not arrays or scalars"
        )
        self.launches.append((kernel, grid, shared))
        addresses, kept = (ctypes.c_void_p * len(arguments))(), []
        for i, value in enumerate(arguments):
            if isinstance(value, np.ndarray) and value.dtype.names is None:
                assert value.flags.c_contiguous
                cell = ctypes.c_void_p(value.ctypes.data)
            else:
                value = np.array(value)
                addresses[i] = value.ctypes.data
                kept.append(value)
                continue
            kept.append(cell)
            addresses[i] = ctypes.addressof(cell)
        run = getattr(self.library(program), f"run_{kernel}")
        run((ctypes.c_uint * 3)(*grid), ctypes.c_uint(shared), addresses)

    def library(self, program):
        if program not in self.libraries:
            self.libraries[program] = ctypes.CDLL(str(self.build(program)))
        return self.libraries[program]

    def build(self, program):
        source = program.source
        kernels = re.findall(r"\)\n(\w+)\(const", source)
        text = f'#include "{SHIM}"\n{source}\n' + "".join(f"EXPORT({name})\n" for name in kernels)
        digest = hashlib.sha256(" ".join([text, SHIM.read_text(), *self.options]).encode()).hexdigest()[:24]
        library = self.folder / f"{digest}.so"
        if not library.exists():
            work = self.folder / f"{digest}.{os.getpid()}"
            work.with_suffix(".cpp").write_text(text)
            command = [compiler(), *self.options, str(work.with_suffix(".cpp")), "-o", str(work)]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stderr
            work.rename(library)
        return library
