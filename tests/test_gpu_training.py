"""Training on the GPU: layers and optimisers as on the CPU, bad losses that are seen late, and what a step makes anew."""

import copy
import pickle

import numpy as np
import pytest

import fluxrs
from fluxrs import BatchNorm, Chain, Dense, Diagonal, Dropout, LayerNorm, cpu, gpu, params
from fluxrs.optimise.optimisers import Optimiser
from gpu_cases import close

pytestmark = pytest.mark.skipif(not fluxrs._core.has_gpu(), reason="no GPU")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 6)).astype("float32")
LABELS = RNG.integers(0, 3, 16)
Y = fluxrs.onehotbatch(LABELS, range(3))
RULES = [
    fluxrs.SGD, fluxrs.Momentum, fluxrs.Nesterov, fluxrs.RMSProp, fluxrs.ADAGrad, fluxrs.ADADelta,
    fluxrs.ADAM, fluxrs.ADAMW, fluxrs.AdaMax, fluxrs.AMSGrad, fluxrs.NADAM,
    fluxrs.RAdam, fluxrs.AdaBelief, fluxrs.Lion, fluxrs.LAMB,
]  # fmt: skip


def net():
    fluxrs.seed(0)
    return Chain(
        Dense(6, 8, fluxrs.relu), BatchNorm(8), LayerNorm(8), Dropout(0.2), Diagonal(8), Dense(8, 3)
    )


def state(m, opt):
    """All that a step changes, as arrays."""
    leaves = [*params(m), *(s for each in opt.state for s in each), m[1].μ, m[1].var]
    return [np.array(x) for x in leaves]


def step(m, opt, x, y):
    loss = fluxrs.logitcrossentropy(m(x), y)
    fluxrs.back(loss)
    opt()
    return loss


@pytest.mark.parametrize("rule", RULES)
def test_a_net_of_every_layer_trains_as_on_the_cpu(rule):
    results = []
    for move in (cpu, gpu):
        m, x, y = move((net(), X, Y))
        opt = rule(params(m), decay=0.01) if rule is not fluxrs.ADADelta else rule(params(m))
        fluxrs.seed(5)
        for _ in range(5):
            loss = step(m, opt, x, y)
        fluxrs.testmode(m)
        results.append(
            [*state(m, opt), np.asarray(fluxrs.data(m(x))), np.asarray(fluxrs.data(loss))]
        )
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


# Three patterns of 8 × 8 in noise, for nets that take them as images, as sequences of rows and as sets of them.
PATTERN = RNG.integers(0, 3, 48)
IMAGES = (RNG.normal(size=(3, 1, 8, 8))[PATTERN] + RNG.normal(size=(48, 1, 8, 8))).astype("float32")


def convolutional():
    return Chain(
        fluxrs.Conv((3, 3), (1, 8), pad=1),
        BatchNorm(8),
        fluxrs.PReLU(8),
        fluxrs.MaxPool(2),
        fluxrs.SkipConnection(fluxrs.DepthwiseConv((3, 3), 8, fluxrs.gelu, pad=1), fluxrs.add),
        fluxrs.GroupNorm(8, 2),
        fluxrs.ConvTranspose((2, 2), (8, 8), stride=2),
        fluxrs.InstanceNorm(8, fluxrs.relu),
        fluxrs.MeanPool((3, 3), pad=1, stride=2),
        lambda x: fluxrs.upsample(x, 2, mode="bilinear"),
        fluxrs.AdaptiveMeanPool((3, 3)),
        fluxrs.flatten,
        fluxrs.Maxout(lambda: Dense(72, 3), 2),
    )


def recurrent():
    return Chain(
        lambda x: x[:, 0].transpose(1, 0, 2),
        fluxrs.Bidirectional(fluxrs.LSTM(8, 8), fluxrs.GRU(8, 8)),
        fluxrs.RNN(16, 8),
        lambda y: y[-1],
        Dense(8, 3),
    )


def attentive():
    heads = fluxrs.MultiHeadAttention(16, 4)
    gate = fluxrs.Parallel(fluxrs.multiply, Dense(16, 16, fluxrs.tanh), Dense(16, 16, fluxrs.σ))
    return Chain(
        lambda x: x[:, 0],
        fluxrs.Parallel(
            fluxrs.add, Dense(8, 16), Chain(lambda _: [*range(8)], fluxrs.Embedding(8, 16))
        ),
        fluxrs.SkipConnection(Chain(LayerNorm(16), heads), fluxrs.add),
        fluxrs.MultiHeadAttention(16, 2, causal=True),
        gate,
        lambda y: y.mean(axis=1),
        Dense(16, 3),
    )


