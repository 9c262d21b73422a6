"""Dropout, the normalisations, testmode."""

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    BatchNorm,
    Chain,
    Dense,
    DimensionMismatch,
    Dropout,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    checkpoint,
    gradcheck,
    gradient,
    normalise,
    params,
    testmode,
)


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


x6 = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype="float32")


def test_batch_norm_follows_the_batches_statistics():
    m = BatchNorm(2)
    assert m.active
    np.testing.assert_allclose(m(x6), (x6 - [3, 4]) / np.sqrt(8 / 3), rtol=1e-5)
    np.testing.assert_allclose(m.μ.data, [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(m.var.data, 0.9 + 0.1 * np.array([4, 4]), rtol=1e-6)


def test_batch_norm_uses_the_running_ones_in_testing_mode():
    m = BatchNorm(2, fluxrs.σ, momentum=0.5)
    m(x6)
    testmode(m)
    z = (x6 - np.asarray(m.μ.data)) / np.sqrt(np.asarray(m.var.data) + 1e-8)
    np.testing.assert_allclose(m(x6), 1 / (1 + np.exp(-z)), rtol=1e-5)
    before = np.array(m.μ.data)
    m(x6)
    np.testing.assert_array_equal(m.μ.data, before)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 6)])
def test_batch_norm_normalises_axis_one(shape):
    y = np.asarray(BatchNorm(3)(np.random.default_rng(0).normal(2, 3, size=shape)))
    axes = (0, *range(2, len(shape)))
    np.testing.assert_allclose(y.mean(axes), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(y.var(axes), np.ones(3), rtol=1e-4)


def test_batch_norm_of_one_sample_divides_by_nothing():
    m = BatchNorm(2)
    np.testing.assert_array_equal(m(x6[:1]), [[0, 0]])
    assert np.isfinite(np.asarray(m.var.data)).all()


def test_batch_norm_of_another_number_of_channels():
    with pytest.raises(DimensionMismatch, match=r"BatchNorm\(2, λ = relu\) takes 2 channels"):
        BatchNorm(2, fluxrs.relu)(np.ones((3, 4)))


def test_batch_norm_has_two_parameters_and_learns():
    m = Chain(Dense(2, 3), BatchNorm(3), Dense(3, 1))
    assert len(fluxrs.params(m)) == 6
    fluxrs.back((m(x6) ** 2).sum())
    assert np.abs(np.asarray(m[1].γ.grad)).sum() > 0


@pytest.mark.parametrize("size", [(4, 5), (3, 4, 5), (5,)])
def test_layer_norm_over_several_axes(size):
    x = np.random.default_rng(0).normal(3, 2, size=(2, 3, 4, 5))
    axes = tuple(range(4 - len(size), 4))
    want = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, ddof=1, keepdims=True) + 1e-8)
    n = LayerNorm(size)
    np.testing.assert_allclose(n(x), want, rtol=1e-4, atol=1e-5)
    assert [p.shape for p in params(n)] == [size, size]
    assert repr(n) == f"LayerNorm({size if len(size) > 1 else 5})"
    with pytest.raises(
        DimensionMismatch,
        match=r"LayerNorm\(\(4, 6\)\) takes an input whose last axes are \(4, 6\)",
    ):
        LayerNorm((4, 6))(x)


def grouped(x, groups, γ, β):
    """GroupNorm by loops, in float64."""
    y = np.empty_like(x)
    size = x.shape[1] // groups
    for i in range(x.shape[0]):
        for g in range(groups):
            part = x[i, g * size : (g + 1) * size]
            y[i, g * size : (g + 1) * size] = (part - part.mean()) / np.sqrt(part.var() + 1e-8)
    shape = (-1, *[1] * (x.ndim - 2))
    return y * γ.reshape(shape) + β.reshape(shape)


@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 5), (2, 6, 3, 4), (1, 6, 2, 3, 2), (0, 6, 3)])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm_is_its_formula(shape, groups):
    rng = np.random.default_rng(0)
    x, γ, β = rng.normal(3, 2, size=shape), rng.normal(size=6), rng.normal(size=6)
    n = GroupNorm(6, groups, initγ=lambda _: γ, initβ=lambda _: β)
    np.testing.assert_allclose(n(x), grouped(x, groups, γ, β), rtol=1e-7, atol=1e-7)
    if groups == 6:
        instance = InstanceNorm(6, initgamma=lambda _: γ, initbeta=lambda _: β)
        np.testing.assert_array_equal(instance(x), n(x))


