"""Walking, mapping and loading models."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    Chain,
    Dense,
    Params,
    children,
    loadparams,
    mapleaves,
    param,
    params,
    prefor,
    treelike,
)


@treelike
@dataclass
class Affine:
    W: fluxrs.Tensor
    b: fluxrs.Tensor

    def __call__(self, x):
        return x @ self.W.T + self.b


@treelike("inner")
class Partly:
    def __init__(self):
        self.outer, self.inner = param([1.0]), param([2.0])


@treelike
@dataclass(frozen=True)
class Frozen:
    W: fluxrs.Tensor


@treelike
class Plain:
    def __init__(self):
        self.b, self.a = Dense(2, 2), Dense(2, 2)


def test_children_are_fields_attributes_or_items():
    def same(xs, ys):
        return [x is y for x, y in zip(xs, ys, strict=True)] == [True] * len(ys)

    m = Affine(param([[1.0]]), param([2.0]))
    assert same(children(m), (m.W, m.b))
    p = Partly()
    assert same(children(p), (p.inner,))
    q = Plain()
    assert same(children(q), (q.b, q.a))
    assert children((1, 2)) == (1, 2)
    assert children({"a": 1}) == (1,)
    assert children(len) == children(3) == children("text") == ()


def test_params_in_order_shared_ones_once():
    d = Dense(2, 2)
    a = Affine(param([[1.0]]), param([2.0]))
    ps = params(Chain(d, d), {"x": [a, (d,)]}, Partly())
    assert isinstance(ps, Params)
    assert [p.shape for p in ps] == [(2, 2), (2,), (1, 1), (1,), (1,)]
    assert ps[0] is d.W
    assert len(params(lambda x: x)) == 0


def test_prefor_goes_parents_first_and_each_once():
    shared = [1]
    seen = []
    prefor(seen.append, (shared, {"k": shared}))
    assert seen == [(shared, {"k": shared}), shared, 1, {"k": shared}]


def test_mapleaves_copies_without_init_and_keeps_sharing():
    Point = namedtuple("Point", "x y")
    d = Dense(2, 3)
    tree = {"a": [1, 2], "p": Point(3, 4), "f": Frozen(5), "m": Chain(d, d)}
    out = mapleaves(lambda l: l * 2 if isinstance(l, int) else l, tree)
    assert out["a"] == [2, 4]
    assert out["p"] == Point(6, 8)
    assert out["f"].W == 10
    assert out["m"][0] is out["m"][1]
    assert out["m"][0] is not d
    assert out["m"][0].W is d.W
    assert tree["a"] == [1, 2]


def test_mapleaves_of_a_tree_that_contains_itself():
    tree = [1]
    tree.append(tree)
    out = mapleaves(lambda l: l + 1, tree)
    assert out[0] == 2
    assert out[1] is out


class Untold:
    def __init__(self, inner):
        self.inner = inner


class Slotted:
    __slots__ = ("W", "nothing")

    def __init__(self, W):
        self.W = W


@pytest.mark.parametrize(
    "inner",
    [
        param([1.0]),
        Dense(2, 2),
        [{"k": (fluxrs.tensor(1.0),)}],
        Untold(Untold(Dense(1, 1))),
        Slotted(param([1.0])),
    ],
)
@pytest.mark.parametrize(
    "walk",
    [params, lambda m: mapleaves(lambda x: x, m), fluxrs.testmode, fluxrs.cpu, lambda m: prefor(id, m),
     lambda m: loadparams(m, [])],
)  # fmt: skip
def test_a_class_that_hides_tensors_is_an_error_and_not_a_model_that_does_not_train(walk, inner):
    with pytest.raises(TypeError, match="(Untold|Slotted), .*@treelike"):
        walk([Chain(Dense(2, 2), abs), {"m": inner}, Untold(inner)])


def test_the_error_names_the_place():
    m = Chain(Dense(2, 2), abs)
    m.layers[1] = Untold(Dense(1, 1))
    with pytest.raises(TypeError, match=r"^layers\.1 is a Untold"):
        params(m)


def test_objects_without_tensors_are_leaves():
    import logging

    loop = Untold(None)
    loop.inner = [loop]
    tree = [
        Untold(3),
        loop,
        logging,
        logging.getLogger(),
        len,
        Untold,
        np.ones(2),
        "text",
        Chain().append,
    ]
    assert len(params(tree)) == 0
    assert mapleaves(lambda x: x, tree)[0] is tree[0]


def test_treelike_says_how_it_is_used():
    with pytest.raises(TypeError, match="decorates a class"):
        treelike(3)


def test_loadparams_by_order_and_by_name():
    a, b = Chain(Dense(2, 3), Dense(3, 1)), Chain(Dense(2, 3), Dense(3, 1))
    x = np.ones((4, 2), dtype="float32")
    loadparams(a, params(b))
    np.testing.assert_array_equal(a(x), b(x))
    loadparams(a, [np.zeros(p.shape) for p in params(a)])
    np.testing.assert_array_equal(a(x), np.zeros((4, 1)))
    loadparams(a, {"layers.1.b": [7.0], "layers.0.W": np.zeros((3, 2)), "layers.0.b": np.zeros(3),
                   "layers.1.W": np.zeros((1, 3))})  # fmt: skip
    np.testing.assert_array_equal(a(x), np.full((4, 1), 7.0))


def test_loadparams_copies():
    a, value = Dense(2, 2), np.ones((2, 2), dtype="float32")
    loadparams(a, [value, np.zeros(2)])
    value[:] = 5
    np.testing.assert_array_equal(a.W, np.ones((2, 2)))


@pytest.mark.parametrize(
    ("xs", "message"),
    [
        ([np.ones((3, 2))], "1 arrays for 2 parameters"),
        ([np.ones((3, 2)), np.ones(3), np.ones(3)], "3 arrays for 2 parameters"),
        ([np.ones((2, 3)), np.ones(3)], r"W is \(3, 2\), got \(2, 3\)"),
        ({"W": np.ones((3, 2))}, "b is missing"),
        ({"W": np.ones((3, 2)), "b": np.ones(3), "c": np.ones(3)}, "c is not in the model"),
    ],
)
def test_loading_what_does_not_fit_changes_nothing(xs, message):
    d = Dense(2, 3)
    before = np.array(d.W)
    with pytest.raises(ValueError, match=message):
        loadparams(d, xs)
    np.testing.assert_array_equal(d.W, before)
