"""Dropout, layer and batch normalisation, and the switch between training and testing."""

from __future__ import annotations

from typing import Any, TypeVar

from .._core import (
    DimensionMismatch,
    Tensor,
    data,
    mean,
    ones,
    rand_like,
    sqrt,
    state,
    where,
    zeros,
)
from ..activations import identity, name_of
from ..checkpointing import mode
from ..names import keywords
from ..onehot import tensor_of
from ..treelike import prefor, treelike
from ..typing import ArrayLike
from .basic import Diagonal, Init, Layer, check_vectors, like, made, whole, wrong_input
from .stateless import normalise

M = TypeVar("M")


def testmode(m: M, val: bool = True) -> M:
    """`testmode(m, val=True)`: put the layers of `m` that have a mode into testing mode.

    `Dropout` then passes its input on, `BatchNorm` uses its running statistics. `testmode(m, False)` goes back to training. Returns `m`.

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

    p: float
    active: bool

    def __init__(self, p: float, /) -> None:
        if not hasattr(p, "__float__"):
            raise TypeError(f"Dropout: p must be a probability, between 0 and 1, got {p!r}")
        self.p = p
        self.active = True
        self._check()

    def _check(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"Dropout: p must be a probability, between 0 and 1, got {self.p!r}")

    def __call__(self, x: ArrayLike) -> Tensor:
        t = tensor_of(x)
        if not mode(self.active) or self.p == 0:
            return t
        if self.p == 1:
            return t * 0.0
        return where(rand_like(t) < self.p, 0.0, t / (1 - self.p))

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

    diag: Diagonal
    ϵ: float

    def __init__(self, n: int, /, *, ϵ: float = 1e-8) -> None:
        self.diag = Diagonal(whole("LayerNorm", n))
        self.ϵ = ϵ

    def __call__(self, x: ArrayLike) -> Tensor:
        t, n = like(x, self.diag.α), len(self.diag.α)
        if t.shape[-1:] != (n,):
            raise wrong_input(self, n, t.shape)
        return self.diag(normalise(t, ϵ=self.ϵ))

    def __repr__(self) -> str:
        return f"LayerNorm({len(self.diag.α)})"


@treelike
@keywords
class BatchNorm:
    """`BatchNorm(channels, σ=identity)`: normalise each channel, on axis 1, over all other axes.

    y = σ(γ · (x − mean) / √(var + ϵ) + β). While training, mean and variance are the batch's, and
    the running ones, `.μ` and `.var`, go towards them by `momentum`; in testing mode they are the
    running ones. Source: arXiv 1502.03167.

    >>> import fluxrs
    >>> m = fluxrs.Chain(fluxrs.Dense(784, 64), BatchNorm(64, fluxrs.relu), fluxrs.Dense(64, 10))
    >>> m(fluxrs.rand(8, 784)).shape
    (8, 10)
    """

    β: Tensor
    γ: Tensor
    μ: Tensor
    var: Tensor
    σ: Layer
    ϵ: float
    momentum: float
    active: bool

    def __init__(
        self,
        channels: int,
        /,
        σ: Layer = identity,
        *,
        initβ: Init = zeros,
        initγ: Init = ones,
        ϵ: float = 1e-8,
        momentum: float = 0.1,
    ) -> None:
        n = whole("BatchNorm", channels)
        if not callable(σ):
            raise TypeError(f"BatchNorm: the activation σ is {σ!r}, which cannot be called")
        self.σ = σ
        self.β, self.γ = made("BatchNorm", "initβ", initβ, n), made("BatchNorm", "initγ", initγ, n)
        self.μ, self.var = state(zeros(n)), state(ones(n))
        self.ϵ, self.momentum = ϵ, momentum
        self.active = True

    def _check(self) -> None:
        check_vectors("BatchNorm", self.β, self.γ, self.μ, self.var)

    def __call__(self, x: ArrayLike) -> Tensor:
        t, n = like(x, self.β), len(self.β)
        if t.ndim < 2 or t.shape[1] != n:
            raise DimensionMismatch(f"{self!r} takes {n} channels on axis 1, got shape {t.shape}")
        shape = (n, *[1] * (t.ndim - 2))
        μ, var = self._statistics(t) if mode(self.active) else (data(self.μ), data(self.var))
        y = (t - μ.reshape(shape)) / sqrt(var.reshape(shape) + self.ϵ)
        out: Tensor = self.σ(self.γ.reshape(shape) * y + self.β.reshape(shape))
        return out

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's mean and variance; the running ones follow, the variance without its bias."""
        axes = (0, *range(2, x.ndim))
        μ = mean(x, axis=axes, keepdims=True)
        var = mean((x - μ) ** 2, axis=axes)
        m, a = x.size // len(self.β), self.momentum
        self.μ.data = (1 - a) * data(self.μ) + a * data(μ).reshape(-1)
        self.var.data = (1 - a) * data(self.var) + a * data(var) * (m / max(m - 1, 1))
        return μ.reshape(-1), var

    def __repr__(self) -> str:
        σ = "" if self.σ is identity else f", λ = {name_of(self.σ)}"
        return f"BatchNorm({len(self.β)}{σ})"