@pytest.mark.parametrize(
    "layer", [LayerNorm((3, 2)), GroupNorm(4, 2, fluxrs.tanh), InstanceNorm(4), BatchNorm(4)]
)
def test_gradients_of_normalisations(layer):
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 2))
    exact = fluxrs.mapleaves(
        lambda l: fluxrs.param(np.asarray(l, "float64")) if isinstance(l, fluxrs.Tensor) else l,
        layer,
    )
    cube = lambda x: (exact(x) ** 3).sum()  # noqa: E731
    assert gradcheck(cube, x)
    assert gradcheck(lambda x: (gradient(cube, x)[0] ** 2).sum(), x)


def test_batch_norm_behind_a_convolution_goes_over_its_input_twice_each_way():
    m = fluxrs.Chain(
        fluxrs.Conv((3, 3), (4, 4), fluxrs.relu, pad=1),
        fluxrs.Conv((3, 3), (4, 4), pad=1),
        BatchNorm(4, fluxrs.relu),
        fluxrs.Conv((3, 3), (4, 1), pad=1),
    )
    x = fluxrs.zeros(32, 4, 32, 32)
    grads = gradient(lambda: m(x).sum(), fluxrs.params(m))
    text = fluxrs.explain(*[grads[p] for p in fluxrs.params(m)])
    passes = [line for line in text.splitlines() if "rows 4 of 32×1024" in line]
    # Mean; variance; sums towards γ and β; the gradient, with the bias's. Then the first convolution's bias.
    assert len(passes) == 5, text
    # What is cheap of it is computed again: nothing of the input's size is written but the gradient.
    assert sum("writes 524.3 kB" in line for line in passes) == 1, text


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (GroupNorm(4, 2), "GroupNorm(4, 2)"),
        (GroupNorm(4, 2, fluxrs.relu), "GroupNorm(4, 2, λ = relu)"),
        (InstanceNorm(4, fluxrs.relu), "InstanceNorm(4, λ = relu)"),
        (fluxrs.Diagonal((2, 3)), "Diagonal((2, 3))"),
    ],
)
def test_normalisations_print_save_and_load(layer, text, tmp_path):
    assert repr(layer) == text
    fluxrs.save(tmp_path / "m", m=layer)
    again = fluxrs.load(tmp_path / "m")["m"]
    x = np.random.default_rng(0).normal(size=(2, 4, 2, 3)).astype("float32")
    assert repr(again) == text
    np.testing.assert_array_equal(again(x), layer(x))


def test_groups_must_divide():
    with pytest.raises(ValueError, match="GroupNorm: 6 channels do not fall into 4 equal groups"):
        GroupNorm(6, 4)
    with pytest.raises(ValueError, match="0 equal groups"):
        GroupNorm(6, 0)
    with pytest.raises(
        DimensionMismatch, match=r"GroupNorm\(6, 3\) takes 6 channels on axis 1, got shape \(2, 4\)"
    ):
        GroupNorm(6, 3)(np.ones((2, 4)))


def running(x, batches, momentum):
    """The running statistics by their formula, in float64."""
    axes = (0, *range(2, x.ndim))
    μ, var = np.zeros(x.shape[1]), np.ones(x.shape[1])
    for i in batches:
        b = x * (i + 1)
        μ = (1 - momentum) * μ + momentum * b.mean(axes)
        var = (1 - momentum) * var + momentum * b.var(axes, ddof=1)
    return μ, var


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 5), (4, 3, 5, 2), (2, 3, 4, 2, 3)])
@pytest.mark.parametrize(
    "wrap", [lambda m: m, lambda m: lambda x: checkpoint(m, x)], ids=["plain", "checkpoint"]
)
def test_running_statistics_in_steps_checkpoints_and_bad_losses(shape, wrap):
    x = np.random.default_rng(0).normal(2, 3, size=shape)
    m = BatchNorm(3, momentum=0.3)
    opt = fluxrs.SGD(params(m), 0.01)
    for i in range(3):
        fluxrs.back((wrap(m)(x * (i + 1)) ** 2).sum())
        opt()
    want = running(x, range(3), 0.3)
    np.testing.assert_allclose(m.μ, want[0], rtol=1e-5)
    np.testing.assert_allclose(m.var, want[1], rtol=1e-5)
    bad = x.copy()
    bad.flat[0] = np.inf
    with pytest.raises(FloatingPointError):
        fluxrs.back((wrap(m)(bad) ** 2).sum())
        opt()
    np.testing.assert_allclose(m.μ, want[0], rtol=1e-5)
    np.testing.assert_allclose(m.var, want[1], rtol=1e-5)


def test_an_empty_batch_leaves_the_running_statistics():
    m = BatchNorm(3)
    m(np.ones((0, 3, 4)))
    np.testing.assert_array_equal(m.μ, np.zeros(3))
    np.testing.assert_array_equal(m.var, np.ones(3))
    assert BatchNorm(0)(np.ones((2, 0))).shape == (2, 0)
