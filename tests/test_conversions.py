"""Arrays as arguments: exact integers, truth values of any bytes, and masks, which are refused."""

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    SGD,
    Dense,
    arange,
    asarray,
    data,
    forward,
    grad,
    gradient,
    loadparams,
    param,
    tensor,
    update,
)

BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("x", "dtype", "want"),
    [
        ([BIG], "int64", [BIG]),
        ([[2**63 - 1], [-(2**63)]], "int64", [[2**63 - 1], [-(2**63)]]),
        ((True, 2**31 - 1), "int32", [1, 2**31 - 1]),
        ([0.1], "float64", [0.1]),
        ([BIG], "float32", [float(2**53)]),
        ([2.7, -2.7], "int64", [2, -2]),
        ([], "int64", []),
        ([2**63], None, [2.0**63]),
        ([2**70, -1], "float64", [2.0**70, -1.0]),
        ([np.int64(BIG)], "int64", [BIG]),
        ([0, 3], "bool", [False, True]),
        ([tensor(np.array(BIG)), np.int64(1)], "int64", [BIG, 1]),
    ],
)
def test_lists_of_numbers(x, dtype, want):
    assert tensor(x, dtype=dtype).tolist() == want


T64 = tensor(np.array([1.0, 2.0]))
I64 = tensor(np.array([1, 2]))
I32 = tensor(np.array([1, 2], dtype="int32"))
P64 = param(np.zeros(2))


@grad
def tenth(x):
    return data(x) * 0.1, lambda Δ: (0.1,)


@grad
def listed(x):
    return data(x).sum(), lambda Δ: ([0.1, 0.2],)


@pytest.mark.parametrize(
    ("call", "dtype", "want"),
    [
        (lambda: T64 * [0.1, 0.2], "float64", [0.1, 0.4]),
        (lambda: (0.1, 0.2) * T64, "float64", [0.1, 0.4]),
        (lambda: T64 / 10 == [0.1, 0.2], "bool", [True, True]),
        (lambda: T64 @ [[0.1], [0.2]], "float64", [0.5]),
        (lambda: np.add(T64, [0.1, 0.2]), "float64", [1.1, 2.2]),
        (lambda: np.concatenate([T64, [0.1]]), "float64", [1.0, 2.0, 0.1]),
        (lambda: fluxrs.stack([T64[0], 0.1]), "float64", [1.0, 0.1]),
        (lambda: fluxrs.hstack([T64, 0.1]), "float64", [1.0, 2.0, 0.1]),
        (lambda: fluxrs.einsum("i,->i", T64, 0.1), "float64", [0.1, 0.2]),
        (lambda: fluxrs.where([True, False], T64, [0.1, 0.2]), "float64", [1.0, 0.2]),
        (lambda: T64.clip([1.1, 0.1], [5, 1.7]), "float64", [1.1, 1.7]),
        (lambda: tensor([T64[0], 0.1]), "float64", [1.0, 0.1]),
        (lambda: tensor([[T64[0], 0.1], [0.1, 0.2]])[1], "float64", [0.1, 0.2]),
        (lambda: tensor([tensor(1.0), 0.1], dtype="float64"), "float64", [1.0, 0.1]),
        (lambda: update(param(np.zeros(2)), [0.1, 0.2]), "float64", [0.1, 0.2]),
        (lambda: setitem(P64, "data", [0.3, 0.7]).data, "float64", [0.3, 0.7]),
        (lambda: setitem(P64, "grad", [0.3, 0.7]).grad, "float64", [0.3, 0.7]),
        (lambda: stepped([0.1, 0.2]), "float64", [-0.1, -0.2]),
        (lambda: forward(lambda x: x * 1, np.zeros(2))[1]([0.1, 0.2])[0], "float64", [0.1, 0.2]),
        (lambda: gradient(lambda x: tenth(x).sum(), np.zeros(2))[0], "float64", [0.1, 0.1]),
        (lambda: gradient(listed, np.zeros(2))[0], "float64", [0.1, 0.2]),
        (lambda: loaded([0.1, 0.2]), "float64", [0.1, 0.2]),
        (lambda: fluxrs.mse(T64 / 10, [0.1, 0.2]), "float64", 0.0),
        (lambda: Dense(np.ones((1, 2)), np.zeros(1))([0.1, 0.2]), "float64", [0.1 + 0.2]),
        (lambda: tensor([1.0, 2.0]) * [0.5, 0.25], "float32", [0.5, 0.5]),
        (lambda: I64 + [1, BIG], "int64", [2, BIG + 2]),
        (lambda: I32 + [1, 2], "int32", [2, 4]),
        (lambda: I64 * [0.5, 0.25], "float32", [0.5, 0.5]),
        (lambda: tensor([True, False]) + [1, 2], "int64", [2, 2]),
        (lambda: tensor([True, False]) & [True, True], "bool", [True, False]),
        (lambda: fluxrs.stack([I64[0], 5]), "int64", [1, 5]),
        (lambda: fluxrs.stack([1, 2]), "float32", [1.0, 2.0]),
        (lambda: fluxrs.multiply([0.5], [0.5]), "float32", [0.25]),
        (lambda: fluxrs.multiply(T64, yielded(0.1, 0.2)), "float64", [0.1, 0.4]),
        (lambda: fluxrs.stack([T64, yielded(0.1, 0.2)])[1], "float64", [0.1, 0.2]),
        (lambda: update(param(np.zeros(2)), yielded(0.1, 0.2)), "float64", [0.1, 0.2]),
        (lambda: tensor(yielded(BIG), dtype="int64"), "int64", [BIG]),
        (lambda: fluxrs.take(I64, yielded(1, 0)), "int64", [2, 1]),
    ],
)
def test_lists_are_weak_and_exact_in_the_type_they_meet(call, dtype, want):
    y = call()
    assert (y.dtype, y.tolist()) == (dtype, want)


