"""What runs on the GPU gives what the CPU gives: every op of the table, its gradients, training steps, random numbers."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fluxrs
from fluxrs import cpu, gpu
from gpu_cases import close

TABLE = fluxrs._core.op_table()
pytestmark = pytest.mark.skipif(not fluxrs._core.has_gpu(), reason="no GPU")


def operands(op, shape=(5, 7), seed=0):
    rng = np.random.default_rng(seed)
    xs = [rng.uniform(*domain, size=shape).astype("float32") for domain in op["domain"]]
    logic = {"logic": len(xs), "select": 1}.get(op["class"], 0)
    return [x > 0 if i < logic else x for i, x in enumerate(xs)]


@pytest.mark.parametrize("op", TABLE, ids=lambda op: op["name"])
def test_every_op_agrees(op):
    f = getattr(fluxrs._core, op["name"])
    xs = [fluxrs.tensor(x) for x in operands(op)]
    there = [gpu(x) for x in xs]
    y = f(*there)
    assert y.device == "gpu:0"
    close(cpu(y).numpy(), f(*xs).numpy())
    # Broadcast against a row, a transposed and an empty one.
    for view in (lambda x: x.T, lambda x: x[:, ::-1], lambda x: x[:0]):
        close(cpu(f(*map(view, there))).numpy(), f(*map(view, xs)).numpy())


def slopes(f, xs):
    """First and second derivatives of a weighted sum of f."""
    tracked = [fluxrs.param(x) for x in xs]
    ps = fluxrs.Params(tracked)
    first = fluxrs.gradient(lambda: (f(*tracked) ** 2).sum(), ps, nest=True)
    total = sum((first[p] * first[p]).sum() for p in tracked)
    second = fluxrs.gradient(lambda: total, ps)
    return [np.asarray(first[p]) for p in tracked] + [np.asarray(second[p]) for p in tracked]


@pytest.mark.parametrize(
    "op",
    [op for op in TABLE if op["differentiable"] and op["class"] not in ("select", "logic")],
    ids=lambda op: op["name"],
)
def test_first_and_second_gradients_agree(op):
    f = getattr(fluxrs._core, op["name"])
    xs = [fluxrs.tensor(x) for x in operands(op, (3, 4), 1)]
    for got, want in zip(slopes(f, [gpu(x) for x in xs]), slopes(f, xs), strict=True):
        close(got, want, 1e-3)


def test_random_numbers_are_those_of_the_cpu():
    like = gpu(fluxrs.zeros(100, 3))
    fluxrs.seed(3)
    there = fluxrs._core.rand_like(like)
    fluxrs.seed(3)
    assert there.device == "gpu:0"
    np.testing.assert_array_equal(there, fluxrs.rand(100, 3))


def test_a_bad_loss_changes_nothing_there():
    W = gpu(fluxrs.param(np.ones((3, 2))))
    x = gpu(fluxrs.tensor(np.full((2, 4), np.inf, "float32")))
    opt = fluxrs.ADAM([W], 0.1)
    with pytest.raises(FloatingPointError):
        fluxrs.back((W @ x).sum())
        opt()
        fluxrs.evaluate(W)
    np.testing.assert_array_equal(W, np.ones((3, 2)))


def test_float64_becomes_float32_and_operands_must_be_together():
    x = gpu(fluxrs.tensor(np.arange(3.0), dtype="float64"))
    assert x.dtype == "float32"
    with pytest.raises(fluxrs.DeviceError, match="gpu"):
        x + fluxrs.tensor([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(x[np.array([2, -1, 0])], [2, 2, 0])
    with pytest.raises(IndexError, match="7"):
        np.asarray(x[np.array([7])])


def test_what_is_not_there_yet_says_so():
    x = gpu(np.arange(4).reshape(2, 2))
    with pytest.raises(fluxrs.DeviceError, match=r"matmul of int64.*cpu\(x\)"):
        np.asarray(x @ x)
    with pytest.raises(fluxrs.DeviceError, match=r"solve of matrices of order 600.*cpu\(x\)"):
        np.asarray(fluxrs.solve(gpu(fluxrs.eye(600)), gpu(fluxrs.ones(600))))
    np.testing.assert_array_equal(x.astype("int32") @ x.astype("int32"), [[2, 3], [6, 11]])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize(
    "use",
    [
        "float((x * 3).sum())",
        "np.asarray(x)",
        "fluxrs.gpu(fluxrs.ones(2))",
        "opt([x])",
        "fluxrs.evaluate(x + 1)",
    ],
)
def test_a_forked_child_is_told_and_does_not_hang(use):
    code = f"""
import os, fluxrs
import numpy as np
x = fluxrs.gpu(fluxrs.ones(3))
opt = fluxrs.ADAM([fluxrs.gpu(fluxrs.param(x))])
opt([x])
child = os.fork()
if child == 0:
    try:
        {use}
    except fluxrs.DeviceError as e:
        assert float(fluxrs.ones(3).sum()) == 3
        os._exit(0 if "fork" in str(e) and "spawn" in str(e) else 2)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert float((x * 2).sum()) == 6
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
