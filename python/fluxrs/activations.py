"""Activation functions, by Flux's names; the arithmetic is in the op table."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from . import _core
from ._core import Tensor, relu, sigmoid, softplus, softsign, swish, tanh
from .names import keywords

__all__ = [
    "elu", "gelu", "identity", "leakyrelu", "logsigmoid", "logσ", "relu", "selu", "sigmoid",
    "softplus", "softsign", "swish", "tanh", "σ",
]  # fmt: skip

T = TypeVar("T")

σ = sigmoid
SELU_λ, SELU_α = 1.0507009873554805, 1.6732632423543772


def identity(x: T) -> T:
    """`identity(x)` is x: the activation of a linear layer.

    >>> identity(3)
    3
    """
    return x


def logsigmoid(x: Any) -> Tensor:
    """`logσ(x)` or `logsigmoid(x)`: log σ(x), computed without overflow as −softplus(−x).

    >>> logσ(-1000.0)
    -1000.0
    """
    return -softplus(_core.negative(x))


logσ = logsigmoid


def leakyrelu(x: Any, a: float = 0.01) -> Tensor:
    """`leakyrelu(x, a=0.01)`: x where x > 0, else a · x.

    >>> leakyrelu([-2.0, 2.0], 0.5).tolist()
    [-1.0, 2.0]
    """
    return _core.leakyrelu(x, a)


@keywords
def elu(x: Any, α: float = 1.0) -> Tensor:
    """`elu(x, α=1)`: x where x > 0, else α (eˣ − 1). Source: arXiv 1511.07289.

    >>> elu([-1000.0, 2.0], alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    return _core.elu(x, α)


def selu(x: Any) -> Tensor:
    """`selu(x)`: λ · elu(x, α), with the λ and α that keep mean 0 and variance 1.

    Source: arXiv 1706.02515.

    >>> round(float(selu(1.0)), 4)
    1.0507
    """
    return SELU_λ * elu(x, SELU_α)


def gelu(x: Any) -> Tensor:
    """`gelu(x)`: x · Φ(x), with the distribution function Φ of the normal. Source: arXiv 1606.08415.

    >>> round(float(gelu(1.0)), 4)
    0.8413
    """
    return _core.multiply(x, 0.5) * _core.erfc(_core.multiply(x, -math.sqrt(0.5)))


def name_of(layer: Any) -> str:
    """How a layer or a function is shown: a function by its name, `sigmoid` as `σ`."""
    for f, symbol in ((sigmoid, "σ"), (logsigmoid, "logσ")):
        if layer is f:
            return symbol
    if isinstance(layer, type) or not hasattr(layer, "__name__"):
        return repr(layer)
    return str(layer.__name__)
