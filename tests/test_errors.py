"""Bad input: the type of the error, what its message names, and that nothing has changed."""

import itertools
import re
import sys
import threading

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    SGD,
    BatchNorm,
    Chain,
    Dense,
    DimensionMismatch,
    Dropout,
    LayerNorm,
    Params,
    back,
    clipnorm,
    clipvalue,
    crossentropy,
    forward,
    gradient,
    onecold,
    onehot,
    param,
    params,
    rand,
    tensor,
    train,
    update,
)
from fluxrs.optimise.optimisers import Optimiser

W = param(np.arange(6.0).reshape(2, 3))
b = param(np.arange(3.0))
other = param([1.0])
x = tensor(np.arange(6.0).reshape(2, 3))
i = tensor(np.array([1, 2], dtype="int32"))
m = Chain(Dense(3, 2), Dense(2, 1))


def isub():
    p = W
    p -= 1


@fluxrs.treelike
class Uncalled:
    pass


class Forgetful(Optimiser):
    slots = ("v",)

    def rule(self, p, δ, v):
        return -δ


def enter_no_grad():
    with fluxrs.no_grad:
        pass


def iand():
    p = W
    p &= 1


def delete():
    del W[0]


def set_η(value):
    opt = SGD([W])
    opt.η = value
    opt([np.ones((2, 3))])


def set_grad(p, value):
    gradient(lambda: W.sum(), Params([W]))[p] = value


def write():
    y = W * 2
    y[0] = 1


