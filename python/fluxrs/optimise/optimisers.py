"""Update rules, each in the symbols of its source.

δ is a parameter's gradient, t counts the steps from 1. A rule returns what is added to the
parameter, then its new state. It is made of ordinary ops, so it runs on every device, and
the engine fuses the updates of all parameters into one plan.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .._core import Tensor, abs, maximum, sqrt
from ..names import keywords
from .step import Optimiser

__all__ = [
    "ADADelta", "ADAGrad", "ADAM", "ADAMW", "AMSGrad", "AdaMax", "Momentum", "NADAM", "Nesterov",
    "Optimiser", "RMSProp", "SGD",
]  # fmt: skip

Rule = tuple[Any, ...]


@keywords
class SGD(Optimiser):
    """`SGD(params, η=0.1, *, decay=0)`: p −= η δ.

    >>> import fluxrs
    >>> p = fluxrs.param(1)
    >>> opt = SGD([p], 0.25)
    >>> fluxrs.back(2 * p)
    >>> opt()
    >>> p
    0.5 (tracked)
    """

    decays_gradient = True

    def __init__(self, params: Any, η: float = 0.1, *, decay: float = 0) -> None:
        super().__init__(params, η=η, decay=decay)

    def rule(self, p: Tensor, δ: Any) -> Rule:
        return (-self.η * δ,)


@keywords
class Momentum(Optimiser):
    """`Momentum(params, η=0.01, *, ρ=0.9, decay=0)`: v = ρ v − η δ; p += v.

    >>> import fluxrs
    >>> Momentum(fluxrs.params(fluxrs.Dense(3, 2)), rho=0.8).ρ
    0.8
    """

    slots = ("v",)
    decays_gradient = True

    def __init__(self, params: Any, η: float = 0.01, *, ρ: float = 0.9, decay: float = 0) -> None:
        super().__init__(params, η=η, ρ=ρ, decay=decay)

    def rule(self, p: Tensor, δ: Any, v: Any) -> Rule:
        v = self.ρ * v - self.η * δ
        return v, v


@keywords
class Nesterov(Optimiser):
    """`Nesterov(params, η=0.01, *, ρ=0.9, decay=0)`: Momentum's step, seen one step ahead.

    d = ρ² v − (1 + ρ) η δ; v = ρ v − η δ; p += d.

    >>> import fluxrs
    >>> Nesterov(fluxrs.params(fluxrs.Dense(3, 2)), 0.05).η
    0.05
    """

    slots = ("v",)
    decays_gradient = True

    def __init__(self, params: Any, η: float = 0.01, *, ρ: float = 0.9, decay: float = 0) -> None:
        super().__init__(params, η=η, ρ=ρ, decay=decay)

    def rule(self, p: Tensor, δ: Any, v: Any) -> Rule:
        η, ρ = self.η, self.ρ
        d = ρ**2 * v - (1 + ρ) * η * δ
        return d, ρ * v - η * δ


@keywords
class RMSProp(Optimiser):
    """`RMSProp(params, η=0.001, *, ρ=0.9, ϵ=1e-8, decay=0)`.

    a = ρ a + (1−ρ) δ²; p −= η δ / (√a + ϵ). Source: Hinton's lecture 6e, 2012.

    >>> import fluxrs
    >>> RMSProp(fluxrs.params(fluxrs.Dense(3, 2))).t
    0
    """

    slots = ("a",)

    def __init__(
        self, params: Any, η: float = 0.001, *, ρ: float = 0.9, ϵ: float = 1e-8, decay: float = 0
    ) -> None:
        super().__init__(params, η=η, ρ=ρ, ϵ=ϵ, decay=decay)

    def rule(self, p: Tensor, δ: Any, a: Any) -> Rule:
        a = self.ρ * a + (1 - self.ρ) * δ**2
        return -self.η * δ / (sqrt(a) + self.ϵ), a


@keywords
class ADAGrad(Optimiser):
    """`ADAGrad(params, η=0.01, *, ϵ=1e-8, decay=0)`.

    a += δ²; p −= η δ / (√a + ϵ). Source: Duchi, Hazan and Singer, JMLR 12 (2011).

    >>> import fluxrs
    >>> ADAGrad(fluxrs.params(fluxrs.Dense(3, 2))).η
    0.01
    """

    slots = ("a",)

    def __init__(self, params: Any, η: float = 0.01, *, ϵ: float = 1e-8, decay: float = 0) -> None:
        super().__init__(params, η=η, ϵ=ϵ, decay=decay)

    def rule(self, p: Tensor, δ: Any, a: Any) -> Rule:
        a = a + δ**2
        return -self.η * δ / (sqrt(a) + self.ϵ), a


@keywords
class ADADelta(Optimiser):
    """`ADADelta(params, *, ρ=0.9, ϵ=1e-8, decay=0)`: no learning rate.

    a = ρ a + (1−ρ) δ²; s = δ √(u+ϵ) / √(a+ϵ); u = ρ u + (1−ρ) s²; p −= s.
    Source: arXiv 1212.5701.

    >>> import fluxrs
    >>> ADADelta(fluxrs.params(fluxrs.Dense(3, 2))).ρ
    0.9
    """

    slots = ("a", "u")

    def __init__(self, params: Any, *, ρ: float = 0.9, ϵ: float = 1e-8, decay: float = 0) -> None:
        super().__init__(params, ρ=ρ, ϵ=ϵ, decay=decay)

    def rule(self, p: Tensor, δ: Any, a: Any, u: Any) -> Rule:
        ρ, ϵ = self.ρ, self.ϵ
        a = ρ * a + (1 - ρ) * δ**2
        s = δ * sqrt(u + ϵ) / sqrt(a + ϵ)
        return -s, a, ρ * u + (1 - ρ) * s**2


class Adaptive(Optimiser):
    """Base of the ADAM family: running means of δ and of δ²."""

    slots: ClassVar[tuple[str, ...]] = ("m", "v")

    def moments(self, δ: Any, m: Any, v: Any) -> tuple[Any, Any]:
        """m = β1 m + (1−β1) δ; v = β2 v + (1−β2) δ²."""
        β1, β2 = self.β1, self.β2
        return β1 * m + (1 - β1) * δ, β2 * v + (1 - β2) * δ**2

    def adam(self, m: Any, v: Any) -> Any:
        """ADAM's step: η · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ϵ)."""
        β1ᵗ, β2ᵗ = self.β1**self.t, self.β2**self.t
        return self.η * (m / (1 - β1ᵗ)) / (sqrt(v / (1 - β2ᵗ)) + self.ϵ)


