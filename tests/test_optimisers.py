"""Each optimiser against a float64 transcription of its formula, and how steps are taken."""

import copy
import pickle

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    ADAMW,
    LAMB,
    NADAM,
    SGD,
    AdaBelief,
    ADADelta,
    ADAGrad,
    AdaMax,
    AMSGrad,
    DimensionMismatch,
    Lion,
    Momentum,
    Nesterov,
    Params,
    RAdam,
    RMSProp,
    back,
    gradient,
    param,
    withgradient,
)
from fluxrs.optimise.step import Optimiser

β1, β2, ϵ = 0.9, 0.999, 1e-8


def sgd(p, δ, s, t, η=0.1):
    return -η * δ


def momentum(p, δ, s, t, η=0.01, ρ=0.9):
    s["v"] = ρ * s.get("v", 0) - η * δ
    return s["v"]


def nesterov(p, δ, s, t, η=0.01, ρ=0.9):
    v = s.get("v", 0)
    s["v"] = ρ * v - η * δ
    return ρ**2 * v - (1 + ρ) * η * δ


def rmsprop(p, δ, s, t, η=0.001, ρ=0.9):
    s["a"] = ρ * s.get("a", 0) + (1 - ρ) * δ**2
    return -η * δ / (np.sqrt(s["a"]) + ϵ)


def adagrad(p, δ, s, t, η=0.01):
    s["a"] = s.get("a", 0) + δ**2
    return -η * δ / (np.sqrt(s["a"]) + ϵ)


def adadelta(p, δ, s, t, ρ=0.9):
    s["a"] = ρ * s.get("a", 0) + (1 - ρ) * δ**2
    step = δ * np.sqrt(s.get("u", 0) + ϵ) / np.sqrt(s["a"] + ϵ)
    s["u"] = ρ * s.get("u", 0) + (1 - ρ) * step**2
    return -step


def moments(δ, s):
    s["m"] = β1 * s.get("m", 0) + (1 - β1) * δ
    s["v"] = β2 * s.get("v", 0) + (1 - β2) * δ**2
    return s["m"], s["v"]


def adam(p, δ, s, t, η=0.001):
    m, v = moments(δ, s)
    return -η * (m / (1 - β1**t)) / (np.sqrt(v / (1 - β2**t)) + ϵ)


def adamax(p, δ, s, t, η=0.002):
    s["m"] = β1 * s.get("m", 0) + (1 - β1) * δ
    s["u"] = np.maximum(β2 * s.get("u", 0), np.abs(δ))
    return -η / (1 - β1**t) * s["m"] / (s["u"] + ϵ)


def amsgrad(p, δ, s, t, η=0.001):
    m, v = moments(δ, s)
    s["w"] = np.maximum(s.get("w", 0), v)
    return -η * m / (np.sqrt(s["w"]) + ϵ)


def nadam(p, δ, s, t, η=0.001):
    m, v = moments(δ, s)
    ahead = β1 * m / (1 - β1 ** (t + 1)) + (1 - β1) * δ / (1 - β1**t)
    return -η * ahead / (np.sqrt(v / (1 - β2**t)) + ϵ)


def radam(p, δ, s, t, η=0.001):
    m, v = moments(δ, s)
    limit = 2 / (1 - β2) - 1
    ρ = limit - 2 * t * β2**t / (1 - β2**t)
    if ρ <= 4:
        return -η * m / (1 - β1**t)
    r = np.sqrt((ρ - 4) * (ρ - 2) * limit / ((limit - 4) * (limit - 2) * ρ))
    return -η * r * (m / (1 - β1**t)) / (np.sqrt(v / (1 - β2**t)) + ϵ)


def adabelief(p, δ, s, t, η=0.001):
    s["m"] = β1 * s.get("m", 0) + (1 - β1) * δ
    s["s"] = β2 * s.get("s", 0) + (1 - β2) * (δ - s["m"]) ** 2 + ϵ
    return -η * (s["m"] / (1 - β1**t)) / (np.sqrt(s["s"] / (1 - β2**t)) + ϵ)


