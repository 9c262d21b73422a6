"""SkipConnection, Parallel, Maxout, flatten, Dense without a bias, and embeddings."""

import re

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    SGD,
    Chain,
    Dense,
    DimensionMismatch,
    Dropout,
    Embedding,
    EmbeddingBag,
    Maxout,
    Momentum,
    Parallel,
    SkipConnection,
    add,
    debug,
    flatten,
    gradcheck,
    gradient,
    onehotbatch,
    params,
    rand,
    relu,
    update,
)

rng = np.random.default_rng(0)
x = rng.normal(size=(4, 3)).astype("float32")


def test_containers_are_their_formulas():
    f, g = Dense(3, 3, relu), Dense(3, 3)
    same = [
        (SkipConnection(f, add)(x), np.asarray(f(x)) + x),
        (SkipConnection(Chain(f, g), lambda y, x: y * x)(x), np.asarray(g(f(x))) * x),
        (Parallel(add, f, g)(x), np.asarray(f(x)) + np.asarray(g(x))),
        (Parallel(lambda a, b: a - b, f, g)(x, 2 * x), np.asarray(f(x)) - np.asarray(g(2 * x))),
        (flatten(rand(2, 3, 4)).shape, (2, 12)),
        (flatten(rand(0, 3, 4)).shape, (0, 12)),
        (flatten(rand(3)).shape, (3, 1)),
    ]
    m = Maxout(lambda: Dense(3, 2), 3)
    same.append((m(x), np.max([np.asarray(f(x)) for f in m.layers], axis=0)))
    for got, want in same:
        np.testing.assert_array_equal(got, want)
    assert Parallel(add, f, g)[1] is g
    assert len(m) == 3


def test_dense_without_a_bias():
    d = Dense(3, 2, relu, bias=False)
    assert [p.shape for p in params(d)] == [(2, 3)]
    np.testing.assert_allclose(d(x), np.maximum(x @ np.asarray(d.W).T, 0), rtol=1e-6, atol=1e-6)
    assert repr(d) == "Dense(3, 2, relu, bias=False)"
    wide = Dense(3, 2, bias=False, initW=lambda *s: np.ones(s))
    assert wide(x.astype("float64")).dtype == "float64"


def test_gradients_go_through_every_branch():
    fluxrs.seed(0)

    def net():
        return Chain(
            SkipConnection(Dense(3, 3, fluxrs.tanh), add),
            Parallel(fluxrs.multiply, Dense(3, 4), Dense(3, 4, bias=False)),
            Maxout(lambda: Dense(4, 2), 2),
        )

    m = fluxrs.mapleaves(
        lambda l: fluxrs.param(np.asarray(l, "float64")) if isinstance(l, fluxrs.Tensor) else l,
        net(),
    )
    assert gradcheck(lambda x: (m(x) ** 2).sum(), x.astype("float64"))
    assert gradcheck(
        lambda x: (gradient(lambda x: (m(x) ** 2).sum(), x)[0] ** 2).sum(), x.astype("float64")
    )
    grads = gradient(lambda: (m(x) ** 2).sum(), params(m))
    assert len(params(m)) == 10  # the bias that is none is one in this copy
    assert all(np.abs(np.asarray(grads[p])).sum() > 0 for p in params(m))


