"""scan: values, gradients of two orders and of the third for a sample, lengths, nests, random numbers, errors."""

import json
import re

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    DimensionMismatch,
    Params,
    back,
    evaluate,
    gradient,
    no_grad,
    param,
    rand,
    scan,
    seed,
    sin,
    stack,
    tanh,
    tensor,
    where,
    zeros,
)

rng = np.random.default_rng(7)
T, N, F, H = 6, 3, 4, 5


def draw(*shape):
    return tensor(rng.normal(size=shape) * 0.5)


W, U, b = param(draw(H, F)), param(draw(H, H)), param(draw(H))
X, H0, M, x0 = draw(T, N, F), draw(N, H), draw(4, 4), draw(4)
ZEROS = zeros(3).astype("float64")


def loop(f, state, xs, reverse=False):
    """The meaning of scan."""

    def row(i):
        return fluxrs.scanning.mapped(lambda x, _: x[i], xs)

    ys = []
    n = len(fluxrs.scanning.leaves(xs)[0])
    for i in reversed(range(n)) if reverse else range(n):
        state, y = f(state, row(i))
        ys.append(y)
    return state, stack(ys[::-1] if reverse else ys)


CASES = {
    "sum": (lambda s, x: (s + x, s * x), tensor(0.5, "float64"), draw(5)),
    "rnn": (lambda h, x: (lambda h: (h, h * h))(tanh(x @ W.T + h @ U.T + b)), H0, X),
    "one sample": (lambda h, x: (lambda h: (h, h))(tanh(W @ x + U @ h)), H0[0], X[:, 0]),
    "two states": (
        lambda s, x: ((s[0] * 0.9 + x, s[1] + s[0] * x), s[1] * s[0]),
        (ZEROS, ZEROS + 1),
        draw(4, 3),
    ),
    "two sequences": (lambda s, x: (s * x[0] + x[1], s), ZEROS + 0.3, (draw(4, 3), draw(4, 3))),
    "dicts": (
        lambda s, x: (s * x["a"] + x["b"].sum(), s.sum()),
        ZEROS + 0.3,
        {"a": draw(4, 3), "b": draw(4, 2)},
    ),
    "the state itself": (lambda s, x: (s, s), ZEROS + 2, draw(4, 3)),
    "one result twice": (
        lambda s, x: (lambda y: (y, stack([y, y])))(sin(s + x)),
        ZEROS,
        draw(4, 3),
    ),
    "a view": (lambda s, x: (s[::-1] * 1.1 + x, (s * x).reshape(3, 1)), ZEROS + 1, draw(4, 3)),
    "rows of a transposed sequence": (lambda s, x: (s + x * s, s.sum()), ZEROS + 1, draw(3, 4).T),
    "a product of the state": (lambda s, x: (s @ M @ M.T + x, s @ s), x0, draw(3, 4)),
    "a matrix state": (lambda s, x: (s @ (s.T * 0.3) + x, s[0]), M, draw(3, 4, 4)),
    "softmax": (lambda s, x: (fluxrs.softmax(s * x), s.max()), ZEROS + 1, draw(4, 3)),
    "where": (lambda s, x: (where(x > 0, s * x, s - x), s), ZEROS + 1, draw(4, 3)),
    "a solution": (lambda s, x: (fluxrs.solve(M + 3 * fluxrs.eye(4), s) + x, s), x0, draw(3, 4)),
    "gathered rows": (lambda s, x: (s[[1, 0, 2]] * x, s[[0]]), ZEROS + 1, draw(4, 3)),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_scan_is_its_loop(name, reverse):
    f, state, xs = CASES[name]
    (s, y), (s1, y1) = scan(f, state, xs, reverse=reverse), loop(f, state, xs, reverse)
    for got, want in zip(
        fluxrs.scanning.leaves((s, y)), fluxrs.scanning.leaves((s1, y1)), strict=True
    ):
        assert np.array_equal(np.asarray(got), np.asarray(want))


def scalar(result):
    """Something that depends on every part in a way of its own."""
    return sum((np.cos(i) * x**2 + x).sum() for i, x in enumerate(fluxrs.scanning.leaves(result)))


def grads(run, f, state, xs, order, reverse):
    """Gradients by the state, the sequences and W, U, b, M; of the sum of squares of those of one order less."""
    args = fluxrs.scanning.leaves((state, xs))

    def rebuilt(args):
        it = iter(args)
        return fluxrs.scanning.mapped(lambda _, __: next(it), (state, xs))

    def value(*args):
        return scalar(run(f, *rebuilt(args), reverse=reverse))

    for _ in range(order - 1):
        value = (lambda v: lambda *a: sum((g**2).sum() for g in gradient(v, *a, nest=True)))(value)
    ps = Params([W, U, b])
    rest = sum(0 * p.sum() for p in ps)  # so that something depends on them
    return [*gradient(value, *args), *gradient(lambda: value(*args) + rest, ps).values()]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_loop(name, order, reverse):
    for got, want in zip(
        grads(scan, *CASES[name], order, reverse),
        grads(loop, *CASES[name], order, reverse),
        strict=True,
    ):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["rnn", "two states", "dicts"])
