"""Threads with a small stack: no kernel and no pass over a graph needs much of it."""

import subprocess
import sys

import pytest

START = """
import threading
import numpy as np
import fluxrs
from fluxrs import ADAM, Chain, Dense, back, params, relu

x = fluxrs.rand(300, 300)

def chain(n):
    y = fluxrs.ones(8)
    for _ in range(n):
        y = fluxrs.tanh(y + 1) * 2
    return y

def train():
    m = Chain(Dense(8, 8, relu), Dense(8, 1))
    opt = ADAM(params(m))
    for _ in range(3):
        back(m(fluxrs.ones(4, 8)).sum())
        opt()
    return m.layers[0].W
"""

TASKS = {
    "a chain": "chain(2000)",
    "a chain that is dropped": "(chain(20_000), fluxrs.ones(1))[1]",
    "views": "x.T.reshape(-1)[::2].reshape(300, 150).T + 1",
    "a gradient": "fluxrs.gradient(lambda x: sum((fluxrs.sin(x) * k).sum() for k in range(300)), x)[0]",
    "steps": "train()",
    "normals": "fluxrs.randn(100_000)",
    "normals in float64": "fluxrs.randn(1001).astype('float64') ** 2",
    "sort": "fluxrs.sort(x.reshape(-1))",
    "solve": "fluxrs.solve(x + 9, x)",
    "a product": "x @ x",
    "a product in float64": "x.astype('float64') @ x.astype('float64')",
    "a product of integers": "(x * 9).astype('int64') @ (x * 9).astype('int64')",
    "a few rows": "x[:3] @ x",
    "a few rows, transposed": "x[:3] @ x.T",
    "softmax": "fluxrs.softmax(x)",
    "standard deviation": "x.reshape(-1).std()",
}


@pytest.mark.parametrize("name", TASKS)
def test_64_kilobytes_are_enough_for(name):
    program = f"""{START}
done = []
def task():
    done.append(np.array({TASKS[name]}))
threading.stack_size(64 << 10)
thread = threading.Thread(target=task)
thread.start()
thread.join()
assert np.isfinite(done[0]).all()
"""
    child = subprocess.run(
        [sys.executable, "-c", program], timeout=60, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stdout + child.stderr
