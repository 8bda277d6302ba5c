"""The GPU engine: its sources compile for every architecture, and its whole kernels, run on the CPU, are right.

`tests/cuda_shim` compiles the CUDA sources as C++ and runs them block by block, barriers included, under the same host
code that launches them on a GPU. Tests marked `gpu` run them there.
"""

import os
import shutil
import subprocess
import sys
import weakref
from functools import partial

import numpy as np
import pytest
from hypothesis import given

from blurphys.engines import reference
from blurphys.engines.cuda import engine, floor, mixture, recursive
from blurphys.engines.cuda.launch import program, sizes
from blurphys.engines.primitives import FUSED
from tests.cuda_shim.device import CpuDevice, compiler
from tests.cuda_shim.problems import assert_close, problems
from tests.profiles import NIGHTLY, examples

FAMILIES = tuple(FUSED)
few = examples(13)  # a block of 256 fibers takes milliseconds

PROGRAMS = {
    "gaussian": program(
        "gaussian.cu", "float32", HALF=2, KERNELS=2, HALVES=(0, 2), COLOURS=3, OUTPUTS=3, MIX=False, GRADIENTS=False
    ),
    "gaussian mixed": program(
        "gaussian.cu", "float64", HALF=1, KERNELS=1, HALVES=(1,), COLOURS=2, OUTPUTS=3, MIX=True, GRADIENTS=True
    ),
    "recursive": program("recursive.cu", "float32", HALF=1, COLOURS=3, OUTPUTS=3, MIX=False, GRADIENTS=False),
    "recursive mixed": program("recursive.cu", "float64", HALF=1, COLOURS=2, OUTPUTS=3, MIX=True, GRADIENTS=True),
    "atoms": program("recursive_atoms.cu", "float64", HALF=1, COLOURS=1, OUTPUTS=1, MIX=False, GRADIENTS=False),
    "psf hat": program("psf.cu", "float32", WEIGHTS=2, GRADIENTS=False),
    "psf dense": program("psf.cu", "float64", WEIGHTS=1, GRADIENTS=True),
    "psf ones": program("psf.cu", "float32", WEIGHTS=0, GRADIENTS=False),
    "planes": program("planes.cu", "float32"),
}


