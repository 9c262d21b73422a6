"""Pooling and upsampling against loops in NumPy, with gradients to second order."""

import itertools

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    AdaptiveMeanPool,
    Chain,
    Dense,
    DimensionMismatch,
    GlobalMaxPool,
    GlobalMeanPool,
    MaxPool,
    MeanPool,
    gradcheck,
    gradient,
    maxpool,
    meanpool,
    rand,
    upsample,
)

rng = np.random.default_rng(0)


def pooled(kind, x, k, stride, pad):
    """The same by a loop over windows, in float64."""
    lead, spatial = x.shape[: -len(k)], x.shape[-len(k) :]
    fill = -np.inf if kind == "max" else 0.0
    wide = np.pad(x.astype("float64"), [(0, 0)] * len(lead) + list(pad), constant_values=fill)
    out = [
        (n + a + b - k) // s + 1 for n, (a, b), k, s in zip(spatial, pad, k, stride, strict=True)
    ]
    y = np.empty((*lead, *out))
    for at in itertools.product(*map(range, out)):
        window = wide[
            (..., *(slice(i * s, i * s + n) for i, s, n in zip(at, stride, k, strict=True)))
        ]
        axes = tuple(range(len(lead), x.ndim))
        y[(..., *at)] = window.max(axes) if kind == "max" else window.mean(axes)
    return y


