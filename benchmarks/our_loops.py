"""The cases in fluxrs where arithmetic over large arrays counts: wide nets, chains, second derivatives, rows, an optimiser alone."""

from __future__ import annotations

from collections.abc import Callable

import fluxrs
import loops
from fluxrs import (
    ADAM,
    Chain,
    Dense,
    LayerNorm,
    LSTMCell,
    evaluate,
    exp,
    gradient,
    logitcrossentropy,
    param,
    params,
    relu,
    tanh,
    tensor,
    σ,
)
from our_nets import Run, stepped


def results(f: Callable[[], object]) -> Run:
    def run(n: int) -> None:
        for _ in range(n):
            evaluate(f())

    return run


def mlp256() -> Run:
    x, y = loops.samples()
    m = Chain(Dense(784, 1024, relu), Dense(1024, 1024, relu), Dense(1024, 10))
    x, y = tensor(x), tensor(y)
    return stepped(m, ADAM(params(m)), lambda: logitcrossentropy(m(x), y))


def adam25m() -> Run:
    """20 tensors of 1.25 million; their gradients are given."""
    ws, ds = loops.tensors()
    ps, ds = [param(w) for w in ws], [tensor(d) for d in ds]
    opt = ADAM(ps)

    def run(n: int) -> None:
        for _ in range(n):
            for p, d in zip(ps, ds, strict=True):
                p.grad = d
            opt()
            evaluate(ps)

    return run


def chain4m() -> Run:
    """Value and gradient of a mean over four million elements."""
    x = tensor(loops.line())

    def loss(x):
        return (tanh(1.3 * x + 0.2) * σ(x) + 0.7 * exp(-(x**2))).mean()

    return results(lambda: fluxrs.withgradient(loss, x))


def hvp() -> Run:
    """The Laplacian of a net at 4,096 points, and the gradient of its square."""
    z = tensor(loops.points())
    m = Chain(Dense(2, 64, tanh), Dense(64, 64, tanh), Dense(64, 64, tanh), Dense(64, 1))
    ps = params(m)

    def loss():
        slope = lambda k: lambda z: gradient(lambda z: m(z).sum(), z, nest=True)[0][:, k].sum()
        bend = lambda k: gradient(slope(k), z, nest=True)[0][:, k]
        return ((bend(0) + bend(1)) ** 2).mean()

    return results(lambda: list(gradient(loss, ps).values()))


def unrolled() -> Run:
    """An LSTM of 50 steps written as a loop in Python."""
    x, y = loops.sequence()
    cell, x, y = LSTMCell(96, 128), tensor(x), tensor(y)

    def loss():
        h = (fluxrs.zeros(32, 128), fluxrs.zeros(32, 128))
        for t in range(50):
            h, out = cell(h, x[t])
        return ((out - y) ** 2).mean()

    return stepped(cell, ADAM(params(cell)), loss)


def softmax_rows() -> Run:
    """Cross-entropy of (4096, 1000), and its gradient."""
    x, y = map(tensor, loops.classes())
    return results(lambda: fluxrs.withgradient(lambda x: logitcrossentropy(x, y), x))


def norm_rows() -> Run:
    """Layer norm of (4096, 768) under a weighted sum, and its gradients."""
    x, y = map(tensor, loops.features())
    m = LayerNorm(768)
    x = param(x)
    ps = [x, *params(m)]
    return results(lambda: list(gradient(lambda: (m(x) * y).sum(), fluxrs.Params(ps)).values()))


CASES: dict[str, Callable[[], Run]] = {
    case.__name__: case
    for case in (mlp256, adam25m, chain4m, hvp, unrolled, softmax_rows, norm_rows)
}
