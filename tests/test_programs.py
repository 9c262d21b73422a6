"""Random programs of many ops: values against NumPy, first and second gradients against central differences."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fluxrs

Step = Callable[[Any, Any, Any], Any]

# Each step runs under NumPy and under fluxrs alike: m is the module, t what came so far, y a vector of four.
STEPS: list[Step] = [
    lambda m, t, y: m.transpose(t),
    lambda m, t, y: t[::-1],
    lambda m, t, y: t[..., t.shape[-1] // 2 :],
    lambda m, t, y: t.reshape(-1),
    lambda m, t, y: m.swapaxes(t, 0, -1),
    lambda m, t, y: m.broadcast_to(t, (2, *t.shape)) if t.size < 200 else t,
    lambda m, t, y: m.concatenate([m.ravel(t), m.sin(m.ravel(t))]) if t.size < 200 else t,
    lambda m, t, y: m.take(t, np.array([0, -1, 0]), axis=-1),
    lambda m, t, y: t[np.array([0, -1])],
    lambda m, t, y: m.cumsum(t, axis=-1) * 0.1,
    lambda m, t, y: m.cumprod(m.tanh(t) * 0.1 + 1, axis=0),
    lambda m, t, y: m.exp(-t * t),
    lambda m, t, y: t - m.sum(t, axis=0, keepdims=True) * 0.1,
    lambda m, t, y: t / (1 + m.sum(t * t, axis=-1, keepdims=True)),
    lambda m, t, y: m.mean(t, axis=0) if t.ndim > 1 else t,
    lambda m, t, y: m.prod(t * 0.1 + 1, axis=-1) if t.ndim > 1 else t,
    lambda m, t, y: m.max(t, axis=-1, keepdims=True) - t,
    lambda m, t, y: m.sort(t, axis=-1),
    lambda m, t, y: m.tanh(t @ m.swapaxes(t, -1, -2)) if t.ndim > 1 else t,
    lambda m, t, y: m.einsum("...i,...i->...", t, m.cos(t)) if t.ndim > 1 else t,
    lambda m, t, y: m.where(t > 0.1, t * t, m.sin(t)),
    lambda m, t, y: m.tanh(t * m.sum(y) + m.mean(y * y)),
    lambda m, t, y: t * y if t.shape[-1] == 4 else t + y[0],
    lambda m, t, y: m.arctan(t) + m.sqrt(t * t + 1),
]
SHAPES = [(3, 4), (2, 3, 4), (5,), (4, 1), (1, 4), (2, 2)]


def total(m: Any, steps: list[Step], x: Any, y: Any) -> Any:
    t = x
    for step in steps:
        t = step(m, t, y)
    return m.sum(t * m.sin(t) + t)


# `make fuzz` asks for more, by seconds: half of them go to these.
@pytest.mark.parametrize("number", range(60 + 25 * int(os.environ.get("FLUXRS_FUZZ_SECONDS", 0))))
def test_programs(number: int) -> None:
    choice, numbers = random.Random(number), np.random.default_rng(number)
    steps = choice.choices(STEPS, k=choice.randint(1, 10))
    x, y = numbers.normal(size=choice.choice(SHAPES)), numbers.normal(size=4)
    vx, vy = numbers.normal(size=x.shape), numbers.normal(size=4)
    ux, uy = numbers.normal(size=x.shape), numbers.normal(size=4)

    def value(a: Any, b: Any) -> Any:
        return total(fluxrs, steps, a, b)

    def slope(a: Any, b: Any) -> Any:
        ga, gb = fluxrs.gradient(value, a, b, nest=True)
        return fluxrs.sum(ga * ux) + fluxrs.sum(gb * uy)

    def along(f: Callable[[Any, Any], Any]) -> float:
        # To fourth order: some programs are steep.
        def across(h: float) -> float:
            above, below = f(x + h * vx, y + h * vy), f(x - h * vx, y - h * vy)
            return (float(above) - float(below)) / (2 * h)

        h = 1e-6
        return (4 * across(h) - across(2 * h)) / 3

    def directed(f: Callable[[Any, Any], Any]) -> float:
        gx, gy = (np.asarray(g) for g in fluxrs.gradient(f, x, y))
        return float((gx * vx).sum() + (gy * vy).sum())

    want = total(np, steps, x, y)
    got = float(value(fluxrs.tensor(x), fluxrs.tensor(y)))
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
    by_differences = along(lambda a, b: total(np, steps, a, b))
    np.testing.assert_allclose(directed(value), by_differences, rtol=1e-6, atol=1e-6)
    second = along(lambda a, b: slope(fluxrs.tensor(a), fluxrs.tensor(b)))
    np.testing.assert_allclose(directed(slope), second, rtol=1e-5, atol=1e-5)
