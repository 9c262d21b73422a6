"""Batching, counting, and the initialisers of layers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ._core import Tensor, data, permutation, rand, randn, reshape, stack, tensor
from .names import keywords

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)


def batch(xs: Sequence[Any]) -> Any:
    """`batch(xs)`: stack arrays of one shape on a new first axis; one-hot vectors stay one-hot.

    >>> batch([[1, 2, 3], [4, 5, 6]]).tolist()
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    """
    from .onehot import OneHotMatrix, OneHotVector

    if not len(xs):
        raise ValueError("batch: at least one array is needed")
    if all(isinstance(x, OneHotVector) for x in xs):
        return OneHotMatrix(np.stack([np.asarray(x.indices) for x in xs]), xs[0].classes)
    return stack(list(xs)) if any(hasattr(x, "shape") for x in xs) else tensor(list(xs))


def batchseq(xs: Sequence[Sequence[Any]], pad: Any = 0, n: int | None = None) -> list[Any]:
    """`batchseq(xs, pad, n)`: sequences as one sequence of batches, short ones padded to `n`.

    >>> [b.tolist() for b in batchseq([[1, 2, 3], [4, 5]], 0)]
    [[1.0, 4.0], [2.0, 5.0], [3.0, 0.0]]
    """
    n = max((len(x) for x in xs), default=0) if n is None else n
    return [batch([x[i] if i < len(x) else pad for x in xs]) for i in range(n)]


def chunk(xs: Sequence[T], n: int) -> list[Sequence[T]]:
    """`chunk(xs, n)`: `xs` in `n` parts, all but the last of one length.

    >>> chunk(range(1, 11), 3)
    [range(1, 5), range(5, 9), range(9, 11)]
    """
    if n < 1:
        raise ValueError(f"chunk: the number of parts must be >= 1, got {n}")
    size = max(math.ceil(len(xs) / n), 1)
    return [xs[i : i + size] for i in range(0, len(xs), size)]


def frequencies(xs: Iterable[H]) -> dict[H, int]:
    """`frequencies(xs)`: how often each element appears.

    >>> frequencies("abb")
    {'a': 1, 'b': 2}
    """
    counts: dict[H, int] = {}
    if isinstance(xs, (np.ndarray, Tensor)):
        xs = xs.tolist()
    for x in xs:
        counts[x] = counts.get(x, 0) + 1
    return counts


def unsqueeze(xs: Any, axis: int) -> Tensor:
    """`unsqueeze(xs, axis)`: a new axis of length 1 at `axis`.

    >>> unsqueeze([1, 2, 3], 0).shape
    (1, 3)
    """
    shape = list(np.shape(xs))
    if not -len(shape) - 1 <= axis <= len(shape):
        raise IndexError(
            f"unsqueeze: axis {axis} is out of range for a result of {len(shape) + 1} axes"
        )
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 1)
    return reshape(xs, tuple(shape))


def unstack(xs: Any, axis: int = 0) -> list[Any]:
    """`unstack(xs, axis)`: the slices of `xs` along `axis`; `stack` puts them together.

    >>> import fluxrs
    >>> [x.tolist() for x in unstack(fluxrs.tensor([[1, 2], [3, 4]]), 1)]
    [[1.0, 3.0], [2.0, 4.0]]
    """
    if not isinstance(xs, np.ndarray):
        xs = tensor(xs)
    if not -xs.ndim <= axis < xs.ndim:
        raise IndexError(f"unstack: axis {axis} is out of range for an array of {xs.ndim} axes")
    before = (slice(None),) * (axis % xs.ndim)
    return [xs[(*before, i)] for i in range(xs.shape[axis])]


class Batches:
    """The result of `batches`: as often as it is iterated, the batches, in a new order if shuffled."""

    def __init__(self, x: Any, y: Any, size: int, shuffle: bool) -> None:
        self.x, self.y, self.size, self.shuffle = _rows(x), _rows(y), size, shuffle

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        n, size = len(self.x), self.size
        order = np.asarray(permutation(n)) if self.shuffle else np.arange(n)
        for i in range(0, n, size):
            rows = order[i : i + size]
            yield self.x[rows], self.y[rows]

    def __repr__(self) -> str:
        return f"batches of {self.size} of {len(self.x)} samples"


@keywords
def batches(x: Any, y: Any, size: int, shuffle: bool = True) -> Batches:
    """`batches(x, y, size, shuffle=True)`: pairs of `size` rows, for `train`; the last may be smaller.

    The order follows `seed`. Raises ValueError if `x` and `y` have different numbers of rows.

    >>> import numpy as np
    >>> [len(x) for x, y in batches(np.zeros((5, 3)), np.zeros(5), 2)]
    [2, 2, 1]
    """
    if len(x) != len(y):
        raise ValueError(f"batches: x has {len(x)} rows and y {len(y)}; they must be as many")
    if not hasattr(size, "__index__"):
        raise TypeError(f"batches: size must be a whole number, got {size!r}")
    if size < 1:
        raise ValueError(f"batches: size must be >= 1, got {size}")
    return Batches(x, y, size, shuffle)


def _rows(x: Any) -> Any:
    return np.asarray(x) if isinstance(x, (list, tuple)) else x


def accuracy(ŷ: Any, y: Any) -> float:
    """`accuracy(ŷ, y)`: the share of samples whose largest entry is the target's.

    `ŷ` is (N, classes); `y` is as `ŷ`, a one-hot batch, or N indices of classes. Booleans, as
    of a probability `p > 0.5`, are compared one by one with a target of their shape. Raises
    ValueError for a single column, which has nothing to choose from.

    >>> accuracy([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    >>> import numpy as np
    >>> accuracy(np.array([0.9, 0.2, 0.7]) > 0.5, [1, 0, 0])
    0.6666666666666666
    """
    from .onehot import OneHot

    chosen = isinstance(ŷ, OneHot)
    ŷ, y = np.asarray(data(ŷ)), np.asarray(data(y))
    if ŷ.dtype == bool and ŷ.shape == y.shape and not chosen:
        right = ŷ == y
    elif ŷ.ndim < 2 or ŷ.shape[-1] == 1:
        raise ValueError(
            f"accuracy: predictions of shape {ŷ.shape} are no rows of classes to choose from, and the "
            f"targets have shape {y.shape}; for one probability a sample, accuracy(p > 0.5, y), "
            "with p and y of one shape"
        )
    elif y.shape not in (ŷ.shape, ŷ.shape[:-1]):
        raise ValueError(f"accuracy: predictions of shape {ŷ.shape} and targets of shape {y.shape}")
    else:
        right = ŷ.argmax(-1) == (y.argmax(-1) if y.ndim == ŷ.ndim else y)
    return float(right.mean())


def glorot_uniform(*dims: int) -> Tensor:
    """`glorot_uniform(out, in)`: uniform in ±√(6 / (in + out)); a kernel's fans count its area.

    Source: Glorot and Bengio, AISTATS 2010.

    >>> glorot_uniform(5, 10).shape
    (5, 10)
    """
    return (rand(dims) - 0.5) * math.sqrt(24 / _fans(dims))


def glorot_normal(*dims: int) -> Tensor:
    """`glorot_normal(out, in)`: normal with standard deviation √(2 / (in + out)).

    >>> glorot_normal(5, 10).shape
    (5, 10)
    """
    return randn(dims) * math.sqrt(2 / _fans(dims))


def initn(*dims: int) -> Tensor:
    """`initn(dims…)`: normal with standard deviation 0.01.

    >>> initn(3).shape
    (3,)
    """
    return randn(dims) / 100


def _fans(dims: Sequence[int]) -> int:
    return max(sum(dims[:2]) * math.prod(dims[2:]), 1)
