"""The cases in fluxrs, written as its documentation writes them.

A case is a function without arguments that prepares everything and returns `run(n)`, which takes n steps
and ends with their results computed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fluxrs
import our_loops
import our_nets
from fluxrs import ADAM, SGD, Chain, Dense, Params, evaluate, gradient, mse, param, params, update

Run = Callable[[int], None]


def page() -> Run:
    """The step of the optimisers' page: forward, gradient, update by hand."""
    rng = np.random.default_rng(0)
    W = param(rng.random((2, 5), dtype=np.float32))
    b = param(rng.random(2, dtype=np.float32))
    x = fluxrs.tensor(rng.random(5, dtype=np.float32))
    y = fluxrs.tensor(rng.random(2, dtype=np.float32))
    ps = Params([W, b])
    η = 0.01

    def predict(x):
        return W @ x + b

    def loss(x, y):
        return fluxrs.sum((y - predict(x)) ** 2)

    def run(n: int) -> None:
        for _ in range(n):
            grads = gradient(lambda: loss(x, y), ps)
            for p in (W, b):
                update(p, -η * grads[p])
        evaluate(W, b)

    return run


def digits(batch: int, rule: Callable) -> Run:
    """Dense(784, 32, σ), Dense(32, 10), softmax under mse, one optimiser step after the other."""
    rng = np.random.default_rng(0)
    lead = (batch,) if batch > 1 else ()
    x = fluxrs.tensor(rng.random((*lead, 784), dtype=np.float32))
    y = fluxrs.tensor(rng.random((*lead, 10), dtype=np.float32))
    m = Chain(Dense(784, 32, fluxrs.σ), Dense(32, 10), fluxrs.softmax)
    opt = rule(params(m))

    def run(n: int) -> None:
        for _ in range(n):
            fluxrs.back(mse(m(x), y))
            opt()
        evaluate(list(params(m)))

    return run


def adds() -> Run:
    """`c = a + b` of ten tracked numbers each, a thousand kept and then evaluated: a step is one add."""
    a = param(np.arange(10, dtype=np.float32))
    b = param(np.ones(10, dtype=np.float32))

    def run(n: int) -> None:
        for _ in range(n // 1000):
            kept = [a + b for _ in range(1000)]
            evaluate(kept)

    return run


LIBRARIES = {
    "fluxrs": {
        "page": page,
        "sgd": lambda: digits(1, lambda ps: SGD(ps, 0.1)),
        "adam64": lambda: digits(64, lambda ps: ADAM(ps, 0.001)),
        "adds": adds,
        **our_nets.CASES,
        **our_loops.CASES,
    }
}
