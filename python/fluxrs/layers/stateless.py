"""Losses, and what else has no parameters."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from .. import _core
from .._core import (
    DimensionMismatch,
    Tensor,
    log,
    logsoftmax,
    maximum,
    mean,
    norm,
    sqrt,
    squared_error,
    where,
)
from ..activations import logsigmoid
from ..names import keywords
from ..onehot import OneHot, tensor_of
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
def mae(ŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1) -> Tensor:
    """`mae(ŷ, y, weight=1)`: the mean absolute error, Σ weight · |ŷ − y| / (number of elements).

    Raises DimensionMismatch unless the shapes are equal.

    >>> float(mae([1.0, 2.0], [1.0, 4.0]))
    1.0
    """
    a, b = _pair("mae", ŷ, y)
    return _core.sum(_weighed("mae", _core.abs(a - b), weight)) / max(a.size, 1)


@keywords
def huber(ŷ: ArrayLike, y: ArrayLike, *, δ: float = 1.0, weight: ArrayLike = 1) -> Tensor:
    """`huber(ŷ, y, δ=1, weight=1)`: the mean of e²/2 where |e| ≤ δ, else δ · (|e| − δ/2), with e = ŷ − y.

    Raises DimensionMismatch unless the shapes are equal, ValueError unless δ > 0.
    Source: Huber, Annals of Mathematical Statistics 35 (1964).

    >>> huber([0.0, 0.0], [1.0, 3.0]).tolist()
    1.5
    """
    if not δ > 0:
        raise ValueError(f"huber: δ, or delta, must be positive, got {δ!r}")
    a, b = _pair("huber", ŷ, y)
    e = a - b
    near = _core.clip(e, -δ, δ)
    return _core.sum(_weighed("huber", near * (e - near * 0.5), weight)) / max(a.size, 1)


@keywords
def crossentropy(
    ŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1, smoothing: float = 0
) -> Tensor:
    """`crossentropy(ŷ, y, weight=1, smoothing=0)`: −Σ weight · y · log ŷ / N, for probabilities ŷ.

    Classes are on the last axis, N is the number of samples. `y` is as `ŷ`, or integers, one class
    a sample. 0 · log 0 is 0. `smoothing` takes that share of y and gives it to all classes alike
    (arXiv 1512.00567). Raises DimensionMismatch for other shapes and ValueError for a class that is none;
    of labels in a tensor that is an IndexError when the loss is evaluated.

    >>> round(float(crossentropy([0.25, 0.75], [0, 1])), 4)
    0.2877
    >>> round(float(crossentropy([[0.25, 0.75], [0.5, 0.5]], [1, 0])), 4)
    0.4904
    """
    ŷ, y = _classes("crossentropy", ŷ, y, smoothing)
    return -_core.sum(_ylog(y, ŷ) * _fitting("crossentropy", weight, y)) / _samples(y)


@keywords
def logitcrossentropy(
    logŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1, smoothing: float = 0
) -> Tensor:
    """`logitcrossentropy(logŷ, y, weight=1, smoothing=0)`: `crossentropy(softmax(logŷ), y)`, and stable.

    `y` is as `logŷ`, or integers, one class a sample; see `crossentropy`.

    >>> round(float(logitcrossentropy([1000.0, 0.0], [0, 1])), 4)
    1000.0
    >>> round(float(logitcrossentropy([[2.0, 1.0, 0.0]], [0], smoothing=0.3)), 4)
    0.7076
    """
    logŷ, y = _classes("logitcrossentropy", logŷ, y, smoothing)
    logp = logsoftmax(logŷ)
    logp = where((y == 0) & (logp == -inf), 0.0, logp)
    return -_core.sum(y * logp * _fitting("logitcrossentropy", weight, y)) / _samples(y)


@keywords
def kldivergence(ŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike = 1) -> Tensor:
    """`kldivergence(ŷ, y, weight=1)`: Σ weight · y · log(y / ŷ) / N, for probabilities on the last axis.

    N is the number of samples, 0 · log 0 is 0. Raises DimensionMismatch unless the shapes are equal.

    >>> round(float(kldivergence([0.5, 0.5], [0.25, 0.75])), 4)
    0.1308
    """
    ŷ, y = _pair("kldivergence", ŷ, y)
    terms = _ylog(y, y) - _ylog(y, ŷ)
    return _core.sum(_weighed("kldivergence", terms, weight)) / _samples(y)


@keywords
def cosine_similarity(x: ArrayLike, y: ArrayLike, *, axis: int = -1, ϵ: float = 1e-8) -> Tensor:
    """`cosine_similarity(x, y, axis=-1)`: Σ x · y / (|x| |y|) along an axis, no length being less than ϵ.

    One number for each pair of vectors, from −1 to 1. Raises DimensionMismatch unless the shapes are equal.

    >>> cosine_similarity([[1.0, 0.0], [3.0, 4.0]], [[0.0, 2.0], [6.0, 8.0]]).tolist()
    [0.0, 1.0]
    """
    a, b = _pair("cosine_similarity", x, y)
    unit = [t / maximum(norm(t, axis=axis, keepdims=True), ϵ) for t in (a, b)]
    return _core.sum(unit[0] * unit[1], axis=axis)


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
    return d * (1 / sqrt(σ2 + ϵ))  # one division a row


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


def _classes(loss: str, ŷ: Any, y: Any, smoothing: float) -> tuple[Tensor, Tensor]:
    """The prediction, and the target as a distribution over the classes."""
    if isinstance(ŷ, OneHot):
        raise TypeError(
            f"{loss}: the prediction comes first and the target second, got a target first"
        )
    a = tensor_of(ŷ, y)
    labels = _labels(y)
    if a.ndim and labels is not None and labels.shape == a.shape[:-1]:
        y = _one_hot(loss, labels, a)
    a, b = _pair(loss, a, y)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{loss}: smoothing is a share between 0 and 1, got {smoothing!r}")
    if smoothing:
        b = (1 - smoothing) * b.astype(a.dtype) + smoothing / max(b.shape[-1], 1)
    return a, b


def _labels(y: Any) -> Any:
    """Integers that may be labels; None for anything else."""
    y = np.asarray(y) if isinstance(y, (list, tuple, range, int)) else y
    kind = getattr(getattr(y, "dtype", None), "kind", "")
    return y if kind in ("i", "u") else None


def _one_hot(loss: str, labels: Any, beside: Tensor) -> Tensor:
    """Integers as one-hot rows, on the other tensor's device; a class out of range is an error."""
    n = beside.shape[-1]
    if isinstance(labels, Tensor):
        # The values are perhaps not known yet: a gather checks them when it runs, and counts from the end what is negative.
        known = _core.arange(n, dtype="int64").to(labels.device)
        labels = _core.take(known, where(labels < 0, n, labels), axis=0)
    else:
        wrong = np.flatnonzero((labels < 0) | (labels >= n))
        if wrong.size:
            raise ValueError(
                f"{loss}: the label {labels.flat[wrong[0]]} is no class of a prediction of shape {beside.shape}; "
                f"classes are counted from 0 to {n - 1}"
            )
        labels = tensor_of(labels.astype("int64"), beside)
    rows: Tensor = labels[..., None] == _core.arange(n, dtype="int64").to(labels.device)
    return rows


def _pair(loss: str, ŷ: Any, y: Any) -> tuple[Tensor, Tensor]:
    a = tensor_of(ŷ, y)
    b = tensor_of(y, a)
    if a.shape != b.shape:
        labels = b.shape in (a.shape[:-1], (*a.shape[:-1], 1)) and loss in (
            "crossentropy",
            "logitcrossentropy",
        )
        hint = f"; labels are integers, {a.shape[:-1]}, or onehotbatch(y, labels)" if labels else ""
        raise DimensionMismatch(
            f"{loss}: the prediction has shape {a.shape} and the target {b.shape}; they must be equal{hint}"
        )
    return a, b
