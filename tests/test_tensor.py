"""Tensors in Python: types, conversions, operators, printing, copies."""

import copy
import gc
import operator
import pickle
import weakref

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    DimensionMismatch,
    Tensor,
    back,
    evaluate,
    isleaf,
    istracked,
    param,
    tensor,
    update,
)

OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.lt, operator.le,
    operator.eq, operator.ne, operator.gt, operator.ge,
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([1, 2], "float32"), ([1.5], "float32"), ([True], "bool"), (3, "float32"), (2.5, "float32"), (True, "bool"),
        (np.array([1.0]), "float64"), (np.array([1]), "int64"), (np.array([1], "int32"), "int32"),
        (np.array([1], "uint8"), "int32"), (np.array([1], "float16"), "float32"), (np.float64(2), "float64"),
        (np.int64(2), "int64"), ([np.array([1.0])], "float64"), ([], "float32"), (range(3), "float32"),
        (np.array([1.0], ">f8"), "float64"),
    ],
)  # fmt: skip
def test_types_of_new_tensors(given, dtype):
    if isinstance(given, range):
        given = list(given)
    t = tensor(given)
    assert t.dtype == dtype
    np.testing.assert_array_equal(t, given)
    assert tensor(given, dtype="float64").dtype == "float64"


PROMOTIONS = [
    ("bool", 1, "int64"), ("bool", 1.0, "float32"), ("int32", 1, "int32"), ("int32", 1.0, "float32"),
    ("int64", 1.0, "float32"), ("float32", 1.0, "float32"), ("float32", 1, "float32"), ("float64", 1.0, "float64"),
    ("float32", np.float64(2), "float32"), ("float32", np.int64(2), "float32"), ("int32", np.int64(2), "int32"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "number", "result"), PROMOTIONS)
def test_numbers_are_weak(dtype, number, result):
    t = tensor(np.ones(2, dtype))
    assert (t + number).dtype == (number + t).dtype == result


def test_large_integers():
    i = tensor(np.array([1, 2**31 - 1], dtype="int32"))
    for large in (2**31, 2**40, 2**70):
        assert (i < large).all()
        assert not (i == large).any()
        assert (-large <= i).all()
        np.testing.assert_allclose(tensor([2.0]) * large, [2.0 * large])
    assert (tensor(np.array([1])) + 2**40).tolist() == [2**40 + 1]
    assert int(tensor(2**40 + 1, dtype="int64")) == 2**40 + 1


