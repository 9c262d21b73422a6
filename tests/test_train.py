"""train, throttle, stop, epochs, batches, clipping, schedules."""

import itertools
import threading

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    SGD,
    Dense,
    Params,
    anneal,
    back,
    batches,
    clipnorm,
    clipvalue,
    cosine,
    epochs,
    exponential,
    gradient,
    mse,
    param,
    params,
    stop,
    throttle,
    train,
    warmup,
)
from fluxrs.optimise import train as training


def line():
    """A model, a loss and data of y = 3x − 1."""
    m = Dense(1, 1)
    x = np.linspace(-1, 1, 32, dtype="float32").reshape(-1, 1)
    return m, lambda x, y: mse(m(x), y), (x, 3 * x - 1)


def test_train_fits_a_line():
    m, loss, d = line()
    train(loss, [d] * 200, SGD(params(m), 0.3))
    assert float(m.W.sum()) == pytest.approx(3, abs=1e-3)
    assert float(m.b.sum()) == pytest.approx(-1, abs=1e-3)


def test_items_are_splatted_only_if_tuple_or_list():
    p = param([1.0])
    seen = []

    def loss(*args):
        seen.append(len(args))
        return p.sum()

    train(loss, [(1, 2), [1, 2, 3], np.zeros(4), 7, ()], SGD([p]))
    assert seen == [2, 3, 1, 1, 0]


def test_data_may_be_any_iterable():
    m, loss, (x, y) = line()
    count = []
    cb = lambda: count.append(1)
    train(loss, zip([x, x], [y, y], strict=True), SGD(params(m)), cb=cb)
    train(loss, itertools.repeat((x, y), 3), SGD(params(m)), cb=cb)
    train(loss, batches(x, y, 10), SGD(params(m)), cb=cb)
    assert len(count) == 2 + 3 + 4


def test_data_without_an_item_are_an_error_that_says_why():
    m, loss, (x, y) = line()
    data = zip([x, x], [y, y], strict=True)
    opt = SGD(params(m))
    train(loss, data, opt)
    for empty, message in [(data, r"zip.*once.*list\(zip"), (iter([]), "list_iterator.*once"),
                           ([], "a list, have no item$"), (batches(x[:0], y[:0], 2), "Batches")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"train: the data, .*{message}"):
            train(loss, empty, opt)
    train(lambda *_: stop(), [(x, y)], opt)
    assert opt.t == 2


def test_lists_of_optimisers_and_callbacks_run_in_order():
    m, loss, d = line()
    said = []
    train(
        loss,
        [d],
        [lambda: said.append("opt"), SGD(params(m))],
        cb=[lambda: said.append("a"), lambda: said.append("b")],
    )
    assert said == ["opt", "a", "b"]


def test_the_pages_hand_written_sgd_is_an_optimiser():
    W = param([1.0, 2.0])
    grads = gradient(lambda: (W * 2).sum(), Params([W]))

    def sgd():
        η = 0.1
        fluxrs.update(W, -η * grads[W])

    train(lambda: (W * 2).sum(), [(), ()], sgd)
    np.testing.assert_allclose(W, [0.6, 1.6], rtol=1e-6)


def test_stop_ends_this_train_only():
    m, loss, d = line()
    count = []

    def cb():
        count.append(1)
        if len(count) % 3 == 0:
            stop()

    for _ in range(2):
        train(loss, [d] * 10, SGD(params(m)), cb=cb)
    assert len(count) == 6


def test_stop_outside_of_train_says_so():
    with pytest.raises(fluxrs.StopException, match="none does"):
        stop()


def test_a_callback_that_raises_ends_train_after_its_step():
    m, loss, d = line()
    before = np.array(m.W)

    def cb():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        train(loss, [d] * 3, SGD(params(m)), cb=cb)
    assert not np.array_equal(before, m.W)
    np.testing.assert_array_equal(m.W.grad, [[0]])


