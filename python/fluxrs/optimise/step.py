"""The base of every optimiser: its parameters, their gradients, and the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar
from unicodedata import normalize

import numpy as np

from .. import _core
from .._core import DimensionMismatch, Params, Tensor, data, isleaf, istracked, tensor
from ..names import greek, nearest, shown, written
from ..treelike import treelike

_OWN = ("params", "state", "t")


@treelike
class Optimiser:
    """Base of all optimisers: `opt()` takes a step with the gradients that `back` accumulated.

    A subclass has its hyperparameters in `__init__`; they are attributes, to be read and set at
    any time. `t` counts the steps. One that is not in the core names its state in `slots`, and has a method
    `rule(p, δ, *state)` that returns what is added to `p` and then the new state.
    """

    core: ClassVar[str] = ""
    slots: ClassVar[tuple[str, ...]] = ()
    params: Params
    state: list[tuple[Any, ...]]
    t: int
    η: float = 1.0
    ρ: float = 0.9
    β1: float = 0.9
    β2: float = 0.999
    ϵ: float = 1e-8
    decay: float = 0
    couple: bool = False

    def __init__(self, params: Any, **hyper: Any) -> None:
        self.params = _checked(type(self).__name__, params)
        for name, value in hyper.items():
            setattr(self, name, value)
        self.t = 0
        slots = _core.rules()[self.core] if self.core else self.slots
        self.state = [tuple(_core.state(p) for _ in slots) for p in self.params]

    if not TYPE_CHECKING:  # a checker that saw it would take any attribute for one that can be set

        def __setattr__(self, name: str, value: Any) -> None:
            _check_attribute(type(self), name, value)
            object.__setattr__(self, name, value)

    def __call__(self, grads: Any = None) -> None:
        """One step, with `grads` or the accumulated `.grad`s; these are zero afterwards.

        `grads` is what `gradient(f, ps)` gave, or arrays in the order of the parameters.
        """
        δs = _accumulated(self) if grads is None else _given(self, grads)
        before = _core.queue_position()
        try:
            self.queue(δs)
            del δs  # what has no other reference need not be kept
            _core.commit(self)
        except BaseException:
            _core.discard(before)
            raise

    def _check(self) -> None:
        slots = _core.rules()[self.core] if self.core else self.slots
        wanted = [[p.shape] * len(slots) for p in self.params]
        if [[getattr(s, "shape", None) for s in state] for state in self.state] != wanted:
            raise ValueError(f"{type(self).__name__}: the state does not fit the parameters")
        if self.t < 0:
            raise ValueError(f"{type(self).__name__}: t counts the steps, got {self.t}")
        for name in _RANGES.keys() & vars(self).keys():
            _check_number(type(self).__name__, name, getattr(self, name))

    def queue(self, δs: Sequence[Any]) -> None:
        """Queue the updates of all parameters, by the rule of the core or one's own."""
        if self.core:
            t = self.t + 1
            hyper = (self.η, self.ρ, self.β1, self.β2, self.ϵ, self.decay, self.couple, t)
            _core.step(self.core, hyper, self.params, δs, self.state)
            return
        steps = [self._ruled(*args) for args in self._arguments(δs)]
        Δs, new = [Δ for Δ, *_ in steps], [value for _, *values in steps for value in values]
        _core.change(list(self.params), Δs, [s for state in self.state for s in state], new)

    def _arguments(self, δs: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        for p, δ, state in zip(self.params, δs, self.state, strict=True):
            yield data(p), data(p) * 0 if δ is None else tensor(δ, dtype=p.dtype), *map(data, state)

    def _ruled(self, *args: Any) -> tuple[Any, ...]:
        given = self.rule(*args)
        if not isinstance(given, tuple) or len(given) != 1 + len(self.slots):
            wanted = ", ".join(("Δ", *self.slots))
            raise TypeError(f"{type(self).__name__}.rule returns a tuple ({wanted}), got {given!r}")
        return given

    def rule(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """`rule(p, δ, *state)`: what is added to `p`, then the new state. `self.t` steps were taken before."""
        raise NotImplementedError(f"{type(self).__name__} has no rule(p, δ, *state)")

    def __repr__(self) -> str:
        hyper = ", ".join(f"{written(k)}={v!r}" for k, v in vars(self).items() if k not in _OWN)
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
            raise TypeError(
                f"{name}: item {i} of the list is no parameter made by `param`: {p!r}; params(model) collects them"
            )
    if not ps:
        raise ValueError(
            f"{name}: there are no parameters to step; params(model) finds those made by `param`, in layers, "
            "in lists, tuples and dicts, and in objects of classes that are @treelike"
        )
    if len(Params(ps)) != len(ps):
        raise ValueError(f"{name}: the list holds a parameter twice")
    return Params(ps)


# The values that a hyperparameter may have: from 0 on, up to but without a bound.
_RANGES = {"η": inf, "ρ": 1, "β1": 1, "β2": 1, normalize("NFKC", "ϵ"): inf, "decay": inf}


def _check_attribute(cls: type, name: str, value: Any) -> None:
    if name in _RANGES:
        _check_number(cls.__name__, name, value)
    known = getattr(vars(cls).get("__init__"), "names", ())
    ours = cls.__module__ == "fluxrs.optimise.optimisers"
    if ours and name not in _OWN and greek(name, known) not in known:
        hint = nearest(cls.__name__, name, [n for n in known if n not in _OWN])
        raise AttributeError(f"{cls.__name__} has no attribute {name!r}; {hint}")


def _check_number(name: str, k: str, v: Any) -> None:
    if not hasattr(v, "__float__") and not hasattr(v, "__index__"):
        raise TypeError(f"{name}: {shown(k)} must be a number, got {v!r}")
    if not 0 <= v < _RANGES[k]:
        wanted = "at least 0 and finite" if _RANGES[k] == inf else "at least 0 and below 1"
        raise ValueError(f"{name}: {shown(k)} must be {wanted}, got {v!r}")


def _accumulated(opt: Optimiser) -> Any:
    """Each parameter's δ: what `back` left, or once the latest living `Grads` that covers them."""
    δs = _core.take_gradients(opt.params)
    if δs is None:
        raise RuntimeError(
            f"{type(opt).__name__}: no gradient has reached its parameters since the last step; "
            "call back(loss) before opt(), or opt(grads) with gradient(f, ps)"
        )
    return δs


def _given(opt: Optimiser, grads: Any) -> list[Any]:
    if isinstance(grads, Mapping):
        δs = [grads[p] for p in opt.params]
    elif isinstance(grads, (list, tuple)):
        δs = list(grads)
    else:
        raise TypeError(
            f"opt(grads) takes gradient(f, ps) or a list of arrays, got {grads!r}; of a loss, call back(loss), then opt()"
        )
    shapes, wanted = [np.shape(δ) for δ in δs], [p.shape for p in opt.params]
    if shapes != wanted:
        raise DimensionMismatch(
            f"opt(grads): gradients of shapes {shapes} for parameters of {wanted}"
        )
    # Arrays go where the parameters are.
    return [
        δ if isinstance(δ, Tensor) else tensor(δ, dtype=p.dtype).to(p.device)
        for p, δ in zip(opt.params, δs, strict=True)
    ]
