"""Slopes of every smooth op in float64, of two orders, to 1e-12: against closed forms, with a number for each operand in turn."""

import math
import zlib

import numpy as np
import pytest

import fluxrs
from edges import EDGES
from fluxrs import gradient

TABLE = {op["name"]: op for op in fluxrs._core.op_table()}
SMOOTH = [n for n, op in TABLE.items() if op["differentiable"] and op["class"] in ("num", "real")]


def above(x, y, then, other):
    return np.where(np.real(x) > np.real(y), then, other)


def inside(x, below, over, then):
    return above(x, 3, over, above(x, -3, then, below))


def σ(x):
    return 1 / (1 + np.exp(-x))


# The slope by each operand, in functions that NumPy has for complex numbers too: so they have slopes of their own, by a complex step.
SLOPES = {
    "add": [lambda x, y: x * 0 + 1, lambda x, y: y * 0 + 1],
    "subtract": [lambda x, y: x * 0 + 1, lambda x, y: y * 0 - 1],
    "multiply": [lambda x, y: y, lambda x, y: x],
    "divide": [lambda x, y: 1 / y, lambda x, y: -x / y**2],
    "remainder": [lambda x, y: x * 0 + 1, lambda x, y: -np.floor(np.real(x) / np.real(y))],
    "power": [lambda x, y: y * x ** (y - 1), lambda x, y: x**y * np.log(x)],
    "arctan2": [lambda x, y: y / (x * x + y * y), lambda x, y: -x / (x * x + y * y)],
    "hypot": [lambda x, y: x / np.sqrt(x * x + y * y), lambda x, y: y / np.sqrt(x * x + y * y)],
    "logaddexp": [lambda x, y: σ(x - y), lambda x, y: σ(y - x)],
    "maximum": [lambda x, y: above(x, y, 1, 0), lambda x, y: above(x, y, 0, 1)],
    "minimum": [lambda x, y: above(x, y, 0, 1), lambda x, y: above(x, y, 1, 0)],
    "negative": [lambda x: x * 0 - 1],
    "abs": [lambda x: np.sign(np.real(x))],
    "square": [lambda x: 2 * x],
    "reciprocal": [lambda x: -1 / x**2],
    "sqrt": [lambda x: 0.5 / np.sqrt(x)],
    "cbrt": [lambda x: x ** (-2 / 3) / 3],
    "exp": [np.exp],
    "exp2": [lambda x: np.exp(x * math.log(2)) * math.log(2)],
    "expm1": [np.exp],
    "log": [lambda x: 1 / x],
    "log2": [lambda x: 1 / (x * math.log(2))],
    "log10": [lambda x: 1 / (x * math.log(10))],
    "log1p": [lambda x: 1 / (1 + x)],
    "sin": [np.cos],
    "cos": [lambda x: -np.sin(x)],
    "tan": [lambda x: 1 / np.cos(x) ** 2],
    "arcsin": [lambda x: 1 / np.sqrt(1 - x * x)],
    "arccos": [lambda x: -1 / np.sqrt(1 - x * x)],
    "arctan": [lambda x: 1 / (1 + x * x)],
    "sinh": [np.cosh],
    "cosh": [np.sinh],
    "tanh": [lambda x: 1 / np.cosh(x) ** 2],
    "arcsinh": [lambda x: 1 / np.sqrt(1 + x * x)],
    "arccosh": [lambda x: 1 / np.sqrt(x * x - 1)],
    "arctanh": [lambda x: 1 / (1 - x * x)],
    "erf": [lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x)],
    "erfc": [lambda x: -2 / math.sqrt(math.pi) * np.exp(-x * x)],
    "sigmoid": [lambda x: σ(x) * σ(-x)],
    "softplus": [σ],
    "relu": [lambda x: above(x, 0, 1, 0)],
    "leakyrelu": [lambda x, a: above(x, 0, 1, a), lambda x, a: above(x, 0, 0, x)],
    "elu": [
        lambda x, a: above(x, 0, 1, a * np.exp(x)),
        lambda x, a: above(x, 0, 0, np.exp(x) - 1),
    ],
    "swish": [lambda x: σ(x) * (1 + x * σ(-x))],
    "normcdf": [lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi)],
    "hardsigmoid": [lambda x: inside(x, 0, 0, 1 / 6)],
    "hardswish": [lambda x: inside(x, 0, 1, (2 * x + 3) / 6)],
    "mish": [
        lambda x: np.tanh(np.log(1 + np.exp(x))) + x * σ(x) / np.cosh(np.log(1 + np.exp(x))) ** 2
    ],
    "celu": [
        lambda x, a: above(x, 0, 1, np.exp(x / a)),
        lambda x, a: above(x, 0, 0, np.exp(x / a) * (1 - x / a) - 1),
    ],
    "softsign": [lambda x: 1 / (1 + above(x, 0, x, -x)) ** 2],
}


def test_the_list_is_complete():
    assert set(SLOPES) == set(SMOOTH)


