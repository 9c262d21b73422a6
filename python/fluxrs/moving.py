"""Moving models between devices."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from . import _core
from ._core import Tensor, tensor
from .treelike import mapleaves

T = TypeVar("T")


def gpu(x: T) -> T:
    """`gpu(x)`: a tensor, an array, a model, an optimiser or any nest of them, on the GPU.

    What is shared stays shared: `m, opt = gpu((m, opt))`. float64 becomes float32 there.
    Without a GPU: `x` itself.
    """
    moved: T = mapleaves(_to_gpu, x) if _core.has_gpu() else x
    return moved


def cpu(x: T) -> T:
    """`cpu(x)`: as `gpu`, back to the CPU.

    >>> import fluxrs
    >>> cpu(fluxrs.Dense(3, 2))
    Dense(3, 2)
    """
    moved: T = mapleaves(_to_cpu, x)
    return moved


def _to_gpu(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        leaf = tensor(leaf)
    return _core.gpu(leaf) if isinstance(leaf, Tensor) else leaf


def _to_cpu(leaf: Any) -> Any:
    return _core.cpu(leaf) if isinstance(leaf, Tensor) else leaf
