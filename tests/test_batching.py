"""batches: any number of arrays, their order, and the thread that prepares them."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fluxrs
from fluxrs import batches, gpu, onehotbatch, train

x = np.arange(10)


def workers():
    return [t for t in threading.enumerate() if t.name == "fluxrs-batches"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not workers()


both = pytest.mark.parametrize("background", [False, True])


@both
def test_one_two_and_three_arrays(background):
    def rows(*arrays, **more):
        return list(batches(*arrays, size=4, shuffle=False, background=background, **more))

    assert [b.tolist() for b in rows(x)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [b.tolist() for b in rows(x, drop_last=True)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for a, b, c in rows(x, fluxrs.tensor(x * 2), onehotbatch(x, x)):
        assert b.tolist() == (2 * a).tolist() == (2 * np.asarray(c).argmax(-1)).tolist()
        assert isinstance(c, fluxrs.OneHotMatrix)
    assert len(batches(x, size=4)) == 3
    assert len(batches(x, size=4, drop_last=True)) == 2
    assert rows(x[:0]) == [] == list(batches(x, 11, drop_last=True, background=background))


@both
def test_orders(background):
    def epochs(**more):
        b = batches(x, 4, background=background, **more)
        return [np.concatenate(list(b)).tolist() for _ in range(3)]

    for order in (epochs(), epochs(seed=1)):
        assert all(sorted(e) == list(x) for e in order)
        assert len({tuple(e) for e in order}) == 3
    fluxrs.seed(0)
    a = epochs()
    fluxrs.seed(0)
    assert epochs() == a
    b = epochs(seed=1)
    assert epochs(seed=1) == b != epochs(seed=2)
    fluxrs.seed(0)
    epochs(seed=1)
    assert epochs() == a  # a seed of one's own leaves the stream alone


def test_the_same_batches_with_and_without_a_thread():
    X = fluxrs.randn(50, 3)
    for a, b in zip(batches(X, 8, seed=3), batches(X, 8, seed=3, background=True), strict=True):
        np.testing.assert_array_equal(a, b)


@both
def test_to_is_called_with_each_batch(background):
    got = list(batches(x, x, size=5, to=lambda b: (b[0] + 1, "more"), background=background))
    assert [m for _, m in got] == ["more"] * 2
    assert sorted(np.concatenate([a for a, _ in got])) == list(x + 1)


@pytest.mark.skipif(not fluxrs._core.has_gpu(), reason="no GPU")
@both
def test_to_the_gpu(background):
    device = gpu(fluxrs.ones(1)).device
    pairs = batches(np.ones((10, 3)), onehotbatch(x, x), size=4, to=gpu, background=background)
    for a, b in pairs:
        assert a.device == b.indices.device == device


def test_a_thread_is_ahead_by_two_at_most():
    made = []
    data = iter(batches(x, size=1, background=True, to=lambda b: made.append(1) or b))
    next(data)
    for _ in range(100):
        if len(made) == 3:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 3  # one is in use, two wait
    del data


def test_an_error_of_the_thread_is_raised_in_the_loop():
    def fails(b):
        if 3 in b:
            raise KeyError("three")
        return b

    seen = []
    with pytest.raises(KeyError, match="three") as raised:
        for b in batches(x, size=2, shuffle=False, to=fails, background=True):
            seen.append(b.tolist())
    assert seen == [[0, 1]]
    assert raised.traceback[-1].name == "fails"


def test_an_error_of_the_engine_too():
    W = fluxrs.ones(2, 3)
    late = lambda b: fluxrs.take(W, fluxrs.tensor(b, dtype="int64") + 7, axis=0)
    with pytest.raises(IndexError):
        list(batches(x, size=2, to=late, background=True))


@pytest.mark.parametrize("leave", ["break", "raise", "close", "never begun"])
def test_a_loop_that_is_left_leaves_no_thread(leave):
    data = iter(batches(x, size=2, background=True))
    if leave == "break":
        for _ in data:
            break
    elif leave == "raise":
        with pytest.raises(ZeroDivisionError):
            for _ in data:
                1 / 0
    elif leave == "close":
        next(data)
        data.close()
        assert list(data) == []
    del data


def test_many_epochs_leave_no_thread():
    data = batches(x, size=3, background=True)
    for _ in range(50):
        for _ in data:
            pass
        assert not workers()


def test_training_from_a_thread():
    X = fluxrs.randn(64, 3)
    m = fluxrs.Dense(3, 1)
    opt = fluxrs.SGD(fluxrs.params(m), 0.1)
    loss = lambda x, y: fluxrs.mse(m(x), y)
    before = float(loss(X, X[:, :1]))
    for _ in range(5):
        train(loss, batches(X, X[:, :1], 16, background=True), opt)
    assert float(loss(X, X[:, :1])) < before / 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: batches(x, x[:3], size=2), ValueError, "the arrays have 10, 3 rows"),
        (lambda: batches(x), TypeError, "size must be a whole number, got None"),
        (lambda: batches(x, size=2.5), TypeError, "whole number, got 2.5"),
        (lambda: batches(x, x, 2, True), TypeError, "whole number, got True"),
        (lambda: batches(x, size=0), ValueError, "size must be >= 1"),
        (lambda: batches(4), TypeError, "batches takes arrays and the size"),
        (lambda: batches(x, size=2, seed=-1), ValueError, "seed must be"),
        (lambda: batches(x, size=2, to=3), TypeError, "to is called"),
        (lambda: batches(x, size=2, sed=3), TypeError, "did you mean seed"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def child(program, *, interrupt=False):
    """Run a program; its output. With `interrupt`, Ctrl-C once it has said that it is ready."""
    given = [sys.executable, "-c", program]
    with subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        try:
            if interrupt:
                assert p.stdout.readline() == "ready\n"
                os.kill(p.pid, signal.SIGINT)
            out, err = p.communicate(timeout=60)
        except BaseException:
            p.kill()
            raise
    assert p.returncode == 0, err
    return out


HEAD = """
import threading, time, numpy as np, fluxrs
from fluxrs import batches
alive = lambda: [t.name for t in threading.enumerate() if t.name == "fluxrs-batches"]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_ctrl_c_leaves_no_thread():
    program = HEAD + (
        "def slow(b):\n    time.sleep(0.3)\n    return b\n"
        "try:\n    print('ready', flush=True)\n    for b in batches(np.arange(1000), size=1, to=slow, background=True): pass\n"
        "except KeyboardInterrupt:\n    print('stopped', alive())\n"
    )
    assert child(program, interrupt=True) == "stopped []\n"


def test_an_iterator_that_is_still_there_does_not_keep_the_interpreter():
    program = (
        HEAD
        + "data = iter(batches(np.arange(10), size=1, background=True)); print(next(data), len(alive()))"
    )
    assert child(program).split()[-1] == "1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork_the_loop_says_that_its_thread_is_gone():
    program = (
        HEAD
        + """
import os, warnings
warnings.simplefilter("ignore")
data = iter(batches(np.arange(10), size=1, background=True)); next(data)
time.sleep(0.2)
pid = os.fork()
if pid == 0:
    try:
        for b in data: pass
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(len(list(data)))
"""
    )
    out = child(program)
    assert "the thread that prepares them is gone" in out
    assert out.endswith("9\n")