@pytest.mark.parametrize("make", [convolutional, recurrent, attentive])
def test_nets_of_images_and_sequences_learn_what_they_learn_on_the_cpu(make):
    losses, shares = [], []
    for move in (cpu, gpu):
        fluxrs.seed(0)
        m, x = move((make(), fluxrs.tensor(IMAGES)))
        opt = fluxrs.ADAM(params(m), 0.01)
        curve = []
        for _ in range(25):
            fluxrs.reset(m)
            curve.append(step(m, opt, x, PATTERN))
        losses.append([float(l) for l in curve])
        fluxrs.reset(fluxrs.testmode(m))
        shares.append(fluxrs.accuracy(m(x), PATTERN))
    np.testing.assert_allclose(*losses, rtol=1e-2, atol=1e-3)
    assert shares[0] == shares[1] > 0.9


@pytest.mark.parametrize("rule", [fluxrs.ADAM, fluxrs.SGD, fluxrs.NADAM])
def test_a_bad_loss_seen_late_leaves_nothing_behind(rule):
    m, x, y = gpu((net(), X, Y))
    opt = rule(params(m), 0.01)
    for _ in range(3):
        step(m, opt, x, y)
    before = state(m, opt)
    step(m, opt, x * np.inf, y)
    with pytest.raises(FloatingPointError, match="no parameter was changed"):
        for _ in range(3):
            step(m, opt, x, y)
    assert opt.t == 3
    for got, want in zip(state(m, opt), before, strict=True):
        np.testing.assert_array_equal(got, want)
    assert all(not np.asarray(p.grad).any() for p in params(m))
    loss = step(m, opt, x, y)
    assert np.isfinite(float(loss))
    assert opt.t == 4
    assert all((np.asarray(p) != want).any() for p, want in zip(params(m), before, strict=False))


def test_counters_and_gradients_follow_what_was_committed():
    W = gpu(fluxrs.param(np.ones((3, 2))))
    x, bad = gpu(np.ones((2, 4), "float32")), gpu(np.full((2, 4), np.inf, "float32"))
    opt = fluxrs.ADAM([W], 0.1)
    for _ in range(2):
        fluxrs.back((W @ x).sum())
        opt()
    before = np.array(W)
    fluxrs.back((W @ x).sum())
    fluxrs.back((W @ bad).sum())
    opt()
    with pytest.raises(FloatingPointError, match="no parameter was changed"):
        for _ in range(4):
            fluxrs.back((W @ x).sum())
            opt()
    assert opt.t == 2
    np.testing.assert_array_equal(W, before)
    # As before the bad `back`: what the good one had accumulated is there.
    np.testing.assert_array_equal(W.grad, np.full((3, 2), 4.0))
    opt()
    assert opt.t == 3
    cpu_W = fluxrs.param(np.ones((3, 2)))
    cpu_opt = fluxrs.ADAM([cpu_W], 0.1)
    for _ in range(3):
        fluxrs.back((cpu_W @ np.ones((2, 4), "float32")).sum())
        cpu_opt()
    np.testing.assert_allclose(W, cpu_W, rtol=1e-5)


@pytest.mark.parametrize("read", [float, fluxrs.evaluate, np.asarray])
def test_the_first_reader_is_told(read):
    W = gpu(fluxrs.param(np.ones((3, 2))))
    opt = fluxrs.Momentum([W], 0.1)
    loss = (W * np.inf).sum()
    fluxrs.back(loss)
    opt()
    with pytest.raises(FloatingPointError):
        read(loss)
    assert opt.t == 0
    np.testing.assert_array_equal(W, np.ones((3, 2)))
    np.testing.assert_array_equal(opt.state[0][0], np.zeros((3, 2)))


def test_a_bad_step_of_one_optimiser_does_not_count_for_another():
    A, B = gpu((fluxrs.param(np.ones(3)), fluxrs.param(np.ones(3))))
    a, b = fluxrs.ADAM([A], 0.1), fluxrs.ADAM([B], 0.1)
    fluxrs.back((B * 2).sum())
    b()
    fluxrs.back((A * np.inf).sum())
    a()
    with pytest.raises(FloatingPointError):
        np.asarray(A)
    assert (a.t, b.t) == (0, 1)
    np.testing.assert_allclose(B, np.full(3, 0.9), rtol=1e-5)