@keywords
class ADAM(Adaptive):
    """`ADAM(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`.

    m = β1 m + (1−β1) δ; v = β2 v + (1−β2) δ²; p −= η · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ϵ).
    Source: arXiv 1412.6980v8.

    >>> import fluxrs
    >>> opt = ADAM(fluxrs.params(fluxrs.Dense(3, 2)), beta1=0.8)
    >>> opt.η = 0.01
    >>> opt
    ADAM(2 parameters, η=0.01, β1=0.8, β2=0.999, ε=1e-08, decay=0)
    """

    def __init__(
        self,
        params: Any,
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)

    def rule(self, p: Tensor, δ: Any, m: Any, v: Any) -> Rule:
        m, v = self.moments(δ, m, v)
        return -self.adam(m, v), m, v


@keywords
class ADAMW(Adaptive):
    """`ADAMW(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0, couple=False)`.

    p −= ADAM's step + decay · p, with p as it was before. With `couple` the decay is scaled
    by η, as other libraries have it. Source: arXiv 1711.05101, Algorithm 2.

    >>> import fluxrs
    >>> ADAMW(fluxrs.params(fluxrs.Dense(3, 2)), decay=1e-4).decay
    0.0001
    """

    def __init__(
        self,
        params: Any,
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
        couple: bool = False,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay, couple=couple)

    def shrinkage(self) -> float:
        """The decay is part of the rule, and not Flux's inverse decay."""
        return 1.0

    def rule(self, p: Tensor, δ: Any, m: Any, v: Any) -> Rule:
        m, v = self.moments(δ, m, v)
        decay = self.η * self.decay if self.couple else self.decay
        return -(self.adam(m, v) + decay * p), m, v


@keywords
class AdaMax(Adaptive):
    """`AdaMax(params, η=0.002, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`: ADAM by the ∞-norm.

    m = β1 m + (1−β1) δ; u = max(β2 u, |δ|); p −= η/(1−β1ᵗ) · m/(u + ϵ).
    Source: arXiv 1412.6980.

    >>> import fluxrs
    >>> AdaMax(fluxrs.params(fluxrs.Dense(3, 2))).η
    0.002
    """

    slots = ("m", "u")

    def __init__(
        self,
        params: Any,
        η: float = 0.002,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)

    def rule(self, p: Tensor, δ: Any, m: Any, u: Any) -> Rule:
        m = self.β1 * m + (1 - self.β1) * δ
        u = maximum(self.β2 * u, abs(δ))
        return -(self.η / (1 - self.β1**self.t)) * m / (u + self.ϵ), m, u


@keywords
class AMSGrad(Adaptive):
    """`AMSGrad(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`.

    m, v as ADAM; v̂ = max(v̂, v); p −= η m / (√v̂ + ϵ). No correction of the bias.
    Source: Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond", ICLR 2018.

    >>> import fluxrs
    >>> AMSGrad(fluxrs.params(fluxrs.Dense(3, 2))).slots
    ('m', 'v', 'v̂')
    """

    slots = ("m", "v", "v̂")

    def __init__(
        self,
        params: Any,
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)

    def rule(self, p: Tensor, δ: Any, m: Any, v: Any, v̂: Any) -> Rule:
        m, v = self.moments(δ, m, v)
        v̂ = maximum(v̂, v)
        return -self.η * m / (sqrt(v̂) + self.ϵ), m, v, v̂


@keywords
class NADAM(Adaptive):
    """`NADAM(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`: ADAM, one step ahead.

    m, v as ADAM; p −= η (β1 m/(1−β1ᵗ⁺¹) + (1−β1) δ/(1−β1ᵗ)) / (√(v/(1−β2ᵗ)) + ϵ).
    Source: Dozat, "Incorporating Nesterov Momentum into Adam", 2015.

    >>> import fluxrs
    >>> NADAM(fluxrs.params(fluxrs.Dense(3, 2))).β2
    0.999
    """

    def __init__(
        self,
        params: Any,
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)

    def rule(self, p: Tensor, δ: Any, m: Any, v: Any) -> Rule:
        β1, β2, t = self.β1, self.β2, self.t
        m, v = self.moments(δ, m, v)
        ahead = β1 * m / (1 - β1 ** (t + 1)) + (1 - β1) * δ / (1 - β1**t)
        return -self.η * ahead / (sqrt(v / (1 - β2**t)) + self.ϵ), m, v
