"""Attention as a layer."""

from __future__ import annotations

from .._core import Tensor, attention, swapaxes
from ..treelike import treelike
from ..typing import ArrayLike
from ..utils import glorot_uniform
from .basic import Dense, Init, whole


@treelike
class MultiHeadAttention:
    """`MultiHeadAttention(dim, heads, causal=False, bias=True, init=glorot_uniform)`: attention in several heads.

    `m(x)` for a sequence (…, t, dim) attends to itself; `m(x, y)` attends from x to y (…, s, dim), and `m(x, k, v)` to
    keys and values of their own. Queries, keys and values are made by the layers `q`, `k` and `v`, cut into `heads`
    parts of dim / heads features; `attention` of each part, side by side again, goes through the layer `out`. A
    mask broadcasts to (…, heads, t, s); with `causal` no step sees a later one. Raises ValueError if the heads do
    not divide dim. Source: arXiv 1706.03762.

    >>> import fluxrs
    >>> m = MultiHeadAttention(64, 4, causal=True)
    >>> m(fluxrs.rand(2, 10, 64)).shape
    (2, 10, 64)
    """

    q: Dense
    k: Dense
    v: Dense
    out: Dense
    heads: int
    causal: bool

    def __init__(
        self,
        dim: int,
        heads: int,
        /,
        *,
        causal: bool = False,
        bias: bool = True,
        init: Init = glorot_uniform,
    ) -> None:
        n = whole("MultiHeadAttention", dim)
        self.q, self.k, self.v, self.out = (Dense(n, n, initW=init, bias=bias) for _ in range(4))
        self.heads, self.causal = whole("MultiHeadAttention", heads), causal
        self._check()

    def _check(self) -> None:
        dim = self.q.W.shape[0]
        if self.heads < 1 or dim % self.heads:
            raise ValueError(
                f"MultiHeadAttention: {dim} features do not fall into {self.heads} heads"
            )

    def __call__(
        self,
        x: ArrayLike,
        k: ArrayLike | None = None,
        v: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
    ) -> Tensor:
        k = x if k is None else k
        v = k if v is None else v
        q, k, v = (self._cut(part) for part in (self.q(x), self.k(k), self.v(v)))
        y = swapaxes(attention(q, k, v, mask, self.causal), -2, -3)
        return self.out(y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1]))

    def _cut(self, x: Tensor) -> Tensor:
        """(…, t, dim) as (…, heads, t, dim / heads)."""
        heads = x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)
        return swapaxes(heads, -2, -3)

    def __repr__(self) -> str:
        causal = ", causal=True" if self.causal else ""
        return f"MultiHeadAttention({self.q.W.shape[0]}, {self.heads}{causal})"
