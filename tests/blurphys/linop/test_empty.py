"""Images without a pixel, and indices beyond a bank: one answer of every engine."""

import numpy as np
import pytest
import torch

from blurphys.engines import reference
from blurphys.engines.cuda import engine, launch
from blurphys.engines.loading import fast_kernel
from blurphys.engines.primitives import FUSED
from blurphys.engines.torch_ops.choice import torch_kernel
from tests.cases import CASES
from tests.cuda_shim.device import CpuDevice, compiler
from tests.strategies import Setup, to_numpy

FAMILIES = tuple(FUSED)

EMPTY = {
    "batch": {"lead": (0,)},
    "batch with maps of its own": {"lead": (0,), "batch": (0,)},
    "batch with a shared map that has the axis": {"lead": (0,), "batch": (1,)},
    "one axis of two": {"lead": (2, 0), "batch": (1,)},
    "one axis of two, the maps along the other": {"lead": (0, 3), "batch": (3,)},
    "one axis of two, the maps along the other with both": {"lead": (2, 0), "batch": (2, 1)},
    "rows": {"rows": 0},
    "columns": {"cols": 0},
    "colours": {"channels": 0},
    "colours with kernels of their own": {"channels": 0, "own": 0},
    "colours before the mix": {"channels": 0, "mix": 2},
    "colours after the mix": {"mix": 0},
}


def problem(family, *, lead=(), batch=(), channels=2, rows=5, cols=6, own=1, mix=None, views=1, boundary="reflect"):
    """x, u and the arguments of a call."""
    normal = np.random.default_rng(0).standard_normal
    outputs = channels if mix is None else mix
    if family == "gaussian_mixture":
        mixed = None if mix is None else normal((mix, channels, 2))
        arguments = [normal((*batch, 2, rows, cols)), normal((own, 2, 3)), (0, 2), boundary, mixed]
        arguments[1][:, 0, 1:] = 0
    elif family == "recursive_mixture":
        mixed = None if mix is None else normal((mix, channels, 3))
        arguments = [normal((*batch, 3, rows, cols)), normal((2, own, 3)), boundary, False, mixed]
    else:
        views = 1 if family == "psf_scatter" else views
        outputs, psfs = channels * views, normal((views, 3, own, 2, 3))
        shape = (*batch, rows, cols)
        maps = (
            [np.zeros(shape, dtype=np.int64), normal(shape)]
            if family == "psf_interpolate"
            else [normal((*batch, 3, rows, cols))]
        )
        arguments = [psfs, *maps, boundary]
    return normal((*lead, channels, rows, cols)), normal((*lead, outputs, rows, cols)), arguments


@pytest.fixture(scope="module")
def gpu_on_cpu(tmp_path_factory):
    return CpuDevice(tmp_path_factory.mktemp("programs"))


def engines(device):
    """Each as ``call(primitive, *arguments)`` on NumPy arrays."""

    def torch_engine(name, *arguments):
        if name.endswith("_gradients"):
            return by_autograd(name.removesuffix("_gradients"), torch_kernel, *arguments)
        given = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
        return torch_kernel(name, given[0])(*given).numpy()

    def plain(name, *arguments):
        if name.endswith("_gradients"):
            family = name.removesuffix("_gradients")
            return by_autograd(family, lambda primitive, x: getattr(reference, primitive), *arguments)
        return getattr(reference, name)(*arguments)

    return {
        "reference": plain,
        "cpu": lambda name, *arguments: fast_kernel(name, "numpy")(*arguments),
        "gpu": lambda name, *arguments: engine.FUNCTIONS[name](device, *arguments),
        "torch": torch_engine,
    }


