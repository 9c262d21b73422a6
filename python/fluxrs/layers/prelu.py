"""PReLU: the activation whose slope is learned."""

from __future__ import annotations

from .._core import DimensionMismatch, Tensor, full, param
from ..activations import prelu
from ..treelike import treelike
from ..typing import ArrayLike
from .basic import like, whole


@treelike
class PReLU:
    """`PReLU(channels=1, a=0.25)`: x where x > 0, else a · x, with a learned slope for each channel.

    Channels are on axis 1, as in `BatchNorm`; one slope serves any input. Source: arXiv 1502.01852.

    >>> m = PReLU(2)
    >>> m([[-4.0, 1.0], [2.0, -8.0]]).tolist()
    [[-1.0, 1.0], [2.0, -2.0]]
    """

    a: Tensor

    def __init__(self, channels: int = 1, /, a: float = 0.25) -> None:
        self.a = param(full(whole("PReLU", channels), a))

    def _check(self) -> None:
        if self.a.ndim != 1:
            raise DimensionMismatch(f"PReLU: the slopes are a vector, got shape {self.a.shape}")

    def __call__(self, x: ArrayLike) -> Tensor:
        t, n = like(x, self.a), len(self.a)
        if n == 1:
            return prelu(t, self.a.reshape(()))
        if t.ndim < 2 or t.shape[1] != n:
            raise DimensionMismatch(f"{self!r} takes {n} channels on axis 1, got shape {t.shape}")
        return prelu(t, self.a.reshape(n, *[1] * (t.ndim - 2)))

    def __repr__(self) -> str:
        return f"PReLU({len(self.a)})"
