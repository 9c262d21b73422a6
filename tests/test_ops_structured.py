"""Reductions, views, products, sorting, linear algebra: one list, checked in value and in gradients of two orders."""

import numpy as np
import pytest

import fluxrs as fx
from edges import RAISES_WITHOUT_ELEMENTS, WITHOUT_ELEMENTS
from fluxrs import gradcheck, gradient, tensor

rng = np.random.default_rng(0)
a, b, v = rng.normal(size=(3, 4)), rng.normal(size=(4, 2)), rng.normal(size=4)
cube, square = rng.normal(size=(2, 3, 4)), rng.normal(size=(3, 3)) + 3 * np.eye(3)
stack2 = rng.normal(size=(2, 3, 3)) + 3 * np.eye(3)
at = np.array([[2, 0], [1, 2]])


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# name: ours, NumPy's, operands
SMOOTH = {
    "sum": (lambda x: fx.sum(x), lambda x: x.sum(), [a]),
    "sum axis": (lambda x: x.sum(axis=1), lambda x: x.sum(1), [a]),
    "sum axes": (lambda x: x.sum(axis=(0, -1), keepdims=True), lambda x: x.sum((0, 2), keepdims=True), [cube]),
    "mean": (lambda x: x.mean(axis=0), lambda x: x.mean(0), [a]),
    "prod": (lambda x: x.prod(axis=1), lambda x: x.prod(1), [a]),
    "max": (lambda x: x.max(axis=1), lambda x: x.max(1), [a]),
    "min": (lambda x: fx.min(x), lambda x: x.min(), [a]),
    "var": (lambda x: x.var(axis=1), lambda x: x.var(1, ddof=1), [a]),
    "std": (lambda x: x.std(ddof=0), lambda x: x.std(), [a]),
    "logsumexp": (lambda x: fx.logsumexp(x, axis=0), lambda x: np.log(np.exp(x).sum(0)), [a]),
    "softmax": (lambda x: fx.softmax(x), softmax, [a]),
    "softmax axis": (lambda x: fx.softmax(x, axis=0), lambda x: softmax(x, 0), [a]),
    "logsoftmax": (lambda x: fx.logsoftmax(x), lambda x: np.log(softmax(x)), [a]),
    "norm": (lambda x: fx.norm(x), np.linalg.norm, [a]),
    "norm 1": (lambda x: fx.norm(x, 1), lambda x: np.abs(x).sum(), [a]),
    "norm 3": (lambda x: fx.norm(x, 3, axis=0), lambda x: (np.abs(x) ** 3).sum(0) ** (1 / 3), [a]),
    "cumsum": (lambda x: x.cumsum(axis=1), lambda x: x.cumsum(1), [a]),
    "cumsum flat": (lambda x: fx.cumsum(x), lambda x: x.cumsum(), [a]),
    "cumprod": (lambda x: x.cumprod(axis=0), lambda x: x.cumprod(0), [a]),
    "reshape": (lambda x: x.reshape(2, -1) * 2, lambda x: x.reshape(2, -1) * 2, [a]),
    "transpose": (lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(2, 0, 1), [cube]),
    "T": (lambda x: x.T, lambda x: x.T, [cube]),
    "swapaxes": (lambda x: x.swapaxes(0, -1), lambda x: x.swapaxes(0, -1), [cube]),
    "moveaxis": (lambda x: fx.moveaxis(x, 0, 2), lambda x: np.moveaxis(x, 0, 2), [cube]),
    "broadcast_to": (lambda x: fx.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), [a]),
    "expand_dims": (lambda x: fx.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1)), [a]),
    "squeeze": (lambda x: x[None].squeeze(), lambda x: x, [a]),
    "flip": (lambda x: fx.flip(x, axis=1), lambda x: np.flip(x, 1), [a]),
    "roll": (lambda x: fx.roll(x, 2, axis=1), lambda x: np.roll(x, 2, 1), [a]),
    "diagonal": (lambda x: x.diagonal(1), lambda x: x.diagonal(1), [a]),
    "trace": (lambda x: fx.trace(x), np.trace, [square]),
    "diagm": (lambda x: fx.diagm(x, 1), lambda x: np.diag(x, 1), [v]),
    "ravel": (lambda x: x.T.ravel(), lambda x: x.T.ravel(), [a]),
    "repeat": (lambda x: fx.repeat(x, 3, axis=1), lambda x: np.repeat(x, 3, 1), [a]),
    "tile": (lambda x: fx.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), [a]),
    "pad": (lambda x: fx.pad(x, ((1, 0), (2, 3)), 7), lambda x: np.pad(x, ((1, 0), (2, 3)), constant_values=7), [a]),
    "concatenate": (lambda x, y: fx.concatenate([x, y, x], axis=1), lambda x, y: np.concatenate([x, y, x], 1), [a, 2 * a]),
    "stack": (lambda x, y: fx.stack([x, y], axis=1), lambda x, y: np.stack([x, y], 1), [a, 2 * a]),
    "vstack": (lambda x, y: fx.vstack([x, y]), lambda x, y: np.vstack([x, y]), [v, a]),
    "hstack": (lambda x, y: fx.hstack([x, y]), lambda x, y: np.hstack([x, y]), [v, v]),
    "split": (lambda x: fx.split(x, 2, axis=1)[1], lambda x: np.split(x, 2, 1)[1], [a]),
    "split at": (lambda x: fx.split(x, [1, 3], axis=1)[1], lambda x: np.split(x, [1, 3], 1)[1], [a]),
    "clip": (lambda x: fx.clip(x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5), [a]),
    "take": (lambda x: fx.take(x, at, axis=1), lambda x: np.take(x, at, 1), [a]),
    "take flat": (lambda x: fx.take(x, [3, 3, -1]), lambda x: np.take(x, [3, 3, -1]), [a]),
    "take_along_axis": (
        lambda x: fx.take_along_axis(x, at, axis=1), lambda x: np.take_along_axis(x, at, 1), [a[:2]]),
    "sort": (lambda x: fx.sort(x, axis=0), lambda x: np.sort(x, 0), [a]),
    "matmul": (lambda x, y: x @ y, np.matmul, [a, b]),
    "matmul vector": (lambda x, y: x @ y, np.matmul, [a, v]),
    "vector matmul": (lambda x, y: x @ y, np.matmul, [v, b]),
    "vectors": (lambda x, y: x @ y, np.matmul, [v, v[::-1].copy()]),
    "batched": (lambda x, y: x @ y, np.matmul, [cube, b]),
    "broadcast batches": (lambda x, y: x @ y, np.matmul, [cube[:, None], np.stack([b, b, 2 * b])]),
    "matrix by batch": (lambda x, y: x @ y, np.matmul, [a, np.stack([b, -b])]),
    "dot": (lambda x, y: fx.dot(x, y), np.dot, [a, b]),
    "vdot": (lambda x, y: fx.vdot(x, y), np.vdot, [a, 2 * a]),
    "outer": (lambda x, y: fx.outer(x, y), np.outer, [v, a]),
    "kron": (lambda x, y: fx.kron(x, y), np.kron, [a, b]),
    "tensordot": (lambda x, y: fx.tensordot(x, y, 1), lambda x, y: np.tensordot(x, y, 1), [a, b]),
    "einsum": (lambda x, y: fx.einsum("bij,jk->bik", x, y), lambda x, y: np.einsum("bij,jk->bik", x, y), [cube, b]),
    "einsum trace": (lambda x: fx.einsum("ii", x), np.trace, [square]),
    "inv": (lambda x: fx.inv(x), np.linalg.inv, [square]),
    "inv of a stack": (lambda x: fx.inv(x), np.linalg.inv, [stack2]),
    "det": (lambda x: fx.det(x), np.linalg.det, [square]),
    "solve": (lambda x, y: fx.solve(x, y), np.linalg.solve, [square, square[:, :2].copy()]),
    "ldivide": (lambda x, y: fx.ldivide(x, y), np.linalg.solve, [square, v[:3].copy()]),
    "rdivide": (lambda y, x: fx.rdivide(y, x), lambda y, x: y @ np.linalg.inv(x), [square[:2].copy(), square]),
    "gelu": (fx.gelu, lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), [a]),
    "logsigmoid": (fx.logsigmoid, lambda x: -np.log1p(np.exp(-x)), [a]),
    "selu": (
        fx.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), [a]),
}  # fmt: skip

