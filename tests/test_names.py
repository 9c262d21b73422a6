"""Greek names and their ASCII twins."""

import pytest

import fluxrs
from fluxrs import ADAM, SGD, Dense, LayerNorm, param, tensor, treelike
from fluxrs.names import TWINS, keywords


@keywords
def f(x, /, y=0, *, η=1, ϵ=2, plain=3):
    return (x, y, η, ϵ, plain)


def test_both_spellings_reach_the_same_argument():
    assert f(0, eta=5, eps=6) == f(0, η=5, ϵ=6) == (0, 0, 5, 6, 3)
    assert f(0, 4, plain=9) == (0, 4, 1, 2, 9)


def test_both_epsilons_as_strings():
    assert f(0, ϵ=7)[3] == f(0, ε=7)[3] == 7


@pytest.mark.parametrize("given", [{"η": 1, "eta": 1}, {"ϵ": 1, "ε": 1}, {"ϵ": 1, "eps": 1}])
def test_naming_both_twins_is_an_error(given):
    with pytest.raises(TypeError, match="one keyword"):
        f(0, **given)


def test_a_keyword_and_its_position_are_an_error():
    with pytest.raises(TypeError, match="multiple values"):
        SGD([param(1)], 0.1, eta=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ADAM([param(1)], beta_1=0.8),
            r"ADAM has no keyword 'beta_1'; did you mean beta1 \(β1\)\?",
        ),
        (lambda: SGD([param(1)], lr=0.1), "SGD has no keyword 'lr'"),
        (lambda: Dense(2, 1, activate=len), "did you mean activation"),
        (lambda: LayerNorm(2, epsilon=1), "did you mean eps"),
        (lambda: fluxrs.crossentropy([1], [1], weights=1), "did you mean weight"),
        (lambda: fluxrs.train(len, [], [], callback=1), "train has no keyword 'callback'"),
        (lambda: fluxrs.throttle(len, 1, leeding=True), "did you mean leading"),
        (lambda: fluxrs.batches([1], [1], 1, shufle=True), "did you mean shuffle"),
    ],
)
def test_an_unknown_keyword_names_the_nearest(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_twins_are_twins():
    assert len(set(TWINS.values())) == len(TWINS) - 1  # Δ and δ, which no function has both
    assert fluxrs.σ is fluxrs.sigmoid
    assert fluxrs.logσ is fluxrs.logsigmoid


def test_epsilon_is_shown_as_the_pages_write_it():
    import inspect

    opt = ADAM([param(1)])
    assert "ϵ=1e-08" in repr(opt)
    for f in (ADAM, ADAM.__init__, LayerNorm, fluxrs.binarycrossentropy, fluxrs.normalise):
        signature = str(inspect.signature(f))
        assert "ϵ" in signature
        assert "ε" not in signature
    for call in (lambda: ADAM([param(1)], epsilom=1), lambda: LayerNorm(2, ϵ=1, eps=1)):
        with pytest.raises(TypeError, match="ϵ and eps|eps .ϵ."):
            call()


def test_no_docstring_has_the_other_epsilon():
    for name in fluxrs.__all__:
        assert "ε" not in (getattr(fluxrs, name).__doc__ or ""), name


def test_the_twins_of_native_functions():
    p = fluxrs.param([1.0, 2.0])
    fluxrs.back(p * 2, Δ=[1, 1])
    fluxrs.back(p * 2, delta=[1, 1])
    assert p.grad.tolist() == [4, 4]
    fluxrs.update(p, delta=1)
    fluxrs.update(p, Δ=1)
    assert p.tolist() == [3, 4]
    for f in (fluxrs.back, fluxrs.update):
        with pytest.raises(TypeError, match="one keyword"):
            f(p, Δ=1, delta=1)
        with pytest.raises(TypeError, match="Δ, or delta"):
            f(p, dleta=1)


@treelike
class Mine:
    def __init__(self):
        self.w = param(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: tensor(1).backward,
            r"'Tensor' object has no attribute 'backward'; here it is back\(loss\)",
        ),
        (lambda: param(1).detach, r"'Leaf' object .* data\(x\)"),
        (lambda: Dense(2, 1).parameters, r"'Dense' object .* params\(m\)"),
        (lambda: Mine().state_dict, "'Mine' object .* save_weights"),
        (lambda: ADAM([param(1)]).step, r"'ADAM' object .* opt\(\)"),
        (lambda: fluxrs.Linear, r"module 'fluxrs' .* Dense\(in, out, σ\)"),
        (lambda: tensor(1).nothing, "'Tensor' object has no attribute 'nothing'$"),
        (lambda: Mine().nothing, "'Mine' object has no attribute 'nothing'$"),
        (lambda: fluxrs.nothing, "module 'fluxrs' has no attribute 'nothing'$"),
    ],
)
def test_names_of_other_libraries_say_what_to_write(call, message):
    with pytest.raises(AttributeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.sum(dim=0), "sum has no keyword 'dim'; did you mean axis?"),
        (lambda x: fluxrs.sum(x, dims=0), "sum has no keyword 'dims'; did you mean axis?"),
        (lambda x: x.mean(axis=0, keepdim=True), "mean has no keyword 'keepdim'; did you mean keepdims?"),
        (lambda x: x.softmax(axsi=0), "softmax has no keyword 'axsi'; did you mean axis?"),
        (lambda x: x.std(unbiased=False), "std has no keyword 'unbiased'; did you mean ddof?"),
        (lambda x: x.transpose(dims=(0, 1)), "transpose has no keyword 'dims'; "),
        (lambda x: x.clip(min=0), "clip has no keyword 'min'; did you mean low?"),
        (lambda x: fluxrs.stack([x, x], dim=1), "stack has no keyword 'dim'; did you mean axis?"),
        (lambda x: fluxrs.exp(input=x), "exp has no keyword 'input'; "),
        (lambda x: fluxrs.full(size=(2, 2), value=1), "full has no keyword 'size'; did you mean shape?"),
        (lambda x: fluxrs.Tensor([1], kind="x"), "Tensor has no keyword 'kind'; it has x, dtype"),
        (lambda x: fluxrs.gradient(abs, x, nested=True), "gradient has no keyword 'nested'; did you mean nest?"),
        (lambda x: fluxrs.rand(2, typ=3), "rand has no keyword 'typ'; did you mean dtype?"),
    ],
)  # fmt: skip
def test_a_keyword_that_there_is_not_is_answered_with_the_one_that_was_meant(call, message):
    with pytest.raises(TypeError) as error:
        call(fluxrs.ones(2, 2))
    assert str(error.value).startswith(message)


