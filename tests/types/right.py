"""Code as users write it, with types: mypy --strict and pyright's strict mode find nothing here (tools/typecheck.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import fluxrs
from fluxrs import (
    ADAM,
    SGD,
    BatchNorm,
    Chain,
    Dense,
    Diagonal,
    Dropout,
    Grads,
    LayerNorm,
    Params,
    Tensor,
    TrackedArray,
    accuracy,
    anneal,
    back,
    batches,
    binarycrossentropy,
    checkpoint,
    cosine,
    data,
    derivative,
    elu,
    epochs,
    gpu,
    gradient,
    hook,
    load,
    logitcrossentropy,
    mse,
    normalise,
    onecold,
    onehotbatch,
    param,
    params,
    rand,
    relu,
    save,
    softmax,
    sum,
    tensor,
    testmode,
    throttle,
    train,
    treelike,
    update,
    warmup,
    withgradient,
    σ,
)
from fluxrs.typing import ArrayLike

version: str = fluxrs.__version__

W: Tensor = param(np.ones((3, 4)))
x: Tensor = rand(5, 4)
y = onehotbatch("abcab", "abc")

# Both spellings, as keywords and as attributes.
m = Chain(
    Dense(4, 8, activation=relu), BatchNorm(8, eps=1e-5), LayerNorm(8, ϵ=1e-5), Dense(8, 3, σ=σ)
)
d = Diagonal(4, initalpha=fluxrs.ones, initβ=fluxrs.zeros)
opt = ADAM(params(m), eta=0.01, β1=0.8, eps=1e-7)
opt.eta = opt.η = 0.005
rate: float = opt.beta1 + opt.β2 + opt.ϵ + opt.eps
α: Tensor = d.alpha + d.β
activation = Dense(2, 2).activation
losses: Tensor = (
    binarycrossentropy([0.5], [1], eps=1e-9) + normalise(x, eps=1e-6).sum() + elu(x, alpha=2).sum()
)
back(sum(m(x)), delta=1.0)
back(sum(m(x)), 1.0)
update(W, delta=np.zeros((3, 4)))
update(W, -0.1 * W)

# Arrays, lists, numbers and one-hot arrays where tensors are taken.
total: Tensor = fluxrs.add(np.float64(1.0), [1, 2]) + 3 * np.ones(2) - tensor((1.0, 2.0))
loss: Tensor = logitcrossentropy(m(x), y) + mse([1.0, 2.0], np.zeros(2), weight=[1, 2])
rows: Tensor = y @ W
anything: ArrayLike = [[1.0], y]
error: Tensor = fluxrs.huber(x, x, delta=2) + fluxrs.huber(x, x, δ=2.0) + fluxrs.mae([1.0], [2.0])
classes: Tensor = logitcrossentropy(m(x), [0, 1, 2, 0, 1], smoothing=0.1) + fluxrs.ctc(
    rand(4, 3), [0, 1], blank=2
)
bent: Tensor = fluxrs.celu(x, alpha=2) + fluxrs.prelu(x, W[0]) + fluxrs.PReLU()(x)
share: float = accuracy(softmax(m(x)), y)
penalty: Tensor = sum(fluxrs.norm(p) for p in params(m)) + fluxrs.max(p.sum() for p in params(m))
labels = onecold(m(x), "abc")
shape: tuple[int, ...] = x.reshape(-1, 2).T.shape
same: Tensor = x == 1.0

# Gradients.
g: tuple[Tensor, ...] = gradient(lambda a, b: sum(a * b), 2, [3.0])
grads: Grads = gradient(lambda: loss, params(m))
slope: Tensor = grads[W]
value, more = withgradient(lambda: loss, Params([W]))
number: float = float(value) + float(more[W].sum())
second = derivative(derivative(lambda v: v**3))(2.0)
z = hook(lambda Δ: -Δ, checkpoint(lambda v: v * 2, x))
plain: Tensor = data(W)
assert isinstance(z, TrackedArray)


@treelike
@dataclass
class Scale:
    by: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        return v * self.by


@treelike("inner")
class Residual:
    def __init__(self, n: int) -> None:
        self.inner = Chain(Dense(n, n, relu), Dropout(0.5))

    def __call__(self, v: Tensor) -> Tensor:
        out: Tensor = v + self.inner(v)
        return out


n: int = Residual(4).inner.layers.__len__() + len(Scale(W).by)
model: Chain = testmode(gpu(Chain(Residual(4), Scale(W))))
part: Chain = model[:1]


def minus(a: Any, b: Any) -> Any:
    return a - b


@fluxrs.grad(minus)
def _(a: Any, b: Any) -> tuple[Any, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    return minus(data(a), data(b)), lambda Δ: (Δ, -Δ)


@fluxrs.grad
def doubled(a: Any) -> tuple[Any, Callable[[Tensor], tuple[Tensor]]]:
    return 2 * data(a), lambda Δ: (2 * Δ,)


@fluxrs.no_grad()
def measured(a: Tensor) -> float:
    with fluxrs.no_grad(), fluxrs.debug(nan=True):
        return float(a.sum())


less: float = measured(fluxrs.track(minus, doubled(W), 1.0)) + measured(fluxrs.grad(W))


def squared(a: Tensor, b: Tensor) -> Tensor:
    return mse(model(a), b)


def alone(a: Tensor) -> Tensor:
    return mse(a, a)


@throttle(30)
def say(text: str = "") -> None:
    print(text)


say("typed still")
say()


def pairs() -> Iterator[tuple[Tensor, Tensor]]:
    yield x, x


for epoch in epochs(2):
    train(squared, batches(x, np.zeros((5, 4)), 2), opt, cb=say)
    train(
        squared,
        pairs(),
        [opt, SGD([W], 0.1)],
        cb=[anneal(opt, warmup(3, cosine(0.1, 10))), lambda: print(epoch)],
    )

    train(squared, batches(x, x, size=2, drop_last=True, seed=1, to=gpu, background=True), opt)
    train(alone, batches(x, size=2), fluxrs.LAMB([W], eta=0.1, decay=0.1))

images, digits = fluxrs.datasets.mnist.arrays("test", folder="data")
words: dict[str, list[str]] = fluxrs.datasets.cmudict.entries()
value_of_tree: Any = fluxrs.datasets.sentiment.dev()[0][0, 1].value

save("model.safetensors", model=model, opt=opt)
things: dict[str, Any] = load("model.safetensors", types=(Scale, Residual))
things = load(b"model.safetensors", types={"Old": Scale})

# Layers of the spatial and the sequential kind.
pooled: Tensor = fluxrs.maxpool(rand(1, 3, 8, 8), (2, 2), pad=((0, 1), (1, 0)), stride=1)
larger: Tensor = fluxrs.upsample(pooled, 2, mode="bilinear")
groups = fluxrs.GroupNorm(6, 2, activation=relu, eps=1e-5, initγ=fluxrs.ones)
attended: Tensor = fluxrs.attention(x, x, x, mask=[[True]], causal=True, scale=0.5)
heads: Tensor = fluxrs.MultiHeadAttention(4, 2, causal=True)(x, mask=None)
stack = Chain(
    fluxrs.Embedding(9, 4),
    fluxrs.SkipConnection(Dense(4, 4, bias=False), fluxrs.add),
    fluxrs.Parallel(fluxrs.add, relu, Dropout(0.5, dims=(0, 1))),
    fluxrs.Maxout(lambda: Dense(4, 2), 3),
    fluxrs.flatten,
)
bag: Tensor = fluxrs.EmbeddingBag(9, 4, "max")([1, 2, 3], offsets=np.array([0, 2]))