def test_third_order(name):
    for got, want in zip(
        grads(scan, *CASES[name], 3, False), grads(loop, *CASES[name], 3, False), strict=True
    ):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("k", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_checkpoint_every(k, reverse, order):
    def run(f, state, xs, reverse):
        return scan(f, state, xs, reverse=reverse, checkpoint_every=k)

    case = CASES["rnn"]
    assert np.array_equal(np.asarray(run(*case, reverse)[1]), np.asarray(loop(*case, reverse)[1]))
    for got, want in zip(
        grads(run, *case, order, reverse), grads(loop, *case, order, reverse), strict=True
    ):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-9, atol=1e-11)


def test_without_xs_and_without_y():
    state, y = scan(lambda s, _: (s * 2, None), 1.0, length=10)
    assert float(state) == 1024 and y is None
    state, y = scan(lambda s, x: (None, x * 2), None, tensor([1.0, 2.0]))
    assert state is None and y.tolist() == [2.0, 4.0]


def test_integers_and_truth_values():
    state, y = scan(lambda s, x: (s + x, s > 2), tensor([0, 1]), tensor(np.arange(8).reshape(4, 2)))
    assert state.tolist() == [12, 17] and y.tolist() == [
        [False, False],
        [False, False],
        [False, True],
        [True, True],
    ]


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_sequences(length):
    f, state, xs = CASES["rnn"]
    got, want = (
        grads(scan, f, state, xs[:length], 1, False),
        [np.zeros(np.shape(p)) for p in (state, xs[:length], W, U, b)],
    )
    if length:
        want = grads(loop, f, state, xs[:length], 1, False)
    else:
        want[0] = 2 * np.asarray(state) + 1
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-9, atol=1e-11)


def test_empty_batches():
    f, _, _ = CASES["rnn"]
    state, y = scan(f, zeros(0, H).astype("float64"), zeros(T, 0, F).astype("float64"))
    assert state.shape == (0, H) and y.shape == (T, 0, H)


def test_a_hundred_thousand_steps():
    state, _ = scan(lambda s, x: (s * 0.5 + x, None), 0.0, fluxrs.ones(100_000))
    assert float(state) == 2.0
    p = param(tensor(0.999, "float64"))
    back(scan(lambda s, x: (s * p, None), tensor(1.0, "float64"), zeros(10_000))[0])
    assert float(p.grad) == pytest.approx(10_000 * 0.999**9_999, rel=1e-9)


def nested(run):
    def outer(s, x):
        inner, ys = run(lambda u, v: (u * v + s, u * s), x[0], x)
        return s + inner * 0.1, ys

    return lambda state, xs: run(outer, state, xs)


@pytest.mark.parametrize("order", [1, 2])
def test_scans_in_scans(order):
    xs, s = draw(5, 4), tensor(0.3, "float64")
    assert np.array_equal(np.asarray(nested(scan)(s, xs)[1]), np.asarray(nested(loop)(s, xs)[1]))

    def value(run):
        v = lambda x: scalar(nested(run)(s, x))  # noqa: E731
        return v if order == 1 else lambda x: (gradient(v, x, nest=True)[0] ** 2).sum()

    got, want = gradient(value(scan), xs)[0], gradient(value(loop), xs)[0]
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-9, atol=1e-12)


