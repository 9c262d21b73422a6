"""Attention against its formula in NumPy, with gradients of two orders."""

import re

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    Chain,
    DimensionMismatch,
    MultiHeadAttention,
    attention,
    gradcheck,
    gradient,
    params,
    rand,
)

rng = np.random.default_rng(0)


def formula(q, k, v, mask=None, causal=False):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(max(q.shape[-1], 1))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    t, s = scores.shape[-2:]
    if causal:
        scores = np.where(np.arange(s) + t <= np.arange(t)[:, None] + s, scores, -np.inf)
    most = scores.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isfinite(most), most, 0))
    total = weights.sum(-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total != 0) @ v


# leading axes, queries, keys, features, features of the values
SHAPES = [
    ((), 3, 4, 5, 2), ((2,), 7, 7, 3, 3), ((2, 3), 5, 9, 4, 6), ((2,), 9, 5, 4, 3), ((1,), 70, 130, 8, 8),
    ((2,), 0, 3, 2, 2), ((2,), 3, 0, 2, 2), ((2,), 3, 3, 0, 2), ((2,), 3, 3, 2, 0), ((0,), 3, 3, 2, 2), ((), 1, 1, 1, 1),
]  # fmt: skip


def operands(lead, t, s, d, e):
    return (
        rng.normal(size=(*lead, t, d)),
        rng.normal(size=(*lead, s, d)),
        rng.normal(size=(*lead, s, e)),
    )


def masks(t, s):
    return [None, rng.random((t, s)) < 0.6, rng.normal(size=(t, s)), np.zeros((t, s), bool)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_is_its_formula(shape, causal):
    qkv = operands(*shape)
    for mask in masks(*shape[1:3]):
        want = formula(*qkv, mask, causal)
        np.testing.assert_allclose(attention(*qkv, mask, causal), want, rtol=1e-10, atol=1e-12)
        single = [x.astype("float32") for x in qkv]
        got = attention(*single, mask=mask, causal=causal)
        assert got.dtype == "float32"
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[1] < 70])
def test_gradients_of_two_orders(shape, causal):
    qkv = operands(*shape)
    for mask in masks(*shape[1:3]):
        weigh = rng.normal(size=(*shape[0], shape[1], shape[4]))
        learnt = [mask] if mask is not None and mask.dtype != bool else []

        def f(q, k, v, *m, mask=mask, weigh=weigh):
            return (attention(q, k, v, m[0] if m else mask, causal) * weigh).sum()

        assert gradcheck(f, *qkv, *learnt)
        slopes = lambda *xs: sum((g**2).sum() for g in gradient(f, *xs))  # noqa: E731, B023
        assert gradcheck(slopes, *qkv, *learnt)


def test_third_order():
    q, k, v = operands((), 2, 3, 2, 1)
    first = lambda q: (gradient(lambda q: (attention(q, k, v) ** 2).sum(), q)[0] ** 2).sum()  # noqa: E731
    assert gradcheck(lambda q: (gradient(first, q)[0] ** 2).sum(), q)


def test_leading_axes_broadcast():
    q, k, v = rng.normal(size=(2, 1, 4, 3)), rng.normal(size=(5, 6, 3)), rng.normal(size=(6, 2))
    mask = rng.random((3, 1, 1, 4, 6)) < 0.7
    want = formula(*np.broadcast_arrays(q, np.zeros((3, 2, 5, 1, 1)))[:1], k, v, mask)
    np.testing.assert_allclose(attention(q, k, v, mask), want, rtol=1e-10)
    slopes = gradient(lambda q, k, v: (attention(q, k, v, mask) ** 2).sum(), q, k, v)
    assert [g.shape for g in slopes] == [q.shape, k.shape, v.shape]