@pytest.mark.parametrize("architecture", ["compute_80", "compute_90"] if NIGHTLY else ["compute_80"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_source_compiles_for_a_gpu(name, architecture, tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc, the CUDA compiler, is not on the PATH")
    source, ptx = tmp_path / "program.cu", tmp_path / "program.ptx"
    source.write_text(PROGRAMS[name].source)
    command = ["nvcc", "-std=c++17", "-Werror=all-warnings", f"-arch={architecture}", "-ptx", source, "-o", ptx]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert f".target {architecture.replace('compute', 'sm')}" in ptx.read_text()


@pytest.fixture(scope="module")
def gpu_on_cpu(tmp_path_factory):
    """The kernels compiled by g++; one folder for all workers of a run, so that a program is compiled once."""
    if compiler() is None:
        pytest.skip("g++, which compiles the CUDA sources for the CPU, is not on the PATH")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cuda_programs"
    folder.mkdir(exist_ok=True)
    return CpuDevice(folder)


def run(device, name, *arguments):
    return engine.FUNCTIONS[name](device, *arguments)


@few
@given(problem=problems(FAMILIES))
def test_both_directions_equal_the_reference(gpu_on_cpu, problem):
    y = run(gpu_on_cpu, problem.family, problem.x, *problem.arguments)
    assert_close(y, problem.reference(), problem.tolerance)
    x = run(gpu_on_cpu, f"{problem.family}_adjoint", problem.u, *problem.arguments)
    assert_close(x, problem.reference(adjoint=True), problem.tolerance)


@few
@given(problem=problems(FAMILIES))
def test_gradients_equal_autograd(gpu_on_cpu, problem):
    true = problem.gradients()
    wanted = (True,) * len(true)
    found = run(gpu_on_cpu, f"{problem.family}_gradients", problem.x, problem.u, *problem.arguments, wanted)
    for a, b in zip(found, true, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert_close(a, b, 5 * problem.tolerance)  # autograd sums over the image in float32 too


@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_is_wanted_is_computed_and_it_is_the_same(gpu_on_cpu, family):
    problem = example(family)
    name = f"{family}_gradients"
    arguments = (problem.x, problem.u, *problem.arguments)
    everything = run(gpu_on_cpu, name, *arguments, (True,) * (2 + len(problem.differentiable)))
    for i, whole in enumerate(everything):
        wanted = tuple(i == j for j in range(len(everything)))
        found = run(gpu_on_cpu, name, *arguments, wanted)
        assert all(a is None for j, a in enumerate(found) if j != i)
        assert whole is None if found[i] is None else np.allclose(found[i], whole, rtol=0, atol=1e-12)
        assert (found[i] is None) == (whole is None)


def example(family, shape=(2, 3, 33, 70), dtype="float64", boundary="reflect"):
    """A plain problem of a family, two tiles by two."""
    from tests.cuda_shim.problems import Problem

    rng = np.random.default_rng(3)

    def normal(*size):
        return rng.standard_normal(size).astype(dtype)

    rows, cols = shape[-2:]
    arguments = {
        "gaussian_mixture": [normal(3, rows, cols), normal(1, 3, 4), (1, 3, 2), boundary, None],
        "recursive_mixture": [normal(4, rows, cols), normal(3, 1, 3), boundary, False, None],
        "psf_gather": [normal(1, 3, 1, 3, 4), normal(3, rows, cols), boundary],
        "psf_scatter": [normal(1, 3, 1, 3, 4), normal(3, rows, cols), boundary],
        "psf_interpolate": [
            normal(1, 3, 1, 3, 4),
            rng.integers(0, 2, (rows, cols)),
            rng.random((rows, cols)).astype(dtype),
            boundary,
        ],
    }[family]
    if family == "gaussian_mixture":
        for k, half in enumerate((1, 3, 2)):
            arguments[1][:, k, half + 1 :] = 0
    return Problem(family, normal(*shape), normal(*shape), arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_less_shared_memory_changes_the_launches_and_not_the_result(gpu_on_cpu, family):
    """Down to where nothing fits and the reference serves."""
    problem = example(family)
    seen = []
    for limit in (232448, 48 * 1024, 30 * 1024, 1024):
        device = CpuDevice(gpu_on_cpu.folder, shared_limit=limit)
        for adjoint in ("", "_adjoint"):
            y = run(device, family + adjoint, problem.u if adjoint else problem.x, *problem.arguments)
            assert_close(y, problem.reference(bool(adjoint)), 1e-12)
        seen.append([launch for launch in device.launches if launch[0] not in ("psf_boxes", "fold")])
    assert seen[0] and not seen[-1]
    if family in ("gaussian_mixture", "recursive_mixture"):
        assert seen[0] != seen[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_that_do_not_fit_say_so(gpu_on_cpu, family):
    problem = example(family)
    device = CpuDevice(gpu_on_cpu.folder, shared_limit=1024)
    wanted = (True,) * (2 + len(problem.differentiable))
    with pytest.raises(ValueError, match="shared memory"):
        run(device, f"{family}_gradients", problem.x, problem.u, *problem.arguments, wanted)


def test_views_and_levels_may_be_strided(gpu_on_cpu):
    """The hosts make contiguous what is not."""
    rng = np.random.default_rng(8)
    x = np.moveaxis(rng.standard_normal((20, 30, 3)), -1, 0)
    maps, atoms = (
        rng.standard_normal((40, 60, 4))[::2, ::2].transpose(2, 0, 1),
        rng.standard_normal((3, 1, 6))[..., ::2],
    )
    y = run(gpu_on_cpu, "recursive_mixture", x, maps, atoms, "zero")
    assert_close(y, reference.recursive_mixture(x, maps, atoms, "zero"), 1e-12)


def test_large_psfs_are_summed_in_shares(gpu_on_cpu):
    """More runs in a PSF than a block has threads, and more tiles than shares."""
    rng = np.random.default_rng(9)
    x, u = rng.standard_normal((2, 1, 40, 150)), rng.standard_normal((2, 1, 40, 150))
    psfs = rng.standard_normal((1, 1, 1, 33, 65))
    found = run(gpu_on_cpu, "psf_gather_gradients", x, u, psfs, None, "circular", (False, False, True, False))
    import torch

    leaf = torch.from_numpy(psfs).requires_grad_()
    y = reference.psf_gather(torch.from_numpy(x), leaf, None, "circular")
    (true,) = torch.autograd.grad(y, leaf, torch.from_numpy(u))
    assert_close(found[2], true.numpy(), 1e-12)


def test_states_between_passes_are_few(gpu_on_cpu):
    """Horner's rule meets the levels backwards, all of them right, with about 2 sqrt(passes) of them in memory."""
    rng = np.random.default_rng(10)
    x, atoms = rng.standard_normal((1, 1, 9, 9)), rng.standard_normal((25, 1, 3)) / 3
    flat = mixture.Mixture(gpu_on_cpu, x, rng.standard_normal((26, 9, 9)), None, "reflect")
    states, counts = [], []

    class Watched(recursive._Forward):
        def advance(self, step, state, **options):
            after = super().advance(step, state, **options)
            if after is not None:
                states.append(weakref.ref(after))
                counts.append(sum(s() is not None for s in states))
            return after

    forward = Watched(recursive._Cascade(flat, atoms, stagewise=True))
    true, last_only = [x], np.stack([np.zeros((9, 9)), np.ones((9, 9))])
    for j in range(24):
        true.append(reference.recursive_mixture(true[-1], last_only, atoms[j : j + 1], "reflect", True))
    passes = [recursive._Pass(j, 1) for j in range(25)]
    for state in forward.states_backwards(passes):
        assert_close(state, true.pop(), 1e-12)
    assert not true and max(counts) <= 2 * 5 + 1


def test_the_record_of_sizes_follows_the_source():
    values = {"rows": 5, "cols": 7, "channels": 3, "outputs": 3, "channel": 0, "output": 0, "image": 1, "slots": 9,
              "own_taps": True, "own_maps": False, "margin": 2, "boundary": 4}  # fmt: skip
    record = sizes("gaussian.cu", values)
    assert record.dtype.names[:4] == ("rows", "cols", "channels", "outputs") and record.dtype.itemsize == 4 * 12
    assert (int(record["slots"]), int(record["margin"]), int(record["own_taps"])) == (9, 2, 1)
    with pytest.raises(KeyError):
        sizes("gaussian.cu", {"rows": 5})


def test_every_primitive_is_there():
    assert set(engine.FUNCTIONS) == {name for primitive in FUSED.values() for name in primitive.names}


def test_the_engine_imports_neither_cupy_nor_torch():
    code = "import sys, blurphys.engines.cuda.engine; sys.exit(bool({'cupy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_diagnosis_is_a_sentence_and_agrees_with_available():
    for kind in ("cupy", "torch"):
        said = engine.diagnosis(kind)
        assert engine.available(kind) == (said == "")


class FakeCupy:
    """CuPy as far as the diagnosis asks it."""

    def __init__(self, version, devices):
        self.cuda = self
        self.runtime = self
        self.runtimeGetVersion = lambda: version
        self.getDeviceCount = partial(self.count, devices)

    @staticmethod
    def count(devices):
        if isinstance(devices, Exception):
            raise devices
        return devices


@pytest.mark.parametrize(
    ("kind", "version", "devices", "torch_cuda", "said"),
    [
        ("cupy", 12090, 1, None, ""),
        ("cupy", 12090, 0, None, "no GPU"),
        ("cupy", 12090, RuntimeError("no driver"), None, "no driver"),
        ("torch", 12090, 1, None, "without CUDA"),
        ("torch", 12090, 1, "13.0", "cupy-cuda13x"),
        ("torch", 13000, 1, "13.0", ""),
    ],
)
def test_what_the_diagnosis_says(monkeypatch, kind, version, devices, torch_cuda, said):
    import torch

    monkeypatch.setattr(engine, "find_spec", lambda name: object())
    monkeypatch.setattr(engine, "import_module", lambda name: FakeCupy(version, devices))
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    found = engine.diagnosis(kind)
    assert found == "" if said == "" else said in found


def test_without_cupy_the_diagnosis_names_the_wheel(monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    assert "cupy-cuda12x" in engine.diagnosis("cupy")


@pytest.mark.parametrize("bad", ["float16", "int32", "complex64"])
def test_other_dtypes_are_refused(bad):
    x = np.zeros((3, 8, 8), dtype=bad)
    with pytest.raises(TypeError, match="float32 or float64"):
        engine._require_real("gaussian_mixture", (x, x))


def test_two_dtypes_are_refused():
    with pytest.raises(TypeError, match="float32 and float64"):
        engine._require_real("gaussian_mixture", (np.zeros(3, "float32"), np.zeros(3, "float64"), "reflect", (1, 2)))


def test_gradients_too_large_for_a_tile_come_from_the_reference():
    import torch

    for family in FAMILIES:
        problem = example(family, shape=(2, 3, 9, 12))
        given = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in (problem.u, *problem.arguments)]
        wanted = (True,) * (2 + len(problem.differentiable))
        found = engine._torch_reference_gradients(f"{family}_gradients", torch.from_numpy(problem.x), *given, wanted)
        for a, b in zip(found, problem.gradients(), strict=True):
            assert (a is None) == (b is None) and (a is None or np.allclose(a, b, rtol=0, atol=1e-12))


def test_floor_by_hand():
    found = floor.floor("gaussian_mixture", pixels=10, channels=3, halves=(0, 2))
    assert found == (10 * 4 * (6 + 2), 10 * 3 * (4 + 16))
    found = floor.floor("recursive_mixture_adjoint", pixels=1, channels=1, itemsize=8, levels=20, taps=3)
    assert found == (8 * 22, 19 * 10 + 40)
    found = floor.floor("psf_interpolate", pixels=1, channels=3, views=2, area=9)
    assert found == (4 * (9 + 2), 3 * 2 * 2 * 20)
    assert found.seconds(11.0, 1e9) == 4.0
    with pytest.raises(ValueError, match="gradients"):
        floor.floor("psf_gather_gradients", pixels=1)


needs_cupy = pytest.mark.skipif(not engine.available("cupy"), reason=f"no CuPy on a GPU: {engine.diagnosis('cupy')}")
needs_torch = pytest.mark.skipif(
    not engine.available("torch"), reason=f"no torch beside CuPy on a GPU: {engine.diagnosis('torch')}"
)


def check_on_gpu(problem, send, back, call):
    given = [send(a) if isinstance(a, np.ndarray) else a for a in problem.arguments]
    x, u = send(problem.x), send(problem.u)
    assert_close(back(call(problem.family, x, *given)), problem.reference(), problem.tolerance)
    adjoint = call(f"{problem.family}_adjoint", u, *given)
    assert_close(back(adjoint), problem.reference(adjoint=True), problem.tolerance)
    true = problem.gradients()
    found = call(f"{problem.family}_gradients", x, u, *given, (True,) * len(true))
    again = call(f"{problem.family}_gradients", x, u, *given, (True,) * len(true))
    for a, b, c in zip(found, true, again, strict=True):
        if b is not None:
            assert_close(back(a), b, 5 * problem.tolerance)
            assert np.array_equal(back(a), back(c))  # the same bits


@pytest.mark.gpu
@needs_cupy
@given(problem=problems(FAMILIES))
def test_on_a_gpu_by_cupy(problem):
    import cupy

    from blurphys.engines.registry import _KERNELS

    with cupy.cuda.Stream():
        check_on_gpu(problem, cupy.asarray, cupy.asnumpy, lambda name, *a: _KERNELS[name, "cupy"](*a))


@pytest.mark.gpu
@needs_torch
@given(problem=problems(FAMILIES))
def test_on_a_gpu_by_torch(problem):
    import torch

    def send(array):
        tensor = torch.from_numpy(array).to("cuda")
        return tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor  # strided on purpose

    with torch.cuda.stream(torch.cuda.Stream()):
        check_on_gpu(problem, send, lambda t: t.cpu().numpy(), engine.torch_call)


@pytest.mark.gpu
@needs_torch
def test_torch_memory_is_used_and_shared():
    """What a call allocates comes from torch's allocator; the result lives there."""
    import torch

    problem = example("recursive_mixture", dtype="float32")
    given = [torch.from_numpy(a).cuda() if isinstance(a, np.ndarray) else a for a in problem.arguments]
    x = torch.from_numpy(problem.x).cuda()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = engine.torch_call("recursive_mixture", x, *given)
    assert y.is_cuda and torch.cuda.memory_allocated() - before >= y.numel() * y.element_size()
