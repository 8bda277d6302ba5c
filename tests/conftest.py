"""The fixtures every test may use, and what a search at random says at its end."""

import gc
import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

from tests.profiles import NIGHTLY  # chooses the profile, before any test asks for it

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread per worker, or the workers fight for the cores
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_finish():
    """Take all that importing and collecting has made out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter, config):
    """Say how each failure of a search at random is found again."""
    seed, failed = config.getoption("--hypothesis-seed"), terminalreporter.stats.get("failed", [])
    if not (NIGHTLY and failed):
        return
    environment = f"BLURPHYS_HYPOTHESIS_PROFILE=nightly BLURPHYS_EXAMPLES={settings().max_examples}"
    terminalreporter.section("failures of the search: the same search again, or one example as a decorator")
    for report in failed:
        terminalreporter.line(f"{environment} .venv/bin/python -m pytest --hypothesis-seed={seed} '{report.nodeid}'")
        for blob in dict.fromkeys(re.findall(r"@reproduce_failure\(.*\)", report.longreprtext)):
            terminalreporter.line(f"    {blob}")


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real photographs that lie beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real photographs (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture
def rng():
    """Seeded random generator."""
    import numpy as np

    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def torchvision_names():
    """Names of operators, with which torchvision can be imported also beside a torch for which it was not built.

    Such a torchvision stops at its import, because two operators of its compiled half are unknown; deepinv and
    torchmetrics, which import it, call neither, so that their names are enough, as long as this fixture lives.
    """
    import torch

    names = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            names.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except ImportError:
        pass
    yield names


@pytest.fixture(scope="session")
def deepinv(torchvision_names):
    """deepinv, or a skip that says that it is missing."""
    return pytest.importorskip("deepinv", reason="deepinv is not installed")


@pytest.fixture(scope="session")
def torchmetrics(torchvision_names):
    """torchmetrics, which is in the development tools: metrics of images by other authors."""
    import torchmetrics

    return torchmetrics
