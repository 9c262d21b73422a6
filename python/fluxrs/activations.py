"""Activation functions, by Flux's names; the arithmetic is in the op table."""

from __future__ import annotations

from typing import Any, TypeVar

from . import _core
from ._core import (
    Tensor,
    gelu,
    gelu_erf,
    glu,
    hardsigmoid,
    hardswish,
    logsigmoid,
    mish,
    relu,
    selu,
    sigmoid,
    softplus,
    softsign,
    swish,
    tanh,
)
from .names import keywords
from .typing import ArrayLike

__all__ = [
    "celu", "elu", "gelu", "gelu_erf", "glu", "hardsigmoid", "hardswish", "identity", "leakyrelu",
    "logsigmoid", "logσ", "mish", "prelu", "relu", "selu", "sigmoid", "softplus", "softsign",
    "swish", "tanh", "σ",
]  # fmt: skip

T = TypeVar("T")

σ = sigmoid
logσ = logsigmoid


def identity(x: T) -> T:
    """`identity(x)` is x: the activation of a linear layer.

    >>> identity(3)
    3
    """
    return x


def leakyrelu(x: ArrayLike, a: float = 0.01) -> Tensor:
    """`leakyrelu(x, a=0.01)`: x where x > 0, else a · x.

    >>> leakyrelu([-2.0, 2.0], 0.5).tolist()
    [-1.0, 2.0]
    """
    return _core.leakyrelu(x, a)


@keywords
def elu(x: ArrayLike, α: float = 1.0) -> Tensor:
    """`elu(x, α=1)`: x where x > 0, else α (eˣ − 1). Source: arXiv 1511.07289.

    >>> elu([-1000.0, 2.0], alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    return _core.elu(x, α)


@keywords
def celu(x: ArrayLike, α: float = 1.0) -> Tensor:
    """`celu(x, α=1)`: x where x ≥ 0, else α (e^(x/α) − 1), smooth for every α > 0. Source: arXiv 1704.07483.

    >>> celu([-1000.0, 2.0], alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    return _core.celu(x, α)


def prelu(x: ArrayLike, a: ArrayLike) -> Tensor:
    """`prelu(x, a)`: x where x > 0, else a · x, with a slope that is learned; `PReLU` is the layer.

    `a` broadcasts to `x`. Source: arXiv 1502.01852.

    >>> prelu([[-2.0, 2.0], [-4.0, -4.0]], [0.5, 0.25]).tolist()
    [[-1.0, 2.0], [-2.0, -1.0]]
    """
    return _core.leakyrelu(x, a)


def name_of(layer: Any) -> str:
    """The printed form of a layer or a function: a function by its name, `sigmoid` as `σ`."""
    for f, symbol in ((sigmoid, "σ"), (logsigmoid, "logσ")):
        if layer is f:
            return symbol
    if isinstance(layer, type) or not hasattr(layer, "__name__"):
        return repr(layer)
    return str(layer.__name__)
