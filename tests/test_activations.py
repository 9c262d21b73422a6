"""Activations against their formulas, far out and at 0."""

import math

import numpy as np
import pytest

import fluxrs
from fluxrs import gradcheck

x = np.array([-30.0, -3.0, -0.5, 0.0, 0.5, 3.0, 30.0])
GELU = 2 * math.sqrt(2 / math.pi)  # ½ (1 + tanh u) is σ(2u)
λ, α = 1.0507009873554805, 1.6732632423543772


def elu(x, α=1.0):
    return np.where(x > 0, x, α * np.expm1(x))


FORMULAS = {
    "σ": lambda x: 1 / (1 + np.exp(-x)),
    "logσ": lambda x: -np.logaddexp(0, -x),
    "relu": lambda x: np.maximum(x, 0),
    "leakyrelu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": elu,
    "selu": lambda x: λ * elu(x, α),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "gelu": lambda x: x * np.exp(-np.logaddexp(0, -GELU * (x + 0.044715 * x**3))),
    "tanh": np.tanh,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_value(name):
    expected = FORMULAS[name](x)
    np.testing.assert_allclose(getattr(fluxrs, name)(x), expected, rtol=1e-12, atol=1e-300)
    single = np.asarray(getattr(fluxrs, name)(x.astype("float32")))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name", [n for n in FORMULAS if n != "identity"])
def test_gradient(name):
    f = getattr(fluxrs, name)
    assert gradcheck(lambda x: f(x).sum(), x[x != 0])
    second = lambda x: fluxrs.gradient(lambda x: f(x).sum(), x)[0].sum()
    assert gradcheck(second, np.array([-2.5, -0.4, 0.7, 1.9]))


@pytest.mark.parametrize("name", [n for n in FORMULAS if n != "identity"])
def test_far_out(name):
    f = getattr(fluxrs, name)
    far = np.array([-1e4, 1e4])
    (g,) = fluxrs.gradient(lambda x: f(x).sum(), far)
    assert np.isfinite(np.asarray(f(far))).all()
    assert np.isfinite(np.asarray(g)).all()


def test_slopes_of_the_leaky_ones():
    assert fluxrs.leakyrelu([-1.0, 1.0], 0.25).tolist() == [-0.25, 1.0]
    assert fluxrs.elu([-1e4], α=3).tolist() == fluxrs.elu([-1e4], alpha=3).tolist() == [-3.0]


@pytest.mark.parametrize("f", [fluxrs.softmax, fluxrs.logsoftmax])
def test_softmax_is_stable_on_the_last_axis(f):
    y = np.asarray(f(np.array([[1e4, 0.0], [-np.inf, 1.0], [3.0, 3.0]])))
    p = np.exp(y) if f is fluxrs.logsoftmax else y
    np.testing.assert_allclose(p, [[1, 0], [0, 1], [0.5, 0.5]])
