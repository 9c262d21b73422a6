"""Indexing by NumPy's rules, and its gradient."""

import itertools

import numpy as np
import pytest

from fluxrs import gradcheck, gradient, param, relu, tensor

X = np.arange(60.0).reshape(3, 4, 5)
MASK = X[:, :, 0] % 3 == 0
I, J = np.array([0, 2, -1]), np.array([[1], [-2]])

KEYS = [
    0, -1, np.int64(2), slice(None), slice(1, None), slice(None, None, -1), slice(5, 0, -2), slice(10, 20), ..., None,
    (0, 1), (0, 1, 2), (slice(1), slice(None, None, 2)), (..., 0), (0, ..., -1), (slice(None), None, 1), (None, ..., None),
    [0, 2], [[0], [1]], [], I, J, (I, 0), (0, I), (I, I), (J, I), (slice(None), I), (slice(None), I, I), (I, slice(None), I),
    (I, None, I), (..., I), (0, slice(None), I), (slice(None), 0, I), (I, slice(1, 3)), (slice(None), J, slice(None, None, -2)),
    MASK, X > 30, (MASK[:, 0],), (slice(None), MASK[0]), (MASK[:, 0], 0), (slice(None), slice(None), np.array([True] * 5)),
    (..., np.arange(5) > 2), (None, MASK), ((0, 1), (1, 2)),
    np.zeros((3, 4), bool), (1, MASK[1]), np.zeros(0, int), (slice(None), [0, 1], slice(2, 2)), (True, False, True)[0:0],
    (slice(None), 0, ..., [0, 1]), (I, ..., 0, 0), (slice(None), None, I, ..., I), slice(None, None, 2**70), slice(-(2**70), 2**70),
    range(2), range(0), range(2, -1, -1), (range(2), 1), (slice(None), range(1, 3)), (range(2), range(2)),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k)[:40].replace("\n", ""))
def test_keys(key):
    got, want = tensor(X)[key], X[key]
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k)[:40].replace("\n", ""))
def test_gradients(key):
    p = X / 10

    def f(x):
        y = x[key]
        return (y * y * np.cos(np.arange(float(max(y.size, 1)))[: y.size]).reshape(y.shape)).sum()

    if X[key].size:
        assert gradcheck(f, p)
        assert gradcheck(lambda x: (gradient(f, x)[0] ** 2).sum(), p)


def test_tensors_as_keys():
    t = tensor(X)
    np.testing.assert_array_equal(t[tensor(I)], X[I])
    np.testing.assert_array_equal(t[t > 30], X[X > 30])
    np.testing.assert_array_equal(t[tensor(I), :, tensor(np.int64(1))], X[I, :, 1])
    np.testing.assert_array_equal(t[: tensor(np.int64(2))], X[:2])


def test_an_element_taken_twice_counts_twice():
    (g,) = gradient(lambda x: x[[0, 0, 2]].sum(), np.ones(3))
    assert g.tolist() == [2, 0, 1]
    p = param(np.ones((2, 2)))
    (h,) = gradient(lambda x: (x[0] * x[:, 1]).sum(), p)
    assert h.tolist() == [[1, 2], [0, 1]]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (3, "index 3 is out of range for axis 0 of size 3"),
        ((0, -5), "index -5 is out of range for axis 1 of size 4"),
        ((slice(None), [0, 4]), "index 4 is out of range for axis 1 of size 4"),
        ((0, 0, 0, 0), "4 indices"),
        (2**80, "out of range for any axis"),
        (1.0, "float"),
        ("a", "str"),
        (np.array([1.0]), "float64"),
        ((..., ...), "Ellipsis"),
        (np.array([True, False]), "mask"),
    ],
)
def test_wrong_keys(key, message):
    with pytest.raises(IndexError, match=message):
        tensor(X)[key]


def test_an_index_computed_out_of_range_is_found_where_it_is_read():
    i = tensor(np.array([0, 1])) * 5
    y = tensor(X)[i] + 1
    with pytest.raises(IndexError, match="5"):
        y.tolist()


def test_a_step_of_zero():
    with pytest.raises(ValueError, match="zero"):
        tensor(X)[::0]


def test_chains_of_views_have_plans_of_their_own():
    steps = {
        "transpose": lambda x: x.T,
        "the axes as they are": lambda x: x.transpose((0, 1)),
        "the shape as it is": lambda x: x.reshape(5, 5),
        "rows backwards": lambda x: x[::-1],
        "columns backwards": lambda x: x[:, ::-1],
    }
    data = np.random.default_rng(0).normal(size=(5, 5))
    for n in range(1, 5):
        for chain in itertools.product(steps, repeat=n):
            expected, x = data, tensor(data)
            for name in chain:
                expected, x = steps[name](expected), steps[name](x)
            np.testing.assert_array_equal(relu(x), np.maximum(expected, 0), err_msg=chain)
