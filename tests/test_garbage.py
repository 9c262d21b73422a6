"""Models that keep tensors whose history refers back to them are freed by the garbage collector."""

import copy
import functools
import gc
import threading
import weakref

import numpy as np
import pytest

import fluxrs
from fluxrs import back, checkpoint, data, forward, grad, gradient, hook, param


class Model:
    def __init__(self, keep):
        self.W = param(np.ones((3, 3)))
        keep(self)

    def block(self, x):
        return fluxrs.tanh(x @ self.W)

    def twice(self, x):
        return 2 * x


def keeps_checkpoint(m):
    m.y = checkpoint(m.block, np.ones((2, 3)))


def keeps_what_follows(m):
    m.y = (checkpoint(m.block, np.ones((2, 3))) ** 2).sum() * 2


def keeps_operator_results(m):
    h = hook(lambda Δ: Δ * len(vars(m)), m.W)
    m.y = h * h + h


def keeps_views(m):
    m.y = hook(lambda Δ: Δ * len(vars(m)), m.W * 2)[0].T.reshape(3, 1)


def keeps_hook(m):
    m.y = hook(lambda Δ: Δ * len(vars(m)), m.W)


def keeps_a_loss_that_was_differentiated(m):
    m.y = hook(lambda Δ: Δ * len(vars(m)), m.W).sum()
    back(m.y)
    m.W.grad = None


def keeps_custom(m):
    @grad
    def double(x):
        return 2 * data(x), lambda Δ: (Δ * len(vars(m)),)

    m.y = double(m.W)


def keeps_pullback(m):
    m.pullback = forward(lambda x: hook(lambda Δ: Δ * len(vars(m)), x) * 2, np.ones(3))[1]


def in_a_list(m):
    m.ys = [{"y": (checkpoint(m.block, np.ones((2, 3))),)} for _ in range(3)]


def under_no_grad(m):
    with fluxrs.no_grad():
        m.y = hook(lambda Δ: Δ * len(vars(m)), m.W)


KEEPS = [
    keeps_checkpoint, keeps_what_follows, keeps_operator_results, keeps_views, keeps_hook, keeps_custom,
    keeps_a_loss_that_was_differentiated, keeps_pullback, in_a_list, under_no_grad,
]  # fmt: skip


def alive(keep, n):
    models = [Model(keep) for _ in range(n)]
    references = [weakref.ref(m) for m in models]
    del models
    gc.collect()
    return sum(r() is not None for r in references)


@pytest.mark.parametrize("keep", KEEPS)
def test_models_are_freed_by_the_collector(keep):
    assert alive(keep, 300) == 0


@pytest.mark.parametrize("keep", KEEPS)
def test_objects_with_a_reference_are_kept(keep):
    m = Model(keep)
    outside = [v for k, v in vars(m).items() if k != "W"]
    reference = weakref.ref(m)
    del m
    for _ in range(3):
        gc.collect()
    assert reference() is not None
    assert np.asarray(reference().W).tolist() == np.ones((3, 3)).tolist()
    del outside
    gc.collect()
    assert reference() is None


def test_a_history_that_goes_on_elsewhere_keeps_its_functions():
    m = Model(keeps_hook)
    reference, y = weakref.ref(m), (m.y * 3).sum()
    del m
    gc.collect()
    assert reference() is not None
    back(y)
    assert reference().W.grad.tolist() == (np.ones((3, 3)) * 6).tolist()


def test_nothing_is_collected_that_is_in_use_while_threads_work():
    errors = []
    start = Model(lambda m: None)

    def work():
        try:
            for k in range(60):
                m = Model(KEEPS[k % 6])
                y = (checkpoint(m.block, np.ones((2, 3))) * start.W[0]).sum()
                (g,) = gradient(
                    lambda w, m=m: (hook(lambda Δ: Δ * 2, w) * m.W).sum(), np.ones((3, 3))
                )
                assert g.tolist() == (np.ones((3, 3)) * 2).tolist()
                assert np.isfinite(float(y))
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        gc.collect()
    for t in threads:
        t.join()
    assert errors == []


def test_a_collection_within_a_pullback():
    m = Model(lambda m: None)

    def collecting(Δ):
        gc.collect()
        return Δ * len(vars(m))

    m.y = hook(collecting, m.W * 2).sum()
    back(m.y)
    assert m.W.grad.tolist() == (np.ones((3, 3)) * 4).tolist()


def in_a_chain_of_checkpoints(m):
    m.y = np.ones((2, 3))
    for _ in range(20):
        m.y = checkpoint(m.block, m.y)


def keeps_all_of_a_chain(m):
    m.ys = [np.ones((2, 3))]
    for _ in range(20):
        m.ys.append(checkpoint(m.block, m.ys[-1]))


def keeps_a_result_and_its_loss(m):
    m.h = hook(lambda Δ: Δ * len(vars(m)), m.W)
    m.loss = (m.h**2).sum()


def keeps_two_losses_of_two_hooks(m):
    a, b = (hook(lambda Δ: Δ * len(vars(m)), m.W) for _ in range(2))
    m.losses = [(a * b).sum(), (a + 2 * b).sum(), a.mean()]


def keeps_gradients(m):
    m.g = gradient(lambda w: hook(lambda Δ: Δ * len(vars(m)), w).sum(), m.W)[0] * 2


def keeps_grads(m):
    m.ps = fluxrs.Params([m.W])
    m.gs = gradient(lambda: hook(lambda Δ: Δ * len(vars(m)), m.W).sum(), m.ps)


def keeps_nested_gradients(m):
    f = lambda w: (hook(lambda Δ: Δ * len(vars(m)), w) ** 2).sum()  # noqa: E731
    m.g = gradient(lambda: f(m.W), fluxrs.Params([m.W]), nest=True)[m.W]


