"""Losses against their formulas in NumPy."""

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    DimensionMismatch,
    binarycrossentropy,
    crossentropy,
    gradcheck,
    gradient,
    logitbinarycrossentropy,
    logitcrossentropy,
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
    "loss", [mse, crossentropy, logitcrossentropy, binarycrossentropy, logitbinarycrossentropy]
)
def test_nothing_is_broadcast(loss):
    with pytest.raises(DimensionMismatch, match=loss.__name__):
        loss(np.ones((3, 1)) / 2, np.ones(3))


@pytest.mark.parametrize("loss", [crossentropy, logitcrossentropy])
def test_labels_get_the_hint_of_onehotbatch(loss):
    with pytest.raises(DimensionMismatch, match="onehotbatch"):
        loss(probabilities, [1, 1, 0, 0])


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: mse(x, y),
        lambda x, y: crossentropy(softmax(x), softmax(y)),
        lambda x, y: logitcrossentropy(x, softmax(y)),
        lambda x, y: logitbinarycrossentropy(x, y).sum(),
        lambda x, y: binarycrossentropy(fluxrs.σ(x), y).sum(),
    ],
)
def test_gradients_of_both_arguments(loss):
    rng = np.random.default_rng(0)
    assert gradcheck(loss, rng.normal(size=(3, 4)), rng.uniform(0.1, 0.9, size=(3, 4)))
