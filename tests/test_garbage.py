"""Models that keep tensors whose history refers back to them are freed by the garbage collector."""

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
