"""Losses, activations and layers of them on the GPU as on the CPU, with their slopes."""

import numpy as np
import pytest

import fluxrs as fx
from gpu_cases import agree, close, slopes

pytestmark = pytest.mark.skipif(not fx._core.has_gpu(), reason="no GPU")

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 6, 4)).astype("float32")
P, Q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (A, B))
LABELS = RNG.integers(0, 4, 6)
STEPS = RNG.normal(size=(7, 3, 4)).astype("float32")
SAID = [[0, 1], [2, 2, 0], []]

CASES = {
    "mae": (lambda x, y: fx.mae(x, y), A, B),
    "huber": (lambda x, y: fx.huber(x, y, δ=0.7), A, B),
    "kldivergence": (lambda x, y: fx.kldivergence(x, y), P, Q),
    "cosine_similarity": (lambda x, y: fx.cosine_similarity(x, y), A, B),
    "labels": (lambda x: fx.logitcrossentropy(x, LABELS), A),
    "labels of probabilities": (lambda x: fx.crossentropy(x, LABELS.tolist()), P),
    "smoothing": (
        lambda x: fx.logitcrossentropy(x, LABELS, smoothing=0.1, weight=[1.0, 2, 3, 4]),
        A,
    ),
    "ctc": (lambda x: fx.ctc(x, SAID), STEPS),
    "ctc of lengths": (lambda x: fx.ctc(x, SAID, lengths=[2, 7, 5]), STEPS),
    "gelu_erf": (fx.gelu_erf, 4 * A),
    "mish": (fx.mish, 4 * A),
    "hardswish": (fx.hardswish, 4 * A),
    "celu": (lambda x: fx.celu(x, 0.5), A),
    "prelu": (fx.prelu, A, B[0]),
    "glu": (lambda x: fx.glu(x, 0), A),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes(name):
    f, *xs = CASES[name]
    agree(f, *xs)
    agree(slopes(f), *xs, tolerance=1e-4)


def test_labels_in_a_tensor():
    labels = fx.tensor(LABELS, dtype="int64")
    want = fx.logitcrossentropy(A, labels)
    close(fx.cpu(fx.logitcrossentropy(fx.gpu(fx.tensor(A)), fx.gpu(labels))), want)
    wrong = fx.gpu(fx.tensor([0, 1, 2, 3, 4, 0], dtype="int64"))
    with pytest.raises(IndexError):
        float(fx.logitcrossentropy(fx.gpu(fx.tensor(A)), wrong))
    assert float(fx.gpu(fx.ones(2)).sum()) == 2


def test_ctc_of_labels_on_the_gpu():
    labels = fx.gpu(fx.tensor([[0, 1], [2, 0], [1, 1]], dtype="int64"))
    lengths = fx.gpu(fx.tensor([7, 6, 5], dtype="int64"))
    want = fx.ctc(STEPS, [[0, 1], [2, 0], [1, 1]], lengths=[7, 6, 5])
    close(fx.cpu(fx.ctc(fx.gpu(fx.tensor(STEPS)), labels, lengths=lengths)), want)


def test_the_layer_prelu():
    m = fx.PReLU(4)
    (want,) = fx.gradient(lambda: m(A).sum(), fx.params(m)).values()
    m = fx.gpu(m)
    (got,) = fx.gradient(lambda: m(fx.gpu(fx.tensor(A))).sum(), fx.params(m)).values()
    close(fx.cpu(got), want)
