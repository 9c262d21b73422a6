"""gradient, forward, withgradient, back, update: what they give, and what they refuse."""

import threading

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    DimensionMismatch,
    Grads,
    Params,
    Tensor,
    back,
    data,
    forward,
    gradient,
    istracked,
    no_grad,
    param,
    tensor,
    update,
    withgradient,
)


def test_arguments_give_a_tuple():
    g = gradient(lambda x, y: x * x * y, 3, 4.0)
    assert isinstance(g, tuple) and [float(x) for x in g] == [24, 9]
    assert all(isinstance(x, Tensor) and x.shape == () and not istracked(x) for x in g)
    (h,) = gradient(lambda x: (x**2).sum(), [1, 2])
    assert h.tolist() == [2, 4]
    assert gradient(lambda x, y: x * 2, 1.0, [1.0, 2.0])[1].tolist() == [0, 0]
    assert gradient(lambda x: (x**2).sum(), np.ones(2))[0].dtype == "float64"


def test_params_give_grads():
    W, b, c = param([[1.0, 2.0]]), param([3.0]), param([5.0])
    x = tensor([1.0, 1.0])
    g = gradient(lambda: ((W @ x + b) ** 2).sum(), Params([W, b, c]))
    assert isinstance(g, Grads)
    assert g[W].tolist() == [[12, 12]] and g[b].tolist() == [12] and g[c].tolist() == [0]
    assert not istracked(g[W])
    assert [k is p for k, p in zip(g, [W, b, c], strict=True)] == [True] * 3
    assert g.get(x) is None and x not in g
    assert {p.shape: v.tolist() for p, v in g.items()}[1,] is not None
    with pytest.raises(KeyError, match=r"\(2,\).*not a member"):
        g[x]
    with pytest.raises(KeyError, match="no key"):
        g["W"]


def test_params_are_an_ordered_set_by_identity():
    W, b = param([1.0, 2.0]), param([1.0, 2.0])
    ps = Params([W, b, W])
    assert len(ps) == 2 and ps[0] is W and ps[-1] is b and W in ps
    assert param([1.0, 2.0]) not in ps
    assert [p is q for p, q in zip(ps, (W, b), strict=True)] == [True, True]
    assert ps[:1][0] is W
    assert repr(Params([])) == "Params([])"
    with pytest.raises(IndexError):
        ps[2]
    for wrong in (W, 3):
        with pytest.raises(TypeError, match="list"):
            Params(wrong)


def test_gradients_of_gradients():
    cube = lambda x: x**3
    df = lambda x: gradient(cube, x)[0]
    d2f = lambda x: gradient(df, x)[0]
    assert float(gradient(d2f, 2.0)[0]) == 6
    # A constant has the gradient 0, also when that is differentiated.
    assert float(gradient(lambda x: gradient(lambda y: 2 * y, x)[0], 1.0)[0]) == 0
    # Through something outside of the inner function.
    assert float(gradient(lambda w: gradient(lambda x: w * x * x, 3.0)[0], 1.0)[0]) == 6
    W = param([1.0, 2.0])
    g = gradient(lambda: (gradient(lambda: (W**3).sum(), Params([W]))[W] ** 2).sum(), Params([W]))
    np.testing.assert_allclose(g[W], 36 * np.array([1.0, 8.0]))


def test_when_results_are_tracked():
    W = param([2.0])
    f = lambda: (W**2).sum()
    assert not istracked(gradient(f, Params([W]))[W])
    assert istracked(gradient(f, Params([W]), nest=True)[W])
    assert istracked(gradient(lambda x: x * x, 2.0, nest=True)[0])
    assert istracked(gradient(lambda w: (w**2).sum(), W)[0])
    assert istracked(gradient(lambda x: (W * x).sum(), 2.0)[0])
    assert istracked(gradient(lambda x: x * x, param(2.0))[0])


def test_an_untracked_gradient_of_nest_can_be_differentiated():
    W = param([2.0, 3.0])
    g = gradient(lambda: (W**3).sum(), Params([W]), nest=True)[W]
    back(g.sum())
    assert W.grad.tolist() == [12, 18]