def test_a_gradient_within_a_scan():
    def descend(run):
        def f(s, x):
            g = gradient(lambda s: (s - x * W[0, 0]) ** 2, s, nest=True)[0]
            return s - 0.1 * g, s

        return run(f, tensor(0.0, "float64"), draw_once)

    draw_once = tensor([1.0, 2.0, 3.0]).astype("float64")
    got, want = descend(scan), descend(loop)
    assert np.array_equal(np.asarray(got[1]), np.asarray(want[1]))
    g, w = (gradient(lambda r=r: scalar(descend(r)), Params([W]))[W] for r in (scan, loop))
    np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_random_numbers_are_those_of_the_loop(reverse):
    def f(s, x):
        return s * (rand(3) < 0.7) + x, s + fluxrs.randn(3)

    def both(run):
        seed(11)
        g = gradient(
            lambda s, x: scalar(run(f, s, x, reverse=reverse)), fluxrs.ones(3), fluxrs.ones(5, 3)
        )
        return [*map(np.asarray, g), np.asarray(rand(2))]

    for got, want in zip(both(scan), both(loop), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_random_numbers_in_nested_scans():
    def f(run):
        seed(4)
        outer = lambda s, x: (s + 1, run(lambda u, v: (u, rand(2)), 0.0, x)[1])  # noqa: E731
        return np.asarray(run(outer, 0.0, zeros(3, 2))[1])

    assert np.array_equal(f(scan), f(loop))


def test_a_checkpoint_with_random_numbers_within():
    def f(s, x):
        return fluxrs.checkpoint(lambda s: sin(s) * (rand(3) < 0.7) + x, s), s

    def both(run):
        seed(11)
        return gradient(lambda s, x: scalar(run(f, s, x)), fluxrs.ones(3), fluxrs.ones(5, 3))

    for got, want in zip(both(scan), both(loop), strict=True):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-5)


def test_a_long_chain_of_scans_drops():
    s = zeros(1)
    for _ in range(20_000):
        s = scan(lambda u, _, s=s: (u + s, None), zeros(1), length=1)[0]
    del s


def test_a_custom_gradient_within():
    @fluxrs.grad
    def half(x):
        return fluxrs.data(x) / 2, lambda Δ: (Δ * 7,)

    def f(s, x):
        return half(s) + x * W[0, 0], s

    args = tensor(1.0, "float64"), draw(4)
    for got, want in zip(
        grads(scan, f, *args, 1, False), grads(loop, f, *args, 1, False), strict=True
    ):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-12)


def test_reading_the_loss_first_changes_nothing():
    f, state, xs = CASES["rnn"]
    W.grad[...] = 0
    loss = scalar(scan(f, state, xs))
    float(loss)
    back(loss)
    once = np.array(W.grad)
    W.grad[...] = 0
    back(scalar(scan(f, state, xs)))
    assert np.array_equal(once, np.asarray(W.grad))
    W.grad[...] = 0


def scans():
    """The scans of the plan that ran last, each by its number of steps."""
    kernels = [line.split() for line in fluxrs._core.explain().splitlines()]
    return [int(words[1]) for words in kernels if words[0].isdigit() and "scan" in words]


def test_a_loss_that_is_read_first_runs_nothing_twice():
    f, state, xs = CASES["rnn"]
    for p in (W, U, b):
        p.grad[...] = 0
    loss = scalar(scan(f, state, xs))
    float(loss)
    assert scans() == [T]
    back(loss)
    evaluate(W.grad, U.grad, b.grad)
    assert scans() == [T]  # the one of the gradient
    for p in (W, U, b):
        p.grad[...] = 0


def test_no_history_without_gradients():
    f, state, xs = CASES["rnn"]
    with no_grad():
        assert not fluxrs.istracked(scan(f, state, xs)[1])
    evaluate(scan(f, state, xs))


