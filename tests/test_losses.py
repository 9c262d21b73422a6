"""Losses against their formulas in NumPy."""

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    DimensionMismatch,
    binarycrossentropy,
    cosine_similarity,
    crossentropy,
    gradcheck,
    gradient,
    huber,
    kldivergence,
    logitbinarycrossentropy,
    logitcrossentropy,
    mae,
    mse,
    onehotbatch,
    softmax,
)

labels = onehotbatch([1, 1, 0, 0], range(2))
probabilities = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
v = np.log(0.1 / 0.9)
logits = np.array([[v, 0.0], [0.0, v], [0.0, v], [v, 0.0]])


def test_mse():
    assert float(mse([0.9, 0.1, 0.1, 0.9], [1, 1, 0, 0])) == pytest.approx((0.1**2 + 0.9**2) / 2)
    assert float(mse(np.ones((2, 3)), np.zeros((2, 3)))) == 1


@pytest.mark.parametrize("weight", [1, 2, 0.5, [1.0, 2.0, 3.0], np.array([[2.0], [3.0]])])
def test_weights_of_the_elementwise_losses(weight):
    ŷ, y = np.array([[0.1, 0.5, 0.8], [0.3, 0.6, 0.9]]), np.array([[0.0, 1, 1], [1, 0, 1]])
    w = np.asarray(weight)
    assert float(mse(ŷ, y, weight=weight)) == pytest.approx((w * (ŷ - y) ** 2).mean())
    for loss in (binarycrossentropy, logitbinarycrossentropy):
        np.testing.assert_allclose(
            loss(ŷ, y, weight=weight), w * np.asarray(loss(ŷ, y)), rtol=1e-12
        )
    for loss in (mse, binarycrossentropy, logitbinarycrossentropy):
        assert gradcheck(lambda ŷ: loss(ŷ, y, weight=weight).sum(), ŷ)
        with pytest.raises(DimensionMismatch, match="weight has shape"):
            loss(ŷ, y, weight=np.ones(2))


@pytest.mark.parametrize(
    ("loss", "ŷ"), [(crossentropy, probabilities), (logitcrossentropy, logits)]
)
@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (1, 1.203972804325936),
        (np.ones(2), 1.203972804325936),
        ([0.5, 0.5], 1.203972804325936 / 2),
        (np.array([2, 0.5]), 1.5049660054074199),
    ],
)
def test_crossentropies_of_a_batch_with_weights(loss, ŷ, weight, expected):
    assert float(loss(ŷ, labels, weight=weight)) == pytest.approx(expected, rel=1e-5)


def test_crossentropy_of_one_sample_and_of_soft_labels():
    assert float(crossentropy([0.25, 0.75], [0, 1])) == pytest.approx(-np.log(0.75), rel=1e-6)
    soft = np.array([[0.3, 0.7]])
    expected = -(soft * np.log([[0.2, 0.8]])).sum()
    assert float(crossentropy(np.array([[0.2, 0.8]]), soft)) == pytest.approx(expected)