ROWS = {
    # What one types who comes from elsewhere.
    "one sample as the data": (lambda: train(lambda x, y: m(x), x, SGD([W])), TypeError, r"loss takes \(x, y\), .* 1 part: Tensor of shape \(3,\); .*\[\(x, y\)\]"),
    "a model as the loss": (lambda: train(m, [(x, x)], SGD([W])), TypeError, "2 parts: Tensor of shape"),
    "an error of the loss": (lambda: train(lambda x: None + x, [(x,)], SGD([W])), TypeError, "unsupported operand"),
    "an activation by its name": (lambda: Dense(3, 2, "relu"), TypeError, "'relu'.*it is a function, as in σ=relu"),
    "a cell's activation by its name": (lambda: fluxrs.RNN(3, 2, "relu"), TypeError, "RNNCell: the activation"),
    "layers in a recurrent layer": (lambda: fluxrs.LSTM(3, 2, num_layers=2), TypeError, "LSTM has no keyword 'num_layers'; it has init"),
    "padding": (lambda: fluxrs.MaxPool(2, padding=1), TypeError, "MaxPool has no keyword 'padding'; did you mean pad"),
    "channels first": (lambda: fluxrs.Conv(1, 16, 3), TypeError, r"as in Conv\(\(3, 3\), \(1, 16\)\)"),
    "the number of classes": (lambda: fluxrs.onehotbatch([0, 1], 2), TypeError, r"range\(2\)"),
    "nothing to save": (lambda: fluxrs.save("nothing"), TypeError, "by name"),
    "targets of another number": (lambda: fluxrs.accuracy(rand(3, 4), [0, 1]), ValueError, r"\(3,\) or \(3, 4\)"),
    "the target first": (lambda: fluxrs.logitcrossentropy(fluxrs.onehotbatch([0, 1], range(3)), rand(2, 3)), TypeError, "prediction comes first"),
    "a column of labels": (lambda: fluxrs.logitcrossentropy(rand(4, 3), np.zeros((4, 1), int)), DimensionMismatch, r"labels are integers, \(4,\)"),
    "a pair of arrays as one": (lambda: fluxrs.batches((x, rand(2)), size=1), TypeError, r"batches\(x, y, size=32\); got a tuple"),
    "an iterator of pairs": (lambda: fluxrs.batches(zip(x, x, strict=True), size=1), TypeError, "got a zip"),
    "a power's other name": (lambda: x.pow(2), AttributeError, r"here it is x \*\* n"),
    "tensors without a list": (lambda: fluxrs.concatenate(x, rand(2)), TypeError, r"one list, as in concatenate\(\[a, b\]\)"),
    "rounded rows": (lambda: round(x, 2), TypeError, "round: only a tensor of one element"),
    "a dtype as a name": (lambda: fluxrs.float32, AttributeError, 'dtype="float32"'),
    "a model's reset": (lambda: fluxrs.GRU(3, 2).reset(), AttributeError, r"here it is reset\(m\)"),
    "add shapes": (lambda: x + rand(4), DimensionMismatch, r"add.*\(2, 3\).*\(4,?\)"),
    "where shapes": (lambda: fluxrs.where(x > 0, x, rand(4)), DimensionMismatch, "where"),
    "matmul shapes": (lambda: x @ rand(2, 3), DimensionMismatch, r"matmul.*\(2, 3\)"),
    "matmul of a number": (lambda: fluxrs.matmul(x, 2.0), (DimensionMismatch, TypeError), "matmul"),
    "reshape": (lambda: x.reshape(4, 4), DimensionMismatch, "reshape"),
    "concatenate": (lambda: fluxrs.concatenate([x, rand(2, 4)], axis=0), DimensionMismatch, "concat"),
    "stack": (lambda: fluxrs.stack([x, rand(2, 4)]), DimensionMismatch, "stack"),
    "axis out of range": (lambda: x.sum(axis=2), IndexError, r"sum.*2"),
    "a huge axis": (lambda: x.sum(axis=10**20), OverflowError, "axis does not fit into 64 bits: 10000"),
    "a huge axis among others": (lambda: x.sum(axis=(0, 10**20)), OverflowError, r"axis does not fit into 64 bits: \(0, 10000"),
    "a huge length": (lambda: fluxrs.zeros(2, 10**20), OverflowError, "zeros: a shape does not fit into 64 bits"),
    "a huge repeat": (lambda: x.repeat(-(10**20)), OverflowError, "repeats does not fit into 64 bits: -1000"),
    "a huge kernel": (lambda: fluxrs.maxpool(rand(1, 1, 4, 4), (10**20, 2)), OverflowError, "kernel does not fit into 64 bits"),
    "a huge place": (lambda: fluxrs.Params([])[10**20], OverflowError, "an index of Params does not fit"),
    "a huge seed": (lambda: fluxrs.seed(10**30), OverflowError, "n does not fit into 64 bits"),
    "a huge operand": (lambda: x + 10**400, OverflowError, "a number does not fit into 64 bits"),
    "a list of huge numbers": (lambda: tensor([10**400]), OverflowError, "an integer of the list does not fit into float64"),
    "negative axis": (lambda: x.mean(axis=-3), IndexError, "-3"),
    "axis twice": (lambda: x.sum(axis=(0, -2)), ValueError, "sum"),
    "complex": (lambda: tensor(np.array([1j])), TypeError, "complex"),
    "object": (lambda: tensor(np.array([object()])), TypeError, "object"),
    "strings": (lambda: tensor(["a"]), TypeError, ""),
    "ragged": (lambda: tensor([[1, 2], [3]]), (TypeError, ValueError), ""),
    "index": (lambda: x[5], IndexError, "5"),
    "index of floats": (lambda: x[tensor([0.0, 1.0])], IndexError, r'float32: .*astype\("int64"\)'),
    "index into rows of nothing": (
        lambda: fluxrs.take(fluxrs.zeros(2, 0), [5], axis=0).numpy(), IndexError, "index 5.*axis 0 of size 2"),
    "no_grad itself": (enter_no_grad, TypeError, r"with no_grad\(\)"),
    "index of a list": (lambda: x[[0, 7]].tolist(), IndexError, "7"),
    "too many indices": (lambda: x[0, 0, 0], IndexError, ""),
    "bool of many": (lambda: bool(x > 0), (ValueError, TypeError), ""),
    "len of a number": (lambda: len(tensor(1.0)), TypeError, ""),
    "xor": (lambda: x ^ 2, TypeError, r"\*\*"),
    "back of an array": (lambda: back(W * 2), (ValueError, TypeError), "back"),
    "back of a wrong shape": (lambda: back(W * 2, [1, 2]), DimensionMismatch, ""),
    "back of untracked": (lambda: back(x.sum()), (TypeError, ValueError), "back"),
    "gradient of an array": (lambda: gradient(lambda w: w * 2, x), (ValueError, TypeError), ""),
    "gradient of NumPy": (lambda: gradient(lambda w: np.float64(3.0), x), TypeError, ""),
    "gradient of None": (lambda: gradient(lambda w: None, x), TypeError, "None"),
    "gradient of untracked": (
        lambda: gradient(lambda: x.sum(), Params([W])), (TypeError, ValueError), ""),
    "gradient of nothing": (lambda: gradient(lambda: W.sum()), TypeError, "gradient"),
    "gradient of a list": (lambda: gradient(lambda: W.sum(), [W, b]), TypeError, "Params"),
    "Params among others": (lambda: gradient(lambda w: W.sum(), x, Params([W])), TypeError, "Params"),
    "Grads key": (lambda: gradient(lambda: W.sum(), Params([W]))[b], KeyError, r"\(3,?\)"),
    "pullback shape": (lambda: forward(lambda w: w * 2, x)[1]([1.0]), DimensionMismatch, ""),
    "update shape": (lambda: update(W, b), DimensionMismatch, "update"),
    "augmented assignment": (isub, TypeError, "update"),
    "write to a result": (write, TypeError, ""),
    "opt of a number": (lambda: ADAM(0.001), TypeError, r"ADAM\(params\(m\), …\)"),
    "opt of one parameter": (lambda: SGD(W), TypeError, r"SGD\(\[p\], …\)"),
    "opt of untracked": (lambda: SGD([W, x]), TypeError, "item 1"),
    "opt of a result": (lambda: SGD([W * 2]), TypeError, "item 0"),
    "opt of a layer": (lambda: SGD([m[0]]), TypeError, "item 0"),
    "opt twice": (lambda: SGD([W, b, W]), ValueError, "twice"),
    "opt without gradient": (lambda: SGD([other])(), RuntimeError, r"back\(loss\).*opt\(grads\)"),
    "both twins": (lambda: SGD([W], η=1, eta=1), TypeError, "one keyword"),
    "unknown keyword": (lambda: ADAM([W], beta_1=1), TypeError, "did you mean beta1"),
    "unknown label": (lambda: onehot("d", "abc"), ValueError, "'d'"),
    "Dense size": (lambda: Dense(2.5, 1), TypeError, "Dense"),
    "Dense sizes by name": (lambda: Dense(in_=2, out=1), TypeError, "Dense"),
    "Chain of a number": (lambda: Chain(3), TypeError, "layer 0"),
    "Chain of a list": (lambda: Chain([abs]), TypeError, r"one by one, as in Chain\(\*layers\)"),
    "Chain of what is no layer": (lambda: Chain(Uncalled()), TypeError, "Uncalled needs a method __call__"),
    "a step by a loss": (lambda: SGD([W])(W.sum()), TypeError, r"call back\(loss\), then opt\(\)"),
    "save without names": (lambda: fluxrs.save("no", m), TypeError, r"as in save\(path, model=m\)"),
    "layer's input": (lambda: m(rand(4)), DimensionMismatch, r"Chain\[0\] Dense\(3, 2\).*\(4,\)"),
    "layer in a layer": (
        lambda: Chain(m, Chain(Dense(2, 2)))(rand(3)),
        DimensionMismatch,
        r"^Chain\[1\] Chain\[0\] Dense\(2, 2\)",
    ),
    "a function as layer": (
        lambda: Chain(len, fluxrs.relu, lambda x: x.nope)(rand(3)),
        AttributeError,
        r"Chain\[2\] <lambda>",
    ),
    "Dense of W and b": (lambda: Dense(rand(2, 3), rand(3)), DimensionMismatch, r"\(2, 3\) and \(3,\)"),
    "Dense of a vector": (lambda: Dense(rand(3), rand(3)), DimensionMismatch, r"Dense\(W, b\)"),
    "Dense's initW": (lambda: Dense(3, 2, initW=lambda *n: rand(5)), DimensionMismatch, r"initW.*\(2, 3\)"),
    "Dense's initb": (lambda: Dense(3, 2, initb=0), TypeError, "Dense: initb"),
    "BatchNorm's activation": (lambda: BatchNorm(3, 0.1), TypeError, "BatchNorm: the activation"),
    "Dropout of a string": (lambda: Dropout("a"), TypeError, "Dropout: p must be a probability"),
    "LayerNorm's input": (lambda: LayerNorm(3)(rand(4, 1)), DimensionMismatch, r"^LayerNorm\(3\).*\(4, 1\)"),
    "Chain's index": (lambda: m[5], IndexError, "Chain: index 5 into a chain of 2 layers"),
    "Chain's append": (lambda: m.append(3), TypeError, "Chain: layer 2 is 3"),
    "weight of a loss": (
        lambda: crossentropy(rand(3, 2), rand(3, 2), weight=rand(4, 3, 2)), DimensionMismatch,
        r"crossentropy: weight.*\(4, 3, 2\).*\(3, 2\)"),
    "labels for onecold": (lambda: onecold(rand(3, 4), "abc"), DimensionMismatch, "3 labels for 4 classes"),
    "η of a string": (lambda: ADAM([W], "0.1"), TypeError, "ADAM: η, or eta, must be a number, got '0.1'"),
    "η set to None": (lambda: set_η(None), TypeError, "SGD: η, or eta, must be a number, got None"),
    "an optimiser's class": (lambda: train(lambda x: W.sum(), [1], ADAM), TypeError, r"ADAM\(params\(m\)\)"),
    "throttle without time": (lambda: fluxrs.throttle(print), TypeError, r"throttle\(f, 30\)"),
    "epochs": (lambda: list(fluxrs.epochs("2")), TypeError, "epochs.*'2'"),
    "size of a batch": (lambda: fluxrs.batches(x, x, 1.5), TypeError, "batches: size.*1.5"),
    "steps of cosine": (lambda: fluxrs.cosine(0.1, 0), ValueError, "cosine: steps"),
    "anneal's order": (lambda: fluxrs.anneal(0.1, SGD([W])), TypeError, r"anneal\(opt, cosine"),
    "clipnorm of a model": (lambda: clipnorm(m, 1.0), TypeError, r"clipnorm\(params\(m\), c\)"),
    "clipnorm of untracked": (lambda: clipnorm([x], 1.0), TypeError, "made by `param`"),
    "clipnorm's bound": (lambda: clipnorm([W], -1), ValueError, "-1"),
    "clipvalue's bound": (lambda: clipvalue([W], "1"), TypeError, "clipvalue: the bound c"),
    "Grads' shape": (lambda: set_grad(W, b), DimensionMismatch, r"\(2, 3\).*\(3,\)"),
    "Grads' new key": (lambda: set_grad(b, b), KeyError, r"\(3,\)"),
    "activations of a layer": (lambda: fluxrs.activations(m[0], x), TypeError, "activations takes a Chain"),
    "batch of nothing": (lambda: fluxrs.batch([]), ValueError, "^batch"),
    "chunk in none": (lambda: fluxrs.chunk([1], 0), ValueError, "chunk.*0"),
    "unstack's axis": (lambda: fluxrs.unstack(x, 2), IndexError, "unstack: axis 2.*2 axes"),
    "one-hot of no indices": (lambda: fluxrs.OneHotMatrix((2, 3), 3), TypeError, "indices"),
    "endless items": (lambda: fluxrs.stack(itertools.repeat(x)), ValueError, r"^stack: more than \d+ items"),
    "labels in lists": (lambda: fluxrs.onehotbatch([["a"]], "ab"), TypeError, "onehotbatch.*flat"),
    "checkpoint of several": (
        lambda: fluxrs.checkpoint(lambda w: (w, w), W), TypeError, "checkpoint.*one tensor, got a tuple"),
    "truth of a one-hot batch": (lambda: bool(fluxrs.onehotbatch("ab", "ab")), ValueError, "ambiguous"),
    "rule without state": (lambda: Forgetful([W])([np.ones((2, 3))]), TypeError, r"Forgetful.rule.*\(Δ, v\)"),
    "hook without return": (
        lambda: gradient(lambda w: fluxrs.hook(lambda Δ: None, w).sum(), x), TypeError, "hook.*None"),
    "loadparams of None": (lambda: fluxrs.loadparams(m, None), TypeError, "loadparams.*None"),
    "update of a list": (lambda: update([1.0], [1.0]), TypeError, "update.*list"),
    "update of untracked": (lambda: update(x, x), TypeError, "update.*untracked"),
    "augmented and": (iand, TypeError, "update"),
    "del": (delete, TypeError, "del"),
    "back of a number": (lambda: back(3.0), TypeError, r"^back: it takes a tracked tensor, not 3\.0 \(float\)$"),
    "stack's axis": (lambda: fluxrs.stack([x, x], axis=5), IndexError, "^stack: axis 5"),
    "axes to concatenate": (lambda: fluxrs.concatenate([x, b]), DimensionMismatch, "number of axes"),
    "matmul batches": (lambda: rand(2, 3, 4) @ rand(3, 4, 5), DimensionMismatch, r"\(2, 3, 4\).*\(3, 4, 5\)"),
    "mask behind an Ellipsis": (
        lambda: rand(2, 3, 4)[..., [True, False, True]], IndexError, r"mask.*\(3,\).*axis 2.*\(2, 3, 4\)"),
    "one truth value": (lambda: x[True], IndexError, r"t\[None\]"),
    "negative repeat": (lambda: x.repeat(-1), ValueError, "repeat.*-1"),
    "negative split": (lambda: x.split(-1), ValueError, "split.*-1"),
    "negative eye": (lambda: fluxrs.eye(-1), ValueError, "eye.*-1"),
    "negative linspace": (lambda: fluxrs.linspace(0, 1, -1), ValueError, "linspace.*-1"),
    "negative permutation": (lambda: fluxrs.permutation(-1), ValueError, "permutation.*-1"),
    "arange to NaN": (lambda: fluxrs.arange(float("nan")), ValueError, "arange.*NaN"),
    "no probability": (lambda: fluxrs.bernoulli(1.5, 3), ValueError, r"bernoulli.*1\.5"),
    "sum with a large integer": (lambda: i + 2**40, OverflowError, r"^add: the integer 1099511627776.*int32"),
    "product with an enormous one": (lambda: 2**70 * i, OverflowError, r"^multiply.*int32"),
    "where with a large integer": (lambda: fluxrs.where(i > 0, i, 2**40), OverflowError, "^where.*int32"),
    "clip to a large integer": (lambda: i.clip(0, 2**40), OverflowError, "^clip.*int32"),
    "pad with a large integer": (lambda: i.pad(1, 2**40), OverflowError, "^pad.*int32"),
    "full of a large integer": (lambda: fluxrs.full(2, 2**40, dtype="int32"), OverflowError, "^full.*int32"),
    "tensor of a large integer": (lambda: tensor(2**40, dtype="int32"), OverflowError, "^tensor.*int32"),
    "negative power of integers": (lambda: i**-1, ValueError, r"^power.*-1.*astype"),
    "negative power of 2": (lambda: fluxrs.power(i, -20), ValueError, r"^power.*-20"),
    "dot's shapes": (lambda: fluxrs.dot(x, x), DimensionMismatch, r"^dot: shapes \(2, 3\)"),
    "trace of a vector": (lambda: fluxrs.trace(b), DimensionMismatch, r"^trace.*\(3,\)"),
    "logsumexp's axis": (lambda: x.logsumexp(axis=2), IndexError, "^logsumexp: axis 2"),
    "std's axis": (lambda: x.std(axis=2), IndexError, "^std: axis 2"),
    "sum's axis": (lambda: x.sum(axis=1.0), TypeError, r"^sum: axis.*1\.0"),
    "softmax's axis": (lambda: fluxrs.softmax(x, axis="rows"), TypeError, "^softmax.*integer.*'rows'"),
    "keepdims": (lambda: x.mean(keepdims=2), TypeError, "^mean.*True or False.*2"),
    "norm's p": (lambda: fluxrs.norm(x, "fro"), TypeError, "^norm.*number.*'fro'"),
    "arange of a string": (lambda: fluxrs.arange("a"), TypeError, "^arange.*number.*'a'"),
    "linspace of a string": (lambda: fluxrs.linspace(0, "a"), TypeError, "^linspace.*number.*'a'"),
    "a time": (lambda: x + np.timedelta64(1, "s"), TypeError, "tensor of a timedelta64"),
    "a date": (lambda: x + np.datetime64("2020-01-01"), TypeError, "tensor of a datetime64"),
    "divmod": (lambda: divmod(x, "a"), TypeError, "divmod"),
    "memory": (lambda: np.asarray(fluxrs.zeros(10**7, 10**7)), MemoryError, "zeros"),
    "memory for arange": (lambda: fluxrs.arange(10**15), MemoryError, "arange"),
    "memory for linspace": (lambda: fluxrs.linspace(0, 1, 10**13).numpy(), MemoryError, "bytes"),
    "memory for eye": (lambda: fluxrs.eye(10**6).numpy(), MemoryError, "bytes"),
    "memory for outer": (lambda: fluxrs.outer(rand(10**7), rand(10**7)).numpy(), MemoryError, ""),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ROWS.values(), ids=ROWS.keys())