EXACT = {
    "any": (lambda x: fx.any(x > 1, axis=0), lambda x: (x > 1).any(0), [a]),
    "all": (
        lambda x: fx.all(x > -1, axis=1, keepdims=True),
        lambda x: (x > -1).all(1, keepdims=True),
        [a],
    ),
    "argmax": (lambda x: fx.argmax(x, axis=1), lambda x: x.argmax(1), [a]),
    "argmin": (lambda x: fx.argmin(x), lambda x: x.argmin(), [a]),
    "argsort": (lambda x: fx.argsort(x, axis=0), lambda x: x.argsort(0), [a]),
    "sum of integers": (lambda x: fx.sum(x, axis=0), lambda x: x.sum(0), [at]),
    "matmul of integers": (lambda x: x @ tensor(at), lambda x: x @ at, [at]),
    "zeros_like": (fx.zeros_like, np.zeros_like, [a]),
    "ones_like": (fx.ones_like, np.ones_like, [at]),
}


def ids(cases):
    return pytest.mark.parametrize(("ours", "numpys", "xs"), cases.values(), ids=cases.keys())


@ids(SMOOTH | EXACT)
def test_value(ours, numpys, xs):
    got, want = ours(*map(tensor, xs)), numpys(*xs)
    assert got.dtype == np.asarray(want).dtype
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@ids(SMOOTH)
def test_single_precision(ours, numpys, xs):
    got, want = ours(*[tensor(x.astype("float32")) for x in xs]), numpys(*xs)
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)


