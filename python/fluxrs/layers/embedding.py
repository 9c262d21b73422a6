"""Vectors for words, labels and other numbered things, one by one or in bags."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from .. import _core
from .._core import DimensionMismatch, Tensor, arange, randn, take, where, zeros
from ..onehot import OneHot, OneHotMatrix
from ..treelike import treelike
from ..typing import ArrayLike
from .basic import Init, made, whole


class _Table:
    """A row for each number below `n`."""

    W: Tensor

    def _make(self, n: int, dim: int, init: Init) -> None:
        name = type(self).__name__
        self.W = made(name, "init", init, whole(name, n), whole(name, dim))

    def _check(self) -> None:
        if self.W.ndim != 2:
            raise DimensionMismatch(
                f"{type(self).__name__} holds a table (n, dim), got shape {self.W.shape}"
            )

    def _shape(self) -> str:
        n, dim = self.W.shape
        return f"{n}, {dim}"


@treelike
class Embedding(_Table):
    """`Embedding(n, dim, init=randn)`: the rows of a trained table `W` (n, dim) at the integers given.

    Integers (…) become vectors (…, dim); a one-hot array (…, n) gives the same as its labels. Negative
    numbers count from the end. Raises IndexError for one that is out of range, when it is evaluated, and
    TypeError for numbers that are no integers.

    >>> import fluxrs
    >>> e = Embedding(1000, 64)
    >>> e([[2, 7, 1], [8, 2, 8]]).shape
    (2, 3, 64)
    """

    W: Tensor

    def __init__(self, n: int, dim: int, /, *, init: Init = randn) -> None:
        self._make(n, dim, init)

    def __call__(self, x: ArrayLike | OneHot) -> Tensor:
        return x @ self.W if isinstance(x, OneHot) else take(self.W, x, axis=0)

    def __repr__(self) -> str:
        return f"Embedding({self._shape()})"


@treelike
class EmbeddingBag(_Table):
    """`EmbeddingBag(n, dim, mode="mean", init=randn)`: the sum, mean or max of the rows of each bag of integers.

    Bags of one length are an array (N, length). Bags of several lengths are one vector of integers with the
    place at which each bag begins: `bag(x, offsets)` is (number of bags, dim), and bag i is
    x[offsets[i] : offsets[i + 1]]. A bag of nothing gives zeros. Raises ValueError for offsets that do not
    begin with 0, decrease or go past the end.

    >>> import fluxrs
    >>> bag = EmbeddingBag(10, 3, "sum", init=fluxrs.ones)
    >>> bag([1, 2, 4, 5, 4], [0, 2]).tolist()
    [[2.0, 2.0, 2.0], [3.0, 3.0, 3.0]]
    """

    W: Tensor
    mode: str

    def __init__(self, n: int, dim: int, /, mode: str = "mean", *, init: Init = randn) -> None:
        self.mode = mode
        self._make(n, dim, init)
        self._check()

    def _check(self) -> None:
        super()._check()
        if self.mode not in ("sum", "mean", "max"):
            raise ValueError(f'EmbeddingBag: mode is "sum", "mean" or "max", got {self.mode!r}')

    def __call__(self, x: ArrayLike, offsets: ArrayLike | None = None) -> Tensor:
        x = x if isinstance(x, Tensor) else np.asarray(x)
        shape = x.shape
        if len(shape) != (2 if offsets is None else 1):
            wanted = "(N, length), or (n,) with offsets" if offsets is None else "(n,) with offsets"
            raise DimensionMismatch(f"{self!r} takes integers {wanted}, got shape {shape}")
        if offsets is None:
            return self._pooled(take(self.W, x, axis=0))
        begin = _offsets(offsets, shape[0])
        counts = np.diff(begin, append=shape[0])
        if self.mode == "max":
            return self._largest(x, begin, counts)
        bags = np.repeat(np.arange(len(begin)), counts)
        each = OneHotMatrix(bags, arange(len(begin), dtype="int64"))
        total: Tensor = each.T @ take(self.W, x, axis=0)
        if self.mode == "mean":
            total = total / np.maximum(counts, 1).astype(self.W.dtype)[:, None]
        return total

    def _pooled(self, rows: Tensor) -> Tensor:
        """The rows (N, length, dim) of bags of one length as (N, dim)."""
        length = rows.shape[1]
        if self.mode == "max" and length:
            return _core.max(rows, axis=1)
        total = _core.sum(rows, axis=1)
        return total / max(length, 1) if self.mode == "mean" else total

    def _largest(self, x: Any, begin: Any, counts: Any) -> Tensor:
        """The largest elements of bags of several lengths, which are filled up to the longest."""
        longest = int(counts.max(initial=0))
        if longest == 0:
            return _core.sum(self.W[:0], axis=0) + zeros(len(begin), 1, dtype=self.W.dtype)
        at = np.arange(longest)
        inside = at < counts[:, None]
        rows = take(self.W, take(x, np.where(inside, begin[:, None] + at, 0)), axis=0)
        largest = _core.max(where(inside[..., None], rows, -inf), axis=1)
        return where((counts > 0)[:, None], largest, 0.0)

    def __repr__(self) -> str:
        return f"EmbeddingBag({self._shape()}, {self.mode!r})"


def _offsets(offsets: Any, n: int) -> Any:
    """Where the bags of `n` integers begin, checked."""
    begin = np.asarray(offsets)
    if begin.ndim != 1 or (begin.size and begin.dtype.kind not in "iu"):
        raise TypeError(f"EmbeddingBag: offsets are a vector of integers, got {offsets!r}")
    begin = begin.astype("int64")
    ordered = (np.diff(begin, append=n) >= 0).all()
    if begin.size and (begin[0] != 0 or not ordered):
        raise ValueError(
            f"EmbeddingBag: offsets begin with 0, do not decrease and stay within the {n} integers, got {begin.tolist()}"
        )
    return begin
