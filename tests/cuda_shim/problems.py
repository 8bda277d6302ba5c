"""Random problems for the GPU primitives, and their oracles: the reference, and torch's autograd through it."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from blurphys.engines import reference
from blurphys.engines.primitives import PRIMITIVES
from tests.oracles import BOUNDARIES

LEADS = [((), ()), ((2,), ()), ((2,), (2,)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((3,), (1,)), ((2, 3), (2, 1))]
"""Batch axes of the image and of the maps."""

# Each bank, number of taps, dtype and number of colours is a program to compile: few of them.
BANKS = {"float32": [(0, 1, 3, 2), (4, 0, 7)], "float64": [(0,), (0, 1, 3, 2)]}
"""Half-widths of the Gaussians."""

CASCADES = {"float32": [(1, 4), (1, 13), (2, 3)], "float64": [(0, 2), (1, 4), (1, 13), (1, 1)]}
"""Half-width of an atom and levels."""


@dataclass
class Problem:
    """One call ``family(x, *arguments)``."""

    family: str
    x: np.ndarray
    u: np.ndarray
    arguments: list
    tolerance: float = 1e-12

    @property
    def differentiable(self):
        """Places of the arguments that have gradients."""
        return PRIMITIVES[self.family].differentiated

    def reference(self, adjoint=False):
        function = getattr(reference, self.family + ("_adjoint" if adjoint else ""))
        return function(self.u if adjoint else self.x, *self.arguments)

    def gradients(self):
        """(y, gx, gradients of the differentiable arguments) by autograd, in the dtype of the problem."""
        import torch

        tensors = [torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in self.arguments]
        leaves = [torch.from_numpy(self.x.copy()).requires_grad_()]
        for i in self.differentiable:
            if tensors[i] is not None:
                tensors[i] = tensors[i].requires_grad_()
                leaves.append(tensors[i])
        y = getattr(reference, self.family)(leaves[0], *tensors)
        found = iter(torch.autograd.grad(y, leaves, torch.from_numpy(self.u)))
        given = [self.x, *(self.arguments[i] for i in self.differentiable)]
        return [y.detach().numpy(), *(None if a is None else next(found).numpy() for a in given)]


def assert_close(found, true, tolerance):
    """Equal shape, dtype and values, relative to the largest value."""
    assert found.shape == true.shape and found.dtype == true.dtype
    assert np.all(np.isfinite(found))
    assert float(np.abs(found - true).max(initial=0)) <= tolerance * max(float(np.abs(true).max(initial=0)), 1.0)


@st.composite
def problems(draw, families, dtypes=("float32", "float64")):
    """Draw a problem whose numbers come from a seed; shapes shrink."""
    dtype = draw(st.sampled_from(dtypes))
    family = draw(st.sampled_from(families))
    boundary = draw(st.sampled_from(BOUNDARIES))
    lead, batch = draw(st.sampled_from(LEADS))
    channels = draw(st.sampled_from([1, 3, 5]))
    own = draw(st.sampled_from([1, channels]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    small = len(lead) == 2

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    def sides(reach):
        low = reach + 1 if boundary in ("reflect", "symmetric") else 1
        rows = draw(st.integers(low, max(low, 12)) if small else st.sampled_from([low, low + 3, 33, 64]))
        return max(rows, low), draw(st.one_of(st.integers(low, low + 12), st.sampled_from([max(low, 64), 65, 71])))

    views = 1
    if family == "gaussian_mixture":
        halves = draw(st.sampled_from(BANKS[dtype]))
        rows, cols = sides(max(halves))
        taps = normal(own, len(halves), max(halves) + 1)
        for k, half in enumerate(halves):
            taps[:, k, half + 1 :] = 0
        mix, outputs = _mix(draw, normal, channels, len(halves))
        arguments = [normal(*batch, len(halves), rows, cols), taps, halves, boundary, mix]
    elif family == "recursive_mixture":
        half, levels = draw(st.sampled_from(CASCADES[dtype]))
        rows, cols = sides(half * (levels - 1))
        stagewise = draw(st.booleans())
        mix, outputs = _mix(draw, normal, channels, levels)
        atoms = normal(levels - 1, own, 2 * half + 1) / (2 * half + 1)
        arguments = [normal(*batch, levels, rows, cols), atoms, boundary, stagewise, mix]
    else:
        h, w = draw(st.sampled_from([(1, 1), (3, 4), (4, 3), (5, 5), (2, 11), (9, 2)]))
        rows, cols = sides(max(h, w))
        views = 1 if family == "psf_scatter" else draw(st.integers(1, 2))
        levels = draw(st.integers(2, 4))
        psfs = normal(views, levels, own, h, w)
        psfs[:, 0, :, : h // 2] = 0  # so that the boxes of the levels differ
        psfs[:, -1, :, :, w - w // 3 :] = 0
        outputs = views * channels
        if family == "psf_interpolate":
            index = rng.integers(0, levels - 1, (*batch, rows, cols))
            fraction = rng.choice([0.0, 1.0, 0.25, 0.6], index.shape).astype(dtype)
            arguments = [psfs, index, fraction, boundary]
        else:
            weights = normal(*batch, levels, rows, cols) * (rng.random((*batch, levels, rows, cols)) > 0.5)
            weights[..., 1, :, :] = 0  # a level that no pixel uses
            if family == "psf_gather" and draw(st.booleans()):
                psfs, weights = psfs[:, :1], None
            weights = None if weights is None else weights.astype(dtype)
            arguments = [psfs, weights, boundary]
    x, u = normal(*lead, channels, rows, cols), normal(*lead, outputs, rows, cols)
    return Problem(family, x, u, arguments, 1e-12 if dtype == "float64" else 1e-5)


def _mix(draw, normal, channels, kernels):
    """A channel mix or none, and the output colours."""
    outputs = draw(st.sampled_from([None, 2, 5]))
    return (None, channels) if outputs is None else (normal(outputs, channels, kernels), outputs)
