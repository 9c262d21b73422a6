"""The GPU gives the CPU's values: every op of the table, its gradients, training steps, random numbers."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fluxrs
from edges import EDGES
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


@pytest.mark.parametrize("name", EDGES)
def test_edges_agree(name):
    f, x, *_ = EDGES[name]
    with np.errstate(over="ignore"):
        x = np.array(x, "float32")
    slope = lambda x: fluxrs.gradient(lambda x: f(x).sum(), x)[0]
    for g in (f, slope):
        np.testing.assert_allclose(g(gpu(fluxrs.tensor(x))), g(fluxrs.tensor(x)), rtol=1e-6)


def test_random_numbers_are_those_of_the_cpu():
    like = gpu(fluxrs.zeros(100, 3))
    fluxrs.seed(3)
    there = fluxrs._core.rand_like(like)
    fluxrs.seed(3)
    assert there.device == "gpu:0"
    np.testing.assert_array_equal(there, fluxrs.rand(100, 3))
    fluxrs.seed(3)
    there = fluxrs.randn_like(like)
    fluxrs.seed(3)
    assert there.device == "gpu:0"
    np.testing.assert_allclose(there, fluxrs.randn(100, 3), rtol=1e-5, atol=1e-6)


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


def test_ops_missing_there_say_so():
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


XN, YN = np.ones((5, 3), "float32"), np.ones((5, 2), "float32")
LABELS = fluxrs.onehotbatch([0, 1, 0, 1, 0], range(2))
ARRAYS = {
    "a model": lambda m, x: m(XN),
    "BatchNorm": lambda m, x: gpu(fluxrs.BatchNorm(3))(XN),
    "LayerNorm": lambda m, x: gpu(fluxrs.LayerNorm(3))(XN),
    "mse": lambda m, x: fluxrs.mse(m(x), YN),
    "mse, the other way": lambda m, x: fluxrs.mse(YN, m(x)),
    "one-hot labels": lambda m, x: fluxrs.logitcrossentropy(m(x), LABELS),
    "one-hot arithmetic": lambda m, x: LABELS * m(x),
    "an array on the left": lambda m, x: XN @ x.T,
    "clip": lambda m, x: fluxrs.clip(x, np.zeros(3), 1),
    "a pullback's Δ": lambda m, x: fluxrs.forward(lambda a: a * 2, x)[1](XN)[0],
    "a gradient in Python": lambda m, x: fluxrs.gradient(lambda a: fluxrs.hook(lambda Δ: XN, a).sum(), x)[0],
}  # fmt: skip


def small():
    return gpu(fluxrs.Dense(3, 2)), gpu(fluxrs.tensor(XN))


@pytest.mark.parametrize("f", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_are_copied_to_where_a_tensor_is(f):
    assert f(*small()).device == "gpu:0"


def test_arrays_written_to_parameters_there():
    m, x = small()
    one, two = np.ones(2), fluxrs.param(np.full(2, 2.0))
    fluxrs.back(m(x), YN)
    fluxrs.update(m.b, one)
    close(m.b, np.ones(2, "float32"))
    m.b.grad = one
    fluxrs.SGD([m.b], 1.0)()
    fluxrs.SGD([m.b], 1.0)([one])
    close(m.b, -np.ones(2, "float32"))
    m.b.data[0] = 3.0
    m.b.data[1:] = one[1:]
    close(m.b, np.array([3.0, 1.0], "float32"))
    fluxrs.loadparams(m, [np.zeros((2, 3)), one])
    close(m.b, np.ones(2, "float32"))
    for wrong in (
        lambda: fluxrs.update(m.b, two),
        lambda: fluxrs.ADAM([m.b])([two]),
        lambda: setattr(m.b, "data", two),
        lambda: fluxrs.back(m(x)[0], two),
    ):
        with pytest.raises(fluxrs.DeviceError, match=r"gpu:0 and cpu.*gpu\(x\)"):
            wrong()
    close(m.b, np.ones(2, "float32"))


def test_a_space_beyond_32_bits_is_refused():
    x = gpu(fluxrs.ones(8))
    assert float(fluxrs.broadcast_to(x[0], (2**20,)).sum()) == 2**20
    with pytest.raises(fluxrs.DeviceError, match="kernels over 8589934592 elements"):
        float(fluxrs.broadcast_to(x[0], (2**33,)).sum())
    with pytest.raises(ValueError, match="^repeat: the result would have"):
        fluxrs.repeat(x, 2**61 + 1)


@pytest.mark.parametrize("there, here", [(gpu, fluxrs.cpu), (fluxrs.cpu, gpu)])
def test_what_is_long_pending_on_the_other_device_stays_so(there, here):
    total = x = there(fluxrs.ones(3))
    for _ in range(100):
        total = total + x
    total = total.sum()
    assert float((here(fluxrs.ones(4)) * 2).sum()) == 8
    assert float(total) == 303
