"""A small network learns on rendered data: on scenes it has not seen it beats the photograph, and a wrong operator."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.profiles import NIGHTLY

SCRIPT = Path(__file__).parents[3] / "examples" / "learn_to_deblur.py"
MARGIN_DB = 0.15  # the short form itself gains half a decibel; here it takes fewer steps


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("learn_to_deblur", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(("name", "steps"), [("nrknet", 100), *([("gkmnet", 120)] if NIGHTLY else [])])
def test_it_beats_the_photograph_and_the_wrong_operator(script, name, steps, tmp_path):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scores = script.learn(name, tmp_path, form=replace(script.SHORT, samples=32), steps=steps)
    finally:
        torch.set_num_threads(threads)
    assert scores[name] > scores["blurred"] + MARGIN_DB, scores
    assert scores[name] > scores["fixed point, mean blur"] + 1, scores


def test_no_scene_is_in_two_splits(script):
    assert not set(script.PHOTOGRAPHS) & set(script.HELD_OUT)
    assert "stereo_motorcycle" not in script.PHOTOGRAPHS
