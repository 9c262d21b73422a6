"""Scans and recurrent layers on the GPU: what the CPU gives, gradients of two orders, one submit."""

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Chain,
    Dense,
    back,
    cpu,
    gpu,
    gradient,
    mse,
    params,
    reset,
    scan,
    seed,
    tanh,
    tensor,
    zeros,
)

pytestmark = pytest.mark.skipif(not fluxrs._core.has_gpu(), reason="no GPU")
rng = np.random.default_rng(5)


def draw(*shape):
    return tensor(rng.normal(size=shape).astype(np.float32) * 0.5)


W, x0 = draw(4, 4), draw(3)
CASES = {
    "sum": (lambda s, x: (s + x, s * x), draw(2), draw(5, 2)),
    "numbers": (lambda s, x: (s * 0.5 + x, s), zeros(3), draw(7, 3)),
    "a product": (lambda s, x: (tanh(x @ W_on(x) + s @ W_on(x).T), s), draw(6, 4), draw(5, 6, 4)),
    "two states": (
        lambda s, x: ((s[0] * 0.9 + x, s[1] + s[0] * x), s[1] * s[0]),
        (zeros(3), zeros(3) + 1),
        draw(4, 3),
    ),
    "a matrix state": (lambda s, x: (s @ (s.T * 0.3) + x, s[0]), W, draw(3, 4, 4)),
    "softmax": (lambda s, x: (fluxrs.softmax(s * x), s.max()), x0, draw(4, 3)),
    "a sort": (lambda s, x: (fluxrs.sort(s) + x, s), x0, draw(4, 3)),
    "nested": (
        lambda s, x: scan(lambda u, v: (u * v + s, u * s), s, x),
        x0,
        draw(4, 5, 3),
    ),
    "one step": (lambda s, x: (s + x, s), x0, draw(1, 3)),
    "no step": (lambda s, x: (s + x, s), x0, zeros(0, 3)),
}


def W_on(x):
    return gpu(W) if str(x.device) != "cpu" else W


def scalar(result):
    return sum((np.cos(i) * x**2 + x).sum() for i, x in enumerate(fluxrs.scanning.leaves(result)))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_scans(name, reverse):
    f, state, xs = CASES[name]

    def all_of(state, xs):
        first = lambda *a: scalar(scan(f, *rebuilt(a), reverse=reverse))  # noqa: E731
        second = lambda *a: sum((g**2).sum() for g in gradient(first, *a, nest=True))  # noqa: E731
        args = fluxrs.scanning.leaves((state, xs))
        return [
            *fluxrs.scanning.leaves(scan(f, state, xs, reverse=reverse)),
            *gradient(first, *args),
            *gradient(second, *args),
        ]

    def rebuilt(args):
        it = iter(args)
        return fluxrs.scanning.mapped(lambda _, __: next(it), (state, xs))

    want, got = all_of(state, xs), all_of(gpu(state), gpu(xs))
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(np.asarray(cpu(b)), np.asarray(a), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_layers_train_alike(layer):
    seed(3)
    m = Chain(layer(4, 6), Dense(6, 2))
    x, y = draw(7, 5, 4), draw(7, 5, 2)

    def losses(m, x, y):
        opt, out = SGD(params(m), 0.1), []
        for _ in range(3):
            reset(m)
            loss = mse(m(x), y)
            back(loss)
            opt()
            out.append(float(loss))
        return out

    there = gpu((m, x, y))
    np.testing.assert_allclose(losses(*there), losses(m, x, y), rtol=1e-4)


def test_random_numbers_within():
    def f(s, x):
        return s + x * (fluxrs.rand_like(x) < 0.5), s

    def run(state, xs):
        seed(8)
        return np.asarray(cpu(scan(f, state, xs)[1]))

    state, xs = zeros(8), draw(6, 8)
    np.testing.assert_allclose(run(gpu(state), gpu(xs)), run(state, xs), rtol=1e-5, atol=1e-6)


def test_other_lengths_make_no_pipelines():
    m = gpu(Chain(LSTM(6, 8), Dense(8, 5)))
    opt = SGD(params(m), 0.1)

    def made(n):
        before = fluxrs._core.counters()
        reset(m)
        back(mse(m(gpu(draw(n, 6, 6))), gpu(draw(n, 6, 5))))
        opt()
        fluxrs.evaluate(list(params(m)))
        after = fluxrs._core.counters()
        return after["pipelines"] - before["pipelines"], after["bind_groups"] - before[
            "bind_groups"
        ]

    for n in (7, 12, 40):
        made(n)
    assert fluxrs._core.counters()["pipelines"] > 0
    then = [made(n) for n in (10, 11, 25, 33, 64, 65, 100, 130)]
    assert [pipelines for pipelines, _ in then] == [0] * 8
    assert max(groups for _, groups in then) <= 60, then  # none of a step's own
