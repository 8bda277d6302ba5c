"""The primitives as operators of torch: fused in both directions, twice differentiable, opaque to `torch.compile`.

Each primitive F(image; parameters) becomes three operators: itself, its adjoint, and its gradients, which is one pass
of an engine for all that are asked for. Let ``T = <u, F(x)>``. The gradients operator returns any of F(x), F^T u and
dT/dparameter, so it is the backward pass of both other operators. Its own backward pass is made of calls to itself,
because T is linear in x, in u and in every parameter but the taps and atoms. Only a gradient of *their* gradient is
left to the reference.

What is kept for the backward pass is the input; levels and filtered images are computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .. import reference
from ..primitives import FUSED, Dependence, Direction, Primitive
from .values import engine

__all__ = ["FUNCTIONS", "OPERATORS", "Operators"]


def _replaced(arguments: Sequence[Any], place: int, value: Any) -> list[Any]:
    return [value if i == place else a for i, a in enumerate(arguments)]


def _summed(parts: Sequence[Any]) -> Any:
    given = [p for p in parts if p is not None]
    return sum(given[1:], given[0]) if given else None


def _alias(v: Any) -> Any:
    """Return the same values as a node of their own: inputs that depend on each other are told apart."""
    return v.view_as(v) if v.requires_grad else v.detach().requires_grad_()


class _Saved:
    """Tensors of a call kept by autograd, the other arguments beside them."""

    @staticmethod
    def keep(ctx: Any, values: Sequence[Any]) -> None:
        ctx.tensor = [isinstance(v, torch.Tensor) for v in values]
        ctx.other = [None if is_tensor else v for v, is_tensor in zip(values, ctx.tensor, strict=True)]
        ctx.save_for_backward(*(v for v, is_tensor in zip(values, ctx.tensor, strict=True) if is_tensor))
        ctx.set_materialize_grads(False)

    @staticmethod
    def restore(ctx: Any) -> list[Any]:
        tensors = iter(ctx.saved_tensors)
        return [next(tensors) if is_tensor else v for v, is_tensor in zip(ctx.other, ctx.tensor, strict=True)]


def _register(name: str, schema: str, function: Callable[..., Any]) -> Any:
    return torch.library.custom_op(f"blurphys::{name}", function, mutates_args=(), schema=schema)


def _runner(name: str) -> Callable[..., Any]:
    def run(image: Any, *arguments: Any) -> Any:
        return engine(name, image)(image, *arguments).contiguous()

    return run


class Operators:
    """The three operators of one primitive, registered with torch.

    Attributes
    ----------
    forward, adjoint : callable
        ``(image, *arguments) -> image``.
    gradients : callable
        ``(x, u, *arguments, wanted) -> (y, gx, *gradients of the parameters)``; empty tensors for what is not wanted.
    """

    def __init__(self, primitive: Primitive) -> None:
        self.primitive = primitive
        results = ", ".join(["Tensor"] * (2 + len(primitive.differentiated)))
        image = f"(Tensor image, {primitive.schema}) -> Tensor"
        both = f"(Tensor x, Tensor u, {primitive.schema}, bool[] wanted) -> ({results})"
        self.forward = _register(primitive.name, image, _runner(primitive.name))
        self.adjoint = _register(primitive.adjoint, image, _runner(primitive.adjoint))
        self.gradients = _register(primitive.gradients, both, self._run_gradients)
        self.forward.register_fake(self._fake(Direction.FORWARD))
        self.adjoint.register_fake(self._fake(Direction.ADJOINT))
        self.gradients.register_fake(self._fake_gradients)
        self.forward.register_autograd(self._forward_backward, setup_context=self._setup)
        self.adjoint.register_autograd(self._adjoint_backward, setup_context=self._setup)
        self.gradients.register_autograd(self._gradients_backward, setup_context=self._setup)

    # ---- values ---------------------------------------------------------------------------------------------------

    def _run_gradients(self, x: Any, u: Any, *rest: Any) -> tuple[Any, ...]:
        found = engine(self.primitive.gradients, x)(x, u, *rest)
        return tuple(x.new_empty(0) if g is None else g.contiguous() for g in found)

    def _fake(self, direction: Direction) -> Callable[..., Any]:
        def fake(image: Any, *arguments: Any) -> Any:
            channels = self.primitive.result_channels(image.shape[-3], arguments, direction)
            return image.new_empty((*image.shape[:-3], channels, *image.shape[-2:]))

        return fake

    def _fake_gradients(self, x: Any, u: Any, *rest: Any) -> tuple[Any, ...]:
        *arguments, wanted = rest
        shapes = [u, x, *(arguments[i] for i in self.primitive.differentiated)]
        return tuple(
            x.new_empty(like.shape if want and like is not None else 0)
            for like, want in zip(shapes, wanted, strict=True)
        )

    # ---- derivatives ----------------------------------------------------------------------------------------------

    @staticmethod
    def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _Saved.keep(ctx, inputs)

    def _needed(self, ctx: Any, first: int) -> list[bool]:
        """Which parameters need a gradient; the arguments start at `first` among the inputs."""
        return [ctx.needs_input_grad[first + i] for i in self.primitive.differentiated]

    def _asked(self, *arguments: Any) -> list[Any]:
        """Call `gradients`, and put None for the empty tensors that stand for what is not wanted."""
        found = self.gradients(*arguments)
        return [g if want else None for g, want in zip(found, arguments[-1], strict=True)]

    def _placed(self, count: int, images: Sequence[Any], gradients: Sequence[Any]) -> tuple[Any, ...]:
        """The gradients of all inputs: the images first, then None where an argument has none."""
        found: list[Any] = [*images, *[None] * (count - len(images))]
        for i, g in zip(self.primitive.differentiated, gradients, strict=True):
            found[len(images) + i] = g
        return tuple(found)

    def _forward_backward(self, ctx: Any, v: Any) -> tuple[Any, ...]:
        inputs = _Saved.restore(ctx)
        if v is None:
            return (None,) * len(inputs)
        x, *arguments = inputs
        wanted = [False, ctx.needs_input_grad[0], *self._needed(ctx, 1)]
        _, gx, *found = self._asked(x, v, *arguments, wanted)
        return self._placed(len(inputs), [gx], found)

    def _adjoint_backward(self, ctx: Any, v: Any) -> tuple[Any, ...]:
        inputs = _Saved.restore(ctx)
        if v is None:
            return (None,) * len(inputs)
        u, *arguments = inputs
        wanted = [ctx.needs_input_grad[0], False, *self._needed(ctx, 1)]
        y, _, *found = self._asked(v, u, *arguments, wanted)
        return self._placed(len(inputs), [y], found)

    def _gradients_backward(self, ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        inputs = _Saved.restore(ctx)
        x, u, *arguments, asked = inputs
        need_x, need_u = ctx.needs_input_grad[:2]
        needs = self._needed(ctx, 2)
        cy, cx, *others = (c if want else None for c, want in zip(cotangents, asked, strict=True))
        parts: list[Sequence[Any]] = []  # each: (for u, for x, for every parameter)
        if cy is not None:  # <cy, F(x)>
            parts.append((None, *self._asked(x, cy, *arguments, [False, need_x, *needs])[1:]))
        if cx is not None:  # <cx, F^T u> = <u, F(cx)>
            gu, _, *found = self._asked(cx, u, *arguments, [need_u, False, *needs])
            parts.append((gu, None, *found))
        for place, c in zip(self.primitive.differentiated, others, strict=True):
            if c is None or arguments[place] is None:
                continue
            dependence = self.primitive.arguments[place].dependence
            if dependence is Dependence.CURVED:
                parts.append(self._second_order(x, u, arguments, place, c, [need_u, need_x, *needs]))
            else:  # linear in this parameter: F with the cotangent in its place
                rest = [n and i != place for i, n in zip(self.primitive.differentiated, needs, strict=True)]
                asks = [need_u, need_x, *rest]
                parts.append(self._asked(x, u, *_replaced(arguments, place, c), asks))
                if dependence is Dependence.AFFINE:
                    origin = self._asked(x, u, *_replaced(arguments, place, torch.zeros_like(c)), asks)
                    parts.append([None if g is None else -g for g in origin])
        if not parts:
            return (None,) * len(inputs)
        gu, gx, *found = (_summed(column) for column in zip(*parts, strict=True))
        return self._placed(len(inputs), [gx, gu], found)

    def _second_order(
        self, x: Any, u: Any, arguments: Sequence[Any], place: int, c: Any, needs: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate ``<c, dT/dparameter>`` by recording the reference."""
        higher = torch.is_grad_enabled()
        with torch.enable_grad():
            leaves = [u, x, *(arguments[i] for i in self.primitive.differentiated)]
            leaves = [None if v is None else _alias(v) for v in leaves]
            own: list[Any] = list(arguments)
            for i, leaf in zip(self.primitive.differentiated, leaves[2:], strict=True):
                own[i] = leaf
            y = getattr(reference, self.primitive.name)(leaves[1], *own)
            (first,) = torch.autograd.grad(y, own[place], leaves[0], create_graph=True)
            if not first.requires_grad:  # of images without a pixel
                return tuple(torch.zeros_like(v) if need else None for v, need in zip(leaves, needs, strict=True))
            chosen = [v for v, need in zip(leaves, needs, strict=True) if need]
            found = iter(torch.autograd.grad(first, chosen, c, create_graph=higher, allow_unused=True))
        return tuple(next(found) if need else None for need in needs)


OPERATORS = {name: Operators(primitive) for name, primitive in FUSED.items()}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: function
    for own in OPERATORS.values()
    for name, function in ((own.primitive.name, own.forward), (own.primitive.adjoint, own.adjoint))
}
"""The operators of torch for both directions of every primitive, by name."""
