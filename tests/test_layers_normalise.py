"""Dropout, LayerNorm, testmode."""

import numpy as np
import pytest

import fluxrs
from fluxrs import Chain, Dense, Dropout, LayerNorm, normalise, testmode


def zeros_in(y):
    return int((np.asarray(y) == 0).sum())


def test_dropout_drops_scales_and_obeys_testmode():
    x = np.ones(1000, dtype="float32")
    m = Dropout(0.9)
    y = np.asarray(m(x))
    assert 850 < zeros_in(y) < 950
    np.testing.assert_allclose(y[y != 0], 10, rtol=1e-5)
    assert testmode(m) is m
    assert zeros_in(m(x)) == 0
    testmode(m, False)
    assert zeros_in(m(x)) > 800


def test_dropout_at_its_ends():
    x = np.arange(1, 4, dtype="float32")
    np.testing.assert_array_equal(Dropout(0)(x), x)
    np.testing.assert_array_equal(Dropout(1)(x), 0 * x)
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            Dropout(p)


def test_dropout_gradient_uses_the_mask_of_the_forward_pass():
    x = fluxrs.param(np.ones(100))
    y = Dropout(0.5)(x)
    fluxrs.back(y.sum())
    np.testing.assert_array_equal(x.grad, y)


def test_dropout_follows_the_seed():
    x = np.ones(50, dtype="float32")
    fluxrs.seed(3)
    a = np.array(Dropout(0.5)(x))
    fluxrs.seed(3)
    np.testing.assert_array_equal(Dropout(0.5)(x), a)


def test_testmode_reaches_nested_layers():
    m = Chain(Dense(10, 10), Chain(Dropout(0.5)), {"d": Dropout(0.5)}.get)
    testmode(m[:2])
    assert not m[1][0].active


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
def test_normalise_and_layer_norm_are_their_formula(shape):
    x = np.random.default_rng(0).normal(3, 2, size=shape)
    σ2 = x.var(-1, ddof=1, keepdims=True)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(σ2 + 1e-8)
    np.testing.assert_allclose(normalise(x), expected, rtol=1e-10)
    np.testing.assert_allclose(LayerNorm(5)(x), expected, rtol=1e-4, atol=1e-5)


def test_normalising_a_constant_or_a_single_value_gives_zeros():
    np.testing.assert_array_equal(normalise(np.full((2, 3), 7.0)), np.zeros((2, 3)))
    np.testing.assert_array_equal(LayerNorm(1)([[4.0]]), [[0.0]])


def test_layer_norm_parameters_and_gradient():
    n = LayerNorm(3, eps=1e-5)
    assert n.eps == n.ϵ == 1e-5
    assert [p.shape for p in fluxrs.params(n)] == [(3,), (3,)]
    assert fluxrs.gradcheck(lambda x: (normalise(x, eps=1e-3) ** 3).sum(), [[1.0, 2.0, 4.0]])
