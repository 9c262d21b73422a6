"""Every family of ops on the GPU, with its gradient, on empty and on 0-d tensors; what does not fit there says so."""

import numpy as np
import pytest

import fluxrs as fx
from edges import RAISES_WITHOUT_ELEMENTS, WITHOUT_ELEMENTS
from fluxrs import gpu
from gpu_cases import agree, slopes

pytestmark = pytest.mark.skipif(not fx._core.has_gpu(), reason="no GPU")

RNG = np.random.default_rng(0)
SEEN = RNG.random((6, 6)) < 0.5
INDEX = np.array([2, 0, -1, 1])


def n(*shape):
    return RNG.normal(size=shape).astype("float32")


SQUARE = n(4, 4) + 4 * np.eye(4, dtype="float32")


def of(layer):
    """The layer as a function that goes where its input is."""
    there = gpu(layer)
    return lambda x: (layer if fx.tensor(x).device == "cpu" else there)(x)


def rows(kind, W, *mode):
    """An embedding with a given table."""
    layer = kind(5, 3, *mode)
    layer.W = W
    return layer


# Each a function and its operands; differentiable.
SMOOTH = {
    "sum": (lambda x: fx.sum(x, axis=1), n(4, 5)),
    "mean": (fx.mean, n(4, 5)),
    "max": (lambda x: fx.max(x, axis=0), n(4, 5)),
    "min": (lambda x: fx.min(x, axis=1), n(4, 5)),
    "prod": (lambda x: fx.prod(x, axis=1), n(4, 5)),
    "std": (lambda x: fx.std(x, axis=1), n(4, 5)),
    "var": (lambda x: fx.var(x, axis=0), n(4, 5)),
    "logsumexp": (lambda x: fx.logsumexp(x, axis=1), n(4, 5)),
    "softmax": (fx.softmax, n(4, 5)),
    "logsoftmax": (fx.logsoftmax, n(4, 5)),
    "norm": (fx.norm, n(4, 5)),
    "cumsum": (lambda x: fx.cumsum(x, 0), n(4, 5)),
    "cumprod": (lambda x: fx.cumprod(x, 1), n(4, 5)),
    "matmul": (fx.matmul, n(4, 5), n(5, 3)),
    "matrix and vector": (fx.matmul, n(4, 5), n(5)),
    "batches": (fx.matmul, n(2, 1, 4, 5), n(3, 5, 2)),
    "dot": (fx.dot, n(6), n(6)),
    "outer": (fx.outer, n(3), n(4)),
    "tensordot": (lambda a, b: fx.tensordot(a, b, 1), n(2, 3, 4), n(4, 5)),
    "kron": (fx.kron, n(2, 3), n(3, 2)),
    "einsum": (lambda a, b: fx.einsum("bij,bjk->bik", a, b), n(2, 3, 4), n(2, 4, 3)),
    "einsum of a diagonal": (lambda a: fx.einsum("ii->i", a), n(3, 3)),
    "diagm": (lambda x: fx.diagm(x, 1), n(4)),
    "diagonal": (fx.diagonal, n(4, 5)),
    "trace": (fx.trace, n(4, 4)),
    "inv": (fx.inv, SQUARE),
    "inv of a stack": (fx.inv, np.stack([SQUARE, SQUARE.T])),
    "det": (fx.det, SQUARE / 4),
    "solve": (fx.solve, SQUARE, n(4, 2)),
    "solve for a vector": (fx.solve, SQUARE, n(4)),
    "rdivide": (fx.rdivide, n(2, 4), SQUARE),
    "sort": (lambda x: fx.sort(x, axis=1), n(4, 5)),
    "take": (lambda x: fx.take(x, INDEX, 1), n(4, 5)),
    "take_along_axis": (lambda x: fx.take_along_axis(x, fx.argsort(x, axis=0), 0), n(4, 5)),
    "array index": (lambda x: x[INDEX], n(4, 5)),
    "two array indices": (lambda x: x[INDEX, INDEX], n(4, 5)),
    "array behind a slice": (lambda x: x[:, INDEX], n(4, 5)),
    "mask": (lambda x: x[np.array([True, False, True, True])], n(4, 5)),
    "slices": (lambda x: x[::-2, None, 1:4], n(4, 5)),
    "roll": (lambda x: fx.roll(x, 2, 1), n(4, 5)),
    "tile": (lambda x: fx.tile(x, (2, 1)), n(4, 5)),
    "repeat": (lambda x: fx.repeat(x, 2, 1), n(4, 5)),
    "pad": (lambda x: fx.pad(x, 1), n(4, 5)),
    "flip": (fx.flip, n(4, 5)),
    "split": (lambda x: fx.split(x, 2), n(4, 5)),
    "stack": (lambda x, y: fx.stack([x, y], 1), n(4, 5), n(4, 5)),
    "concatenate": (lambda x, y: fx.concatenate([x, y], 0), n(4, 5), n(2, 5)),
    "broadcast_to": (lambda x: fx.broadcast_to(x, (3, 4, 5)), n(4, 5)),
    "reshape of a transpose": (lambda x: x.T.reshape(2, 10), n(4, 5)),
    "clip": (lambda x: fx.clip(x, -0.5, 0.5), n(4, 5)),
    "where": (lambda x: fx.where(x > 0, x, 0.0), n(4, 5)),
    "normalise": (fx.normalise, n(4, 5)),
    "conv": (lambda x, w: fx.conv(x, w, pad=1), n(2, 3, 6, 5), n(4, 3, 3, 3)),
    "conv of one axis": (lambda x, w: fx.conv(x, w, stride=2, pad=(2,)), n(3, 9), n(2, 3, 4)),
    "conv of three axes": (
        lambda x, w: fx.conv(x, w, pad=((0, 1), (1, 0), (0, 0)), stride=(1, 2, 1)),
        n(2, 2, 3, 4, 3),
        n(3, 2, 2, 2, 2),
    ),
    "conv dilated": (lambda x, w: fx.conv(x, w, dilation=2, pad=2), n(1, 2, 7, 6), n(3, 2, 3, 3)),
    "conv with strides": (
        lambda x, w: fx.conv(x, w, stride=(3, 2), pad=1),
        n(2, 2, 8, 7),
        n(3, 2, 3, 3),
    ),
    "conv apart": (lambda x, w: fx.conv(x, w, stride=2), n(2, 3, 6, 6), n(4, 3, 2, 2)),
    "conv in groups": (lambda x, w: fx.conv(x, w, groups=2), n(2, 4, 5, 6), n(6, 2, 2, 3)),
    "conv of one place": (lambda x, w: fx.conv(x, w), n(3, 20, 4, 4), n(33, 20, 1, 1)),
    "conv of many channels": (lambda x, w: fx.conv(x, w, pad=1), n(2, 40, 9, 9), n(35, 40, 3, 3)),
    "depthwiseconv": (lambda x, w: fx.depthwiseconv(x, w, pad=1), n(2, 5, 6, 6), n(10, 1, 3, 3)),
    "conv_transpose": (
        lambda x, w: fx.conv_transpose(x, w, stride=2, pad=1),
        n(2, 3, 5, 5),
        n(3, 4, 3, 3),
    ),
    "conv with what follows": (
        lambda x, w, b: fx.relu(fx.conv(x, w, pad=1) + b) + x,
        n(2, 3, 6, 5),
        n(3, 3, 3, 3),
        n(3, 1, 1),
    ),
    "conv through views": (
        lambda x, w: fx.conv(x.transpose(0, 3, 1, 2)[:, :, ::-1], w[::2], stride=2),
        n(2, 6, 7, 3),
        n(6, 3, 2, 3),
    ),
    "attention": (fx.attention, n(2, 3, 5, 4), n(2, 1, 70, 4), n(70, 3)),
    "causal attention": (lambda q, k: fx.attention(q, k, k, causal=True), n(2, 70, 4), n(2, 66, 4)),
    "attention with a mask": (lambda q, m: fx.attention(q, q, q, m), n(2, 6, 4), n(6, 6)),
    "attention that sees some": (lambda q: fx.attention(q, q, q, SEEN), n(2, 6, 4)),
    "maxpool": (lambda x: fx.maxpool(x, 2), n(2, 3, 6, 4)),
    "maxpool of one axis": (lambda x: fx.maxpool(x, (3,), pad=1, stride=2), n(3, 9)),
    "maxpool of three axes": (
        lambda x: fx.maxpool(x, (2, 3, 1), pad=(1, 1, 0), stride=1),
        n(1, 2, 3, 4, 2),
    ),
    "meanpool": (
        lambda x: fx.meanpool(x, (3, 2), pad=((1, 0), (0, 1)), stride=(2, 1)),
        n(2, 3, 5, 4),
    ),
    "pool of a view": (lambda x: fx.meanpool(x.transpose(0, 3, 1, 2), 2), n(2, 4, 4, 3)),
    "GlobalMaxPool": (fx.GlobalMaxPool(), n(2, 3, 4, 5)),
    "AdaptiveMeanPool": (fx.AdaptiveMeanPool((2, 3)), n(2, 3, 5, 4)),
    "upsample": (lambda x: fx.upsample(x, size=(7, 6)), n(2, 1, 3, 3)),
    "upsample, bilinear": (lambda x: fx.upsample(x, 2, mode="bilinear"), n(2, 1, 3, 3)),
    "GroupNorm": (of(fx.GroupNorm(4, 2)), n(3, 4, 5)),
    "InstanceNorm": (of(fx.InstanceNorm(4)), n(3, 4, 5, 2)),
    "LayerNorm of two axes": (of(fx.LayerNorm((3, 5))), n(2, 3, 5)),
    "BatchNorm of images": (of(fx.BatchNorm(3)), n(4, 3, 5, 2)),
    "embedding": (lambda W: rows(fx.Embedding, W)([[2, 0, 2], [1, -1, 3]]), n(5, 3)),
    "bag": (lambda W: rows(fx.EmbeddingBag, W)([[2, 0, 2], [1, -1, 3]]), n(5, 3)),
    "bags": (lambda W: rows(fx.EmbeddingBag, W)([2, 0, 2, 1, -1, 3], [0, 1, 1]), n(5, 3)),
    "bags, max": (
        lambda W: rows(fx.EmbeddingBag, W, "max")([2, 0, 2, 1, -1, 3], [0, 1, 1]),
        n(5, 3),
    ),
    "Maxout": (of(fx.Maxout(lambda: fx.Dense(5, 3, bias=False), 3)), n(4, 5)),
    "SkipConnection": (of(fx.SkipConnection(fx.Dense(5, 5, fx.tanh), fx.add)), n(4, 5)),
    "Parallel": (of(fx.Parallel(fx.multiply, fx.Dense(5, 3), fx.Dense(5, 3))), n(4, 5)),
    "flatten": (fx.flatten, n(4, 2, 3)),
    "one-hot product": (lambda W: fx.onehotbatch([0, 2, 1, 0], range(5)) @ W, n(5, 2)),
    "transposed one-hot product": (lambda M: fx.onehotbatch([0, 2, 1, 0], range(5)).T @ M, n(4, 2)),
    "product by one-hot rows": (lambda M: M @ fx.onehotbatch([0, 2, 1, 0], range(5)), n(2, 4)),
}
IDS = list(SMOOTH)


