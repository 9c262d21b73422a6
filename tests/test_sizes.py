"""Sizes, counts and axes that no tensor can have: refused at the call by a clear error, never a wrong value, a crash or a wait."""

import os
import re
import subprocess
import sys

import pytest

#: Runs in a child with little memory: evaluates each line of its input, and says what came of it.
CHILD = """
import math, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30))
import numpy as np
import fluxrs
from fluxrs import *
from fluxrs import abs, all, any, max, min, sum

x, p, m, e = arange(8), param(np.ones(8)), ones(2, 2), zeros(0)
big = broadcast_to(x[0], (2**31, 2**28))          # nearly as many elements as can be
wide = broadcast_to(x[0], (2**32,))
one = tensor(np.array([1]))
CLEAN = (ValueError, MemoryError, IndexError, OverflowError, TypeError)

def sound(t):
    "Sizes agree, and so few elements that their bytes can be counted; corners can be read, or there is no memory for them."
    for t in t if isinstance(t, list | tuple) else [t]:
        if not isinstance(t, Tensor):
            continue
        assert t.size == math.prod(t.shape) < 2**60 and t.ndim <= 64, t.shape
        if t.size and math.prod(t.shape) < 2**20 or t.ndim and t.size:
            for corner in (0, -1):
                try:
                    float(t[(corner,) * t.ndim])
                except MemoryError:
                    pass

for line in sys.stdin:
    line = line.rstrip("\\n")
    print(line, end="\\t", flush=True)
    try:
        value = eval(line)
        sound(value)
        print(value if isinstance(value, bool) else "-", flush=True)
    except Exception as error:
        kind = type(error).__name__ if isinstance(error, CLEAN) else "FAULT"
        print(f"{kind}: {error}".replace("\\n", " ")[:300], flush=True)
"""

#: Of every kind: more than memory, than 32 bits, than 2^60 elements, than 2^63 bytes, than an int64, and less than nothing.
NUMBERS = [
    "2**31",
    "2**32+1",
    "2**40",
    "2**59",
    "2**60-1",
    "2**60",
    "2**61+1",
    "2**62",
    "2**63-1",
    "2**63",
    "2**64+1",
    "10**30",
    "-1",
    "-2**31",
    "-2**63",
    "-10**30",
]

