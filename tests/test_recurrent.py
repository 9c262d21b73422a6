"""Recurrent layers: the cells' formulas, sequences against loops, state over calls, batches, errors, trees, files."""

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Chain,
    Dense,
    DimensionMismatch,
    GRUCell,
    LSTMCell,
    Recur,
    RNNCell,
    back,
    flip,
    gradient,
    istracked,
    load,
    mapleaves,
    over,
    params,
    reset,
    save,
    seed,
    stack,
    tensor,
    truncate,
    zeros,
)

rng = np.random.default_rng(3)
T, N, F, H = 6, 5, 3, 4
LAYERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}


def σ(x):
    return 1 / (1 + np.exp(-x))


def rnn(p, h, x):
    h = np.tanh(x @ p.Wi.T + h @ p.Wh.T + p.b)
    return h, h


def lstm(p, state, x):
    h, c = state
    i, f, g, o = np.split(x @ p.Wi.T + h @ p.Wh.T + p.b, 4, axis=-1)
    c = σ(f) * c + σ(i) * np.tanh(g)
    h = σ(o) * np.tanh(c)
    return (h, c), h


def gru(p, h, x):
    (u1, u2, u3), (v1, v2, v3) = (
        np.split(x @ p.Wi.T + p.b, 3, axis=-1),
        np.split(h @ p.Wh.T, 3, axis=-1),
    )
    r, z = σ(u1 + v1), σ(u2 + v2)
    h = (1 - z) * np.tanh(u3 + r * v3) + z * h
    return h, h


class Plain:
    """A cell's parameters in float64 NumPy."""

    def __init__(self, cell):
        for name in ("Wi", "Wh", "b", "h", "c"):
            if hasattr(cell, name):
                setattr(self, name, np.asarray(getattr(cell, name), np.float64))


FORMULAS = {"RNN": rnn, "LSTM": lstm, "GRU": gru}


def wide(m):
    """The layer in float64."""
    return mapleaves(
        lambda x: (
            fluxrs.param(fluxrs.data(x).astype("float64")) if isinstance(x, fluxrs.Tensor) else x
        ),
        m,
    )


def fresh(kind):
    seed(5)
    m = wide(LAYERS[kind](F, H))
    m.cell.b.data = rng.normal(size=m.cell.b.shape) * 0.3
    return m


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape", [(F,), (N, F), (T, N, F), (1, N, F), (T, 1, F)])
def test_formulas(kind, shape):
    m, x = fresh(kind), rng.normal(size=shape)
    p = Plain(m.cell)
    state = (p.h, p.c) if kind == "LSTM" else p.h
    want = []
    for row in x if len(shape) == 3 else [x]:
        state, y = FORMULAS[kind](p, state, row)
        want.append(y)
    got = m(tensor(x))
    np.testing.assert_allclose(
        np.asarray(got), np.array(want) if len(shape) == 3 else want[0], rtol=1e-9
    )
    last = m.state[1] if kind == "LSTM" else m.state
    np.testing.assert_allclose(np.asarray(last), state[1] if kind == "LSTM" else state, rtol=1e-9)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_sequence_is_its_steps_bit_for_bit(kind):
    seed(1)
    m, x = LAYERS[kind](F, H), fluxrs.rand(T, N, F)
    for _ in range(2):  # the second time from the state of the first
        before = m.state
        whole = m(x)
        after, m.state = m.state, before
        steps = stack([m(x[t]) for t in range(T)])
        assert np.array_equal(np.asarray(whole), np.asarray(steps))
        for a, b in zip(
            fluxrs.scanning.leaves(after), fluxrs.scanning.leaves(m.state), strict=True
        ):
            assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("order", [1, 2])
def test_gradients(kind, order):
    m, x = fresh(kind), tensor(rng.normal(size=(4, 2, F)))

    def value(run):
        def f(x):
            reset(m)
            return (run(x) ** 2).sum()

        if order == 1:
            return f
        return lambda x: (gradient(f, x, nest=True)[0] ** 2).sum()

    whole, steps = (value(r) for r in (m, lambda x: stack([m(x[t]) for t in range(len(x))])))
    np.testing.assert_allclose(
        np.asarray(gradient(whole, x)[0]), np.asarray(gradient(steps, x)[0]), rtol=1e-8, atol=1e-12
    )
    got, want = (gradient(lambda v=v: v(x), params(m)) for v in (whole, steps))
    for p in params(m):
        np.testing.assert_allclose(np.asarray(got[p]), np.asarray(want[p]), rtol=1e-8, atol=1e-12)
    assert fluxrs.gradcheck(whole, x)


