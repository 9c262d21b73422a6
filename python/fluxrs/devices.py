"""Moving models between devices."""

from __future__ import annotations

from typing import TypeVar

from . import _core
from .treelike import mapleaves

T = TypeVar("T")


def gpu(x: T) -> T:
    """`gpu(x)`: a tensor, a model, an optimiser or any nest of them, on the GPU.

    What is shared stays shared: `m, opt = gpu((m, opt))`. Without a GPU: `x` itself.
    """
    moved: T = mapleaves(_core.gpu, x) if _core.has_gpu() else x
    return moved


def cpu(x: T) -> T:
    """`cpu(x)`: as `gpu`, to the CPU.

    >>> import fluxrs
    >>> cpu(fluxrs.Dense(3, 2))
    Dense(3, 2)
    """
    moved: T = mapleaves(_core.cpu, x)
    return moved
