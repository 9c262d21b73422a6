"""The nets' cases in fluxrs."""

from __future__ import annotations

from collections.abc import Callable

import fluxrs
import nets
from fluxrs import (
    ADAM,
    LSTM,
    SGD,
    BatchNorm,
    Chain,
    Conv,
    Dense,
    Embedding,
    GlobalMeanPool,
    LayerNorm,
    MaxPool,
    MultiHeadAttention,
    SkipConnection,
    evaluate,
    flatten,
    identity,
    logitcrossentropy,
    mse,
    onehotbatch,
    params,
    reset,
)

Run = Callable[[int], None]


def stepped(m: object, opt: Callable, loss: Callable) -> Run:
    def run(n: int) -> None:
        for _ in range(n):
            fluxrs.back(loss())
            opt()
        evaluate(list(params(m)))

    return run


def lenet() -> Run:
    """Two convolutions with their pools, and three dense layers."""
    x, y = nets.images(64, 1, 28)
    pool = MaxPool((2, 2))
    m = Chain(
        *(Conv((5, 5), (1, 6), fluxrs.relu, pad=2), pool, Conv((5, 5), (6, 16), fluxrs.relu), pool),
        *(flatten, Dense(400, 120, fluxrs.relu), Dense(120, 84, fluxrs.relu), Dense(84, 10)),
    )
    x, y = fluxrs.tensor(x), onehotbatch(y, range(10))
    return stepped(m, ADAM(params(m)), lambda: logitcrossentropy(m(x), y))


def resnet() -> Run:
    """A stem and two residual blocks, each convolution with its batch norm."""

    def norm(i: int, o: int, σ: Callable = identity) -> Chain:
        return Chain(Conv((3, 3), (i, o), pad=1), BatchNorm(o, σ))

    x, y = nets.images(32, 3, 32)
    blocks = [
        Chain(
            SkipConnection(Chain(norm(64, 64, fluxrs.relu), norm(64, 64)), lambda a, b: a + b),
            fluxrs.relu,
        )
        for _ in range(2)
    ]
    m = Chain(norm(3, 64, fluxrs.relu), *blocks, GlobalMeanPool(), flatten, Dense(64, 10))
    x, y = fluxrs.tensor(x), onehotbatch(y, range(10))
    return stepped(m, SGD(params(m), 0.01), lambda: logitcrossentropy(m(x), y))


def lstm() -> Run:
    """A sequence run from a fresh state at every step, as truncated training does."""
    x, y = nets.sequence()
    m = Chain(LSTM(96, 128), Dense(128, 96))
    x, y = fluxrs.tensor(x), onehotbatch(y.ravel(), range(96))
    opt = ADAM(params(m))

    def loss() -> fluxrs.Tensor:
        reset(m)
        return logitcrossentropy(m(x).reshape(-1, 96), y)

    return stepped(m, opt, loss)


def transformer() -> Run:
    """Attention and a two-layer net, each behind a layer norm and beside a residual sum."""
    x, y = nets.tokens()
    m = Chain(
        SkipConnection(Chain(LayerNorm(256), MultiHeadAttention(256, 4)), lambda a, b: a + b),
        SkipConnection(
            Chain(LayerNorm(256), Dense(256, 1024, fluxrs.gelu), Dense(1024, 256)),
            lambda a, b: a + b,
        ),
    )
    x, y = fluxrs.tensor(x), fluxrs.tensor(y)
    return stepped(m, ADAM(params(m)), lambda: mse(m(x), y))


def embedding() -> Run:
    """A large table of which few rows are used at a time."""
    i, y = nets.words()
    m = Embedding(100_000, 128)
    i, y = fluxrs.tensor(i), fluxrs.tensor(y)
    return stepped(m, ADAM(params(m)), lambda: mse(m(i), y))


CASES: dict[str, Callable[[], Run]] = {
    case.__name__: case for case in (lenet, resnet, lstm, transformer, embedding)
}