def test_fields_and_initial_values():
    cell = LSTM(F, H).cell
    assert [np.shape(getattr(cell, n)) for n in ("Wi", "Wh", "b", "h", "c")] == [
        (16, 3),
        (16, 4),
        (16,),
        (4,),
        (4,),
    ]
    assert np.asarray(cell.b).tolist() == [0] * 4 + [1] * 4 + [0] * 8
    assert [len(params(m(F, H))) for m in (RNN, LSTM, GRU)] == [4, 5, 4]
    assert repr(Chain(RNN(2, 3), RNN(3, 3, fluxrs.relu), LSTM(3, 4), GRU(4, 5))) == (
        "Chain(Recur(RNNCell(2, 3)), Recur(RNNCell(3, 3, relu)), Recur(LSTMCell(3, 4)), Recur(GRUCell(4, 5)))"
    )


def test_state_goes_on_and_is_reset_and_truncated():
    m, x = Chain(LSTM(F, H), Dense(H, 2)), fluxrs.rand(T, N, F)
    first, second = np.asarray(m(x)), np.asarray(m(x))
    assert not np.array_equal(first, second)
    reset(m)
    assert np.array_equal(first, np.asarray(m(x)))
    truncate(m)
    assert not any(map(istracked, m[0].state))
    assert np.array_equal(second, np.asarray(m(x)))


def test_truncated_backpropagation_trains():
    seed(2)
    m = Chain(GRU(1, 8), Dense(8, 1))
    x = tensor(np.sin(np.arange(41) * 0.5)[:, None, None])
    opt, losses = ADAM(params(m), 0.02), []
    for _ in range(60):
        reset(m)
        for t in (0, 20):
            truncate(m)
            loss = fluxrs.mse(m(x[t : t + 20]), x[t + 1 : t + 21])
            back(loss)
            opt()
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]


def test_a_cell_of_ones_own():
    W = fluxrs.param(fluxrs.rand(H, F))

    def cell(h, x):
        h = h * 0.5 + x @ W.T
        return h, {"y": h, "twice": 2 * h}

    m, x = Recur(cell, zeros(H)), fluxrs.rand(T, N, F)
    whole = m(x)
    reset(m)
    steps = [m(x[t]) for t in range(T)]
    for key in ("y", "twice"):
        assert np.array_equal(np.asarray(whole[key]), np.asarray(stack([s[key] for s in steps])))
    assert m.state.shape == (N, H)


def test_several_inputs():
    m = Recur(lambda s, x, y: (s + x * y, s), zeros(F))
    a, b = fluxrs.rand(T, N, F), fluxrs.rand(T, N, F)
    whole = m(a, b)
    reset(m)
    assert np.array_equal(np.asarray(whole), np.asarray(stack([m(a[t], b[t]) for t in range(T)])))


def test_over():
    m, x = Chain(LSTM(F, H), Dense(H, 2), fluxrs.softmax), fluxrs.rand(T, N, F)
    whole = np.asarray(over(m, x))
    reset(m)
    assert np.array_equal(whole, np.asarray(stack(over(m, [x[t] for t in range(T)]))))
    assert over(Dense(F, 2), x).shape == (T, N, 2)
    assert over(lambda x: x * 2, [1, 2]) == [2, 4]


def test_flip_and_bidirectional():
    f, b, x = LSTM(F, H), GRU(F, H), fluxrs.rand(T, N, F)
    both = np.asarray(Bidirectional(f, b)(x))
    reset((f, b))
    backwards = [b(x[t]) for t in reversed(range(T))][::-1]
    assert np.array_equal(
        both, np.concatenate([np.asarray(f(x)), np.asarray(stack(backwards))], axis=-1)
    )
    reset(b)
    listed = flip(b, [x[t] for t in range(T)])
    assert np.array_equal(np.asarray(stack(listed)), both[..., H:])
    assert flip([[1, 2], [3, 4]], 1).tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert flip(tensor([1.0, 2.0])).tolist() == [2.0, 1.0]


def test_dropout_in_a_model_over_a_sequence():
    m = Chain(RNN(F, H), fluxrs.Dropout(0.5), Dense(H, 2))
    x = fluxrs.rand(T, N, F)
    seed(9)
    whole = np.asarray(over(m, x))
    reset(m)
    seed(9)
    assert np.array_equal(whole, np.asarray(stack([m(x[t]) for t in range(T)])))


