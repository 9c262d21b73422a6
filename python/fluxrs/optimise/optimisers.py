"""The optimisers and their hyperparameters; the rules are in the core, in the same symbols.

δ is a parameter's gradient, t counts the steps from 1, state starts at 0. Every `decay` but
those of ADAMW, Lion and LAMB is Flux's inverse decay 1 / (1 + decay · (t − 1)).
"""

from __future__ import annotations

from collections.abc import Iterable

from .._core import Tensor
from ..names import keywords
from .step import Optimiser

__all__ = [
    "ADADelta", "ADAGrad", "ADAM", "ADAMW", "AMSGrad", "AdaBelief", "AdaMax", "LAMB", "Lion",
    "Momentum", "NADAM", "Nesterov", "Optimiser", "RAdam", "RMSProp", "SGD",
]  # fmt: skip


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

    core = "SGD"

    def __init__(self, params: Iterable[Tensor], η: float = 0.1, *, decay: float = 0) -> None:
        super().__init__(params, η=η, decay=decay)


@keywords
class Momentum(Optimiser):
    """`Momentum(params, η=0.01, *, ρ=0.9, decay=0)`: v = ρ v − η δ; p += v.

    >>> import fluxrs
    >>> Momentum(fluxrs.params(fluxrs.Dense(3, 2)), rho=0.8).ρ
    0.8
    """

    core = "Momentum"

    def __init__(
        self, params: Iterable[Tensor], η: float = 0.01, *, ρ: float = 0.9, decay: float = 0
    ) -> None:
        super().__init__(params, η=η, ρ=ρ, decay=decay)


@keywords
class Nesterov(Optimiser):
    """`Nesterov(params, η=0.01, *, ρ=0.9, decay=0)`: Momentum's step, seen one step ahead.

    d = ρ² v − (1 + ρ) η δ; v = ρ v − η δ; p += d.

    >>> import fluxrs
    >>> Nesterov(fluxrs.params(fluxrs.Dense(3, 2)), 0.05).η
    0.05
    """

    core = "Nesterov"

    def __init__(
        self, params: Iterable[Tensor], η: float = 0.01, *, ρ: float = 0.9, decay: float = 0
    ) -> None:
        super().__init__(params, η=η, ρ=ρ, decay=decay)


@keywords
class RMSProp(Optimiser):
    """`RMSProp(params, η=0.001, *, ρ=0.9, ϵ=1e-8, decay=0)`.

    a = ρ a + (1−ρ) δ²; p −= η δ / (√a + ϵ). Source: Hinton's lecture 6e, 2012.

    >>> import fluxrs
    >>> RMSProp(fluxrs.params(fluxrs.Dense(3, 2))).t
    0
    """

    core = "RMSProp"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        ρ: float = 0.9,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, ρ=ρ, ϵ=ϵ, decay=decay)


@keywords
class ADAGrad(Optimiser):
    """`ADAGrad(params, η=0.01, *, ϵ=1e-8, decay=0)`.

    a += δ²; p −= η δ / (√a + ϵ). Source: Duchi, Hazan and Singer, JMLR 12 (2011).

    >>> import fluxrs
    >>> ADAGrad(fluxrs.params(fluxrs.Dense(3, 2))).η
    0.01
    """

    core = "ADAGrad"

    def __init__(
        self, params: Iterable[Tensor], η: float = 0.01, *, ϵ: float = 1e-8, decay: float = 0
    ) -> None:
        super().__init__(params, η=η, ϵ=ϵ, decay=decay)


@keywords
class ADADelta(Optimiser):
    """`ADADelta(params, *, ρ=0.9, ϵ=1e-8, decay=0)`: no learning rate.

    a = ρ a + (1−ρ) δ²; s = δ √(u+ϵ) / √(a+ϵ); u = ρ u + (1−ρ) s²; p −= s.
    Source: arXiv 1212.5701.

    >>> import fluxrs
    >>> ADADelta(fluxrs.params(fluxrs.Dense(3, 2))).ρ
    0.9
    """

    core = "ADADelta"

    def __init__(
        self, params: Iterable[Tensor], *, ρ: float = 0.9, ϵ: float = 1e-8, decay: float = 0
    ) -> None:
        super().__init__(params, ρ=ρ, ϵ=ϵ, decay=decay)


@keywords
class ADAM(Optimiser):
    """`ADAM(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`.

    m = β1 m + (1−β1) δ; v = β2 v + (1−β2) δ²; p −= η · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ϵ).
    Source: arXiv 1412.6980v8.

    >>> import fluxrs
    >>> opt = ADAM(fluxrs.params(fluxrs.Dense(3, 2)), beta1=0.8)
    >>> opt.η = 0.01
    >>> opt
    ADAM(2 parameters, η=0.01, β1=0.8, β2=0.999, ϵ=1e-08, decay=0)
    """

    core = "ADAM"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)


