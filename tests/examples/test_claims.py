"""The checks of the papers' claims run, at a size at which their figures mean little, and find what they must."""

import importlib
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "claims"
NAMES = sorted((path.stem for path in FOLDER.glob("c[0-9]*_*.py")), key=lambda name: int(name[1:].partition("_")[0]))
PAGE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
OF_TORCH = ("c3_counts_and_costs", "c4_hqs_slower", "c10_network_parts", "c11_noise")


@pytest.fixture(scope="module")
def claim():
    """Run a claim once; returns its result by the name of the script."""
    found = {}

    def run(name):
        if name in OF_TORCH:
            pytest.importorskip("torch")
        if name not in found:
            found[name] = importlib.import_module(name).run("tiny")
        return found[name]

    return run


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_prints_source_table_and_verdict(claim, name):
    found = claim(name)
    assert found.rows and all(len(row) == len(found.header) for row in found.rows)
    text = str(found)
    for part in (found.said, found.source, found.verdict, found.why, *map(str, found.header)):
        assert part and part in text


def test_every_claim_has_a_script_and_a_section():
    assert [name.partition("_")[0] for name in NAMES] == [f"c{i}" for i in range(1, 12)]
    assert re.findall(r"^## (C\d+)", PAGE, flags=re.MULTILINE) == [f"C{i}" for i in range(1, 12)]
    for name in NAMES:
        assert f"python examples/claims/{name}.py" in PAGE


def test_free_coefficients_reproduce_an_unrelated_picture(claim):
    found = claim("c1_mixture_fits_better")
    assert found.value("GKM, free coefficients", "mirror image dB") > 54.39
    assert found.value("GKM, weights of a PSF", "mirror image dB") < 30
    nearest, simplex = (
        found.value(name, "fitted dB") for name in ("one Gaussian at each pixel", "GKM, weights of a PSF")
    )
    assert simplex >= nearest  # the corners of the simplex are allowed


def test_radii_of_known_blurs(claim):
    found = claim("c2_fixed_point_contracts")
    assert float(found.value("RKR, 1 box atom", "radius of I - A")) == pytest.approx(4 / 3, abs=0.01)  # 1 - 1 x -1/3
    assert found.value("GKM, random weights", "certificate") == "contracts"


def test_counts_of_multiply_accumulates(claim):
    found = claim("c5_rkr_cheaper")
    assert found.value("NonRecursive", "MAC / px") == 2 * sum(2 * j + 1 for j in range(1, 21))
    assert found.value("NonSeparable", "ratio of MAC") == pytest.approx(12340 / 120)


def test_the_cross_scale_sum_is_no_full_expansion(claim):
    for row in claim("c7_cross_scale_fusion").rows[::2]:  # without noise
        assert row[1] < row[2] < row[3] < row[4]
        assert row[5] < row[4] - 1


def test_a_rendered_disk_ranks_the_gaussian_below_it(claim):
    found = claim("c9_learned_kernels")
    assert "RENDERED" in found.source
    assert (
        found.value("no blur", "held out dB")
        < found.value("Gaussian", "held out dB")
        < found.value("disk", "held out dB")
    )


def test_differences_between_seeds_decide():
    short = importlib.import_module("short_training")
    assert short.decided([0.1, 0.12, 0.11]) == 1 and short.decided([-0.1, -0.12, -0.11]) == -1
    assert short.decided([0.1, 0.3, 0.01]) == 0  # of one sign, but within two standard errors
    assert short.decided([0.5, 0.5, -0.01]) == 0  # one seed disagrees


def test_noise_is_of_the_level_that_it_says(claim):
    blurred = claim("c11_noise").rows[0][1:]
    assert [float(value) for value in blurred] == sorted(map(float, blurred), reverse=True)
    assert float(blurred[-1]) < -20 * math.log10(5 / 255) + 0.5


def test_the_command_line():
    done = subprocess.run(
        [sys.executable, str(FOLDER / "c5_rkr_cheaper.py"), "--tiny"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert "verdict" in done.stdout