def test_updates_that_wait_when_a_bad_step_is_told_go_with_it():
    W = gpu(fluxrs.param(np.ones(3)))
    opt = fluxrs.SGD([W], 0.1)
    fluxrs.back((W * np.inf).sum())
    opt()
    W.data = np.full(3, 7.0, "float32")
    with pytest.raises(FloatingPointError):
        np.asarray(W)
    np.testing.assert_array_equal(W, np.ones(3))
    W.data = np.full(3, 7.0, "float32")
    np.testing.assert_array_equal(W, np.full(3, 7.0))
    assert opt.t == 0


@pytest.mark.parametrize("move", [cpu, gpu])
def test_a_clipped_gradient_of_a_bad_loss_goes_with_it(move):
    W = move(fluxrs.param(np.ones(3)))
    opt = fluxrs.SGD([W], 0.1)
    fluxrs.back((W * np.inf).sum())
    fluxrs.clipnorm([W], 1.0)
    with pytest.raises(FloatingPointError):
        opt()
        np.asarray(W)
    np.testing.assert_array_equal(W.grad, np.zeros(3))
    fluxrs.back((W * 2).sum())
    opt()
    np.testing.assert_allclose(W, np.full(3, 0.8), rtol=1e-6)


def test_train_tells_of_its_last_step():
    m, x, y = gpu((net(), X, Y))
    opt = fluxrs.ADAM(params(m))
    data = [(x, y)] * 3 + [(x * np.inf, y)]
    with pytest.raises(FloatingPointError):
        fluxrs.train(lambda x, y: fluxrs.logitcrossentropy(m(x), y), data, opt)
    assert opt.t == 3


def page():
    W, b = gpu((fluxrs.param(RNG.normal(size=(3, 6))), fluxrs.param(np.zeros(3))))
    x, y = gpu((X, Y))

    def step():
        ps = fluxrs.Params([W, b])
        grads = fluxrs.gradient(lambda: fluxrs.mse(x @ W.T + b, y), ps)
        for p in (W, b):
            fluxrs.update(p, -0.1 * grads[p])

    return step


def test_the_page_s_step_is_guarded_too():
    W, b = gpu((fluxrs.param(np.ones((3, 6))), fluxrs.param(np.zeros(3))))
    x, y = gpu((X, Y))

    def step(scale):
        grads = fluxrs.gradient(lambda: fluxrs.mse(x * scale @ W.T + b, y), fluxrs.Params([W, b]))
        for p in (W, b):
            fluxrs.update(p, -0.1 * grads[p])

    step(1)
    before = np.array(W), np.array(b)
    with pytest.raises(FloatingPointError):
        for scale in (np.nan, 1, 1, 1):
            step(scale)
    for p, want in zip((W, b), before, strict=True):
        np.testing.assert_array_equal(p, want)


def trained(*layers, read=False):
    m, x, y = gpu((Chain(*layers), X, Y))
    opt = fluxrs.ADAM(params(m))

    def run():
        loss = step(m, opt, x, y)
        if read:
            float(loss)

    return run


STEPS = {
    "the page": page,
    "dense": lambda: trained(Dense(6, 16, fluxrs.relu), Dense(16, 3)),
    "dense, the loss read": lambda: trained(Dense(6, 16, fluxrs.relu), Dense(16, 3), read=True),
    "batch norm": lambda: trained(Dense(6, 16), BatchNorm(16, fluxrs.relu), Dense(16, 3)),
    "dropout": lambda: trained(Dense(6, 16), Dropout(0.5), LayerNorm(16), Dense(16, 3)),
}


@pytest.mark.parametrize("name", list(STEPS))
def test_a_replayed_step_is_one_submit_and_makes_nothing_new(name):
    step = STEPS[name]()
    for _ in range(10):
        step()
    before = fluxrs._core.counters()
    for _ in range(10):
        step()
    after = fluxrs._core.counters()
    made = {name: after[name] - before[name] for name in after}
    assert made["submits"] == made["runs"] == 10
    assert {made[n] for n in ("plans", "pipelines", "bind_groups", "buffers")} == {0}