def lion(p, δ, s, t, η=1e-4, decay=0):
    m = s.get("m", 0)
    s["m"] = 0.99 * m + 0.01 * δ
    return -η * (np.sign(0.9 * m + 0.1 * δ) + decay * p)


def lamb(p, δ, s, t, η=0.001, decay=0):
    m, v = moments(δ, s)
    u = (m / (1 - β1**t)) / (np.sqrt(v / (1 - β2**t)) + 1e-6) + decay * p
    return -η * u * np.linalg.norm(p) / np.linalg.norm(u)


RULES = [
    (SGD, sgd),
    (Momentum, momentum),
    (Nesterov, nesterov),
    (RMSProp, rmsprop),
    (ADAGrad, adagrad),
    (ADADelta, adadelta),
    (ADAM, adam),
    (AdaMax, adamax),
    (AMSGrad, amsgrad),
    (NADAM, nadam),
    (RAdam, radam),
    (AdaBelief, adabelief),
]
ON_THE_GRADIENT = (SGD, Momentum, Nesterov)

A = np.random.default_rng(0).normal(size=(4, 3))
x0 = np.random.default_rng(1).normal(size=(4, 3))


def loss(p):
    """A quadratic and a wave, so that no gradient is constant."""
    return ((p - A) ** 2).sum() + fluxrs.sin(3 * p).sum()


def slope(p):
    return 2 * (p - A) + 3 * np.cos(3 * p)


def transcription(rule, steps, decay=0.0, on_the_gradient=False, after=None):
    p, s = x0.copy(), {}
    for t in range(1, steps + 1):
        shrink = 1 / (1 + decay * (t - 1))
        δ = slope(p) * (shrink if on_the_gradient else 1)
        Δ = rule(p, δ, s, t) * (1 if on_the_gradient else shrink)
        p = p + Δ - (after(p) if after else 0)
    return p


def run(opt, p, steps):
    for _ in range(steps):
        back(loss(p))
        opt()
    return np.asarray(p)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("Opt", "rule"), RULES, ids=[o.__name__ for o, _ in RULES])
def test_fifty_steps(Opt, rule, decay):
    p = param(x0)
    assert p.dtype == "float64"
    expected = transcription(rule, 50, decay, Opt in ON_THE_GRADIENT)
    np.testing.assert_allclose(run(Opt([p], decay=decay), p, 50), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("decay", "couple"), [(0.0, False), (0.01, False), (0.01, True)])
def test_fifty_steps_of_adamw(decay, couple):
    p = param(x0)
    opt = ADAMW([p], 0.05, decay=decay, couple=couple)
    rate = 0.05 * decay if couple else decay
    expected = transcription(lambda *a: adam(*a, η=0.05), 50, after=lambda before: rate * before)
    np.testing.assert_allclose(run(opt, p, 50), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("Opt", "rule"), [(Lion, lion), (LAMB, lamb)])
def test_fifty_steps_with_a_decay_of_weights(Opt, rule, decay):
    p = param(x0)
    expected = transcription(lambda *a: rule(*a, η=0.01, decay=decay), 50)
    got = run(Opt([p], 0.01, decay=decay), p, 50)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_radam_takes_momentums_steps_at_first():
    p, q = param([1.0]), param([1.0])
    radam, adam = RAdam([p], 0.1), ADAM([q], 0.1)
    for _ in range(4):
        radam([np.array([2.0])])
        adam([np.array([2.0])])
    np.testing.assert_allclose(p, [1 - 4 * 0.1 * 2], rtol=1e-5)
    np.testing.assert_allclose(q, [1 - 4 * 0.1], rtol=1e-5)


def test_lamb_at_zero():
    p, q = param(np.zeros(2)), param(np.ones(2))
    LAMB([p, q], 0.1)([np.array([3.0, -4.0]), np.zeros(2)])
    np.testing.assert_allclose(p, [-0.1, 0.1], rtol=1e-5)  # no norm to scale by
    np.testing.assert_array_equal(q, [1, 1])  # no step to scale
    empty = param(np.zeros((0, 3)))
    LAMB([empty], 0.1)([np.zeros((0, 3))])
    assert empty.shape == (0, 3)