def test_gradients_by_blocks_are_those_of_one():
    """Scores beyond a block: (8, 1024, 1024) of them are gone through in two."""
    q, k, v = (fluxrs.tensor(rng.normal(size=(8, 1024, 2)).astype("float32")) for _ in range(3))
    for causal in (False, True):
        whole = gradient(lambda q, k, v: (attention(q, k, v, causal=causal) ** 2).sum(), q, k, v)
        half = gradient(
            lambda q, k, v: sum((attention(q[i : i + 4], k[i : i + 4], v[i : i + 4], causal=causal) ** 2).sum() for i in (0, 4)),
            q, k, v,
        )  # fmt: skip
        for a, b in zip(whole, half, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def plan(*xs):
    """The kernels of a plan, and its memory for values within it in bytes."""
    text = fluxrs._core.explain(*xs)
    kernels, amount, unit = re.search(
        r"(\d+) kernels?,.*at most ([\d.]+) (\w+) of temp", text
    ).groups()
    return int(kernels), float(amount) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def test_scores_are_in_the_products_kernels_and_there_for_a_block_at_a_time():
    def gradients(n, t):
        q, k, v = (rand(n, t, 16) for _ in range(3))
        fluxrs.evaluate(q, k, v)
        assert plan(attention(q, k, v, causal=True)) == (1, 0)
        return plan(*gradient(lambda q, k, v: attention(q, k, v).sum(), q, k, v))

    # Beside the five products and the kernel itself: the seed, which is laid beside a zero, and a mean.
    assert gradients(2, 64)[0] <= 11
    scores = 4 * 8 * 2048**2
    assert gradients(8, 2048)[1] < 0.6 * scores


def test_a_long_sequence_needs_no_square():
    """Scores of 2^34 elements would not fit."""
    q = fluxrs.zeros(1 << 17, 1)
    y = attention(q, q[:4], q[:4])
    assert y.shape == (1 << 17, 1)
    y = attention(q[:4], q, fluxrs.ones(1 << 17, 1), causal=True)
    np.testing.assert_allclose(y, np.ones((4, 1)), rtol=1e-5)


def test_huge_scores_and_nan():
    q = np.array([[1000.0], [-1000.0]])
    np.testing.assert_allclose(attention(q, q, q), [[1000.0], [-1000.0]])
    v = np.array([[1.0], [np.nan]])
    assert np.isnan(np.asarray(attention(q, q, v))).all()
    np.testing.assert_array_equal(np.isnan(attention(v, q, q)).ravel(), [False, True])
    assert attention(np.array([[1]]), [[1]], [[2]]).dtype == "float32"
    np.testing.assert_allclose(attention(q, q, [[1.0], [3.0]], scale=0.0), [[2.0], [2.0]])


WRONG = {
    "features": (lambda: attention(rand(2, 3), rand(2, 4), rand(2, 3)), DimensionMismatch, r"k is \(…, s, d\).*got shapes \(2, 3\), \(2, 4\), \(2, 3\)"),
    "keys": (lambda: attention(rand(2, 3), rand(2, 3), rand(4, 3)), DimensionMismatch, "got shapes"),
    "axes": (lambda: attention(rand(3), rand(2, 3), rand(2, 3)), DimensionMismatch, "got shapes"),
    "lead": (lambda: attention(rand(2, 2, 3), rand(3, 2, 3), rand(2, 3)), DimensionMismatch, "attention"),
    "mask": (lambda: attention(rand(2, 3), rand(4, 3), rand(4, 3), rand(3, 4)), DimensionMismatch, "attention"),
    "mask of other lengths": (lambda: attention(rand(1, 3), rand(1, 3), rand(1, 3), rand(2, 2)), DimensionMismatch, r"a mask of shape \(2, 2\) does not broadcast to \(…, 1, 1\)"),
    "scale": (lambda: attention(rand(2, 3), rand(2, 3), rand(2, 3), scale=float("inf")), ValueError, "finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_the_shapes(name):
    call, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        call()


def heads(m, x, k, v, mask=None):
    """MultiHeadAttention head by head, in float64."""
    n = m.q.W.shape[0] // m.heads
    q, k, v = (
        t @ np.asarray(d.W, "float64").T + np.asarray(d.b, "float64")
        for t, d in ((x, m.q), (k, m.k), (v, m.v))
    )
    parts = []
    for h in range(m.heads):
        cut = slice(h * n, (h + 1) * n)
        seen = (
            None
            if mask is None
            else np.broadcast_to(mask, (*x.shape[:-2], m.heads, *mask.shape[-2:]))
        )
        seen = None if seen is None else seen[..., h, :, :]
        parts.append(formula(q[..., cut], k[..., cut], v[..., cut], seen, m.causal))
    return np.concatenate(parts, -1) @ np.asarray(m.out.W, "float64").T + np.asarray(
        m.out.b, "float64"
    )


@pytest.mark.parametrize("causal", [False, True])
def test_several_heads_are_their_loop(causal):
    m = MultiHeadAttention(12, 3, causal=causal)
    x, y, z = rng.normal(size=(2, 5, 12)), rng.normal(size=(2, 7, 12)), rng.normal(size=(2, 7, 12))
    mask = rng.random((2, 1, 5, 7)) < 0.7
    for got, want in [
        (m(x), heads(m, x, x, x)),
        (m(x[0]), heads(m, x[0], x[0], x[0])),
        (m(x, y), heads(m, x, y, y)),
        (m(x, y, z, mask=mask), heads(m, x, y, z, mask)),
        (m(np.zeros((2, 0, 12))), np.zeros((2, 0, 12))),
    ]:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_the_layer_has_its_parameters_prints_saves_and_loads(tmp_path):
    m = Chain(MultiHeadAttention(8, 2, causal=True), MultiHeadAttention(8, 4, bias=False))
    assert repr(m) == "Chain(MultiHeadAttention(8, 2, causal=True), MultiHeadAttention(8, 4))"
    assert len(params(m)) == 12
    x = rng.normal(size=(3, 5, 8)).astype("float32")
    grads = gradient(lambda: (m(x) ** 2).sum(), params(m))
    # A bias of all keys alike changes no weight.
    assert all(np.abs(np.asarray(grads[p])).max() > 1e-6 for p in params(m) if p is not m[0].k.b)
    fluxrs.save(tmp_path / "m", m=m)
    again = fluxrs.load(tmp_path / "m")["m"]
    assert repr(again) == repr(m)
    np.testing.assert_array_equal(again(x), m(x))
    with pytest.raises(ValueError, match="MultiHeadAttention: 8 features do not fall into 3 heads"):
        MultiHeadAttention(8, 3)
    with pytest.raises(
        DimensionMismatch,
        match=r"Chain\[0\] MultiHeadAttention\(8, 2, causal=True\): Dense\(8, 8\) takes",
    ):
        m(rand(3, 5, 7))
