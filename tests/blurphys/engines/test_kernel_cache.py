"""Compiled kernels on disk: never old, and no trouble with them costs more than a compilation."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numba
import numpy as np
import pytest

from blurphys.engines.cpu.common import cache, compiler

PACKAGE = """
import sys
import numba
from little.engines.cpu.common.cache import KernelCache
from little.engines.cpu.helper import helper

@numba.njit
def kernel(a):
    return helper(a)

kernel._cache = KernelCache(kernel.py_func)
print(kernel(1.0), sum(kernel.stats.cache_hits.values()))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder of its own, and a process to which nothing has happened yet."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache._Trouble, "reason", "")
    monkeypatch.setattr(compiler._Announcement, "said", True)
    return cache.cache_folders()[0]


def compiled():
    """Return (result, whether it came from the cache) of a kernel as a new process would have it."""

    def example(a):
        return a + 1

    example.__module__ = "blurphys.engines.cpu.example"
    kernel = compiler.jit(example)
    return kernel(2.0), bool(kernel.stats.cache_hits)


def test_kernels_are_kept_and_found_again(folder):
    assert compiled() == (3.0, False)
    assert compiled() == (3.0, True)
    assert [path.suffix for path in folder.iterdir()] == [".nbc"]


def test_a_change_in_another_file_is_seen(tmp_path):
    """The cache belongs to all sources, not to the file of the kernel."""
    cpu = tmp_path / "little" / "engines" / "cpu"
    (cpu / "common").mkdir(parents=True)
    for package in (cpu / "common", cpu, cpu.parent, cpu.parent.parent):
        (package / "__init__.py").touch()
    shutil.copy(cache.__file__, cpu / "common")
    (cpu.parent / "kernel.py").write_text(PACKAGE)
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(tmp_path)}

    def run(change):
        text = f"import numba\n\n@numba.njit\ndef helper(a):\n    return a + {change}\n"
        (cpu / "helper.py").write_text(text)
        command = [sys.executable, "-m", "little.engines.kernel"]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
        return tuple(map(float, done.stdout.split()))

    assert run(1) == (2.0, 0)
    assert run(1) == (2.0, 1)
    assert run(2) == (3.0, 0)


def test_code_that_was_edited_while_it_ran_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(cache, "_source_digest", lambda: "edited")
    assert compiled() == (3.0, False)
    assert compiled() == (3.0, False)


def test_code_that_was_edited_and_read_again_is_not_taken_from_the_old(folder, monkeypatch):
    """As `importlib.reload` and notebooks do."""
    assert compiled() == (3.0, False)
    monkeypatch.setattr(cache, "_source_digest", lambda: "edited")
    assert compiled() == (3.0, False)


def _entry(folder):
    (path,) = folder.glob("*.nbc")
    return path


def _flipped(content):
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


def _signed(path, payload):
    return sha256(path.name.encode() + payload).digest() + payload


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: b"",
        lambda path: path.read_bytes()[:20],
        lambda path: path.read_bytes()[:-1],
        lambda path: _flipped(path.read_bytes()),
        lambda path: b"another file" * 1000,
        lambda path: _signed(path, b"no pickle"),
        lambda path: _signed(path, pickle.dumps(("of", "something", "else"))),
    ],
    ids=["empty", "short", "cut", "one bit", "other bytes", "no pickle", "other pickle"],
)
def test_a_damaged_entry_costs_a_compilation(folder, damage):
    assert compiled() == (3.0, False)
    path = _entry(folder)
    path.write_bytes(damage(path))
    assert compiled() == (3.0, False)
    assert compiled() == (3.0, True), "mended by the compilation"


def test_an_entry_under_another_name_is_not_taken(folder):
    """Code of another function, or for another signature, has a sound checksum of its own."""
    assert compiled() == (3.0, False)
    path = _entry(folder)
    content = path.read_bytes()
    path.with_name("other.nbc").write_bytes(content)
    assert cache.KernelCache._checksum("other.nbc", content[32:]) != content[:32]


