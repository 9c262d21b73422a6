"""Initialisers: their spread by the fans, and their structure."""

import math

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    glorot_normal,
    glorot_uniform,
    kaiming_normal,
    kaiming_uniform,
    orthogonal,
    sparse_init,
    truncated_normal,
)

KERNEL = (40, 30, 5, 5)


@pytest.mark.parametrize(("init", "dims", "std"), [
    (glorot_uniform, (200, 300), math.sqrt(2 / 500)),
    (glorot_normal, KERNEL, math.sqrt(2 / (70 * 25))),
    (kaiming_uniform, (200, 300), math.sqrt(2 / 300)),
    (kaiming_normal, (200, 300), math.sqrt(2 / 300)),
    (kaiming_uniform, KERNEL, math.sqrt(2 / (30 * 25))),
    (kaiming_normal, KERNEL, math.sqrt(2 / (30 * 25))),
    (kaiming_normal, (20000,), math.sqrt(2 / 20000)),
    (lambda *d: kaiming_normal(*d, gain=1), (200, 300), math.sqrt(1 / 300)),
    (lambda *d: kaiming_uniform(*d, gain=1), (200, 300), math.sqrt(1 / 300)),
])  # fmt: skip
def test_spread(init, dims, std):
    fluxrs.seed(0)
    x = np.asarray(init(*dims))
    assert x.shape == dims and x.dtype == np.float32
    assert x.std() == pytest.approx(std, rel=0.02)
    assert abs(x.mean()) < 4 * std / math.sqrt(x.size)
    if "uniform" in getattr(init, "__name__", ""):
        assert abs(x).max() <= math.sqrt(3) * std * (1 + 1e-6)
    for shape in (dims, (dims,), (list(dims),)):
        fluxrs.seed(0)
        np.testing.assert_array_equal(init(*shape), x)


@pytest.mark.parametrize("dims", [(3, 5), (5, 3), (4, 4), (6, 2, 3), (1, 1), (0, 3), (3, 0)])
def test_orthogonal(dims):
    fluxrs.seed(0)
    W = np.asarray(orthogonal(*dims, gain=2.0)).reshape(dims[0], math.prod(dims[1:]))
    short = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    np.testing.assert_allclose(short, 4 * np.eye(len(short)), atol=1e-5)
    with pytest.raises(ValueError, match="at least two axes"):
        orthogonal(3)


def test_orthogonal_matrices_are_uniform():
    fluxrs.seed(0)
    signs = [float(orthogonal(2, 2)[0, 0]) > 0 for _ in range(200)]
    assert 70 < sum(signs) < 130


@pytest.mark.parametrize(("mean", "std", "lo", "hi"), [
    (0, 1, -2, 2), (1.0, 0.5, 0.5, 4), (0, 1, 5, 6), (0, 1, -9, -8), (0, 1, -math.inf, 0), (0, 1, 30, math.inf), (0, 0.1, -0.01, 0.01),
])  # fmt: skip
def test_truncated_normal(mean, std, lo, hi):
    fluxrs.seed(0)
    x = np.sort(
        np.asarray(truncated_normal(20000, mean=mean, std=std, lo=lo, hi=hi), dtype="float64")
    )
    assert x[0] >= lo and x[-1] <= hi
    tail = lambda t: math.erfc(min(abs(t), 60) / math.sqrt(2)) / 2
    flip = -1 if lo > mean else 1  # in the lower tail, where nothing cancels
    cdf = lambda v: tail((v - mean) / std) if flip * (v - mean) < 0 else 1 - tail((v - mean) / std)
    a, b = sorted((cdf(lo), cdf(hi)))
    for q in (0.1, 0.5, 0.9):
        share = (cdf(x[int(q * len(x))]) - a) / (b - a)
        assert (share if flip > 0 else 1 - share) == pytest.approx(q, abs=0.015)


def test_sparse_init():
    W = np.asarray(sparse_init(50, 20, sparsity=0.31, std=0.5))
    assert ((W == 0).sum(0) == math.ceil(0.31 * 50)).all()
    assert W[W != 0].std() == pytest.approx(0.5, rel=0.1)
    assert not np.asarray(sparse_init(3, 2, sparsity=1)).any()
    assert np.asarray(sparse_init(3, 2, sparsity=0)).all()
    assert len({tuple(np.flatnonzero(c)) for c in W.T}) > 10


@pytest.mark.parametrize(("call", "message"), [
    (lambda: sparse_init(3, sparsity=0.5), "a matrix has two axes"),
    (lambda: sparse_init(3, 3, sparsity=1.5), "sparsity is a share"),
    (lambda: truncated_normal(3, lo=1, hi=1), "lo < hi"),
    (lambda: truncated_normal(3, std=0), "0 < std"),
])  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_as_a_layers_initialiser():
    for init in (kaiming_uniform, kaiming_normal, orthogonal, truncated_normal):
        assert fluxrs.Dense(4, 3, initW=init)(np.ones(4)).shape == (3,)
