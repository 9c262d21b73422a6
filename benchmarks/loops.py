"""The data of the cases where arithmetic counts, the same for every library."""

from __future__ import annotations

import numpy as np


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def onehot(n: int, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[np.random.default_rng(1).integers(0, classes, n)]


def samples() -> tuple[np.ndarray, np.ndarray]:
    return normal(256, 784), onehot(256, 10)


def tensors() -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [normal(1_250_000, seed=k) for k in range(20)], [normal(1_250_000, seed=9)] * 20


def line() -> np.ndarray:
    return normal(4_000_000)


def points() -> np.ndarray:
    return normal(4096, 2)


def sequence() -> tuple[np.ndarray, np.ndarray]:
    return normal(50, 32, 96), normal(32, 128)


def classes() -> tuple[np.ndarray, np.ndarray]:
    return normal(4096, 1000), onehot(4096, 1000)


def features() -> tuple[np.ndarray, np.ndarray]:
    return normal(4096, 768), normal(4096, 768, seed=1)