POOLS = {"max": maxpool, "mean": meanpool}
SHAPES = [
    ((2, 3, 9), (2,), (2,), ((0, 0),)),
    ((3, 9), (4,), (1,), ((3, 2),)),
    ((2, 3, 6, 8), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((1, 2, 7, 5), (3, 2), (2, 3), ((1, 1), (0, 1))),
    ((2, 5, 5), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((2, 1, 4, 5, 3), (2, 3, 1), (1, 2, 2), ((1, 0), (2, 2), (0, 0))),
    ((2, 3, 4, 2), (3, 4, 2), (1, 1, 1), ((2, 0), (0, 0), (1, 1))),
    ((1, 1, 1, 1), (1, 1), (1, 1), ((0, 0), (0, 0))),
    ((1, 2, 3, 200), (2, 5), (1, 1), ((0, 0), (2, 2))),
    ((0, 3, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((2, 0, 4), (2,), (2,), ((0, 0),)),
]


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize(("shape", "k", "stride", "pad"), SHAPES)
def test_pools_are_their_loops(kind, shape, k, stride, pad):
    for dtype in ("float32", "float64"):
        x = rng.normal(size=shape).astype(dtype)
        y = POOLS[kind](x, k, stride=stride, pad=pad)
        assert y.dtype == dtype
        np.testing.assert_allclose(
            y,
            pooled(kind, x, k, stride, pad),
            rtol=1e-6 if dtype == "float32" else 1e-13,
            atol=1e-6,
        )


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize(("shape", "k", "stride", "pad"), [s for s in SHAPES if 200 not in s[0]])
def test_gradients_of_two_orders(kind, shape, k, stride, pad):
    x = rng.permutation(int(np.prod(shape))).reshape(shape) * 0.37
    f = POOLS[kind]
    w = rng.normal(size=f(x, k, stride=stride, pad=pad).shape)
    assert gradcheck(lambda x: (f(x, k, stride=stride, pad=pad) ** 2 * w).sum(), x)
    cube = lambda x: (f(x, k, stride=stride, pad=pad) ** 3 * w).sum()  # noqa: E731
    assert gradcheck(lambda x: (gradient(cube, x)[0] ** 2).sum(), x)


def test_every_combination_of_a_small_image():
    for n, k, s in itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2, 3)):
        for a, b in itertools.product(range(k), range(k)):
            if k <= n + a + b:
                x = rng.normal(size=(2, 2, n, 4))
                window = ((k, 2), (s, 1), ((a, b), (1, 0)))
                for kind, f in POOLS.items():
                    y = f(x, window[0], stride=window[1], pad=window[2])
                    np.testing.assert_allclose(y, pooled(kind, x, *window), rtol=1e-12)


def test_arguments_have_short_forms():
    x = rand(2, 3, 8, 8)
    same = [
        (maxpool(x, 2), maxpool(x, (2, 2), stride=(2, 2), pad=((0, 0), (0, 0)))),
        (maxpool(x, 3, pad=1, stride=2), maxpool(x, (3, 3), pad=(1, 1), stride=(2, 2))),
        (
            meanpool(x, (3, 2), pad="same", stride=1),
            meanpool(x, (3, 2), pad=((1, 1), (0, 1)), stride=1),
        ),
        (maxpool(x, (2, 2))[0], maxpool(x[0], (2, 2))),
        (MaxPool(2)(x), maxpool(x, 2)),
        (MeanPool((2, 3), pad=(1, 0), stride=1)(x), meanpool(x, (2, 3), pad=(1, 0), stride=1)),
        (GlobalMaxPool()(x), x.max(axis=(2, 3), keepdims=True)),
        (GlobalMeanPool()(x), x.mean(axis=(2, 3), keepdims=True)),
    ]
    for got, want in same:
        np.testing.assert_array_equal(got, want)
    assert maxpool([[[1, 3, 2]]], 2).tolist() == [[[3.0]]]
    assert maxpool(np.array([[[1, 3, 2, 7]]]), 2).dtype == "int64"
    assert meanpool(np.array([[[1, 4]]]), 2).tolist() == [[[2.5]]]


def test_equal_maxima_padding_nan_and_infinity():
    x = np.array([[[2.0, 2.0, 2.0, 1.0, 1.0]]])
    g = gradient(lambda x: maxpool(x, 3, stride=1).sum(), x)[0]
    np.testing.assert_array_equal(g, [[[1, 1, 1, 0, 0]]])
    g = gradient(lambda x: maxpool(x, 2, pad=1).sum(), x)[0]
    np.testing.assert_array_equal(g, [[[1, 1, 0, 1, 0]]])
    assert maxpool([[[-5.0, -7.0]]], 2, pad=1).tolist() == [[[-5.0, -7.0]]]
    y = np.asarray(maxpool([[[1.0, np.nan, 2.0, 3.0, np.inf, -np.inf]]], 2, stride=1))
    np.testing.assert_array_equal(y, [[[np.nan, np.nan, 3, np.inf, np.inf]]])
    low = np.full((1, 1, 4), -np.inf)
    np.testing.assert_array_equal(maxpool(low, 2, pad=1), np.full((1, 1, 3), -np.inf))
    np.testing.assert_array_equal(
        gradient(lambda x: maxpool(x, 2).sum(), np.array([[[np.nan, np.nan]]]))[0], [[[1, 0]]]
    )


def test_windows_of_a_view_are_read_where_they_lie():
    images = rng.normal(size=(2, 6, 7, 3)).astype("float32")
    x = fluxrs.moveaxis(fluxrs.tensor(images), -1, 1)
    want = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    for f in POOLS.values():
        np.testing.assert_array_equal(f(x, 2), f(want, 2))
        assert "copy" not in fluxrs._core.explain(f(x, 2))


def shares(n, m):
    return [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]


@pytest.mark.parametrize(("n", "m"), [(6, 3), (7, 3), (3, 7), (5, 5), (1, 4), (9, 1)])
def test_adaptive_means(n, m):
    x = rng.normal(size=(2, 3, n, 5))
    y = AdaptiveMeanPool((m, 2))(x)
    for i, (a, b) in enumerate(shares(n, m)):
        for j, (c, d) in enumerate(shares(5, 2)):
            np.testing.assert_allclose(
                y[:, :, i, j], x[:, :, a:b, c:d].mean((2, 3)), rtol=1e-12, atol=1e-14
            )
    assert gradcheck(lambda x: (AdaptiveMeanPool((m, 2))(x) ** 3).sum(), x)


def linear(x, m):
    """Linear between the centres of the pixels of the last axis."""
    n = x.shape[-1]
    at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    return np.apply_along_axis(lambda row: np.interp(at, np.arange(n), row), -1, x)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (3, 7), (5, 3), (1, 3), (4, 4)])
