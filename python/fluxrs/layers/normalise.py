"""Dropout and layer normalisation, and the switch between training and testing."""

from __future__ import annotations

from typing import Any, TypeVar

from .._core import Tensor, rand, where
from ..checkpointing import mode
from ..names import keywords
from ..onehot import tensor_of
from ..treelike import prefor, treelike
from .basic import Diagonal, like
from .stateless import normalise

M = TypeVar("M")


def testmode(m: M, val: bool = True) -> M:
    """`testmode(m, val=True)`: put the layers of `m` that have a mode into testing mode.

    `Dropout` then passes its input on. `testmode(m, False)` goes back to training. Returns `m`.

    >>> d = Dropout(0.5)
    >>> testmode(d)([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """

    def switch(layer: Any) -> None:
        if isinstance(getattr(layer, "active", None), bool):
            layer.active = not val

    prefor(switch, m)
    return m


vars(testmode)["__test__"] = False  # pytest would collect it wherever it is imported


@treelike
class Dropout:
    """`Dropout(p)`: zero each element with probability `p`, scale the others by 1/(1−p).

    Only while `active`; see `testmode`. Raises ValueError unless 0 ≤ p ≤ 1.
    Source: Srivastava et al., "Dropout", JMLR 15 (2014).

    >>> import fluxrs
    >>> Dropout(1)(fluxrs.ones(3)).tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(self, p: float, /) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is a probability, between 0 and 1, got {p!r}")
        self.p = p
        self.active = True

    def __call__(self, x: Any) -> Tensor:
        t = tensor_of(x)
        if not mode(self.active) or self.p == 0:
            return t
        if self.p == 1:
            return t * 0.0
        return where(rand(t.shape) < self.p, 0.0, t / (1 - self.p))

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


@treelike
@keywords
class LayerNorm:
    """`LayerNorm(n)`: normalise the last axis, of size `n`, then scale and shift each element.

    y = α · (x − mean(x)) / √(var(x) + ϵ) + β. Source: arXiv 1607.06450.

    >>> import fluxrs
    >>> LayerNorm(3)(fluxrs.rand(4, 3)).shape
    (4, 3)
    """

    def __init__(self, n: int, /, *, ϵ: float = 1e-8) -> None:
        self.diag = Diagonal(n)
        self.ϵ = ϵ

    def __call__(self, x: Any) -> Tensor:
        return self.diag(normalise(like(x, self.diag.α), ϵ=self.ϵ))

    def __repr__(self) -> str:
        return f"LayerNorm({len(self.diag.α)})"
