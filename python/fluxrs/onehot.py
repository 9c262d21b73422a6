"""One-hot vectors and batches: an index that behaves like the array of 0s and one 1."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ._core import DimensionMismatch, Tensor, arange, argmax, forward, swapaxes, take, tensor, zeros
from ._core import gpu as to_gpu
from .treelike import treelike


class Booleans:
    """Acts as an array of booleans, but for its products."""

    __array_ufunc__ = None  # an array on the left leaves the operator to us

    def dense(self) -> Tensor:
        """The booleans as a tensor."""
        raise NotImplementedError

    def __array_function__(self, f: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return f(*_seen(args), **kwargs)

    def __bool__(self) -> bool:
        return bool(self.dense())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.dense(), name)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: Any) -> Any:
        return np.asarray(self)[i]

    def __repr__(self) -> str:
        name = type(self).__name__
        rows = np.array2string(np.asarray(self).astype(int), prefix=name + "(", threshold=100)
        return f"{name}({rows})"

    __hash__ = object.__hash__


@treelike("indices", "classes")
class OneHot(Booleans):
    """`indices` into `classes`, the numbers from 0 on, which are the last axis.

    A product gathers rows of the other factor; anything else sees the array of booleans.
    """

    indices: Any
    classes: Tensor

    def __init__(self, indices: Any, classes: Tensor) -> None:
        self.indices, self.classes = indices, classes
        self._check()

    def _check(self) -> None:
        integers = getattr(self.indices, "dtype", None) in ("int32", "int64")
        if not integers or not isinstance(self.classes, Tensor) or self.classes.ndim != 1:
            raise TypeError("one-hot indices are integers into a vector of classes")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array it stands for."""
        return (*self.indices.shape, *self.classes.shape)

    @property
    def ndim(self) -> int:
        """The number of axes of the array it stands for."""
        return len(self.shape)

    def at(self, indices: Any) -> OneHot:
        """Other one-hot rows of the same classes."""
        return (OneHotMatrix if indices.ndim else OneHotVector)(indices, self.classes)

    def dense(self) -> Tensor:
        """The booleans as a tensor."""
        return tensor(self.indices)[..., None] == self.classes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        rows = np.asarray(self.indices)[..., None] == np.arange(self.shape[-1])
        return np.asarray(rows, dtype=dtype)

    def __matmul__(self, W: Any) -> Tensor:
        axis = _check_product(self.shape[-1], W, -2)
        return take(W, self.indices, axis=axis)

    def __rmatmul__(self, W: Any) -> Tensor:
        _check_product(self.shape[-1], W, -1)
        return take(W, self.indices, axis=-1)


def _seen(x: Any) -> Any:
    """The arguments of a NumPy function, with booleans in place of what is one-hot."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(_seen, x))
    return x.dense() if isinstance(x, Booleans) else x


def _elementwise(name: str) -> Any:
    f = getattr(operator, name)

    def op(self: Booleans, other: Any) -> Any:
        return f(tensor_of(self, other), other.dense() if isinstance(other, Booleans) else other)

    return op


def _unary(name: str) -> Any:
    f = getattr(operator, name)
    return lambda self: f(self.dense())


def _reflected(name: str) -> Any:
    f = getattr(operator, name)
    return lambda self, other: f(other, tensor_of(self, other))


_arithmetic = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
for _name in (*_arithmetic, "and_", "or_", "xor", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Booleans, f"__{_name.strip('_')}__", _elementwise(_name))
for _name in _arithmetic:
    setattr(Booleans, f"__r{_name}__", _reflected(_name))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Booleans, f"__{_name}__", _unary(_name))


class OneHotVector(OneHot):
    """A vector of booleans, one of them true; made by `onehot`."""


class OneHotMatrix(OneHot):
    """A batch (N, classes) of one-hot vectors; made by `onehotbatch`.

    `Y @ W` and `W @ Y.T` gather rows and columns of `W`; rows of `Y` stay one-hot.
    """

    @property
    def T(self) -> TransposedOneHot:
        """Transposed, and still an index."""
        return TransposedOneHot(self)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, tuple):
            return np.asarray(self)[i]
        return self.at(self.indices[i if isinstance(self.indices, Tensor) else np.asarray(i)[()]])

    def __rmatmul__(self, M: Any) -> Tensor:
        M = tensor_of(M)
        return self.T @ M if M.ndim < 2 else swapaxes(self.T @ swapaxes(M, -1, -2), -1, -2)


class TransposedOneHot(Booleans):
    """`Y.T` of a one-hot batch: (classes, N)."""

    def __init__(self, rows: OneHotMatrix) -> None:
        self.T = rows
        self.shape = rows.shape[::-1]

    def dense(self) -> Tensor:
        """The booleans as a tensor."""
        return self.T.dense().T

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.T, dtype=dtype).T

    def __rmatmul__(self, W: Any) -> Tensor:
        return OneHot.__rmatmul__(self.T, W)

    def __matmul__(self, M: Any) -> Tensor:
        """Sums the rows of `M` by class, which is what a gather's pullback does."""
        axis = _check_product(self.shape[1], M, -2)
        rows = tensor_of(M)
        if rows.dtype not in ("float32", "float64"):
            return tensor_of(self, rows) @ rows  # integers have no gradient
        shape = list(rows.shape)
        shape[axis] = self.shape[0]
        _, back = forward(lambda W: self.T @ W, zeros(shape, dtype=rows.dtype).to(rows.device))
        total: Tensor = back(rows)[0]
        return total