def test_upsampling(n, m):
    x = rng.normal(size=(2, 3, 4, n))
    np.testing.assert_array_equal(upsample(x, size=(4, m)), x[..., np.arange(m) * n // m])
    want = np.moveaxis(linear(np.moveaxis(linear(x, m), 2, -1), 6), -1, 2)
    got = upsample(x, size=(6, m), mode="bilinear")
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    for mode in ("nearest", "bilinear"):
        f = lambda x: (upsample(x, size=(6, m), mode=mode) ** 3).sum()  # noqa: B023, E731
        assert gradcheck(f, x[:1, :1])
        assert gradcheck(lambda x: (gradient(f, x)[0] ** 2).sum(), x[:1, :1])  # noqa: B023
    assert upsample(x, 2).shape == (2, 3, 8, 2 * n)
    assert upsample(x, (1, 3)).shape == (2, 3, 4, 3 * n)
    assert upsample(x[..., 0], 1.5).shape == (2, 3, 6)


m = Chain(Dense(3, 1), MaxPool((2, 2)))
WRONG = {
    "no size": (lambda: MaxPool(), TypeError, r"MaxPool needs the size of its window"),
    "mean, no size": (lambda: MeanPool(), TypeError, r"MeanPool needs the size of its window"),
    "size 0": (lambda: MaxPool(0), ValueError, r"MaxPool: the window must be >= 1, got 0"),
    "stride": (lambda: MaxPool(2, stride=0), ValueError, "MaxPool: stride must be >= 1"),
    "pad": (lambda: MaxPool((2, 2), pad=(1, 2, 3)), TypeError, "MaxPool: pad is"),
    "float": (lambda: maxpool(rand(1, 1, 4), 2.0), TypeError, "maxpool: the window is one number"),
    "larger": (lambda: m(rand(1, 1, 5, 3)), DimensionMismatch, r"Chain\[1\] MaxPool\(\(2, 2\)\): maxpool: a window of 2 is larger than axis 3 of shape \(1, 1, 5, 1\), 1 with its margins"),
    "margins": (lambda: maxpool(rand(1, 1, 4), 2, pad=2), ValueError, "margins must be smaller"),
    "axes": (lambda: maxpool(rand(4), 2), DimensionMismatch, r"maxpool takes \(N, C, …\).*got shape \(4,\)"),
    "images of a tuple": (lambda: maxpool(rand(1, 2, 3, 4, 5), (2, 2)), DimensionMismatch, r"an axis for each number of \(2, 2\)"),
    "four axes": (lambda: maxpool(rand(1, 2, 3, 4, 5, 6), 2), DimensionMismatch, "one to three"),
    "empty": (lambda: meanpool(rand(1, 1, 0), 2, pad=1), DimensionMismatch, "has no elements"),
    "global": (lambda: GlobalMaxPool()(rand(3, 4)), DimensionMismatch, r"GlobalMaxPool\(\) takes \(N, C, …\)"),
    "adaptive": (lambda: AdaptiveMeanPool((2, 2))(rand(1, 1, 4)), TypeError, r"AdaptiveMeanPool\(\(2, 2\)\): size is one number"),
    "upsample": (lambda: upsample(rand(1, 1, 4)), TypeError, "a scale or a size"),
    "both": (lambda: upsample(rand(1, 1, 4), 2, size=3), TypeError, "a scale or a size"),
    "mode": (lambda: upsample(rand(1, 1, 4), 2, mode="cubic"), ValueError, "mode is"),
    "scale": (lambda: upsample(rand(1, 1, 4), -1), TypeError, "scale is a number > 0"),
    "to nothing": (lambda: upsample(rand(1, 1, 4), 0.1), ValueError, "must be >= 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_what_was_given_and_wanted(name):
    call, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        call()


def test_layers_print_save_and_load(tmp_path):
    net = Chain(
        MaxPool((2, 2), pad=(1, 0)), MeanPool(2, stride=1), GlobalMaxPool(), AdaptiveMeanPool(3),
        GlobalMeanPool(),
    )  # fmt: skip
    text = "Chain(MaxPool((2, 2), pad=(1, 0)), MeanPool(2, stride=1), GlobalMaxPool(), AdaptiveMeanPool(3), GlobalMeanPool())"
    assert repr(net) == text
    assert len(fluxrs.params(net)) == 0
    fluxrs.save(tmp_path / "net", net=net)
    again = fluxrs.load(tmp_path / "net")["net"]
    assert repr(again) == text
    x = rand(2, 3, 9, 8)
    np.testing.assert_array_equal(again(x), net(x))