def test_other_errors_of_arguments_are_as_they_were():
    x = fluxrs.ones(2, 2)
    for call in (lambda: x.sum(0, False, 1), lambda: x.sum(0, axis=0), fluxrs.sum):
        with pytest.raises(TypeError, match="argument"):
            call()


@treelike
class Fitted:
    """With a name of its own that other libraries have, too."""

    def __init__(self):
        self.weight = param(1)

    def fit(self):
        return "fitted"


class Mixin:
    def predict(self):
        return "predicted"

    train = 3


def test_names_of_other_libraries_give_way_to_ones_own():
    class Both(Fitted, Mixin):
        bias = None

        def eval(self):
            return super().eval()

    m = Both()
    assert (m.fit(), m.predict(), m.train, m.bias, m.weight.item()) == (
        "fitted",
        "predicted",
        3,
        None,
        1,
    )
    m.half = 1
    assert m.half == 1
    with pytest.raises(AttributeError, match="'Both' object .* testmode"):
        m.eval()
    with pytest.raises(AttributeError, match="type object 'Both' .* params"):
        Both.parameters  # noqa: B018
    assert not hasattr(m, "state_dict")
    assert "half" in dir(m)
    assert "weight" in dir(m)
    assert {"state_dict", "parameters"}.isdisjoint(dir(m))


def test_every_name_that_is_listed_is_there():
    for x in (fluxrs.Diagonal(2), fluxrs.BatchNorm(2), Dense(2, 1), ADAM([param(1)]), Mine()):
        assert [n for n in dir(x) if not hasattr(x, n)] == []


def test_no_name_that_we_have_is_called_another():
    from fluxrs.elsewhere import HERE

    assert not [n for n in HERE if hasattr(fluxrs.Tensor, n) and n != "to"]
