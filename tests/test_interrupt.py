"""Ctrl-C while training: it ends, and the parameters are those of the last whole step."""

import os
import signal
import threading

import numpy as np
import pytest

import fluxrs
from fluxrs import ADAM, Chain, Dense, mse, params, relu, train

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
