"""Operators of torch tensors as a `deepinv.physics.LinearPhysics`."""

from __future__ import annotations

from functools import cache
from typing import Any

from array_api_compat import device, is_torch_array

from ..linop.base import LinearOperator
from ..linop.structure import flatten, unflatten
from .optional import require

__all__ = ["as_deepinv"]


def as_deepinv(A: LinearOperator) -> Any:
    """Return a `deepinv.physics.LinearPhysics` on tensors (B, C, H, W) that behaves like the physics of deepinv.

    Parameters
    ----------
    A : LinearOperator
        Of torch tensors, or without an array (Identity).

    Returns
    -------
    deepinv.physics.LinearPhysics
        The arrays of A are its buffers, under the names of A's parameters: ``beta``, ``weights``, ``defocus_map``, and
        the kernels of a bank as ``psfs``, or ``psfs_left`` and so on if it has several views. A name that occurs twice
        in a combination is prefixed with its path: ``left_weights``. So ``physics(x, weights=new)`` and
        ``physics.update(weights=new)`` replace them, also by arrays of another batch or size; ``to`` and ``state_dict``
        include them; and ``A_dagger`` and ``prox_l2`` accumulate gradients in those that require one.
        ``load_state_dict`` does not change A, except for arrays that require a gradient, which are written to as torch
        writes to parameters. The PSFs of a pupil are buffers like measured ones. It can be copied and pickled.

    Raises
    ------
    ImportError
        If deepinv is not installed, or cannot be imported.
    TypeError
        If the operator does not consist of torch tensors.

    Notes
    -----
    As with every physics of deepinv, keywords that are not names of buffers are passed to the noise model and otherwise
    ignored. The tensors of an operator class of your own that is not a dataclass are not buffers; deepinv then
    differentiates through the steps of its solver (``implicit_backward_solver=False``), which needs memory for each.
    """
    if A.like is not None and not is_torch_array(A.like):
        raise TypeError(
            f"as_deepinv: expected an operator of torch tensors, got {type(A.like).__module__}; build it from tensors"
        )
    return _kind()(A)


def _unchanged(x: Any, *_: Any, **__: Any) -> Any:
    """Return x: a replacement for lambda functions, which cannot be pickled."""
    return x


def _new_instance() -> Any:
    """Return an instance without its state, for pickle."""
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
            structure, arrays = flatten(A)
            super().__init__(
                A=_unchanged,
                sensor_model=_unchanged,
                noise_model=noise,
                img_size=A.in_shape,
                implicit_backward_solver=not structure.closed,
                device="cpu" if A.like is None else device(A.like),
            )
            self._structure = structure
            self._made: tuple[list[tuple[Any, int]], LinearOperator] | None = None
            for name, array in arrays.items():
                self.register_buffer(name, array)
            self._names = tuple(arrays)

        def __reduce__(self) -> tuple[Any, ...]:
            return _new_instance, (), {**self.__dict__, "_made": None}

        @property
        def blur(self) -> LinearOperator:
            """The operator with the current buffers."""
            arrays = {name: self._buffers[name] for name in self._names}
            stamps = _stamps(arrays)
            if stamps is None:
                return unflatten(self._structure, arrays)
            if self._made is None or not _same(self._made[0], stamps):
                self._made = stamps, unflatten(self._structure, arrays)
            return self._made[1]

        def A(self, x: Any, **parameters: Any) -> Any:
            return _apply_to_parts(self._updated(parameters).forward, x)

        def A_adjoint(self, y: Any, **parameters: Any) -> Any:
            return _apply_to_parts(self._updated(parameters).adjoint, y)

        def update_parameters(self, **parameters: Any) -> None:
            """Replace buffers by name, with arrays converted to their dtype and device; None keeps a buffer.

            Raises
            ------
            TypeError
                If one is not a tensor.
            ValueError
                If their shapes do not fit together; then nothing is changed.
            """
            self._updated(parameters)

        def _updated(self, parameters: dict[str, Any]) -> LinearOperator:
            """Replace the buffers among the parameters, and return the operator."""
            own = {name: parameters[name] for name in self._names if parameters.get(name) is not None}
            super().update_parameters(**{k: v for k, v in parameters.items() if k not in self._names})
            if not own:
                return self.blur
            given = {name: self._fitting(name, value) for name, value in own.items()}
            blur = unflatten(self._structure, {**{name: self._buffers[name] for name in self._names}, **given})
            self._buffers.update(given)
            self.img_size = blur.in_shape
            return blur

        def _fitting(self, name: str, value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"as_deepinv: expected {name} as a torch tensor, got {type(value).__name__}")
            return value.to(self._buffers[name])

        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            # torch writes into the buffers, which are the arrays of the operator A: copy them first, except those that
            # require a gradient, since an optimizer may refer to them.
            for name in self._names:
                if not self._buffers[name].requires_grad:
                    self._buffers[name] = self._buffers[name].clone()
            super()._load_from_state_dict(state_dict, prefix, *rest)

    return BlurPhysics


def _stamps(arrays: dict[str, Any]) -> list[tuple[Any, int]] | None:
    """Return each tensor with its write count; None if an operator of these tensors must not be cached now.

    That is the case if torch records the computation of the operator's derived arrays, or restricts their later use.
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


def _apply_to_parts(apply: Any, x: Any) -> Any:
    return apply(x.real) + 1j * apply(x.imag) if x.is_complex() else apply(x)
