"""Losses, and what else has no parameters."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from .. import _core
from .._core import DimensionMismatch, Tensor, log, logsoftmax, mean, sqrt, squared_error, where
from ..activations import logsigmoid
from ..names import keywords
from ..onehot import tensor_of
from ..typing import ArrayLike


@keywords
def mse(ŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1) -> Tensor:
    """`mse(ŷ, y, weight=1)`: the mean squared error, Σ weight · (ŷ − y)² / (number of elements).

    Raises DimensionMismatch unless the shapes are equal: nothing is broadcast.

    >>> float(mse([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    plain = isinstance(weight, int) and weight == 1
    error = squared_error(ŷ, y) if plain else None
    if error is None:  # something to convert, to weigh, or a wrong shape
        a, b = _pair("mse", ŷ, y)
        squares = _core.square(a - b)
        if not plain:
            squares = squares * _fitting("mse", weight, b)
        error = _core.sum(squares) / a.size
    return error


@keywords
def crossentropy(ŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1) -> Tensor:
    """`crossentropy(ŷ, y, weight=1)`: −Σ weight · y · log ŷ / N, for probabilities ŷ.

    Classes are on the last axis, N is the number of samples. 0 · log 0 is 0.
    Raises DimensionMismatch unless the shapes are equal.

    >>> round(float(crossentropy([0.25, 0.75], [0, 1])), 4)
    0.2877
    """
    ŷ, y = _pair("crossentropy", ŷ, y)
    return -_core.sum(_ylog(y, ŷ) * _fitting("crossentropy", weight, y)) / _samples(y)


@keywords
def logitcrossentropy(logŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1) -> Tensor:
    """`logitcrossentropy(logŷ, y, weight=1)`: `crossentropy(softmax(logŷ), y)`, and stable.

    >>> round(float(logitcrossentropy([1000.0, 0.0], [0, 1])), 4)
    1000.0
    """
    logŷ, y = _pair("logitcrossentropy", logŷ, y)
    logp = logsoftmax(logŷ)
    logp = where((y == 0) & (logp == -inf), 0.0, logp)
    return -_core.sum(y * logp * _fitting("logitcrossentropy", weight, y)) / _samples(y)


@keywords
def binarycrossentropy(
    ŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1, ϵ: float | None = None
) -> Tensor:
    """`binarycrossentropy(ŷ, y, weight=1)`: −y log(ŷ + ϵ) − (1 − y) log(1 − ŷ + ϵ), elementwise.

    `weight` scales the elements. ϵ is the dtype's machine epsilon unless given.

    >>> [round(l, 4) for l in binarycrossentropy([0.25, 0.75], [0, 1]).tolist()]
    [0.2877, 0.2877]
    """
    ŷ, y = _pair("binarycrossentropy", ŷ, y)
    if ϵ is None:
        ϵ = 2.0**-52 if ŷ.dtype == "float64" else 2.0**-23
    return _weighed("binarycrossentropy", -_ylog(y, ŷ + ϵ) - _ylog(1 - y, 1 - ŷ + ϵ), weight)


@keywords
def logitbinarycrossentropy(logŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1) -> Tensor:
    """`logitbinarycrossentropy(logŷ, y, weight=1)`: `binarycrossentropy(σ(logŷ), y)`, and stable.

    (1 − y) · logŷ − logσ(logŷ), elementwise, scaled by `weight`.

    >>> [round(l, 4) for l in logitbinarycrossentropy([-1.1491, 0.8619, 0.3127], [1, 1, 0]).tolist()]
    [1.4244, 0.3523, 0.8617]
    """
    a, b = _pair("logitbinarycrossentropy", logŷ, y)
    return _weighed("logitbinarycrossentropy", (1 - b) * a - logsigmoid(a), weight)


@keywords
def normalise(x: ArrayLike, *, ϵ: float = 1e-8) -> Tensor:
    """`normalise(x)`: the last axis with mean 0 and standard deviation 1.

    (x − μ) / √(σ² + ϵ), with the corrected variance σ² = Σ (x − μ)² / (n − 1).

    >>> normalise([1.0, 2.0, 3.0]).tolist()
    [-1.0, 0.0, 1.0]
    """
    x_ = tensor_of(x)
    d = x_ - mean(x_, axis=-1, keepdims=True)
    σ2 = _core.sum(d**2, axis=-1, keepdims=True) / max(x_.shape[-1] - 1, 1)
    return d / sqrt(σ2 + ϵ)


def _ylog(y: Tensor, x: Tensor) -> Tensor:
    """y · log x, and 0 where both are 0."""
    return y * log(where((y == 0) & (x == 0), 1.0, x))


def _samples(y: Tensor) -> int:
    return max(y.size // y.shape[-1], 1) if y.ndim and y.shape[-1] else 1


def _weighed(loss: str, losses: Tensor, weight: Any) -> Tensor:
    if isinstance(weight, int) and weight == 1:
        return losses
    weighed: Tensor = losses * _fitting(loss, weight, losses)
    return weighed


def _fitting(loss: str, weight: Any, y: Tensor) -> Any:
    """The weight, if it broadcasts to the target."""
    if isinstance(weight, (int, float)):
        return weight
    shape = np.shape(weight)
    lengths = zip(reversed(shape), reversed(y.shape), strict=False)
    if len(shape) > y.ndim or any(n not in (1, m) for n, m in lengths):
        raise DimensionMismatch(
            f"{loss}: weight has shape {shape}, which does not broadcast to the target's {y.shape}"
        )
    return weight


def _pair(loss: str, ŷ: Any, y: Any) -> tuple[Tensor, Tensor]:
    a = tensor_of(ŷ, y)
    b = tensor_of(y, a)
    if a.shape != b.shape:
        labels = b.ndim == a.ndim - 1 and not loss.endswith("binarycrossentropy") and loss != "mse"
        hint = "; for labels, onehotbatch(y, labels) gives what it takes" if labels else ""
        raise DimensionMismatch(
            f"{loss}: the prediction has shape {a.shape} and the target {b.shape}; they must be equal{hint}"
        )
    return a, b
