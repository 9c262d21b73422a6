"""Shared by the GPU's tests: values that agree, and gradients of a weighted sum."""

import numpy as np

import fluxrs
from fluxrs import cpu, gpu


def close(got, want, tolerance=2e-5):
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype.kind in "ib":
        np.testing.assert_array_equal(got, want)
        return
    scale = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0.0)))
    np.testing.assert_allclose(got / scale, want / scale, atol=tolerance, rtol=tolerance)


def values(result):
    """The arrays of a result that may be a tensor, a list of tensors or a number."""
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in values(part)]
    if isinstance(result, fluxrs.Tensor):
        return [np.asarray(cpu(fluxrs.data(result)))]
    return [np.asarray(result)]


def agree(f, *xs, tolerance=2e-5):
    """f gives on the GPU what it gives on the CPU."""
    want = values(f(*map(fluxrs.tensor, xs)))
    got = values(f(*map(gpu, map(fluxrs.tensor, xs))))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        close(g, w, tolerance)


def slopes(f):
    """A function that gives the gradients of the sum of the squares of f's results."""

    def total(*xs):
        result = f(*xs)
        parts = result if isinstance(result, (list, tuple)) else [result]
        return sum((part * part).sum() for part in parts)

    return lambda *xs: fluxrs.gradient(total, *xs)
