"""Lists that hold themselves or are nested deep: an error, in time, and a process that lives on."""

import subprocess
import sys

PROGRAM = """
import resource, sys
import numpy as np
import fluxrs
from fluxrs import Chain, Params, SGD, param, tensor

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

def itself(kind):
    if kind == "dict":
        d = {}
        d["a"] = d
        return d
    l = []
    l.append((l, tensor(1.0)) if kind == "tuple" else l)
    return l

def deep(kind):
    x = [tensor(1.0)] if kind == "tensor" else [1.0]
    for _ in range(50_000):
        x = {"a": x} if kind == "dict" else (x,) if kind == "tuple" else [x]
    return x

def twice():
    x = [tensor([1.0])]
    for _ in range(50):
        x = [x, x]
    return x

t, p = tensor([[1.0, 2.0], [3.0, 4.0]]), param([1.0, 2.0])
nests = [itself("list"), itself("tuple"), deep("list"), deep("tuple"), deep("tensor")]
f = lambda x: x.sum()
calls = [
    fluxrs.tensor, fluxrs.asarray, fluxrs.param, fluxrs.stack, fluxrs.concatenate, fluxrs.vstack, fluxrs.hstack,
    fluxrs.exp, fluxrs.sum, fluxrs.sort, fluxrs.zeros_like, fluxrs.bernoulli, fluxrs.Tensor, fluxrs.collect,
    fluxrs.zeros, fluxrs.rand, fluxrs.matmul, fluxrs.einsum, fluxrs.unsqueeze, fluxrs.unstack, fluxrs.batch,
    lambda x: t + x, lambda x: x @ t, lambda x: t == x, lambda x: t[x], lambda x: t[0, x], lambda x: fluxrs.take(t, x),
    lambda x: t.sum(axis=x), lambda x: t.reshape(x), lambda x: t.split(x), lambda x: t.pad(x), lambda x: t.clip(x),
    lambda x: fluxrs.where(t > 0, x, t), lambda x: fluxrs.tensordot(t, t, x), lambda x: fluxrs.einsum("ij", x),
    lambda x: np.concatenate([t, x]), lambda x: np.stack([t, t], x), lambda x: np.add(t, x), lambda x: np.allclose(t, x),
    lambda x: np.add(np.ones(2), x, out=t), lambda x: np.sum(t, axis=x),
    lambda x: fluxrs.gradient(f, x), lambda x: fluxrs.gradient(f, p, x), lambda x: fluxrs.forward(f, t)[1](x),
    lambda x: fluxrs.gradient(lambda w: x, t), lambda x: fluxrs.back(p * 2, x), lambda x: fluxrs.back(x),
    lambda x: fluxrs.update(p, x), lambda x: setattr(p, "data", x), lambda x: setattr(p, "grad", x),
    lambda x: p.data.__setitem__(..., x), lambda x: p.data.__setitem__(0, x), lambda x: p.data.__iadd__(x),
    lambda x: SGD([p])(x), SGD, Chain,
]
# These go through any nest of containers, and through each container once.
walks = [fluxrs.evaluate, fluxrs.explain, fluxrs.params, lambda x: fluxrs.prefor(lambda n: None, x)]

def raises(call, x, errors, what):
    try:
        call(x)
    except errors as error:
        return error
    print("no error:", what, flush=True)
    sys.exit(2)

for k, call in enumerate(calls):
    for j, x in enumerate(nests):
        print("call", k, "nest", j, flush=True)
        raises(call, x, (TypeError, ValueError, IndexError, RecursionError), (k, j))
for call in (fluxrs.tensor, fluxrs.stack, fluxrs.exp, lambda x: t + x, lambda x: np.allclose(t, x)):
    for x in nests:
        assert "64 deep" in str(raises(call, x, ValueError, call))
for call in walks[:2]:
    call(twice())
    for x in (*nests, itself("dict"), deep("dict")):
        assert "64 deep" in str(raises(call, x, ValueError, call))
for call in walks[2:]:
    for x in (itself("list"), itself("tuple"), itself("dict"), twice()):
        call(x)
    for x in (deep("list"), deep("tuple"), deep("dict"), deep("tensor")):
        assert "deep" in str(raises(call, x, ValueError, call))
raises(fluxrs.tensor, twice(), MemoryError, "twice")
x = fluxrs.tensor([1.0])
for _ in range(63):
    x = [x]
print("done", fluxrs.tensor(x[0]).ndim)
"""


def test_nests_that_are_no_arrays():
    run = [sys.executable, "-c", PROGRAM]
    child = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, (child.returncode, child.stdout[-200:], child.stderr[-2000:])
    assert child.stdout.endswith("done 63\n")
