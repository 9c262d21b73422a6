"""Mistakes that mypy and pyright find, each in its line (tools/typecheck.py). Nothing here is run."""

from __future__ import annotations

import fluxrs
from fluxrs import (
    ADAM,
    SGD,
    Chain,
    Dense,
    Dropout,
    Params,
    Tensor,
    accuracy,
    back,
    epochs,
    gradient,
    load,
    mse,
    onehotbatch,
    param,
    params,
    rand,
    relu,
    save,
    sum,
    testmode,
    throttle,
    train,
    update,
)

m = Chain(Dense(4, 8, relu), Dense(8, 3))
W: Tensor = param(rand(3, 4))
x: Tensor = rand(5, 4)
opt = ADAM(params(m))


def loss(a: Tensor, b: Tensor) -> Tensor:
    return mse(m(a), b)


fluxrs.sin("text")  # wrong
fluxrs.nothing(x)  # wrong
x + "text"  # wrong
x.sums()  # wrong
x.sum(axis="rows")  # wrong
rand("3", 4)  # wrong
sum(x, axes=0)  # wrong
mse(x)  # wrong
mse(x, x, weights=2)  # wrong
fluxrs.huber(x, x, δ="1")  # wrong
fluxrs.batches(x, x, size="2")  # wrong
fluxrs.batches(x, x, sice=2)  # wrong
fluxrs.datasets.mnist.image()  # wrong
fluxrs.datasets.digits.labels(split=3)  # wrong
fluxrs.Lion(params(m), rho=0.9)  # wrong
Dense(4)  # wrong
Dense("4", 3)  # wrong
Dense(2.5, 3)  # wrong
Dense(4, 3, activate=relu)  # wrong
Dropout("0.5")  # wrong
Chain(3)  # wrong
Chain(relu)["layer"]  # wrong
ADAM(0.001)  # wrong
ADAM(m)  # wrong
ADAM(params(m), lr=0.1)  # wrong
ADAM(params(m), weight_decay=0.1)  # wrong
SGD(params(m), "0.1")  # wrong
opt.lr = 3  # wrong
opt.beta = 0.9  # wrong
opt.η = "0.1"  # wrong
train(loss, params(m), [(x, x)], opt)  # wrong
train(loss, [(x, x)], ADAM)  # wrong
train(loss, 3, opt)  # wrong
train(loss, [(x, x)], opt, callback=print)  # wrong
back()  # wrong
back("loss")  # wrong
update(W)  # wrong
gradient(3, x)  # wrong
gradient(lambda: sum(W), Params([W]))["W"]  # wrong
Params(3)  # wrong
save(3, model=m)  # wrong
load("model", 1, 2)  # wrong
epochs("two")  # wrong
throttle("f", "g")  # wrong
accuracy(x)  # wrong
onehotbatch(3, "abc")  # wrong
count: int = sum(x)  # wrong
text: str = testmode(m)  # wrong