def yielded(*numbers):
    return (x for x in numbers)


def setitem(p, name, value):
    setattr(p, name, value)
    return p


def stepped(Δ):
    p = param(np.zeros(2))
    SGD([p], 1.0)([Δ])
    return p


def loaded(values):
    p = param(np.zeros(2))
    loadparams([p], [values])
    return p


@pytest.mark.parametrize(
    ("args", "dtype", "want"),
    [
        ((BIG, BIG + 3), "int64", [BIG, BIG + 1, BIG + 2]),
        ((2**63 - 3, 2**63 - 1), "int64", [2**63 - 3, 2**63 - 2]),
        ((5, -6, -5), "int32", [5, 0, -5]),
        ((0.0, 3.0), "int32", [0, 1, 2]),
        ((0, 2.5), "int64", [0, 1, 2]),
        ((3,), None, [0.0, 1.0, 2.0]),
    ],
)
def test_arange(args, dtype, want):
    assert arange(*args, dtype=dtype).tolist() == want


@pytest.mark.parametrize(
    "call",
    [
        lambda: tensor([2**63], dtype="int64"),
        lambda: tensor([-1, 2**63], dtype="int64"),
        lambda: tensor([[1], [2**31]], dtype="int32"),
        lambda: tensor([10**400], dtype="float64"),
        lambda: I32 + [2**31, 1],
        lambda: fluxrs.stack([I32[0], 2**31]),
        lambda: arange(2**31 - 1, 2**31 + 1, dtype="int32"),
        lambda: arange(2**63, 2**63 + 2, dtype="int64"),
        lambda: arange(10**400, dtype="int64"),
    ],
)
def test_integers_that_do_not_fit(call):
    with pytest.raises((OverflowError, ValueError), match="int|arange"):
        call()


BYTES = np.array([0, 1, 2, 255], dtype=np.uint8).view(bool)


@pytest.mark.parametrize(
    "make",
    [
        tensor,
        asarray,
        lambda b: tensor(b[::-1])[::-1],
        lambda b: fluxrs.where(b, b, False),
        lambda b: fluxrs.stack([b])[0],
        lambda b: fluxrs.from_dlpack(b.copy().view(np.uint8).view(bool)),
    ],
)
def test_truth_values_of_any_bytes(make):
    t = make(BYTES)
    assert t.numpy().view(np.uint8).tolist() == [0, 1, 1, 1]
    assert float(t.sum()) == 3.0


MASKED = np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0])


class Holder:
    def __array__(self, dtype=None, copy=None):
        return MASKED


p = param([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "call",
    [
        tensor,
        asarray,
        param,
        fluxrs.exp,
        lambda m: tensor([m, m]),
        lambda m: tensor([np.ma.masked, 1.0]),
        lambda m: fluxrs.stack([p, m]),
        lambda m: p + m,
        lambda m: fluxrs.where(p > 0, p, m),
        lambda m: p[np.ma.masked_array([0, 1], [0, 1])],
        lambda m: p[m > 1],
        lambda m: setattr(p, "data", m),
        lambda m: setattr(p, "grad", m),
        lambda m: p.data.__setitem__(..., m),
        lambda m: p.data.__setitem__(slice(1, None), m[1:]),
        lambda m: update(p, m),
        lambda m: update(np.ones(3), m),
        lambda m: gradient(lambda x: x.sum(), m),
        lambda m: fluxrs.loadparams([p], [m]),
        lambda m: fluxrs.back(p * 1, m),
        lambda m: tensor(Holder()),
        lambda m: p * Holder(),
    ],
)
def test_masked_arrays_are_refused(call):
    with pytest.raises(TypeError, match="mask"):
        call(MASKED)
    assert p.tolist() == [1, 2, 3]


def test_a_masked_array_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match="mask"):
        fluxrs.save(tmp_path / "a.st", a=MASKED)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize(
    "f",
    [
        lambda x, r: x + r,
        lambda x, r: r - x,
        lambda x, r: x * r,
        lambda x, r: x @ r,
        lambda x, r: x == r,
        lambda x, r: x < r,
    ],
)
def test_a_range_is_the_list_of_its_numbers(f, dtype):
    x = tensor([[1, 2, 3], [4, 5, 6]], dtype=dtype)
    got, want = f(x, range(3)), f(x, [0, 1, 2])
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(got, f(np.asarray(x), np.arange(3)))
