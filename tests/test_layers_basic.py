"""Chain, Dense, Diagonal."""

import copy
import pickle

import numpy as np
import pytest

import fluxrs
from fluxrs import Chain, Dense, DimensionMismatch, activations, compose, onehotbatch, relu, σ

x10 = np.random.default_rng(0).normal(size=(4, 10)).astype("float32")


def test_chain_calls_in_order_and_is_a_sequence():
    m = Chain(lambda x: x**2, lambda x: x + 1)
    assert m(5) == 26
    assert len(m) == 2
    assert m[-1](1) == 2
    assert isinstance(m[:1], Chain)
    assert m[:1](5) == 25
    assert [f(1) for f in m] == [1, 2]
    m.append(lambda x: -x)
    assert m(5) == -26
    assert Chain()(7) == 7


def test_compose_applies_the_last_function_first():
    m = compose(lambda x: x + 1, lambda x: x**2)
    assert isinstance(m, Chain)
    assert m(5) == 26


def test_activations_are_every_layers_output():
    m = Chain(Dense(10, 5, σ), Dense(5, 2), fluxrs.softmax)
    outs = activations(m, x10)
    assert [o.shape for o in outs] == [(4, 5), (4, 2), (4, 2)]
    np.testing.assert_array_equal(outs[-1], m(x10))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Dense(10, 5), "Dense(10, 5)"),
        (Dense(10, 5, σ), "Dense(10, 5, σ)"),
        (Dense(10, 5, relu), "Dense(10, 5, relu)"),
        (fluxrs.Diagonal(3), "Diagonal(3)"),
        (fluxrs.LayerNorm(3), "LayerNorm(3)"),
        (fluxrs.Dropout(0.5), "Dropout(0.5)"),
        (
            Chain(Dense(10, 5, σ), Dense(5, 2), fluxrs.softmax),
            "Chain(Dense(10, 5, σ), Dense(5, 2), softmax)",
        ),
    ],
)
def test_repr_is_as_flux_prints_it(model, text):
    assert repr(model) == text


@pytest.mark.parametrize("shape", [(10,), (4, 10), (3, 4, 10), (0, 10)])
def test_dense_is_its_formula_on_the_last_axis(shape):
    d = Dense(10, 5, σ)
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    expected = 1 / (1 + np.exp(-(x @ np.asarray(d.W).T + np.asarray(d.b))))
    np.testing.assert_allclose(d(x), expected, rtol=1e-5, atol=1e-6)


def test_dense_parameters():
    d = Dense(10, 5)
    assert d.W.shape == (5, 10)
    assert d.b.shape == (5,)
    assert d.W is d.W
    assert d.activation is d.σ is fluxrs.identity
    assert [p.shape for p in fluxrs.params(d)] == [(5, 10), (5,)]


def test_dense_initialisers_are_called_with_out_and_in():
    shapes = []

    def ones(*dims):
        shapes.append(dims)
        return fluxrs.ones(*dims)

    d = Dense(10, 2, initW=ones, initb=fluxrs.zeros)
    assert shapes == [(2, 10)]
    np.testing.assert_array_equal(d(np.ones((1, 10))), 10 * np.ones((1, 2)))


def test_dense_of_given_weights():
    W, b = fluxrs.param([[1, 2], [3, 4]]), fluxrs.param([10, 20])
    d = Dense(W, b, relu)
    assert d.W is W
    np.testing.assert_array_equal(d([1, 1]), [13, 27])
    fixed = Dense(np.eye(2, dtype="float32"), np.zeros(2, dtype="float32"))
    assert len(fluxrs.params(fixed)) == 0


def test_floating_input_takes_the_dtype_of_the_weights():
    d = Dense(10, 5)
    assert d(x10.astype("float64")).dtype == "float32"
    assert d(x10.astype("int64")).dtype == "float32"
    wide = Dense(10, 5, initW=lambda *s: np.ones(s), initb=lambda n: np.zeros(n))
    assert wide(x10).dtype == "float64"


def test_dense_of_one_hot_gathers_rows():
    d = Dense(3, 5)
    y = onehotbatch([2, 0, 1, 1], range(3))
    np.testing.assert_allclose(d(y), d(np.asarray(y, dtype="float32")), rtol=1e-6)


def test_diagonal():
    d = fluxrs.Diagonal(2)
    assert d(np.ones((3, 2))).shape == (3, 2)
    assert d(1).shape == (2,)
    assert d(np.ones(1)).shape == (2,)
    assert d.alpha is d.α
    assert d.beta is d.β
    with pytest.raises(DimensionMismatch, match=r"Diagonal\(2\)"):
        d(np.ones(3))
    two = fluxrs.Diagonal(2, initalpha=lambda n: 2 * fluxrs.ones(n))
    np.testing.assert_array_equal(two([1, 2]), [2, 4])


def test_models_survive_pickle_and_deepcopy():
    m = Chain(Dense(10, 5, σ), Dense(5, 2), fluxrs.softmax)
    for n in (pickle.loads(pickle.dumps(m)), copy.deepcopy(m)):
        np.testing.assert_array_equal(n(x10), m(x10))
        assert n[0].W is not m[0].W
        assert len(fluxrs.params(n)) == 4


def test_tied_weights_stay_tied_in_a_copy():
    d = Dense(3, 3)
    n = copy.deepcopy(Chain(d, d))
    assert n[0] is n[1]
