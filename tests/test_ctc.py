"""ctc against the sum over all paths, and its slopes against differences."""

import itertools

import numpy as np
import pytest

import fluxrs
from fluxrs import DimensionMismatch, ctc, gradcheck, gradient

RNG = np.random.default_rng(0)


def collapsed(path, blank):
    joined = [k for k, _ in itertools.groupby(path)]
    return [k for k in joined if k != blank]


def by_paths(logits, labels, blank):
    """−log of the sum of the probabilities of all paths that give the labels."""
    steps, classes = logits.shape
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    paths = itertools.product(range(classes), repeat=steps)
    total = sum(
        np.prod([p[t, k] for t, k in enumerate(path)])
        for path in paths
        if collapsed(path, blank) == list(labels)
    )
    return -np.log(total)


CASES = [
    ([], 3), ([0], 1), ([0], 4), ([0, 1], 2), ([0, 1], 5), ([0, 0], 3), ([0, 0], 5), ([1, 1, 1], 6), ([0, 1, 0], 5), ([], 0),
]  # fmt: skip


@pytest.mark.parametrize("blank", [-1, 0])
@pytest.mark.parametrize(("labels", "steps"), CASES)
def test_one_sample(labels, steps, blank):
    x = RNG.normal(size=(steps, 3))
    labels = [k + (blank == 0) for k in labels]
    want = by_paths(x, labels, blank % 3)
    got = ctc(x, labels, blank=blank)
    assert got.shape == () and got.dtype == "float64"
    assert float(got) == pytest.approx(want, rel=1e-12, abs=1e-12)
    if steps:
        assert gradcheck(lambda x: ctc(x, labels, blank=blank), x)


def test_a_batch_of_several_lengths():
    x, lengths = RNG.normal(size=(6, 4, 3)), [6, 4, 2, 5]
    labels = [[0, 1, 0], [1, 1], [], [0]]
    each = [by_paths(x[:t, i], labels[i], 2) for i, t in enumerate(lengths)]
    want = pytest.approx(np.mean(each), rel=1e-12)
    assert float(ctc(x, labels, lengths=lengths)) == want
    padded = np.array([[0, 1, 0], [1, 1, 7], [9, 9, 9], [0, -1, -1]])
    assert float(ctc(x, padded, lengths=lengths, label_lengths=[3, 2, 0, 1])) == want
    tensors = fluxrs.tensor(padded), fluxrs.tensor(lengths, dtype="int64")
    assert float(ctc(x, tensors[0], lengths=tensors[1], label_lengths=[3, 2, 0, 1])) == want
    f = lambda x: ctc(x, labels, lengths=lengths)
    assert gradcheck(f, x)
    (g,) = gradient(f, x)
    assert not np.asarray(g)[4:, 1].any()  # past the end of a sample
    assert gradcheck(lambda x: (gradient(f, x)[0] ** 2).sum(), x)


def test_third_order():
    first = lambda x: (gradient(lambda x: ctc(x, [0, 0]), x)[0] ** 2).sum()
    second = lambda x: (gradient(first, x)[0] ** 2).sum()
    assert gradcheck(second, RNG.normal(size=(4, 3)))


def test_long_sequences():
    x = RNG.normal(size=(400, 2, 5)).astype("float32") * 4
    labels = RNG.integers(0, 4, (2, 60))
    l, (g,) = fluxrs.withgradient(lambda x: ctc(x, labels), x)
    want = ctc(x.astype("float64"), labels)
    assert float(l) == pytest.approx(float(want), rel=1e-5)
    np.testing.assert_allclose(np.asarray(g).sum(-1), 0, atol=1e-4)  # as behind any softmax


def test_what_cannot_be_is_infinite():
    x = np.zeros((3, 3))
    x[:, 0] = -np.inf
    assert float(ctc(x, [0])) == np.inf
    assert float(ctc(x, [1])) == pytest.approx(np.log(8 / 6))


@pytest.mark.parametrize(("args", "error", "message"), [
    ((np.zeros(3), [0]), DimensionMismatch, r"logits are \(time, N, classes\)"),
    ((np.zeros((4, 2, 3)), [[0]]), DimensionMismatch, "labels of 1 samples for logits of 2"),
    ((np.zeros((4, 3)), [2]), ValueError, "the label 2 of sample 0 is no class from 0 to 2 but the blank, 2"),
    ((np.zeros((4, 3)), [-1]), ValueError, "the label -1"),
    ((np.zeros((4, 3)), [0.5]), TypeError, "sequence of integers"),
    ((np.zeros((2, 3)), [0, 0]), ValueError, "the 2 labels of sample 0 need 3 steps, and it has 2"),
    ((np.zeros((2, 1, 3)), [[0]], {"lengths": [3]}), ValueError, "lengths are between 0 and 2"),
    ((np.zeros((2, 1, 3)), [[0]], {"lengths": [1, 1]}), DimensionMismatch, "lengths are 1 integers"),
    ((np.zeros((2, 1, 3)), [[0]], {"label_lengths": [2]}), ValueError, "label_lengths are between 0 and 1"),
    ((np.zeros((2, 1, 3)), [[0]], {"blank": 3}), ValueError, "the blank 3 is none of the 3 classes"),
])  # fmt: skip
def test_refusals(args, error, message):
    *args, keywords = args if isinstance(args[-1], dict) else (*args, {})
    with pytest.raises(error, match=message):
        ctc(*args, **keywords)