ERRORS = {
    "a value": (lambda s, x: (s if float(x) > 0 else -s, None), 0.0, [1.0], ValueError, "use where in place of if"),
    "no pair": (lambda s, x: s, 0.0, [1.0], TypeError, r"returns \(state, y\)"),
    "a shape": (lambda s, x: ({"a": s["a"], "b": stack([x, x])}, None), {"a": 0.0, "b": 1.0}, [1.0], DimensionMismatch, r"state\['b'\] had shape \(\)"),
    "a dtype": (lambda s, x: ((s[0].astype("float64"),), None), (0.0,), [1.0], TypeError, r"state\[0\] was float32"),
    "a form": (lambda s, x: ([s], None), 0.0, [1.0], TypeError, r"of the form \* and returned \[\*\]"),
    "an update": (lambda s, x: (fluxrs.update(W, 1.0), None), W, [1.0], ValueError, "cannot be written in the function of a scan"),
    "a back": (lambda s, x: (back((s * W).sum()), None), 0.0, [1.0], ValueError, "back: "),
    "a seed": (lambda s, x: (seed(1), (s, None))[1], 0.0, [1.0], ValueError, "sets the seed"),
    "batch norm": (lambda s, x: (s, BN(x)), 0.0, np.ones((2, 3, 4)), ValueError, "testing mode"),
}  # fmt: skip
BN = fluxrs.BatchNorm(4)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    f, state, xs, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        scan(f, state, tensor(xs))
    assert float(scan(lambda s, x: (s + x, None), 0.0, tensor([1.0, 2.0]))[0]) == 3.0


def test_errors_of_arguments():
    f = lambda s, x: (s, None)  # noqa: E731
    for call, kind, text in (
        (lambda: scan(f, 0.0), TypeError, "length says"),
        (lambda: scan(f, 0.0, tensor(1.0)), DimensionMismatch, "xs is a number"),
        (lambda: scan(f, 0.0, (zeros(2), zeros(3))), DimensionMismatch, r"xs\[0\] 2, xs\[1\] 3"),
        (lambda: scan(f, 0.0, zeros(2), length=3), DimensionMismatch, "xs 2, length 3"),
        (lambda: scan(f, 0.0, length=-1), ValueError, "length must be >= 0"),
        (lambda: scan(f, 0.0, length=1.5), TypeError, "whole number"),
        (
            lambda: scan(f, 0.0, length=3, checkpoint_every=0),
            ValueError,
            "checkpoint_every must be >= 1",
        ),
    ):
        with pytest.raises(kind, match=text):
            call()


def test_arguments_do_not_leak():
    leaked = []
    scan(lambda s, x: (leaked.append(s * 2), (s, None))[1], 0.0, zeros(3))
    with pytest.raises(ValueError, match="belongs to the function"):
        float(leaked[0])
    with pytest.raises(ValueError, match="argument of another scan"):
        scan(lambda s, x: (s + leaked[0], None), 0.0, zeros(3))


BATCH, WIDE = 33, 64
V, R = (param(tensor(rng.normal(size=(WIDE, n)).astype("f4") * 0.1)) for n in (WIDE, 4 * WIDE))
H1 = tensor(rng.normal(size=(BATCH, WIDE)).astype("f4"))
X1 = tensor(rng.normal(size=(T, BATCH, WIDE)).astype("f4"))


def gated(h, x):
    z = h @ R + 1
    parts = [z[:, k * WIDE : (k + 1) * WIDE] for k in range(4)]
    return tanh(parts[0] * parts[3] + x @ V) * parts[1] - parts[2]


def centred(h, axis):
    return h - h.mean(axis, keepdims=True)


def peaks(h, x):
    parts = tanh(h @ V + x).reshape(BATCH, 8, 8)
    return parts.max(-1, keepdims=True) * x.reshape(BATCH, 8, 8)