OPTIMISERS = [o for o, _ in RULES] + [ADAMW, Lion, LAMB]


@pytest.mark.parametrize("Opt", OPTIMISERS)
def test_float32_parameters_stay_float32_and_learn(Opt):
    p = param(np.zeros((4, 3), dtype="float32"))
    opt = Opt([p]) if Opt is ADADelta else Opt([p], 0.05)
    first = float(((p - A.astype("float32")) ** 2).sum())
    for _ in range(200):
        back(((p - A.astype("float32")) ** 2).sum())
        opt()
    assert p.dtype == "float32"
    assert float(((p - A.astype("float32")) ** 2).sum()) < first


def test_opt_steps_and_zeroes_the_gradients():
    W, b = param([[1.0, 2.0]]), param([3.0])
    opt = SGD([W, b], 0.1)
    back((W * 2).sum() + b.sum())
    opt()
    np.testing.assert_allclose(W, [[0.8, 1.8]], rtol=1e-6)
    np.testing.assert_allclose(b, [2.9], rtol=1e-6)
    np.testing.assert_array_equal(W.grad, [[0, 0]])
    assert opt.t == 1


def test_opt_uses_the_latest_gradient_once():
    W = param([1.0])
    grads = gradient(lambda: (W * 2).sum(), Params([W]))
    opt = SGD([W], 0.1)
    opt()
    np.testing.assert_allclose(W, [0.8], rtol=1e-6)
    with pytest.raises(RuntimeError, match=r"back\(loss\).*opt\(grads\)"):
        opt()
    opt(grads)
    np.testing.assert_allclose(W, [0.6], rtol=1e-6)


def test_a_gradient_that_is_gone_is_not_used():
    W = param([1.0])
    gradient(lambda: (W * 2).sum(), Params([W]))
    with pytest.raises(RuntimeError, match="back"):
        SGD([W])()


def test_accumulated_gradients_come_before_the_latest_gradient():
    W = param([1.0])
    back((W * 5).sum())
    loss, grads = withgradient(lambda: (W * 2).sum(), Params([W]))
    assert float(loss) == 2
    opt = SGD([W], 0.1)
    opt()
    np.testing.assert_allclose(W, [0.5], rtol=1e-6)
    opt()
    np.testing.assert_allclose(W, [0.3], rtol=1e-5)
    assert len(grads) == 1


def test_a_failed_step_keeps_what_was_queued_before():
    W, b = param([1.0]), param([2.0])

    class Broken(Optimiser):
        def __init__(self, params):
            super().__init__(params)

        def rule(self, p, δ):
            return (1 / 0,)

    fluxrs.update(b, 1)
    back(W.sum())
    with pytest.raises(ZeroDivisionError):
        Broken([W])()
    assert (W.tolist(), b.tolist()) == ([1], [3])


def test_opt_takes_arrays_in_the_order_of_the_parameters():
    W, b = param([1.0]), param([[2.0]])
    opt = SGD([W, b], 1.0)
    opt([np.array([0.5]), fluxrs.tensor([[1.0]])])
    assert (float(W.sum()), float(b.sum())) == (0.5, 1.0)
    with pytest.raises(DimensionMismatch, match="shapes"):
        opt([np.array([0.5]), np.array([1.0])])
    with pytest.raises(DimensionMismatch):
        opt([np.array([0.5])])
    with pytest.raises(TypeError, match=r"gradient\(f, ps\)"):
        opt(0.1)
    assert opt.t == 1


def test_a_parameter_the_loss_did_not_reach_is_stepped_with_zero():
    W, b = param([1.0]), param([2.0])
    opt = Momentum([W, b], 0.1)
    back(W.sum() + b.sum())
    opt()
    back(W.sum())
    opt()
    np.testing.assert_allclose(b, [2 - 0.1 - 0.09], rtol=1e-6)