def weighted(f):
    """A number that depends on every element of the result, each in its own way."""

    def g(*xs):
        y = f(*xs)
        return (y * np.cos(np.arange(float(max(y.size, 1)))).reshape(y.shape)).sum()

    return g


@ids(SMOOTH)
def test_gradients_of_two_orders(ours, numpys, xs):
    f = weighted(ours)
    assert gradcheck(f, *xs)
    # Squared, so that the second order of what is linear is not zero.
    g = lambda *xs: sum(
        weighted(lambda _, d=d: d)(None) for d in gradient(lambda *xs: f(*xs) ** 2, *xs)
    )
    assert gradcheck(g, *xs)


@ids(SMOOTH)
def test_operands_that_are_views(ours, numpys, xs):
    wide = [np.repeat(np.flip(x), 2, axis=-1) for x in xs]
    views = [fx.flip(tensor(w)[..., ::2]) for w in wide]
    np.testing.assert_allclose(ours(*views), ours(*map(tensor, xs)), rtol=1e-12, atol=1e-14)


REDUCTIONS = ["sum", "prod", "mean", "max", "min", "any", "all", "logsumexp", "std"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("n", [1, 7, 64, 1000, 4099])
def test_reductions_of_many_lengths(name, n):
    x = np.random.default_rng(n).normal(size=(3, n))
    want = {
        "logsumexp": lambda x, axis: np.log(np.exp(x).sum(axis)), "std": lambda x, axis: x.std(axis)
    }.get(name, getattr(np, name, None))  # fmt: skip
    f = lambda x, axis: (
        fx.std(x, axis=axis, ddof=0) if name == "std" else getattr(fx, name)(x, axis=axis)
    )
    for axis in (0, 1, None):
        np.testing.assert_allclose(f(x, axis), want(x, axis=axis), rtol=1e-11, atol=1e-12)


def test_pads_of_large_integers_are_exact():
    x = tensor([1], dtype="int64")
    for v in (2**53, 2**53 + 1, -(2**62) - 1):
        assert x.pad(1, v).tolist() == [v, 1, v]


def test_empty_reductions():
    e = tensor(np.zeros((0, 3)))
    np.testing.assert_array_equal(e.sum(axis=0), np.zeros(3))
    np.testing.assert_array_equal(e.prod(axis=0), np.ones(3))
    assert bool(e.all())
    assert not bool(e.any())
    with pytest.raises(ValueError, match="max"):
        e.max(axis=0)
    assert (e @ tensor(np.ones((3, 2)))).shape == (0, 2)
    np.testing.assert_array_equal(
        tensor(np.ones((2, 0))) @ tensor(np.ones((0, 2))), np.zeros((2, 2))
    )


def test_reductions_meet_nan_and_infinity():
    x = tensor([1.0, np.nan, 3.0])
    assert np.isnan(float(x.max())) and np.isnan(float(x.sum()))
    y = tensor([[-np.inf, -np.inf], [np.inf, 0.0], [1000.0, 1000.0]])
    np.testing.assert_allclose(
        fx.logsumexp(y, axis=1), [-np.inf, np.inf, 1000 + np.log(2)], rtol=1e-6
    )
    np.testing.assert_allclose(fx.softmax(tensor([1000.0, -np.inf, 1000.0])), [0.5, 0, 0.5])


def test_the_gradient_of_norm_at_zero_is_zero():
    np.testing.assert_array_equal(gradient(lambda x: fx.norm(x), np.zeros(3))[0], np.zeros(3))


def test_a_singular_matrix_says_so():
    with pytest.raises(ValueError, match="singular"):
        float(fx.inv(tensor([[1.0, 2.0], [2.0, 4.0]])).sum())


def test_random_numbers_follow_the_seed():
    def draw():
        fx.seed(5)
        return [
            np.asarray(x)
            for x in (fx.rand(3, 4), fx.randn((5,)), fx.randint(2, 9, 100), fx.permutation(20))
        ]

    first, second = draw(), draw()
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)
    uniform, normal, integers, order = first
    assert uniform.shape == (3, 4) and uniform.dtype == "float32"
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert integers.min() >= 2 and integers.max() <= 8
    assert sorted(order) == list(range(20))
    big = np.asarray(fx.randn(20000))
    assert abs(big.mean()) < 0.05 and abs(big.std() - 1) < 0.05
    assert abs(np.asarray(fx.bernoulli(0.25, 10000)).mean() - 0.25) < 0.03


