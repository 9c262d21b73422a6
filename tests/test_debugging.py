"""The texts of `explain` and `profile`."""

import json

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    Chain,
    Dense,
    Params,
    back,
    gradient,
    mse,
    param,
    params,
    rand,
    relu,
    update,
)


def data(n):
    x, y = rand(n, 8), rand(n, 1)
    fluxrs.evaluate(x, y)
    return x, y


def test_explain_says_what_runs_and_whether_it_ran_before():
    m = Chain(Dense(8, 16, relu), Dense(16, 1))
    loss = lambda n: (lambda x, y: mse(m(x), y))(*data(n))
    first = loss(32)
    text = fluxrs.explain(first)
    assert "to be compiled (a graph not seen before)" in text
    assert "product 32×8 · 8×16" in text
    assert "matmul add relu" in text
    assert "buffers" in text
    runs = fluxrs._core.counters()["runs"]
    fluxrs.explain(first)
    assert fluxrs._core.counters()["runs"] == runs
    float(first)
    assert fluxrs.explain(first) == "nothing to compute: the values are there\n"
    assert "cpu, replayed: " in fluxrs.explain(loss(32))
    again = fluxrs.explain(loss(7))
    assert "same ops were planned with other inputs: float32(7, 8) for float32(32, 8)" in again


def test_a_step_holds_the_same_whatever_axes_a_batch_has():
    m = Chain(Dense(64, 256, fluxrs.gelu), Dense(256, 8))

    def held(*shape):
        x = fluxrs.zeros(*shape, 64)
        grads = gradient(lambda: m(x).sum(), params(m))
        text = fluxrs.explain(*[grads[p] for p in params(m)])
        return text.splitlines()[0].rpartition("at most ")[2]

    assert held(8, 64) == held(512)


def test_explain_knows_a_graph_with_a_gradient_of_its_own():
    def y(n):
        return fluxrs.hook(lambda Δ: Δ, fluxrs.param(np.ones(n))) * 3

    fluxrs.evaluate(y(4))
    assert "planned with other inputs: float64(5,) for float64(4,)" in fluxrs.explain(y(5))


def test_explain_of_steps():
    m = Dense(8, 1)
    opt = ADAM(params(m))
    x, y = data(4)
    for _ in range(2):
        back(mse(m(x), y))
        opt()
    last = fluxrs.explain()
    assert "the last that ran" in last
    assert "from here on parameters are written" in last
    assert "(6 in place)" in last
    p, q = param([1.0, 2.0]), param([3.0, 4.0])
    grads = gradient(lambda: (p * q).sum(), Params([p, q]))
    for w in (p, q):
        update(w, -0.5 * grads[w])
    waiting = fluxrs.explain(p)
    assert "written" in waiting
    assert fluxrs._core.queued() == 2
    np.testing.assert_array_equal(p, [-0.5, 0])
    assert fluxrs.explain(p) == "nothing to compute: the values are there\n"


def test_profile_is_a_chrome_trace(tmp_path):
    x, y = data(16)
    m = Dense(8, 1)
    path = tmp_path / "trace.json"
    with fluxrs.profile(path):
        float(mse(m(x), y))
    events = json.loads(path.read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    spans = [e for e in events if e["ph"] == "X"]
    assert {e["cat"] for e in spans} == set(names.values()) == {"plan", "run", "kernel"}
    assert all(names[e["tid"]] == e["cat"] and e["dur"] >= 0 for e in spans)
    assert "matmul add" in " ".join(e["name"] for e in spans)
    with (
        pytest.raises(TypeError, match="int"),
        fluxrs.profile(2),
    ):  # which is where errors are printed
        raise AssertionError("the path is looked at first")
