"""A model is a tree: its parameters are leaves that these functions walk and map."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar, overload

import numpy as np

from ._core import DimensionMismatch, Params, Tensor, commit, isleaf, istracked, tensor
from .elsewhere import teach

C = TypeVar("C", bound=type)

# Where `grad` keeps the gradients of an object's methods.
GRADIENTS = "__fluxrs_gradients__"

# Models have fewer levels; without a bound the paths of a hostile one would fill the memory.
DEEPEST = 1000


@overload
def treelike(cls: C, /) -> C: ...
@overload
def treelike(*fields: str) -> Callable[[C], C]: ...
def treelike(*args: Any) -> Any:
    """`@treelike` or `@treelike("W", "b")`: make a class's objects part of the model's tree.

    The children of an object are the named fields; else a dataclass's fields; else its
    attributes in the order they were set. `params`, `gpu`, `save`, … reach them.

    >>> from dataclasses import dataclass
    >>> import fluxrs
    >>> @fluxrs.treelike
    ... @dataclass
    ... class Affine:
    ...     W: fluxrs.Tensor
    ...     b: fluxrs.Tensor
    ...     def __call__(self, x): return x @ self.W.T + self.b
    >>> len(fluxrs.params(Affine(fluxrs.param(fluxrs.rand(2, 5)), fluxrs.param(fluxrs.rand(2)))))
    2
    """
    if len(args) == 1 and isinstance(args[0], type):
        return _register(args[0], None)
    if not args or not all(isinstance(a, str) for a in args):
        raise TypeError('treelike decorates a class: @treelike, or @treelike("W", "b")')
    return lambda cls: _register(cls, args)


def _register(cls: Any, fields: tuple[str, ...] | None) -> Any:
    if fields is None and hasattr(cls, "__dataclass_fields__"):
        from dataclasses import fields as declared

        fields = tuple(f.name for f in declared(cls))
    cls.__treelike__ = fields
    teach(cls)
    return cls


def fields(x: Any) -> dict[str, Any] | None:
    """The named children of a treelike object; None for anything else."""
    if isinstance(x, type) or not hasattr(type(x), "__treelike__"):
        return None
    names = type(x).__treelike__
    return state(x) if names is None else {n: getattr(x, n) for n in names}


def state(x: Any) -> dict[str, Any]:
    """What was set on an object, without the gradients of its methods."""
    return {n: c for n, c in vars(x).items() if n != GRADIENTS}


def named_children(x: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The children of a node, each with its name in a path: `W`, `0`, a dict's key."""
    if isinstance(x, Tensor):
        return iter(())
    if isinstance(x, (list, tuple, Params)):
        return ((str(i), c) for i, c in enumerate(x))
    if isinstance(x, dict):
        return ((str(k), c) for k, c in x.items())
    named = fields(x)
    if named is None:
        _refuse_hidden(x, path)
    return iter((named or {}).items())


# Objects that are looked into at most, for tensors out of sight.
_LOOKS = 1000


def _refuse_hidden(x: Any, path: str = "") -> None:
    """A model that holds tensors out of sight would silently not train, move or change its mode."""
    if not _attributes(x):
        return
    seen: dict[int, Any] = {}
    pending = [x]
    while pending and len(seen) < _LOOKS:
        y = pending.pop()
        if isinstance(y, Tensor) or fields(y) is not None:
            kind = type(x).__name__
            raise TypeError(
                f"{path or 'this'} is a {kind}, which holds tensors or layers and is not @treelike: params, "
                f"gpu, testmode and save would not see them; write @treelike before the class {kind}"
            )
        if id(y) in seen:
            continue
        seen[id(y)] = y
        if isinstance(y, (list, tuple, Params)):
            pending.extend(y)
        elif isinstance(y, dict):
            pending.extend(y.values())
        else:
            pending.extend(_attributes(y))


def _attributes(x: Any) -> list[Any]:
    """The values of an object's attributes; none for what is no model."""
    if isinstance(x, _OPAQUE):
        return []
    slots = [s for c in type(x).__mro__ for s in _names(c.__dict__.get("__slots__", ()))]
    named = {s: getattr(x, s) for s in slots if s != "__dict__" and hasattr(x, s)}
    return [*named.values(), *getattr(x, "__dict__", {}).values()]


def _names(slots: Any) -> Iterable[str]:
    return [slots] if isinstance(slots, str) else slots


# Functions and modules have a `__dict__` and are no models.
_OPAQUE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, np.ndarray, np.ufunc)


def children(x: Any) -> tuple[Any, ...]:
    """The direct children of a node of a model: none for a tensor, a number or a function.

    >>> import fluxrs
    >>> fluxrs.children([1, (2, 3)])
    (1, (2, 3))
    """
    return tuple(c for _, c in named_children(x))


