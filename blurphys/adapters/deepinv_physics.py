"""Operators of torch tensors as physics of deepinv."""

from __future__ import annotations

from functools import cache
from typing import Any

from array_api_compat import device, is_torch_array

from ..linop.base import LinearOperator
from ..linop.parts import put_together, take_apart
from .optional import require

__all__ = ["as_deepinv"]


def as_deepinv(A: LinearOperator) -> Any:
    """Return a `deepinv.physics.LinearPhysics` on tensors (B, C, H, W) that behaves like those of deepinv.

    Parameters
    ----------
    A : LinearOperator
        Of torch tensors, or without an array (Identity).

    Returns
    -------
    deepinv.physics.LinearPhysics
        The arrays of A are its buffers, under the names of A's parameters: ``beta``, ``weights``, ``defocus_map``, and
        the kernels of a bank as ``psfs``, or ``psfs_left`` and so on where it has several views; where a combination
        has a name twice, with the way there in front: ``left_weights``. So ``physics(x, weights=new)`` and
        ``physics.update(weights=new)`` take new ones, which stay, of another batch or size too; ``to`` and
        ``state_dict`` have them; and ``A_dagger`` and ``prox_l2`` differentiate in those that require a gradient, into
        their ``grad``. ``load_state_dict`` leaves A as it was, except for arrays that require a gradient: those are
        written to, as torch writes to parameters. The PSFs of a pupil are buffers like measured ones. It can be copied
        and pickled.

    Raises
    ------
    ImportError
        If deepinv is not installed, or does not import.
    TypeError
        If the operator is not made of torch tensors.

    Notes
    -----
    As with every physics of deepinv, a keyword that is no name of a buffer goes to the noise model and is otherwise
    ignored. An operator class of your own that is no dataclass keeps its tensors to itself; deepinv then differentiates
    through its solver's steps (``implicit_backward_solver=False``), which needs memory for each of them.
    """
    if A.like is not None and not is_torch_array(A.like):
        raise TypeError(
            f"as_deepinv: expected an operator of torch tensors, got {type(A.like).__module__}; build it from tensors"
        )
    return _kind()(A)


def _unchanged(x: Any, *_: Any, **__: Any) -> Any:
    """Return x: in the place of functions without a name, which cannot be pickled."""
    return x


def _bare() -> Any:
    """Return a physics without its state, for pickle."""
    kind = _kind()
    return kind.__new__(kind)


@cache
def _kind() -> Any:
    physics: Any = require("deepinv", "deepinv.physics", "as_deepinv")
    import torch

    class BlurPhysics(physics.LinearPhysics):  # type: ignore[misc]
        """A blur with its maps and PSFs as buffers."""

        def __init__(self, A: LinearOperator) -> None:
            noise = physics.ZeroNoise()
            noise.noise_model = _unchanged
            plan, arrays = take_apart(A)
            super().__init__(
                A=_unchanged,
                sensor_model=_unchanged,
                noise_model=noise,
                img_size=A.in_shape,
                implicit_backward_solver=not plan.closed,
                device="cpu" if A.like is None else device(A.like),
            )
            self._plan = plan
            self._made: tuple[list[tuple[Any, int]], LinearOperator] | None = None
            for name, array in arrays.items():
                self.register_buffer(name, array)
            self._names = tuple(arrays)

        def __reduce__(self) -> tuple[Any, ...]:
            return _bare, (), {**self.__dict__, "_made": None}

        @property
        def blur(self) -> LinearOperator:
            """The operator of the buffers as they are now."""
            arrays = {name: self._buffers[name] for name in self._names}
            stamps = _stamps(arrays)
            if stamps is None:
                return put_together(self._plan, arrays)
            if self._made is None or not _same(self._made[0], stamps):
                self._made = stamps, put_together(self._plan, arrays)
            return self._made[1]

        def A(self, x: Any, **parameters: Any) -> Any:
            return _of_both_parts(self._updated(parameters).forward, x)

        def A_adjoint(self, y: Any, **parameters: Any) -> Any:
            return _of_both_parts(self._updated(parameters).adjoint, y)

        def update_parameters(self, **parameters: Any) -> None:
            """Take new arrays by the names of the buffers, brought to their dtype and device; None keeps the old one.

            Raises
            ------
            TypeError
                If one is no tensor.
            ValueError
                If they do not fit to each other; then all stay as they were.
            """
            self._updated(parameters)

        def _updated(self, parameters: dict[str, Any]) -> LinearOperator:
            """Take the new arrays among the parameters, and return the operator."""
            own = {name: parameters[name] for name in self._names if parameters.get(name) is not None}
            super().update_parameters(**{k: v for k, v in parameters.items() if k not in self._names})
            if not own:
                return self.blur
            given = {name: self._fitting(name, value) for name, value in own.items()}
            blur = put_together(self._plan, {**{name: self._buffers[name] for name in self._names}, **given})
            self._buffers.update(given)
            self.img_size = blur.in_shape
            return blur

        def _fitting(self, name: str, value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"as_deepinv: expected {name} as a torch tensor, got {type(value).__name__}")
            return value.to(self._buffers[name])

        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            # torch writes into the buffers, which are the maps of the operator given: those that an optimizer may hold
            # have to stay the same tensors, the others become copies.
            for name in self._names:
                if not self._buffers[name].requires_grad:
                    self._buffers[name] = self._buffers[name].clone()
            super()._load_from_state_dict(state_dict, prefix, *rest)

    return BlurPhysics


def _stamps(arrays: dict[str, Any]) -> list[tuple[Any, int]] | None:
    """Each tensor and how often it was written to; None where an operator made of them now must not be kept.

    That is where torch records what the operator derives from them, or forbids its use outside of this call.
    """
    import torch

    tensors = list(arrays.values())
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    passing = torch.is_inference_mode_enabled() or any(t.is_inference() for t in tensors)
    if recorded or passing or torch._C._are_functorch_transforms_active():
        return None
    return [(t, t._version) for t in tensors]


def _same(a: list[tuple[Any, int]], b: list[tuple[Any, int]]) -> bool:
    return all(t is u and m == n for (t, m), (u, n) in zip(a, b, strict=True))


def _of_both_parts(apply: Any, x: Any) -> Any:
    return apply(x.real) + 1j * apply(x.imag) if x.is_complex() else apply(x)