def test_zero_times_log_zero_is_zero_and_so_is_its_gradient():
    assert float(crossentropy([0.0, 1.0], [0, 1])) == 0
    (g,) = gradient(lambda p: crossentropy(p, np.array([0.0, 1.0])), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(g, [0, -1])
    assert float(logitcrossentropy([-np.inf, 0.0], [0, 1])) == 0


def test_logit_losses_are_stable():
    assert float(logitcrossentropy([[1000.0, 0.0]], [[1, 0]])) == 0
    assert float(logitcrossentropy([[1000.0, 0.0]], [[0, 1]])) == pytest.approx(1000)
    loss = np.asarray(logitbinarycrossentropy([-1000.0, 1000.0], [0, 1]))
    np.testing.assert_array_equal(loss, [0, 0])


def test_binary_losses_return_elements():
    logŷ, y = np.array([-1.1491, 0.8619, 0.3127]), np.array([1, 1, 0.0])
    ŷ = 1 / (1 + np.exp(-logŷ))
    expected = -y * np.log(ŷ) - (1 - y) * np.log(1 - ŷ)
    np.testing.assert_allclose(binarycrossentropy(ŷ, y, ϵ=0), expected, rtol=1e-12)
    np.testing.assert_allclose(binarycrossentropy(ŷ, y), expected, rtol=1e-9)
    np.testing.assert_allclose(logitbinarycrossentropy(logŷ, y), expected, rtol=1e-12)
    assert np.isfinite(np.asarray(binarycrossentropy([0.0, 1.0], [1, 0]))).all()
    np.testing.assert_array_equal(binarycrossentropy([0.0, 1.0], [0, 1], eps=0), [0, 0])


@pytest.mark.parametrize(
    "loss",
    [
        mse, mae, huber, crossentropy, logitcrossentropy, binarycrossentropy, logitbinarycrossentropy,
        kldivergence, cosine_similarity,
    ],
)  # fmt: skip
def test_nothing_is_broadcast(loss):
    with pytest.raises(DimensionMismatch, match=loss.__name__):
        loss(np.ones((3, 1)) / 2, np.ones(3))


CROSS = [(crossentropy, probabilities), (logitcrossentropy, logits)]


@pytest.mark.parametrize(
    "as_", [list, tuple, np.array, fluxrs.tensor, lambda y: np.array(y, "uint8")]
)
@pytest.mark.parametrize(("loss", "ŷ"), CROSS)
def test_integers_are_labels(loss, ŷ, as_):
    y = as_([1, 1, 0, 0])
    if as_ is fluxrs.tensor:
        y = fluxrs.tensor([1, 1, 0, 0], dtype="int32")
    assert float(loss(ŷ, y)) == float(loss(ŷ, labels))
    assert float(loss(ŷ, y, weight=[0.5, 2.0])) == float(loss(ŷ, labels, weight=[0.5, 2.0]))
    got, want = (gradient(lambda ŷ: loss(ŷ, t), ŷ)[0] for t in (y, labels))
    np.testing.assert_array_equal(got, want)


def test_labels_of_one_sample_of_sequences_and_of_none():
    assert float(logitcrossentropy(logits[0], 1)) == float(logitcrossentropy(logits[0], [0, 1]))
    steps = np.random.default_rng(0).normal(size=(5, 4, 3))
    y = np.random.default_rng(1).integers(0, 3, (5, 4))
    want = -np.take_along_axis(np.asarray(fluxrs.logsoftmax(steps)), y[..., None], -1).mean()
    assert float(logitcrossentropy(steps, y)) == pytest.approx(want)
    assert float(logitcrossentropy(np.zeros((0, 3)), np.zeros(0, dtype=int))) == 0


@pytest.mark.parametrize(("loss", "ŷ"), CROSS)
@pytest.mark.parametrize(("y", "error", "message"), [
    ([1, 2, 0, 0], ValueError, "the label 2 is no class of a prediction of shape .4, 2.; classes are counted from 0 to 1"),
    (np.array([1, -1, 0, 0]), ValueError, "the label -1"),
    ([1.0, 1.0, 0.0, 0.0], DimensionMismatch, "labels are integers, .*or onehotbatch"),
    ([True, True, False, False], DimensionMismatch, "labels are integers"),
    ([1, 1, 0], DimensionMismatch, r"shape \(4, 2\) and the target \(3,\)"),
    ([[1], [1], [0], [0]], DimensionMismatch, "must be equal"),
])  # fmt: skip
def test_labels_that_are_none(loss, ŷ, y, error, message):
    with pytest.raises(error, match=message):
        loss(ŷ, y)


@pytest.mark.parametrize("wrong", [2, -1])
def test_labels_in_a_tensor_are_checked_when_the_loss_is_evaluated(wrong):
    l = logitcrossentropy(logits, fluxrs.tensor([1, wrong, 0, 0], dtype="int64"))
    with pytest.raises(IndexError):
        float(l)


@pytest.mark.parametrize(("loss", "ŷ"), CROSS)
def test_label_smoothing(loss, ŷ):
    soft = 0.7 * np.asarray(labels) + 0.3 / 2
    for y in (labels, [1, 1, 0, 0]):
        assert float(loss(ŷ, y, smoothing=0.3)) == pytest.approx(float(loss(ŷ, soft)))
    with pytest.raises(ValueError, match="smoothing is a share between 0 and 1, got 1.5"):
        loss(ŷ, labels, smoothing=1.5)


e = np.array([[-3.0, -1.0, 0.0], [0.25, 1.0, 7.0]])


@pytest.mark.parametrize("weight", [1, 0.5, [1.0, 2.0, 3.0]])
def test_mae_and_huber(weight):
    w, y = np.asarray(weight), np.ones((2, 3))
    assert float(mae(y + e, y, weight=weight)) == pytest.approx((w * abs(e)).mean())
    for δ in (0.5, 1, 4.0):
        want = (w * np.where(abs(e) <= δ, e**2 / 2, δ * (abs(e) - δ / 2))).mean()
        assert float(huber(y + e, y, δ=δ, weight=weight)) == pytest.approx(want)
        assert float(huber(y + e, y, delta=δ, weight=weight)) == pytest.approx(want)
        assert gradcheck(lambda x: huber(x, y, δ=δ, weight=weight), y + e * 1.01)


def test_huber_at_its_edges():
    f = lambda x: huber(x, np.zeros(5)) * 5
    x = np.array([0.0, 1e300, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(gradient(f, x)[0], [0, 1, 1, -1, np.nan])
    bend = gradient(
        lambda x: gradient(lambda x: huber(x, np.zeros(3)), x)[0].sum(), np.array([0.0, 0.5, 2])
    )
    np.testing.assert_allclose(bend[0], [1 / 3, 1 / 3, 0])
    for δ in (0, -1, np.nan):
        with pytest.raises(ValueError, match="δ, or delta, must be positive"):
            huber([1.0], [2.0], δ=δ)


def test_kldivergence():
    p, q = np.array([[0.1, 0.9], [0.5, 0.5]]), np.array([[0.3, 0.7], [0.0, 1.0]])
    want = (0.3 * np.log(0.3 / 0.1) + 0.7 * np.log(0.7 / 0.9) + np.log(2)) / 2
    assert float(kldivergence(p, q)) == pytest.approx(want)
    assert float(kldivergence(p, p)) == 0
    assert float(kldivergence([0.0, 1.0], [0.0, 1.0])) == 0
    assert float(kldivergence([0.0, 1.0], [0.5, 0.5])) == np.inf
    np.testing.assert_array_equal(
        gradient(lambda p: kldivergence(p, [0.0, 1.0]), [0.0, 0.5])[0], [0, -2]
    )


def test_cosine_similarity():
    x, y = np.random.default_rng(0).normal(size=(2, 4, 3))
    norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    np.testing.assert_allclose(cosine_similarity(x, y), (x * y).sum(-1) / norms, rtol=1e-12)
    np.testing.assert_allclose(cosine_similarity(x, x, axis=0), np.ones(3), rtol=1e-12)
    assert cosine_similarity(np.zeros((1, 3)), np.ones((1, 3))).tolist() == [0]
    (g,) = gradient(lambda x: cosine_similarity(x, np.ones(2)).sum(), np.zeros(2))
    assert np.isfinite(np.asarray(g)).all()


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: mse(x, y),
        lambda x, y: crossentropy(softmax(x), softmax(y)),
        lambda x, y: logitcrossentropy(x, softmax(y)),
        lambda x, y: logitbinarycrossentropy(x, y).sum(),
        lambda x, y: mae(x, y),
        lambda x, y: huber(x, y, delta=0.3),
        lambda x, y: kldivergence(softmax(x), softmax(y)),
        lambda x, y: cosine_similarity(x, y).sum(),
        lambda x, y: logitcrossentropy(x, [0, 3, 1], smoothing=0.1) + y.sum(),
        lambda x, y: binarycrossentropy(fluxrs.σ(x), y).sum(),
    ],
)
def test_gradients_of_both_arguments(loss):
    rng = np.random.default_rng(0)
    assert gradcheck(loss, rng.normal(size=(3, 4)), rng.uniform(0.1, 0.9, size=(3, 4)))
