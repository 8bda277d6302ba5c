"""PSFBank: PSFs at increasing signed radii, between which the defocus operators interpolate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from ..frozen import Memo
from ..inputs import require_float, require_number, require_same_kind
from ..types import Array
from .psf_checks import check_psfs
from .pupil import Pupil

__all__ = ["PSFBank", "bank_radii"]


def bank_radii(owner: str, max_radius: Any, step: Any) -> np.ndarray:
    """Return evenly spaced radii from -max_radius to max_radius with 0 among them, at most `step` apart, px."""
    for name, value in (("max_radius", max_radius), ("step", step)):
        require_number(owner, name, value, above=0, unit="px")
    n = ceil(max_radius / step - 1e-9)
    return np.linspace(-max_radius, max_radius, 2 * n + 1)


class PSFBank:
    """Levels of defocus PSFs, for each view.

    Parameters
    ----------
    pupil : Pupil, optional
        Source of the PSFs; needs `max_radius`.
    max_radius : float, optional
        Largest CoC radius, px; levels run from -max_radius to +max_radius.
    step : float
        Largest distance between neighbouring levels, px. At 0.5 px no contours are visible.
    psfs : array of shape (L, h, w) or (L, C, h, w), or mapping of view name to such arrays, optional
        Measured or learned kernels instead of a pupil: ``psfs[l]`` is the PSF at ``radii[l]``. An array is the combined
        view. With "left" and "right" but no "combined", the combined view is their mean.
    radii : sequence of L increasing floats, optional
        Signed CoC radius of each level of `psfs`, px, negative in front of the plane of focus. Optional for L = 1: then
        the one PSF is used at every radius, for a lens at one focus setting.

    Attributes
    ----------
    radii : ndarray of shape (L,)
        Signed CoC radius of each level, px.

    Raises
    ------
    ValueError
        Neither or both sources given; max_radius or step not positive; radii that do not increase or do not match; PSFs
        with NaN, inf, or sums above 1000 (camera counts: see `blurphys.psf.normalize`). A `PSFWarning` for sums far
        from one, unless some values are negative.

    Notes
    -----
    Kernels are convolution kernels (impulse responses), centre ``h // 2, w // 2``, all of one size. Those of a pupil
    are NumPy float64, and the operators convert them to the namespace, dtype and device of the map. Memory: L h w
    values for each view. The PSFs of a pupil are computed on first use and cached for each view, and so are conversions
    for each namespace, dtype and device; both are plain arrays, so that threads may share a bank, and so may training
    and `torch.inference_mode`.

    Examples
    --------
    >>> import blurphys as bp
    >>> bank = PSFBank(bp.Pupil.disk(), max_radius=2.0, step=0.5)
    >>> bank.radii.tolist(), bank.psfs("left").shape
    ([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0], (9, 5, 5))

    From images of a point source in front of, in and behind the plane of focus:

    >>> recorded = [bp.psf.disk(r, 9) * 200 + 10 for r in (2.0, 0.0, 4.0)]
    >>> measured = bp.psf.normalize(bp.psf.clean(recorded))
    >>> PSFBank(psfs=measured, radii=[-2.0, 0.0, 4.0]).psfs().shape
    (3, 9, 9)
    """

    def __init__(
        self,
        pupil: Pupil | None = None,
        *,
        max_radius: float | None = None,
        step: float = 0.5,
        psfs: Array | Mapping[str, Array] | None = None,
        radii: Sequence[float] | None = None,
    ) -> None:
        self.pupil = pupil
        self._psfs: dict[str | float, Array] = {}  # as given
        self._levels: Memo[Array] = Memo()  # of a pupil, by view
        self._converted: Memo[Array] = Memo()  # fixed kernels by views, dtype and device
        if (pupil is None) == (psfs is None):
            raise ValueError("PSFBank: expected either a pupil with max_radius, or psfs with radii")
        if pupil is not None:
            if not isinstance(pupil, Pupil):
                raise ValueError(f"PSFBank: expected a Pupil, got {type(pupil).__name__}; pass kernels as psfs=")
            if radii is not None:
                raise ValueError("PSFBank: expected radii only together with psfs, got them with a pupil")
            self.radii = bank_radii("PSFBank", max_radius, step)
            self.views: tuple[str, ...] = ("left", "right", "combined")
        else:
            if max_radius is not None:
                raise ValueError("PSFBank: expected max_radius only together with a pupil, got it with psfs")
            self._set_psfs(psfs, radii)
        self.radii.setflags(write=False)
        # One level is valid for every radius: the operators get it twice and interpolate between equal PSFs.
        nodes = self.radii if self.radii.size > 1 else (self.radii[0] - 1.0, self.radii[0] + 1.0)
        self.nodes = tuple(float(r) for r in nodes)

    def _set_psfs(self, psfs: Array | Mapping[str, Array], radii: Sequence[float] | None) -> None:
        given = dict(psfs) if isinstance(psfs, Mapping) else {"combined": psfs}
        if not given:
            raise ValueError("PSFBank: expected at least one view in psfs, got none")
        first_name, first = next(iter(given.items()))
        for name, array in given.items():
            require_float("PSFBank", f"psfs[{name!r}]", array)
            require_same_kind("PSFBank", f"psfs[{name!r}]", array, f"psfs[{first_name!r}]", first)
            if array.ndim not in (3, 4) or 0 in tuple(array.shape) or array.shape != first.shape:
                raise ValueError(
                    f"PSFBank: expected psfs of shape (L, h, w) or (L, C, h, w), the same for each view, got "
                    f"{tuple(array.shape)} for {name!r}"
                )
            check_psfs("PSFBank", f"psfs[{name!r}]", array)
        if radii is None and first.shape[0] == 1:
            radii = [0.0]
        if radii is None:
            raise ValueError(f"PSFBank: expected the radii (px) of the L = {first.shape[0]} psfs, got None")
        self.radii = np.array([float(r) for r in radii])
        if self.radii.size != first.shape[0]:
            raise ValueError(
                f"PSFBank: expected one radius for each of the L = {first.shape[0]} psfs, got {self.radii.size}"
            )
        if not np.all(np.isfinite(self.radii)) or np.any(np.diff(self.radii) <= 0):
            raise ValueError("PSFBank: expected finite radii that increase; sort the psfs by signed radius")
        if is_numpy_array(first):  # copies: conversions are cached, so the caller's writes must not change the kernels
            given = {name: np.array(array) for name, array in given.items()}
        self._psfs = given
        self.views = tuple(given)
        if "combined" not in given and {"left", "right"} <= set(given):
            self.views = (*self.views, "combined")

    @property
    def max_radius(self) -> float:
        """Largest absolute radius of a level, px."""
        return float(np.max(np.abs(self.radii)))

    def holds(self, low: float, high: float) -> bool:
        """Whether the bank covers radii from low to high, px, up to rounding; a bank of one level covers all."""
        slack = 1e-6 * self.max_radius
        return self.radii.size == 1 or bool(low >= self.radii[0] - slack and high <= self.radii[-1] + slack)

    @property
    def given(self) -> Mapping[str | float, Array]:
        """The kernels that were passed to the constructor, by view; empty for a pupil."""
        return {} if self.pupil is not None else dict(self._psfs)

    @property
    def fixed(self) -> bool:
        """Whether the kernels are fixed, from a pupil or NumPy arrays, rather than tensors that may be learned."""
        return self.pupil is not None or isinstance(next(iter(self._psfs.values())), np.ndarray)

    def psfs(self, view: str | float = "combined") -> Array:
        """Return the kernels of one view, shape (L, h, w) or (L, C, h, w); with a pupil, of any view of `Pupil.seen`.

        Raises
        ------
        ValueError
            If the bank has no such view.
        """
        if view not in self.views and self.pupil is None:
            raise ValueError(f"PSFBank: expected a view among {self.views}, got {view!r}")
        if self.pupil is not None:
            pupil = self.pupil
            return self._levels.get(view, lambda: _levels(pupil, self.radii, view))
        if view not in self._psfs:
            return 0.5 * (self._psfs["left"] + self._psfs["right"])  # not cached: the two may be learned
        return self._psfs[view]

    def stacked(self, views: Sequence[str | float], like: Array) -> Array:
        """Return the kernels of several views, (V, L, 1 or C, h, w), in the namespace, dtype and device of `like`.

        Fixed kernels are converted once and cached. Tensors may be learned, so they are stacked in each call.
        """
        if not self.fixed:
            return self._stack(views, like)
        key = (tuple(views), like.dtype, device(like))
        return self._converted.get(key, lambda: self._stack(views, like))

    def _stack(self, views: Sequence[str | float], like: Array) -> Array:
        chosen = [self.psfs(view) for view in views]
        xp = array_namespace(like)
        if is_numpy_array(chosen[0]):
            chosen = [xp.asarray(np.array(c), dtype=like.dtype, device=device(like)) for c in chosen]
        else:
            require_same_kind("PSFBank", "the psfs", chosen[0], "the defocus_map", like)
        stack = xp.stack(chosen, axis=0)
        stack = xp.concat([stack, stack], axis=1) if self.radii.size == 1 else stack
        return stack if stack.ndim == 5 else stack[:, :, None, :, :]


def _levels(pupil: Pupil, radii: np.ndarray, view: str | float) -> np.ndarray:
    """Return the PSFs of one view at every radius, padded with zeros to the size of the largest: (L, h, w)."""
    levels = [pupil.psf(float(r), view) for r in radii]
    size = max(level.shape[0] for level in levels)
    pads = [(size - level.shape[0]) // 2 for level in levels]
    stack = np.stack([np.pad(level, pad) for level, pad in zip(levels, pads, strict=True)])
    stack.setflags(write=False)
    return stack
