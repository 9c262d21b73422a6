"""Functions at kinks, at zeros, far out and beside NaN: on the CPU and on a GPU."""

import math

import numpy as np

import fluxrs

nan, inf = math.nan, math.inf
HUGE = [1e300, -1e300, inf, -inf, nan]
# A function, where, its values, the slopes of their sum.
EDGES = {
    "x**-2": (lambda x: x**-2, [0.0, -0.0, 2.0], [inf, inf, 0.25], [-inf, inf, -0.25]),
    "x**-1": (lambda x: x**-1, [0.0, -0.0], [inf, -inf], [-inf, -inf]),
    "x**-3.0": (lambda x: x**-3.0, [0.0, -0.0, inf], [inf, -inf, 0.0], [-inf, -inf, 0.0]),
    "power": (lambda x: fluxrs.power(x, -2), [0.0, -0.0], [inf, inf], [-inf, inf]),
    "power by 0": (lambda x: fluxrs.power(x, 0.0), [0.0, 1e-320, inf, 2.0], [1] * 4, [0] * 4),
    "relu": (fluxrs.relu, [nan, -1, 0, 1, inf, -inf], [nan, 0, 0, 1, inf, 0], [nan, 0, 0, 1, 1, 0]),
    "maximum": (lambda x: fluxrs.maximum(x, 1), [nan, 0, 1, 2, inf], [nan, 1, 1, 2, inf], [nan, 0, 0.5, 1, 1]),
    "maximum of NaN": (lambda x: fluxrs.maximum(nan, x), [1.0], [nan], [nan]),
    "minimum": (lambda x: fluxrs.minimum(x, 1), [nan, 0, 1, 2, -inf], [nan, 0, 1, 1, -inf], [nan, 1, 0.5, 0, 1]),
    "abs": (fluxrs.abs, [-1, 0, 2, nan], [1, 0, 2, nan], [-1, 0, 1, nan]),
    "swish": (fluxrs.swish, HUGE, [1e300, 0, inf, 0, nan], [1, 0, 1, 0, nan]),
    "gelu": (fluxrs.gelu, HUGE, [1e300, 0, inf, 0, nan], [1, 0, 1, 0, nan]),
    "gelu_erf": (fluxrs.gelu_erf, HUGE, [1e300, 0, inf, 0, nan], [1, 0, 1, 0, nan]),
    "normcdf": (fluxrs.normcdf, HUGE, [1, 0, 1, 0, nan], [0, 0, 0, 0, nan]),
    "mish": (fluxrs.mish, HUGE, [1e300, 0, inf, 0, nan], [1, 0, 1, 0, nan]),
    "hardsigmoid": (fluxrs.hardsigmoid, [*HUGE, 0, 3, -3], [1, 0, 1, 0, nan, 0.5, 1, 0], [0, 0, 0, 0, 1 / 6, 1 / 6, 0, 0]),
    "hardswish": (fluxrs.hardswish, [*HUGE, 0, 3, -3], [1e300, 0, inf, 0, nan, 0, 3, 0], [1, 0, 1, 0, nan, 0.5, 1, 0]),
    "celu": (fluxrs.celu, HUGE, [1e300, -1, inf, -1, nan], [1, 0, 1, 0, nan]),
    "prelu": (lambda x: fluxrs.prelu(x, 0.25), HUGE, [1e300, -2.5e299, inf, -inf, nan], [1, 0.25, 1, 0.25, 0.25]),
    "glu": (lambda x: fluxrs.glu(x), [2.0, nan, inf, 1.0, 0.0, inf, 1.0, -inf], [1.0, nan, inf, 0.0], [0.5, 1, 0.7310585786300049, 0, 0.5, nan, inf, 0]),
    "softsign": (fluxrs.softsign, HUGE, [1, -1, 1, -1, nan], [0, 0, 0, 0, nan]),
    "sigmoid": (fluxrs.sigmoid, HUGE, [1, 0, 1, 0, nan], [0, 0, 0, 0, nan]),
    "softplus": (fluxrs.softplus, HUGE, [1e300, 0, inf, 0, nan], [1, 0, 1, 0, nan]),
    "elu": (fluxrs.elu, HUGE, [1e300, -1, inf, -1, nan], [1, 0, 1, 0, nan]),
    "arctan2": (lambda x: fluxrs.arctan2(x, 1e200), [1e200, -3e200], [math.pi / 4, -math.atan(3)], [5e-201, 1e-201]),
    "arctan2 of little": (lambda x: fluxrs.arctan2(x, 1e-200), [1e-200], [math.pi / 4], [5e199]),
    "arcsinh": (fluxrs.arcsinh, [1e200, -1e200], [461.2101657793691, -461.2101657793691], [1e-200, 1e-200]),
    "arccosh": (fluxrs.arccosh, [1e200], [461.2101657793691], [1e-200]),
    "arcsin": (fluxrs.arcsin, [1 - 2.0**-40, 1], [math.asin(1 - 2.0**-40), math.pi / 2], [1 / math.sqrt(2.0**-40 * (2 - 2.0**-40)), inf]),
    "logaddexp": (lambda x: fluxrs.logaddexp(x, -inf), [-inf, 0.0], [-inf, 0.0], [0.5, 1.0]),
    "hypot": (lambda x: fluxrs.hypot(x, 0.0), [0.0, -2.0], [0.0, 2.0], [0.0, -1.0]),
    "clip": (lambda x: fluxrs.clip(x, -1, 1), [nan, -2, -1, 1, 2], [nan, -1, -1, 1, 1], [1, 0, 1, 1, 0]),
    "clip by NaN": (lambda x: fluxrs.clip(x, nan, 1), [0.0, 2.0], [nan, nan], [0, 0]),
    "clip by NaNs": (lambda x: fluxrs.clip(x, None, np.array([nan, 1])), [0.0, 2.0], [nan, 1], [0, 0]),
    "std": (lambda x: x.std(keepdims=True), [3.0, 3.0], [0.0], [0, 0]),
    "norm": (lambda x: fluxrs.norm(x, 3, keepdims=True), [0.0, 0.0], [0], [0, 0]),
    "norm, the count": (lambda x: fluxrs.norm(x, 0, keepdims=True), [0.0, 3.0, nan], [2], [0, 0, 0]),
    "max": (lambda x: x.max(keepdims=True), [1.0, 2.0, 2.0], [2], [0, 0.5, 0.5]),
    "max of NaN": (lambda x: x.max(keepdims=True), [1.0, nan], [nan], [nan, nan]),
    "the root of max": (lambda x: fluxrs.sqrt(x.max(keepdims=True)), [0.0, -1.0], [0], [inf, 0]),
    "logsumexp": (lambda x: x.logsumexp(keepdims=True), [-inf, -inf], [-inf], [0, 0]),
    "logsumexp of nothing": (lambda x: x[:0].logsumexp(keepdims=True), [1.0], [-inf], [0]),
    "det": (lambda x: fluxrs.det(x.reshape(1, 2, 2)), [1.0, 2, 2, 4], [0], [4, -2, -2, 1]),
    "det of zeros": (lambda x: fluxrs.det(x.reshape(1, 3, 3)), [0.0] * 9, [0], [0] * 9),
    "det of a number": (lambda x: fluxrs.det(x.reshape(1, 1, 1)), [0.0], [0], [1]),
    "det of a step": (lambda x: fluxrs.det(x.reshape(1, 3, 3)), [0.0, 1, 0, 0, 0, 1, 0, 0, 0], [0], [0] * 6 + [1, 0, 0]),
}  # fmt: skip

