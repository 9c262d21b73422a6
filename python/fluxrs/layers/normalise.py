"""Dropout, layer and batch normalisation, and the switch between training and testing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
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
from .basic import (
    Diagonal,
    Init,
    Layer,
    activation,
    check_vectors,
    like,
    made,
    shown,
    sizes,
    whole,
    wrong_input,
)
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

    Only while `active`; see `testmode`. With `dims`, an axis or several, what is dropped is drawn for each
    index of those axes and is the same along the others: `Dropout(0.5, dims=(0, 1))` drops whole channels of
    each sample. Raises ValueError unless 0 ≤ p ≤ 1.
    Source: Srivastava et al., "Dropout", JMLR 15 (2014).

    >>> import fluxrs
    >>> Dropout(1)(fluxrs.ones(3)).tolist()
    [0.0, 0.0, 0.0]
    """

    p: float
    active: bool
    dims: Any = None

    def __init__(self, p: float, /, *, dims: int | Sequence[int] | None = None) -> None:
        if not hasattr(p, "__float__"):
            raise TypeError(f"Dropout: p must be a probability, between 0 and 1, got {p!r}")
        self.p = p
        self.active = True
        if dims is not None:
            self.dims = dims
        self._check()

    def _check(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"Dropout: p must be a probability, between 0 and 1, got {self.p!r}")
        if not all(hasattr(d, "__index__") for d in self._axes()):
            raise TypeError(f"Dropout: dims is an axis or a tuple of axes, got {self.dims!r}")

    def _axes(self) -> tuple[Any, ...]:
        return tuple(self.dims) if isinstance(self.dims, (list, tuple)) else (self.dims or 0,)

    def __call__(self, x: ArrayLike) -> Tensor:
        t = tensor_of(x)
        if not mode(self.active) or self.p == 0:
            return t
        if self.p == 1:
            return t * 0.0
        return where(rand_like(self._drawn(t)) < self.p, 0.0, t / (1 - self.p))

    def _drawn(self, t: Tensor) -> Tensor:
        """A part of `t` with an element for each number that is drawn."""
        if self.dims is None:
            return t
        if any(not -t.ndim <= d < t.ndim for d in self._axes()):
            raise DimensionMismatch(
                f"{self!r} takes an input that has these axes, got shape {t.shape}"
            )
        axes = {d % t.ndim for d in self._axes()}
        return t[tuple(slice(None if axis in axes else 1) for axis in range(t.ndim))]

    def __repr__(self) -> str:
        return f"Dropout({self.p}{'' if self.dims is None else f', dims={self.dims!r}'})"


@treelike
@keywords
class LayerNorm:
    """`LayerNorm(n)`: normalise the last axis, of size `n`, then scale and shift each element.

    y = α · (x − mean(x)) / √(var(x) + ϵ) + β, with the corrected variance of `normalise`. `LayerNorm((m, n))`
    normalises the last two axes together, and so on. Source: arXiv 1607.06450.

    >>> import fluxrs
    >>> LayerNorm(3)(fluxrs.rand(4, 3)).shape
    (4, 3)
    """

    diag: Diagonal
    ϵ: float

    def __init__(self, n: int | Sequence[int], /, *, ϵ: float = 1e-8) -> None:
        self.diag = Diagonal(sizes("LayerNorm", n))
        self.ϵ = ϵ

    def __call__(self, x: ArrayLike) -> Tensor:
        t, size = like(x, self.diag.α), self.diag.α.shape
        if t.shape[-len(size) :] != size:
            raise wrong_input(self, size, t.shape)
        if len(size) == 1:
            return self.diag(normalise(t, ϵ=self.ϵ))
        rows = t.reshape(*t.shape[: -len(size)], prod(size))
        return self.diag(normalise(rows, ϵ=self.ϵ).reshape(t.shape))

    def __repr__(self) -> str:
        return f"LayerNorm({shown(self.diag.α.shape)})"


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
        self.σ = activation("BatchNorm", σ)
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
        # One factor a channel: its gradient and that of the shift are all that is summed over the batch.
        scale = self.γ / sqrt(var + self.ϵ)
        out: Tensor = self.σ((t - μ.reshape(shape)) * scale.reshape(shape) + self.β.reshape(shape))
        return out

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's mean and variance; the running ones follow, the variance without its bias."""
        axes = (0, *range(2, x.ndim))
        μ = mean(x, axis=axes, keepdims=True)
        # The variance about any constant, less the square of its distance from the mean. About the mean
        # that is 0, but for its slopes: so the gradient has no sum over the batch of distances from it.
        centre = data(μ)
        var = mean((x - centre) ** 2, axis=axes) - ((μ - centre) ** 2).reshape(-1)
        m, a = prod(x.shape[i] for i in axes), self.momentum
        if m == 0:
            return μ.reshape(-1), var
        self.μ.data = (1 - a) * data(self.μ) + a * data(μ).reshape(-1)
        self.var.data = (1 - a) * data(self.var) + a * data(var) * (m / max(m - 1, 1))
        return μ.reshape(-1), var

    def __repr__(self) -> str:
        σ = "" if self.σ is identity else f", λ = {name_of(self.σ)}"
        return f"BatchNorm({len(self.β)}{σ})"


