"""The benchmark: opponents compute what we compute; its files say what was measured. No time is asserted."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from blurphys import cli
from blurphys.bench.measure import floor, memory, sweep, timing
from blurphys.bench.problems import opponents
from blurphys.bench.problems.catalogue import NAMES, contestants, problem
from blurphys.bench.problems.contestant import ADJOINT, BOTH, FORWARD, WAYS, Contestant
from blurphys.bench.problems.problem import OURS, REFERENCES, Problem
from blurphys.bench.problems.work import Work, dual_pixel_work, gkm_work, rkr_work
from blurphys.bench.report import plot, tables, targets
from blurphys.bench.run import Plan

SHAPE = (48, 61)
OPTIONAL = ("deepinv", "PyLops", "OpenCV")
FLOOR = {"bandwidth": 1e9, "rate": 1e10, "method": "made up", "threads": 1}


def silent(message: str, steps: int) -> None:
    """Show no progress."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Tiny images on a busy machine: more threads only wait for each other, and no time is looked at.

    Collecting garbage before each timed call, in a process full of tests, takes longer than all the rest.
    """
    import torch

    monkeypatch.setattr(timing.gc, "collect", lambda *_: 0)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_every_opponent_computes_what_we_compute(name, request):
    if name == "gkm" and importlib.util.find_spec("deepinv"):
        request.getfixturevalue("deepinv")
    task = problem(name, SHAPE)
    result = timing.measure(task, 1, silent)
    assert tuple(e.name for e in result.entries[:2]) == OURS
    for entry in result.entries:
        assert not entry.left_out
        if entry.skipped:
            assert any(word in entry.name for word in OPTIONAL), (entry.name, entry.skipped)
            assert "not installed" in entry.skipped
            continue
        assert max(entry.difference.values()) <= timing.TOLERANCE, entry
        assert all(len(seconds) == 1 for seconds in entry.seconds.values())
        assert entry.seconds.keys() == entry.difference.keys()
    assert sum(bool(e.seconds) for e in result.entries) >= 4
    torch = [e for e in result.entries if "torch" in e.name]
    assert len(torch) >= 3
    assert all(set(e.seconds) == set(WAYS) for e in torch if e.name != "torch dense grouped")
    assert result.judge(FORWARD).name == result.judge(ADJOINT).name == OURS[0]
    assert result.judge(BOTH).name == OURS[1]


@pytest.mark.parametrize("name", NAMES)
def test_inputs_can_tell_a_wrong_opponent(name):
    """A flipped image must not pass for the result: maps, taps and PSFs are not symmetric."""
    (_, ours), *_ = contestants(problem(name, SHAPE))
    assert isinstance(ours, Contestant)
    y = ours.forward()
    for axis in (-1, -2):
        assert timing._gap(np.flip(y, axis), y, 0) > 100 * timing.TOLERANCE
    assert timing._gap(y[:, 1:], y, 0) == float("inf")
    assert timing._gap(np.full_like(y, np.nan), y, 0) == float("inf")
    assert timing._gap(np.pad(y, ((0, 0), (0, 0), (1, 0)))[..., :-1], y, 0) > 100 * timing.TOLERANCE


@pytest.mark.parametrize("wrong", ["image", "maps", "kernels"])
def test_each_gradient_is_compared(wrong):
    truth = {name: np.arange(1.0, 13.0).reshape(1, 3, 4) for name in ("image", "maps", "kernels")}
    found = truth | {wrong: truth[wrong] + 0.12}
    contestant = Contestant(name="a", family="opponent", forward=lambda: None)
    assert timing._difference(truth, truth, contestant) == 0
    assert timing._difference(found, truth, contestant) == pytest.approx(0.01)
    inside = np.zeros((1, 3, 4))
    inside[..., 1] = 1
    partial = truth | {"kernels": truth["kernels"] * inside}
    assert timing._difference(partial, truth, contestant) == 1
    assert timing._difference(partial, truth, replace(contestant, inside=inside)) == 0


def test_a_wrong_opponent_is_caught_and_not_timed(monkeypatch):
    right = opponents.recursive_slices
    monkeypatch.setattr(opponents, "recursive_slices", lambda gamma, atoms: right(gamma, atoms.flip(-1)))
    result = timing.measure(problem("rkr", SHAPE), 1, silent)
    (wrong,) = [e for e in result.entries if not e.right]
    assert wrong.name == "torch shifted slices"
    assert "differs from ours" in wrong.skipped
    assert not wrong.seconds


def test_an_opponent_that_fails_is_reported_not_raised(monkeypatch):
    def fails(*arguments):
        def run(x):
            raise RuntimeError("no kernel for this device")

        return run

    monkeypatch.setattr(opponents, "recursive_depthwise", fails)
    result = timing.measure(problem("rkr", SHAPE), 1, silent)
    (entry,) = [e for e in result.entries if e.name == "torch depthwise"]
    assert "no kernel for this device" in entry.skipped


def test_a_package_that_does_not_load_is_reported_not_raised(monkeypatch, tmp_path):
    (tmp_path / "deepinv.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "deepinv"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    absent = {name: who for name, who in contestants(problem("gkm", SHAPE)) if name.startswith("deepinv")}
    assert len(absent) == 2
    for reason in absent.values():
        assert reason == "deepinv is installed but does not load: operator torchvision::nms does not exist"


def _task(entries=(), shape=(720, 1280), name="rkr", map_bytes=40, image_bytes=10):
    work = {way: Work(1_000_000, 1_000_000) for way in WAYS}
    return Problem(
        name=name,
        title="P, Q",
        shape=shape,
        levels=20,
        image_bytes=image_bytes,
        map_bytes=map_bytes,
        work=work,
        entries=tuple(entries),
    )


def _fake(name: str, seen: list[str], value: float = 1.0) -> Contestant:
    def run():
        seen.append(name)
        return np.full((1, 2, 2), value)

    return Contestant(name=name, family="ours", forward=run, adjoint=lambda: run)


def test_order_rotates_and_ratios_are_paired(monkeypatch):
    monkeypatch.setattr(timing, "_time", lambda run, device: (run(), 1.0)[1])
    seen = []
    task = _task([(name, lambda name=name: _fake(name, seen)) for name in ("a", "b", "c")])
    timing.measure(task, 3, silent)
    assert seen == [*"aabbcc", *"aabbcc", *"bbccaa", *"ccaabb"]
    assert timing.ratio([2.0, 8.0, 30.0], [1.0, 2.0, 3.0]) == 4.0
    assert timing.ratio([2.0], [1.0, 2.0, 3.0]) == 2.0


def test_a_slow_way_runs_in_the_first_round_only_and_an_excluded_one_never(monkeypatch):
    times = {"fast": 1.0, "slow": 2 * timing.PATIENCE}

    def clock(run, device):
        before = len(seen)
        run()
        return times[seen[before]]

    monkeypatch.setattr(timing, "_time", clock)
    seen = []
    task = _task([(name, lambda name=name: _fake(name, seen)) for name in times])
    result = timing.measure(task, 3, silent, excluded={("fast", ADJOINT): "too slow"})
    fast, slow = result.entries
    assert {way: len(s) for way, s in fast.seconds.items()} == {FORWARD: 3}
    assert fast.left_out == {ADJOINT: "too slow"}
    assert {way: len(s) for way, s in slow.seconds.items()} == {FORWARD: 1, ADJOINT: 1}


def test_opponents_beyond_the_limits_are_left_out_and_ours_never():
    expected = {("a", FORWARD): 3.0, ("a", BOTH): 31.0, (OURS[0], FORWARD): 99.0, (REFERENCES[0], FORWARD): 99.0}
    needs = {("b", FORWARD): 8e9, ("b", ADJOINT): 6e9, (OURS[1], BOTH): 99e9}
    left = sweep.exclusions(expected, needs, 30.0, int(10e9))
    assert left.keys() == {("a", BOTH), (REFERENCES[0], FORWARD), ("b", FORWARD)}
    assert "31 s" in left["a", BOTH] and "30 s" in left["a", BOTH]
    assert "8 GB" in left["b", FORWARD] and "10 GB" in left["b", FORWARD]
    assert sweep.exclusions({}, needs, 30.0, None) == {}


def _timed(seconds: dict[str, dict[str, float]], shape=(720, 1280), name="rkr", peaks=None, map_bytes=40):
    """A result with made-up times."""
    entries = []
    for who, ways in seconds.items():
        family = "ours" if who.startswith("ours") else "opponent"
        entry = timing.Entry(
            who, family, difference=dict.fromkeys(ways, 0.0), seconds={w: [s] for w, s in ways.items()}
        )
        entry.peak_bytes = (peaks or {}).get(who, {})
        entries.append(entry)
    return timing.Result(_task(shape=shape, name=name, map_bytes=map_bytes), entries)


def test_sweep_goes_up_in_size_and_stops_slow_opponents(monkeypatch):
    asked = []

    def measure(task, repeat, on_step, *, ways, excluded):
        asked.append((task.shape, repeat, ways, set(excluded)))
        pixels = task.shape[0] * task.shape[1]
        names = {OURS[0]: 1e-8, "slow": 1e-6}
        kept = {n: {FORWARD: s * pixels} for n, s in names.items() if (n, FORWARD) not in excluded}
        return _timed(kept, shape=task.shape)

    monkeypatch.setattr(sweep, "measure", measure)
    monkeypatch.setattr(sweep, "problem", lambda name, shape, device: _task(shape=shape))
    main = _timed({OURS[0]: {FORWARD: 1e-4}, "slow": {FORWARD: 1e-2}}, shape=(100, 100))
    points = sweep.sweep(main, [(400, 400), (50, 50), (100, 100), (200, 200)], lambda size: 2, 0.1, silent)
    assert [p.task.shape for p in points] == [(50, 50), (100, 100), (200, 200), (400, 400)]
    assert points[1] is main
    ways = (FORWARD,)
    assert asked == [
        ((50, 50), 2, ways, set()),
        ((200, 200), 2, ways, set()),
        ((400, 400), 2, ways, {("slow", FORWARD)}),
    ]
    assert sweep.growth(points, OURS[0], smallest=0) == pytest.approx(1.0)
    assert sweep.growth(points, OURS[0]) is None


@given(st.floats(0.5, 2.0), st.floats(1e-9, 1e-3))
def test_growth_finds_the_exponent(power, factor):
    points = [_timed({"a": {FORWARD: factor * (n * n) ** power}}, shape=(n, n)) for n in (128, 600, 1000, 3000)]
    assert sweep.growth(points, "a") == pytest.approx(power, rel=1e-6)
    points[0].entries[0].seconds[FORWARD] = [1e9]  # below a quarter of a megapixel: not looked at
    assert sweep.growth(points, "a") == pytest.approx(power, rel=1e-6)


def test_targets_take_the_fastest_opponent_and_say_by_how_much_they_are_missed():
    result = _timed(
        {
            OURS[0]: {FORWARD: 1.0, ADJOINT: 1.0},
            OURS[1]: {FORWARD: 1.0, ADJOINT: 1.0, BOTH: 2.0},
            "torch dense bank": {FORWARD: 9.0, BOTH: 40.0},
            "torch dense grouped": {FORWARD: 12.0, BOTH: 30.0},
            "torch separable": {BOTH: 10.0},
        },
        name="gkm",
        peaks={OURS[1]: {BOTH: 75}},
    )
    fewer = {"gkm": {"levels": 11, "map_bytes": 20, "peak_bytes": 53}}
    found = {(f.what, f.target): f for f in targets.findings([result], fewer, {})}
    dense = found[FORWARD, ">= 10x best of torch dense bank, torch dense grouped"]
    assert (dense.value, dense.verdict) == (9.0, "missed")
    assert dense.measured == "9.0x (torch dense bank), 90% of the target"
    both = found[BOTH, ">= 10x best of torch dense bank, torch dense grouped"]
    assert (both.value, both.verdict) == (15.0, "met")
    assert found[BOTH, ">= 10x torch separable"].value == 5.0
    absent = found[ADJOINT, ">= 15x best of deepinv direct, deepinv FFT"]
    assert (absent.value, absent.verdict) == (None, "n/a")
    assert "not measured" in absent.measured
    peak = found[BOTH, "peak <= 4 images + the map gradient"]
    assert (peak.value, peak.verdict) == (3.5, "met")
    same = found[BOTH, "the same for any number of levels (within 0.5 image)"]
    assert (round(same.value, 3), same.verdict) == (0.2, "met")
    assert all(f.problem == "gkm" for f in found.values())


def test_every_target_names_someone_who_takes_part():
    for name in NAMES:
        entries = [who for who, _ in problem(name, SHAPE).entries]
        for task, _, who, _ in targets.SPEED:
            assert task != name or set(who) <= set(entries)


def test_work_by_hand():
    # 10 pixels, 3 colours, float32. RKR, J = 3, 3 taps: image 30 + maps 30 + result 30 values; for each colour value
    # 1 for the first level and 3 + 3 + 1 for each other one.
    work = rkr_work(10, 3, 3, 3)
    assert work[FORWARD] == work[ADJOINT] == Work(4 * 90, 30 * 15)
    # backward reads image, maps and cotangent, writes the gradients of image and maps
    assert work[BOTH] == Work(4 * (90 + 90 + 60), 2 * 30 * 15 + 30 * 3)
    # GKM with half-widths 0, 1, 2: two vertical sums; Dirac: map only; h = 1: 2 + 1 + 2 + map; h = 2: 3 + 2 + 3 + map
    assert gkm_work(10, 3, (0, 1, 2))[FORWARD] == Work(4 * 90, 30 * (2 + 1 + 6 + 9))
    # dual pixel, 2 views, 57 taps over all pixels and views: image 30 + map 10 + result 60 values
    assert dual_pixel_work(10, 3, 2, 57)[FORWARD] == Work(4 * 100, 3 * 57)
    assert Work(1000, 10).seconds(bandwidth=500.0, rate=10.0) == 2.0
    assert Work(1000, 90).seconds(bandwidth=500.0, rate=10.0) == 9.0


def test_taps_of_the_dual_pixel_are_counted():
    """All pixels in focus see one tap of each view; the scene's own count is checked pixel by pixel."""
    from blurphys import PSFBank, Pupil
    from blurphys.bench.problems import dual_pixel

    bank = PSFBank(Pupil.disk(split=0.5), max_radius=20.0, step=1.0)
    radii = dual_pixel._radii(SHAPE, 20)
    assert radii.min() < -10 and radii.max() > 10
    taps = 0
    for view in dual_pixel.VIEWS:
        stack = bank.psfs(view).astype(np.float32)
        for level in range(41):
            taps += np.count_nonzero(stack[level]) * np.count_nonzero(radii == level - 20)
    pixels = SHAPE[0] * SHAPE[1]
    assert problem("dual-pixel", SHAPE).work[FORWARD] == dual_pixel_work(pixels, 3, 3, taps)[FORWARD]