ERRORS = {
    "another batch": (lambda m: (m(zeros(N, F)), m(zeros(2, F))), DimensionMismatch, r"call reset\(m\)"),
    "a batch of one": (lambda m: (m(zeros(N, F)), m(zeros(1, F))), DimensionMismatch, r"call reset\(m\)"),
    "a larger batch": (lambda m: (m(zeros(1, F)), m(zeros(N, F))), DimensionMismatch, r"call reset\(m\)"),
    "a sequence of another batch": (lambda m: (m(zeros(N, F)), m(zeros(T, 2, F))), DimensionMismatch, r"call reset\(m\)"),
    "a list": (lambda m: m([zeros(F)]), TypeError, r"over\(m, seq\)"),
    "features": (lambda m: m(zeros(T, N, F + 1)), DimensionMismatch, "last axis is 3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", ERRORS)
def test_errors(kind, name):
    f, error, text = ERRORS[name]
    m = LAYERS[kind](F, H)
    with pytest.raises(error, match=text):
        f(m)
    reset(m)
    assert m(zeros(T, N, F)).shape == (T, N, H)


def test_errors_name_the_path():
    with pytest.raises(DimensionMismatch, match=r"Chain\[0\] Recur\(LSTMCell\(3, 4\)\)"):
        Chain(LSTM(F, H), Dense(H, 1))(zeros(T, N, 7))


def test_errors_of_cells():
    for call, kind, text in (
        (lambda: Recur(lambda s, x: (s, x)), TypeError, "Recur\\(cell, init\\)"),
        (lambda: Recur(3, 0.0), TypeError, "cannot be called"),
        (lambda: Recur(lambda s, x: s, 0.0)(1.0), TypeError, r"returns \(state, y\)"),
        (lambda: RNN(2, 3, 4), TypeError, "activation"),
        (lambda: LSTM(2.5, 3), TypeError, "whole numbers"),
        (
            lambda: Bidirectional(RNN(2, 3), RNN(2, 3))(zeros(5, 2)),
            DimensionMismatch,
            "takes a sequence",
        ),
    ):
        with pytest.raises(kind, match=text):
            call()


def test_save_and_load(tmp_path):
    m, x = Chain(LSTM(F, H), Bidirectional(GRU(H, 2), RNN(H, 2)), Dense(4, 1)), fluxrs.rand(T, N, F)
    want = np.asarray(m(x))
    reset(m)
    save(tmp_path / "m.st", m=m)
    n = load(tmp_path / "m.st")["m"]
    assert repr(n) == repr(m) and len(params(n)) == len(params(m))
    assert np.array_equal(np.asarray(n(x)), want)
    assert n[0].init is not n[0].state
    reset(n)
    assert np.array_equal(np.asarray(n(x)), want)
    assert all(a.start is not None for a in (RNNCell(1, 2), LSTMCell(1, 2), GRUCell(1, 2)))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape", [(T, N), (T,)])
def test_one_hot_sequences(kind, shape):
    m = fresh(kind)
    labels = rng.integers(0, F, size=shape)
    hot = fluxrs.onehotbatch(labels, range(F))
    assert hot.shape == (*shape, F)
    dense = tensor(np.asarray(hot, "float64"))

    def run(x):
        reset(m)
        return over(m, x)

    np.testing.assert_allclose(run(hot), run(dense), rtol=1e-12)
    ps = params(m)
    a, b = (gradient(lambda x=x: (run(x) ** 2).sum(), ps) for x in (hot, dense))
    for p in ps:
        np.testing.assert_allclose(a[p], b[p], rtol=1e-9, atol=1e-12)
    if len(shape) == 2:
        reset(m)
        np.testing.assert_allclose(m(hot), run(dense), rtol=1e-12)


def test_one_hot_rows_in_nests():
    hot = fluxrs.onehotbatch("abcab", "abc")
    W = tensor(rng.normal(size=(3, 2)))
    s, (rows, sums) = fluxrs.scan(
        lambda s, x: (s + x["hot"] @ W, (x["hot"], s + x["n"])),
        zeros(2).astype("float64"),
        {"hot": hot, "n": zeros(5)},
    )
    assert isinstance(rows, fluxrs.onehot.__globals__["OneHotMatrix"])
    assert np.array_equal(rows, hot)
    np.testing.assert_allclose(s, np.asarray(hot).astype(float).sum(0) @ np.asarray(W))
    assert sums.shape == (5, 2)
