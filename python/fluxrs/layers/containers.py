"""Layers made of layers beside Chain: a way around, side by side, the largest of several; and flatten."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar

from .._core import Tensor, maximum
from ..activations import name_of
from ..onehot import tensor_of
from ..treelike import treelike
from ..typing import ArrayLike
from .basic import Layer, check_layer, locate, whole


@treelike("layer", "combine")
class SkipConnection:
    """`SkipConnection(layer, combine)`: combine(layer(x), x), a way around a layer or a Chain.

    Source: arXiv 1512.03385.

    >>> import fluxrs
    >>> SkipConnection(fluxrs.Diagonal(2), fluxrs.add)([1.0, 2.0]).tolist()
    [2.0, 4.0]
    """

    layer: Layer
    combine: Callable[..., Any]
    locates: ClassVar[bool] = True

    def __init__(self, layer: Layer, combine: Callable[..., Any], /) -> None:
        self.layer, self.combine = layer, combine
        self._check()

    def _check(self) -> None:
        check_layer("SkipConnection", 0, self.layer)
        check_layer("SkipConnection", 1, self.combine)

    def __call__(self, x: Any) -> Any:
        y = _called("SkipConnection", self.layer, x)
        return _called("SkipConnection", self.combine, y, x)

    def __repr__(self) -> str:
        return f"SkipConnection({name_of(self.layer)}, {name_of(self.combine)})"


@treelike("combine", "layers")
class Parallel:
    """`Parallel(combine, *layers)`: combine(layer₁(x), layer₂(x), …), layers side by side.

    Called with as many inputs as there are layers, each layer gets its own:
    combine(layer₁(x₁), layer₂(x₂), …). `m[0]` is a layer.

    >>> import fluxrs
    >>> m = Parallel(fluxrs.multiply, fluxrs.exp, fluxrs.relu)
    >>> m(0.0, 3.0).tolist()
    3.0
    """

    combine: Callable[..., Any]
    layers: list[Layer]
    locates: ClassVar[bool] = True

    def __init__(self, combine: Callable[..., Any], /, *layers: Layer) -> None:
        self.combine, self.layers = combine, list(layers)
        self._check()

    def _check(self) -> None:
        if not self.layers:
            raise TypeError(
                "Parallel needs a layer at least, as in Parallel(add, Dense(2, 3), Dense(2, 3))"
            )
        if not callable(self.combine):
            raise TypeError(
                f"Parallel: the first argument combines the layers' outputs, got {self.combine!r}"
            )
        for i, layer in enumerate(self.layers):
            check_layer("Parallel", i, layer)

    def __call__(self, *xs: Any) -> Any:
        n = len(self.layers)
        if len(xs) not in (1, n):
            raise TypeError(f"Parallel takes one input or {n}, one for each layer, got {len(xs)}")
        xs = xs * n if len(xs) == 1 else xs
        pairs = enumerate(zip(self.layers, xs, strict=True))
        ys = [_called(f"Parallel[{i}]", layer, x) for i, (layer, x) in pairs]
        return _called("Parallel", self.combine, *ys)

    def __getitem__(self, i: int) -> Layer:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Parallel({', '.join(map(name_of, [self.combine, *self.layers]))})"


@treelike("layers")
class Maxout:
    """`Maxout(f, n)`: the largest of the outputs of `n` layers, elementwise; `f()` makes a layer.

    Source: arXiv 1302.4389.

    >>> import fluxrs
    >>> m = Maxout(lambda: fluxrs.Dense(5, 7), 4)
    >>> m(fluxrs.rand(3, 5)).shape, len(fluxrs.params(m))
    ((3, 7), 8)
    """

    layers: list[Layer]
    locates: ClassVar[bool] = True

    def __init__(self, f: Callable[[], Layer], n: int, /) -> None:
        if not callable(f):
            raise TypeError(
                f"Maxout: f makes a layer, as in Maxout(lambda: Dense(5, 7), 4), got {f!r}"
            )
        if hasattr(type(f), "__treelike__"):
            raise TypeError(
                f"Maxout: f makes a layer, and {f!r} is one: Maxout(lambda: {f!r}, {n!r})"
            )
        self.layers = [f() for _ in range(whole("Maxout", n))]
        self._check()

    def _check(self) -> None:
        if not self.layers:
            raise ValueError("Maxout needs one layer at least, got 0")
        for i, layer in enumerate(self.layers):
            check_layer("Maxout", i, layer)

    def __call__(self, x: Any) -> Any:
        best, *others = (_called(f"Maxout[{i}]", f, x) for i, f in enumerate(self.layers))
        for y in others:
            best = maximum(best, y)
        return best

    def __getitem__(self, i: int) -> Layer:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Maxout({', '.join(map(name_of, self.layers))})"


def flatten(x: ArrayLike) -> Tensor:
    """`flatten(x)`: all axes but the first as one, (N, …) to (N, features).

    >>> import fluxrs
    >>> flatten(fluxrs.rand(8, 3, 5, 5)).shape
    (8, 75)
    """
    t = tensor_of(x)
    if t.ndim < 1:
        raise TypeError(f"flatten takes a batch (N, …), got {x!r}")
    return t.reshape(t.shape[0], prod(t.shape[1:]))


def _called(place: str, f: Callable[..., Any], *xs: Any) -> Any:
    """f(*xs); an error says where it was."""
    try:
        return f(*xs)
    except Exception as error:
        locate(error, place, f)
        raise