def test_withgradient_and_forward():
    y, (g,) = withgradient(lambda x: x * x, 3.0)
    assert (float(y), float(g)) == (9, 6) and not istracked(y)
    W = param([1.0, 2.0])
    y, gs = withgradient(lambda: (W * 2).sum(), Params([W]))
    assert float(y) == 6 and gs[W].tolist() == [2, 2]
    y, pull = forward(lambda: W * 3, Params([W]))
    assert y.tolist() == [3, 6]
    assert pull([1, 10])[W].tolist() == [3, 30]
    assert pull(1)[W].tolist() == [3, 3]
    y, pull = forward(lambda x: 5.0, 1.0)
    assert float(y) == 5 and float(pull(1.0)[0]) == 0


def test_param_of_something_tracked_is_a_tracked_identity():
    f = lambda x: (param(x) ** 2).sum()
    assert gradient(f, [1.0, 2.0])[0].tolist() == [2, 4]
    W = param([3])
    assert W.dtype == "float32" and istracked(W)
    back((param(W * 2) ** 2).sum())
    assert W.grad.tolist() == [24]


def test_back_accumulates():
    W, b = param([1.0, 2.0]), param(3.0)
    y = (W * b).sum()
    back(y)
    back(y)
    assert W.grad.tolist() == [6, 6] and float(b.grad) == 6
    back(W * 2, [1, 10])
    assert W.grad.tolist() == [8, 26]
    back(W, 1)
    back(W * 1, Δ=1)
    assert W.grad.tolist() == [10, 28]


def test_update_adds_and_zeroes():
    W = param([1.0, 2.0])
    back((W * W).sum())
    assert update(W, [0.5, 0.5]) is W
    assert W.tolist() == [1.5, 2.5] and W.grad.tolist() == [0, 0]
    update(W, np.array([1.0, 1.0]))
    update(W, 1)
    assert W.tolist() == [3.5, 4.5] and W.dtype == "float32"


def test_the_old_value_is_needed_after_an_update():
    W = param([1.0, 2.0])
    y = (W * W * W).sum()
    float(y)
    update(W, 1.0)
    W.tolist()
    with pytest.raises(ValueError, match=r"\(2,\)"):
        back(y)
        W.grad.tolist()


def test_the_page_loop_is_one_plan_a_step():
    rng = np.random.default_rng(0)
    W, b = param(rng.random((2, 5), dtype="float32")), param(rng.random(2, dtype="float32"))
    x, y = tensor(rng.random(5, dtype="float32")), tensor(rng.random(2, dtype="float32"))
    ps = Params([W, b])

    def step():
        grads = gradient(lambda: ((y - (W @ x + b)) ** 2).sum(), ps)
        for p in (W, b):
            update(p, -0.01 * grads[p])

    for _ in range(5):
        step()
    before = fluxrs.counters()
    for _ in range(20):
        step()
    after = fluxrs.counters()
    assert after["runs"] - before["runs"] == 20
    assert after["plans"] == before["plans"]


def test_no_grad():
    W = param([1.0])
    with no_grad():
        assert not istracked(W * 2)
        with no_grad():
            pass
        assert not istracked(W * 2)
    assert istracked(W * 2)

    @no_grad()
    def f():
        return W * 2

    assert not istracked(f()) and not istracked(f())
    with pytest.raises(TypeError, match="no_grad"), no_grad():
        gradient(lambda: W.sum(), Params([W]))
    assert istracked(W * 2)


def test_integers_are_not_differentiated():
    assert not istracked(fluxrs.argmax(param([1.0, 2.0])))
    assert not istracked(param([1.0]) > 0)
    W = param([1.0, 2.0])
    assert gradient(lambda: (W * (W > 1.5)).sum(), Params([W]))[W].tolist() == [0, 1]