def test_bad_input(call, error, message):
    before = [np.array(p) for p in (W, b, *params(m))]
    with pytest.raises(error) as caught:
        call()
    found = str(caught.value)
    assert found
    assert re.search(message, found), found
    for p, old in zip((W, b, *params(m)), before, strict=True):
        np.testing.assert_array_equal(p, old)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_bad_loss_changes_nothing(bad):
    p = param([1.0, 2.0])
    opt = ADAM([p], 0.1)
    back((p**2).sum())
    opt()
    before, state = np.array(p), [np.array(s) for s in opt.state[0]]

    def step():
        back((p * bad).sum())
        opt()

    with pytest.raises(Exception, match=r"(?i)inf|nan|finite"):
        step()
    np.testing.assert_array_equal(p, before)
    np.testing.assert_array_equal(p.grad, [0, 0])
    for s, old in zip(opt.state[0], state, strict=True):
        np.testing.assert_array_equal(s, old)
    assert opt.t == 1
    back((p**2).sum())
    opt()
    assert opt.t == 2
    assert np.isfinite(np.asarray(p)).all()


def test_a_layer_that_raises_in_the_middle_of_train():
    model = Chain(Dense(3, 2), lambda x: 1 / 0 if calls.append(1) or len(calls) == 3 else x)
    calls = []
    opt = SGD(params(model), 0.1)
    batch = (np.ones((4, 3), "float32"), np.ones((4, 2), "float32"))
    seen = []
    with pytest.raises(ZeroDivisionError, match=r"Chain\[1\] <lambda>: division by zero"):
        train(
            lambda x, y: fluxrs.mse(model(x), y),
            [batch] * 5,
            opt,
            cb=lambda: seen.append(np.array(model[0].W)),
        )
    assert len(seen) == 2
    np.testing.assert_array_equal(model[0].W, seen[-1])
    np.testing.assert_array_equal(model[0].W.grad, np.zeros((2, 3)))


