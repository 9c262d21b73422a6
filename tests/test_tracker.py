"""Custom gradients, and what is built from `gradient`."""

import gc

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    Params,
    back,
    checkpoint,
    collect,
    data,
    derivative,
    forward,
    grad,
    gradcheck,
    gradient,
    hessian,
    hook,
    isleaf,
    jacobian,
    ngradient,
    param,
    tensor,
    track,
)


def minus(a, b):
    return a - b


@grad(minus)
def _(a, b):
    return minus(data(a), data(b)), lambda Δ: (Δ, -Δ)


@grad
def times(a, b):
    return data(a) * data(b), lambda Δ: (Δ * b, a * Δ)


def test_track_uses_the_defined_gradient():
    a, b = param([1, 2, 3]), param([3, 2, 1])
    c = track(minus, a, b)
    assert c.tolist() == [-2, 0, 2]
    back(c, 1)
    assert grad(a).tolist() == [1, 1, 1]
    assert grad(b).tolist() == [-1, -1, -1]


def test_defining_a_gradient_leaves_the_function_as_it_was():
    assert _ is minus
    assert minus(3, 1) == 2


def test_a_bare_grad_makes_a_tracked_function():
    a, b = gradient(times, 2.0, 3.0)
    assert (float(a), float(b)) == (3, 2)
    assert gradcheck(lambda a, b: times(a, b).sum(), [1.0, 2.0], [3.0, 4.0])


def test_arguments_that_are_not_tensors_pass_through():
    @grad
    def scale(k, x):
        return k * data(x), lambda Δ: (None, k * Δ)

    assert gradient(lambda x: scale(3, x), 1.0)[0].item() == 3


def test_the_pullback_is_differentiated_in_turn():
    d2 = derivative(derivative(lambda x: times(x, x) * x))
    assert float(d2(2.0)) == pytest.approx(12)