def test_hyperparameters_are_read_and_set_by_either_name():
    opt = ADAM([param(1)], eta=0.5, β1=0.8, ϵ=1e-4)
    assert (opt.η, opt.eta, opt.beta1, opt.ϵ, opt.eps) == (0.5, 0.5, 0.8, 1e-4, 1e-4)
    opt.eta = 0.25
    assert opt.η == 0.25
    opt.β1 = 0.7
    assert opt.beta1 == 0.7


@pytest.mark.parametrize(
    ("Opt", "name", "message"),
    [
        (SGD, "lr", r"SGD has no attribute 'lr'; did you mean eta \(η\)\?"),
        (ADAM, "beta", r"did you mean beta1 \(β1\)"),
        (ADAM, "betas", r"did you mean beta1 \(β1\) and beta2 \(β2\)\?"),
        (ADAM, "epsilon", r"eps \(ϵ\)"),
        (ADAM, "ρ", "ADAM has no attribute 'ρ'; it has eta"),
        (SGD, "beta1", "SGD has no attribute 'beta1'"),
        (Momentum, "momentum", r"rho \(ρ\)"),
        (ADADelta, "η", "it has rho"),
        (ADAM, "weight_decay", "ADAMW"),
        (SGD, "weight_decay", "ADAMW"),
        (ADAMW, "weight_decay", "did you mean decay"),
        (NADAM, "anything", "it has eta"),
    ],
)
def test_an_attribute_that_is_none_is_an_error(Opt, name, message):
    opt = Opt([param(1)])
    before = dict(vars(opt))
    with pytest.raises(AttributeError, match=message):
        setattr(opt, name, 0.5)
    assert vars(opt) == before


def test_a_rule_of_ones_own_has_what_attributes_it_likes():
    class Mine(ADAM):
        def __init__(self, params, lr):
            super().__init__(params, lr)
            self.lr = lr

    opt = Mine([param(1)], 0.5)
    assert (opt.lr, opt.η) == (0.5, 0.5)
    with pytest.raises(ValueError, match="η"):
        opt.η = -1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("eta", v) for v in (-0.1, np.inf, np.nan, -np.inf)],
        *[(n, v) for n in ("β1", "beta2", "rho") for v in (-0.1, 1, 1.5, np.nan)],
        ("eps", -1e-8), ("decay", -1), ("decay", np.inf),
    ],
)  # fmt: skip
def test_hyperparameters_out_of_range(name, value):
    Opt = Momentum if name == "rho" else ADAM
    with pytest.raises(ValueError, match="must be at least 0 and"):
        Opt([param(1)], **{name: value})
    opt = Opt([param(1)])
    before = getattr(opt, name)
    with pytest.raises(ValueError, match=f"{Opt.__name__}: .*, got {value!r}"):
        setattr(opt, name, value)
    assert getattr(opt, name) == before


def test_weight_decay_points_to_adamw():
    for Opt in (ADAM, SGD):
        with pytest.raises(TypeError, match=r"weight decay is ADAMW's decay"):
            Opt([param(1)], weight_decay=0.1)
    with pytest.raises(TypeError, match="did you mean decay"):
        ADAMW([param(1)], weight_decay=0.1)


@pytest.mark.parametrize("Opt", OPTIMISERS)
def test_an_optimiser_without_parameters(Opt):
    with pytest.raises(ValueError, match=rf"{Opt.__name__}: there are no parameters.*@treelike"):
        Opt(fluxrs.params(fluxrs.Chain(lambda x: x)))


def test_setting_the_rate_between_steps():
    p = param([1.0])
    opt = SGD([p], 0.1)
    back(p.sum())
    opt()
    opt.η = 1.0
    back(p.sum())
    opt()
    np.testing.assert_allclose(p, [-0.1], rtol=1e-5)


@pytest.mark.parametrize("Opt", OPTIMISERS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_exactly(Opt, duplicate):
    p = param(x0)
    opt = Opt([p])
    run(opt, p, 3)
    q, opt2 = duplicate((p, opt))
    assert opt2.params[0] is q
    np.testing.assert_array_equal(run(opt, p, 3), run(opt2, q, 3))


def test_repr():
    assert repr(SGD([param(1)], 0.5)) == "SGD(1 parameters, η=0.5, decay=0)"