def test_writes_go_where_the_parameter_is():
    p = gpu(fluxrs.param(X))
    p.data = X + 1
    close(p, X + 1)
    p.data[0] = 2.0
    assert np.asarray(p)[0, 0] == 2
    p.data[...] = 3.0
    p.data += 1.0
    fluxrs.update(p, np.ones_like(X))
    close(p, np.full_like(X, 5))
    fluxrs.back((p * 2).sum())
    p.grad[...] = 0
    p.grad = X
    close(p.grad, X)
    fluxrs.back(p * 2, np.ones_like(X))
    close(p.grad, X + 2)
    fluxrs.SGD([p], 1.0)([np.ones_like(X)])
    close(p, np.full_like(X, 4))
    with pytest.raises(fluxrs.DeviceError, match="update"):
        fluxrs.update(p, fluxrs.tensor(X))
    with pytest.raises(fluxrs.DeviceError, match="back"):
        fluxrs.back(p * 2, fluxrs.tensor(X))


class Sign(Optimiser):
    slots = ("a",)

    def rule(self, p, δ, a):
        return -0.1 * δ, a + self.t


def test_a_rule_of_ones_own():
    p = gpu(fluxrs.param(X))
    opt = Sign([p])
    for _ in range(3):
        fluxrs.back((p**2).sum())
        opt()
    close(p, X * np.float32(0.8) ** 3)
    close(opt.state[0][0], np.full_like(X, 3))
    opt([np.ones_like(X)])
    close(opt.state[0][0], np.full_like(X, 6))


def test_saved_copied_and_pickled(tmp_path):
    m, x, y = gpu((net(), X, Y))
    opt = fluxrs.ADAM(params(m))
    for _ in range(2):
        step(m, opt, x, y)
    fluxrs.save(tmp_path / "model", m=m, opt=opt)
    fluxrs.save_weights(tmp_path / "weights", m)
    loaded = fluxrs.load(tmp_path / "model")
    assert loaded["opt"].t == 2
    other = gpu(net())
    fluxrs.load_weights(tmp_path / "weights", other)
    fluxrs.loadparams(other, params(cpu(m)))
    deep, deep_opt = copy.deepcopy((m, opt))
    for n in (loaded["m"], other, deep, pickle.loads(pickle.dumps(m))):
        for got, want in zip(params(n), params(m), strict=True):
            np.testing.assert_array_equal(got, want)
    assert deep_opt.params[0] is params(deep)[0]
    assert deep[0].W.device == other[0].W.device == copy.copy(x).device == "gpu:0"
    assert copy.deepcopy(x * 2).device == "gpu:0"


def test_checkpoints_and_the_derivatives_of_trackers():
    def slope(x):
        fluxrs.seed(3)
        f = lambda u: (fluxrs.exp(u) * fluxrs.rand_like(u)).sum()  # noqa: E731
        return fluxrs.gradient(lambda v: fluxrs.checkpoint(f, v), x)[0]

    close(slope(gpu(X)), slope(fluxrs.tensor(X)))
    row = X[0]
    for f in (
        lambda x: fluxrs.hessian(lambda v: (v**3).sum(), x),
        lambda x: fluxrs.jacobian(fluxrs.exp, x),
        lambda x: fluxrs.forward(lambda v: v * v, x)[1](np.ones(6, "float32"))[0],
    ):
        close(f(gpu(row)), f(fluxrs.tensor(row)))
    bn = gpu(BatchNorm(6))
    fluxrs.gradient(lambda v: fluxrs.checkpoint(lambda u: (bn(u) ** 2).sum(), v), gpu(X))
    close(bn.μ, 0.1 * X.mean(0), 1e-5)


def test_models_on_both_devices_at_once():
    here, there = net(), gpu(net())
    # The statistics of both wait in one queue, and are committed by one plan a device.
    a, b = here(X), there(X)
    fluxrs.evaluate(a, b)
    np.testing.assert_allclose(there[1].μ, here[1].μ, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "crossentropy", "logitcrossentropy"])
def test_losses_take_targets_from_anywhere(loss):
    f = getattr(fluxrs, loss)
    p = np.asarray(fluxrs.softmax(fluxrs.tensor(X[:, :3])))
    want = f(p, Y)
    dense = np.eye(3, dtype="float32")[LABELS]
    for y in (Y, gpu(Y), dense, gpu(dense)):
        close(f(gpu(p), y), want)


def test_layers_take_arrays_and_name_themselves():
    m = gpu(net())
    assert m(X).device == "gpu:0"
    with pytest.raises(fluxrs.DeviceError, match=r"Dense\(6, 8, relu\).*gpu\(x\)"):
        m(fluxrs.tensor(X))