def keeps_params_that_hold_it(m):
    m.ps = fluxrs.Params([m])


def keeps_hooks_within_checkpoints(m):
    m.y = checkpoint(lambda x: hook(lambda Δ: Δ * len(vars(m)), m.block(x)), np.ones((2, 3)))
    back(m.y.sum())
    fluxrs.evaluate(m.y)
    m.W.grad = None


def keeps_an_untracked_value(m):
    m.y = data(hook(lambda Δ: Δ * len(vars(m)), m.W) * 2)


def keeps_what_follows_an_untracked_value(m):
    h = hook(lambda Δ: Δ * len(vars(m)), m.W)
    m.ys = [h > 0, (h > 0).sum() + 1, h.astype("int32").reshape(-1)[2:], [h.argmax()]]
    with fluxrs.no_grad():
        m.y = (checkpoint(m.block, np.ones((2, 3))) * h[0]).sum()


def has_a_gradient(m):
    back((hook(lambda Δ: Δ * len(vars(m)), m.W * 2) ** 2).sum())


def has_a_gradient_of_several(m):
    for _ in range(3):
        has_a_gradient(m)
    m.W.grad = m.W.grad * 2
    has_a_gradient(m)


def has_a_gradient_that_was_read(m):
    has_a_gradient(m)
    np.asarray(m.W.grad)


def keeps_a_definition(m):
    def f(x):
        return 2 * x

    @grad(f)
    def _(x):
        return f(data(x)), lambda Δ: (Δ * len(vars(m)),)

    m.f, m.y = f, fluxrs.track(f, m.W)


def keeps_a_definition_of_its_method(m):
    @grad(m.twice)
    def _(x):
        return 2 * data(x), lambda Δ: (Δ * len(vars(m)),)

    m.y = fluxrs.track(m.twice, m.W)


SHARED = [
    keeps_an_untracked_value, keeps_what_follows_an_untracked_value, has_a_gradient, has_a_gradient_of_several,
    has_a_gradient_that_was_read, keeps_a_definition, keeps_a_definition_of_its_method,
    in_a_chain_of_checkpoints, keeps_all_of_a_chain, keeps_a_result_and_its_loss, keeps_two_losses_of_two_hooks,
    keeps_gradients, keeps_grads, keeps_nested_gradients, keeps_params_that_hold_it, keeps_hooks_within_checkpoints,
]  # fmt: skip


@pytest.mark.parametrize("keep", SHARED)
def test_what_several_tensors_share_is_freed(keep):
    assert alive(keep, 100) == 0


def test_gradients_and_values_outlive_a_collection():
    m = Model(has_a_gradient_of_several)
    want = np.asarray(Model(has_a_gradient_of_several).W.grad)
    h = hook(lambda Δ: Δ * len(vars(m)), m.W)
    y, z = data(h * 2), (h * 2).sum()
    for _ in range(2):
        gc.collect()
    np.testing.assert_array_equal(m.W.grad, want)
    np.testing.assert_array_equal(y, 2 * np.ones((3, 3)))
    del h, y
    gc.collect()
    m.W.grad = None
    back(z)
    np.testing.assert_array_equal(m.W.grad, 2 * np.ones((3, 3)))


def test_a_definition_is_of_its_function_alone():
    def f(x):
        return 2 * x

    @grad(f)
    def _(x):
        return f(data(x)), lambda Δ: (5 * Δ,)

    @functools.wraps(f)
    def g(x):
        return f(x)

    assert gradient(lambda x: fluxrs.track(f, x), 1.0)[0] == 5
    with pytest.raises(TypeError, match="no gradient"):
        fluxrs.track(g, 1.0)


def test_a_definition_of_a_method_is_of_its_object_alone():
    m = fluxrs.treelike(type("Twice", (Model,), {}))(lambda m: None)

    @grad(m.twice)
    def _(x):
        return 2 * data(x), lambda Δ: (5 * Δ,)

    assert gradient(lambda x: fluxrs.track(m.twice, x), 1.0)[0] == 5
    for other in (copy.copy(m), copy.deepcopy(m), fluxrs.mapleaves(lambda x: x, m)):
        assert len(fluxrs.params(other)) == len(fluxrs.params(m))
        with pytest.raises(TypeError, match="no gradient"):
            fluxrs.track(other.twice, 1.0)


def test_each_of_several_owners_keeps_what_they_share():
    m = Model(keeps_two_losses_of_two_hooks)
    reference, losses = weakref.ref(m), list(m.losses)
    del m
    while losses:
        gc.collect()
        loss = losses.pop()
        W = reference().W
        back(loss)
        assert np.abs(W.grad.numpy()).sum() > 0
        W.grad = None
        del loss, W
    gc.collect()
    assert reference() is None


def test_a_closure_over_its_own_result_may_be_garbage_while_it_is_needed():
    def block(x):
        y = hook(lambda Δ: Δ * y.ndim + 0 * gc.collect(), x)
        return y * 2

    W = param(np.ones(3))
    back(checkpoint(lambda x: block(block(x)), W).sum())
    assert W.grad.tolist() == [4.0] * 3
    cubed = lambda x: gradient(lambda z: (block(z) ** 3).sum(), x)[0].sum()  # noqa: E731
    assert gradient(cubed, np.ones(3))[0].tolist() == [48.0] * 3


def test_long_chains_of_checkpoints_are_dropped():
    y = param(1.0)
    for _ in range(20_000):
        y = checkpoint(lambda x: x * 1.0, y)
    del y
    holder = []
    y = param(1.0)
    for _ in range(20_000):
        y = hook(lambda Δ: Δ * len(holder), y)
    holder.append(y)
    del y
    holder.clear()
    gc.collect()
