"""Batching, counting, and the initialisers of layers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from ._core import (
    Tensor,
    argsort,
    data,
    normcdf,
    rand,
    randn,
    reshape,
    stack,
    tensor,
    where,
)

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
        raise ValueError(
            f"accuracy: predictions of shape {ŷ.shape} want a target for each row, {ŷ.shape[:-1]} or "
            f"{ŷ.shape}, got targets of shape {y.shape}"
        )
    else:
        right = ŷ.argmax(-1) == (y.argmax(-1) if y.ndim == ŷ.ndim else y)
    return float(right.mean())


def glorot_uniform(*shape: int | Sequence[int]) -> Tensor:
    """`glorot_uniform(out, in)`: uniform in ±√(6 / (in + out)); a kernel's fans count its area.

    Source: Glorot and Bengio, AISTATS 2010.

    >>> glorot_uniform(5, 10).shape
    (5, 10)
    """
    dims = _dims(shape)
    return (rand(dims) - 0.5) * math.sqrt(24 / _fans(dims))


def glorot_normal(*shape: int | Sequence[int]) -> Tensor:
    """`glorot_normal(out, in)`: normal with standard deviation √(2 / (in + out)).

    >>> glorot_normal(5, 10).shape
    (5, 10)
    """
    dims = _dims(shape)
    return randn(dims) * math.sqrt(2 / _fans(dims))


def initn(*shape: int | Sequence[int]) -> Tensor:
    """`initn(dims…)`: normal with standard deviation 0.01.

    >>> initn(3).shape
    (3,)
    """
    dims = _dims(shape)
    return randn(dims) / 100


def kaiming_uniform(*shape: int | Sequence[int], gain: float = math.sqrt(2)) -> Tensor:
    """`kaiming_uniform(out, in, gain=√2)`: uniform in ±gain · √(3 / in); a kernel's fan counts its area.

    The standard deviation gain / √in keeps the size of a signal through `relu`. Source: arXiv 1502.01852.

    >>> kaiming_uniform(5, 10).shape
    (5, 10)
    """
    dims = _dims(shape)
    return (rand(dims) - 0.5) * (gain * math.sqrt(12 / _fan_in(dims)))


def kaiming_normal(*shape: int | Sequence[int], gain: float = math.sqrt(2)) -> Tensor:
    """`kaiming_normal(out, in, gain=√2)`: normal with standard deviation gain / √in.

    A kernel (out, in, …) has in times its area as its fan, a vector its length. Source: arXiv 1502.01852.

    >>> kaiming_normal(5, 10).shape
    (5, 10)
    """
    dims = _dims(shape)
    return randn(dims) * (gain / math.sqrt(_fan_in(dims)))


def orthogonal(*shape: int | Sequence[int], gain: float = 1.0) -> Tensor:
    """`orthogonal(out, in, gain=1)`: rows, or columns if there are fewer, that are orthogonal and of length `gain`.

    A kernel (out, in, …) counts as a matrix of `out` rows. Raises ValueError for fewer than two axes.
    Source: Saxe, McClelland and Ganguli, arXiv 1312.6120.

    >>> import numpy as np
    >>> W = orthogonal(2, 3)
    >>> bool(np.allclose(W @ W.T, np.eye(2), atol=1e-6))
    True
    """
    dims = _dims(shape)
    if len(dims) < 2:
        raise ValueError(f"orthogonal: at least two axes are needed, got the shape {dims}")
    rows, columns = dims[0], math.prod(dims[1:])
    normal = np.asarray(randn(max(rows, columns), min(rows, columns)), dtype="float64")
    q, r = np.linalg.qr(normal)
    q = q * np.where(np.diagonal(r) < 0, -1, 1)  # or the distribution is not uniform
    return tensor((q if rows >= columns else q.T).reshape(dims) * gain, dtype="float32")


def truncated_normal(
    *shape: int | Sequence[int],
    mean: float = 0.0,
    std: float = 1.0,
    lo: float = -2.0,
    hi: float = 2.0,
) -> Tensor:
    """`truncated_normal(dims…, mean=0, std=1, lo=-2, hi=2)`: normal, given that it lies between `lo` and `hi`.

    The value whose share of the distribution between the bounds is uniform, found by halving. Raises
    ValueError unless lo < hi and std > 0.

    >>> x = truncated_normal(1000, std=0.1, lo=-0.1, hi=0.2)
    >>> bool((x >= -0.1).all() and (x <= 0.2).all())
    True
    """
    dims = _dims(shape)
    if not lo < hi or not 0 < std < math.inf:
        raise ValueError(
            f"truncated_normal: lo < hi and 0 < std are needed, got lo={lo}, hi={hi}, std={std}"
        )
    far = 37.5  # beyond, the distribution function is 0 or 1 in float64
    a, b = (min(max((x - mean) / std, -far), far) for x in (lo, hi))
    sign = -1.0 if a > 0 else 1.0  # the lower tail is the accurate one
    a, b = min(sign * a, sign * b), max(sign * a, sign * b)
    below, above = (float(normcdf(tensor(x, dtype="float64"))) for x in (a, b))
    share = below + (above - below) * rand(dims, dtype="float64")
    low, high = share * 0 + a, share * 0 + b
    for _ in range(48):
        middle = (low + high) * 0.5
        less = normcdf(middle) < share
        low, high = where(less, middle, low), where(less, high, middle)
    return (sign * std * (low + high) * 0.5 + mean).clip(lo, hi).astype("float32")


def sparse_init(*shape: int | Sequence[int], sparsity: float, std: float = 0.01) -> Tensor:
    """`sparse_init(out, in, sparsity, std=0.01)`: normal, with a share `sparsity` of zeros, rounded up, in each column.

    Raises ValueError unless there are two axes and 0 ≤ sparsity ≤ 1. Source: Martens, "Deep learning via
    Hessian-free optimization", ICML 2010.

    >>> (sparse_init(4, 3, sparsity=0.75) == 0).sum(axis=0).tolist()
    [3, 3, 3]
    """
    dims = _dims(shape)
    if len(dims) != 2:
        raise ValueError(f"sparse_init: a matrix has two axes, got the shape {dims}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_init: sparsity is a share between 0 and 1, got {sparsity!r}")
    rank = argsort(argsort(rand(dims), axis=0), axis=0)
    return where(rank < math.ceil(sparsity * dims[0]), 0.0, randn(dims) * std)


def _dims(shape: tuple[int | Sequence[int], ...]) -> tuple[int, ...]:
    """The lengths of a shape that is given as `3, 4` or `(3, 4)`."""
    given = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return tuple(cast("Sequence[int]", given))


def _fan_in(dims: Sequence[int]) -> int:
    """How many elements of the input one of the output is made of."""
    return max(math.prod(dims[1:]) if len(dims) > 1 else math.prod(dims), 1)


def _fans(dims: Sequence[int]) -> int:
    return max(sum(dims[:2]) * math.prod(dims[2:]), 1)
