"""Chain, Dense and Diagonal: what most models are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, cast, overload

import numpy as np

from .._core import DimensionMismatch, Tensor, affine, istracked, ones, param, tensor, zeros
from ..activations import identity, name_of
from ..names import keywords
from ..onehot import OneHot, tensor_of
from ..treelike import treelike
from ..typing import ArrayLike, SupportsArray
from ..utils import glorot_uniform

Layer = Callable[[Any], Any]
Init = Callable[..., Any]


@treelike("layers")
class Chain:
    """`Chain(*layers)`: call layers, or any functions, one after the other.

    `m[0]` is a layer, `m[:2]` a Chain. An error inside says which layer raised it.

    >>> m = Chain(lambda x: x**2, lambda x: x + 1)
    >>> m(5)
    26
    >>> len(m[:1])
    1
    """

    layers: list[Layer]
    locates: ClassVar[bool] = True  # its errors begin with the place of the layer inside

    def __init__(self, *layers: Layer) -> None:
        self.layers = []
        for layer in layers:
            self.append(layer)

    def _check(self) -> None:
        for i, layer in enumerate(self.layers):
            check_layer("Chain", i, layer)

    def __call__(self, x: Any) -> Any:
        i = 0
        try:
            for layer in self.layers:
                x = layer(x)
                i += 1
        except Exception as error:
            locate(error, f"Chain[{i}]", layer)
            raise
        return x

    def outputs(self, x: Any) -> Iterator[Any]:
        """The output of every layer in turn."""
        for i, layer in enumerate(self.layers):
            try:
                x = layer(x)
            except Exception as error:
                locate(error, f"Chain[{i}]", layer)
                raise
            yield x

    @overload
    def __getitem__(self, i: slice) -> Chain: ...
    @overload
    def __getitem__(self, i: int) -> Any: ...
    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return Chain(*self.layers[i])
        try:
            return self.layers[i]
        except (IndexError, TypeError):
            kind = IndexError if hasattr(i, "__index__") else TypeError
            raise kind(f"Chain: index {i!r} into a chain of {len(self)} layers") from None

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def append(self, layer: Layer) -> None:
        """Add a layer at the end."""
        check_layer("Chain", len(self), layer)
        self.layers.append(layer)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(name_of, self.layers))})"


def check_layer(container: str, i: int, layer: Any) -> None:
    """What a container holds can be called."""
    if not callable(layer):
        hint = ""
        if isinstance(layer, (list, tuple)):
            hint = f"; give the layers one by one, as in {container}(*layers)"
        elif hasattr(type(layer), "__treelike__"):
            hint = f"; a layer is called: {type(layer).__name__} needs a method __call__(self, x)"
        raise TypeError(f"{container}: layer {i} is {layer!r}, which cannot be called{hint}")


def activation(layer: str, σ: Any) -> Layer:
    """An activation, checked."""
    if not callable(σ):
        raise TypeError(
            f"{layer}: the activation σ is {σ!r}, which cannot be called; it is a function, as in σ=relu"
        )
    return cast(Layer, σ)


def locate(error: Exception, place: str, layer: Layer) -> None:
    """Put the layer's place in its container in front of the error's message."""
    if not error.args or not isinstance(error.args[0], str):
        return
    message, name = error.args[0], name_of(layer)
    if not getattr(layer, "locates", False) and not message.startswith(name):
        message = f"{name}: {message}"
    error.args = (f"{place} {message}", *error.args[1:])


def compose(*fs: Layer) -> Chain:
    """`compose(f, g)` is f ∘ g: a Chain that calls `g` first.

    >>> compose(lambda x: x + 1, lambda x: x**2)(5)
    26
    """
    return Chain(*reversed(fs))


def activations(c: Chain, x: Any) -> list[Any]:
    """`activations(chain, x)`: the output of every layer, in order.

    >>> activations(Chain(lambda x: x**2, lambda x: x + 1), 5)
    [25, 26]
    """
    if not isinstance(c, Chain):
        raise TypeError(f"activations takes a Chain and its input, got {c!r}")
    return list(c.outputs(x))


def like(x: Any, W: Tensor) -> Any:
    """`x` as a tensor in the dtype of the weights `W`."""
    if isinstance(x, OneHot):
        return x
    x = tensor_of(x, W)
    if x.dtype != W.dtype:
        return x.astype(W.dtype)
    return x


@treelike
@keywords
class Dense:
    """`Dense(in, out, σ=identity)`, or `Dense(W, b, σ)`: y = σ(x @ W.T + b).

    `W` is (out, in), `b` is (out,). The input's last axis is `in`: one sample (in,), a
    batch (N, in), a sequence (T, N, in). `initW(out, in)` and `initb(out)` make the
    parameters; with `bias=False` there is no b. Raises DimensionMismatch for an input of
    another size.

    >>> import fluxrs
    >>> d = Dense(5, 2)
    >>> d
    Dense(5, 2)
    >>> d(fluxrs.rand(5)).shape
    (2,)
    """

    W: Tensor
    b: Tensor
    σ: Layer

    def __init__(
        self,
        in_or_W: int | SupportsArray | list[Any],
        out_or_b: int | SupportsArray | list[Any],
        /,
        σ: Layer = identity,
        *,
        initW: Init = glorot_uniform,
        initb: Init = zeros,
        bias: bool = True,
    ) -> None:
        if np.ndim(in_or_W) == 0:
            n_in, n_out = whole("Dense", in_or_W), whole("Dense", out_or_b)
            self.W = made("Dense", "initW", initW, n_out, n_in)
            # A constant 0 that is added is no bias, and leaves one formula for both.
            none = zeros((), dtype=self.W.dtype)
            self.b = made("Dense", "initb", initb, n_out) if bias else none
        else:
            self.W, self.b = kept(in_or_W), kept(out_or_b)
            self._check()
        self.σ = activation("Dense", σ)

    def _check(self) -> None:
        if self.W.ndim != 2 or self.b.shape not in ((), self.W.shape[:1]):
            raise DimensionMismatch(
                f"Dense(W, b): W is (out, in) and b is (out,), got shapes {self.W.shape} and {self.b.shape}"
            )

    def __call__(self, x: ArrayLike) -> Tensor:
        z = affine(x, self.W, self.b)
        if z is None:  # something to convert, or a wrong shape
            W = self.W
            t = like(x, W)
            if not t.shape or t.shape[-1] != W.shape[1]:
                raise wrong_input(self, W.shape[1], t.shape)
            z = t @ W.T + self.b
        y: Tensor = self.σ(z)
        return y

    def __repr__(self) -> str:
        n_out, n_in = self.W.shape
        σ = "" if self.σ is identity else f", {name_of(self.σ)}"
        bias = "" if self.b.shape or istracked(self.b) else ", bias=False"
        return f"Dense({n_in}, {n_out}{σ}{bias})"


@treelike
@keywords
class Diagonal:
    """`Diagonal(n)`: y = α * x + β, elementwise, with `α` and `β` of shape (n,).

    The input's last axis is `n`, or 1, or it is a number. `Diagonal((m, n))` has an α and a β for each
    element of the last two axes, and so on.

    >>> Diagonal(2)([[1, 2], [3, 4]]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """

    α: Tensor
    β: Tensor

    def __init__(
        self, n: int | Sequence[int], /, *, initα: Init = ones, initβ: Init = zeros
    ) -> None:
        size = sizes("Diagonal", n)
        self.α = made("Diagonal", "initα", initα, *size)
        self.β = made("Diagonal", "initβ", initβ, *size)

    def _check(self) -> None:
        if not self.α.shape or self.α.shape != self.β.shape:
            raise DimensionMismatch(
                f"Diagonal holds an α and a β of one shape, got {self.α.shape} and {self.β.shape}"
            )

    def __call__(self, x: ArrayLike) -> Tensor:
        t: Tensor = like(x, self.α)
        size = self.α.shape
        tail = zip(reversed(t.shape), reversed(size), strict=False)
        if any(m not in (1, n) for m, n in tail):
            raise wrong_input(self, size, t.shape)
        return self.α * t + self.β

    def __repr__(self) -> str:
        return f"Diagonal({shown(self.α.shape)})"


def made(layer: str, name: str, init: Any, *dims: int) -> Tensor:
    """The parameter that an initialiser makes, checked."""
    if not callable(init):
        raise TypeError(f"{layer}: {name} is {init!r}, which cannot be called")
    p = param(init(*dims))
    if p.shape != dims:
        raise DimensionMismatch(f"{layer}: {name} made an array of shape {p.shape} for {dims}")
    return p


def check_vectors(layer: str, *vectors: Tensor) -> None:
    """Vectors of one length: what the layers that work element by element hold."""
    shapes = [v.shape for v in vectors]
    if len(shapes[0]) != 1 or len(set(shapes)) != 1:
        raise DimensionMismatch(f"{layer} holds vectors of one length, got shapes {shapes}")


def whole(layer: str, n: Any) -> int:
    """A layer's size, checked."""
    if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
        raise TypeError(f"{layer}: sizes must be whole numbers, got {n!r}")
    if n < 0:
        raise ValueError(f"{layer}: sizes must be >= 0, got {n}")
    return int(n)


def sizes(layer: str, n: Any) -> tuple[int, ...]:
    """The lengths of one axis or several, checked."""
    if not isinstance(n, (list, tuple)):
        return (whole(layer, n),)
    if not n:
        raise ValueError(f"{layer}: one size at least is needed, got {n!r}")
    return tuple(whole(layer, m) for m in n)


def shown(size: tuple[int, ...]) -> str:
    """A size as a layer's argument: the number of a single axis, else a tuple."""
    return str(size[0] if len(size) == 1 else size)


def kept(x: Any) -> Tensor:
    """A parameter as it is given."""
    return x if isinstance(x, Tensor) else tensor(x)


def wrong_input(
    layer: Layer, size: int | tuple[int, ...], shape: tuple[int, ...]
) -> DimensionMismatch:
    """The error for an input whose last axis, or axes, do not fit."""
    size = size if isinstance(size, tuple) else (size,)
    wanted = f"last axis is {size[0]}" if len(size) == 1 else f"last axes are {size}"
    return DimensionMismatch(f"{layer!r} takes an input whose {wanted}, got shape {shape}")