def walk(x: Any) -> Iterator[tuple[str, Any]]:
    """Every node below `x`, parents first and each object once, with its path."""
    seen: dict[int, Any] = {}
    pending = [("", x, 0)]
    while pending:
        path, node, depth = pending.pop()
        if id(node) in seen:
            continue
        if depth > DEEPEST:
            raise ValueError(f"a model nested more than {DEEPEST} deep, at {path[:40]}…")
        seen[id(node)] = node
        yield path, node
        children = named_children(node, path)
        below = [(f"{path}.{name}" if path else name, c, depth + 1) for name, c in children]
        pending.extend(reversed(below))


def prefor(f: Callable[[Any], object], x: Any) -> None:
    """Call `f` on every node of the tree `x`, parents first, shared nodes once.

    >>> import fluxrs
    >>> fluxrs.prefor(print, (1, [2, 3]))
    (1, [2, 3])
    1
    [2, 3]
    2
    3
    """
    for _, node in walk(x):
        f(node)


def mapleaves(f: Callable[[Any], Any], x: Any) -> Any:
    """A copy of the tree `x` with every leaf `l` replaced by `f(l)`.

    What is shared in `x` is shared in the copy. No constructor runs. Numbers and functions, such as
    a layer's activation, are leaves too.

    >>> import fluxrs
    >>> fluxrs.mapleaves(lambda n: 10 * n, {"a": 1, "b": [2, 3]})
    {'a': 10, 'b': [20, 30]}
    """
    return _map(f, x, {})


def _map(f: Callable[[Any], Any], x: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    def go(y: Any) -> Any:
        return _map(f, y, done)

    def keep(y: Any) -> Any:
        done[id(x)] = (x, y)
        return y

    if id(x) in done:
        return done[id(x)][1]
    if isinstance(x, list):
        out = keep([])
        out.extend(go(c) for c in x)
        return out
    if isinstance(x, dict):
        out = keep(copy.copy(x))
        out.update((k, go(c)) for k, c in x.items())
        return out
    if isinstance(x, Params):
        return keep(Params([go(c) for c in x]))
    if isinstance(x, tuple):
        cs = [go(c) for c in x]
        return keep(type(x)(*cs) if hasattr(x, "_fields") else tuple(cs))
    named = None if isinstance(x, Tensor) else fields(x)
    if named is None:
        _refuse_hidden(x)
        return keep(f(x))
    out = keep(copy.copy(x))
    for name, c in named.items():
        object.__setattr__(out, name, go(c))
    return out


def params(*models: Any) -> Params:
    """`params(m, …)`: every trainable leaf of the models, in order, shared ones once.

    >>> import fluxrs
    >>> m = fluxrs.Chain(fluxrs.Dense(10, 5), fluxrs.Dense(5, 2))
    >>> [p.shape for p in fluxrs.params(m)]
    [(5, 10), (5,), (2, 5), (2,)]
    """
    tree = models[0] if len(models) == 1 else models
    return Params(list(named_params(tree).values()))


def named_params(m: Any) -> dict[str, Tensor]:
    return {path: x for path, x in walk(m) if istracked(x) and isleaf(x)}


def loadparams(m: Any, xs: Sequence[Any] | Mapping[str, Any] | Params) -> None:
    """`loadparams(m, xs)`: copy the arrays `xs` into the parameters of `m`.

    `xs` is in the order of `params(m)`, or a mapping from a parameter's path to its array.
    Another count, name or shape raises a ValueError that lists the differences, and `m`
    is as it was.

    >>> import fluxrs
    >>> a, b = fluxrs.Dense(2, 3), fluxrs.Dense(2, 3)
    >>> fluxrs.loadparams(a, fluxrs.params(b))
    >>> bool((a.W == b.W).all())
    True
    """
    leaves = named_params(m)
    if isinstance(xs, str) or not isinstance(xs, Iterable):
        raise TypeError(
            f"loadparams takes arrays in the order of params(m), or a mapping, got {xs!r}"
        )
    if isinstance(xs, Mapping):
        given = dict(xs)
        wrong = [f"{n} is missing" for n in leaves if n not in given]
        wrong += [f"{n} is not in the model" for n in given if n not in leaves]
    else:
        arrays = list(xs)
        given = dict(zip(leaves, arrays, strict=False))
        same = len(arrays) == len(leaves)
        wrong = [] if same else [f"{len(arrays)} arrays for {len(leaves)} parameters"]
    values = {n: _plain(x, leaves.get(n)) for n, x in given.items()}
    misshapen = [
        f"{n} is {leaves[n].shape}, got {x.shape}"
        for n, x in values.items()
        if n in leaves and leaves[n].shape != x.shape
    ]
    if wrong or misshapen:
        kind = ValueError if wrong else DimensionMismatch
        raise kind("loadparams: " + "; ".join(wrong + misshapen))
    for n, x in values.items():
        leaves[n].data = x
    commit()  # or a bad loss of the next step would take it back


def _plain(x: Any, leaf: Tensor | None) -> Any:
    dtype = None if leaf is None else leaf.dtype
    return np.array(x) if isinstance(x, Tensor) else tensor(x, dtype=dtype).numpy()
