"""What an installed blurphys promises: light imports, the names it owns, and types for those who use them."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("blurphys", "synth", "solvers", "nets")
HEAVY = ("torch", "cupy", "numba", "h5py", "matplotlib")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    loaded = run(f"import blurphys, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_numpy_blur_is_light():
    """Using NumPy operators must not load the others either; numba is the NumPy engine's own business."""
    code = """
import sys
import numpy as np
import blurphys as bp
bank = bp.PSFBank(bp.Pupil.disk(split=0.3), max_radius=2.0, step=0.5)
A = bp.DualPixel(np.ones((6, 7)), bank=bank, channels=3)
A.adjoint(A(np.ones((3, 6, 7))))
print([m for m in ("torch", "cupy", "h5py", "matplotlib") if m in sys.modules])
"""
    assert run(code).strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_name_resolves_into_this_repository(name):
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None, f"{name} is not importable as a package"
    assert Path(found.origin).resolve() == ROOT / name / "__init__.py"


@pytest.mark.parametrize("name", NAMES)
def test_types_are_shipped(name):
    assert (ROOT / name / "py.typed").is_file()


def test_public_names_of_the_ground_floor():
    import blurphys as bp

    wanted = {
        *("GKM", "RKR", "PSFStack", "PixelPSF", "Convolution", "DefocusBlur", "DualPixel", "Identity"),
        *("LinearOperator", "stack", "to_dense", "operator_norm", "check", "CheckReport", "tiled"),
        *("psf", "Pupil", "PSFBank", "ThinLens", "gkm_bank"),
    }
    assert wanted <= set(dir(bp))
    assert wanted <= set(bp.__all__)
    for name in bp.__all__:
        assert getattr(bp, name) is not None


def test_every_public_name_is_documented():
    import blurphys as bp

    for name in bp.__all__:
        assert (getattr(bp, name).__doc__ or "").strip(), name


def test_every_requirement_is_pinned_within_its_range():
    """One set of versions is installed by default, so that a newer tool never decides whether the tests pass."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["docs"]]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line) for line in lines)
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pins) == len(lines) > 80  # what the requirements require is pinned too
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