def test_an_interrupt_between_back_and_step_leaves_no_gradient_behind():
    m, loss, d = line()
    before = np.array(m.W)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(loss, [d], interrupted)
    np.testing.assert_array_equal(m.W, before)
    np.testing.assert_array_equal(m.W.grad, [[0]])


def test_progress_is_shown_when_asked_for(capsys):
    m, loss, d = line()
    train(loss, [d] * 3, SGD(params(m)), progress=True)
    assert "3" in capsys.readouterr().err
    train(loss, [d] * 3, SGD(params(m)))
    assert capsys.readouterr().err == ""


def test_epochs_count_from_one(capsys):
    assert list(epochs(2)) == [1, 2]
    assert capsys.readouterr().err == "Epoch 1\nEpoch 2\n"


class Clock:
    """Seconds that pass when told."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(training.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_throttle_leading(clock):
    calls = []
    f = throttle(calls.append, 1)
    f(1)
    f(2)
    clock.now = 0.9
    f(3)
    assert calls == [1]
    clock.now = 1.1
    f(4)
    assert calls == [1, 4]


def test_throttle_trailing_runs_the_last_call_at_the_next_call(clock):
    calls = []
    f = throttle(calls.append, 1, leading=True, trailing=True)
    f(1)
    f(2)
    f(3)
    assert calls == [1]
    clock.now = 1.1
    f(4)
    assert calls == [1, 3]


def test_throttle_without_leading(clock):
    calls = []
    f = throttle(calls.append, 1, leading=False, trailing=True)
    f(1)
    f(2)
    assert calls == []
    clock.now = 1.1
    f(3)
    assert calls == [2]


def test_a_trailing_call_runs_when_train_ends(clock):
    m, loss, d = line()
    calls = []
    cb = throttle(lambda: calls.append(1), 100, trailing=True)
    train(loss, [d] * 5, SGD(params(m)), cb=cb)
    assert len(calls) == 2
    train(loss, [d], SGD(params(m)))
    assert len(calls) == 2


def test_a_trailing_call_stays_on_its_thread(clock):
    where = []
    f = throttle(lambda: where.append(threading.get_ident()), 1, leading=False, trailing=True)
    thread = threading.Thread(target=f)
    thread.start()
    thread.join()
    clock.now = 5.0
    f()
    assert where == []


def test_throttle_decorates_a_method(clock):
    class Counter:
        n = 0

        @throttle(30)
        def count(self):
            self.n += 1

    c = Counter()
    c.count()
    c.count()
    assert c.n == 1


def test_throttle_decorates_and_returns_the_last_result(clock):
    @throttle(30)
    def double(x):
        """Twice x."""
        return 2 * x

    assert (double(1), double(5)) == (2, 2)
    assert double.__doc__ == "Twice x."


def test_batches_cover_everything_in_a_new_order_each_time():
    x = np.arange(10)
    b = batches(x, 10 * x, 4)
    assert len(b) == 3
    first, second = (np.concatenate([i for i, _ in b]) for _ in range(2))
    assert sorted(first) == sorted(second) == list(x)
    assert first.tolist() != second.tolist()
    assert all((np.asarray(j) == 10 * np.asarray(i)).all() for i, j in b)
    ordered = batches(x, x, 4, shuffle=False)
    assert [i.tolist() for i, _ in ordered] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_batches_follow_the_seed_and_keep_one_hot():
    x, y = fluxrs.rand(6, 2), fluxrs.onehotbatch("abcabc", "abc")
    fluxrs.seed(1)
    a = [np.array(i) for i, _ in batches(x, y, 2)]
    fluxrs.seed(1)
    b = [np.array(i) for i, j in batches(x, y, 2) if isinstance(j, fluxrs.OneHotMatrix)]
    np.testing.assert_array_equal(a, b)


def test_batches_say_what_is_wrong():
    with pytest.raises(ValueError, match="the arrays have 3, 2 rows"):
        batches([1, 2, 3], [1, 2], 2)
    with pytest.raises(ValueError, match="size"):
        batches([1], [1], 0)


def test_clipnorm_scales_all_gradients_together():
    a, b = param([3.0]), param([[4.0]])
    back((a**2).sum() / 2 + (b**2).sum() / 2)
    assert float(clipnorm([a, b], 1.0)) == pytest.approx(5)
    np.testing.assert_allclose(a.grad, [0.6], rtol=1e-6)
    np.testing.assert_allclose(b.grad, [[0.8]], rtol=1e-6)
    clipnorm([a, b], 10.0)
    np.testing.assert_allclose(a.grad, [0.6], rtol=1e-6)


def test_clipping_what_gradient_gave():
    a, b = param([3.0]), param(np.array([[4.0]]))
    half = lambda: (a**2).sum() / 2 + (b**2).sum() / 2  # noqa: E731
    grads = gradient(half, Params([a, b]))
    assert float(clipnorm(grads, 1.0)) == pytest.approx(5)
    np.testing.assert_allclose(grads[a], [0.6], rtol=1e-6)
    assert grads[b].dtype == "float64"
    np.testing.assert_array_equal(a.grad, [0])
    clipvalue(grads, 0.7)
    np.testing.assert_allclose(grads[b], [[0.7]], rtol=1e-6)
    SGD([a, b], 1.0)()  # takes the clipped ones
    np.testing.assert_allclose(a, [2.4], rtol=1e-6)
    np.testing.assert_allclose(b, [[3.3]], rtol=1e-6)
    assert float(clipnorm([], 1.0)) == 0


def test_clipvalue():
    a = param([3.0, -3.0, 0.5])
    back((a**2).sum() / 2)
    clipvalue([a], 1.0)
    np.testing.assert_allclose(a.grad, [1.0, -1.0, 0.5])


def test_a_bad_loss_with_a_hand_written_optimiser_is_raised_in_its_step():
    p, seen = param([1.0, 2.0]), []
    with pytest.raises(FloatingPointError):
        train(
            lambda d: (p * d).sum(),
            [1.0, np.inf, 1.0],
            lambda: fluxrs.update(p, -0.5 * p.grad),
            cb=lambda: seen.append(p.tolist()),
        )
    assert seen == [[0.5, 1.5]]
    assert p.tolist() == seen[-1]
    assert p.grad.tolist() == [0, 0]


def test_updates_of_a_failing_optimiser_are_discarded():
    p = param([1.0])

    def opt():
        fluxrs.update(p, [5.0])
        raise KeyError("opt")

    with pytest.raises(KeyError):
        train(lambda d: (p * d).sum(), [1.0], opt)
    assert p.tolist() == [1]
    assert p.grad.tolist() == [0]


def test_a_bad_first_loss_takes_back_nothing_from_before():
    a, b, c = param([1.0]), param([2.0]), param([3.0])
    fluxrs.loadparams([b], [[5.0]])
    fluxrs.update(c, 1.0)
    with pytest.raises(FloatingPointError):
        train(lambda d: (a * d).sum(), [np.nan], SGD([a, b, c]))
    assert [p.tolist() for p in (a, b, c)] == [[1], [5], [4]]


def test_a_bad_loss_spoils_no_gradient_that_was_clipped_with_it():
    a, b = param([1.0]), param([2.0])
    back((b * 3).sum())
    back((a * np.nan).sum())
    clipnorm([a, b], 1.0)
    with pytest.raises(FloatingPointError):
        SGD([a, b])()
    assert (a.grad.tolist(), b.grad.tolist()) == ([0], [3])
    assert (a.tolist(), b.tolist()) == ([1], [2])


def test_a_bad_loss_with_clipping_leaves_no_gradient():
    p = param([1.0, 2.0])
    with pytest.raises(FloatingPointError):
        train(lambda d: (p * d).sum(), [np.nan], [lambda: clipnorm([p], 1.0), SGD([p])])
    assert p.tolist() == [1, 2]
    assert p.grad.tolist() == [0, 0]


# Ways from the slope of a loss that is NaN to a step; the values on the way are finite, as the slope is.
def by_itself(p, slope):
    slope.tolist()
    fluxrs.update(p, fluxrs.data(slope))


def by_the_slope_of_a_product(p, slope):
    fluxrs.update(p, fluxrs.gradient(lambda: (slope * p).sum(), fluxrs.Params([p]))[p])


def by_the_slope_of_a_slope(p, slope):
    fluxrs.update(p, fluxrs.gradient(lambda: slope.sum(), fluxrs.Params([p]), nest=True)[p])


def by_a_constant_power(p, slope):
    fluxrs.update(p, fluxrs.data(slope) ** 0)


def by_back(p, slope):
    back((slope * p).sum())
    SGD([p])()


def by_back_after_reading(p, slope):
    for _ in range(3):
        loss = (slope * p).sum()
        back(loss)
        float(loss)
    SGD([p])()


def by_writing_the_gradient(p, slope):
    p.grad = fluxrs.data(slope)
    for _ in range(3):
        loss = (p * 2).sum()
        back(loss)
        float(loss)
    SGD([p])()


@pytest.mark.parametrize("start", [[1.0, 2.0], [], [[3.0]]], ids=str)
@pytest.mark.parametrize(
    "step",
    [
        by_itself,
        by_the_slope_of_a_product,
        by_the_slope_of_a_slope,
        by_a_constant_power,
        by_back,
        by_back_after_reading,
        by_writing_the_gradient,
    ],
)
def test_a_step_that_derives_from_a_bad_loss(step, start):
    p = param(start)
    slope = fluxrs.gradient(
        lambda: p.prod() + (p * p).sum() + np.nan, fluxrs.Params([p]), nest=True
    )[p]
    with pytest.raises(FloatingPointError):
        step(p, slope)
        p.tolist()
    assert p.tolist() == start
    assert p.grad.tolist() == np.zeros_like(start).tolist()
    back(p.sum())
    SGD([p], 1.0)()
    assert p.tolist() == (np.array(start) - 1).tolist()


def test_clipping_in_train():
    m, loss, d = line()
    ps = params(m)
    train(loss, [d] * 2, [lambda: clipnorm(ps, 1e-6), SGD(ps, 1.0)])
    assert abs(float(m.b.sum())) < 1e-5


def test_schedules():
    assert exponential(1.0, 0.5, every=2)(5) == 0.25
    assert cosine(1.0, 10)(0) == 1
    assert cosine(1.0, 10, end=0.1)(99) == pytest.approx(0.1)
    rate = warmup(4, exponential(1.0, 0.5))
    assert [rate(t) for t in range(7)] == [0.25, 0.5, 0.75, 1, 1, 0.5, 0.25]


def test_anneal_sets_the_rate_after_every_step():
    m, loss, d = line()
    opt = ADAM(params(m))
    rates = []
    cb = [anneal(opt, exponential(0.1, 0.5)), lambda: rates.append(opt.η)]
    assert opt.η == 0.1
    train(loss, [d] * 2, opt, cb=cb)
    assert rates == [0.05, 0.025]


@pytest.mark.parametrize(
    "call",
    [
        lambda m, loss, d: train(loss, params(m), [d], SGD(params(m))),
        lambda m, loss, d: train(loss, params(m), SGD(params(m))),
        lambda m, loss, d: train(SGD(params(m)), [d], loss),
        lambda m, loss, d: train(loss, SGD(params(m)), [d]),
        lambda m, loss, d: train(3, [d], SGD(params(m))),
        lambda m, loss, d: train(loss, [d], 0.1),
    ],
)
def test_another_order_of_arguments_is_shown_ours(call):
    m, loss, d = line()
    with pytest.raises(TypeError, match=r"train takes \(loss, data, opt\)"):
        call(m, loss, d)


def test_cb_must_be_callable():
    m, loss, d = line()
    with pytest.raises(TypeError, match="cb"):
        train(loss, [d], SGD(params(m)), cb=3)
