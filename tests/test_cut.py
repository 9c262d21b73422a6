"""Inside a function that is being differentiated a warning says where a value leaves the tape for NumPy or a number."""

import contextlib
import copy
import math
import threading
import warnings

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    checkpoint,
    data,
    derivative,
    forward,
    gradient,
    hessian,
    jacobian,
    no_grad,
    param,
    stack,
    withgradient,
)  # fmt: skip

PLACE = np.zeros(2)


def write(place, at, x):
    place[at] = x


CUTS = [
    ("np.asarray", lambda t: np.asarray(t)),
    ("np.array", lambda t: np.array(t)),
    ("np.array of a list", lambda t: np.array([t, t])),
    ("np.array of numbers", lambda t: np.array([t[0], t[1]])),
    ("np.r_", lambda t: np.r_[t, t]),
    ("np.mean of a list", lambda t: np.mean([t[0], t[1]])),
    ("np.asarray with a type", lambda t: np.asarray(t, dtype=np.float64)),
    ("np.copy", lambda t: np.copy(t)),
    ("np.unique", lambda t: np.unique(t)),
    ("np.copyto", lambda t: np.copyto(PLACE, t)),
    ("np.bincount", lambda t: np.bincount([0, 1], weights=t)),
    ("np.from_dlpack", lambda t: np.from_dlpack(t)),
    ("a[…] = t", lambda t: write(PLACE, ..., t)),
    ("a[0] = t[0]", lambda t: write(PLACE, 0, t[0])),
    (".numpy()", lambda t: t.numpy()),
    (".__array__()", lambda t: t.__array__()),
    (".tolist()", lambda t: t.tolist()),
    (".item()", lambda t: t[0].item()),
    ("float", lambda t: float(t[0])),
    ("int", lambda t: int(t[0])),
    ("complex", lambda t: complex(t[0])),
    ("math.exp", lambda t: math.exp(t[0])),
    ("math.floor", lambda t: math.floor(t[0])),
    ("a parameter", lambda t: float(param(1.0))),
]

FINE = [
    ("stack", lambda t: stack([t, t])),
    ("a list of tensors", lambda t: fluxrs.tensor([t[0], t[1]])),
    ("NumPy's functions", lambda t: np.sin(np.concatenate([t, t])) + np.ones(4)),
    ("np.sum", lambda t: np.sum(t)),
    ("data first", lambda t: (float(data(t)[0]), np.array(data(t)), t.data.tolist())),
    ("a parameter's data", lambda t: param([1.0]).data.numpy()),
    ("under no_grad", lambda t: no_grad()(lambda: (float(t[0]), np.array(t), t.tolist()))()),
    ("repr", lambda t: (repr(t), str(t), repr(t[0]), t._repr_html_())),
    ("f-strings", lambda t: (f"{t}", f"{t[0]:.2f}", f"{t!r}", f"{t[0]:.1f}")),
    ("NumPy's printing", lambda t: (np.array_repr(t), np.array2string(t))),
    ("comparisons", lambda t: (bool(t[0] > 3), t[0] < 3 and t[1] < 3, max(t[0], t[1]), t[0] == 3)),
    ("truth", lambda t: not t[0]),
    ("questions", lambda t: (np.allclose(t, 1), np.array_equal(t, t), np.argwhere(t), t.argmax().item())),
    ("integers", lambda t: (int(t.argmax()), (t > 0).tolist(), [1, 2, 3][t.argmax()])),
    ("shapes", lambda t: (np.shape(t), np.ndim(t), np.size(t), len(t))),
    ("copies", lambda t: (copy.copy(t), copy.deepcopy(t))),
    ("metrics", lambda t: (fluxrs.accuracy(t.reshape(1, 2), [0]), fluxrs.onecold(t))),
    ("an untracked tensor", lambda t: (float(fluxrs.tensor(1.0)), np.array(fluxrs.ones(3)))),
]  # fmt: skip


@contextlib.contextmanager
def heard():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def used(f):
    def loss(x):
        with contextlib.suppress(TypeError):
            f(x)
        return (x**2).sum()

    return loss


WAYS = [
    lambda f: gradient(f, [1.0, 2.0]),
    lambda f: withgradient(f, [1.0, 2.0]),
    lambda f: forward(f, [1.0, 2.0]),
    lambda f: jacobian(f, [1.0, 2.0]),
    lambda f: hessian(f, [1.0, 2.0]),
    lambda f: derivative(lambda s: f(stack([s, s])), 1.0),
    lambda f: (lambda p: gradient(lambda: f(p), fluxrs.Params([p])))(param([1.0, 2.0])),
]


@pytest.mark.parametrize("cut", [c[1] for c in CUTS], ids=[c[0] for c in CUTS])
def test_what_leaves_the_tape_warns(cut):
    with heard() as caught:
        gradient(used(cut), [1.0, 2.0])
    assert caught, "no warning"
    for w in caught:
        assert w.category is UserWarning and w.filename == __file__
        assert "stack([a, b])" in str(w.message) and "data(t)" in str(w.message)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_differentiate_warns(way):
    with heard() as caught:
        way(used(lambda t: np.array([t])))
    assert caught


@pytest.mark.parametrize("fine", [f[1] for f in FINE], ids=[f[0] for f in FINE])
def test_what_stays_or_is_meant_does_not_warn(fine):
    with heard() as caught:
        gradient(lambda x: (fine(x), (x**2).sum())[1], [1.0, 2.0])
    assert [str(w.message) for w in caught] == []


@pytest.mark.parametrize("cut", [c[1] for c in CUTS], ids=[c[0] for c in CUTS])
def test_elsewhere_nothing_warns(cut):
    t = param([1.0, 2.0]) * 2
    with heard() as caught, contextlib.suppress(TypeError):
        gradient(lambda x: x.sum(), [1.0])
        cut(t)
    with heard() as after_an_error, contextlib.suppress(ZeroDivisionError):
        gradient(lambda x: 1 / 0, [1.0])
        np.array(t)
    assert [str(w.message) for w in caught + after_an_error] == []


def test_the_warning_comes_once_a_place_by_default():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            gradient(used(lambda t: np.mean([t[0], t[1]])), [1.0, 2.0])
        gradient(used(lambda t: float(t[0])), [1.0, 2.0])
    assert len({w.lineno for w in caught}) == len(caught) == 2


def test_a_warning_made_an_error_is_raised_at_the_line():
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="no gradient passes"):
        warnings.simplefilter("error")
        gradient(lambda x: np.array([x]).sum(), [1.0])


def test_a_checkpoint_that_runs_again_does_not_warn_again():
    def block(x):
        float(x[0])
        return x * 2

    def inner(x):
        return gradient(lambda z: checkpoint(block, z).sum(), x)[0].sum() * x.sum()

    with heard() as caught:
        gradient(inner, [1.0, 2.0])
    assert len(caught) == 1


def test_another_thread_is_not_inside():
    t, caught_there = param([1.0, 2.0]) * 2, []

    def elsewhere():
        try:
            np.array(t)
        except UserWarning as w:
            caught_there.append(w)

    def loss(x):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return x.sum()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient(loss, [1.0])
    assert caught_there == []