def test_a_bad_loss_changes_nothing():
    W = param([1.0, -1.0])
    grads = gradient(lambda: fluxrs.log(W).sum(), Params([W]))
    update(W, -0.1 * grads[W])
    with pytest.raises(FloatingPointError, match="NaN"):
        W.tolist()
    assert W.tolist() == [1, -1]


W, x = param(np.ones((2, 3))), tensor(np.ones((2, 3)))

WRONG = {
    "a list": (lambda: gradient(lambda: W.sum(), [W]), TypeError, r"Params\(\[…\]\)"),
    "nothing": (lambda: gradient(lambda: W.sum()), TypeError, "needs what to differentiate by"),
    "no function": (lambda: gradient(W.sum(), Params([W])), TypeError, "function first"),
    "both": (lambda: gradient(lambda x: x, 1.0, Params([W])), TypeError, "either Params"),
    "untracked member": (lambda: gradient(lambda: W.sum(), Params([x])), TypeError, "member 0"),
    "array": (lambda: gradient(lambda: W, Params([W])), DimensionMismatch, r"\(2, 3\).*sum"),
    "NumPy": (lambda: gradient(lambda: np.asarray(W).sum(keepdims=True), Params([W])), TypeError, "NumPy array"),
    "None": (lambda: gradient(lambda x: None, 1.0), TypeError, "None: is a return missing"),
    "number": (lambda: gradient(lambda x: 3.0, 1.0), TypeError, "3.0"),
    "untracked": (lambda: gradient(lambda: x.sum(), Params([W])), TypeError, "depends on nothing tracked"),
    "data": (lambda: gradient(lambda x: data(x) * 2, 1.0), TypeError, "data"),
    "a model": (lambda: gradient(lambda m: 1, fluxrs.Dense(1, 1)), TypeError, r"params\(m\)"),
    "back": (lambda: back(W * 2), DimensionMismatch, r"back\(x.sum\(\)\)"),
    "back untracked": (lambda: back(x.sum()), TypeError, "not tracked"),
    "back number": (lambda: back(3.0), TypeError, "3.0"),
    "Δ": (lambda: back(W * 2, [1.0, 2.0]), DimensionMismatch, r"\(2,\).*\(2, 3\)"),
    "pullback": (lambda: forward(lambda x: x, [1.0])[1]([1.0, 2.0]), DimensionMismatch, r"\(2,\)"),
    "update": (lambda: update(W, [1.0]), DimensionMismatch, "update"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG.values(), ids=WRONG.keys())
def test_bad_calls_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert W.tolist() == [[1] * 3] * 2
    assert W.grad.tolist() == [[0] * 3] * 2


def test_an_error_in_the_function_ends_the_nesting():
    def f(x):
        raise OSError("inside")

    with pytest.raises(OSError, match="inside"):
        gradient(f, 1.0)
    assert not istracked(gradient(lambda x: x * x, 1.0)[0])


def test_an_error_in_a_pullback_reaches_the_caller():
    def pull(_):
        raise OSError("in the pullback")

    with pytest.raises(OSError, match="in the pullback"):
        gradient(lambda x: fluxrs._core.custom(data(x), [x], pull), 1.0)


def test_a_long_chain():
    W = param([1.0])
    y = W
    for _ in range(200_000):
        y = y + 1e-6
    back(y.sum())
    assert W.grad.tolist() == [1]


def test_threads_each_with_their_own_updates():
    def work(seed):
        W = param(np.ones(4))
        x = tensor(np.random.default_rng(seed).normal(size=4))
        for _ in range(200):
            update(W, -0.01 * gradient(lambda: ((W - x) ** 2).sum(), Params([W]))[W])
        results[seed] = np.abs(np.asarray(W) - np.asarray(x)).max()

    results = {}
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 4 and max(results.values()) < 0.1


def test_one_parameter_from_several_threads():
    W = param(np.zeros(3))
    errors = []

    def work():
        try:
            for _ in range(100):
                update(W, 1.0)
                (W * 2).sum().item()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    np.testing.assert_array_equal(W, [300, 300, 300])
