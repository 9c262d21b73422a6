"""What every optimiser shares: its parameters, their gradients, and the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _core
from .._core import DimensionMismatch, Params, Tensor, isleaf, istracked, update
from ..treelike import treelike


@treelike
class Optimiser:
    """Base of all optimisers: `opt()` takes a step with the gradients that `back` accumulated.

    A subclass has its hyperparameters in `__init__`, names its state in `slots`, and says
    its `rule(p, δ, *state)`. Hyperparameters are attributes, to be read and set at any time.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    decays_gradient: ClassVar[bool] = False
    η: float
    ρ: float
    β1: float
    β2: float
    ϵ: float
    decay: float = 0
    couple: bool

    def __init__(self, params: Any, **hyper: Any) -> None:
        self.params = _checked(type(self).__name__, params)
        for name, value in hyper.items():
            setattr(self, name, value)
        self.t = 0
        self.state = [tuple(_core.state(p) for _ in self.slots) for p in self.params]

    def rule(self, p: Tensor, δ: Any, *state: Any) -> tuple[Any, ...]:
        """What is added to `p`, then the new state."""
        raise NotImplementedError(f"{type(self).__name__} has no rule(p, δ, *state)")

    def shrinkage(self) -> float:
        """Flux's inverse decay, 1 / (1 + decay · (t − 1))."""
        return 1 / (1 + self.decay * (self.t - 1))

    def __call__(self, grads: Any = None) -> None:
        """One step, with `grads` or the accumulated `.grad`s; these are zero afterwards.

        `grads` is what `gradient(f, ps)` gave, or arrays in the order of the parameters.
        """
        δs = _accumulated(self) if grads is None else _given(self, grads)
        self.t += 1
        try:
            for p, δ, state in zip(self.params, δs, self.state, strict=True):
                self._queue(p, δ, state)
            _core.commit()
        except BaseException:
            self.t -= 1
            raise

    def _queue(self, p: Tensor, δ: Any, state: tuple[Tensor, ...]) -> None:
        shrinkage = self.shrinkage()
        if self.decays_gradient and shrinkage != 1:
            δ = shrinkage * δ
        Δ, *new = self.rule(p, δ, *state)
        if not self.decays_gradient and shrinkage != 1:
            Δ = shrinkage * Δ
        for s, value in zip(state, new, strict=True):
            s.data = value
        update(p, Δ)

    def __repr__(self) -> str:
        own = ("params", "state", "t")
        hyper = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k not in own)
        return f"{type(self).__name__}({len(self.params)} parameters, {hyper})"


def _checked(name: str, params: Any) -> Params:
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        hint = "[p]" if isinstance(params, Tensor) else "params(m)"
        raise TypeError(
            f"{name} takes its parameters first, as in {name}({hint}, …); got {params!r}"
        )
    ps = list(params)
    for i, p in enumerate(ps):
        if not (istracked(p) and isleaf(p)):
            raise TypeError(f"{name}: item {i} of the list is no parameter made by `param`: {p!r}")
    if len(Params(ps)) != len(ps):
        raise ValueError(f"{name}: the list holds a parameter twice")
    return Params(ps)


def _accumulated(opt: Optimiser) -> list[Any]:
    """Each parameter's δ: what `back` left, or once the latest living `Grads` that covers them."""
    δs = _core.take_gradients(opt.params)
    if δs is None:
        raise RuntimeError(
            f"{type(opt).__name__}: no gradient has reached its parameters since the last step; "
            "call back(loss) before opt(), or opt(grads) with gradient(f, ps)"
        )
    return list(δs)


def _given(opt: Optimiser, grads: Any) -> list[Any]:
    if isinstance(grads, Mapping):
        δs = [grads[p] for p in opt.params]
    elif isinstance(grads, (list, tuple)):
        δs = list(grads)
    else:
        raise TypeError(f"opt(grads) takes gradient(f, ps) or a list of arrays, got {grads!r}")
    shapes, wanted = [np.shape(δ) for δ in δs], [p.shape for p in opt.params]
    if shapes != wanted:
        raise DimensionMismatch(
            f"opt(grads): gradients of shapes {shapes} for parameters of {wanted}"
        )
    return δs