def _check_product(n: int, W: Any, axis: int) -> int:
    """The axis of `W` that a product sums over: the one before the last of a matrix, the only one of a vector."""
    shape = np.shape(W)
    axis = max(axis, -len(shape))
    if not shape or shape[axis] != n:
        raise DimensionMismatch(f"a product of one-hot rows of {n} with an array of shape {shape}")
    return axis


def tensor_of(x: Any, beside: Any = None) -> Tensor:
    """`x` as a tensor, a one-hot array as its booleans; beside a tensor on the GPU it is copied there.

    Numbers in lists are exact in float64 beside it.
    """
    if isinstance(x, Tensor):
        return x
    exact = isinstance(x, (list, tuple, float)) and getattr(beside, "dtype", None) == "float64"
    dtype = "float64" if exact else None
    t: Tensor = x.dense() if isinstance(x, Booleans) else tensor(x, dtype=dtype)
    if isinstance(beside, Tensor) and beside.device != t.device:
        t = to_gpu(t)
    return t


_missing: Any = object()


def onehot(l: Any, labels: Sequence[Any], unk: Any = _missing) -> OneHotVector:
    """`onehot(l, labels)`: the one-hot vector of the label `l`; `unk` replaces an unknown label.

    Raises ValueError for an unknown label if there is no `unk`.

    >>> onehot("b", ["a", "b", "c"])
    OneHotVector([0 1 0])
    """
    labels = _items(labels)
    return OneHotVector(np.int64(_index(l, labels, unk)), _classes(labels))


def onehotbatch(ls: Iterable[Any], labels: Sequence[Any], unk: Any = _missing) -> OneHotMatrix:
    """`onehotbatch(ls, labels)`: a batch (N, number of labels) of one-hot vectors; of an array (…) one (…, number of labels).

    >>> onehotbatch("bab", "abc").shape
    (3, 3)
    """
    shape: tuple[int, ...] = (-1,)
    if isinstance(ls, (np.ndarray, Tensor)) and ls.ndim > 1:
        shape, ls = ls.shape, ls.reshape(-1)
    ls, labels = _items(ls), _items(labels)
    if any(isinstance(l, (list, dict, set)) for l in ls):
        raise TypeError("onehotbatch takes a flat list of labels, got one inside another")
    known = {l: _index(l, labels, unk) for l in dict.fromkeys(ls)}
    rows = np.array([known[l] for l in ls], dtype=np.int64)
    return OneHotMatrix(rows.reshape(shape), _classes(labels))


def onecold(y: Any, labels: Sequence[Any] | None = None) -> Any:
    """`onecold(y, labels)`: the label of the largest entry; a list of labels for a batch.

    Without `labels`: indices, an int tensor for a batch.

    >>> onecold([0.3, 0.2, 0.5], ["a", "b", "c"])
    'c'
    >>> onecold([[0.3, 0.7], [0.9, 0.1]]).tolist()
    [1, 0]
    """
    indices = argmax(y, axis=-1)
    if labels is None:
        return indices if indices.ndim else int(indices)
    classes = np.shape(y)[-1]
    if len(labels) < classes:
        raise DimensionMismatch(f"onecold: {len(labels)} labels for {classes} classes")
    return _lookup(indices.tolist(), labels)


def _classes(labels: Sequence[Any]) -> Tensor:
    return arange(len(labels), dtype="int64")


def _lookup(i: Any, labels: Sequence[Any]) -> Any:
    return [_lookup(j, labels) for j in i] if isinstance(i, list) else labels[i]


def _items(xs: Any) -> list[Any]:
    if isinstance(xs, (int, np.integer)):
        raise TypeError(f"one-hot: wanted is a list of all labels, such as range({xs}), got {xs}")
    try:
        return xs.tolist() if isinstance(xs, (np.ndarray, Tensor)) else list(xs)
    except OverflowError:
        raise OverflowError(f"one-hot: {xs} has more labels than a list can hold") from None


def _index(l: Any, labels: Sequence[Any], unk: Any) -> int:
    for i, known in enumerate(labels):
        if known == l:
            return i
    if unk is not _missing:
        return _index(unk, labels, _missing)
    shown = ", ".join(map(repr, labels[:10])) + (", …" if len(labels) > 10 else "")
    raise ValueError(f"onehot: {l!r} is not among the labels {shown}; `unk` may name a replacement")
