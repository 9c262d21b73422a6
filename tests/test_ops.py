"""Every entry of the op table: values, types, shapes, special numbers, gradients of two orders."""

import math
import zlib

import numpy as np
import pytest

import fluxrs
from fluxrs import gradient, tensor

TABLE = {op["name"]: op for op in fluxrs._core.op_table()}
REALS = [n for n, op in TABLE.items() if op["class"] in ("num", "real", "round")]
SMOOTH = [n for n, op in TABLE.items() if op["differentiable"] and op["class"] in ("num", "real")]

REFERENCE = {
    "erf": np.vectorize(math.erf, otypes=[float]),
    "erfc": np.vectorize(math.erfc, otypes=[float]),
    "sigmoid": lambda x: np.where(x > 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x))),
    "softplus": lambda x: np.logaddexp(0, x),
    "relu": lambda x: np.maximum(x, 0),
    "leakyrelu": lambda x, a: np.where(x > 0, x, a * x),
    "elu": lambda x, a: np.where(x > 0, x, a * np.expm1(x)),
    "swish": lambda x: np.where(x == -np.inf, 0, x / (1 + np.exp(-x))),
    "normcdf": lambda x: 0.5 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)),
    "hardsigmoid": lambda x: np.clip((x + 3) / 6, 0, 1),
    "hardswish": lambda x: np.where(x <= -3, 0, x * np.clip((x + 3) / 6, 0, 1)),
    "mish": lambda x: np.where(x == -np.inf, 0, x * np.tanh(np.logaddexp(0, x))),
    "celu": lambda x, a: np.where(x > 0, x, a * np.expm1(x / a)),
    "softsign": lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
}

SLOPED = ("leakyrelu", "elu", "celu")

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def reference(name):
    return REFERENCE.get(name) or getattr(np, name)


def ours(name):
    """The function with arrays for all operands; the slopes of leakyrelu, elu and celu are numbers."""
    return getattr(fluxrs, name)