@pytest.mark.parametrize("name", IDS)
def test_values_agree(name):
    agree(*SMOOTH[name])


@pytest.mark.parametrize("name", IDS)
def test_gradients_agree(name):
    f, *xs = SMOOTH[name]
    agree(slopes(f), *xs, tolerance=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "matmul",
        "inv",
        "det",
        "solve",
        "cumprod",
        "logsumexp",
        "sort",
        "norm",
        "maxpool",
        "meanpool",
    ],
)
def test_second_gradients_agree(name):
    f, *xs = SMOOTH[name]
    agree(slopes(lambda *ys: slopes(f)(*ys)[0]), *xs, tolerance=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "bool"])
def test_integer_results_agree(dtype):
    x = (RNG.normal(size=(4, 5)) * 3).astype(dtype)
    for axis in (0, -1):
        for f in (fx.argmax, fx.argmin, fx.argsort, fx.all, fx.any, fx.sum, fx.max, fx.sort):
            agree(lambda x, f=f, axis=axis: f(x, axis=axis), x)
    agree(lambda x: x.astype("int64"), x)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
@pytest.mark.parametrize(
    "f",
    [
        fx.exp,
        fx.sum,
        lambda x: fx.sum(x, axis=0),
        lambda x: x.T @ x,
        lambda x: x @ x.T,
        lambda x: fx.sort(x, axis=0),
        lambda x: fx.argsort(x, axis=1),
        lambda x: fx.cumsum(x, 1),
        fx.softmax,
        lambda x: fx.maxpool(x.reshape(-1, 1, 3), 2),
        lambda x: fx.meanpool(x.reshape(-1, 1, 3), 2),
        lambda x: fx.concatenate([x, x]),
        lambda x: fx.stack([x, x]),
        lambda x: fx.pad(x, 1),
        lambda x: x[np.array([], "int64")],
        lambda x: x[x > 0],
        lambda x: fx.kron(x, x),
        lambda x: fx.einsum("ij,ij->", x, x),
        lambda x: fx.inv(fx.broadcast_to(x.reshape(0, 1, 1), (0, 2, 2))),
        lambda x: fx.det(x.reshape(0, 2, 2)),
        lambda x: fx.rand_like(x),
        lambda x: fx.gradient(lambda y: (y * y).sum(), x)[0],
    ],
)
def test_empty_tensors(f, shape):
    agree(f, np.zeros(shape, "float32"))