def by_autograd(family, choose, x, u, *rest):
    *arguments, wanted = rest
    tensors = [torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
    places = FUSED[family].differentiated
    leaves = [torch.from_numpy(x.copy()).requires_grad_()]
    leaves += [tensors[i].requires_grad_() for i in places if tensors[i] is not None]
    y = choose(family, leaves[0])(leaves[0], *tensors)
    found = iter(torch.autograd.grad(y, leaves, torch.from_numpy(u)))
    return [
        y.detach().numpy(),
        next(found).numpy(),
        *(None if arguments[i] is None else next(found).numpy() for i in places),
    ]


@pytest.mark.parametrize(
    ("family", "kind"), [(f, k) for f in FAMILIES for k in EMPTY if "mix" not in EMPTY[k] or not f.startswith("psf")]
)
def test_nothing_gives_zeros_in_every_engine(gpu_on_cpu, family, kind):
    for boundary in ("zero", "reflect"):
        for views in (1, 2):
            x, u, arguments = problem(family, views=views, boundary=boundary, **EMPTY[kind])
            assert 0 in (x.size, u.size)
            shapes = [u, x, *(arguments[i] for i in FUSED[family].differentiated)]
            for call in engines(gpu_on_cpu).values():
                y, back = call(family, x, *arguments), call(f"{family}_adjoint", u, *arguments)
                gradients = call(f"{family}_gradients", x, u, *arguments, (True,) * len(shapes))
                for found, like in zip([y, back, *gradients], [u, x, *shapes], strict=True):
                    assert (found is None) == (like is None)
                    if found is not None:
                        assert found.shape == like.shape and found.dtype == x.dtype and not found.any()
    assert not gpu_on_cpu.launches


@pytest.mark.parametrize("family", FAMILIES)
def test_second_derivatives_of_nothing(family):
    x, _, arguments = problem(family, lead=(0,))
    leaves = [torch.from_numpy(x).requires_grad_()]
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    for i in FUSED[family].differentiated:
        if tensors[i] is not None:
            leaves.append(tensors[i].requires_grad_())
    y = torch_kernel(family, leaves[0])(leaves[0], *tensors)
    first = torch.autograd.grad(y.sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(f.sum() for f in first), leaves, allow_unused=True)
    assert all(s is None or (s.shape == v.shape and not s.any()) for s, v in zip(second, leaves, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_every_operator_takes_an_empty_batch(name):
    for namespace in ("numpy", "torch", "array_api_strict"):
        s = Setup(namespace=namespace, height=3, width=4)
        built = CASES[name](s)
        x, y = s.array(np.zeros((0, *built.in_shape))), s.array(np.zeros((0, *built.out_shape)))
        assert tuple(built.A(x).shape) == (0, *built.out_shape) and built.A(x).dtype == x.dtype
        assert tuple(built.A.adjoint(y).shape) == (0, *built.in_shape)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_operator_on_an_empty_batch_are_zero(name):
    s = Setup(namespace="torch", height=3, width=4)
    built = CASES[name](s)
    for given in built.arrays:
        given.requires_grad_()
    x = s.array(np.zeros((0, *built.in_shape))).requires_grad_()
    for result in (CASES[name](s).A(x), built.A(x)):
        if result.requires_grad:
            result.sum().backward()
    assert all(a.grad is None or not to_numpy(a.grad).any() for a in (x, *built.arrays))


@pytest.mark.parametrize("index", [-1, 2, 7])
@pytest.mark.parametrize("part", ["", "_adjoint", "_gradients"])
def test_an_index_beyond_the_bank_is_refused(gpu_on_cpu, index, part):
    """Of three levels the lower one is 0 or 1."""
    x, u, arguments = problem("psf_interpolate")
    arguments[1][2, 3] = index
    given = {"": (x,), "_adjoint": (u,), "_gradients": (x, u)}[part]
    last = ((True,) * 4,) if part == "_gradients" else ()
    for call in engines(gpu_on_cpu).values():
        with pytest.raises(IndexError, match=rf"psf_interpolate.*0 to 1.*3 levels.*{index}"):
            call(f"psf_interpolate{part}", *given, *arguments, *last)


def test_a_kernel_is_launched_with_a_grid_and_addresses_only():
    seen = []

    class Device:
        def launch(self, program, kernel, grid, shared, arguments):
            seen.append((grid, arguments))

    own = launch.program("planes.cu", "float32")
    for grid in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 2, 3)):
        launch.launch(Device(), own, "sum_partials", grid, 0, {"slots": 3, "partials": None, "out": np.zeros(2)})
    ((grid, (null, out, three)),) = seen
    assert grid == (1, 2, 3) and out.shape == (2,)
    assert three == 3 and three.dtype == np.int32 and null == 0 and null.dtype == np.uintp
    with pytest.raises(TypeError, match="sum_partials.*partials, out, slots.*got slots"):
        launch.launch(Device(), own, "sum_partials", grid, 0, {"slots": 3})


@pytest.mark.skipif(compiler() is None, reason="g++, which compiles the CUDA sources for the CPU, is not on the PATH")
def test_the_stand_in_refuses_what_cupy_takes_wrong(gpu_on_cpu):
    own = launch.program("planes.cu", "float32")
    for grid, arguments in (((0, 1, 1), [np.zeros(1)]), ((1, 1, 1), [None]), ((1, 1, 1), [3])):
        with pytest.raises(AssertionError, match="fold"):
            gpu_on_cpu.launch(own, "fold", grid, 0, arguments)


class OnDevice:
    """An array of a GPU as far as the check asks it."""

    dtype = np.dtype("float32")

    def __init__(self, device):
        self.device = device


def test_maps_on_another_device_are_refused():
    served = engine._on_cupy("psf_gather", lambda *a: pytest.fail("computed all the same"))
    with pytest.raises(ValueError, match="psf_gather: .*GPU 0.*got GPU 1"):
        served(OnDevice("GPU 0"), OnDevice("GPU 0"), OnDevice("GPU 1"), "reflect")