#: Calls that get one of those numbers.
ANY_NUMBER = """
zeros(N); ones(N, N); full((N, 2), 1.0); full(N, 1.0); zeros(0, N); zeros(0, N, N); rand(N); randn(2, N); randint(0, N, 4); randint(0, 3, N)
bernoulli(0.5, N); permutation(N); eye(N); eye(2, N); eye(2, 2, N); eye(0, 0, N); arange(N); arange(0, N, 2); arange(N, N)
arange(0, 1, 1 / N); linspace(0, 1, N); linspace(0, N, 3); glorot_uniform(N, N); initn(N); tensor(np.zeros(0)).reshape(N, 0)
repeat(x, N); repeat(m, N, 1); repeat(e, N); repeat(p, N).sum().shape; tile(x, N); tile(x, (N, N)); tile(m, (1, N)); tile(e, N); tile(m, (N, 1, 1))
pad(x, N); pad(x, (N, N)); pad(m, ((0, N), (1, 1))); pad(e, N); pad(x, 1, N); diagm(x, N); diagm(e, N); diagm(zeros(1), N)
split(x, N); split(e, N); split(x, [N]); split(x, [2, N]); split(zeros(0, 3), N, 1); split(wide, N)
broadcast_to(x, (N, 8)); broadcast_to(x[0], (N,)); broadcast_to(x[0], (N, N)); broadcast_to(e, (N, 0)); broadcast_to(p, (N, 8)).sum().shape
reshape(x, N); reshape(x, (N, -1)); reshape(e, (N, 0)); reshape(e, (0, N, N)); reshape(e, (N, -1)); reshape(wide, (N, -1)); reshape(big, N)
expand_dims(x, N); squeeze(x, N); moveaxis(m, N, 0); moveaxis(m, 0, N); swapaxes(m, N, 0); transpose(m, (N, 0)); flip(x, N)
unsqueeze(x, N); unstack(m, N); chunk(x, N); batchseq([x, x], N); batch([x] * 2)
roll(x, N); roll(m, N, 0); roll(m, (N, N), (0, 1)); roll(x, (N, N, N)); roll(e, N); diagonal(m, N); diagonal(m, 0, N, 1); trace(m, N)
sum(m, N); prod(m, N); mean(m, N); max(m, N); min(m, (0, N)); any(m, N); all(m, N); var(m, N); std(m, N); logsumexp(m, N); norm(m, 2, N)
var(m, ddof=N); norm(m, N); softmax(m, N); logsoftmax(m, N); cumsum(m, N); cumprod(m, N); sort(m, N); argsort(m, N); argmax(m, N); argmin(m, N)
take(x, N); take(x, [N]); take(x, [N, 0]); take(m, 0, N); take(m, [0], N); take_along_axis(m, [[0], [0]], N); take_along_axis(x, [N], 0)
x[N]; x[N:]; x[:N]; x[::N]; x[N::N]; x[::-N]; m[:, N]; m[0, ::N]; x[[N]]; x[[0, N]]; m[[0], [N]]; wide[N]; wide[N:]; wide[::N]; big[:, N]; big[::N, ::N]
concatenate([x, x], N); stack([x, x], N); concatenate([big] * 20); concatenate([broadcast_to(x[0], (N,))] * 20); stack([wide, wide], N)
tensordot(m, m, N); tensordot(m, m, ([N], [0])); tensordot(m, m, ([0], [N])); onehot(N, range(3)); onehotbatch([N], range(3)); onehot(1, range(N))
clip(x, N, None); x + N; x * N; x ** N; N ** x; x // N; tensor([N]); tensor(N); tensor(N, dtype="int64"); fluxrs.where(x > 1, x, N); x == N; x < N
seed(N); Dense(N, 2); Dense(N, N); Diagonal(N); LayerNorm(N); BatchNorm(N); throttle(print, N)
"""