@pytest.mark.parametrize(
    "f",
    [
        fx.exp,
        fx.sum,
        fx.max,
        fx.argmax,
        fx.ravel,
        lambda x: x + x,
        lambda x: x.reshape(1, 1),
        lambda x: fx.sort(x, axis=None),
        lambda x: fx.cumsum(x),
        lambda x: fx.stack([x, x]),
        lambda x: fx.broadcast_to(x, (2, 3)),
        lambda x: fx.where(x > 0, x, -x),
        lambda x: fx.einsum(",->", x, x),
        lambda x: fx.kron(x, x),
        lambda x: fx.solve(x, x),
        lambda x: x[None],
        fx.norm,
        float,
        lambda x: fx.gradient(lambda y: y * y, x)[0],
    ],
)
def test_numbers(f):
    agree(f, np.float32(1.5).reshape(()))


@pytest.mark.parametrize("length", [4096, 4097, 20_000])
def test_long_rows_are_sorted(length):
    ties = RNG.integers(0, 50, (2, length))
    agree(lambda x: fx.argsort(x, axis=1), ties)
    agree(lambda x: fx.argsort(x, axis=1), (ties * 1e7).astype("int32"))
    x = n(2, length)
    x[:, ::7] = np.nan
    agree(lambda x: fx.argsort(x), x)
    agree(slopes(lambda x: fx.sort(x, axis=1)), n(2, length))