@pytest.mark.parametrize("x", ["bool", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("y", ["bool", "int32", "int64", "float32", "float64"])
def test_promotion_of_tensors(x, y):
    got = (tensor(np.ones(2, x)) + tensor(np.ones(2, y))).dtype
    floats = [d for d in (x, y) if d.startswith("float")]
    assert got == (floats[0] if len(floats) == 1 else np.result_type(x, y))


@pytest.mark.parametrize("op", OPERATORS, ids=lambda f: f.__name__)
def test_operators_with_arrays_numbers_and_lists(op):
    x, y = np.array([[1.0, -2.0], [3.5, 4.0]]), np.array([2.0, -2.0])
    t, u = tensor(x), tensor(y)
    want = op(x, y)
    for got in (op(t, u), op(t, y), op(x, u)):
        assert isinstance(got, Tensor)
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(op(t, 2), op(x, 2))
    np.testing.assert_array_equal(op(3.0, t), op(3.0, x))
    np.testing.assert_array_equal(op(np.float64(3.0), t), op(3.0, x))
    np.testing.assert_allclose(op(t, [2.0, -2.0]), want)


def test_the_other_operators():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    t = tensor(x)
    for got, want in [
        (-t, -x), (+t, x), (abs(-t), x), (t**2, x**2), (2.0**t, 2.0**x), (t @ x, x @ x), (x @ t, x @ x),
        (divmod(t, 2)[1], x % 2), (divmod(9, t)[0], 9 // x), (divmod(9, t)[1], 9 % x), ((t > 1) & (t < 4), (x > 1) & (x < 4)), ((t > 1) | (x > 3), (x > 1) | (x > 3)),
        ((t > 1) ^ (t > 3), (x > 1) ^ (x > 3)), (~(t > 1), ~(x > 1)),
    ]:  # fmt: skip
        np.testing.assert_allclose(got, want)
    for wrong in (lambda: t ^ 2, lambda: t & 1, lambda: ~t, lambda: t + "a", lambda: t @ object()):
        with pytest.raises(TypeError):
            wrong()
    assert (t == "a") is False
    assert (t != None) is True  # noqa: E711


def test_arrays_are_copied_at_the_call():
    x = np.ones(3)
    y, z = tensor(x), tensor([1.0, 1.0, 1.0]) + x
    x[:] = 9
    np.testing.assert_array_equal(y, np.ones(3))
    np.testing.assert_array_equal(z, 2 * np.ones(3))


def test_asarray_shares_memory_and_numpy_shows_it():
    x = np.arange(12.0).reshape(3, 4)
    t = fluxrs.asarray(x)
    assert np.shares_memory(np.asarray(t), x)
    assert fluxrs.asarray(t) is t
    view = np.asarray(t[1:, ::-2].T)
    assert np.shares_memory(view, x)
    np.testing.assert_array_equal(view, x[1:, ::-2].T)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    assert np.asarray(t, dtype="float32").dtype == "float32"
    assert np.array(t).flags.writeable
    turned = fluxrs.asarray(x.T)
    np.testing.assert_array_equal(turned, x.T)


def test_dlpack_both_ways():
    t = tensor([[1.0, 2.0]])
    np.testing.assert_array_equal(np.from_dlpack(t), t)
    assert t.__dlpack_device__() == (1, 0)
    np.testing.assert_array_equal(fluxrs.from_dlpack(np.arange(3.0)), np.arange(3.0))
    with pytest.raises(TypeError, match="__dlpack__"):
        fluxrs.from_dlpack([1])


def test_an_array_of_a_parameter_never_changes():
    p = param([1.0, 2.0])
    before, node = np.asarray(p), p * 1
    for _ in range(3):
        update(p, [1.0, 1.0])
    np.testing.assert_array_equal(p, [4, 5])
    np.testing.assert_array_equal(before, [1, 2])
    np.testing.assert_array_equal(node, [1, 2])


def test_numbers():
    t = tensor(2.75)
    assert (float(t), int(t), t.item(), t.tolist(), bool(t)) == (2.75, 2, 2.75, 2.75, True)
    assert f"{t:.1f} {t}" == "2.8 2.75"
    assert tensor(np.int64(3)).item() == 3
    assert [10, 20, 30][tensor(np.int64(1))] == 20
    assert tensor([[7.0]]).item() == 7
    assert tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    for wrong in (float, int, bool, operator.index, lambda t: t.item(), lambda t: f"{t:.2f}"):
        with pytest.raises((TypeError, ValueError)):
            wrong(tensor([1.0, 2.0]))
    with pytest.raises(TypeError):
        operator.index(tensor(1.0))


def test_iteration_length_and_membership():
    t = tensor([[1.0, 2.0], [3.0, 4.0]])
    assert [r.tolist() for r in t] == [[1, 2], [3, 4]]
    assert len(t) == 2
    assert 3 in t and 5 not in t
    assert "a" not in t and None not in t and slice(1) not in t
    zero = tensor(1.0)
    for wrong in (len, iter, list):
        with pytest.raises(TypeError):
            wrong(zero)
    with pytest.raises(ValueError, match="Params"):
        param([1.0, 2.0]) in [param([1.0, 2.0])]


def test_attributes():
    t = tensor(np.zeros((2, 3)))
    assert (t.shape, t.ndim, t.size, t.device, t.T.shape) == ((2, 3), 2, 6, "cpu", (3, 2))
    assert t.astype("int32").dtype == t.astype(np.int32).dtype == np.int32
    with pytest.raises(TypeError, match="complex"):
        t.astype(complex)
    assert "cpu" in fluxrs.devices()
    assert len({t, t, tensor(0.0)}) == 2
    assert weakref.ref(t)() is t


def test_printing():
    assert repr(tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(tensor(np.array([1, 2]))) == "tensor([1, 2], dtype=int64)"
    assert repr(param([1.0])) == "tensor([1.], tracked)"
    assert repr(param(3) * 2) == "6.0 (tracked)"
    assert repr(tensor(0.1)) == "0.1"
    assert str(tensor([1.5])) == "[1.5]"
    assert "parameter of shape (1,)" in param([1.0])._repr_html_()
    assert repr(tensor(np.zeros((0, 2)))) == "tensor([], shape=(0, 2), dtype=float64)"


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies(again):
    p, t = param([1.0, 2.0]), tensor(np.array([1, 2]))
    q, u, r = again(p), again(t), again(p * 2)
    assert isleaf(q) and istracked(q) and q is not p
    assert u.dtype == "int64"
    assert not istracked(r) and r.tolist() == [2, 4]
    update(p, 1)
    assert q.tolist() == [1, 2]
    shared = again([p, p]) if again is not copy.copy else [q, q]
    assert shared[0] is shared[1]


def test_a_parameters_storage_is_seen_and_written_through_data():
    p = param([1.0, 2.0])
    d = p.data
    assert not istracked(d)
    p.data += 1
    p.data[...] *= 2
    assert p.tolist() == d.tolist() == [4, 6]
    p.data[0] = -1
    p.data[p.data < 0] = 5
    assert p.tolist() == [5, 6]
    p.data = [7, 8]
    update(p, 1)
    assert d.tolist() == [8, 9]
    with pytest.raises(DimensionMismatch, match=r"\(2,\).*\(3,\)"):
        p.data = [1, 2, 3]
    with pytest.raises(AttributeError):
        (p * 2).data = 1
    assert fluxrs.data(3) == 3


def test_gradients_are_read_written_and_clipped():
    p = param([3.0, -4.0])
    assert p.grad.tolist() == [0, 0]
    back((p * p).sum())
    g = p.grad
    p.grad[...] = g.clip(-6, 6)
    assert p.grad.tolist() == [6, -6]
    p.grad *= 0.5
    p.grad[0] = 0
    assert p.grad.tolist() == [0, -3]
    p.grad = np.array([1.0, 1.0])
    assert g.tolist() == [1, 1]
    p.grad = None
    assert p.grad.tolist() == [0, 0]
    assert tensor(1.0).grad is None
    assert fluxrs.grad(p).tolist() == [0, 0]


@pytest.mark.parametrize(
    "step", ["p.data = v", "p.data[...] = v", "p.data *= 2", "p.data[0] = 3.0"]
)
def test_writing_a_parameters_storage_leaves_its_gradient(step):
    p, v = param([1.0, 2.0]), [3.0, 4.0]
    back((p**2).sum())
    exec(step, {"p": p, "v": v})
    np.testing.assert_array_equal(p.grad, [2, 4])
    before = np.array(p)
    fluxrs.SGD([p], 0.5)()
    np.testing.assert_array_equal(p, before - [1, 2])
    np.testing.assert_array_equal(p.grad, [0, 0])


def test_tensors_that_may_not_be_written():
    p, t = param([1.0, 2.0]), tensor([1.0])

    def iadd(x):
        x += 1
        return x

    for target, message in [(p, "update"), (p * 2, "tracked"), (t, "where")]:
        with pytest.raises(TypeError, match=message):
            target[0] = 1
    with pytest.raises(TypeError, match="update"):
        iadd(p)
    assert iadd(t).tolist() == [2]
    assert p.tolist() == [1, 2]


def test_update_takes_numpy_arrays_too():
    x = np.ones(2)
    assert update(x, tensor([1.0, 2.0])) is x
    assert x.tolist() == [2, 3]
    with pytest.raises(DimensionMismatch):
        update(x, np.ones(3))
    with pytest.raises(TypeError, match="param"):
        update(tensor([1.0]), 1)


def test_numpy_functions_give_tensors():
    x = np.arange(1.0, 7.0).reshape(2, 3)
    t = tensor(x)
    for f in [
        np.sin, np.mean, np.std, np.var, lambda a: np.sum(a, axis=0), lambda a: np.concatenate([a, a]), np.transpose,
        lambda a: np.clip(a, 2, 3), lambda a: np.where(a > 2, a, 0), lambda a: np.einsum("ij->j", a), np.linalg.norm,
        lambda a: np.add.reduce(a), lambda a: np.maximum(a, 2), lambda a: np.reshape(a, (3, 2)), lambda a: np.argmax(a, axis=1),
        lambda a: np.pad(a, 1), lambda a: np.matmul(a, a.T), np.absolute, lambda a: np.stack([a, a]), np.max, np.ravel,
        lambda a: np.dot(a, a.T), lambda a: np.multiply.accumulate(a, axis=1), np.round, np.atleast_2d, np.zeros_like,
    ]:  # fmt: skip
        try:
            got = f(t)
        except TypeError as error:
            assert "np." in str(error)
            continue
        assert isinstance(got, Tensor), f
        np.testing.assert_allclose(got, f(x), rtol=1e-6)
    assert np.shape(t) == (2, 3) and np.ndim(t) == 2 and np.size(t) == 6
    assert np.allclose(t, x)
    assert isinstance(np.copy(t), np.ndarray)
    for wrong in (
        np.fft.fft,
        np.median,
        np.modf,
        lambda a: np.nextafter(a, 1),
        lambda a: np.sin(a, where=[True]),
    ):
        with pytest.raises(TypeError, match=r"np\."):
            wrong(t)


@pytest.mark.parametrize(
    "f",
    [
        lambda a: np.power(a, 3), lambda a: np.power(2, a), lambda a: np.float_power(a, 0.5), np.positive, np.conjugate,
        np.negative, np.abs, np.fabs, lambda a: np.mod(a, 2), lambda a: np.true_divide(1, a), lambda a: np.matmul(a.T, a),
        lambda a: np.invert(a > 2), lambda a: np.bitwise_and(a > 2, a < 4), lambda a: np.bitwise_or(a > 4, a < 2),
        lambda a: np.bitwise_xor(a > 2, a < 4), lambda a: np.greater(4, a), lambda a: np.arctan2(a, 2), lambda a: np.logaddexp(1, a),
        lambda a: np.ones((2, 3)) ** a, lambda a: np.ones((2, 3), bool) & (a > 2), lambda a: np.ones((3, 2)) @ a,
    ],
)  # fmt: skip
def test_universal_functions_give_tensors(f):
    x = np.arange(1.0, 7.0).reshape(2, 3)
    got = f(tensor(x))
    assert isinstance(got, Tensor)
    np.testing.assert_allclose(got, f(x), rtol=1e-12)
    assert got.dtype == f(x).dtype


def test_in_place_numpy_with_a_tensor():
    x = np.ones(2)
    x += tensor([1.0, 2.0])
    assert x.tolist() == [2, 3]
    with pytest.raises(TypeError, match="gradient"):
        x += param([1.0, 2.0])


def test_evaluate_goes_through_any_nest():
    p = param([1.0])
    nest = {"a": [p * 2, (p * 3,)], "b": 3, "c": fluxrs.Params([p])}
    assert evaluate(nest, p * 4) is None
    assert nest["a"][1][0].tolist() == [3]


def test_a_result_is_computed_once():
    t = tensor(np.ones(100, "float32"))
    y = (t * 2).sum()
    before = fluxrs.counters()["runs"]
    for _ in range(3):
        assert float(y) == 200
    assert fluxrs.counters()["runs"] == before + 1


def test_shape_arguments():
    with pytest.raises(TypeError, match="integer"):
        fluxrs.zeros(2.5)
    with pytest.raises(ValueError, match=">= 0"):
        fluxrs.zeros(-1)
    with pytest.raises(MemoryError):
        fluxrs.zeros(10**9, 10**9)
    with pytest.raises(TypeError, match="axis"):
        tensor([1.0]).sum(axis=1.0)


def test_a_parameter_dies_with_its_last_reference():
    p = param(np.ones(10))
    gone = weakref.ref(p)
    y = (p * 2).sum()
    back(y)
    del p, y
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("n", range(1, 6))
def test_an_allocation_that_fails_leaves_everything_as_it_was(n):
    p = param(np.ones(50))
    x = tensor(np.arange(50.0))
    float((p * x).sum())
    y = (p * x) @ fluxrs.outer(x, x) @ x
    fluxrs._core._set_fault(n)
    try:
        float(y)
    except MemoryError as error:
        assert "memory" in str(error)
    finally:
        fluxrs._core._set_fault(0)
    assert float(y) == pytest.approx(float(np.arange(50.0) @ np.arange(50.0)) ** 2, rel=1e-9)
    np.testing.assert_array_equal(p, np.ones(50))


def test_a_generator_is_the_list_of_what_it_yields():
    ps = [fluxrs.param([3.0, 4.0]), fluxrs.param([[5.0], [12.0]])]
    total = fluxrs.sum(fluxrs.norm(p) for p in ps)
    assert float(total) == 18
    assert [g.tolist() for g in fluxrs.gradient(lambda: fluxrs.sum(p.sum() for p in ps), fluxrs.Params(ps)).values()] == [
        [1, 1], [[1], [1]]]  # fmt: skip
    assert float(fluxrs.max(map(fluxrs.norm, ps))) == 13
    assert float(fluxrs.mean(i for i in range(4))) == 1.5
    with pytest.raises(ZeroDivisionError):
        fluxrs.sum(1 / i for i in range(2))
    with pytest.raises(TypeError, match="make a tensor"):
        fluxrs.sum(c for c in "ab")


def test_a_range_is_a_list():
    assert fluxrs.tensor(range(3)).tolist() == [0, 1, 2]
    assert fluxrs.tensor(range(3)).dtype == "float32"
    assert fluxrs.tensor([range(2), range(2, 4)]).tolist() == [[0, 1], [2, 3]]
    assert fluxrs.Embedding(5, 2)(range(1, 5)).shape == (4, 2)
    with pytest.raises(MemoryError):
        fluxrs.tensor(range(10**14))


def test_a_number_is_rounded_as_python_s():
    assert round(fluxrs.tensor(2.6)) == 3
    assert round(fluxrs.tensor(2.125), 2) == 2.12
    assert round(fluxrs.param([1.26]), 1) == 1.3


def test_the_version_is_a_version():
    assert fluxrs.__version__ == "0.1.0" or fluxrs.__version__.count(".") == 2
