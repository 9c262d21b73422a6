"""The one-hot family."""

import copy
import pickle

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    DimensionMismatch,
    OneHotMatrix,
    OneHotVector,
    batch,
    onecold,
    onehot,
    onehotbatch,
)

Y = onehotbatch("bab", "abc")
dense = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=bool)


def test_onehot_of_each_kind_of_label():
    assert onehot("b", ["a", "b", "c"]).tolist() == [False, True, False]
    assert onehot(True, [False, True]).tolist() == [False, True]
    assert onehot(7, np.array([5, 7])).tolist() == [False, True]
    assert isinstance(onehot("a", "abc"), OneHotVector)


def test_onehotbatch_is_a_matrix_of_rows():
    assert isinstance(Y, OneHotMatrix)
    assert Y.shape == (3, 3)
    assert len(Y) == 3
    np.testing.assert_array_equal(Y, dense)
    assert onehotbatch(np.array([2, 0]), range(3)).shape == (2, 3)
    assert onehotbatch([], "ab").shape == (0, 2)


@pytest.mark.parametrize("f", [onehot, lambda l, *a: onehotbatch([l], *a)])
def test_unknown_labels(f):
    with pytest.raises(ValueError, match="'d' is not among the labels 'a', 'b', 'c'"):
        f("d", "abc")
    np.testing.assert_array_equal(np.asarray(f("d", "abc", "c")).reshape(-1), [0, 0, 1])


def test_onecold_inverts():
    assert onecold(onehot("c", "abc"), "abc") == "c"
    assert onecold(Y, "abc") == ["b", "a", "b"]
    assert onecold([0.3, 0.2, 0.5], "abc") == "c"
    assert onecold([1, 2, 5, 3.0]) == 2
    A = np.array([[1, 2, 3, 2], [20, 7, 9, 1], [5, 6, 10, 14]])
    assert onecold(A, "ABCD") == ["C", "A", "D"]
    assert onecold(A).tolist() == [2, 0, 3]


W = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (Y @ fluxrs.tensor(W), dense @ W),
        (Y @ W, dense @ W),
        (fluxrs.tensor(W.T) @ Y.T, W.T @ dense.T),
        (W.T @ Y.T, W.T @ dense.T),
        (onehot("c", "abc") @ W, W[2]),
        (W.T @ onehot("c", "abc"), W[2]),
        (fluxrs.tensor(W.T) @ onehot("c", "abc"), W[2]),
        (W.T @ Y, W.T @ dense),
        (Y.T @ W, dense.T @ W),
    ],
)
def test_products(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-6)


T = onehotbatch("bacb", "abc")
C = onehot("c", "abc")
V = np.random.default_rng(1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        (T, (3,)), (T, (3, 2)), (T, (3, 3, 2)), (T, (2, 5, 3, 0)), (C, (3,)), (C, (3, 3, 2)), (T.T, (4,)), (T.T, (4, 2)),
        (T.T, (4, 4, 2)), ((4,), T), ((2, 4), T), ((4, 5, 4), T), ((3,), T.T), ((4, 2, 3), T.T), ((3,), C), ((3, 2, 3), C),
    ],
    ids=lambda x: str(getattr(x, "shape", x)),
)  # fmt: skip
def test_products_are_those_of_the_array(left, right, dtype):
    given = V.normal(size=left if isinstance(left, tuple) else right) * 2**26
    given = (given * 2**30).astype(dtype) if dtype == "int64" else given.astype(dtype)
    x, y = (given, right) if isinstance(left, tuple) else (left, given)
    want = np.asarray(x).astype(dtype) @ np.asarray(y).astype(dtype)
    for of in (np.asarray, fluxrs.tensor):
        a, b = (of(x), y) if x is given else (x, of(y))
        assert (a @ b).dtype == dtype
        np.testing.assert_allclose(a @ b, want, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_gradient_of_a_product_reaches_the_gathered_rows():
    p = fluxrs.param(W)
    fluxrs.back((Y @ p).sum())
    np.testing.assert_array_equal(p.grad, dense.T.astype("float32") @ np.ones((3, 4)))


def test_products_of_the_wrong_size():
    for wrong in (lambda: Y @ W.T, lambda: W @ Y.T, lambda: onehot("a", "ab") @ W):
        with pytest.raises(DimensionMismatch, match="one-hot"):
            wrong()


def test_it_behaves_like_the_array():
    np.testing.assert_array_equal(Y + 1, dense + 1)
    np.testing.assert_array_equal(2.0 * Y, 2.0 * dense)
    np.testing.assert_array_equal(dense == Y, np.ones((3, 3), bool))
    np.testing.assert_array_equal(np.asarray(Y, dtype="float32").sum(1), np.ones(3))
    np.testing.assert_array_equal(~Y, ~dense)
    np.testing.assert_array_equal(2**Y, 2 ** dense.astype(int))
    np.testing.assert_array_equal(Y ^ Y, dense ^ dense)
    np.testing.assert_array_equal(np.argmax(Y, axis=1), dense.argmax(1))
    np.testing.assert_array_equal(np.concatenate([Y, Y]), np.concatenate([dense, dense]))
    assert int(Y.sum()) == 3
    assert [isinstance(v, OneHotVector) for v in Y] == [True] * 3
    assert Y[0].tolist() == [False, True, False]
    assert isinstance(Y[1:], OneHotMatrix)
    assert isinstance(Y[[0, 2]], OneHotMatrix)
    np.testing.assert_array_equal(Y[np.array([2, 1])], dense[[2, 1]])
    np.testing.assert_array_equal(Y[:, 1], dense[:, 1])
    assert repr(onehot("a", "ab")) == "OneHotVector([1 0])"


def test_a_transposed_batch_behaves_like_the_array():
    bits = dense.T[:, :2]
    T = onehotbatch("ba", "abc").T
    assert T.shape == (3, 2)
    assert len(T) == 3
    np.testing.assert_array_equal(T * 2, bits * 2)
    np.testing.assert_array_equal(1 - T, 1 - bits)
    np.testing.assert_array_equal(np.ones((3, 2)) + T, 1 + bits)
    np.testing.assert_array_equal(bits == T, np.ones((3, 2), bool))
    np.testing.assert_array_equal(~T, ~bits)
    np.testing.assert_array_equal(T.T * 2 + T.T, 3 * bits.T)
    np.testing.assert_array_equal(T[1], bits[1])
    np.testing.assert_array_equal([row.tolist() for row in T], bits)
    assert T.sum(axis=0).tolist() == [1, 1]
    np.testing.assert_array_equal(copy.deepcopy(T), bits)


def test_batch_of_vectors_stays_one_hot():
    b = batch([onehot(l, "abc") for l in "bab"])
    assert isinstance(b, OneHotMatrix)
    np.testing.assert_array_equal(b, dense)


def test_copies():
    for c in (copy.deepcopy(Y), pickle.loads(pickle.dumps(Y)), fluxrs.cpu(Y)):
        np.testing.assert_array_equal(c, dense)