def test_systems_of_some_size():
    A = n(3, 70, 70) + 9 * np.eye(70, dtype="float32")
    agree(fx.inv, A, tolerance=1e-4)
    agree(fx.solve, A, n(3, 70, 5), tolerance=1e-4)
    # The largest elements are off the diagonal: every column changes rows.
    agree(fx.inv, np.roll(A, 30, axis=1), tolerance=1e-4)
    agree(fx.det, np.array([[0.0, 1.0], [1.0, 0.0]], "float32"))
    agree(fx.det, np.zeros((3, 3), "float32"))
    # The gradient of a determinant is the adjugate, of singular matrices too.
    whole = np.random.default_rng(0).integers(-2, 3, (60, 3, 3)).astype("float32")
    assert (np.linalg.det(whole) == 0).sum() > 3
    agree(slopes(fx.det), whole)
    agree(
        lambda x: fx.gradient(lambda x: fx.det(x).sum(), x)[0],
        np.concatenate([whole, np.ones_like(whole)]),
    )


def test_singular_matrices_are_named():
    one = gpu(fx.ones(3, 3))
    with pytest.raises(ValueError, match="inv: the matrix is singular: its column 1"):
        np.asarray(fx.inv(one))
    stack = gpu(np.stack([np.eye(3), np.ones((3, 3))]).astype("float32"))
    with pytest.raises(ValueError, match="solve: matrix 1 of the batch is singular"):
        np.asarray(fx.solve(stack, gpu(fx.ones(3, 1))))
    np.testing.assert_array_equal(fx.inv(gpu(fx.eye(3))), np.eye(3))


def test_an_index_out_of_range_is_never_a_value():
    def there(*numbers):
        return gpu(fx.tensor(np.array(numbers)))

    x = gpu(fx.rand(4, 5))
    y = x[there(7)]
    for _ in range(2):
        with pytest.raises(IndexError, match="take: index 7 is out of range"):
            np.asarray(y)
    for i, j in [(9, 1), (-9, 1), (0, 5), (3, -6)]:
        with pytest.raises(IndexError, match="out of range"):
            np.asarray(x[there(i), there(j)])
    for far in ([2**32], [1, -(2**40)]):
        with pytest.raises(
            IndexError, match="take: an index beyond 32 bits is out of range for axis 0"
        ):
            np.asarray(fx.take(x, far, axis=0))
    with pytest.raises(IndexError, match="take_along_axis: index 5"):
        np.asarray(fx.take_along_axis(x, np.array([[5]]), 1))
    np.testing.assert_array_equal(x[there(-1, 3)], np.asarray(x)[[-1, 3]])


