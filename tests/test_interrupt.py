"""Ctrl-C while training: it ends, and the parameters are those of the last whole step."""

import contextlib
import functools
import os
import random
import signal
import threading
import time

import numpy as np
import pytest

import fluxrs
from fluxrs import ADAM, Chain, Dense, back, mse, params, relu, train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends itself a signal")


def interrupt_after(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.parametrize("width", [8, 1500])
def test_interrupt_in_the_middle_of_an_epoch(width):
    fluxrs.seed(0)
    m = Chain(Dense(width, width, relu), Dense(width, 1))
    x = np.ones((256, width), "float32")
    y = np.zeros((256, 1), "float32")
    opt = ADAM(params(m))
    whole = []

    def remember():
        whole[:] = [np.array(p) for p in params(m)] + [opt.t]

    def forever():
        while True:
            yield x, y

    timer = interrupt_after(0.7)
    with pytest.raises(KeyboardInterrupt):
        train(lambda x, y: mse(m(x), y), forever(), opt, cb=remember)
    timer.join()
    *arrays, t = whole
    now = [np.array(p) for p in params(m)]
    if opt.t == t:
        for p, q in zip(now, arrays, strict=True):
            np.testing.assert_array_equal(p, q)
    else:
        assert opt.t == t + 1
    assert all(np.isfinite(p).all() for p in now)
    for p in params(m):
        np.testing.assert_array_equal(p.grad, np.zeros(p.shape))
    train(lambda x, y: mse(m(x), y), [(x, y)], opt)


def test_no_interrupt_is_lost():
    """Not even one that comes while parameters are written, which nothing stops."""
    m = Dense(1500, 1500)
    opt = ADAM(params(m))
    x = fluxrs.rand(4, 1500)
    for k in range(12):
        before = opt.t
        timer = interrupt_after(0.05 + 0.003 * k)
        with pytest.raises(KeyboardInterrupt):
            while opt.t < before + 1000:
                back(m(x).sum())
                opt()
        timer.join()
    assert np.isfinite(np.asarray(m.W)).all()


def test_a_signal_handler_that_asks_for_a_value():
    x = fluxrs.rand(1500, 1500)
    heard = []

    def handler(*_):
        try:
            heard.append(float((x + 1).sum()))
        except ValueError as e:
            heard.append(str(e))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for delay in (0.03, 0.05, 0.08):
            y = x
            for _ in range(6):
                y = y @ x * 1e-3
            signal.setitimer(signal.ITIMER_REAL, delay)
            assert np.isfinite(np.asarray(y)).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard
    assert all(isinstance(h, float) or "computes another" in h for h in heard)


def inputs(*shape):
    fluxrs.seed(3)
    x = fluxrs.rand(*shape)
    fluxrs.evaluate(x)
    return x


def product(m, k, n):
    return inputs(m, k) @ inputs(k, n)


def convolved(channels, out, kernel):
    return fluxrs.conv(inputs(12, channels, 60, 60), inputs(out, channels, kernel, kernel), pad=1)


def places(n):
    return fluxrs.randint(0, n, n)


KERNELS = {
    "a map": lambda: fluxrs.exp(fluxrs.sin(inputs(3_000_000)) ** 3.3),
    "a map with strides": lambda: fluxrs.exp(inputs(1500, 2000).T + 1) * 2,
    "rows": lambda: fluxrs.softmax(inputs(2000, 1500) ** 3.3, axis=1),
    "one long row": lambda: fluxrs.softmax(inputs(3_000_000) ** 3.3),
    "long rows, reduced": lambda: (inputs(3, 1_000_000) ** 3.3).sum(1),
    "columns, reduced": lambda: (inputs(30_000, 100) ** 3.3).sum(0),
    "wide columns, reduced": lambda: (inputs(30, 100_000) ** 3.3).max(0),
    "everything, reduced": lambda: (inputs(3_000_000) ** 3.3).std(),
    "a product": lambda: product(900, 900, 900),
    "a product and more": lambda: fluxrs.relu(product(48, 600_000, 48)) + 1,
    "a product and more, tile by tile": lambda: fluxrs.exp(fluxrs.sin(product(60_000, 64, 32))),
    "a product and more, after all tiles": lambda: fluxrs.exp(fluxrs.sin(product(1500, 64, 1500))),
    "products": lambda: fluxrs.tanh(
        product(1, 900, 900) + inputs(40, 1, 900) @ inputs(40, 900, 900)
    ),
    "a convolution": lambda: fluxrs.relu(convolved(64, 64, 3)),
    "a convolution to few channels": lambda: fluxrs.exp(convolved(64, 3, 5)) + 1,
    "a convolution of channels by themselves": lambda: fluxrs.depthwiseconv(
        inputs(8, 512, 50, 50), inputs(512, 1, 5, 5), pad=2
    ),
    "a gradient by a kernel": lambda: fluxrs.gradient(
        lambda w: fluxrs.conv(inputs(16, 64, 40, 40), w, pad=1).sum(), inputs(64, 64, 3, 3)
    )[0],
    "a few rows": lambda: product(3, 400_000, 40),
    "a few columns": lambda: product(40, 400_000, 2),
    "integers": lambda: (
        (inputs(500, 500) * 9).astype("int64") @ (inputs(500, 500) * 9).astype("int64")
    ),
    "sort": lambda: fluxrs.sort(inputs(1_000_000)),
    "cumsum": lambda: fluxrs.cumsum(inputs(3_000_000) ** 3.3),
    "cumprod of columns": lambda: fluxrs.cumprod(inputs(1000, 1000) + 0.5, 0),
    "argsort of float64": lambda: fluxrs.argsort(inputs(500_000).astype("float64")),
    "argsort of rows": lambda: fluxrs.argsort(inputs(2000, 500), 1),
    "argmax": lambda: fluxrs.argmax(inputs(3_000_000) ** 3.3),
    "take": lambda: fluxrs.take(inputs(1_000_000), places(1_000_000)),
    "take's gradient": lambda: fluxrs.gradient(
        lambda x: fluxrs.take(x, places(1_000_000)).sum(), inputs(1_000_000)
    ),
    "take_along_axis": lambda: fluxrs.take_along_axis(inputs(1_000_000), places(1_000_000), 0),
    "permutation": lambda: fluxrs.permutation(int(inputs(1)[0]) + 500_000),
    "einsum": lambda: fluxrs.einsum("ij,jk,kl->il", *(inputs(500, 500),) * 3),
    "det": lambda: fluxrs.det(inputs(500, 500)),
    "inv": lambda: fluxrs.inv(inputs(500, 500)),
    "solve": lambda: fluxrs.solve(inputs(500, 500), inputs(500, 500)),
    "random": lambda: fluxrs.exp(inputs(1) + fluxrs.randn(3_000_000)),
    "many": lambda: fluxrs.cumsum(
        fluxrs.tanh(inputs(700, 700) @ inputs(700, 700)).sum(0) + inputs(700, 700)
    ),
}


#: What is not one plan: looks at values, works on the calling thread, makes very many nodes.
OTHERS = {
    "a mask": lambda: inputs(3_000_000)[inputs(3_000_000) > 0.3],
    "rows": lambda: fluxrs.stack([2 * r for r in inputs(20_000, 2)]),
    "a chain": lambda: functools.reduce(lambda y, _: y + 1.0, range(150_000), inputs(3)),
}


class Alarm(Exception):
    """Raised by the signal handler."""


@contextlib.contextmanager
def alarms():
    """Alarms raise `Alarm` within, and none is left behind."""

    def handler(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def timed(make):
    """The value, and the seconds that it takes."""
    start = time.perf_counter()
    want = np.array(make())
    return want, time.perf_counter() - start


@pytest.mark.parametrize("name", KERNELS)
def test_an_interrupted_value_is_computed_anew(name):
    make = KERNELS[name]
    want, took = timed(make)
    chance = random.Random(name)
    with alarms():
        for _ in range(6):
            y = make()
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, took))
                fluxrs.evaluate(y)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                pass
            np.testing.assert_array_equal(np.array(y), want)