m = Chain(SkipConnection(Dense(3, 2), add))
WRONG = {
    "inside": (lambda: m(rand(4, 5)), DimensionMismatch, r"Chain\[0\] SkipConnection Dense\(3, 2\) takes"),
    "combine": (lambda: m(x), DimensionMismatch, r"Chain\[0\] SkipConnection add: .*\(4, 2\) and \(4, 3\)"),
    "branch": (lambda: Parallel(add, Dense(3, 2), Dense(4, 2))(x), DimensionMismatch, r"Parallel\[1\] Dense\(4, 2\)"),
    "inputs": (lambda: Parallel(add, Dense(3, 2), Dense(3, 2))(x, x, x), TypeError, "one input or 2"),
    "no layer": (lambda: Parallel(add), TypeError, "needs a layer"),
    "list": (lambda: Parallel(add, [Dense(3, 2)]), TypeError, r"as in Parallel\(\*layers\)"),
    "not callable": (lambda: SkipConnection(3, add), TypeError, "SkipConnection: layer 0 is 3"),
    "maxout": (lambda: Maxout(lambda: Dense(3, 2), 0), ValueError, "one layer at least"),
    "maxout of a layer": (lambda: Maxout(3, 2), TypeError, "f makes a layer"),
    "maxout of a made layer": (lambda: Maxout(Dense(3, 2), 2), TypeError, r"Maxout\(lambda: Dense\(3, 2\), 2\)"),
    "in maxout": (lambda: Maxout(lambda: Dense(3, 2), 2)(rand(4)), DimensionMismatch, r"Maxout\[0\] Dense\(3, 2\)"),
    "float index": (lambda: Embedding(5, 2)(rand(3)), TypeError, "integers"),
    "index": (lambda: np.asarray(Embedding(5, 2)([1, 5])), IndexError, "index 5 is out of range for axis 0 of size 5"),
    "classes": (lambda: Embedding(5, 2)(onehotbatch([0], range(4))), DimensionMismatch, "one-hot rows of 4"),
    "bag": (lambda: EmbeddingBag(5, 2)([1, 2]), DimensionMismatch, r"EmbeddingBag\(5, 2, 'mean'\) takes integers \(N, length\)"),
    "bags": (lambda: EmbeddingBag(5, 2)([[1, 2]], [0]), DimensionMismatch, r"\(n,\) with offsets, got shape \(1, 2\)"),
    "mode": (lambda: EmbeddingBag(5, 2, "median"), ValueError, "mode is"),
    "offsets": (lambda: EmbeddingBag(5, 2)([1, 2], [1]), ValueError, "begin with 0"),
    "decreasing": (lambda: EmbeddingBag(5, 2)([1, 2], [0, 2, 1]), ValueError, "do not decrease"),
    "beyond": (lambda: EmbeddingBag(5, 2)([1, 2], [0, 3]), ValueError, "within the 2 integers"),
    "no offsets": (lambda: EmbeddingBag(5, 2)([1, 2], [0.5]), TypeError, "vector of integers"),
    "sizes": (lambda: Embedding(2.5, 2), TypeError, "Embedding: sizes must be whole numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_the_place(name):
    call, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        call()


INDICES = [[2, 0, 2], [1, -1, 3]]


def test_embeddings_gather_rows():
    e = Embedding(5, 2)
    W = np.asarray(e.W)
    np.testing.assert_array_equal(e(INDICES), W[INDICES])
    np.testing.assert_array_equal(e(3), W[3])
    np.testing.assert_array_equal(e(np.zeros((0, 2), "int32")), np.zeros((0, 2, 2)))
    np.testing.assert_array_equal(e(onehotbatch([4, 0], range(5))), W[[4, 0]])
    g = gradient(lambda: (e(INDICES) ** 2).sum(), params(e))[e.W]
    want = np.zeros((5, 2), "float32")
    np.add.at(want, INDICES, 2 * W[INDICES])
    np.testing.assert_allclose(g, want, rtol=1e-6)
    opt = SGD(params(e), 0.5)
    opt(gradient(lambda: (e(INDICES) ** 2).sum(), params(e)))
    np.testing.assert_allclose(e.W, W - 0.5 * want, rtol=1e-6)
    np.testing.assert_array_equal(Embedding(3, 4, init=fluxrs.ones).W, np.ones((3, 4)))


REDUCE = {"sum": np.sum, "mean": np.mean, "max": np.max}


@pytest.mark.parametrize("mode", REDUCE)
def test_bags_are_their_loops(mode):
    fluxrs.seed(0)
    bag = EmbeddingBag(6, 3, mode)
    W = np.asarray(bag.W)
    np.testing.assert_allclose(bag(INDICES), REDUCE[mode](W[INDICES], axis=1), rtol=1e-6)
    flat, offsets = [2, 0, 2, 1, -1, 3, 4], [0, 2, 2, 6, 7]
    ends = [*offsets[1:], len(flat)]
    bags = [flat[a:b] for a, b in zip(offsets, ends, strict=True)]
    want = [REDUCE[mode](W[b], axis=0) if b else np.zeros(3) for b in bags]
    np.testing.assert_allclose(bag(flat, offsets), want, rtol=1e-6)
    np.testing.assert_allclose(
        bag(fluxrs.tensor(flat, dtype="int64"), np.array(offsets)), want, rtol=1e-6
    )
    for nothing in (bag(np.zeros((2, 0), "int64")), bag(np.zeros(0, "int64"), [0, 0])):
        np.testing.assert_array_equal(nothing, np.zeros((2, 3)))
    assert bag(np.zeros(0, "int64"), np.zeros(0, "int64")).shape == (0, 3)

    def loss(W, *x):
        b = EmbeddingBag(6, 3, mode)
        b.W = W
        return (b(*x) ** 3).sum()

    W = rng.normal(size=(6, 3))
    for x in ([INDICES], [flat, offsets]):
        assert gradcheck(lambda W, x=x: loss(W, *x), W)
        assert gradcheck(lambda W, x=x: (gradient(lambda W: loss(W, *x), W)[0] ** 2).sum(), W)


def test_dropout_by_axis():
    image = np.ones((4, 50, 6, 5), dtype="float32")
    y = np.asarray(Dropout(0.5, dims=(0, 1))(image))
    assert (y == y[:, :, :1, :1]).all()
    assert set(np.unique(y)) == {0.0, 2.0}
    columns = np.asarray(Dropout(0.5, dims=-1)(np.ones((3, 100), "float32")))
    assert (columns == columns[:1]).all()
    assert len(np.unique(columns)) == 2
    whole = np.asarray(Dropout(0.5, dims=(0, 1, 2, 3))(image))
    assert (whole != whole[:, :, :1, :1]).any()
    assert Dropout(0.5, dims=(0,))(np.ones((0, 3))).shape == (0, 3)
    assert repr(Dropout(0.5, dims=(0, 1))) == "Dropout(0.5, dims=(0, 1))"
    with pytest.raises(DimensionMismatch, match=r"Dropout\(0.5, dims=2\) takes an input that has"):
        Dropout(0.5, dims=2)(np.ones((2, 3)))
    with pytest.raises(TypeError, match="dims is an axis"):
        Dropout(0.5, dims=0.5)


def test_models_print_save_and_load(tmp_path):
    net = Chain(
        EmbeddingBag(6, 3, "sum"),
        SkipConnection(Dense(3, 3, bias=False), add),
        Parallel(fluxrs.multiply, Dense(3, 4), Dense(3, 4)),
        Maxout(lambda: Dense(4, 2), 2),
        Dropout(0.5, dims=0),
        flatten,
    )
    fluxrs.testmode(net)
    text = (
        "Chain(EmbeddingBag(6, 3, 'sum'), SkipConnection(Dense(3, 3, bias=False), add), "
        "Parallel(multiply, Dense(3, 4), Dense(3, 4)), Maxout(Dense(4, 2), Dense(4, 2)), "
        "Dropout(0.5, dims=0), flatten)"
    )
    assert repr(net) == text
    fluxrs.save(tmp_path / "net", net=net)
    again = fluxrs.load(tmp_path / "net")["net"]
    assert repr(again) == text
    np.testing.assert_array_equal(again(INDICES), net(INDICES))
    assert len(params(again)) == len(params(net)) == 10


ROWS, WIDTH = 5000, 16
RULES = {
    "SGD": (lambda p: SGD([p], 0.1), True),
    "Momentum": (lambda p: Momentum([p], 0.1), False),
    "ADAM": (lambda p: ADAM([p], 0.1), False),
    "upwards": (
        lambda p: lambda: update(p, 0.25 * p.grad),
        True,
    ),  # but for zeros that would lose their sign
    "by hand": (lambda p: lambda: update(p, -0.25 * p.grad), True),
    "with decay": (lambda p: lambda: update(p, -0.25 * (p.grad + 0.1 * p)), False),
    "as it is": (lambda p: lambda: update(p, p.grad), False),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_of_few_rows_is_no_table(rule, dtype):
    """Rows not used, used once and again, the first and the last: the bits of op by op; the bytes of the rows."""
    made, only = RULES[rule]
    start = rng.normal(size=(ROWS, WIDTH)).astype(dtype)
    start[7] = -0.0
    batches = [
        np.array([3, 0, 3, -1, 17, 3, ROWS - 1, 18]),
        rng.integers(0, ROWS, 64),
        np.array([5]),
    ]

    def trained(op_by_op):
        p = fluxrs.param(start)
        step = made(p)
        with debug(op_by_op):
            for i in batches:
                fluxrs.back((fluxrs.take(p, i, axis=0) ** 3).sum())
                step()
                fluxrs.evaluate(p)
        return np.array(p)

    want, got = trained(True), trained(False)
    assert np.array_equal(want.view("u1"), got.view("u1"))
    plan = fluxrs._core.explain()
    row = WIDTH * np.dtype(dtype).itemsize
    assert f"{'elementwise, 1 rows at most of' if only else '1 rows given'}" in plan, plan
    temporaries = re.search(r"at most (\d+) B of temp", plan)
    assert temporaries and int(temporaries[1]) <= 1000 + 4 * row, plan


def test_a_gradient_of_few_rows_that_is_read_is_a_table():
    p, q = fluxrs.param(np.ones((ROWS, 2))), fluxrs.param(np.ones((ROWS, 2)))
    both = fluxrs.param(np.ones((ROWS, 2)))
    i = np.array([1, 2, 2])

    def loss():
        return (
            fluxrs.take(p, i, axis=0) * fluxrs.take(q, i, axis=0) * fluxrs.take(both, i, axis=0)
        ).sum()

    g = gradient(loss, params([p, q, both]))
    length = (g[p] ** 2).sum()  # which clips p's
    update(p, -0.5 * g[p] / length)
    update(q, -0.5 * g[q])
    update(both, -0.5 * g[both])
    fluxrs.evaluate(p, q, both)
    want = np.ones((ROWS, 2))
    want[1:3] -= 0.5 * np.array([[1], [2]])
    np.testing.assert_array_equal(q, want)
    np.testing.assert_array_equal(both, want)
    np.testing.assert_allclose(np.asarray(p)[1:3], 1 - 0.5 * np.array([[1, 1], [2, 2]]) / 10)
    with pytest.raises(IndexError, match="out of range"):
        update(
            p,
            -0.5 * gradient(lambda: fluxrs.take(p, np.array([ROWS]), axis=0).sum(), params([p]))[p],
        )
        fluxrs.evaluate(p)
    np.testing.assert_array_equal(np.asarray(p)[3:], 1)