def test_floor_is_measured():
    found = floor.measure_floor(megabytes=1, steps=2000)
    assert found["bandwidth"] > 1e7
    assert found["rate"] > 1e6
    assert "1 MB" in found["method"]


def test_arithmetic_of_the_floor_is_done():
    """a = a v + v, four times a step, in each of the chains that start at 0, 1, 2, ...; the sum of one lane."""
    starts = np.arange(floor.CHAINS, dtype=np.float64)
    for steps in (1, 2):
        for _ in range(floor.DEEP):
            starts = starts * 0.5 + 0.5
        for lanes in (4, floor._lanes()):
            assert floor._chains(lanes)(steps, np.float32(0.5)) == pytest.approx(starts.sum(), rel=1e-6)


def test_peak_memory_counts_what_a_call_allocates():
    megabytes = 24
    run = lambda: np.ones(megabytes * 2**17)  # noqa: E731
    peak = memory.peak(run)
    if peak is None:
        pytest.skip("peak memory needs Linux's /proc")
    assert megabytes * 2**20 <= peak < (megabytes + 8) * 2**20


def _is_png(path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_plot_is_written_whole(tmp_path, monkeypatch):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    times = {OURS[0]: {FORWARD: 1e-3}, REFERENCES[0]: {FORWARD: 1e-2}, "torch depthwise": {FORWARD: 0.1}}
    sweeps = {name: [_timed(times, shape=(n, n), name=name) for n in (64, 256)] for name in NAMES}
    del sweeps["gkm"][1].entries[2]  # left out at the larger size
    plot.draw(sweeps, FLOOR, tmp_path / "a.png", "a machine")
    assert _is_png(tmp_path / "a.png")

    def fails(*arguments, **options):
        raise OSError("no space")

    monkeypatch.setattr(FigureCanvasAgg, "print_figure", fails)
    with pytest.raises(OSError, match="no space"):
        plot.draw(sweeps, FLOOR, tmp_path / "b.png", "a machine")
    assert os.listdir(tmp_path) == ["a.png"]


def test_plot_shows_everyone_and_the_floor():
    from matplotlib.figure import Figure

    times = {OURS[0]: {FORWARD: 1e-3}, OURS[1]: {FORWARD: 1e-3}, "torch depthwise": {FORWARD: 0.1}}
    results = [_timed(times, shape=(n, n)) for n in (64, 256)]
    axes = Figure().subplots()
    plot._panel(axes, results, FLOOR, plot._looks(plot._names(results)))
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    assert lines.keys() == {"blurphys", "torch depthwise", "floor"}
    assert np.allclose(lines["torch depthwise"], [[64**2 / 1e6, 100.0], [256**2 / 1e6, 100.0]])
    assert np.allclose(lines["floor"][:, 1], 1.0)  # a million bytes at 1 GB/s
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_markdown_has_ratios_only():
    result = _timed({OURS[0]: {FORWARD: 0.002}, "torch depthwise": {FORWARD: 0.13}}, peaks={OURS[0]: {FORWARD: 20}})
    text = tables.markdown([result], targets.findings([result], {}, {}), FLOOR)
    assert "| ours: NumPy | 1.0 | 2.0 | 2.0 |" in text
    assert "| torch depthwise | 65.0 | 130 | - |" in text
    assert "| rkr | forward | >= 50x torch depthwise | 65.0x | met |" in text


def test_small_run_prints_tables_and_writes_files(tmp_path):
    out = tmp_path / "bench.json"
    arguments = ["bench", "--size", "64x96", "--sizes", "48x64", "--only", "rkr", "--repeat", "2", "--out", str(out)]
    arguments += ["--markdown", str(tmp_path / "bench.md")]
    result = CliRunner().invoke(cli.application(), arguments, prog_name="blurphys")
    assert result.exit_code == 0, result.output
    for words in ("RKR, J = 20", "torch depthwise", "forward + backward", "floor", "targets", ">= 50x"):
        assert words in result.stdout
    assert sorted(os.listdir(tmp_path)) == ["bench.json", "bench.md", "bench.png"]
    assert _is_png(tmp_path / "bench.png")
    assert "## RKR, J = 20" in (tmp_path / "bench.md").read_text()
    _check_json(json.loads(out.read_text()))


def _check_json(data):
    assert data["size"] == [64, 96]
    assert data["machine"]["cpu"]
    assert data["machine"]["versions"]["numpy"] == np.__version__
    assert data["floor"]["bandwidth"] > 0 and data["floor"]["rate"] > 0
    (task,) = data["problems"]
    image = 3 * 64 * 96 * 4
    assert (task["image_bytes"], task["map_bytes"], task["levels"]) == (image, 20 * image // 3, 20)
    assert task["fewer_levels"]["levels"] == 10
    rows = {row["name"]: row for row in task["contestants"] if not row["skipped"]}
    for name, row in rows.items():
        for way in WAYS:
            if row[way] is None:
                assert way != FORWARD
                continue
            figures = row[way]
            assert len(figures["seconds"]) == 2
            assert figures["min"] <= figures["median"] == median(figures["seconds"]) <= figures["max"]
            assert figures[f"ratio to {OURS[1]}"] > 0
            assert figures["times_floor"] == pytest.approx(figures["median"] / task["work"][way]["floor_seconds"])
            peak, images = figures["peak_bytes"], figures["images_without_map_gradient"]
            assert (peak is None) == (images is None), name
            if peak is not None:
                assert images == pytest.approx((peak - (task["map_bytes"] if way == BOTH else 0)) / image)
    assert rows[OURS[0]][BOTH] is None
    assert rows["torch depthwise"][BOTH] is not None
    points = data["sweep"]["rkr"]
    assert [p["size"] for p in points] == [[48, 64], [64, 96]]
    assert all(len(p["seconds"][OURS[0]]) == 2 for p in points)
    assert {t["way"] for t in data["targets"]} == set(WAYS)
    assert all(t["met"] in (True, False, None) for t in data["targets"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "720"], ["--size", "'720'"]),
        (["--size", "axb"], ["--size", "'axb'"]),
        (["--size", "32x400"], ["--size", "48x48", "32x400"]),
        (["--sizes", "64x96,1x2"], ["--sizes", "48x48", "1x2"]),
        (["--sizes", "64x96,"], ["--sizes", "''"]),
        (["--sizes", "64x96", "--quick"], ["--sizes", "--quick"]),
        (["--only", "fft"], ["--only", "rkr", "'fft'"]),
        (["--limit", "0"], ["--limit", "> 0", "got 0"]),
        (["--limit", "nan"], ["--limit", "nan"]),
        (["--device", "tpu"], ["--device", "cuda", "'tpu'"]),
        (["--out", "missing/bench.json"], ["missing", "does not exist"]),
        (["--out", "."], ["--out", "folder"]),
        (["--out", "old.json"], ["old.json exists already", "--force"]),
        (["--plot", "old.json"], ["old.json exists already", "--force"]),
        (["--plot", "missing/bench.png"], ["--plot", "missing", "does not exist"]),
        (["--plot", "bench.json"], ["different files", "bench.json"]),
        (["--out", "a.png"], ["different files", "a.png"]),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_text("{}")
    result = CliRunner().invoke(cli.application(), ["bench", *arguments], prog_name="blurphys")
    assert result.exit_code == 2
    assert result.stderr.startswith("blurphys bench: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
    assert os.listdir(tmp_path) == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "{}"


def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(cli.application(), ["bench", "--device", "cuda"], prog_name="blurphys")
    assert result.exit_code == 2
    assert "expected a GPU" in result.stderr and result.stderr.count("\n") == 1


def test_repeat_must_be_positive():
    result = CliRunner().invoke(cli.application(), ["bench", "--repeat", "0"], prog_name="blurphys")
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("options", "shape", "others", "rounds"),
    [
        ([], (720, 1280), 5, 3),
        (["--quick"], (720, 1280), 0, 2),
        (["--size", "64x96"], (64, 96), 0, 3),
        (["--sizes", "64x96,100x100"], (720, 1280), 2, 3),
    ],
)
def test_what_is_measured_by_default(options, shape, others, rounds, tmp_path, monkeypatch):
    plans = []

    def run(plan, advance):
        plans.append(plan)
        raise ValueError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("blurphys.bench.run.run", run)
    result = CliRunner().invoke(cli.application(), ["bench", *options], prog_name="blurphys")
    assert "enough" in result.stderr
    (plan,) = plans
    assert (plan.shape, len(plan.sizes), plan.rounds, plan.names) == (shape, others, rounds, list(NAMES))
    if not options:
        assert {(256, 256), (3000, 4000)} <= set(plan.sizes)


def test_the_progress_bar_counts_every_step(monkeypatch):
    """The steps that a run announces are those that it counts."""
    from blurphys.bench import run as running

    counted = []

    def measure(task, repeat, on_step, **options):
        on_step("", 1)
        for _ in range(repeat):
            on_step("", 1)
        return _timed({OURS[0]: {FORWARD: 1.0}, OURS[1]: {FORWARD: 1.0}}, shape=task.shape, name=task.name)

    for module in (running, sweep):
        monkeypatch.setattr(module, "measure", measure)
        monkeypatch.setattr(module, "problem", lambda name, shape, device: _task(shape=shape, name=name))
    nothing = {"everyone": {}, "fewer": {}}
    monkeypatch.setattr(running, "peaks", lambda names, *arguments: dict.fromkeys(names, nothing))
    monkeypatch.setattr(running, "measure_floor", lambda device, **options: dict(FLOOR))
    for shape in ((64, 96), (480, 640)):
        counted.clear()
        plan = Plan(names=("rkr", "gkm"), shape=shape, sizes=[(50, 50), (1000, 1000), shape], rounds=3)
        outcome = running.run(plan, lambda message, steps: counted.append(steps))
        assert sum(counted) == plan.steps
        assert [len(points) for points in outcome.sweeps.values()] == [3, 3]