@keywords
class ADAMW(Optimiser):
    """`ADAMW(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0, couple=False)`.

    p −= ADAM's step + decay · p, with p as it was before. With `couple` the decay is scaled
    by η, as other libraries have it. Source: arXiv 1711.05101, Algorithm 2.

    >>> import fluxrs
    >>> ADAMW(fluxrs.params(fluxrs.Dense(3, 2)), decay=1e-4).decay
    0.0001
    """

    core = "ADAMW"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
        couple: bool = False,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay, couple=couple)


@keywords
class AdaMax(Optimiser):
    """`AdaMax(params, η=0.002, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`: ADAM by the ∞-norm.

    m = β1 m + (1−β1) δ; u = max(β2 u, |δ|); p −= η/(1−β1ᵗ) · m/(u + ϵ).
    Source: arXiv 1412.6980.

    >>> import fluxrs
    >>> AdaMax(fluxrs.params(fluxrs.Dense(3, 2))).η
    0.002
    """

    core = "AdaMax"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.002,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)


@keywords
class AMSGrad(Optimiser):
    """`AMSGrad(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`.

    m, v as ADAM; v̂ = max(v̂, v); p −= η m / (√v̂ + ϵ). No correction of the bias.
    Source: Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond", ICLR 2018.

    >>> import fluxrs
    >>> AMSGrad(fluxrs.params(fluxrs.Dense(3, 2))).beta2
    0.999
    """

    core = "AMSGrad"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)


@keywords
class NADAM(Optimiser):
    """`NADAM(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`: ADAM, one step ahead.

    m, v as ADAM; p −= η (β1 m/(1−β1ᵗ⁺¹) + (1−β1) δ/(1−β1ᵗ)) / (√(v/(1−β2ᵗ)) + ϵ).
    Source: Dozat, "Incorporating Nesterov Momentum into Adam", 2015.

    >>> import fluxrs
    >>> NADAM(fluxrs.params(fluxrs.Dense(3, 2))).β2
    0.999
    """

    core = "NADAM"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)


@keywords
class RAdam(Optimiser):
    """`RAdam(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`: ADAM, rectified.

    m, v as ADAM; ρ∞ = 2/(1−β2) − 1; ρ = ρ∞ − 2t β2ᵗ/(1−β2ᵗ); where ρ > 4,
    r = √((ρ−4)(ρ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ)) and p −= r · ADAM's step; before, p −= η m/(1−β1ᵗ).
    Source: arXiv 1908.03265, Algorithm 2.

    >>> import fluxrs
    >>> RAdam(fluxrs.params(fluxrs.Dense(3, 2))).η
    0.001
    """

    core = "RAdam"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)


@keywords
class AdaBelief(Optimiser):
    """`AdaBelief(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-8, decay=0)`.

    m as ADAM; s = β2 s + (1−β2) (δ − m)² + ϵ; p −= η · m/(1−β1ᵗ) / (√(s/(1−β2ᵗ)) + ϵ).
    Source: arXiv 2010.07468.

    >>> import fluxrs
    >>> AdaBelief(fluxrs.params(fluxrs.Dense(3, 2))).β2
    0.999
    """

    core = "AdaBelief"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-8,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)


@keywords
class Lion(Optimiser):
    """`Lion(params, η=1e-4, *, β1=0.9, β2=0.99, decay=0)`: steps of the same size for all elements.

    p −= η (sign(β1 m + (1−β1) δ) + decay · p), with p as it was before; m = β2 m + (1−β2) δ.
    `decay` is the paper's λ, and no inverse decay. Source: arXiv 2302.06675, Algorithm 2.

    >>> import fluxrs
    >>> Lion(fluxrs.params(fluxrs.Dense(3, 2)), decay=0.1).η
    0.0001
    """

    core = "Lion"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 1e-4,
        *,
        β1: float = 0.9,
        β2: float = 0.99,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, decay=decay)


@keywords
class LAMB(Optimiser):
    """`LAMB(params, η=0.001, *, β1=0.9, β2=0.999, ϵ=1e-6, decay=0)`: a rate for each parameter.

    m, v as ADAM; u = m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ϵ) + decay · p; p −= η u |p|/|u|, or η u where p is 0.
    `decay` is the paper's λ, and no inverse decay. Source: arXiv 1904.00962, Algorithm 2.

    >>> import fluxrs
    >>> LAMB(fluxrs.params(fluxrs.Dense(3, 2)), 0.01).eps
    1e-06
    """

    core = "LAMB"

    def __init__(
        self,
        params: Iterable[Tensor],
        η: float = 0.001,
        *,
        β1: float = 0.9,
        β2: float = 0.999,
        ϵ: float = 1e-6,
        decay: float = 0,
    ) -> None:
        super().__init__(params, η=η, β1=β1, β2=β2, ϵ=ϵ, decay=decay)
