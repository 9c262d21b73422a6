"""Ctrl-C while training: it ends, and the parameters are those of the last whole step."""

import os
import signal
import threading

import numpy as np
import pytest

import fluxrs
from fluxrs import ADAM, Chain, Dense, back, mse, params, relu, train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends itself a signal")


@pytest.fixture(autouse=True)
def signals_heard():
    """A process started in the background ignores SIGINT, and its children with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
