"""Activations against their formulas, far out and at 0."""

import math

import numpy as np
import pytest

import fluxrs
from fluxrs import gradcheck

x = np.array([-30.0, -3.0, -0.5, 0.0, 0.5, 3.0, 30.0])
GELU = 2 * math.sqrt(2 / math.pi)  # ½ (1 + tanh u) is σ(2u)
λ, α = 1.0507009873554805, 1.6732632423543772


def ndtr(x):
    return np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2


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
    "gelu_erf": lambda x: x * ndtr(x),
    "hardsigmoid": lambda x: np.clip((x + 3) / 6, 0, 1),
    "hardswish": lambda x: x * np.clip((x + 3) / 6, 0, 1),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "celu": elu,
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
    assert gradcheck(lambda x: f(x).sum(), x[x != 0] * 1.01)
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


def test_the_normal_distribution_to_its_tail():
    x = [-37, -20.3, -8, -5, -2.9, 0, 3.5]
    Φ = [
        5.725571222524577e-300, 6.429244467698346e-92, 6.220960574271784e-16,
        2.866515718791939e-07, 0.0018658133003840384, 0.5, 0.9997673709209645,
    ]  # fmt: skip
    np.testing.assert_allclose(fluxrs.normcdf(np.array(x)), Φ, rtol=1e-15)
    np.testing.assert_allclose(fluxrs.gelu_erf(np.array(x)), np.multiply(x, Φ), rtol=1e-15)
    single = np.asarray(fluxrs.normcdf(np.array(x[2:], dtype="float32")))
    np.testing.assert_allclose(single, Φ[2:], rtol=5e-7)


def test_celu_and_prelu():
    want = np.where(x > 0, x, 2 * np.expm1(x / 2))
    np.testing.assert_allclose(fluxrs.celu(x, 2.0), want, rtol=1e-14)
    assert fluxrs.celu([-1e4], α=3).tolist() == fluxrs.celu([-1e4], alpha=3).tolist() == [-3.0]
    rows, a = np.array([[-2.0, 3.0], [4.0, -5.0]]), np.array([0.5, 0.1])
    np.testing.assert_allclose(fluxrs.prelu(rows, a), np.where(rows > 0, rows, a * rows))
    assert gradcheck(lambda r, a: (fluxrs.prelu(r, a) ** 2).sum(), rows, a)
    assert gradcheck(lambda r, a: (fluxrs.celu(r, a) ** 2).sum(), rows, a)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_glu(axis):
    rows = np.random.default_rng(0).normal(size=(4, 6))
    a, b = np.split(rows, 2, axis)
    np.testing.assert_allclose(fluxrs.glu(rows, axis), a / (1 + np.exp(-b)), rtol=1e-12)
    assert gradcheck(lambda r: (fluxrs.glu(r, axis) ** 2).sum(), rows)


def test_glu_refuses():
    with pytest.raises(fluxrs.DimensionMismatch, match="axis 1 has length 3; it is divided"):
        fluxrs.glu(np.ones((2, 3)))
    with pytest.raises(IndexError, match="glu: axis"):
        fluxrs.glu(np.ones((2, 4)), 2)


def test_the_layer_prelu():
    m = fluxrs.PReLU(3)
    images = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    want = np.where(images > 0, images, 0.25 * images)
    np.testing.assert_allclose(m(images), want, rtol=1e-6)
    (slopes,) = fluxrs.gradient(lambda: m(images).sum(), fluxrs.params(m)).values()
    np.testing.assert_allclose(slopes, np.minimum(images, 0).sum((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(fluxrs.PReLU()(images), want, rtol=1e-6)
    assert repr(fluxrs.Chain(m)) == "Chain(PReLU(3))"
    with pytest.raises(fluxrs.DimensionMismatch, match="PReLU.3. takes 3 channels on axis 1"):
        m(np.ones((2, 4)))


@pytest.mark.parametrize("f", [fluxrs.softmax, fluxrs.logsoftmax])
def test_softmax_is_stable_on_the_last_axis(f):
    y = np.asarray(f(np.array([[1e4, 0.0], [-np.inf, 1.0], [3.0, 3.0]])))
    p = np.exp(y) if f is fluxrs.logsoftmax else y
    np.testing.assert_allclose(p, [[1, 0], [0, 1], [0.5, 0.5]])