WIDE = np.array([2**31 - 1, -(2**31), 2**20])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x + x,
        lambda x: x - fx.roll(x, 1),
        lambda x: x * x,
        lambda x: -x,
        abs,
        lambda x: x**3,
        lambda x: x // -1,
        lambda x: fx.sum(x[::2]),
        lambda x: fx.prod(x),
        lambda x: fx.cumsum(x[::2], 0),
        lambda x: fx.cumprod(x, 0),
        lambda x: (x.astype("float32") * 2).astype("int64"),
        lambda x: x + 2**40,
        lambda x: fx.where(x > 0, x, 2**40),
        lambda x: x + fx.arange(2**31 - 2, 2**31 + 1, dtype="int64"),
        lambda x: fx.matmul(x, x),
    ],
)
def test_int64_fits_32_bits_or_raises(f):
    x = gpu(WIDE)
    with pytest.raises(fx.DeviceError, match=r"int64.*cpu\(x\)"):
        np.asarray(f(x))


def test_an_update_that_does_not_fit_changes_nothing():
    p, q, whole = gpu((fx.param(np.ones(3)), fx.param(np.ones(3)), WIDE))
    fx.update(q, 1)
    fx.update(p, (whole * 3).astype("float32"))
    with pytest.raises(fx.DeviceError, match="int64"):
        fx.evaluate(p)
    np.testing.assert_array_equal(p, np.ones(3))
    np.testing.assert_array_equal(q, np.ones(3))
    fx.update(p, (gpu(np.array([1, 2, 3])) * 3).astype("float32"))
    np.testing.assert_array_equal(p, [4, 7, 10])


def test_floats_become_integers_as_on_the_cpu():
    x = np.array([np.nan, 1e10, -1e10, np.inf, -np.inf, 1.9, -1.9, -0.0], "float32")
    agree(lambda x: x.astype("int32"), x)
    agree(lambda x: x.astype("bool"), x)
    agree(lambda x: x[[0, 5, 6, 7]].astype("int64"), x)


def test_int64_within_32_bits_is_right():
    x = np.array([2**31 - 1, -(2**31), 40_000, -7])
    agree(lambda x: x // 2 + x % 7 - 1, x)
    agree(lambda x: fx.maximum(x, 0) * 1, x)
    agree(lambda x: x.astype("int32"), x)
    agree(lambda x: fx.sum(x), x)
    agree(lambda x: x.astype("int32") * 3, x)
    with pytest.raises(fx.DeviceError, match="beyond 32 bits"):
        gpu(np.array([2**40]))


def test_constants_and_steps_are_made_there():
    x = n(6)
    agree(lambda x: x + fx.arange(6), x)
    agree(lambda x: x + fx.arange(3, -9, -2), x)
    agree(lambda x: x * fx.linspace(-1, 2, 6), x)
    agree(lambda x: x + fx.arange(1, 13, 2, dtype="int32"), np.arange(6, dtype="int32"))
    agree(lambda x: x + fx.arange(1, 13, 2, dtype="int64"), np.arange(6))
    agree(lambda x: x * fx.full(6, 2.5) + fx.zeros(6), x)
    with pytest.raises(fx.DeviceError, match="fractions"):
        np.asarray(gpu(np.arange(4)) + fx.arange(0, 2, 0.5, dtype="int64"))


def test_arrays_mix_on_either_side():
    x, y = n(4, 5), n(4, 5)
    there = gpu(x)
    for got in (there + y, y + there, np.add(y, there), fx.maximum(y, there)):
        assert got.device == "gpu:0"
    np.testing.assert_allclose(y - there, y - x, rtol=1e-6)
    np.testing.assert_allclose(y.T @ there, y.T @ x, rtol=1e-4, atol=1e-5)
    at = np.array([[0], [4], [2], [1]])
    np.testing.assert_array_equal(fx.take_along_axis(there, at, 1), np.take_along_axis(x, at, 1))
    with pytest.raises(fx.DeviceError, match=r"gpu:0 and cpu; move one with gpu\(x\) or cpu\(x\)"):
        there + fx.tensor(y)
    with pytest.raises(fx.DeviceError, match="float64"):
        np.asarray(there.astype("float64"))


def there(x):
    """An array on the GPU, floats as float32."""
    return gpu(fx.tensor(x.astype("float32") if x.dtype.kind == "f" else x))


@pytest.mark.parametrize("name", RAISES_WITHOUT_ELEMENTS)
def test_what_is_wrong_with_a_result_without_elements(name):
    f, error, message = RAISES_WITHOUT_ELEMENTS[name]
    with pytest.raises(error, match=message):
        fx.evaluate(f(there))


@pytest.mark.parametrize("name", WITHOUT_ELEMENTS)
def test_results_without_elements(name):
    f, shape = WITHOUT_ELEMENTS[name]
    assert np.asarray(f(there)).shape == shape