#: Other calls, of shapes that are possible by themselves; with what they must say.
CALLS = {
    "zeros((1,) * 65)": "ValueError: zeros: the result would have 65 axes; at most 64 are possible",
    "reshape(x[0], (1,) * 65)": "ValueError: reshape: the result would have 65 axes",
    "expand_dims(x, tuple(range(64)))": "ValueError: expand_dims: the result would have 65 axes",
    "expand_dims(x, tuple(range(10**6)))": "ValueError: expand_dims: the result would have 1000001 axes",
    "x[(None,) * 64]": "ValueError: reshape: the result would have 65 axes",
    "stack([zeros((1,) * 64)])": "ValueError: stack: the result would have 65 axes",
    "repeat(zeros((1,) * 64), 3, 0)": "ValueError: repeat: the result would have 65 axes",
    "tile(zeros((1,) * 40), 3)": "ValueError: tile: the result would have 80 axes",
    "kron(zeros((1,) * 40), m)": "ValueError: kron: the result would have 80 axes",
    "sum(zeros((1,) * 64) + 1, 63).ndim == 63": "True",
    "float(sum(zeros((1,) * 64) + 1)) == 1": "True",
    "sum(zeros((1,) * 64), (-64, 63)).ndim == 62": "True",
    "tensordot(zeros((1,) * 40), zeros((1,) * 40), 0)": "ValueError: tensordot: the result would have 80 axes",
    "matmul(zeros((1,) * 64), zeros((1,) * 64)).ndim == 64": "True",
    "repeat(x, 2**61 + 1)": "ValueError: repeat: the result would have the shape (8, 2305843009213693953)",
    "tile(x, 2**62)": "ValueError: tile: the result would have the shape",
    "pad(x, 2**63)": "ValueError: pad: the result would have the shape",
    "diagm(x, 2**63 - 1)": "ValueError: diagm: the result would have the shape",
    "split(zeros(0), 2**40)": "ValueError: split: 1099511627776 parts; at most 1048576",
    "broadcast_to(x[0], (2**32, 1)) + broadcast_to(x[0], (1, 2**32))": "ValueError: add: the result would have the shape (4294967296, 4294967296)",
    "float((broadcast_to(x[0], (2**32, 1)) * broadcast_to(x[0], (2**32,))).sum())": "ValueError: multiply: the result",
    "wide[:, None] < wide": "ValueError: less: the result",
    "fluxrs.where(wide[:, None] < 1, wide, 0)": "ValueError: where: the result",
    "kron(wide, wide)": "ValueError: kron: the result would have the shape",
    "kron(zeros(0), big).shape == (2**31, 0)": "True",
    "outer(wide, wide)": "ValueError: outer: the result would have the shape",
    "outer(e, broadcast_to(x[0], (2**59,))).shape == (0, 2**59)": "True",
    "outer(broadcast_to(x[0], (0, 2**40)), wide)": "-",
    "einsum('i,j->ij', wide, wide)": "ValueError: einsum: the result",
    "einsum('i,j', wide, wide)": "ValueError: einsum: the result",
    "einsum('ij,kj->ik', wide[:, None], wide[:, None])": "ValueError: einsum: the result",
    "einsum('ij,jk->ik', broadcast_to(x[0], (2**32, 2)), broadcast_to(x[0], (2, 2**32)))": "ValueError: einsum: the result",
    "einsum('...,...->...', zeros((1,) * 64), zeros((1,) * 64)).ndim == 64": "True",
    "matmul(wide[:, None], wide[None])": "ValueError: matmul: the result",
    "matmul(broadcast_to(x[0], (2**32, 2)), broadcast_to(x[0], (2, 2**32)))": "ValueError: matmul: the result",
    "matmul(zeros(2**40, 0), zeros(0, 2**40))": "ValueError: matmul: the result",
    "matmul(broadcast_to(x[0], (2**40, 1, 2, 2)), broadcast_to(x[0], (2**40, 2, 2)))": "ValueError: matmul: the result",
    "dot(wide[:, None], wide[None])": "ValueError: dot: the result",
    "tensordot(wide, wide, 0)": "ValueError: tensordot: the result",
    "stack(zeros(10**9))": "ValueError: stack: the rows of a tensor, 1000000000 of them; at most 1048576",
    "[float(r[0]) for r, _ in zip(big, range(3))] == [0, 0, 0]": "True",
    "tensordot(m, m, 10**12)": "ValueError: tensordot: axes must be a number of axes",
    "solve(broadcast_to(m, (2**40, 1, 2, 2)), broadcast_to(m, (2**40, 2, 2)))": "ValueError: solve: the result",
    "take(broadcast_to(x[0], (4, 2**40)), broadcast_to(one, (2**40,)), 0)": "ValueError: take: the result",
    "broadcast_to(x[0], (4, 4, 2**40))[broadcast_to(one, (2**40,)), [0]]": "ValueError: indexing: the result",
    "take_along_axis(broadcast_to(x[0], (2**40, 1, 4)), broadcast_to(one, (2**40, 1))[None], 2)": "ValueError: take_along_axis: the result",
    "concatenate([big] * 4)": "ValueError: concatenate: the result would have the shape (8589934592, 268435456)",
    "stack([big] * 4)": "ValueError: stack: the result would have the shape",
    "concatenate([broadcast_to(x[0], (2**60 - 1,))] * 17)": "ValueError: concatenate: the result",
    "pad(big, 1)": "-",
    "pad(zeros(0, 2**30), 2**30)": "ValueError: pad: the result",
    "back(repeat(p, 2**61 + 1).sum())": "ValueError: repeat",
    "bool((gradient(lambda: broadcast_to(p, (2**20, 8)).sum(), Params([p]))[p] == 2**20).all())": "True",
    "float(broadcast_to(x[1], (2**28,)).sum()) == 2**28": "True",
    "float(broadcast_to(x[1], (2**14, 2**14)).mean()) == 1": "True",
    "bool((broadcast_to(x, (2**20, 8)).sum(0) == x * 2**20).all())": "True",
    "int(broadcast_to(tensor(np.array(1)), (2**30,)).sum()) == 2**30": "True",
    "big.sum(0).shape == (2**28,)": "True",
    "float(big[-1, -1]) == 0": "True",
    "float(big[::2**30, ::-(2**27)][-1, -1]) == 0": "True",
    "big.T.reshape(-1).shape == (2**59,)": "True",
    "np.asarray(big)": "-",
    "np.asarray(big + 1)": "MemoryError: ",
    "np.asarray(big.astype('float64'))": "MemoryError: ",
    "np.asarray(sort(wide))": "MemoryError: ",
    "np.asarray(repeat(wide, 2**27) * 2.0)": "MemoryError: ",
    "float((repeat(wide, 2**27) @ repeat(wide, 2**27) * 2.0).T.sum()) if False else True": "True",
    "explain(big + 1, big * 2.0, (big + 3).sum()) != ''": "True",
    "tensor(np.zeros((0, 2**60), 'bool'))": "ValueError: tensor: the result would have the shape (0, 1152921504606846976)",
    "asarray(np.zeros((0, 2**60), 'bool'))": "ValueError: asarray: the result would have the shape (0, 1152921504606846976)",
    "tensor(np.zeros((0, 2**50, 2**9), 'bool')).sum(0).shape == (2**50, 2**9)": "True",
    "x[::2**62].tolist() == [0] and x[5::2**62].tolist() == [5] and x[::-(2**62)].tolist() == [7]": "True",
    "roll(x, (2**62, 2**62, 2**62, 2**62)).tolist() == x.tolist()": "True",
    "roll(x, 2**63 - 1).tolist() == np.roll(np.arange(8), 2**63 - 1).tolist()": "True",
    "diagonal(m, -(2**63)).tolist() == diagonal(m, 2**63 - 1).tolist() == []": "True",
    "float(trace(m, -(2**63))) == 0": "True",
    "eye(3, 3, -(2**63)).sum() == 0": "-",
    "jacobian(lambda x: broadcast_to(x.sum(), (2**40,)), x)": "ValueError: ",
    "hessian(lambda x: x.sum() ** 2, broadcast_to(x[0], (2**40,)))": "ValueError: ",
}  # fmt: skip


