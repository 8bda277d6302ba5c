"""What hypothesis draws for the laws: where an operator lives, its boundary and its sizes.

Shapes shrink; the numbers come from the seed, so that one line reproduces a failing example.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.oracles import BOUNDARIES, extension_limit
from tests.profiles import NIGHTLY

NAMESPACES = ("numpy", "array_api_strict", "torch")
# array_api_strict takes as long as all the others; by default one law sees that nothing leaves the standard.
DRAWN = NAMESPACES if NIGHTLY else ("numpy", "torch")
GPU_NAMESPACES = ("cupy", "torch-cuda")
DTYPES = ("float32", "float64")
EPS = {"float32": float(np.finfo(np.float32).eps), "float64": float(np.finfo(np.float64).eps)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """One drawn situation; a case builds its operator from it."""

    namespace: str = "numpy"
    dtype: str = "float64"
    boundary: str = "reflect"
    height: int = 4
    width: int = 5
    channels: int = 2
    support: tuple[int, int] = (3, 4)  # wished rows and columns of a PSF; `supports` obeys the boundary
    count: int = 3  # maps, levels or atoms
    batch: tuple[int, ...] = ()
    signed: bool = False  # maps of either sign instead of maps on the simplex
    variant: int = 0  # which row of an operator's family
    seed: int = 0

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @property
    def tolerance(self) -> float:
        """Agreement asked of entries of order one: 1e-12 in float64, 1e-5 in float32."""
        return 1e-12 if self.dtype == "float64" else 1e-5

    def reach(self) -> tuple[int, int]:
        """Largest extension allowed in rows and columns (12 stands for any)."""
        limits = (extension_limit(n, self.boundary) for n in (self.height, self.width))
        return tuple(12 if limit is None else limit for limit in limits)  # type: ignore[return-value]

    def supports(self) -> tuple[int, int]:
        """Wished support cut down to what the boundary allows."""
        return tuple(min(s, 2 * r + 1) for s, r in zip(self.support, self.reach(), strict=True))  # type: ignore[return-value]

    def replace(self, **changes: Any) -> Setup:
        return dataclasses.replace(self, **changes)

    def rounded(self, array) -> np.ndarray:
        """Values as the operator will see them, kept in float64 for the oracle."""
        return np.asarray(array, dtype=self.dtype).astype(np.float64)

    def array(self, array) -> Any:
        """NumPy values as an array of the drawn namespace and dtype."""
        return to_namespace(np.asarray(array, dtype=self.dtype), self.namespace)

    def image(self, shape, lead=(), salt=1, positive=False) -> np.ndarray:
        """Random image of shape lead + shape in float64, representable in the drawn dtype."""
        rng = np.random.default_rng([self.seed, salt])
        size = (*lead, *shape)
        return self.rounded(rng.uniform(0.05, 1.0, size) if positive else rng.normal(size=size))


def to_namespace(array: np.ndarray, namespace: str) -> Any:
    """Own copy of a NumPy array in the named namespace."""
    if namespace == "numpy":
        return array.copy()
    if namespace.startswith("torch"):
        torch = importlib.import_module("torch")
        return torch.tensor(array, device="cuda" if namespace == "torch-cuda" else "cpu")
    return importlib.import_module(namespace).asarray(array.copy())


def to_numpy(array: Any) -> np.ndarray:
    """float64 copy of an array of any namespace."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    if hasattr(array, "get"):  # CuPy
        array = array.get()
    return np.array(np.asarray(array), dtype=np.float64)


def simplex(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Maps (..., K, H, W) that vary from pixel to pixel, are positive and sum to one over K."""
    maps = rng.uniform(0.05, 1.0, shape) ** 2
    return maps / maps.sum(axis=-3, keepdims=True)


def unit_psfs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Positive kernels (..., h, w) of unit sum with no symmetry."""
    psfs = rng.uniform(0.05, 1.0, shape) ** 2
    return psfs / psfs.sum(axis=(-2, -1), keepdims=True)


@st.composite
def setups(
    draw,
    namespaces=DRAWN,
    dtypes=DTYPES,
    boundaries=BOUNDARIES,
    batches=((), (2,), (1,), (2, 1)),
    signed=(False,),
    sides=6,
) -> Setup:
    """Situations with H != W, odd and even supports, and supports larger than the image where that is legal."""
    # array_api_strict is slow: rarer and on smaller images
    common = [n for n in namespaces if n != "array_api_strict"]
    namespace = draw(st.sampled_from([*(5 * common), *namespaces]), label="namespace")
    if namespace == "array_api_strict":
        sides, support = min(sides, 3), 4
    else:
        support = 8
    height = draw(st.integers(1, sides), label="height")
    width = draw(st.integers(1, sides + 1).filter(lambda w: w != height), label="width")
    return Setup(
        namespace=namespace,
        dtype=draw(st.sampled_from(dtypes)),
        boundary=draw(st.sampled_from(boundaries)),
        height=height,
        width=width,
        channels=draw(st.integers(1, 2)),
        support=(draw(st.integers(1, support)), draw(st.integers(1, support))),
        count=draw(st.sampled_from((3, 4, 1))),
        batch=draw(st.sampled_from(batches)),
        signed=draw(st.sampled_from(signed)),
        seed=draw(st.integers(0, 2**16)),
        variant=draw(st.integers(0, 5)),
    )
