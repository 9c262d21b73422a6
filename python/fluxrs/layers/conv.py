"""Convolutions over one, two or three spatial axes: of a batch (N, C, …) or of one sample (C, …)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .._core import DimensionMismatch, Tensor, convolve, deconvolve, istracked, zeros
from ..activations import identity, name_of
from ..names import keywords
from ..onehot import tensor_of
from ..treelike import treelike
from ..typing import ArrayLike, SupportsArray
from ..utils import glorot_uniform
from .basic import Init, Layer, activation, kept, like, made, whole
from .windows import Pad, lengths, margins

Lengths = int | Sequence[int]


def conv(
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: Lengths = 1,
    pad: Pad = 0,
    dilation: Lengths = 1,
    groups: int = 1,
) -> Tensor:
    """`conv(x, w, *, stride=1, pad=0, dilation=1, groups=1)`: the correlation of `x` with the kernels `w`.

    `x` is (N, C, …) or, for one sample, (C, …), with one to three spatial axes; `w` is (K, C / groups, …);
    the result is (N, K, …) or (K, …): y[n, k, i] = Σ x[n, c, i · stride + j · dilation − pad] · w[k, c, j] over
    c and j. `pad` is a number for all sides, one for each axis, a pair (before, after) for each, or "same".
    With `groups`, channels in and out fall into so many parts, and each part of the result sees one of `x`.

    Raises DimensionMismatch if shapes do not fit, or a kernel is larger than the input with its margins.

    >>> conv([[1, 2, 3, 4]], [[[1, 10]]]).tolist()
    [[21.0, 32.0, 43.0]]
    >>> import fluxrs
    >>> conv(fluxrs.rand(8, 3, 32, 32), fluxrs.rand(16, 3, 5, 5), stride=2, pad=2).shape
    (8, 16, 16, 16)
    """
    return _call("conv", convolve, x, w, stride, pad, dilation, groups)


def depthwiseconv(
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: Lengths = 1,
    pad: Pad = 0,
    dilation: Lengths = 1,
) -> Tensor:
    """`depthwiseconv(x, w, *, stride=1, pad=0, dilation=1)`: every channel of `x` by kernels of its own.

    `w` is (m · C, 1, …), m kernels for each channel: `conv` with as many groups as `x` has channels.

    >>> depthwiseconv([[1, 2, 3], [4, 5, 6]], [[[1, 1]], [[1, -1]]]).tolist()
    [[3.0, 5.0], [-1.0, -1.0]]
    """
    t, axes = tensor_of(x), np.ndim(w) - 2
    channels = t.shape[-axes - 1] if 0 < axes < t.ndim else 1
    return _call("depthwiseconv", convolve, t, w, stride, pad, dilation, channels)


def conv_transpose(
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: Lengths = 1,
    pad: Pad = 0,
    dilation: Lengths = 1,
    groups: int = 1,
) -> Tensor:
    """`conv_transpose(x, w, *, stride=1, pad=0, dilation=1, groups=1)`: the gradient of `conv` by its input.

    `x` is (N, C, …) or (C, …), `w` is (C, K / groups, …), the result is (N, K, …) or (K, …): each element of `x`
    adds a kernel, scaled, at its index · stride. `pad` is cut off; "same" makes lengths `stride` times those of `x`.

    >>> conv_transpose([[1, 2]], [[[1, 10, 100]]], stride=2).tolist()
    [[1.0, 10.0, 102.0, 20.0, 200.0]]
    """
    return _call("conv_transpose", deconvolve, x, w, stride, pad, dilation, groups)


def _call(
    op: str,
    f: Callable[..., Tensor],
    x: ArrayLike,
    w: ArrayLike,
    stride: Any,
    pad: Any,
    dilation: Any,
    groups: Any,
) -> Tensor:
    window = map(_fixed, (stride, pad, dilation, groups))
    return f(x, w, *_window(op, np.shape(w)[2:], *window, f is deconvolve))


def _fixed(value: Any) -> Any:
    """Lists as tuples."""
    return tuple(map(_fixed, value)) if isinstance(value, (list, tuple)) else value


@lru_cache(maxsize=256)
def _window(
    op: str,
    kernel: tuple[int, ...],
    stride: Any,
    pad: Any,
    dilation: Any,
    groups: Any,
    transposed: bool,
) -> tuple[Any, ...]:
    """The window that a convolution takes beside tensors, checked: a number, or a pair of margins, for every axis."""
    n = len(kernel)
    steps, wide = lengths(f"{op}: stride", stride, n), lengths(f"{op}: dilation", dilation, n)
    sides = margins(f"{op}: pad", pad, kernel, wide)
    if transposed and pad == "same":
        # The whole without margins is longer by this than `stride` times the input.
        over = [d * (k - 1) + 1 - s for d, k, s in zip(wide, kernel, steps, strict=True)]
        sides = tuple((max(o, 0) // 2, o - max(o, 0) // 2) for o in over)
    if whole(op, groups) < 1:
        raise ValueError(f"{op}: groups must be >= 1, got {groups!r}")
    return steps, sides, wide, int(groups)


@treelike
@keywords
class Conv:
    """`Conv(size, (in, out), σ=identity)`, or `Conv(W, b, σ)`: y = σ(conv(x, W) + b).

    `size` are the kernel's lengths, (3, 3), or one for one axis; `in` and `out` are numbers of channels.
    `W` is (out, in / groups, *size), `b` is (out,). The input is (N, in, …) or, for one sample, (in, …).
    `stride`, `pad`, `dilation` and `groups` are `conv`'s; `pad="same"` keeps lengths at a stride of 1.
    `init(out, in / groups, *size)` and `initb(out)` make the parameters; with `bias=False` there is no b.
    Raises DimensionMismatch for an input that does not fit.

    >>> import fluxrs
    >>> c = Conv((2, 2), (3, 16), fluxrs.relu)
    >>> c
    Conv((2, 2), (3, 16), relu)
    >>> c(fluxrs.rand(8, 3, 10, 10)).shape
    (8, 16, 9, 9)
    >>> Conv(3, (1, 4), stride=2, pad=1)(fluxrs.rand(1, 100)).shape
    (4, 50)
    """

    W: Tensor
    b: Tensor
    σ: Layer
    stride: Any
    pad: Any
    dilation: Any
    groups: int

    _transposed = False

    def __init__(
        self,
        size_or_W: Lengths | SupportsArray,
        channels_or_b: Sequence[int] | SupportsArray,
        /,
        σ: Layer = identity,
        *,
        stride: Lengths = 1,
        pad: Pad = 0,
        dilation: Lengths = 1,
        groups: int = 1,
        init: Init = glorot_uniform,
        initb: Init = zeros,
        bias: bool = True,
    ) -> None:
        name = type(self).__name__
        self.groups = whole(name, groups)
        self.stride, self.pad, self.dilation = _fixed(stride), _fixed(pad), _fixed(dilation)
        if np.ndim(size_or_W) < 2:
            size: Any = size_or_W if isinstance(size_or_W, (list, tuple)) else (size_or_W,)
            size = lengths(f"{name}: the kernel's size", size, len(size))
            n_in, n_out = _pair(name, channels_or_b)
            if not groups or n_in % groups or n_out % groups:
                raise DimensionMismatch(
                    f"{name}: {groups} groups do not divide the channels, {n_in} in and {n_out} out"
                )
            front = (n_in, n_out // groups) if self._transposed else (n_out, n_in // groups)
            self.W = made(name, "init", init, *front, *size)
            # A constant 0 that is added is no bias, as in Dense.
            none = zeros((), dtype=self.W.dtype)
            self.b = made(name, "initb", initb, n_out) if bias else none
        else:
            self.W, self.b = kept(size_or_W), kept(channels_or_b)
        self.σ = activation(name, σ)
        self._check()

    def _check(self) -> None:
        name, shape = type(self).__name__, self.W.shape
        if not 3 <= len(shape) <= 5 or self.b.shape not in ((), self._channels()[1:]):
            kernel = "(in, out / groups, …)" if self._transposed else "(out, in / groups, …)"
            raise DimensionMismatch(
                f"{name}(W, b): W is {kernel}, with one to three spatial axes, and b is (out,), got shapes "
                f"{shape} and {self.b.shape}"
            )
        self._window()

    def _channels(self) -> tuple[int, int]:
        first, second = self.W.shape[:2]
        return (first, second * self.groups) if self._transposed else (second * self.groups, first)

    def _window(self) -> tuple[Any, ...]:
        window = (self.stride, self.pad, self.dilation, self.groups)
        return _window(type(self).__name__, self.W.shape[2:], *window, self._transposed)

    def __call__(self, x: ArrayLike) -> Tensor:
        W, b = self.W, self.b
        t, f = like(x, W), deconvolve if self._transposed else convolve
        try:
            z = f(t, W, *self._window())
        except DimensionMismatch as error:
            raise DimensionMismatch(f"{self!r}: {str(error).partition(': ')[2]}") from None
        y: Tensor = self.σ(z + (b.reshape(-1, *[1] * (W.ndim - 2)) if b.ndim else b))
        return y

    def __repr__(self) -> str:
        size = tuple(self.W.shape[2:])
        parts = [repr(size if len(size) > 1 else size[0]), repr(self._channels())]
        if self.σ is not identity:
            parts.append(name_of(self.σ))
        plain = {"stride": 1, "pad": 0, "dilation": 1, "groups": self._plain_groups()}
        parts += [f"{n}={getattr(self, n)!r}" for n, v in plain.items() if getattr(self, n) != v]
        if not (self.b.shape or istracked(self.b)):
            parts.append("bias=False")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _plain_groups(self) -> int:
        return 1


@treelike
@keywords
class DepthwiseConv(Conv):
    """`DepthwiseConv(size, (in, out), σ=identity)`, or `DepthwiseConv(W, b, σ)`: every channel by kernels of its own.

    `out` is a multiple of `in`: `W` is (out, 1, *size), and channel i makes the `out` / `in` that follow
    i · `out` / `in`. One number of channels stands for as many in and out, as does a given `W`. The rest is
    as in `Conv`.

    >>> import fluxrs
    >>> DepthwiseConv((3, 3), 8, fluxrs.relu, pad="same")(fluxrs.rand(2, 8, 5, 5)).shape
    (2, 8, 5, 5)
    """

    def __init__(
        self,
        size_or_W: Lengths | SupportsArray,
        channels_or_b: int | Sequence[int] | SupportsArray,
        /,
        σ: Layer = identity,
        *,
        stride: Lengths = 1,
        pad: Pad = 0,
        dilation: Lengths = 1,
        init: Init = glorot_uniform,
        initb: Init = zeros,
        bias: bool = True,
    ) -> None:
        second: Any = channels_or_b
        if np.ndim(size_or_W) < 2:
            second = _pair("DepthwiseConv", (second, second) if isinstance(second, int) else second)
            groups = second[0]
        else:
            groups = len(kept(size_or_W))
        window: Any = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
        super().__init__(size_or_W, second, σ, **window, init=init, initb=initb, bias=bias)

    def _plain_groups(self) -> int:
        return self.groups


@treelike
@keywords
class ConvTranspose(Conv):
    """`ConvTranspose(size, (in, out), σ=identity)`, or `ConvTranspose(W, b, σ)`: y = σ(conv_transpose(x, W) + b).

    `W` is (in, out / groups, *size); `pad` is cut off the result, and `pad="same"` makes its lengths
    `stride` times those of the input. The rest is as in `Conv`.

    >>> import fluxrs
    >>> ConvTranspose((2, 2), (3, 8), stride=2)(fluxrs.rand(1, 3, 5, 5)).shape
    (1, 8, 10, 10)
    """

    _transposed = True

    def __init__(
        self,
        size_or_W: Lengths | SupportsArray,
        channels_or_b: Sequence[int] | SupportsArray,
        /,
        σ: Layer = identity,
        *,
        stride: Lengths = 1,
        pad: Pad = 0,
        dilation: Lengths = 1,
        groups: int = 1,
        init: Init = glorot_uniform,
        initb: Init = zeros,
        bias: bool = True,
    ) -> None:
        window: Any = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
        super().__init__(size_or_W, channels_or_b, σ, **window, init=init, initb=initb, bias=bias)


def _pair(name: str, channels: Any) -> tuple[int, int]:
    if not isinstance(channels, (list, tuple)) or len(channels) != 2:
        raise TypeError(
            f"{name}: channels are a pair (in, out), got {channels!r}; as in {name}((3, 3), (1, 16))"
        )
    return whole(name, channels[0]), whole(name, channels[1])