def run(lines):
    """The outcome of each line, by the line."""
    child = [sys.executable, "-c", CHILD]
    try:
        done = subprocess.run(
            child,
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"RUST_BACKTRACE": "0"},
        )
    except subprocess.TimeoutExpired as late:
        out = late.stdout if isinstance(late.stdout, str) else (late.stdout or b"").decode()
        pytest.fail(f"no end of: {out.splitlines()[-1]}")
    came = [line.partition("\t") for line in done.stdout.splitlines()]
    assert done.returncode == 0, (
        f"exit {done.returncode} after {came[-1] if came else None}: {done.stderr[-2000:]}"
    )
    return {line: what for line, _, what in came}


TEMPLATES = [call.strip() for call in ANY_NUMBER.replace("\n", ";").split(";") if call.strip()]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_call_with_this_number(number):
    calls = [re.sub(r"\bN\b", f"({number})", call) for call in TEMPLATES]
    came = run(calls)
    assert len(came) == len(set(calls))
    # Python's own words for an integer that is too large name no argument.
    bare = re.compile("FAULT|int too |convert to C|out of range integral")
    assert not {call: what for call, what in came.items() if bare.search(what)}


def test_calls_that_multiply_sizes():
    came = run(CALLS)
    wrong = {
        call: (came.get(call), want)
        for call, want in CALLS.items()
        if not came.get(call, "").startswith(want)
    }
    assert not wrong, "\n".join(
        f"{call}\n    got  {got}\n    want {want}" for call, (got, want) in wrong.items()
    )
