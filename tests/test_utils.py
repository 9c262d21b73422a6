"""Batching, counting, initialisers."""

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    accuracy,
    batch,
    batchseq,
    chunk,
    frequencies,
    glorot_normal,
    glorot_uniform,
    initn,
    stack,
    unsqueeze,
    unstack,
)


def test_batch_and_batchseq():
    assert batch([[1, 2, 3], [4, 5, 6]]).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert batch([1, 2]).tolist() == [1, 2]
    seqs = [np.array([1, 2, 3]), np.array([4, 5])]
    assert [b.tolist() for b in batchseq(seqs, 0)] == [[1, 4], [2, 5], [3, 0]]
    assert len(batchseq(seqs, 0, 4)) == 4
    assert len(batchseq(seqs, 0, 2)) == 2
    assert batchseq([], 0) == []


def test_chunk():
    assert chunk(list(range(10)), 3) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert chunk([], 3) == []


def test_frequencies():
    assert frequencies(["a", "b", "b"]) == {"a": 1, "b": 2}
    assert frequencies(fluxrs.tensor([1.0, 2.0, 1.0])) == {1: 2, 2: 1}


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(0, (1, 2, 3)), (1, (2, 1, 3)), (2, (2, 3, 1)), (-1, (2, 3, 1)), (-3, (1, 2, 3))],
)
def test_unsqueeze(axis, shape):
    assert unsqueeze(np.zeros((2, 3)), axis).shape == shape


def test_unsqueeze_out_of_range():
    with pytest.raises(IndexError, match="unsqueeze"):
        unsqueeze(np.zeros((2, 3)), 3)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unstack_undoes_stack(axis):
    x = fluxrs.tensor(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(stack(unstack(x, axis), axis), x)


def test_accuracy():
    ŷ = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert accuracy(ŷ, [0, 1]) == 1
    assert accuracy(fluxrs.tensor(ŷ), fluxrs.onehotbatch([0, 0], [0, 1])) == 0.5
    with pytest.raises(ValueError, match="accuracy"):
        accuracy(ŷ, [0, 1, 1])


def test_accuracy_of_booleans():
    p, y = fluxrs.tensor([0.9, 0.2, 0.7, 0.1]), [1, 0, 0, 0]
    assert accuracy(p > 0.5, y) == 0.75
    assert accuracy(p.reshape(4, 1) > 0.5, np.array(y).reshape(4, 1)) == 0.75
    assert accuracy(np.array([[True, False], [True, True]]), np.array([[1, 1], [1, 0]])) == 0.5
    Y = fluxrs.onehotbatch("ab", "abc")
    assert accuracy(Y, fluxrs.onehotbatch("aa", "abc")) == 0.5
    assert accuracy(Y, [0, 1]) == 1


@pytest.mark.parametrize(
    ("ŷ", "y"),
    [
        ([[0.9], [0.1]], [[1], [0]]),
        ([[0.9], [0.1]], [1, 0]),
        ([0.9, 0.1, 0.3], [1, 0, 0]),
        ([0.9, 0.1, 0.3], 0),
        (0.5, 1),
        ([[True], [False]], [1, 0]),
        ([True, False], [[1], [0]]),
    ],
)
def test_accuracy_of_one_column_names_the_comparison(ŷ, y):
    with pytest.raises(ValueError, match=r"accuracy\(p > 0\.5, y\)"):
        accuracy(np.array(ŷ), y)


def test_accuracy_does_not_take_a_column_of_labels_for_rows():
    with pytest.raises(ValueError, match=r"shape \(2, 2\) .* targets of shape \(2, 1\)"):
        accuracy([[0.9, 0.1], [0.2, 0.8]], [[1], [0]])


@pytest.mark.parametrize("dims", [(100, 100), (100, 400), (16, 8, 5, 5)])
def test_glorot(dims):
    fluxrs.seed(0)
    fans = sum(dims[:2]) * int(np.prod(dims[2:]))
    v, edge = np.asarray(glorot_uniform(*dims)), np.sqrt(6 / fans)
    assert v.shape == dims
    assert -edge <= v.min() < -0.9 * edge
    assert 0.9 * edge < v.max() <= edge
    assert np.asarray(glorot_normal(*dims)).std() == pytest.approx(np.sqrt(2 / fans), rel=0.1)


def test_initn():
    fluxrs.seed(0)
    assert np.asarray(initn(100, 100)).std() == pytest.approx(0.01, rel=0.1)
