"""One model in several threads: no error at all, and right values, on any thread at any time."""

import os
import queue
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fluxrs import (
    ADAM,
    SGD,
    Dense,
    Momentum,
    Params,
    back,
    evaluate,
    gradient,
    param,
    params,
    update,
)


@pytest.fixture(autouse=True)
def switch_often():
    """Threads change every 50 µs rather than every 5 ms."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(interval)


def together(workers, readers=()):
    """Run all at once, readers again and again until the workers are done; nothing may raise."""
    errors, done = [], threading.Event()

    def guarded(f):
        try:
            f()
        except BaseException as e:
            errors.append(e)

    def again(f):
        while not done.is_set() and not errors:
            f()

    working = [threading.Thread(target=guarded, args=(f,)) for f in workers]
    reading = [threading.Thread(target=guarded, args=(lambda f=f: again(f),)) for f in readers]
    for t in (*working, *reading):
        t.start()
    for t in working:
        t.join()
    done.set()
    for t in reading:
        t.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("rule", [SGD, Momentum, ADAM])
def test_readers_beside_a_trainer(rule):
    W, b, x = param(np.ones((4, 4))), param(np.zeros(4)), np.eye(4, dtype="float32")
    opt = rule([W, b], 0.01)

    def train():
        for _ in range(800):
            back((((x @ W + b) - 2.0) ** 2).sum())
            opt()

    def read():
        assert np.isfinite(float((W * 2.0).sum()))

    together([train], [read, read])
    assert opt.t == 800
    assert float((((x @ W + b) - 2.0) ** 2).sum()) < 60


def test_trainers_and_readers_of_one_model():
    m = Dense(3, 2)
    x, y = np.ones((5, 3), "float32"), np.zeros((5, 2), "float32")

    def steps():
        ps = Params(params(m))
        for _ in range(150):
            grads = gradient(lambda: ((m(x) - y) ** 2).mean(), ps)
            for p in ps:
                update(p, -0.01 * grads[p])
            float(m.W.sum())

    def read():
        assert np.isfinite(np.asarray(m(x))).all()

    together([steps] * 4, [read] * 4)
    assert float(((m(x) - y) ** 2).mean()) < 1


def test_updates_of_several_threads_add_up():
    p = param(np.zeros(16))

    def work():
        for k in range(400):
            update(p, 1.0)
            if k % 3 == 0:
                evaluate(p)

    def read():
        seen = np.unique(np.asarray(p * 1.0))
        assert seen.size == 1 and seen[0] == int(seen[0])

    together([work] * 4, [read] * 4)
    np.testing.assert_array_equal(p, np.full(16, 1600))


def test_a_queued_update_holds_what_it_needs():
    p, q = param([1.0, 2.0]), param([3.0, 4.0])
    queued, changed = threading.Event(), threading.Event()

    def first():
        update(p, q * 10.0)
        queued.set()
        changed.wait(10)
        np.testing.assert_array_equal(p, [31, 42])

    def second():
        queued.wait(10)
        update(q, 1.0)
        evaluate(q)
        changed.set()

    together([first, second])
    np.testing.assert_array_equal(q, [4, 5])


def test_a_gradient_of_a_foreign_result_can_be_computed_or_is_refused_at_once():
    p, q = param(np.ones(1000)), param(np.ones(1000))
    results = queue.SimpleQueue()
    wanted = threading.Semaphore(2)

    def make():
        for _ in range(8000):
            wanted.acquire()
            results.put((p * q * p).sum())
            update(p, 1e-6)
            evaluate(p)

    def differentiate():
        for _ in range(8000):
            y = results.get()
            try:
                back(y)
            except ValueError as e:
                assert "overwritten" in str(e)
            del y
            wanted.release()
            assert np.isfinite(p.grad).all() and np.isfinite(q.grad).all()
            p.grad = q.grad = None

    together([make, differentiate])


def test_who_needs_an_update_of_a_thread_that_has_ended_hears_that_it_failed():
    p = param([1.0, 2.0])
    before = threads_there_are()

    def step():
        back((p * np.inf).sum() * 0)
        update(p, p.grad)

    together([step])
    while threads_there_are() > before:
        time.sleep(0.001)
    with pytest.raises(FloatingPointError, match="Inf or NaN"):
        np.asarray(p)
    np.testing.assert_array_equal(p, [1, 2])


def threads_there_are():
    """Those of Python, until the system has ended them."""
    tasks = "/proc/self/task"
    if not os.path.isdir(tasks):
        pytest.skip("only Linux shows when a thread has ended")
    names = [Path(tasks, t, "comm").read_text() for t in os.listdir(tasks)]
    return sum(not n.startswith("fluxrs") for n in names)


def test_a_result_of_one_thread_is_differentiated_after_the_step_of_another():
    p = param([1.0, 2.0, 3.0])
    loss = (p * p).sum()
    float(loss)

    def step():
        update(p, 1.0)
        evaluate(p)

    together([step])
    back(loss)
    np.testing.assert_array_equal(p.grad, [2, 4, 6])
    np.testing.assert_array_equal(p, [2, 3, 4])