def draw(name, shape=(7,), dtype="float64", seed=0):
    """Operands in the domain of the table."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    out = []
    for low, high in TABLE[name]["domain"]:
        x = rng.uniform(low, high, size=shape)
        out.append(x > 0 if TABLE[name]["class"] == "logic" else x.astype(dtype))
    if TABLE[name]["class"] == "select":
        out[0] = out[0] > 0
    if name in SLOPED:
        out[1] = float(out[1].flat[0]) if out[1].size else 0.5
    return out


def wide(x):
    """In float64, where the reference is computed."""
    return x if isinstance(x, float) or x.dtype == bool else x.astype("float64")


def close(got, want, name, dtype):
    ulp = TABLE[name]["ulp"] + (0.51 if dtype == "float32" else 8)
    got, want = np.asarray(got, dtype="float64"), np.asarray(want, dtype="float64")
    bound = ulp * np.spacing(np.abs(want).astype(dtype)).astype("float64")
    assert got.shape == want.shape
    bad = ~((got == want) | (np.abs(got - want) <= bound) | (np.isnan(got) & np.isnan(want)))
    assert not bad.any(), (name, got[bad][:3], want[bad][:3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TABLE)
def test_value(name, dtype):
    xs = draw(name, (1001,), dtype)
    got = ours(name)(*xs)
    want = reference(name)(*map(wide, xs))
    if TABLE[name]["class"] in ("compare", "test", "logic"):
        assert got.dtype == bool
        np.testing.assert_array_equal(got, want)
    else:
        assert got.dtype == dtype
        close(got, want, name, dtype)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("name", TABLE)
def test_shapes(name, shape):
    xs = draw(name, shape)
    got = ours(name)(*xs)
    assert got.shape == shape
    if TABLE[name]["class"] not in ("compare", "test", "logic"):
        close(got, reference(name)(*map(wide, xs)), name, "float64")


@pytest.mark.parametrize("name", [n for n in TABLE if TABLE[n]["arity"] > 1 and n not in SLOPED])
def test_broadcasting(name):
    shapes = [(3, 1), (4,), (2, 1, 1)]
    xs = [draw(name, shapes[i], seed=i)[i] for i in range(TABLE[name]["arity"])]
    got = ours(name)(*xs)
    want = reference(name)(*xs)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_views_are_read_where_they_lie(name):
    xs = draw(name, (6, 8))
    turned = [x if isinstance(x, float) else x[::-2, 1::3].T for x in xs]
    views = [x if isinstance(x, float) else tensor(x)[::-2, 1::3].T for x in xs]
    np.testing.assert_array_equal(ours(name)(*views), ours(name)(*turned))


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, 1e30, -1e30]


@pytest.mark.parametrize("name", [n for n in REALS if n not in SLOPED])
def test_special_values(name):
    x = np.array(SPECIAL)
    xs = [x] if TABLE[name]["arity"] == 1 else [g.ravel() for g in np.meshgrid(x, x)]
    got, want = np.asarray(ours(name)(*xs)), reference(name)(*xs)
    same = np.isclose(got, want, rtol=1e-11, atol=1e-300, equal_nan=True)
    bad = [
        (float(got[i]), float(want[i]), *(float(v[i]) for v in xs)) for i in np.nonzero(~same)[0]
    ]
    assert not bad, f"{name}: (got, want, operands) {bad[:8]}"


@pytest.mark.parametrize("name", [n for n in TABLE if TABLE[n]["class"] in ("num", "compare")])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(name, dtype):
    rng = np.random.default_rng(1)
    xs = [rng.integers(1, 50, 33).astype(dtype) for _ in range(TABLE[name]["arity"])]
    got, want = ours(name)(*xs), reference(name)(*xs)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", [n for n in TABLE if TABLE[n]["class"] in ("real", "round")])
def test_integers_are_taken_as_float32_or_left(name):
    xs = [np.arange(1, 4) for _ in TABLE[name]["operands"]]
    if name in SLOPED:
        xs[1] = 1
    want = "int64" if TABLE[name]["class"] == "round" else "float32"
    assert ours(name)(*xs).dtype == want


def slope(f, xs, i, h=1e-6):
    """The derivative of an elementwise function by operand i, by central differences."""
    up, down = list(xs), list(xs)
    up[i], down[i] = xs[i] + h, xs[i] - h
    return (np.asarray(f(*up)) - np.asarray(f(*down))) / (2 * h)


def floats(name, xs):
    """Which operands are differentiated by."""
    return [i for i, x in enumerate(xs) if not isinstance(x, float) and x.dtype != bool]


def by(f, xs, which):
    """`f` as a function of the operands that are differentiated by."""

    def g(*given):
        args = list(xs)
        for i, x in zip(which, given, strict=True):
            args[i] = x
        return f(*args)

    return g


@pytest.mark.parametrize("name", SMOOTH + ["where"])
def test_gradients_of_two_orders(name):
    xs = draw(name, (9,), seed=3)
    which = floats(name, xs)
    f = by(ours(name), xs, which)
    args = [xs[i] for i in which]
    w = np.cos(np.arange(9.0))
    first = lambda *a, nest=False: gradient(lambda *b: (f(*b) * w).sum(), *a, nest=nest)
    for i, g in enumerate(first(*args)):
        assert g.dtype == "float64"
        np.testing.assert_allclose(g, slope(f, args, i) * w, rtol=2e-5, atol=2e-7)
    for i in range(len(args)):
        second = gradient(lambda *a, i=i: (first(*a)[i] * w).sum(), *args)
        for j, h in enumerate(second):
            want = slope(lambda *a, i=i: np.asarray(first(*a)[i]), args, j) * w
            np.testing.assert_allclose(h, want, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", [n for n in SMOOTH if TABLE[n]["arity"] == 2 and n not in SLOPED])
def test_gradients_are_summed_over_what_was_broadcast(name):
    x, y = draw(name, (3, 1), seed=1)[0], draw(name, (4,), seed=2)[1]
    gx, gy = gradient(lambda x, y: ours(name)(x, y).sum(), x, y)
    wide_x, wide_y = np.broadcast_arrays(x, y)
    hx, hy = gradient(lambda x, y: ours(name)(x, y).sum(), wide_x, wide_y)
    np.testing.assert_allclose(gx, np.asarray(hx).sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(gy, np.asarray(hy).sum(0), rtol=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_methods_and_functions_are_one(name):
    x, *rest = draw(name, (5,))
    np.testing.assert_array_equal(getattr(tensor(x), name)(*rest), ours(name)(x, *rest))
    assert getattr(fluxrs, name).__doc__
    assert getattr(fluxrs.Tensor, name).__doc__


@pytest.mark.parametrize("n", [-3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 0.5, 1.5, 2.0])
def test_whole_powers_are_products(n):
    x = np.array([0.5, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(tensor(x) ** n, x**n, rtol=1e-14)
    (g,) = gradient(lambda x: (x**n).sum(), x)
    np.testing.assert_allclose(g, n * x ** (n - 1), rtol=1e-13)
    signed = np.array([-2.0, -1.0])
    if n == int(n):
        np.testing.assert_allclose(tensor(signed) ** n, signed ** float(n), rtol=1e-14)
        (g,) = gradient(lambda x: (x**n).sum(), signed)
        np.testing.assert_allclose(g, n * signed ** float(n - 1), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_powers_of_integers_are_integers(dtype):
    x = np.array([-3, -1, 0, 1, 2, 5], dtype=dtype)
    for n in (0, 1, 2, 3, 11, 20):
        got = tensor(x) ** n
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, x**n)
        np.testing.assert_array_equal(tensor(x) ** tensor(np.full(6, n, dtype)), x**n)
    np.testing.assert_array_equal(2 ** tensor(np.array([0, 3], dtype)), [1, 8])
    np.testing.assert_array_equal(tensor(x) ** tensor(np.array(-3, dtype)), [0, -1, 0, 1, 0, 0])
    np.testing.assert_array_equal(tensor(x) ** tensor(np.array(-2, dtype)), [0, 1, 0, 1, 0, 0])
    for n in (2.0, 0.0, -1.0):
        got = tensor(x + 4) ** n
        assert got.dtype == "float32"
        np.testing.assert_allclose(got, (x + 4.0) ** n, rtol=1e-6)
    assert (tensor(x > 0) ** 2).dtype == "int64"


def test_powers_of_zero():
    zero = np.zeros(2)
    np.testing.assert_array_equal(gradient(lambda x: (x**2).sum(), zero)[0], zero)
    np.testing.assert_array_equal(gradient(lambda x: (x**1).sum(), zero)[0], zero + 1)
    np.testing.assert_array_equal(gradient(lambda x: (x**0).sum(), zero)[0], zero)
