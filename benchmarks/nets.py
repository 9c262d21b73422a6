"""The data of the nets' cases, the same for every library."""

from __future__ import annotations

import numpy as np


def images(n: int, channels: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, channels, size, size) and their classes, 0 to 9."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, channels, size, size)).astype(np.float32)
    return x, rng.integers(0, 10, n)


def sequence() -> tuple[np.ndarray, np.ndarray]:
    """50 steps of 32 samples, 96 features each, and a class of 96 for every step."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((50, 32, 96)).astype(np.float32), rng.integers(0, 96, (50, 32))


def tokens() -> tuple[np.ndarray, np.ndarray]:
    """16 samples of 128 tokens, 256 features each, and their targets."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((16, 128, 256)).astype(np.float32) for _ in range(2))
    return x, y


def words() -> tuple[np.ndarray, np.ndarray]:
    """2,048 words of 100,000, and a target of 128 features for each."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((2048, 128)).astype(np.float32)
    return rng.integers(0, 100_000, 2048), y