def test_tensors_used_from_several_threads():
    p, errors = param(np.ones(50)), []

    def work(k):
        try:
            for _ in range(50):
                (g,) = gradient(lambda w: (w * p * k).sum(), np.ones(50))
                np.testing.assert_allclose(g, np.full(50, float(k)))
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []


def test_values_of_a_thread_that_has_ended_are_as_they_were():
    k, held = np.array([1.0, 2.0, 3.0]), {}
    p = param([1.0, 2.0, 3.0])

    def work():
        held["result"] = p * k
        held["gradient"] = gradient(lambda: ((p * k) ** 2).sum(), Params([p]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    update(p, 10.0)
    np.testing.assert_array_equal(p, [11, 12, 13])
    np.testing.assert_array_equal(held["result"], [1, 4, 9])
    np.testing.assert_array_equal(held["gradient"][p], [2, 16, 54])


def test_a_parameter_read_while_another_thread_learns():
    p, errors = param(np.zeros(64)), []

    def learn():
        for _ in range(1500):
            update(p, 1.0)
            fluxrs.evaluate(p)

    def read():
        try:
            while learner.is_alive():
                for seen in (
                    p * 2,
                    p.data,
                    fluxrs.stack([p, p]),
                    np.asarray(p),
                    p[3:9],
                    p @ p,
                    p.sum(),
                ):
                    values = np.unique(np.asarray(seen))
                    assert values.size == 1, values
        except BaseException as e:
            errors.append(e)

    learner = threading.Thread(target=learn)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for t in (learner, *readers):
        t.start()
    for t in (learner, *readers):
        t.join()
    assert errors == []
    np.testing.assert_array_equal(p, np.full(64, 1500))


def line():
    return f"test_errors.py:{sys._getframe(1).f_lineno}"


def test_errors_at_evaluation_name_the_line_that_made_the_node():
    seven = fluxrs.zeros(2, dtype="int64") + 7
    big = rand(3, 8, 4)
    singular = fluxrs.zeros(3, 3)
    lookup = lambda h: h[seven]
    head = Chain(Dense(3, 3), lookup)
    rows = [
        (lambda: x[seven], "index 7 is out of range for axis 0 of size 2"),
        (lambda: x[:, seven], "index 7 is out of range for axis 1 of size 3"),
        (lambda: x[seven - 7, -seven], "index -7 is out of range for axis 1 of size 3"),
        (lambda: big[seven, seven], "index 7 is out of range for axis 0 of size 3"),
        (lambda: big[:, seven, seven], "index 7 is out of range for axis 2 of size 4"),
        (
            lambda: fluxrs.take(x, seven, axis=-1),
            "take: index 7 is out of range for axis 1 of size 3",
        ),
        (
            lambda: fluxrs.take_along_axis(x, seven.reshape(2, 1), 1),
            "7 is out of range for axis 1 of",
        ),
        (lambda: fluxrs.inv(singular), "inv: the matrix is singular"),
        (lambda: fluxrs.solve(singular, fluxrs.ones(3)), "solve: the matrix is singular"),
        (
            lambda: gradient(lambda a: gradient(fluxrs.det, a)[0].sum(), singular)[0],
            "for the gradient of det, made at",
        ),
    ]
    calls = [(f(), message, f.__code__.co_firstlineno) for f, message in rows]
    calls.append((head(x), "out of range for axis 0 of size 2", lookup.__code__.co_firstlineno))
    for y, message, at in calls:
        with pytest.raises((IndexError, ValueError)) as caught:
            fluxrs.evaluate(y)
        found = str(caught.value)
        assert message in found, found
        assert f"test_errors.py:{at})" in found, (found, at)
    # Large axes hide no index: one beyond the first of several is not one of the next.
    with pytest.raises(IndexError, match="index 3 is out of range for axis 0 of size 3"):
        np.asarray(big[seven - 4, seven - 7])


@pytest.mark.parametrize(
    "change",
    [
        lambda p, opt: update(p, 1.0),
        lambda p, opt: setattr(p, "data", np.ones(2, "float32")),
        lambda p, opt: opt([np.ones(2, "float32")]),
    ],
)
def test_a_value_that_is_gone_is_told_by_its_shape(change):
    p = param([1.0, 2.0])
    opt = fluxrs.SGD([p], 0.5)
    gone, seen = (p**2).sum(), np.asarray(p)
    change(p, opt)
    fluxrs.evaluate(p)
    # A value that is still seen from elsewhere is not written over.
    back(gone)
    np.testing.assert_array_equal(p.grad, [2, 4])
    np.testing.assert_array_equal(seen, [1, 2])
    p.grad = None
    gone, there = (p**2).sum(), (p * 3).sum()
    del seen
    change(p, opt)
    fluxrs.evaluate(p)
    with pytest.raises(ValueError, match=r"the float32 parameter of shape \(2,\) was updated"):
        back(gone)
    np.testing.assert_array_equal(p.grad, [0, 0])
    back(there)
    np.testing.assert_array_equal(p.grad, [3, 3])


def test_a_plan_that_comes_again_names_its_own_line():
    index = tensor(np.array([0, 1]))
    for bad in (0, 5):
        first, _ = fluxrs.take(x, index + bad, axis=0), None
        second, at = fluxrs.take(x, index + bad, axis=0), line()
        if bad == 0:
            fluxrs.evaluate(first)
            fluxrs.evaluate(second)
    with pytest.raises(IndexError, match=re.escape(at)):
        fluxrs.evaluate(second)


def test_debug_names_where_a_nan_comes_up():
    p = param([0.0, 4.0])

    def loss():
        root = fluxrs.sqrt(p)
        return (root * 0).sum(), line()

    with fluxrs.debug(nan=True):
        with pytest.raises(
            FloatingPointError, match=r"^log: the result, of shape \(2,\).*test_errors.py"
        ):
            fluxrs.log(p - 5)
        y, at = loss()
        where = f"test_errors.py:{int(at.split(':')[1]) - 1}"
        with pytest.raises(
            FloatingPointError, match=rf"^sqrt: its gradient, of shape \(2,\).*{where}"
        ):
            back(y)
        with pytest.raises(FloatingPointError, match=r"^sqrt: its gradient"):
            gradient(lambda: loss()[0], Params([p]))
        np.testing.assert_array_equal(p.grad, [0, 0])
    back(loss()[0])
    assert np.isnan(np.asarray(p.grad)[0])
    p.grad = None
