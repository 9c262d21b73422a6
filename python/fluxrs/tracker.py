"""Gradients: everything in Flux's Tracker, by its names.

The tape itself is native; here are custom gradients and what is built from `gradient`.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from . import _core
from ._core import (
    Grads,
    Params,
    Tensor,
    back,
    data,
    evaluate,
    forward,
    gradient,
    isleaf,
    istracked,
    param,
    stack,
    update,
    withgradient,
    zeros,
)
from .checkpointing import checkpoint
from .treelike import GRADIENTS, params
from .typing import ArrayLike

__all__ = [
    "Grads", "Params", "TrackedArray", "back", "checkpoint", "collect", "data", "derivative",
    "evaluate", "forward", "grad", "gradcheck", "gradient", "hessian", "hook", "isleaf",
    "istracked", "jacobian", "ngradient", "no_grad", "param", "params", "track", "update", "withgradient",
]  # fmt: skip

if TYPE_CHECKING:
    from ._core import no_grad

    TrackedArray = Tensor
else:

    class _Called(type):
        def __enter__(cls) -> None:
            raise TypeError("no_grad is called first: with no_grad(): …")

        def __exit__(cls, *_: object) -> None:
            pass

    class no_grad(_core.no_grad, metaclass=_Called):
        __doc__ = _core.no_grad.__doc__
        __slots__ = ()

    class _Tracked(type):
        def __instancecheck__(cls, x: Any) -> bool:
            return istracked(x)

    class TrackedArray(metaclass=_Tracked):
        """`isinstance(x, TrackedArray)`: is x a tensor that is tracked? `TrackedArray(x)` is `param(x)`."""

        def __new__(cls, x: Any) -> Tensor:
            return param(x)


T = TypeVar("T")
Definition = Callable[..., tuple[Any, Callable[[Tensor], Any]]]

_GRADIENT = "__fluxrs_gradient__"
# Of what is neither a function nor an object's method: those have their own, and take them along when they go.
_definitions: dict[Any, Definition] = {}


class _Methods(dict[Any, Definition]):
    """The gradients of an object's methods, by their functions. A copy of the object has none."""

    def __init__(self, of: Any = None) -> None:
        super().__init__()
        self.of = None if of is None else weakref.ref(of)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Methods, ()

    @staticmethod
    def of_object(x: Any) -> _Methods | None:
        own = getattr(x, "__dict__", {}).get(GRADIENTS)
        return own if isinstance(own, _Methods) and own.of is not None and own.of() is x else None


def _define(f: Any, definition: Definition) -> None:
    if isinstance(f, FunctionType):
        setattr(f, _GRADIENT, (weakref.ref(f), definition))
        return
    if isinstance(f, MethodType) and type(getattr(f.__self__, "__dict__", None)) is dict:
        with contextlib.suppress(TypeError):  # an object without weak references
            own = _Methods.of_object(f.__self__) or _Methods(f.__self__)
            vars(f.__self__)[GRADIENTS] = own
            own[f.__func__] = definition
            return
    _definitions[f] = definition


def _definition(f: Any) -> Definition | None:
    if isinstance(f, MethodType) and (own := _Methods.of_object(f.__self__)) is not None:
        return own.get(f.__func__) or _definitions.get(f)
    if not isinstance(f, FunctionType):
        return _definitions.get(f)
    of, definition = getattr(f, _GRADIENT, (None, None))
    # `functools.wraps` copies a function's attributes to another.
    return definition if of is not None and of() is f else None


@overload
def grad(x: Tensor | np.ndarray[Any, Any] | float) -> Any: ...
@overload
def grad(x: Callable[..., Any]) -> Custom: ...
def grad(x: Any) -> Any:
    """`grad(x)`: the gradient that `back` accumulated in `x`; None if `x` is not tracked.

    `@grad(f)` instead defines the gradient of the function `f`, for `track(f, *args)`: the
    definition returns the value and a pullback. A bare `@grad` makes a tracked function of
    its definition.

    >>> import fluxrs
    >>> p = fluxrs.param([1.0, 2.0])
    >>> fluxrs.back((p**2).sum())
    >>> grad(p).tolist()
    [2.0, 4.0]

    >>> def minus(a, b): return a - b
    >>> @grad(minus)
    ... def _(a, b): return minus(data(a), data(b)), lambda Δ: (Δ, -Δ)
    >>> gradient(lambda a, b: track(minus, a, b), 5, 3)
    (1.0, -1.0)
    """
    if callable(x) and not isinstance(x, Tensor):
        return Custom(x)
    return _core.grad(x)


