"""`blurphys doctor`: what it says of this machine is true, and what is really broken is found."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from typer.testing import CliRunner

import blurphys as bp
from blurphys import cli
from blurphys.commands.doctor import Facts, diagnose
from blurphys.commands.trials import try_engines
from blurphys.engines import cpu_cache, reference, registry
from tests.profiles import NIGHTLY

ALL = {name: "1.0" for name in ("numpy", "scipy", "torch", "numba", "h5py")}


def doctor(*options):
    """Run the command in this process: output of the text, or what the JSON says."""
    result = CliRunner().invoke(cli.application(), ["doctor", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if options else result.stdout


def doctor_elsewhere(options=(), before=None, **environment):
    """Run it in a process of its own, under what is really broken there."""
    command = [sys.executable, *options, "-m", "blurphys", "doctor", "--json"]
    settings = os.environ | {"PYTHONPATH": str(Path(bp.__file__).parents[1])} | environment
    done = subprocess.run(command, env=settings, preexec_fn=before, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def problems(said):
    return [finding["what"] for finding in said["findings"] if finding["problem"]]


def test_engines_that_work_are_said_to_work():
    """What the user meets and what doctor says, on this machine."""
    x = np.ones((3, 12, 13))
    bp.GKM(np.full((2, 12, 13), 0.5), sigmas=(0.0, 1.0))(x)
    assert registry.lookup("gaussian_mixture", "numpy") is not None
    said = doctor("--json")
    assert said["facts"]["engines"].items() >= {"reference": "", "cpu": "", "torch": ""}.items()
    assert said["facts"]["engine_error"] == said["facts"]["cache_error"] == ""
    assert not [what for what in problems(said) if "engine" in what or "kernels" in what]
    text = doctor()
    for word in ("python", "numpy", "CPU threads", "engine cpu", "equals the reference", "CuPy GPU"):
        assert word in text


@pytest.mark.parametrize("engine", ["reference", "cpu", "torch"])
def test_an_engine_that_computes_something_else_is_found(engine, monkeypatch):
    """The trial compares numbers, forward and adjoint."""
    if engine == "reference":
        right = reference.psf_gather
        monkeypatch.setattr(reference, "psf_gather", lambda *a: 1.000001 * right(*a))
    elif engine == "cpu":
        right = registry._KERNELS["gaussian_mixture_adjoint", "numpy"]
        wrong = lambda *a: right(*a) + 1e-6  # noqa: E731
        monkeypatch.setitem(registry._KERNELS, ("gaussian_mixture_adjoint", "numpy"), wrong)
    else:
        right = registry._KERNELS["psf_gather_gradients", "numpy"]

        def wrong(*a):
            y, gx, *rest = right(*a)
            return y, gx if gx is None else gx + 1e-6, *rest

        monkeypatch.setitem(registry._KERNELS, ("psf_gather_gradients", "numpy"), wrong)
    found = {trial.engine: trial.error for trial in try_engines()}
    assert found[engine].startswith("ArithmeticError: "), found


def test_a_folder_that_takes_no_kernels_is_found(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    said = doctor("--json")
    assert said["facts"]["engine_error"] == ""
    (what,) = [what for what in problems(said) if "kept" in what]
    assert str(tmp_path / "file") in what
    assert "NUMBA_CACHE_DIR" in doctor()


@pytest.mark.parametrize("full", [True, False] if NIGHTLY else [True])
def test_a_damaged_cache_costs_a_compilation(tmp_path, full):
    try_engines()
    source, _ = cpu_cache.kept_in()
    kept = tmp_path / source.name
    shutil.copytree(source, kept)
    entries = list(kept.glob("*_fold_rows-*.nbc"))  # compiles in no time
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:1000])
    limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))) if full else None
    said = doctor_elsewhere(NUMBA_CACHE_DIR=str(tmp_path), before=limit)
    assert said["facts"]["engine_error"] == ""
    assert all(entry.stat().st_size == 1000 for entry in entries) == full
    found = [what for what in problems(said) if "kept" in what]
    assert len(found) == full
    assert all("File too large" in what for what in found)


def test_a_compiler_that_is_switched_off_is_found():
    said = doctor_elsewhere(NUMBA_DISABLE_JIT="1")
    (what,) = [what for what in problems(said) if "engine" in what]
    assert "NUMBA_DISABLE_JIT" in what and "reference serves" in what
    assert said["facts"]["engines"]["torch"] == ""


def test_packages_that_are_really_missing(tmp_path):
    """An installation without torch and Numba: the same files, less these."""
    for site in {Path(np.__file__).parents[1], Path(numba.__file__).parents[1]}:
        for path in site.iterdir():
            if not path.name.startswith(("torch", "numba", "llvmlite", "__pycache__")):
                (tmp_path / path.name).symlink_to(path)
    where = os.pathsep.join([str(Path(bp.__file__).parents[1]), str(tmp_path)])
    said = doctor_elsewhere(options=("-S",), PYTHONPATH=where)
    assert said["facts"]["engine"] == "numba is not installed"
    assert said["facts"]["engines"]["reference"] == ""
    assert "torch" not in said["facts"]["engines"]
    assert sorted(what.split()[0] for what in problems(said)) == ["numba", "torch"]


def test_a_bad_thread_count_is_found(monkeypatch):
    monkeypatch.setenv("BLURPHYS_NUM_THREADS", "many")
    text = doctor()
    assert text.count("PROBLEM") == 1
    assert "'many'" in text


def test_an_optional_package_that_does_not_import_is_found(tmp_path):
    """Its version alone says nothing."""
    (tmp_path / "pylops").mkdir()
    (tmp_path / "pylops" / "__init__.py").write_text("raise OSError('a library is of another version')")
    (tmp_path / "pylops-2.3.dist-info").mkdir()
    (tmp_path / "pylops-2.3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pylops\nVersion: 2.3\n")
    path = os.pathsep.join((str(tmp_path), str(Path(bp.__file__).parents[1])))
    said = doctor_elsewhere(PYTHONPATH=path)
    (note,) = [f for f in said["findings"] if "pylops" in f["what"]]
    assert not note["problem"] and "a library is of another version" in note["what"]


# ---- what facts mean: machines that cannot be had here


def _problems(**facts):
    return [f for f in diagnose(Facts(**{"packages": ALL, **facts})) if f.problem]


def test_diagnosis_of_a_healthy_gpu_machine_is_empty():
    facts = Facts(
        packages=ALL,
        cupy_wheels=("cupy-cuda12x",),
        torch_cuda="12.6",
        torch_device="GPU",
        cupy_cuda=12,
        cupy_device="GPU",
        driver=True,
    )
    assert diagnose(facts) == []


@pytest.mark.parametrize("known", [13, None])
def test_diagnosis_of_cupy_and_torch_for_different_cuda(known):
    (found,) = _problems(
        cupy_wheels=("cupy-cuda13x",), torch_cuda="12.6", torch_device="GPU", cupy_cuda=known, driver=True
    )
    assert "CUDA 13" in found.what
    assert "12.6" in found.what
    assert found.fix == "pip uninstall -y cupy-cuda13x && pip install cupy-cuda12x"


def test_diagnosis_of_two_cupys():
    both = ("cupy-cuda12x", "cupy-cuda13x")
    (found,) = _problems(cupy_wheels=both, torch_cuda="13.0", torch_device="GPU", cupy_error="ImportError", driver=True)
    assert "both installed" in found.what
    assert found.fix == "pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install cupy-cuda13x"


def test_diagnosis_of_a_cupy_that_does_not_import():
    (found,) = _problems(
        cupy_wheels=("cupy-cuda12x",), cupy_error="ImportError: libcudart", torch_cuda="12.6", torch_device="GPU"
    )
    assert "libcudart" in found.what


@pytest.mark.parametrize(
    ("facts", "what", "problem"),
    [
        ({"torch_cuda": None, "driver": False}, "CPU build", False),
        ({"torch_cuda": None, "driver": True}, "CPU build", True),
        ({"torch_cuda": "12.6", "driver": True, "visible_devices": ""}, "CUDA_VISIBLE_DEVICES", True),
        ({"torch_cuda": "12.6", "driver": False}, "no NVIDIA driver", False),
        ({"torch_cuda": "12.6", "driver": True}, "although an NVIDIA driver is loaded", True),
    ],
)
def test_diagnosis_of_torch_without_a_gpu(facts, what, problem):
    (found,) = diagnose(Facts(packages=ALL, **facts))
    assert what in found.what
    assert found.problem is problem
    assert found.fix


def test_diagnosis_of_a_gpu_engine():
    """A tensor on a GPU without CuPy is served by the reference: slow, not broken."""
    missing = {"torch cuda": "CuPy is not installed; install cupy-cuda12x"}
    assert [f.problem for f in diagnose(Facts(packages=ALL, torch_device="GPU", engines=missing))] == [False]
    wrong = {"torch cuda": "ArithmeticError: psf_gather differs from the reference by 1e-3"}
    (found,) = _problems(torch_device="GPU", engines=wrong)
    assert "differs" in found.what