# A step of states (BATCH, WIDE), and whether each row depends on the same row alone.
BY_ROWS = {
    "gated": (gated, True),
    "along a row": (lambda h, x: centred(tanh(h @ V + x), -1), True),
    "along a part": (peaks, True),
    "parts of a row": (
        lambda h, x: tanh((h.reshape(-1, 32) @ R[:32]).reshape(BATCH, -1)[:, :WIDE] + x),
        True,
    ),
    "turned rows": (lambda h, x: tanh(h @ V + x)[:, ::-1] + h, True),
    "over the batch": (lambda h, x: centred(tanh(h @ V + x), 0), False),
    "other rows": (lambda h, x: tanh(h @ V + x)[::-1] + x, False),
    "the row before": (
        lambda h, x: fluxrs.concatenate([h[1:], h[:1]]) + tanh(h @ V + x),
        False,
    ),
    "a product of both": (lambda h, x: tanh((h @ h.T) @ (x @ V) * 0.01), False),
    "few rows": (lambda h, x: tanh(h @ V + x) + (h[:3] @ V).sum(0), False),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", BY_ROWS)
def test_batches(name, reverse, tmp_path):
    step, alone = BY_ROWS[name]

    def f(h, x):
        h = step(h, x).reshape(BATCH, WIDE)
        return h, h * 2

    with fluxrs.profile(tmp_path / "trace.json"):
        last, ys = scan(f, H1, X1, reverse=reverse)
        evaluate(last, ys)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    kernels = sum("tanh" in e["name"] for e in events)
    assert kernels % T == 0 and (kernels > T) == alone
    last_of, ys_of = loop(f, H1, X1, reverse)
    assert np.array_equal(last, last_of) and np.array_equal(ys, ys_of)
    runs = (lambda *args: scan(*args[:3], reverse=args[3])), loop
    grads = [gradient(lambda run=run: scalar(run(f, H1, X1, reverse)), Params([V])) for run in runs]
    a, b = (np.asarray(g[V]) for g in grads)
    assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


def test_a_step_that_gives_its_state_keeps_it_once():
    with no_grad():
        h, ys = scan(lambda h, x: (tanh(h @ V + x),) * 2, H1, X1)
        evaluate(h, ys)
    assert "scan part part " in fluxrs._core.explain() and " copy " not in fluxrs._core.explain()
    want = loop(lambda h, x: (tanh(h @ V + x),) * 2, H1, X1)
    assert np.array_equal(h, want[0]) and np.array_equal(ys, want[1])


def test_another_length_plans_no_step_anew():
    h = zeros(BATCH, WIDE)

    def steps(n):
        before = fluxrs._core.counters()["steps"]
        _, ys = scan(lambda h, x: (gated(h, x),) * 2, h, zeros(n, BATCH, WIDE))
        back((ys**2).mean())
        V.grad = None
        evaluate(R.grad)
        R.grad = None
        return fluxrs._core.counters()["steps"] - before

    first, *others = [steps(n) for n in (41, 43, 47, 53)]
    assert max(others) < 0.8 * first


def test_rows_of_a_table_are_taken_at_once():
    table = param(draw(7, H))
    index = tensor(rng.integers(0, 7, size=(T, N)))

    def run(how):
        return how(lambda h, i: (tanh(h @ U + fluxrs.take(table, i, axis=0)),) * 2, H0, index)

    grads = [
        gradient(lambda how=how: scalar(run(how)), Params([table]))[table] for how in (scan, loop)
    ]
    np.testing.assert_allclose(*grads, rtol=1e-9)
    evaluate(gradient(lambda: scalar(run(scan)), Params([table]))[table])
    plan = fluxrs._core.explain().splitlines()
    takes = [line for line in plan if " take " in line or "scatter_add " in line]
    assert [line[:5].strip().isdigit() for line in takes] == [True, True], plan  # none of a step


@pytest.mark.parametrize(("every", "growth"), [(False, 2), (True, 1.6)])
def test_memory_of_long_scans(every, growth):
    """Bytes of the states of a gradient: linear in the steps, with checkpoints in their root."""

    def bytes_of(n):
        k = round(n**0.5) if every else None
        xs, h = tensor(np.full((n, 1), 0.1)), zeros(256).astype("float64") + 0.1
        g = gradient(
            lambda x: scan(lambda h, x: (tanh(h * h + x), None), h, x, checkpoint_every=k)[0].sum(),
            xs,
        )
        evaluate(g)
        found = re.search(r"at most ([\d.]+) (k?M?B) of temp", fluxrs._core.explain())
        return float(found[1]) * {"B": 1, "kB": 1e3, "MB": 1e6}[found[2]]

    one, two = bytes_of(1024), bytes_of(2048)
    assert one < 200 * 256 * 8 if every else one > 1000 * 256 * 8
    assert two <= growth * one * 1.05