def test_creation():
    np.testing.assert_array_equal(fx.zeros(2, 3), np.zeros((2, 3)))
    np.testing.assert_array_equal(fx.ones((2,), dtype="int32"), np.ones(2))
    np.testing.assert_array_equal(fx.full((2, 2), 7), np.full((2, 2), 7.0))
    np.testing.assert_array_equal(fx.arange(2, 10, 3), [2, 5, 8])
    np.testing.assert_array_equal(fx.arange(3, dtype="int64"), [0, 1, 2])
    np.testing.assert_allclose(fx.linspace(0, 1, 5), np.linspace(0, 1, 5))
    np.testing.assert_array_equal(fx.eye(2, 3, 1), np.eye(2, 3, 1))
    assert fx.zeros(()).shape == fx.zeros().shape == ()
    assert fx.rand(2).dtype == fx.eye(2).dtype == fx.arange(2).dtype == "float32"


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), (2, 0, 3)])
def test_gradients_of_nothing(shape):
    for f in (fx.sort, lambda x: fx.sort(x, axis=0), lambda x: fx.sort(x, axis=None), fx.cumsum):
        g = gradient(lambda x, f=f: f(x).sum(), np.zeros(shape))[0]
        np.testing.assert_array_equal(g, np.zeros(shape))
    at = np.zeros((*shape[:-1], 0), "int64")
    g = gradient(lambda x: fx.take_along_axis(x, at, -1).sum(), np.zeros(shape))[0]
    np.testing.assert_array_equal(g, np.zeros(shape))


@pytest.mark.parametrize("name", RAISES_WITHOUT_ELEMENTS)
def test_what_is_wrong_with_a_result_without_elements(name):
    f, error, message = RAISES_WITHOUT_ELEMENTS[name]
    with pytest.raises(error, match=message):
        fx.evaluate(f(tensor))


@pytest.mark.parametrize("name", WITHOUT_ELEMENTS)
def test_results_without_elements(name):
    f, shape = WITHOUT_ELEMENTS[name]
    assert np.asarray(f(tensor)).shape == shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [(64, 64), (100, 65), (300, 64), (777, 130), (64, 3)])
@pytest.mark.parametrize("lead", [(1,), (17,), (3, 40)])
def test_rows_of_parts_are_read_and_written_where_they_are(lead, columns, dtype):
    n = columns[0]
    x = np.random.default_rng(0).standard_normal((*lead, sum(columns))).astype(dtype)
    a, b = x[..., :n], x[..., n:]

    def parts(q):
        return fx.concatenate([fx.tanh(q[..., :n]) * 2, fx.exp(q[..., n:]) - q[..., :1]], -1)

    true = np.concatenate([np.tanh(a) * 2, np.exp(b) - a[..., :1]], -1)
    np.testing.assert_allclose(parts(fx.tensor(x)), true, rtol=2e-5, atol=2e-6)
    (slope,) = fx.gradient(lambda q: parts(q).sum(), x)
    true = np.concatenate([2 - 2 * np.tanh(a) ** 2, np.exp(b)], -1)
    true[..., 0] -= columns[1]
    np.testing.assert_allclose(slope, true, rtol=2e-4, atol=1e-4)
    padded = fx.pad(fx.tensor(a) * 3, [(1, 1)] * len(lead) + [(2, 5)])
    np.testing.assert_array_equal(padded, np.pad(a * 3, [(1, 1)] * len(lead) + [(2, 5)]))
