"""The training loop and what goes around it."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import numpy as np

from .. import _core
from .._core import Grads, Params, Tensor, back, clip, grad, minimum, sqrt, tensor
from ..names import keywords
from .step import Optimiser

if TYPE_CHECKING:
    from typing_extensions import Never  # in Python since 3.11

Callback = Callable[[], object]
A = ParamSpec("A")
R = TypeVar("R")


class StopException(Exception):
    """Raised by `stop` and caught by `train`."""


def stop() -> None:
    """`stop()`: called in a callback or a loss, ends the `train` that runs.

    >>> from fluxrs import train
    >>> train(lambda d: stop(), [1, 2, 3], [])
    """
    raise StopException("stop() ends the `train` that runs; none does")


@keywords
def train(
    loss: Callable[..., Any],
    data: Iterable[Any],
    opt: Callback | Sequence[Callback],
    *more: Never,
    cb: Callback | Sequence[Callback] = (),
    progress: bool | None = None,
) -> None:
    """`train(loss, data, opt, *, cb=(), progress=None)`: a step for every item of `data`.

    Each: `back(loss(*item))`, the optimiser, the callbacks. An item that is no tuple and no
    list is one argument. `opt` and `cb` may each be a function or a list of functions.
    `progress` shows a bar: always, never, or (None) in a terminal.

    >>> import fluxrs
    >>> m = fluxrs.Dense(2, 1)
    >>> data = [(fluxrs.rand(8, 2), fluxrs.zeros(8, 1))] * 20
    >>> train(lambda x, y: fluxrs.mse(m(x), y), data, fluxrs.SGD(fluxrs.params(m), 0.1))
    """
    opts, cbs = _check((loss, data, opt, *more), cb)
    _core.commit()  # what was queued before is no part of the first step
    empty = True
    try:
        for item in _bar(data, progress):
            empty = False
            _step(loss, item, opts)
            for f in cbs:
                f()
    except StopException:
        pass
    if empty:
        _refuse_empty(data)
    # A GPU may not have told yet how the last steps ended.
    _core.evaluate(*(f.params for f in opts if isinstance(f, Optimiser)))
    _run_trailing()


def _step(loss: Callable[..., Any], item: Any, opts: list[Callback]) -> None:
    args = item if isinstance(item, (tuple, list)) else (item,)
    try:
        l = loss(*args)
    except TypeError:
        misfit = _misfit(loss, args)
        if misfit is None:
            raise
        raise misfit from None
    before = _core.queue_position()
    try:
        back(l)
        for f in opts:
            f()
        _core.commit()  # what a hand-written `opt` has queued belongs to this step
    except BaseException:
        _core.discard(before)
        _core.drop_gradients(l)
        raise


def _misfit(loss: Callable[..., Any], args: Sequence[Any]) -> TypeError | None:
    """The error for an item that has another number of parts than the loss has arguments."""
    try:
        signature = inspect.signature(loss)
    except ValueError:
        return None
    try:
        signature.bind(*args)
    except TypeError:
        parts = ", ".join(
            f"{type(a).__name__} of shape {np.shape(a)}"
            if hasattr(a, "shape")
            else type(a).__name__
            for a in args
        )
        return TypeError(
            f"train: the loss takes {signature}, and an item of the data has {len(args)} "
            f"part{'' if len(args) == 1 else 's'}: {parts}; each item is a step, as in [(x, y)] or batches(x, y, 32)"
        )
    return None


def _check(given: tuple[Any, ...], cb: Any) -> tuple[list[Callback], list[Callback]]:
    loss, data, opt = given[:3]
    opts, cbs = _functions(opt), _functions(cb)
    misplaced = isinstance(loss, Optimiser) or isinstance(data, (Params, Optimiser))
    steps = all(callable(f) and not isinstance(f, type) for f in opts)
    fits = callable(loss) and isinstance(data, Iterable) and steps
    if len(given) > 3 or misplaced or not fits:
        got = ", ".join(type(a).__name__ for a in given)
        raise TypeError(
            f"train takes (loss, data, opt), as in train(loss, data, ADAM(params(m))); got ({got})"
        )
    if not all(map(callable, cbs)):
        raise TypeError(f"train: cb must be a function or a list of functions, got {cb!r}")
    return opts, cbs


def _refuse_empty(data: Iterable[Any]) -> None:
    if isinstance(data, Iterator):
        raise ValueError(
            f"train: the data, a {type(data).__name__}, have no item left: an iterator can be gone through "
            "once; make it anew for every epoch, or a list of it before the first: data = list(zip(xs, ys))"
        )
    raise ValueError(f"train: the data, a {type(data).__name__}, have no item")


def _functions(f: Any) -> list[Callback]:
    return list(f) if isinstance(f, (list, tuple)) else [f]


def _bar(data: Iterable[Any], progress: bool | None) -> Iterable[Any]:
    if progress is None and not sys.stderr.isatty():
        return data
    if progress is False:
        return data
    from tqdm import tqdm

    return tqdm(data, leave=False)


def epochs(n: int) -> Iterator[int]:
    """`for epoch in epochs(n): …`: counts from 1, and says so on stderr.

    >>> for epoch in epochs(2): print("hello")
    hello
    hello
    """
    if not hasattr(n, "__index__"):
        raise TypeError(f"epochs: n must be a whole number, got {n!r}")
    for epoch in range(1, n + 1):
        print(f"Epoch {epoch}", file=sys.stderr)
        yield epoch


_pending = threading.local()


@overload
def throttle(
    f: Callable[A, R], timeout: float, *, leading: bool = ..., trailing: bool = ...
) -> Callable[A, R]: ...
@overload
def throttle(
    f: float, *, leading: bool = ..., trailing: bool = ...
) -> Callable[[Callable[A, R]], Callable[A, R]]: ...
@keywords
def throttle(
    f: Any, timeout: float | None = None, *, leading: bool = True, trailing: bool = False
) -> Any:
    """`throttle(f, timeout, *, leading=True, trailing=False)`: `f`, at most once in `timeout` seconds.

    `@throttle(30)` decorates. `leading` runs the first call of a period, `trailing` its last
    one: on the same thread, at its next call after the period, or when `train` ends.

    >>> f = throttle(print, 30)
    >>> f("once"); f("once")
    once
    """
    if timeout is None and not callable(f):
        return lambda g: throttle(g, f, leading=leading, trailing=trailing)
    if timeout is None or not callable(f) or not hasattr(timeout, "__float__"):
        raise TypeError(
            f"throttle takes a function and a number of seconds, as in throttle(f, 30); got {f!r} and {timeout!r}"
        )
    return Throttled(f, timeout, leading, trailing)


class Throttled:
    """The result of `throttle`: calls `f`, or keeps the call for later, or does nothing."""

    def __init__(
        self, f: Callable[..., Any], timeout: float, leading: bool, trailing: bool
    ) -> None:
        self.f, self.timeout, self.leading, self.trailing = f, timeout, leading, trailing
        self.until = -float("inf")
        self.later: tuple[int, Callback] | None = None
        self.result: Any = None
        functools.update_wrapper(self, f, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = functools.partial(self.f, *args, **kwargs)
        if time.monotonic() >= self.until:
            self.run_later()
        opens = time.monotonic() >= self.until
        if opens:
            self.until = time.monotonic() + self.timeout
        if opens and self.leading:
            self.result = call()
        elif self.trailing or opens:
            self.later = (threading.get_ident(), call)
            if self not in _calls():
                _calls().append(self)
        return self.result

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        """As a method: one period for all objects of the class."""
        return self if obj is None else MethodType(self, obj)

    def run_later(self) -> None:
        """Run the call that was kept, if this thread made it; it opens a new period."""
        if self.later is None or self.later[0] != threading.get_ident():
            return
        (_, call), self.later = self.later, None
        self.until = time.monotonic() + self.timeout
        self.result = call()


def _calls() -> list[Throttled]:
    if not hasattr(_pending, "calls"):
        _pending.calls = []
    calls: list[Throttled] = _pending.calls
    return calls


def _run_trailing() -> None:
    calls = _calls()
    while calls:
        calls.pop(0).run_later()


def clipnorm(ps: Any, c: float) -> Tensor:
    """`clipnorm(ps, c)`: scale the gradients so that their common norm is at most `c`.

    `ps` is parameters, for what `back` left in their `.grad`, or what `gradient(f, ps)` gave.
    Returns the norm as it was. In `train`: `opt=[lambda: clipnorm(ps, 1.0), opt]`.

    >>> import fluxrs
    >>> p = fluxrs.param([3.0, 4.0])
    >>> fluxrs.back((p**2).sum() / 2)
    >>> float(clipnorm([p], 1.0))
    5.0
    >>> [round(g, 4) for g in p.grad.tolist()]
    [0.6, 0.8]
    """
    ps, gs = _gradients("clipnorm", ps, c)
    if not gs:
        return tensor(0.0)
    norm = sqrt(functools.reduce(lambda a, b: a + b, [_core.sum(g**2) for g in gs]))
    scale = minimum(1.0, c / (norm + 1e-12))
    _put(ps, [g * scale for g in gs])
    return norm


def clipvalue(ps: Any, c: float) -> None:
    """`clipvalue(ps, c)`: every element of the gradients between −c and c.

    `ps` is parameters, for what `back` left in their `.grad`, or what `gradient(f, ps)` gave.

    >>> import fluxrs
    >>> p = fluxrs.param([3.0, -0.5])
    >>> grads = fluxrs.gradient(lambda: (p**2).sum() / 2, fluxrs.Params([p]))
    >>> clipvalue(grads, 1.0)
    >>> grads[p].tolist()
    [1.0, -0.5]
    """
    ps, gs = _gradients("clipvalue", ps, c)
    _put(ps, [clip(g, -c, c) for g in gs])


def _gradients(op: str, ps: Any, c: Any) -> tuple[Any, list[Tensor]]:
    """The parameters, or the Grads, and the gradients to clip."""
    if not hasattr(c, "__float__"):
        raise TypeError(f"{op}: the bound c must be a number, got {c!r}")
    if not c >= 0:
        raise ValueError(f"{op}: the bound c must be >= 0, got {c!r}")
    if isinstance(ps, Grads):
        return ps, list(ps.values())
    listed = isinstance(ps, Iterable) and not isinstance(ps, Tensor)
    ps = list(ps) if listed else ps
    gs: list[Any] = [grad(p) for p in ps] if listed else [None]
    if any(g is None for g in gs):
        raise TypeError(
            f"{op} takes parameters made by `param`, as in {op}(params(m), c), or what gradient(f, ps) gave; got {ps!r}"
        )
    return ps, gs


def _put(ps: Any, gs: list[Tensor]) -> None:
    if not isinstance(ps, Grads):
        _core.replace_gradients(ps, gs)
        return
    for p, g in zip(ps, gs, strict=True):
        ps[p] = g