@pytest.mark.parametrize("block", ["folder is a file", "entry is a folder"])
def test_a_place_that_cannot_be_written_is_said_once(folder, caplog, block):
    if block == "folder is a file":
        folder.parent.parent.mkdir(exist_ok=True)
        folder.parent.write_text("not a folder")
    else:
        compiled()
        path = _entry(folder)
        path.unlink()
        path.mkdir()
    assert compiled() == (3.0, False)
    assert compiled() == (3.0, False)
    (said,) = [r.getMessage() for r in caplog.records if "cannot be kept" in r.getMessage()]
    assert str(folder) in said and "NUMBA_CACHE_DIR" in said
    assert cache.kept_in()[0] is None
    assert not list(folder.parent.parent.rglob("*.tmp"))


def test_the_second_place_serves_where_the_first_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    good = tmp_path / "good" / folder.name
    monkeypatch.setattr(cache, "cache_folders", lambda: [tmp_path / "file" / folder.name, good])
    assert compiled() == (3.0, False)
    assert compiled() == (3.0, True)
    assert cache.kept_in() == (good, "")


def test_entries_of_other_sources_are_pruned(folder):
    folder.parent.mkdir()
    for age in range(8):
        other = folder.parent / f"kernels-{age:020x}"
        other.mkdir()
        (other / "old.nbc").touch()
        os.utime(other, (1e9 - age, 1e9 - age))
    theirs = {"of-somebody-else", "kernels-experiment", f"kernels-{7:020x}"}
    for name in theirs:
        (folder.parent / name).mkdir(exist_ok=True)
        (folder.parent / name / "results.csv").touch()
    os.utime(folder.parent / f"kernels-{7:020x}", (1e9 - 7, 1e9 - 7))
    folder.mkdir()
    left = folder / "x.0.tmp"
    left.touch()
    os.utime(left, (1e9, 1e9))
    compiled()
    kept = {f"kernels-{age:020x}" for age in range(cache.KEPT)}
    assert {path.name for path in folder.parent.iterdir()} == kept | {folder.name} | theirs
    assert all([path.name for path in (folder.parent / name).iterdir()] == ["results.csv"] for name in theirs)
    assert not left.exists()


def test_writers_at_the_same_time_leave_a_whole_file(tmp_path):
    contents = [bytes([i]) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda c: cache._write(tmp_path / "entry.nbc", c), contents))
    assert (tmp_path / "entry.nbc").read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


def test_no_home_is_no_place(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(Path, "home", nowhere)
    assert [path.parent for path in cache.cache_folders()] == [cache.SOURCES / "__pycache__"]


def test_kernels_freeze_only_what_the_hash_covers():
    """Code and constants of a kernel come from this folder, Numba and NumPy; else a change would go unnoticed."""
    from blurphys.engines.cpu import engine  # noqa: F401

    modules = [m for name, m in sys.modules.items() if name.startswith("blurphys.engines.")]
    functions = [f for m in modules for f in vars(m).values() if hasattr(f, "py_func")]
    files = set(map(str, cache.source_files()))
    assert len(functions) > 40
    for function in functions:
        code, names = function.py_func.__code__, function.py_func.__globals__
        assert code.co_filename in files
        for value in (names[name] for name in code.co_names if name in names):
            home = getattr(value, "__module__", None) or getattr(value, "__name__", None)
            plain = isinstance(value, int | float | tuple | np.ndarray | np.dtype | np.generic)
            covered = ("blurphys.engines.cpu", "numpy", "numba", "math", "builtins")
            assert plain or home.startswith(covered), (function, value)


OPERATORS = """
import numpy as np, blurphys as bp
from blurphys.engines.loading import cpu_engine_missing, fast_kernel
x = np.ones((3, 12, 12))
disk = bp.PSFBank(bp.Pupil.disk(), max_radius=2)
for A in (
    bp.GKM(np.full((2, 12, 12), 0.5), sigmas=(0.0, 1.0)),
    bp.RKR(np.full((4, 12, 12), 0.25), atoms=np.full((3, 3), 1 / 3)),
    bp.Convolution(np.ones((3, 3)) / 9, shape=x.shape),
    bp.DefocusBlur(np.ones((12, 12)), bank=disk),
    bp.LayeredDefocus(np.ones((1, 12, 12)), radii=(1.0,), bank=disk),
):
    assert abs(A(x) - 1).max() < 1e-12, A
assert fast_kernel("psf_gather", "numpy") is None
print(cpu_engine_missing())
"""


def test_without_a_compiler_the_reference_serves_and_says_so_once():
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OPERATORS], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "NUMBA_DISABLE_JIT is set\n"
    assert done.stderr.count("NUMBA_DISABLE_JIT") == 1
