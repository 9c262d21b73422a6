"""Trading time for memory: a function that runs again in the backward pass."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from . import _core
from ._core import istracked

__all__ = ["checkpoint"]


A = TypeVar("A")
R = TypeVar("R")


class _Scope(threading.local):
    """The modes of the layers that the running checkpoint met, or meets again."""

    log: list[bool] | None = None
    again: deque[bool] | None = None


_scope = _Scope()


def mode(active: bool) -> bool:
    """True if a layer is active: in a checkpoint's second run, what it was in the first."""
    if _scope.again:
        active = _scope.again.popleft()
    if _scope.log is not None:
        _scope.log.append(active)
    return active


@overload
def checkpoint(f: Callable[[A], R], arg: A, /) -> R: ...
@overload
def checkpoint(f: Callable[..., R], /, *args: Any) -> R: ...
def checkpoint(f: Callable[..., Any], /, *args: Any) -> Any:
    """`checkpoint(f, *args)`: f(*args), of which no intermediate result is kept.

    `f` runs once more in the backward pass, with the same random numbers, the same modes of its
    layers, and the state that it found; what it writes then goes nowhere.

    >>> import fluxrs
    >>> W = fluxrs.param([2.0, 3.0])
    >>> fluxrs.back(checkpoint(lambda x: (W * x**2).sum(), 5))
    >>> W.grad.tolist()
    [25.0, 25.0]
    """
    random = _core.random_state()
    log: list[bool] = []
    first = _core.passing()
    with _scoped(log=log), first as since:
        y = f(*args)
    if not istracked(y):
        parts = y.values() if isinstance(y, dict) else y if isinstance(y, (list, tuple)) else ()
        if any(map(istracked, parts)):
            raise TypeError(
                f"checkpoint: the function returns one tensor, got a {type(y).__name__}"
            )
        return y
    if _scope.log is not None:
        _scope.log.extend(log)

    def again() -> Any:
        with _scoped(again=deque(log)), _core.replay(random, first):
            return f(*args)

    return _core.checkpointed(y, since, again)


@contextlib.contextmanager
def _scoped(**new: Any) -> Iterator[None]:
    old = {name: getattr(_scope, name) for name in new}
    vars(_scope).update(new)
    try:
        yield
    finally:
        vars(_scope).update(old)
