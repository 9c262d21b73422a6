"""Pooling: windows, or whole images, become one number a channel; and images become larger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .. import _core
from .._core import DimensionMismatch, Tensor, matmul, mean, moveaxis, repeat, take
from ..names import keywords
from ..onehot import tensor_of
from ..treelike import treelike
from ..typing import ArrayLike
from .windows import Pad, lengths, margins

Size = int | Sequence[int]
_MISSING: Any = object()


def maxpool(x: ArrayLike, k: Size, *, pad: Pad = 0, stride: Size | None = None) -> Tensor:
    """`maxpool(x, k, pad=0, stride=k)`: the largest element of each window of `k`.

    `x` is (N, C, …) or (C, …) with one to three spatial axes; `k`, `stride` and `pad` are a number
    for every spatial axis, or one each; `pad` also a pair (before, after) each, or "same". With one
    number for `k` the input is a batch. An axis of n elements has (n + before + after − k) // stride
    + 1 windows. The padding is never the largest element; of equal ones the first takes the
    gradient; NaN beats all. Raises DimensionMismatch for a window larger than the padded input.

    >>> maxpool([[[1.0, 5.0, 2.0, 3.0]]], 2).tolist()
    [[[5.0, 3.0]]]
    """
    return _pooled("maxpool", _core.maxpool, x, k, pad, stride)


def meanpool(x: ArrayLike, k: Size, *, pad: Pad = 0, stride: Size | None = None) -> Tensor:
    """`meanpool(x, k, pad=0, stride=k)`: the mean of each window of `k`.

    Σ x / n over the n positions of the window, of which those in the padding are zeros. Arguments,
    shapes and errors are those of `maxpool`.

    >>> meanpool([[[1.0, 5.0, 2.0, 3.0]]], 2, stride=1).tolist()
    [[[3.0, 3.5, 2.5]]]
    """
    return _pooled("meanpool", _core.meanpool, x, k, pad, stride)


def _pooled(name: str, op: Callable[..., Tensor], x: Any, k: Any, pad: Any, stride: Any) -> Tensor:
    t = tensor_of(x)
    axes = len(k) if isinstance(k, (list, tuple)) else t.ndim - 2
    if not 1 <= axes <= 3 or t.ndim - axes not in (1, 2):
        wanted = "(N, C, …) with one to three more axes"
        if isinstance(k, (list, tuple)):
            wanted = f"(N, C, …) or (C, …) with an axis for each number of {tuple(k)}"
        raise DimensionMismatch(f"{name} takes {wanted}, got shape {t.shape}")
    kernel = lengths(f"{name}: the window", k, axes)
    steps = kernel if stride is None else lengths(f"{name}: stride", stride, axes)
    return op(t, kernel, steps, margins(f"{name}: pad", pad, kernel))


@keywords
class _Pool:
    """The window of a pooling layer."""

    k: Any
    pad: Any
    stride: Any

    def __init__(self, k: Size = _MISSING, *, pad: Pad = 0, stride: Size | None = None) -> None:
        if k is _MISSING:
            name = type(self).__name__
            raise TypeError(f"{name} needs the size of its window, as in {name}((2, 2))")
        self.k, self.pad, self.stride = k, pad, stride
        self._check()

    def _check(self) -> None:
        name = type(self).__name__
        several = [v for v in (self.k, self.stride, self.pad) if isinstance(v, (list, tuple))]
        axes = len(several[0]) if several else 1
        if isinstance(self.k, (list, tuple)) and not 1 <= axes <= 3:
            raise ValueError(f"{name}: windows have one to three axes, got {self.k!r}")
        kernel = lengths(f"{name}: the window", self.k, axes)
        if self.stride is not None:
            lengths(f"{name}: stride", self.stride, axes)
        margins(f"{name}: pad", self.pad, kernel)

    def __repr__(self) -> str:
        pad = "" if self.pad == 0 else f", pad={self.pad!r}"
        stride = "" if self.stride is None else f", stride={self.stride!r}"
        return f"{type(self).__name__}({self.k!r}{pad}{stride})"


@treelike
class MaxPool(_Pool):
    """`MaxPool(k, pad=0, stride=k)`: the largest element of each window, as `maxpool`.

    Input (N, C, …), or (C, …) if `k` has a number for each axis. Raises TypeError without a size.

    >>> import fluxrs
    >>> MaxPool((2, 2))(fluxrs.rand(8, 3, 28, 28)).shape
    (8, 3, 14, 14)
    """

    def __call__(self, x: ArrayLike) -> Tensor:
        return maxpool(x, self.k, pad=self.pad, stride=self.stride)


@treelike
class MeanPool(_Pool):
    """`MeanPool(k, pad=0, stride=k)`: the mean of each window, as `meanpool`.

    Input (N, C, …), or (C, …) if `k` has a number for each axis. Raises TypeError without a size.

    >>> import fluxrs
    >>> MeanPool((3, 3), pad=1, stride=2)(fluxrs.rand(8, 3, 28, 28)).shape
    (8, 3, 14, 14)
    """

    def __call__(self, x: ArrayLike) -> Tensor:
        return meanpool(x, self.k, pad=self.pad, stride=self.stride)


@treelike
class GlobalMaxPool:
    """`GlobalMaxPool()`: the largest element of each channel, (N, C, …) to (N, C, 1, …).

    >>> import fluxrs
    >>> GlobalMaxPool()(fluxrs.rand(8, 3, 28, 28)).shape
    (8, 3, 1, 1)
    """

    def __call__(self, x: ArrayLike) -> Tensor:
        t = _image(self, x)
        n = prod(t.shape[2:])
        flat = maxpool(t.reshape(*t.shape[:2], n), (n,))
        return flat.reshape(*t.shape[:2], *[1] * (t.ndim - 2))

    def __repr__(self) -> str:
        return "GlobalMaxPool()"


@treelike
class GlobalMeanPool:
    """`GlobalMeanPool()`: the mean of each channel, (N, C, …) to (N, C, 1, …).

    >>> import fluxrs
    >>> GlobalMeanPool()(fluxrs.ones(8, 3, 28, 28)).sum().item()
    24.0
    """

    def __call__(self, x: ArrayLike) -> Tensor:
        t = _image(self, x)
        return mean(t, axis=tuple(range(2, t.ndim)), keepdims=True)

    def __repr__(self) -> str:
        return "GlobalMeanPool()"


@treelike
class AdaptiveMeanPool:
    """`AdaptiveMeanPool(size)`: as many means as wanted, whatever the input: (N, C, …) to (N, C, *size).

    Of m means of n elements the i-th is that of the elements ⌊i n / m⌋ to ⌈(i + 1) n / m⌉ − 1.
    `size` is a number for every spatial axis, or one each.

    >>> import fluxrs
    >>> AdaptiveMeanPool((4, 4))(fluxrs.rand(2, 3, 10, 13)).shape
    (2, 3, 4, 4)
    """

    size: Any

    def __init__(self, size: Size, /) -> None:
        self.size = size
        self._check()

    def _check(self) -> None:
        axes = len(self.size) if isinstance(self.size, (list, tuple)) else 1
        lengths("AdaptiveMeanPool: size", self.size, axes)

    def __call__(self, x: ArrayLike) -> Tensor:
        t = _image(self, x)
        size = lengths(f"{self!r}: size", self.size, t.ndim - 2)
        if all(n % m == 0 for n, m in zip(t.shape[2:], size, strict=True)) and len(size) <= 3:
            return meanpool(t, [n // m for n, m in zip(t.shape[2:], size, strict=True)])
        return _along(t, size, _shares)

    def __repr__(self) -> str:
        return f"AdaptiveMeanPool({self.size!r})"


def upsample(
    x: ArrayLike,
    scale: float | Sequence[float] | None = None,
    *,
    size: Size | None = None,
    mode: str = "nearest",
) -> Tensor:
    """`upsample(x, scale)` or `upsample(x, size=…)`: an image with more pixels, (N, C, …) to (N, C, …).

    `scale` and `size` are a number for every spatial axis, or one each; an axis of n pixels becomes
    ⌊scale · n⌋ of them. Mode "nearest" repeats the pixel ⌊i n / m⌋; "bilinear" is linear along every
    axis between the pixels' centres, which lie at (i + ½) n / m − ½, and constant beyond the outermost.
    Raises TypeError unless one of `scale` and `size` is given.

    >>> upsample([[[1.0, 2.0]]], 2).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    >>> upsample([[[1.0, 2.0]]], size=4, mode="bilinear").tolist()
    [[[1.0, 1.25, 1.75, 2.0]]]
    """
    if (scale is None) == (size is None):
        raise TypeError("upsample takes a scale or a size, as in upsample(x, 2)")
    t = _image("upsample", x)
    axes = t.ndim - 2
    if size is not None:
        wanted = lengths("upsample: size", size, axes)
    else:
        scales: list[Any] = list(scale) if isinstance(scale, (list, tuple)) else [scale] * axes
        if len(scales) != axes or not all(isinstance(s, (int, float)) and s > 0 for s in scales):
            raise TypeError(f"upsample: scale is a number > 0 or {axes} of them, got {scale!r}")
        wanted = tuple(int(n * s) for n, s in zip(t.shape[2:], scales, strict=True))
        lengths("upsample: the size that scale gives", wanted, axes)
    if mode == "bilinear":
        return _along(t if t.dtype.kind == "f" else t.astype("float32"), wanted, _between)
    if mode != "nearest":
        raise ValueError(f'upsample: mode is "nearest" or "bilinear", got {mode!r}')
    for axis, m in enumerate(wanted, 2):
        n = t.shape[axis]
        if m % n == 0:
            t = repeat(t, m // n, axis=axis)
        else:
            t = take(t, np.arange(m) * n // m, axis=axis)
    return t


def _along(t: Tensor, size: Sequence[int], rows: Callable[[int, int], Any]) -> Tensor:
    """Each spatial axis times a matrix, whose rows are the weights of its elements."""
    for axis, m in enumerate(size, 2):
        n = t.shape[axis]
        if n != m:
            weights = tensor_of(rows(n, m).astype(t.dtype if t.dtype.kind == "f" else "float32"), t)
            t = moveaxis(matmul(moveaxis(t, axis, -1), weights.T), -1, axis)
    return t


def _shares(n: int, m: int) -> Any:
    """The weights of n elements in m means."""
    at, i = np.arange(n), np.arange(m)[:, None]
    inside = (at >= i * n // m) & (at < -(-(i + 1) * n // m))
    return inside / inside.sum(axis=1, keepdims=True)


def _between(n: int, m: int) -> Any:
    """The weights of n pixels at the centres of m."""
    at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(n)), 0)


def _image(layer: Any, x: Any) -> Tensor:
    t = tensor_of(x)
    if t.ndim < 3 or 0 in t.shape[2:]:
        raise DimensionMismatch(
            f"{layer} takes (N, C, …) with one spatial axis at least, and elements in each, got shape {t.shape}"
        )
    return t