class Custom:
    """The result of `grad(f)`: called with a function it defines `f`'s gradient, else it is `f` tracked."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        functools.update_wrapper(self, f, updated=())

    @overload
    def __call__(self, definition: Definition, /) -> Callable[..., Any]: ...
    @overload
    def __call__(self, *args: ArrayLike) -> Tensor: ...
    def __call__(self, *args: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], FunctionType):
            _define(self.f, args[0])
            return self.f
        return _tracked(self.f, self.f, args)


def track(f: Callable[..., Any], *args: Any) -> Any:
    """`track(f, *args)`: call `f` with the gradient that `@grad(f)` defined.

    Raises TypeError if there is none.

    >>> def double(x): return 2 * x
    >>> @grad(double)
    ... def _(x): return double(data(x)), lambda Δ: (2 * Δ,)
    >>> gradient(lambda x: track(double, x), 5.0)
    (2.0,)
    """
    definition = _definition(f)
    if definition is None:
        raise TypeError(f"track: {_name(f)} has no gradient; define one with @grad({_name(f)})")
    return _tracked(f, definition, args)


def _tracked(f: Callable[..., Any], definition: Definition, args: tuple[Any, ...]) -> Any:
    result = definition(*args)
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise TypeError(
            f"grad: {_name(f)} must return (value, pullback), got {type(result).__name__}; "
            f"the gradient of a function is gradient({_name(f)}, *args)"
        )
    value, pullback = result
    inputs = [i for i, a in enumerate(args) if istracked(a)]

    def sensitivities(Δ: Tensor) -> list[Any]:
        Δs = pullback(Δ)
        if not isinstance(Δs, tuple) or len(Δs) < len(args):
            raise TypeError(f"the pullback of {_name(f)} must return a tuple of {len(args)}")
        return [Δs[i] for i in inputs]

    return _core.custom(value, [args[i] for i in inputs], sensitivities)


def _name(f: Any) -> str:
    return str(getattr(f, "__name__", f))


def hook(f: Callable[[Tensor], Any], x: T) -> T:
    """`hook(f, x)`: x, whose gradient is passed through `f` on its way back.

    >>> gradient(lambda x: hook(lambda Δ: -Δ, x) * 2, 1.0)
    (-2.0,)
    """

    if not callable(f):
        raise TypeError(f"hook takes a function of the gradient first, as in hook(f, x); got {f!r}")

    def pullback(Δ: Tensor) -> list[Any]:
        new = f(Δ)
        if new is None:
            raise TypeError(f"hook: {_name(f)} returned None: is a return missing?")
        return [new]

    hooked: Any = _core.custom(data(x), [x], pullback) if istracked(x) else x
    passed: T = hooked
    return passed


@overload
def derivative(f: Callable[[Tensor], Any]) -> Callable[[ArrayLike], Tensor]: ...
@overload
def derivative(f: Callable[[Tensor], Any], x: ArrayLike) -> Tensor: ...
def derivative(f: Callable[[Tensor], Any], x: Any = None) -> Any:
    """`derivative(f)`: the function x ↦ f′(x); `derivative(f, x)` is its value at x.

    >>> cube = lambda x: x**3
    >>> derivative(derivative(cube))(2.0)
    12.0
    """

    def df(x: Any) -> Any:
        return gradient(f, x)[0]

    return df if x is None else df(x)


def jacobian(f: Callable[[Tensor], Any], x: ArrayLike) -> Tensor:
    """`jacobian(f, x)`: ∂f(x)ᵢ/∂xⱼ as a matrix (size of f(x), size of x).

    >>> jacobian(lambda x: x**2, [1.0, 2.0]).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    y, pullback = forward(f, x)
    if y.size == 0:
        return zeros(0, np.size(x))
    units = np.eye(y.size).reshape(y.size, *y.shape)
    return stack([pullback(unit)[0].reshape(-1) for unit in units])


def hessian(f: Callable[[Tensor], Any], x: ArrayLike) -> Tensor:
    """`hessian(f, x)`: ∂²f/∂xᵢ∂xⱼ of a function with a scalar value, (size of x, size of x).

    >>> hessian(lambda x: (x**3).sum(), [1.0, 2.0]).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(lambda x: gradient(f, x)[0], x)


def ngradient(f: Callable[..., Any], *xs: Any) -> tuple[np.ndarray[Any, Any], ...]:
    """`ngradient(f, *xs)`: the gradient by central differences, in float64.

    >>> [round(float(g), 6) for g in ngradient(lambda a, b: a * b, 2, 3)]
    [3.0, 2.0]
    """
    arrays = [np.array(x, dtype=np.float64) for x in xs]
    return tuple(_differences(f, arrays, i) for i in range(len(arrays)))


def _differences(
    f: Callable[..., Any], xs: Sequence[Any], i: int, step: float = 1e-5
) -> np.ndarray[Any, Any]:
    """Of fourth order: what they leave out falls with the fourth power of the step."""
    out: np.ndarray[Any, Any] = np.zeros_like(xs[i])
    for at in np.ndindex(out.shape):
        δ = step * max(1.0, abs(float(xs[i][at])))
        near, far = (_moved(f, xs, i, at, k * δ) - _moved(f, xs, i, at, -k * δ) for k in (1, 2))
        out[at] = (8 * near - far) / (12 * δ)
    return out


def _moved(f: Callable[..., Any], xs: Sequence[Any], i: int, at: Any, δ: float) -> float:
    moved = [x.copy() for x in xs]
    moved[i][at] += δ
    return float(f(*map(_core.tensor, moved)))


def gradcheck(f: Callable[..., Any], *xs: Any) -> bool:
    """`gradcheck(f, *xs)`: does `gradient` agree with `ngradient`, in float64?

    They may differ by 1e-5 of the largest element of either, or of 1 if all are smaller.

    >>> gradcheck(lambda x: (x**2).sum(), [1.0, 2.0])
    True
    """
    arrays = [np.array(x, dtype=np.float64) for x in xs]
    # Where a function is steep, only a smaller step sees its slope.
    return all(
        any(_agree(np.asarray(g), _differences(f, arrays, i, δ)) for δ in (1e-5, 1e-6))
        for i, g in enumerate(gradient(f, *arrays))
    )


def _agree(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    scale = np.max(np.abs([a, b]), initial=1.0)
    return bool(np.isfinite(scale) and np.all(np.abs(a - b) <= 1e-5 * scale))


def collect(xs: Any) -> Any:
    """`collect(xs)`: an array of tracked numbers, in any nest of lists, as one tracked tensor.

    >>> collect([param(1), param(2)]).tolist()
    [1.0, 2.0]
    """
    return stack([collect(x) for x in xs]) if isinstance(xs, (list, tuple)) else xs
