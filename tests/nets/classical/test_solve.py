"""`blurphys solve`: an image or a sample of a dataset in, the restored image and an honest report out."""

import dataclasses
import inspect
import json
import warnings

import numpy as np
import pytest

import blurphys as bp
import solvers
import synth
from nets.classical.problem import from_dataset
from nets.classical.solve import METHODS, PRIORS, RHO, SLOW, solve
from synth.io import read_image, write_image
from tests.nets.classical.running import run

SIZE = (40, 56)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A blurred photo with its operator, and a dataset."""
    path = tmp_path_factory.mktemp("solve")
    scene = synth.scenes.stereo_motorcycle().window(150, 250, *SIZE)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    synth.generate(scene, path / "data.h5", camera=camera, samples=2, seed=0, model="gather")
    with synth.open(path / "data.h5") as data:
        sample = data[0]
    A = bp.DefocusBlur(sample["defocus_map"], bank=camera.bank())
    bp.save(A, path / "blur.h5")
    write_image(path / "y.png", A(sample["all_in_focus"]), bits=16)
    write_image(path / "truth.png", sample["all_in_focus"], bits=16)
    mask = np.ones(SIZE)
    mask[10:14, 20:26] = 0
    write_image(path / "mask.png", mask)
    return path


def rms(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_a_sample(method, folder):
    given = from_dataset(folder / "data.h5", 0, "combined", layered=method == "layered")
    limit = {} if method == "neumann" else {"max_iterations": 3}
    x, solution, report = solve(given, method, **limit)
    assert x.shape == (3, *SIZE)
    assert x.dtype == given.y.dtype
    assert np.isfinite(x).all()
    assert report.iterations == solution.iterations <= 3
    assert report.status == solution.status.name
    assert len(report.residuals) == report.iterations + 1
    assert report.operator_applications >= report.iterations


@pytest.mark.parametrize("prior", PRIORS)
def test_every_prior(prior, folder):
    given = from_dataset(folder / "data.h5", 0, "combined")
    *_, report = solve(given, "hqs", prior=prior)
    assert report.psnr_restored > report.psnr_blurred + 1


def test_two_views_are_solved_together(folder):
    given = from_dataset(folder / "data.h5", 1, "dual")
    x, _, report = solve(given, "hqs")
    assert given.y.shape == (6, *SIZE)
    assert x.shape == (3, *SIZE)
    assert report.psnr_restored > 24


def test_an_image_with_its_operator(folder, tmp_path):
    out, report, plot = (tmp_path / name for name in ("x.png", "report.json", "plot.png"))
    outcome = run(
        folder / "y.png", "--operator", folder / "blur.h5", "--method", "cgls", "--max-iterations", 30,
        "--out", out, "--bits", 16, "--report", report, "--plot", plot,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    y, x, truth = (read_image(path) for path in (folder / "y.png", out, folder / "truth.png"))
    assert rms(x, truth) < 0.5 * rms(y, truth)
    said = json.loads(report.read_text())
    assert said["method"] == "cgls"
    assert said["psnr_restored"] is None
    assert said["residuals"][-1] < said["residuals"][0]
    assert plot.read_bytes()[:4] == b"\x89PNG"
    for word in ("cgls", "status", "residual", "applications", str(out)):
        assert word in outcome.output


def test_the_scene_around_the_frame(folder, tmp_path):
    """Blurred from a larger scene, so that no boundary rule is right."""
    full = np.asarray(synth.scenes.stereo_motorcycle().window(140, 240, 60, 76).all_in_focus)
    psf = bp.psf.gaussian(1.5, 9).astype(full.dtype)
    y = bp.Convolution(psf, shape=(3, 60, 76))(full)[:, 10:-10, 10:-10]
    write_image(tmp_path / "y.png", y, bits=16)
    bp.save(bp.Convolution(psf, shape=(3, 40, 56)), tmp_path / "blur.h5")
    errors = []
    for extra in ([], ["--unknown-boundary"]):
        out = tmp_path / f"x{len(errors)}.npy"
        outcome = run(tmp_path / "y.png", "--operator", tmp_path / "blur.h5", "--method", "cgls",
                      "--max-iterations", 40, "--out", out, *extra)  # fmt: skip
        assert outcome.exit_code == 0, outcome.output
        difference = np.load(out) - full[:, 10:-10, 10:-10]
        difference[:, 6:-6, 6:-6] = 0
        errors.append(rms(difference, 0))
    assert errors[1] < 0.7 * errors[0]


def test_a_mask(folder, tmp_path):
    y = read_image(folder / "y.png")
    y[:, 10:14, 20:26] = 1.0  # saturated
    write_image(tmp_path / "y.png", y, bits=16)
    truth = read_image(folder / "truth.png")
    errors = []
    for extra in ([], ["--mask", folder / "mask.png"]):
        out = tmp_path / f"x{len(errors)}.npy"
        outcome = run(tmp_path / "y.png", "--operator", folder / "blur.h5", "--out", out, *extra)
        assert outcome.exit_code == 0, outcome.output
        errors.append(rms(np.load(out), truth))
    assert errors[1] < 0.7 * errors[0]


def test_divergence_is_exit_code_1_and_the_best_iterate(folder, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run(folder / "y.png", "--operator", folder / "blur.h5", "--method", "fixed-point", "--damping", 3,
                      "--max-iterations", 200, "--out", tmp_path / "x.png")  # fmt: skip
    assert outcome.exit_code == 1, outcome.output
    assert "DIVERGED" in outcome.output
    assert (tmp_path / "x.png").exists()


def test_an_operator_that_leaves_occlusion_out_says_so_once(folder, tmp_path):
    """Its blur is right inside surfaces only, and restoring may make such an image worse."""
    scene = synth.scenes.slanted_planes(24, 32, seed=0)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    synth.generate(scene, tmp_path / "layered.h5", camera=camera, samples=1, seed=0, slabs=4)
    quick = ("--method", "cgls", "--max-iterations", 2)
    for data, count in ((tmp_path / "layered.h5", 1), (folder / "data.h5", 0)):
        outcome = run(data, *quick, "--out", tmp_path / f"{count}.png", "--report", tmp_path / f"{count}.json")
        assert outcome.exit_code == 0, outcome.output
        assert outcome.output.count("note: the data were rendered with model 'layered', this operator") == count
        source = json.loads((tmp_path / f"{count}.json").read_text())["source"]
        assert ("gather form" in source) == bool(count)
    bp.save(bp.Identity((3, 24, 32)), tmp_path / "own.h5")
    given = from_dataset(tmp_path / "layered.h5", 0, "combined", bp.load(tmp_path / "own.h5"))
    assert given.notes == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["."], "expected one file, got the folder .: name one of its 3 HDF5 files, blur.h5 for instance"),
        (["y.png"], "an image needs its blur"),
        (["y.png", "--operator", "no.h5"], "no file"),
        (["y.png", "--operator", "y.png"], "not an HDF5 file"),
        (["y.png", "--operator", "data.h5"], "synth.open"),
        (["y.png", "--operator", "nothing:here"], "no module"),
        (["no.png", "--operator", "blur.h5"], "no file"),
        (["mask.png", "--operator", "small.h5"], "at this size"),
        (["data.h5", "--sample", "9"], "one of the 2 samples"),
        (["data.h5", "--view", "top"], "combined, left, right or dual"),
        (["data.h5", "--method", "magic"], "expected one of fixed-point"),
        (["data.h5", "--method", "cgls", "--rho", "0.1"], "--rho is an option of hqs, admm, layered, not of cgls"),
        (["data.h5", "--method", "hqs", "--rho", "-1"], "rho must be a positive"),
        (["data.h5", "--prior", "magic"], "expected one of tv"),
        (["data.h5", "--noise-level", "-1"], "--noise-level"),
        (["data.h5", "--method", "neumann", "--terms", "-1"], "terms must be"),
        (["data.h5", "--method", "gmres", "--unknown-boundary"], "gmres cannot"),
        (["data.h5", "--out", "x.tif"], ".png or .npy"),
        (["data.h5", "--out", "nowhere/x.png"], "no folder"),
        (["data.h5", "--bits", "12"], "8 or 16"),
        (["data.h5", "--mask", "big.png"], "--mask: expected 40 x 56"),
        (["data.h5", "--out", "y.png"], "--force"),
        (["data.h5", "--out", "x.png", "--plot", "x.png"], "different files"),
        (["truth.png", "--operator", "blur.h5", "--view", "left", "--mask", "truth.png", "--tol", "nan"], "tol"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    bp.save(bp.Identity((3, 8, 8)), "small.h5", overwrite=True)
    write_image("big.png", np.ones((50, 60)), overwrite=True)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    outcome = run(*arguments)
    assert outcome.exit_code == 2, outcome.output
    assert words in " ".join(outcome.output.split())
    assert "Traceback" not in outcome.output
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_richardson_lucy_lives_with_read_noise(folder):
    given = from_dataset(folder / "data.h5", 0, "combined")
    dark = given.y - np.quantile(given.y, 0.05) + 0.004 * np.random.default_rng(0).normal(size=given.y.shape)
    y = np.maximum(dark, -0.01).astype(given.y.dtype)
    assert (y < 0).any()
    x, solution, _ = solve(dataclasses.replace(given, y=y, noise_level=None), "richardson-lucy", max_iterations=8)
    assert x.min() >= 0
    assert solution.residuals[-1] < 0.2 * solution.residuals[0]


def test_nothing_done_is_exit_code_1(folder, tmp_path):
    outcome = run(folder / "data.h5", "--rho", 1e9, "--out", tmp_path / "out.png")
    assert outcome.exit_code == 1
    assert "STALLED: No step came closer" in outcome.output


def test_a_folder_without_data_is_no_target(tmp_path):
    outcome = run(tmp_path)
    assert outcome.exit_code == 2
    assert "which holds no HDF5 file" in outcome.output


@pytest.fixture(scope="module")
def noisy(folder):
    """A sample with more noise than the lens blurs away, whose strength the file knows."""
    scene = synth.scenes.stereo_motorcycle().window(150, 250, *SIZE)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    noise = dataclasses.replace(camera.noise, shot=20 * camera.noise.shot)
    path = folder.parent / "solve-noisy.h5"
    synth.generate(scene, path, camera=dataclasses.replace(camera, noise=noise), samples=1, seed=0, model="gather")
    return path


@pytest.mark.parametrize("method", [name for name, takes in METHODS.items() if "noise_level" in takes])
def test_a_method_without_a_prior_stops_at_the_noise_of_the_sample(method, noisy):
    given = from_dataset(noisy, 0, "combined")
    with synth.open(noisy) as data:
        noise, clean = data.camera(0).noise.combined, data[0]["all_in_focus"]
    assert given.noise_level == pytest.approx(float(np.sqrt(noise.variance(clean).mean())), rel=0.05)
    _, solution, report = solve(given, method)
    assert solution.status in (solvers.Status.NOISE_LEVEL, solvers.Status.MAX_ITERATIONS)  # three terms may be too few
    assert report.noise_level == report.options.get("noise_level") == (None if method in SLOW else given.noise_level)
    assert report.psnr_restored > report.psnr_blurred - 1
    *_, chosen = solve(given, method, noise_level=1.0)
    assert (chosen.noise_level, chosen.iterations) == (1.0, 0)


@pytest.mark.parametrize("method", ["cgls", "lsqr", "gmres"])
def test_the_noise_of_the_sample_saves_an_image_that_the_limit_wrecks(method, noisy):
    given = from_dataset(noisy, 0, "combined")
    *_, stopped = solve(given, method)
    *_, exhausted = solve(dataclasses.replace(given, noise_level=0.0), method)
    assert stopped.status == "NOISE_LEVEL"
    assert exhausted.noise_level is None
    assert stopped.psnr_restored > exhausted.psnr_restored + 5


@pytest.mark.parametrize("method", ["hqs", "admm", "fista"])
def test_a_prior_is_weighed_by_the_noise(method, noisy):
    given = from_dataset(noisy, 0, "combined")
    *_, report = solve(given, method)
    assert report.options["strength"] == pytest.approx(15 * given.noise_level**2)
    assert (report.noise_level, report.options["prior"]) == (given.noise_level, "tv")
    assert "noise_level" not in report.options
    *_, own = solve(given, method, strength=1e-3)
    assert (own.noise_level, own.options["strength"]) == (None, 1e-3)
    *_, unknown = solve(dataclasses.replace(given, noise_level=None), method)
    assert (unknown.noise_level, unknown.options["strength"]) == (None, "auto")


def test_the_command_says_which_noise_was_used(noisy, folder, tmp_path):
    level = f"{from_dataset(noisy, 0, 'combined').noise_level:.3g}"
    for extra, words in (
        ((), f"noise     standard deviation {level} in linear light, that of the sample"),
        (("--noise-level", 0.5), "noise     standard deviation 0.5 in linear light, --noise-level"),
    ):
        for method in ("cgls", "hqs"):
            outcome = run(noisy, "--method", method, "--out", tmp_path / "x.png", "--force", *extra)
            assert outcome.exit_code == 0, outcome.output
            assert words in outcome.output
            assert ("sets strength" in outcome.output) == (method == "hqs")
            assert "note:" not in outcome.output
    outcome = run(noisy, "--method", "cgls", "--out", tmp_path / "x.png", "--force", "--noise-level", 0)
    assert "NOISE_LEVEL" not in outcome.output
    for method, count in (("cgls", 1), ("lsqr", 1), ("richardson-lucy", 0), ("hqs", 0), ("fista", 0)):
        outcome = run(folder / "y.png", "--operator", folder / "blur.h5", "--method", method, "--max-iterations", 2,
                      "--out", tmp_path / "x.png", "--force")  # fmt: skip
        assert outcome.exit_code == 0, outcome.output
        assert outcome.output.count("note: ") == outcome.output.count("--noise-level") == count
        assert ("such as " + method in outcome.output) == bool(count)
    outcome = run(folder / "y.png", "--operator", folder / "blur.h5", "--method", "richardson-lucy", "--tv-strength",
                  1e-3, "--max-iterations", 2, "--out", tmp_path / "x.png", "--force")  # fmt: skip
    assert "note: " not in outcome.output


def test_a_plan_that_was_carried_out_does_not_look_unfinished(noisy, tmp_path):
    report = tmp_path / "report.json"
    for extra, words in (
        ((), "status    MAX_ITERATIONS: the 4 steps of the schedule of rho, its normal end."),
        (("--method", "neumann", "--noise-level", 0), "MAX_ITERATIONS: the 3 terms of the series, its normal end."),
        (("--method", "cgls", "--noise-level", 1), "NOISE_LEVEL: The observed image is as near to its own blur"),
        (("--max-iterations", 3), "The iteration limit came before the tolerance"),
        (("--rho", 0.01, "--max-iterations", 1), "The iteration limit came before the tolerance"),
    ):
        outcome = run(noisy, "--out", tmp_path / "x.png", "--report", report, "--force", *extra)
        assert outcome.exit_code == 0, outcome.output
        assert words in outcome.output
        assert json.loads(report.read_text())["advice"] in outcome.output


def test_the_default_schedule_is_the_beginning_of_the_solvers(folder):
    report = solve(from_dataset(folder / "data.h5", 0, "combined"), "hqs")[2]
    assert report.options["rho"] == RHO == inspect.signature(solvers.hqs).parameters["rho"].default[: len(RHO)]
    said = " ".join(run("--help").output.replace("│", " ").split())
    assert ", ".join(f"{rho:g}" for rho in RHO) in said


def test_the_residual_is_that_of_the_image_written(folder, tmp_path):
    report = tmp_path / "report.json"
    outcome = run(folder / "y.png", "--operator", folder / "blur.h5", "--method", "fixed-point", "--damping", 3,
                  "--max-iterations", 200, "--out", tmp_path / "x.npy", "--report", report)  # fmt: skip
    said = json.loads(report.read_text())
    y, A = read_image(folder / "y.png"), bp.load(folder / "blur.h5")
    true = np.linalg.norm(y - A(np.load(tmp_path / "x.npy"))) / np.linalg.norm(y)
    assert said["residual"] == pytest.approx(true, rel=1e-4)
    assert said["residual"] < said["residuals"][-1]
    last = said["residuals"][-1]
    assert f"{said['residual']:.3g} in the image written ({last:.3g} at the last step)" in outcome.output


def test_the_output_names_what_is_measured(folder, tmp_path):
    outcome = run(folder / "data.h5", "--out", tmp_path / "x.png")
    assert "dB after, in linear light (demo and evaluate: in sRGB)" in outcome.output


def test_pixels_that_the_mask_hides_may_hold_anything(folder, tmp_path):
    y = read_image(folder / "y.png")
    observed = np.ones(SIZE, bool)
    observed[10:14, 20:30] = False
    write_image(tmp_path / "mask.png", np.broadcast_to(observed, (3, *SIZE)).astype(np.float32))
    results = []
    for fill in (0.0, np.nan):
        np.save(tmp_path / "y.npy", np.where(observed, y, fill).transpose(1, 2, 0))
        command = (tmp_path / "y.npy", "--operator", folder / "blur.h5", "--method", "cgls", "--max-iterations", 3)
        outcome = run(*command, "--mask", tmp_path / "mask.png", "--out", tmp_path / "x.npy", "--force")
        assert outcome.exit_code == 0, outcome.output
        results.append(np.load(tmp_path / "x.npy"))
    assert np.array_equal(*results)
    refused = run(*command, "--out", tmp_path / "no.npy")
    assert refused.exit_code == 2 and "A mask hides pixels" in refused.output