# Calls whose results have no elements, and which have to raise all the same: a function of how an array becomes an operand.
RAISES_WITHOUT_ELEMENTS = {
    "take": (lambda of: fluxrs.take(of(np.zeros((5, 0))), of(np.array([2, 7])), 0), IndexError, "take: index 7 .* of size 5"),
    "take, negative": (lambda of: fluxrs.take(of(np.zeros((5, 0))), of(np.array([[-6]])), 0), IndexError, "index -6"),
    "take along the last axis": (lambda of: fluxrs.take(of(np.zeros((0, 5))), of(np.array([5])), 1), IndexError, "axis 1 of size 5"),
    "an index": (lambda of: of(np.zeros((5, 0)))[of(np.array([7]))], IndexError, "index 7 .* axis 0 of size 5"),
    "two indices": (lambda of: of(np.zeros((5, 3, 0)))[of(np.array([0])), of(np.array([3]))], IndexError, "out of range"),
    "a gradient alone": (lambda of: fluxrs.gradient(lambda x: fluxrs.take(x, of(np.array([7])), 0).sum(), of(np.zeros((5, 0))))[0], IndexError, "index 7"),
    "take_along_axis": (lambda of: fluxrs.take_along_axis(of(np.zeros((2, 0))), of(np.array([[0], [0]])), 1), IndexError, "index 0 .* axis 1 of size 0"),
    "its gradient": (lambda of: fluxrs.gradient(lambda x: fluxrs.take_along_axis(x, of(np.array([[0], [0]])), 1).sum(), of(np.zeros((2, 0))))[0], IndexError, "index 0"),
    "solve": (lambda of: fluxrs.solve(of(np.zeros((2, 2))), of(np.zeros((2, 0)))), ValueError, "solve: the matrix is singular"),
    "solve a batch": (lambda of: fluxrs.solve(of(np.stack([np.eye(2), np.ones((2, 2))])), of(np.zeros((2, 2, 0)))), ValueError, "matrix 1 of the batch"),
    "rdivide": (lambda of: fluxrs.rdivide(of(np.zeros((0, 2))), of(np.zeros((2, 2)))), ValueError, "rdivide: the matrix is singular"),
}  # fmt: skip
# Calls that do not raise, and the shape of what they give.
WITHOUT_ELEMENTS = {
    "take": (lambda of: fluxrs.take(of(np.zeros((5, 0))), of(np.array([2, -5])), 0), (2, 0)),
    "take of nothing": (lambda of: fluxrs.take(of(np.zeros((0, 3))), of(np.zeros(0, "int64")), 0), (0, 3)),
    "take_along_axis": (lambda of: fluxrs.take_along_axis(of(np.zeros((2, 3))), of(np.zeros((2, 0), "int64")), 1), (2, 0)),
    "solve": (lambda of: fluxrs.solve(of(np.eye(2)), of(np.zeros((2, 0)))), (2, 0)),
    "solve no equations": (lambda of: fluxrs.solve(of(np.zeros((3, 0, 0))), of(np.zeros((3, 0, 2)))), (3, 0, 2)),
    "solve no systems": (lambda of: fluxrs.solve(of(np.zeros((0, 2, 2))), of(np.zeros((0, 2, 1)))), (0, 2, 1)),
    "inv of nothing": (lambda of: fluxrs.inv(of(np.zeros((3, 0, 0)))), (3, 0, 0)),
    "a gradient": (lambda of: fluxrs.gradient(lambda x: fluxrs.take(x, of(np.array([4])), 0).sum(), of(np.zeros((5, 0))))[0], (5, 0)),
}  # fmt: skip