def draw(name):
    """Operands from the domains of the table, apart from each other and from whole numbers."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return [rng.uniform(low, high, 9) for low, high in TABLE[name]["domain"]]


def cases():
    for name in SMOOTH:
        yield pytest.param(name, None, None, id=name)
        if TABLE[name]["arity"] == 2:
            for k in (0, 1):
                yield pytest.param(name, k, float, id=f"{name} of a number, {k}")
                yield pytest.param(name, k, np.float64, id=f"{name} of NumPy's, {k}")


@pytest.mark.parametrize("name, number, kind", list(cases()))
def test_slopes_of_two_orders(name, number, kind):
    xs = draw(name)
    if number is not None:
        xs[number] = kind(xs[number][0])
    which = [i for i in range(len(xs)) if i != number]
    weights = np.cos(np.arange(9.0))

    def given(args):
        full = list(xs)
        for i, x in zip(which, args, strict=True):
            full[i] = x
        return full

    def first(*args):
        f = lambda *a: (getattr(fluxrs, name)(*given(a)) * weights).sum()
        return gradient(f, *args, nest=True)

    args = [xs[i] for i in which]
    close = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    for i, got in zip(which, first(*args), strict=True):
        assert got.dtype == "float64"
        close(got, SLOPES[name][i](*xs) * weights)
    for k, i in enumerate(which):
        second = gradient(lambda *a, k=k: (first(*a)[k] * weights).sum(), *args)
        for j, got in zip(which, second, strict=True):
            moved = [x + 1e-30j if n == j else x for n, x in enumerate(xs)]
            want = np.imag(SLOPES[name][i](*moved)) / 1e-30
            close(got, want * weights**2 if np.ndim(want) else np.full(9, want) * weights**2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", EDGES)
def test_edges(name, dtype):
    f, x, value, slope = EDGES[name]
    with np.errstate(all="ignore"):
        x, value, slope = (np.array(a, dtype) for a in (x, value, slope))
        if dtype == "float32" and not (np.array_equal(x, EDGES[name][1], equal_nan=True)):
            pytest.skip("beyond float32")
    rtol = 1e-15 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(f(fluxrs.tensor(x)), value, rtol=rtol)
    np.testing.assert_allclose(gradient(lambda x: f(x).sum(), x)[0], slope, rtol=4 * rtol)


def log_sigmoid_bend(x):
    e = np.exp(-np.abs(x))
    return -e / (1 + e) ** 2


def mish_bend(x):
    """Far out, where x · tanh(log(1 + eˣ)) is x eˣ on the left and x − 2x e^(−2x) on the right."""
    return np.where(x < 0, (2 + x) * np.exp(-np.abs(x)), (8 - 8 * x) * np.exp(-2 * np.abs(x)))


λα = 1.0507009873554805 * 1.6732632423543772
# The second derivative where it is small beside the first.
TAILS = {
    "logsigmoid": (log_sigmoid_bend, [-700.0, -40, -5, 5, 40, 700]),
    "sigmoid": (lambda x: -np.sign(x) * np.exp(-np.abs(x)), [-700.0, -40, 40, 700]),
    "softplus": (lambda x: -log_sigmoid_bend(x), [-700.0, -40, 5, 40, 700]),
    "selu": (lambda x: λα * np.exp(x), [-700.0, -40, -1]),
    "elu": (np.exp, [-700.0, -40, -1]),
    "celu": (np.exp, [-700.0, -40, -1]),
    "mish": (mish_bend, [-700.0, -40, 40, 300]),
    "gelu_erf": (lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * (2 - x * x), [-36.0, -5, 0, 5, 36]),
    "swish": (lambda x: np.sign(x) * (2 - np.abs(x)) * np.exp(-np.abs(x)) * np.sign(x), [-600.0, -40, 40, 600]),
}  # fmt: skip


@pytest.mark.parametrize("name", TAILS)
def test_second_derivatives_of_tails(name):
    bend, x = TAILS[name]
    f = getattr(fluxrs, name)
    slope = lambda x: gradient(lambda x: f(x).sum(), x)[0].sum()
    np.testing.assert_allclose(gradient(slope, np.array(x))[0], bend(np.array(x)), rtol=1e-13)


INF = math.inf
# The second derivative where the first is infinite.
POLES = {
    "sqrt": ([0.0], [-INF]),
    "cbrt": ([-0.0, 0.0], [INF, -INF]),
    "arcsin": ([-1.0, 1.0], [-INF, INF]),
    "arccos": ([-1.0, 1.0], [INF, -INF]),
    "arccosh": ([1.0], [-INF]),
    "arctanh": ([-1.0, 1.0], [-INF, INF]),
    "log": ([0.0], [-INF]),
    "reciprocal": ([-0.0, 0.0], [-INF, INF]),
}


@pytest.mark.parametrize("name", POLES)
def test_second_derivatives_at_poles(name):
    x, bend = POLES[name]
    f = getattr(fluxrs, name)
    slope = lambda x: gradient(lambda x: f(x).sum(), x)[0].sum()
    np.testing.assert_array_equal(gradient(slope, np.array(x))[0], bend)
