"""A registered pair of photographs, divided into pixels to fit to and pixels held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, inf, log10
from typing import Any, Literal, final

import numpy as np
from array_api_compat import array_namespace, device

import blurphys as bp
from blurphys.inputs import require_integer

from ...core.types import Array
from .geometry import inverse, warp
from .inputs import Image, checked_pair
from .photometry import clipped
from .registration import Registration, default_radius, estimate
from .tone import check_range

__all__ = ["HeldOut", "Mask", "Pair", "Scores", "pair_of"]

HeldOut = Literal["blocks"] | tuple[Array, Array]
Mask = np.ndarray[Any, Any]

GUARDS = 4
"""Side of a block, in supports of the kernel: of a held-out block the inner quarter is compared."""


@final
@dataclass(frozen=True, kw_only=True)
class Scores:
    """PSNR (dB) at the pixels fitted to, at those held out, and at the latter without blur."""

    train: float
    heldout: float
    identity: float


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """A pair ready to be fitted.

    Attributes
    ----------
    name : str
        The function, for messages.
    x, y : ndarray of shape (C, H, W)
        Light of the sharp photograph, and the blurred one as recorded, float64.
    registration : Registration
        From the frame of x to that of y.
    support : int
        Odd width of the kernels, px.
    seen, held : ndarray of bool of shape (H, W)
        Pixels of y to fit to, and held-out ones.
    second : tuple of arrays or None
        Another pair, which is held out instead of blocks.
    fold : ndarray of int of shape (H, W)
        Half (0 or 1) of the pixels of y, by blocks, for choices made within the training pixels.
    like : array
        The sharp photograph as given.
    """

    name: str
    x: Image
    y: Image
    registration: Registration
    support: int
    seen: Mask
    held: Mask
    fold: np.ndarray[Any, Any]
    second: tuple[Image, Image] | None
    like: Array
    peak: float
    shading: bool

    @property
    def target(self) -> Image:
        """The light of the blurred photograph in the frame and brightness of the sharp one."""
        return self.registration.undo(self.y)

    @property
    def masks(self) -> tuple[Mask, Mask]:
        """Training pixels of the two folds in the frame of the sharp photograph, with their kernels inside it."""
        half = self.support // 2
        inner = np.zeros(self.seen.shape, dtype=bool)
        inner[half : -half or None, half : -half or None] = True
        back = inverse(self.registration.matrix)
        moved = [warp((self.seen & (self.fold == k)).astype(np.float64), back, order=0) > 0.5 for k in (0, 1)]
        return moved[0] & inner, moved[1] & inner

    @property
    def observations(self) -> int:
        """Numbers fitted to: training pixels times colours."""
        return int(self.seen.sum()) * self.x.shape[0]

    def shifted(self, by: tuple[float, float]) -> Pair:
        """Return the same pair with the registration moved by (down, right) px of the sharp frame."""
        linear = inverse(self.registration.matrix)[:, :2]
        down, right = np.array(self.registration.shift) + linear @ np.array(by)
        return replace(self, registration=replace(self.registration, shift=(float(down), float(right))))

    def relit(self, blurred: Image) -> Pair:
        """Return the same pair with the brightness that suits the model's image, from the training pixels."""
        moved = self.registration.move(blurred)
        return replace(self, registration=self.registration.relit(moved, self.y, self.seen, shading=self.shading))

    def error(self, blurred: Image) -> float:
        """Return the mean square error of the model's image at the training pixels."""
        return _mse(self.registration.apply(blurred), self.y, self.seen)

    def scores(self, blur: Callable[[Image], Image]) -> Scores:
        """Return the scores of a model, x -> blurred x, whose brightness has been fitted."""
        predicted = self.registration.apply(blur(self.x))
        if self.second is None:
            sharp, wanted, held = self.x, self.y, self.held
            found = predicted
        else:
            sharp, wanted = self.registration.light(self.second[0]), self.second[1]
            found = self.registration.apply(blur(sharp))
            held = self.registration.inside(sharp.shape, self.support // 2 + 2) & ~clipped(wanted)
        plain = self.relit(self.x).registration.apply(sharp)
        return Scores(
            train=psnr(_mse(predicted, self.y, self.seen), self.peak),
            heldout=psnr(_mse(found, wanted, held), self.peak),
            identity=psnr(_mse(plain, wanted, held), self.peak),
        )

    def own(self, values: Any) -> Array:
        """Return values as an array of the namespace, dtype and device of the sharp photograph as given."""
        xp = array_namespace(self.like)
        made = xp.asarray(np.ascontiguousarray(values, dtype=str(self.like.dtype).split(".")[-1]))
        return made if xp is np else xp.asarray(made, device=device(self.like))


def psnr(mse: float, peak: float = 1.0) -> float:
    """Return ``10 log10(peak^2 / mse)`` in dB."""
    return inf if mse <= 0 else 10 * log10(peak * peak / mse)


def _mse(a: Image, b: Image, mask: Mask) -> float:
    difference = (a - b)[:, mask]
    return float(np.mean(difference * difference))


def pair_of(
    name: str,
    sharp: Array,
    blurred: Array,
    *,
    pupil: bp.Pupil,
    registration: Registration | None,
    size: int | None,
    heldout: HeldOut,
    block: int | None,
    max_radius: float | None,
    shading: bool = True,
    tone: bool = False,
    peak: float = 1.0,
) -> Pair:
    """Check, register and divide a pair; ``size`` is the odd width of the kernels, by default from the blur found."""
    x, y = checked_pair(name, sharp, blurred)
    largest = default_radius(x.shape) if max_radius is None else float(max_radius)
    if registration is not None and len(registration.gain) != len(x):
        raise ValueError(f"{name}: expected a registration of {len(x)} colours, got {len(registration.gain)}")
    if registration is not None and len(registration.tone) not in (0, len(x)):
        raise ValueError(f"{name}: expected a tone curve for each of {len(x)} colours, got {len(registration.tone)}")
    if tone or (registration is not None and registration.tone):
        check_range(name, x, y)
    usable = ~clipped(y)
    found = registration or estimate(x, y, pupil=pupil, max_radius=largest, shading=shading)
    if size is None:
        size = 2 * (ceil(1.4 * abs(found.radius)) + 3) + 1
    require_integer(name, "size", size, 3, odd=True, unit="px")
    rows, cols = x.shape[1:]
    if 3 * size > min(rows, cols):
        raise ValueError(f"{name}: kernels of {size} px are too wide for {rows} x {cols} px; pass a smaller size")
    second = None
    if isinstance(heldout, str):
        if heldout != "blocks":
            raise ValueError(f'{name}: heldout must be "blocks" or a second pair (sharp, blurred), got {heldout!r}')
        side = _block_side(name, block, size, rows, cols)
        train, held, fold = checkerboard((rows, cols), side, guard=size)
    else:
        second = _second(name, heldout, x)
        train, held = np.ones((rows, cols), dtype=bool), np.zeros((rows, cols), dtype=bool)
        fold = checkerboard((rows, cols), max(8, min(rows, cols) // 6), guard=0)[2]
    if registration is None:
        found = estimate(
            x, y, pupil=pupil, max_radius=largest, shading=shading, tone=tone, start=found,
            mask=train if second is None else None,
        )  # fmt: skip
    inside = found.inside(x.shape, size // 2 + 2) & usable
    if second is None and not (held & inside).any():
        raise ValueError(
            f"{name}: no pixel is left to hold out of {rows} x {cols} px with kernels of {size} px; pass a second pair "
            f"as heldout, or a smaller size"
        )
    return Pair(
        name=name, x=found.light(x), y=y, registration=found, support=size, seen=train & inside,
        held=held & inside, fold=fold, second=second, like=sharp, peak=peak, shading=shading,
    )  # fmt: skip


def checkerboard(shape: tuple[int, int], side: int, *, guard: int) -> tuple[Mask, Mask, np.ndarray[Any, Any]]:
    """Divide a frame into blocks in turn fitted to and held out.

    Returns
    -------
    train, held : ndarray of bool
        Held-out blocks lose a band of `guard` px on every side, so that no kernel reaches from one into a training
        block's pixels.
    fold : ndarray of int
        Alternate rows of blocks.
    """
    row, col = (np.arange(n) // side for n in shape)
    odd = (row[:, None] + col) % 2 == 1
    deep = [np.minimum(np.arange(n) % side, side - 1 - np.arange(n) % side) >= guard for n in shape]
    held = odd & (deep[0][:, None] & deep[1])
    return ~odd, held, np.broadcast_to(row[:, None] % 2, shape)


def _block_side(name: str, block: int | None, size: int, rows: int, cols: int) -> int:
    if block is None:
        return max(2 * size + 4, min(max(64, GUARDS * size), min(rows, cols) // 2))
    return require_integer(name, "block", block, 2 * size + 1, unit="px, twice the kernel's width")


def _second(name: str, heldout: Any, x: Image) -> tuple[Image, Image]:
    try:
        sharp, blurred = heldout
    except (TypeError, ValueError):
        raise ValueError(f'{name}: heldout must be "blocks" or a second pair (sharp, blurred)') from None
    other = checked_pair(name, sharp, blurred)
    if other[0].shape != x.shape:
        raise ValueError(f"{name}: expected a held-out pair of shape {x.shape} like the first, got {other[0].shape}")
    return other
