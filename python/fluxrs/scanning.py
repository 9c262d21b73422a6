"""scan: a function run step by step over sequences, as one op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from . import _core
from ._core import DimensionMismatch, Tensor, tensor
from .onehot import OneHot

__all__ = ["scan"]

Nest = Any
Step = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    f: Step,
    state: Nest,
    xs: Nest = None,
    *,
    reverse: bool = False,
    length: int | None = None,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """`scan(f, state, xs)`: run `state, y = f(state, x)` for each x of `xs`; returns `(state, ys)`.

    `xs` are tensors whose first axis counts the steps, `ys` are the y stacked on a new first
    axis. State, x and y are tensors in any nest of tuples, lists and dicts, or None; one-hot
    sequences have one-hot rows, whose products gather. With `reverse` the steps go from the last
    row to the first; `ys` keep the order of `xs`. Without `xs` the function runs `length` times,
    with x = None.

    `f` is called once, on tensors without values, and its graph runs at every step: use `where`
    in place of `if`. Gradients of any order go to `state`, `xs`, and to every parameter and tensor
    that `f` uses. They take memory for the states and the products of every step; with
    `checkpoint_every=k` for every k-th state and k steps, which then run once more.

    >>> import fluxrs
    >>> last, sums = scan(lambda s, x: (s + x, s + x), 0.0, fluxrs.tensor([1.0, 2.0, 3.0]))
    >>> float(last), sums.tolist()
    (6.0, [1.0, 3.0, 6.0])

    Raises DimensionMismatch where f gives a state of another shape or dtype than it took, or
    where sequences are of different lengths.
    """
    state = mapped(strong, state, "state")
    xs = mapped(strong, xs, "xs")
    n = _length(xs, length)
    if checkpoint_every is not None:
        return _in_pieces(f, state, xs, n, reverse, _whole("checkpoint_every", checkpoint_every, 1))
    return _run(f, state, xs, n, reverse, passing=False)


def _run(f: Step, state: Nest, xs: Nest, n: int, reverse: bool, passing: bool) -> tuple[Any, Any]:
    with _core.tracing(passing):
        state_arguments = mapped(lambda x, _: _core.argument(x, False), state)
        row_arguments = mapped(lambda x, _: _core.argument(x, True), xs)
        out = f(state_arguments, row_arguments)
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"scan: the function returns (state, y), got {_shown(out)}")
        new, y = mapped(strong, out[0], "state"), mapped(strong, out[1], "y")
        _check(state, new)
        parts = _core.scan_over(
            (leaves(state_arguments), leaves(state)),
            (leaves(row_arguments), leaves(xs)),
            [*leaves(new), *leaves(y)],
            n,
            reverse,
        )
    rest = iter(parts)
    last = mapped(lambda _, __: next(rest), state)
    return last, mapped(lambda _, __: next(rest), y)


def traced_state(f: Step, state: Nest, xs: Nest) -> Nest:
    """The state that f makes of `state` in one step, as tensors without values."""
    state, xs = mapped(strong, state, "state"), mapped(strong, xs, "xs")
    _length(xs, None)
    with _core.replay(_core.random_state()), _core.tracing(False):
        arguments = mapped(lambda x, _: _core.argument(x, False), state)
        new, _ = f(arguments, mapped(lambda x, _: _core.argument(x, True), xs))
        return mapped(strong, new, "state")


def _in_pieces(f: Step, state: Nest, xs: Nest, n: int, reverse: bool, k: int) -> tuple[Any, Any]:
    """The steps k at a time: a scan over scans, of which only the states between are kept."""
    whole = n // k * k

    def piece(s: Nest, part: Nest) -> tuple[Any, Any]:
        return _run(f, s, part, k, reverse, passing=True)

    def pieces(s: Nest, part: Nest) -> tuple[Any, Any]:
        parts = mapped(lambda x, _: x.reshape(whole // k, k, *x.shape[1:]), part)
        s, y = _run(piece, s, parts, whole // k, reverse, passing=False)
        return s, mapped(lambda x, _: x.reshape(whole, *x.shape[2:]), y)

    def rest(s: Nest, part: Nest) -> tuple[Any, Any]:
        return _run(f, s, part, n - whole, reverse, passing=False)

    if whole == 0:
        return rest(state, xs)
    first, last = mapped(lambda x, _: x[:whole], xs), mapped(lambda x, _: x[whole:], xs)
    if whole == n:
        return pieces(state, first)
    if reverse:
        state, late = rest(state, last)
        state, early = pieces(state, first)
    else:
        state, early = pieces(state, first)
        state, late = rest(state, last)
    both = iter(
        [_core.concatenate([a, b]) for a, b in zip(leaves(early), leaves(late), strict=True)]
    )
    return state, mapped(lambda _, __: next(both), early)


def strong(x: Any, path: str = "state") -> Tensor:
    """A leaf of a nest as a tensor."""
    try:
        return x if isinstance(x, Tensor) else tensor(x)
    except TypeError as error:
        raise TypeError(f"scan: {path}: {error}") from None


def _whole(name: str, n: Any, least: int) -> int:
    if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
        raise TypeError(f"scan: {name} must be a whole number, got {n!r}")
    if n.__index__() < least:
        raise ValueError(f"scan: {name} must be >= {least}, got {n}")
    return int(n)


def _length(xs: Nest, length: Any) -> int:
    """The number of steps."""
    named = list(_named(xs, "xs"))
    for path, x in named:
        if x.ndim == 0:
            raise DimensionMismatch(
                f"scan: {path} is a number; a sequence has a first axis of steps"
            )
    lengths = {path: len(x) for path, x in named}
    if length is not None:
        lengths["length"] = _whole("length", length, 0)
    if not lengths:
        raise TypeError(
            "scan: without xs, length says how many steps to run: scan(f, state, length=10)"
        )
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{path} {n}" for path, n in lengths.items())
        raise DimensionMismatch(f"scan: the sequences have different numbers of steps: {shown}")
    return next(iter(lengths.values()))


def _check(old: Nest, new: Nest) -> None:
    """A state is of one form, shape and dtype at every step."""
    before, after = dict(_named(old, "state")), dict(_named(new, "state"))
    if _form(old) != _form(new):
        raise TypeError(
            f"scan: the function took a state of the form {_form(old)} and returned {_form(new)}; "
            "it must return the state in the form in which it came"
        )
    for path, x in before.items():
        y = after[path]
        if x.shape != y.shape:
            raise DimensionMismatch(
                f"scan: {path} had shape {x.shape} before the step and {y.shape} after; a state keeps its "
                f"shape: start with one of {y.shape}, or bring the new one back to {x.shape}"
            )
        if x.dtype != y.dtype:
            raise TypeError(
                f"scan: {path} was {x.dtype} before the step and {y.dtype} after; a state keeps its dtype: "
                f"start with {path}.astype('{y.dtype}'), or return it with .astype('{x.dtype}')"
            )


# Nests ------------------------------------------------------------------------------------------


def _items(x: Any) -> list[tuple[str, Any]] | None:
    """The parts of a nest by the way to them; None for a leaf."""
    if x is None:
        return []
    if isinstance(x, dict):
        return [(f"[{k!r}]", v) for k, v in x.items()]
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return [(f".{k}", v) for k, v in zip(x._fields, x, strict=True)]
    if isinstance(x, (tuple, list)):
        return [(f"[{i}]", v) for i, v in enumerate(x)]
    if isinstance(x, OneHot):
        return [("", x.indices)]
    return None


def _named(x: Any, path: str) -> Iterator[tuple[str, Any]]:
    parts = _items(x)
    if parts is None:
        yield path, x
    for way, part in parts or ():
        yield from _named(part, path + way)


def leaves(x: Any) -> list[Any]:
    """The leaves of a nest, in order."""
    return [leaf for _, leaf in _named(x, "")]


def mapped(g: Callable[[Any, str], Any], x: Any, path: str = "") -> Any:
    """A nest of the same form with g(leaf, path) in place of each leaf."""
    parts = _items(x)
    if parts is None:
        return g(x, path)
    made = [mapped(g, part, path + way) for way, part in parts]
    if isinstance(x, dict):
        return dict(zip(x, made, strict=True))
    if x is None:
        return None
    if isinstance(x, OneHot):
        return x.at(made[0])
    return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)


def _form(x: Any) -> str:
    parts = _items(x)
    if parts is None:
        return "*"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k!r}: {_form(v)}" for k, v in x.items()) + "}"
    if x is None:
        return "None"
    if isinstance(x, OneHot):
        return f"one-hot of {len(x.classes)}"
    inner = ", ".join(_form(v) for _, v in parts)
    if hasattr(x, "_fields"):
        return f"{type(x).__name__}({inner})"
    return f"[{inner}]" if isinstance(x, list) else f"({inner}{',' if len(parts) == 1 else ''})"


def _shown(x: Any) -> str:
    return f"a {type(x).__name__}" + (f" of {len(x)}" if isinstance(x, tuple) else "")