class _Grouped:
    """Channels normalised by groups, within each sample."""

    β: Tensor
    γ: Tensor
    σ: Layer
    ϵ: float
    groups: int

    def _check(self) -> None:
        name = type(self).__name__
        check_vectors(name, self.β, self.γ)
        channels, groups = len(self.β), self.groups
        if groups < 1 or channels % groups:
            raise ValueError(f"{name}: {channels} channels do not fall into {groups} equal groups")

    def __call__(self, x: ArrayLike) -> Tensor:
        t, n = like(x, self.β), len(self.β)
        if t.ndim < 2 or t.shape[1] != n:
            raise DimensionMismatch(f"{self!r} takes {n} channels on axis 1, got shape {t.shape}")
        grouped = t.reshape(t.shape[0], self.groups, prod(t.shape[1:]) // self.groups)
        d = grouped - mean(grouped, axis=-1, keepdims=True)
        var = mean(d**2, axis=-1, keepdims=True)
        y = (d * (1 / sqrt(var + self.ϵ))).reshape(t.shape)
        shape = (n, *[1] * (t.ndim - 2))
        out: Tensor = self.σ(self.γ.reshape(shape) * y + self.β.reshape(shape))
        return out

    def _shown(self, sizes: str) -> str:
        σ = "" if self.σ is identity else f", λ = {name_of(self.σ)}"
        return f"{type(self).__name__}({sizes}{σ})"


@treelike
@keywords
class GroupNorm(_Grouped):
    """`GroupNorm(channels, groups, σ=identity)`: normalise each sample's channels, on axis 1, by groups.

    y = σ(γ · (x − mean) / √(var + ϵ) + β), with mean and variance over the channels of a group and all
    further axes; γ and β are one a channel. Training and testing are alike. Raises ValueError if the
    channels do not fall into equal groups. Source: arXiv 1803.08494.

    >>> import fluxrs
    >>> GroupNorm(6, 2)(fluxrs.rand(4, 6, 8, 8)).shape
    (4, 6, 8, 8)
    """

    β: Tensor
    γ: Tensor
    σ: Layer
    ϵ: float
    groups: int

    def __init__(
        self,
        channels: int,
        groups: int,
        /,
        σ: Layer = identity,
        *,
        initβ: Init = zeros,
        initγ: Init = ones,
        ϵ: float = 1e-8,
    ) -> None:
        n, self.groups = whole("GroupNorm", channels), whole("GroupNorm", groups)
        self.σ, self.ϵ = activation("GroupNorm", σ), ϵ
        self.β, self.γ = made("GroupNorm", "initβ", initβ, n), made("GroupNorm", "initγ", initγ, n)
        self._check()

    def __repr__(self) -> str:
        return self._shown(f"{len(self.β)}, {self.groups}")


@treelike
@keywords
class InstanceNorm(_Grouped):
    """`InstanceNorm(channels, σ=identity)`: normalise each channel, on axis 1, of each sample.

    y = σ(γ · (x − mean) / √(var + ϵ) + β), with mean and variance over the axes behind the channels.
    Training and testing are alike. Source: arXiv 1607.08022.

    >>> import fluxrs
    >>> InstanceNorm(6)(fluxrs.rand(4, 6, 8, 8)).shape
    (4, 6, 8, 8)
    """

    β: Tensor
    γ: Tensor
    σ: Layer
    ϵ: float
    groups: int

    def __init__(
        self,
        channels: int,
        /,
        σ: Layer = identity,
        *,
        initβ: Init = zeros,
        initγ: Init = ones,
        ϵ: float = 1e-8,
    ) -> None:
        n = self.groups = whole("InstanceNorm", channels)
        self.σ, self.ϵ = activation("InstanceNorm", σ), ϵ
        self.β, self.γ = (
            made("InstanceNorm", "initβ", initβ, n),
            made("InstanceNorm", "initγ", initγ, n),
        )

    def _check(self) -> None:
        check_vectors("InstanceNorm", self.β, self.γ)
        if self.groups != len(self.β):
            raise ValueError(f"InstanceNorm: {self.groups} groups for {len(self.β)} channels")

    def __repr__(self) -> str:
        return self._shown(str(len(self.β)))
