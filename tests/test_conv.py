"""Convolutions: values, gradients, shapes, layers and what they refuse."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxrs
from fluxrs import (
    Chain,
    Conv,
    ConvTranspose,
    DepthwiseConv,
    DimensionMismatch,
    conv,
    conv_transpose,
    depthwiseconv,
    gradient,
    params,
    relu,
)

rng = np.random.default_rng(0)


def loops(x, w, stride, pad, dilation, groups):
    """The sums, written out: every product of an element of x with margins and one of w."""
    d = w.ndim - 2
    wide = np.pad(x, [(0, 0), (0, 0), *pad])
    k, c = w.shape[0], w.shape[1]
    out_size = [
        (wide.shape[2 + i] - (w.shape[2 + i] - 1) * dilation[i] - 1) // stride[i] + 1
        for i in range(d)
    ]
    y = np.zeros((x.shape[0], k, *out_size))
    for o in np.ndindex(*out_size):
        for j in np.ndindex(*w.shape[2:]):
            at = tuple(o[i] * stride[i] + j[i] * dilation[i] for i in range(d))
            for g in range(groups):
                ks, cs = slice(g * k // groups, (g + 1) * k // groups), slice(g * c, (g + 1) * c)
                y[(slice(None), ks, *o)] += (
                    wide[(slice(None), cs, *at)] @ w[(ks, slice(None), *j)].T
                )
    return y


COMBINATIONS = list(
    itertools.product(
        [1, 2, 3],
        [0, 1, (2, 0), "same"],
        [1, 2],
        [1, 2],
        [((7,), (3,)), ((8,), (2,)), ((5, 6), (3, 2)), ((5, 5), (1, 1)), ((4, 3, 5), (2, 1, 3))],
    )
)


def operands(groups, size, kernel, batch=2):
    x = rng.normal(size=(batch, 2 * groups, *size))
    return x, rng.normal(size=(4, 2, *kernel))


@pytest.mark.parametrize(("stride", "pad", "dilation", "groups", "sizes"), COMBINATIONS)
def test_values_and_two_gradients(stride, pad, dilation, groups, sizes):
    size, kernel = sizes
    d = len(size)
    if isinstance(pad, tuple):
        pad = [pad] * d
    x, w = operands(groups, size, kernel)
    spread = [(k - 1) * dilation for k in kernel]
    sides = {"same": [(n // 2, n - n // 2) for n in spread]}.get(pad) if pad == "same" else pad
    sides = [(sides, sides)] * d if isinstance(sides, int) else sides
    options = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    if any(n + sum(p) <= k for n, p, k in zip(size, sides, spread, strict=True)):
        with pytest.raises(DimensionMismatch, match="does not fit into"):
            conv(x, w, **options)
        return
    y = conv(x, w, **options)
    want = loops(x, w, [stride] * d, sides, [dilation] * d, groups)
    assert y.dtype == "float64"
    np.testing.assert_allclose(y, want, atol=1e-12)
    np.testing.assert_allclose(conv(x[0], w, **options), want[0], atol=1e-12)
    # It is linear in each: its gradients are found by any other x or w.
    v, u, g = rng.normal(size=x.shape), rng.normal(size=w.shape), rng.normal(size=want.shape)
    dx, dw = gradient(lambda x, w: (conv(x, w, **options) * g).sum(), x, w)
    along = lambda x, w: (loops(x, w, [stride] * d, sides, [dilation] * d, groups) * g).sum()
    assert np.vdot(dx, v) == pytest.approx(along(v, w), rel=1e-9, abs=1e-9)
    assert np.vdot(dw, u) == pytest.approx(along(x, u), rel=1e-9, abs=1e-9)


SAMPLES = [
    ({"stride": 2, "pad": 1}, (2, 2, 5), (3, 2, 3)),
    ({"stride": 3, "dilation": 2, "pad": 2}, (1, 4, 8), (2, 2, 3)),
    ({"stride": 2}, (1, 2, 4, 4), (2, 2, 2, 2)),
    ({"stride": (1, 2), "pad": ((0, 1), (1, 0))}, (2, 2, 3, 4), (2, 2, 2, 3)),
    ({"pad": 1}, (1, 1, 2, 3, 2), (2, 1, 1, 2, 2)),
]


@pytest.mark.parametrize(("options", "xs", "ws"), SAMPLES)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_gradients_of_three_orders(options, xs, ws, order):
    """Each against central differences of the one before."""
    groups = xs[1] // ws[1]
    x, w = rng.normal(size=xs), rng.normal(size=ws)

    def f(x, w):
        return (conv(x, w, groups=groups, **options) ** 3).sum()

    def derivative(f, k):
        """Σ v · ∂f by x (k = 0) or w."""
        v = np.random.default_rng(k).normal(size=(xs, ws)[k])
        return lambda x, w: (gradient(f, x, w)[k] * v).sum()

    for k in range(order - 1):
        f = derivative(f, k % 2)
    for k, (a, g) in enumerate(zip((x, w), gradient(f, x, w), strict=True)):
        v, h = rng.normal(size=a.shape), 1e-5
        moved = [[x, w], [x, w]]
        moved[0][k], moved[1][k] = a + h * v, a - h * v
        slope = (float(f(*moved[0])) - float(f(*moved[1]))) / (2 * h)
        assert float((g * v).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("options", "xs", "ws"), SAMPLES)
def test_transposed_is_the_gradient(options, xs, ws):
    groups = xs[1] // ws[1]
    x, w = rng.normal(size=xs), rng.normal(size=ws)
    y = conv(x, w, groups=groups, **options)
    g = rng.normal(size=y.shape)
    (dx,) = gradient(lambda x: (conv(x, w, groups=groups, **options) * g).sum(), x)
    back = conv_transpose(g, w, groups=groups, **options)
    # What the stride leaves over behind is not made.
    kept = tuple(map(slice, back.shape))
    np.testing.assert_allclose(back, np.asarray(dx)[kept], atol=1e-12)


@given(
    n=st.integers(0, 3),
    groups=st.integers(1, 3),
    axes=st.lists(
        st.tuples(
            st.integers(1, 9),
            st.integers(1, 4),
            st.integers(1, 4),
            st.integers(1, 3),
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
        ),
        min_size=1,
        max_size=3,
    ),
)
@settings(max_examples=100, deadline=None)
def test_shapes(n, groups, axes):
    size, kernel, stride, dilation, pad = zip(*axes, strict=True)
    x, w = fluxrs.ones(n, 2 * groups, *size), fluxrs.ones(3 * groups, 2, *kernel)
    options = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    want = [
        (s + sum(p) - (k - 1) * d - 1) // t + 1
        for s, k, t, d, p in zip(size, kernel, stride, dilation, pad, strict=True)
    ]
    if min(want) < 1:
        with pytest.raises(DimensionMismatch):
            conv(x, w, **options)
        return
    y = conv(x, w, **options)
    assert y.shape == (n, 3 * groups, *want)
    assert np.asarray(y).shape == y.shape
    wide = [
        (m - 1) * t + (k - 1) * d + 1 - sum(p)
        for m, k, t, d, p in zip(want, kernel, stride, dilation, pad, strict=True)
    ]
    if min(wide) < 1:
        with pytest.raises(DimensionMismatch, match="nothing is left"):
            conv_transpose(y, w, **options)
        return
    back = conv_transpose(y, w, **options)
    assert back.shape == (n, 2 * groups, *wide)
    assert np.asarray(back).shape == back.shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 3, 20, 33), (20, 3, 3, 3), {"pad": 1}),
        ((1, 40, 17, 19), (7, 40, 5, 5), {"stride": 2, "pad": 2}),
        ((3, 48, 9, 40), (48, 1, 3, 3), {"groups": 48, "pad": 1}),
        ((2, 8, 100), (70, 8, 9), {"dilation": 3}),
        ((4, 33, 8, 8), (65, 33, 1, 1), {}),
        ((4, 33, 8, 8), (65, 33, 1, 1), {"stride": 2}),
        ((2, 3, 9, 9), (5, 3, 3, 3), {"pad": ((0, 1), (2, 0)), "stride": (1, 3)}),
    ],
)
def test_large(x, w, options, dtype):
    """Beyond vectors, panels and pieces of sums, of both widths."""
    x, w = rng.normal(size=x).astype(dtype), rng.normal(size=w).astype(dtype)
    d = w.ndim - 2
    sides = options.get("pad", 0)
    sides = [(sides, sides)] * d if isinstance(sides, int) else sides
    each = lambda name: [o] * d if isinstance(o := options.get(name, 1), int) else o
    f = lambda x, w: loops(x, w, each("stride"), sides, each("dilation"), options.get("groups", 1))
    want = f(x.astype("float64"), w.astype("float64"))
    y = conv(x, w, **options)
    assert y.dtype == dtype
    close = 1e-3 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(y, want, atol=close)
    g = rng.normal(size=want.shape).astype(dtype)
    v, u = rng.normal(size=x.shape), rng.normal(size=w.shape)
    dx, dw = gradient(lambda x, w: (conv(x, w, **options) * g).sum(), x, w)
    scale = np.sqrt(x.size)
    assert np.vdot(dx, v) == pytest.approx((f(v, w) * g).sum(), abs=close * scale)
    assert np.vdot(dw, u) == pytest.approx((f(x, u) * g).sum(), abs=close * scale)


def test_operands_are_read_where_they_lie():
    x, w = rng.normal(size=(5, 6, 2, 3)), rng.normal(size=(3, 3, 4, 2))
    y = conv(
        fluxrs.tensor(x).transpose(3, 2, 1, 0)[:, :, ::-1],
        fluxrs.tensor(w).transpose(2, 3, 0, 1)[..., 1:],
    )
    want = conv(
        np.ascontiguousarray(x.transpose(3, 2, 1, 0)[:, :, ::-1]),
        np.ascontiguousarray(w.transpose(2, 3, 0, 1)[..., 1:]),
    )
    np.testing.assert_array_equal(y, want)


def test_integers():
    x, w = rng.integers(-5, 5, (2, 3, 7)), rng.integers(-5, 5, (4, 3, 2))
    y = conv(x, w)
    assert y.dtype == "int64"
    np.testing.assert_array_equal(y, loops(x, w, [1], [(0, 0)], [1], 1))
    assert Conv(2, (3, 4))(x).dtype == "float32"


def test_layers():
    c = Conv((3, 3), (2, 4), relu, stride=2, pad=1, dilation=2)
    x = rng.normal(size=(2, 2, 9, 9)).astype("float32")
    want = conv(x, c.W, stride=2, pad=1, dilation=2) + c.b.reshape(4, 1, 1)
    np.testing.assert_array_equal(c(x), relu(want))
    np.testing.assert_array_equal(c(x[0]), c(x)[0])
    assert c(x.astype("float64")).dtype == "float32"
    assert [p.shape for p in params(c)] == [(4, 2, 3, 3), (4,)]
    d = DepthwiseConv((2, 3), (2, 6))
    np.testing.assert_array_equal(d(x), depthwiseconv(x, d.W) + d.b.reshape(6, 1, 1))
    assert d.W.shape == (6, 1, 2, 3)
    t = ConvTranspose((3, 3), (2, 4), stride=3, pad="same")
    assert t.W.shape == (2, 4, 3, 3)
    assert t(x).shape == (2, 4, 27, 27)
    assert ConvTranspose((2, 2), (2, 4), stride=3, pad="same")(x).shape == (2, 4, 27, 27)
    given = Conv(c.W, c.b, fluxrs.tanh, pad="same")
    assert given(x).shape == (2, 4, 9, 9)
    assert given.W is c.W
    edge = np.sqrt(6 / ((2 + 4) * 9))
    assert 0.8 * edge < np.abs(c.W).max() < edge
    assert not np.any(c.b)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv((2, 2), (3, 16)), "Conv((2, 2), (3, 16))"),
        (Conv((2, 2), (3, 16), relu), "Conv((2, 2), (3, 16), relu)"),
        (Conv(5, (1, 4), stride=2, pad="same"), "Conv(5, (1, 4), stride=2, pad='same')"),
        (Conv([3], (4, 8), groups=4, dilation=(2,)), "Conv(3, (4, 8), dilation=(2,), groups=4)"),
        (DepthwiseConv((3, 3), 4, pad=1), "DepthwiseConv((3, 3), (4, 4), pad=1)"),
        (ConvTranspose((2, 2), (4, 2), stride=2), "ConvTranspose((2, 2), (4, 2), stride=2)"),
        (Conv((3, 3), (2, 4), bias=False), "Conv((3, 3), (2, 4), bias=False)"),
    ],
)
def test_repr_and_copies(layer, text, tmp_path):
    assert repr(layer) == text
    assert repr(copy.deepcopy(layer)) == text
    x = rng.normal(size=(1, layer._channels()[0], *[6] * (layer.W.ndim - 2)))
    want = layer(x)
    fluxrs.save(tmp_path / "m", m=layer)
    np.testing.assert_array_equal(fluxrs.load(tmp_path / "m")["m"](x), want)
    other = copy.deepcopy(layer)
    params(other)[0].data = 0 * params(other)[0]
    fluxrs.save_weights(tmp_path / "w", layer)
    fluxrs.load_weights(tmp_path / "w", other)
    np.testing.assert_array_equal(other(x), want)


X = fluxrs.ones(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("f", "kind", "text"),
    [
        (
            lambda: Chain(Conv((3, 3), (3, 4)), Conv((3, 3), (5, 4)))(X),
            DimensionMismatch,
            r"Chain\[1\] Conv\(\(3, 3\), \(5, 4\)\): the input has 4 channels, the kernel takes 5: shapes \(1, 4, 6, 6\) and \(4, 5, 3, 3\)",
        ),
        (
            lambda: Chain(Conv((9, 9), (3, 4)))(X),
            DimensionMismatch,
            r"Chain\[0\] Conv\(\(9, 9\), \(3, 4\)\): the kernel \(9, 9\) does not fit into the input \(8, 8\)$",
        ),
        (lambda: Conv((4, 4), (3, 4), dilation=4, pad=1)(X), DimensionMismatch, r"\(4, 4\), dilated, does not fit .* with its margins"),
        (lambda: Conv(3, (3, 4))(X), DimensionMismatch, r"Conv\(3, \(3, 4\)\): 1 spatial axes are wanted: .*\(4, 3, 3\) and \(1, 3, 8, 8\)"),
        (lambda: Chain(DepthwiseConv(2, 3))(X[0]), DimensionMismatch, r"Chain\[0\] DepthwiseConv\(2, \(3, 3\)\): 3 groups do not divide 8 channels of the input"),
        (lambda: Chain(ConvTranspose((2, 2), (4, 3)))(X), DimensionMismatch, r"Chain\[0\] ConvTranspose\(.*\): the input has 3 channels, the kernel takes 4"),
        (lambda: Conv((3, 3), (3, 4), groups=2), DimensionMismatch, "Conv: 2 groups do not divide the channels, 3 in and 4 out"),
        (lambda: conv(X, fluxrs.ones(4, 1, 2, 2), groups=3), DimensionMismatch, "conv: 3 groups do not divide 4 channels of the result"),
        (lambda: conv(X, fluxrs.ones(4, 1, 2, 2), groups=2), DimensionMismatch, "conv: 2 groups do not divide 3 channels of the input"),
        (lambda: conv(X, fluxrs.ones(4, 2, 2, 2)), DimensionMismatch, "conv: the input has 3 channels, the kernel takes 2"),
        (lambda: conv(X, fluxrs.ones(4, 2)), DimensionMismatch, "conv: a kernel has one to three spatial axes"),
        (lambda: conv(X, fluxrs.ones(4, 3, 2, 2), groups=0), ValueError, "conv: groups must be >= 1, got 0"),
        (lambda: Conv((3, 3), (3, 4), stride=(1, 2, 3)), TypeError, "Conv: stride is one number or 2 of them"),
        (lambda: Conv((3, 3), (3, 4), stride=0), ValueError, "Conv: stride must be >= 1, got 0"),
        (lambda: Conv((3, 3), (3, 4), pad="valid"), ValueError, "Conv: pad"),
        (lambda: Conv((3, 3), 4), TypeError, r"Conv: channels are a pair \(in, out\), got 4"),
        (lambda: Conv((3, 0), (3, 4)), ValueError, "Conv: the kernel's size must be >= 1"),
        (lambda: Conv((3, 3, 3, 3), (3, 4)), DimensionMismatch, "one to three spatial axes"),
        (lambda: Conv(fluxrs.ones(4, 3, 2, 2), fluxrs.ones(3)), DimensionMismatch, r"Conv\(W, b\): W is \(out, in / groups, …\)"),
        (lambda: Conv((3, 3), (3, 4), "relu"), TypeError, "Conv: the activation σ is 'relu'"),
        (lambda: Conv((3, 3), (3, 4), padding=1), TypeError, "no keyword 'padding'; did you mean pad"),
        (lambda: DepthwiseConv((3, 3), (3, 6), groups=3), TypeError, "DepthwiseConv has no keyword 'groups'"),
        (lambda: fluxrs.Conv2d, AttributeError, "Conv"),
    ],
)  # fmt: skip
def test_what_is_refused(f, kind, text):
    with pytest.raises(kind, match=text):
        f()


def test_a_small_net_learns():
    fluxrs.seed(0)
    x = rng.normal(size=(64, 1, 8, 8)).astype("float32")
    y = (x[:, :, 2:4, 2:4].mean(axis=(1, 2, 3)) > 0).astype(int)
    m = Chain(
        Conv((3, 3), (1, 8), relu, pad=1),
        Conv((2, 2), (8, 8), relu, stride=2),
        lambda x: x.reshape(len(x), -1),
        fluxrs.Dense(128, 2),
    )
    loss = lambda: fluxrs.logitcrossentropy(m(x), fluxrs.onehotbatch(y, range(2)))
    opt = fluxrs.ADAM(params(m), 0.01)
    for _ in range(80):
        opt(gradient(loss, params(m)))
    assert fluxrs.accuracy(m(x), y) == 1


@pytest.mark.parametrize("follows", ["relu(c)", "n(c)", "relu(n(c) + x)"])
def test_what_follows_runs_in_its_kernel(follows):
    """Bias, activation, a residual sum and batch norm's affine in testing mode, whose roots are few."""
    layer, n = Conv((3, 3), (4, 4), pad=1), fluxrs.testmode(fluxrs.BatchNorm(4, relu))
    x = fluxrs.ones(2, 4, 8, 8)
    fluxrs.evaluate(x)
    with fluxrs.no_grad():
        y = eval(follows, {"relu": relu, "n": n, "c": layer(x), "x": x})
        *before, last = fluxrs.explain(y).splitlines()
    assert "convolution" in last
    assert last.split("reads")[0].rstrip().endswith("relu")
    assert all("elementwise 4 " in line for line in before[1:])