@pytest.mark.parametrize("name", OTHERS)
def test_a_call_that_was_interrupted_can_be_made_again(name):
    make = OTHERS[name]
    want, took = timed(make)
    chance = random.Random(name)
    with alarms():
        for _ in range(2):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, took))
                np.array(make())
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                pass
            np.testing.assert_array_equal(np.array(make()), want)


def test_a_signal_while_another_thread_evaluates():
    """The thread that waits for its turn hears it, and what it queued before is not done later."""
    p = fluxrs.param([1.0, 2.0])
    x, begun, done = inputs(1200, 1200), threading.Event(), threading.Event()
    _, took = timed(lambda: x @ x)
    times = int(2 / took) + 1

    def others():
        y = x
        for _ in range(times):
            y = y @ x * 1e-3
        begun.set()
        fluxrs.evaluate(y)
        done.set()

    thread = threading.Thread(target=others)
    with alarms():
        thread.start()
        begun.wait()
        time.sleep(0.1)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            fluxrs.update(p, 1.0)
            fluxrs.evaluate(p)
        except Alarm:
            assert not done.is_set()
        else:
            pytest.fail("the other thread's evaluation ended first")
    np.testing.assert_array_equal(p, [1.0, 2.0])
    thread.join()
    assert done.is_set()
    fluxrs.update(p, 1.0)
    np.testing.assert_array_equal(p, [2.0, 3.0])


def test_a_signal_handler_runs_in_no_scope_of_ours():
    p, seen = fluxrs.param([0.5, 1.5]), []

    def handler(*_):
        try:
            seen.append(fluxrs.istracked(p * 2))
        finally:
            # On a busy machine they would come without a pause.
            signal.setitimer(signal.ITIMER_REAL, 0.005 if len(seen) < 100 else 0)

    def chain():
        return functools.reduce(lambda y, _: fluxrs.sin(y), range(150_000), p).sum()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        grads = fluxrs.gradient(chain, fluxrs.Params([p]))
        fluxrs.evaluate(grads[p])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) > 5 and all(seen)


@pytest.mark.skipif(not fluxrs._core.has_gpu(), reason="no GPU")
def test_a_signal_while_kernels_are_compiled():
    def many():
        fluxrs.seed(3)
        x = fluxrs.gpu(fluxrs.rand(4, 5, 6))
        ops = [fluxrs.exp, fluxrs.sin, fluxrs.tanh, fluxrs.sigmoid, fluxrs.softplus, fluxrs.erf]
        reduced = [f(g(x)).sum(axis) for f in ops for g in ops for axis in (0, 1, 2)]
        return fluxrs.concatenate([r.reshape(-1) for r in reduced])

    def compiled():
        return fluxrs._core.counters()["pipelines"]

    y, heard = many(), False
    with alarms():
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            fluxrs.evaluate(y)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            heard = True
    made = compiled()
    got = fluxrs.cpu(y)
    assert not heard or compiled() > made
    np.testing.assert_array_equal(got, fluxrs.cpu(many()))