def test_a_custom_gradient_may_lie():
    @grad
    def liar(x):
        return data(x), lambda Δ: (100 * Δ,)

    assert float(gradient(lambda x: 2 * liar(x), 1.0)[0]) == 200


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: track(max, param(1)), r"max has no gradient; define one with @grad\(max\)"),
        (lambda: grad(lambda x: x * x)(param(2.0)), "gradient of a function is gradient"),
        (
            lambda: back(grad(lambda x: (data(x), lambda Δ: Δ))(param(2.0))),
            "must return a tuple of 1",
        ),
    ],
)
def test_wrong_definitions(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_hook_sees_the_gradient_on_its_way():
    seen = []

    def reverse(Δ):
        seen.append(float(Δ))
        return -Δ

    assert float(gradient(lambda x: 2 * hook(reverse, x), 1.0)[0]) == -2
    assert seen == [2]
    assert hook(reverse, 5) == 5


def test_checkpoint_gives_the_same_value_and_gradients():
    W = param(np.random.default_rng(0).normal(size=(3, 3)))
    x = np.array([1.0, 2.0, 3.0])
    plain = lambda x: fluxrs.tanh(W @ fluxrs.tanh(W @ x)).sum()
    calls = []

    def counted(x):
        calls.append(1)
        return plain(x)

    gs, (gx,) = gradient(lambda: plain(x), Params([W])), gradient(plain, x)
    hs = gradient(lambda: checkpoint(counted, x), Params([W]))
    assert len(calls) == 2
    np.testing.assert_allclose(hs[W], gs[W])
    np.testing.assert_allclose(gradient(lambda x: checkpoint(plain, x), x)[0], gx)


def test_checkpoint_repeats_its_random_numbers():
    drop = fluxrs.Dropout(0.5)
    x = param(np.ones(100))
    y = checkpoint(drop, x)
    back(y.sum())
    np.testing.assert_array_equal(x.grad, y)


def test_checkpoint_does_not_repeat_writes_of_state():
    x = np.random.default_rng(0).normal(size=(8, 2))
    once, twice = fluxrs.BatchNorm(2), fluxrs.BatchNorm(2)
    back((once(x) ** 3).sum())
    back((checkpoint(twice, x) ** 3).sum())
    np.testing.assert_array_equal(twice.μ, once.μ)
    np.testing.assert_array_equal(twice.var, once.var)
    np.testing.assert_array_equal(twice.γ.grad, once.γ.grad)


def test_checkpoint_of_one_input_twice():
    W = param([3.0, 4.0])
    (g,) = gradient(lambda x: checkpoint(lambda a, b: (a * b).sum(), x, x), [1.0, 2.0])
    np.testing.assert_array_equal(g, [2, 4])
    back(checkpoint(lambda a, b: (a * b).sum(), W, W))
    np.testing.assert_array_equal(W.grad, [6, 8])


def test_checkpoint_does_not_run_again_with_other_parameters():
    W = param([3.0, 4.0])
    y = checkpoint(lambda: (W**2).sum())
    fluxrs.update(W, [1.0, 1.0])
    with pytest.raises(ValueError, match="updated after"):
        back(y)
    np.testing.assert_array_equal(W.grad, [0, 0])


def test_checkpoints_of_checkpoints():
    W = param(np.random.default_rng(0).normal(size=(3, 3)))
    layer = lambda x: fluxrs.tanh(W @ x)
    two = lambda x: checkpoint(layer, checkpoint(layer, x))
    deep = lambda x: checkpoint(two, two(x)).sum()
    plain = lambda x: layer(layer(layer(layer(x)))).sum()
    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(gradient(deep, x)[0], gradient(plain, x)[0])
    ps = Params([W])
    np.testing.assert_allclose(gradient(lambda: deep(x), ps)[W], gradient(lambda: plain(x), ps)[W])


def test_an_object_freed_with_a_gradient_may_compute():
    """A pullback's finalizer runs ops when the graph goes that holds it."""
    seen = []

    class Last:
        def __call__(self, Δ):
            return [Δ]

        def __del__(self):
            seen.append(float(fluxrs.tensor([1.0, 2.0]).sum()))

    p = param([1.0, 2.0])
    for clear in (lambda: setattr(p, "grad", None), lambda: fluxrs.update(p, p.grad)):
        back(fluxrs._core.custom(fluxrs.tensor([5.0, 6.0]), [p], Last()), 1.0)
        clear()
        np.asarray(p)
    back(fluxrs._core.custom(fluxrs.tensor([np.nan, 6.0]), [p], Last()), 1.0)
    fluxrs.update(p, p.grad)
    with pytest.raises(FloatingPointError):
        np.asarray(p)
    p.grad = None
    # Objects that were dropped without the GIL are finalized when it is taken next.
    gc.collect()
    assert seen == [3.0] * 3


def test_derivatives_of_any_order():
    f = lambda x: 3 * x**2 + 2 * x + 1
    assert float(derivative(f)(2.0)) == 14
    assert float(derivative(f, 2.0)) == 14
    assert float(derivative(derivative(f))(2.0)) == 6
    sin = fluxrs.sin
    fourth = derivative(derivative(derivative(derivative(sin))))
    assert float(fourth(np.float64(0.3))) == pytest.approx(np.sin(0.3))


def test_jacobian_has_a_row_for_each_output():
    A = np.random.default_rng(0).normal(size=(3, 2))
    np.testing.assert_allclose(jacobian(lambda x: A @ x, np.ones(2)), A)
    assert jacobian(lambda x: x.sum(axis=0), np.ones((2, 3))).shape == (3, 6)
    assert jacobian(lambda x: x[:0], np.ones(2)).shape == (0, 2)


def test_hessian():
    A = np.array([[2.0, 1.0], [1.0, 4.0]])
    np.testing.assert_allclose(hessian(lambda x: (x * (A @ x)).sum() / 2, np.ones(2)), A)


def test_ngradient_and_gradcheck():
    (g,) = ngradient(lambda x: (x**3).sum(), [1.0, 2.0])
    np.testing.assert_allclose(g, [3, 12], rtol=1e-6)
    assert gradcheck(lambda x: (x**3).sum(), [1.0, 2.0])
    assert not gradcheck(lambda x: hook(lambda Δ: 2 * Δ, x).sum(), [1.0, 2.0])
    assert not gradcheck(lambda x: hook(lambda Δ: Δ * 1.0001, x).sum(), [1.0, 2.0])
    assert not gradcheck(lambda x: hook(lambda Δ: np.nan, x).sum(), [1.0, 2.0])


@pytest.mark.parametrize("n", [2, 3, 4])
def test_gradcheck_of_a_steep_function(n):
    for seed in range(70):
        W = np.random.default_rng([n, seed]).random((n, n))
        assert gradcheck(lambda W: fluxrs.inv(fluxrs.log(W @ W)).sum(), W), seed


def test_forward_gives_a_pullback_for_any_sensitivity():
    y, pull = forward(lambda a, b: a * b, [1, 2, 3], [4, 5, 6])
    assert y.tolist() == [4, 10, 18]
    assert [g.tolist() for g in pull([1, 1, 1])] == [[4, 5, 6], [1, 2, 3]]


def test_collect_makes_one_tensor_of_tracked_numbers():
    a, b = param(1), param(2)
    c = collect([[a, b], [b, a]])
    assert c.tolist() == [[1, 2], [2, 1]]
    back((c * np.array([[1, 2], [3, 4]], dtype="float32")).sum())
    assert (float(a.grad), float(b.grad)) == (5, 5)


def test_everything_is_under_tracker_too():
    for name in fluxrs.tracker.__all__:
        assert getattr(fluxrs, name) is getattr(fluxrs.tracker, name)


def test_only_what_is_tracked_is_a_tracked_array():
    W = param([1.0])
    for x, is_one in [
        (W, True),
        (W * 2, True),
        (tensor(1.0), False),
        (1.0, False),
        (data(W), False),
    ]:
        assert isinstance(x, fluxrs.TrackedArray) is is_one
        assert isinstance(x, fluxrs.tracker.TrackedArray) is is_one
    assert isleaf(fluxrs.TrackedArray([1.0]))


def test_tracked_tensors_say_so():
    W = param([[1.0, 2.0], [3.0, 4.0]])
    assert str(W) == f"{W}" == "[[1. 2.]\n [3. 4.]] (tracked)"
    assert str(W.sum()) == f"{W.sum()}" == "10.0 (tracked)"
    assert f"{W.sum():.1f}" == "10.0"
    assert str(data(W)) == "[[1. 2.]\n [3. 4.]]"


def test_the_tracker_has_flux_trackers_names():
    assert fluxrs.tracker.params is fluxrs.params
    assert fluxrs.ldivide is fluxrs.solve


def test_a_checkpoint_runs_again_on_the_state_that_it_found():
    W = param([2.0, 3.0])
    count, mean = fluxrs._core.state(fluxrs.zeros()), fluxrs._core.state(fluxrs.zeros(2))
    plain = {"count": fluxrs.zeros(), "mean": fluxrs.zeros(2)}

    def layer(x):
        count.data = data(count) + 1
        y = W * x * count + mean  # the new count and the old mean
        mean.data = 0.5 * data(mean) + data(y)
        return (y * mean).sum()  # the new mean

    def same(x):
        plain["count"] = plain["count"] + 1
        y = W * x * plain["count"] + plain["mean"]
        plain["mean"] = 0.5 * plain["mean"] + data(y)
        return (y * plain["mean"]).sum()

    def run(layer, wrap):
        loss = wrap(layer, 5) + wrap(
            lambda x: wrap(layer, x) * 2, 7
        )  # the second finds what the first left
        runs = fluxrs._core.counters()["runs"]
        back(loss)
        assert fluxrs._core.counters()["runs"] == runs  # nothing is computed to differentiate
        g = np.array(W.grad)
        W.grad[...] = 0
        return g, float(loss)

    for _ in range(2):
        assert np.array_equal(
            run(layer, checkpoint)[0], (want := run(same, lambda f, x: f(x)))[0]
        ), want
        assert float(count) == plain["count"] and np.array_equal(mean, plain["mean"])
