"""Python that runs within a call: operands that are made by it, garbage, steps that fail half way, the interpreter's end."""

import subprocess
import sys

import numpy as np
import pytest

import fluxrs
from fluxrs import param, update
from fluxrs.optimise.step import Optimiser


class Changes:
    """An operand that changes the other one when it is asked for its elements."""

    def __init__(self, p):
        self.p = p

    def __array__(self, dtype=None, copy=None):
        self.p.data = np.asarray(self.p) + 1.0
        fluxrs.evaluate(self.p)
        return np.ones(3, "float32")


CALLS = {
    "+": lambda p, x: p + x,
    "maximum": lambda p, x: fluxrs.maximum(p, x),
    "where": lambda p, x: fluxrs.where([True, False, True], p, x),
    "stack": lambda p, x: fluxrs.stack([p, x]),
    "concatenate": lambda p, x: fluxrs.concatenate([p, x]),
    "p.data + x": lambda p, x: p.data + x,
    "np.add": lambda p, x: np.add(p, x),
    "einsum": lambda p, x: fluxrs.einsum("i,i->i", p, x),
    "@": lambda p, x: p @ x,
    "clip": lambda p, x: fluxrs.clip(p, 0.0, x),
}


@pytest.mark.parametrize("kind", [param, fluxrs._core.state])
@pytest.mark.parametrize("name", CALLS)
def test_an_operand_stays_as_it_was_when_the_call_took_it(name, kind):
    p = kind(np.full(3, 2.0, "float32"))
    y = CALLS[name](p, Changes(p))
    possible = [CALLS[name](param(np.full(3, v)), np.ones(3, "float32")) for v in (2.0, 3.0)]
    assert any(np.array_equal(y, want) for want in possible), y
    np.testing.assert_array_equal(p, np.full(3, 3.0))


def test_garbage_is_collected_while_a_gradient_is_looked_up():
    program = """
import gc, fluxrs
from fluxrs import Params, gradient, param
ps = Params([param([1.0, 2.0]), param([3.0, 4.0]), param(1.0)])
latest = []
def look(phase, info):
    for grads in latest:
        for p in ps:
            grads[p]
gc.callbacks.append(look)
gc.set_threshold(1)
for _ in range(50):
    latest[:] = [gradient(lambda: (ps[0] * ps[1]).sum(), ps)]
    assert [float(g.sum()) for g in latest[0].values()] == [7, 3, 0]
"""
    run(program)


class Half(Optimiser):
    """Its rule fits the first parameter alone."""

    slots = ("m",)

    def rule(self, p, δ, m):
        return (-δ if p.shape == (2,) else np.ones(7)), m + δ


def test_a_failed_step_is_taken_back_whatever_was_committed_within_it():
    p, q, other = param([1.0, 2.0]), param([3.0, 4.0, 5.0]), param(1.0)
    opt = Half([p, q])
    for x in (p, q, other):
        update(x, 1.0)
    with pytest.raises(fluxrs.DimensionMismatch):
        opt([np.ones(2), np.ones(3)])
    assert fluxrs._core.queued() == 0
    assert opt.t == 0
    for x, want in ((p, [2, 3]), (q, [4, 5, 6]), (other, 2)):
        np.testing.assert_array_equal(x, want)
    for (m,) in opt.state:
        np.testing.assert_array_equal(m, np.zeros(m.shape))


ENDS = {
    "a return": "",
    "an evaluation at exit": "atexit.register(lambda: float((x @ x).sum()))",
    "work that waits": "y = x @ x\nupdate(p, 1.0)",
    "a finaliser that evaluates": """
class Last:
    def __del__(self):
        update(p, 1.0)
        float((x + 1).sum() + p.sum())
last = Last()
last.itself = last
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_beside_daemon_threads(end):
    program = """
import atexit, sys, threading, time, numpy as np, fluxrs
from fluxrs import back, param, update
sys.setswitchinterval(1e-5)
x, p = fluxrs.rand(400, 400), param(np.ones(5))
begun = threading.Barrier(5)
def forever(f):
    f()
    begun.wait()
    while True:
        f()
def train():
    q = param(np.ones(5))
    back((q * q).sum())
    update(q, -0.01 * q.grad)
    float(q[0])
for f in (lambda: float((x @ x @ x @ x).sum()), lambda: np.asarray(fluxrs.sort(fluxrs.rand(300_000)))):
    for g in (f, train):
        threading.Thread(target=forever, args=(g,), daemon=True).start()
begun.wait()
time.sleep(0.05)
"""
    run(program + ENDS[end])


def run(program):
    child = subprocess.run(
        [sys.executable, "-c", program], timeout=60, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    assert child.stderr == ""
