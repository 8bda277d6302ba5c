"""The result object: its statuses are advice, it raises only when asked to, it draws itself."""

import io
import pickle
import pydoc
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

import blurphys.progress
import solvers
from solvers import ConvergenceError, Solution, Status


def make(**changes):
    fields = {
        "x": np.ones((1, 2, 2)),
        "status": Status.CONVERGED,
        "iterations": 2,
        "residuals": (1.0, 0.1, 0.01),
        "residual": 0.01,
        "item_status": (Status.CONVERGED,),
        "operator_applications": 3,
    }
    return Solution(**{**fields, **changes})


def test_every_status_is_a_sentence_of_its_own():
    assert len({status.value for status in Status}) == len(Status) == len(Status.__members__)
    assert all(status.value[0].isupper() and status.value.endswith(".") for status in Status)
    assert {"CONVERGED", "MAX_ITERATIONS", "DIVERGED", "NONFINITE"} <= set(Status.__members__)


def test_help_and_text_of_a_status_have_its_whole_sentence():
    text = " ".join(pydoc.render_doc(Status, renderer=pydoc.plaintext).replace("|", " ").split())
    for status in Status:
        assert status.value in text
        assert status.__doc__ == status.value
        assert str(status) == f"{status.name}: {status.value}"
    assert pickle.loads(pickle.dumps(Status.STALLED)) is Status.STALLED


def test_the_sentence_of_the_limit_is_true_of_every_solver():
    """It is also the end of cgls, which is advised elsewhere, and of a schedule, which is no failure."""
    assert "cgls" not in Status.MAX_ITERATIONS.value
    for word in ("normal end", "schedule", "noise_level"):
        assert word in Status.MAX_ITERATIONS.value


def test_statuses_are_ordered_from_best_to_worst():
    best = [Status.CONVERGED, Status.NOISE_LEVEL, Status.MAX_ITERATIONS]
    assert list(Status)[:3] == best
    assert list(Status)[-2:] == [Status.DIVERGED, Status.NONFINITE]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_long_solve_shows_how_far_it_is_on_a_terminal_only(stream, monkeypatch):
    said, steps = stream(), []
    monkeypatch.setattr(sys, "stderr", said)
    for patience in (0.0, 1e6):
        monkeypatch.setattr(blurphys.progress, "PATIENCE", patience)
        solvers.fixed_point(lambda x: 0.5 * x, np.ones((1, 2, 2)), on_step=lambda k, _: steps.append(k))
    assert steps == [*range(1, 17), *range(1, 17)]
    assert said.getvalue().count("fixed_point") >= 1 if stream is Terminal else not said.getvalue()
    assert ("relative residual" in said.getvalue()) == (stream is Terminal)


def test_raise_for_status_returns_the_converged_solution():
    solution = make()
    assert solution.converged
    assert solution.raise_for_status() is solution


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.CONVERGED, Status.NOISE_LEVEL)])
def test_raise_for_status_says_the_sentence(status):
    solution = make(status=status)
    assert not solution.converged
    with pytest.raises(ConvergenceError) as caught:
        solution.raise_for_status()
    assert status.value in str(caught.value)
    assert "0.01" in str(caught.value)


def test_it_is_frozen_and_its_text_is_short():
    solution = make()
    with pytest.raises(AttributeError):
        solution.status = Status.DIVERGED
    text = "Solution(CONVERGED after 2 iterations, 3 operator applications, relative residual 0.01)"
    assert repr(solution) == text


def test_plot_draws_the_residuals():
    matplotlib.use("Agg")
    from matplotlib import pyplot

    ax = make().plot(label="cg")
    again = make(residuals=(1.0, 0.5)).plot(ax)
    assert again is ax
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.0, 0.1, 0.01], [1.0, 0.5]]
    assert ax.get_yscale() == "log"
    assert ax.lines[0].get_label() == "cg"
    pyplot.close(ax.figure)


def test_public_names_are_sorted_and_exist():
    assert solvers.__all__ == sorted(solvers.__all__)
    assert all(hasattr(solvers, name) for name in solvers.__all__)


def test_importing_solvers_loads_no_heavy_package():
    heavy = "{'torch', 'cupy', 'numba', 'h5py', 'matplotlib'}"
    code = f"import sys, solvers; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
