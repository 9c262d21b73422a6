"""From a process's start to its first finished step, and the most memory that it held.

    python benchmarks/start.py

The step: Dense(784, 32, σ), Dense(32, 10), cross-entropy, 64 samples, ADAM; medians of five processes a library, in turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from run import THREADS, pin

DATA = """
import numpy as np
rng = np.random.default_rng(0)
x, y = rng.random((64, 784), dtype=np.float32), rng.integers(0, 10, 64)
"""

FLUXRS = """
import fluxrs
from fluxrs import ADAM, Chain, Dense, back, evaluate, logitcrossentropy, params, σ
m = Chain(Dense(784, 32, σ), Dense(32, 10))
opt = ADAM(params(m))
back(logitcrossentropy(m(fluxrs.tensor(x)), y))
opt()
evaluate(list(params(m)))
"""

TORCH = """
import torch
from torch import nn
m = nn.Sequential(nn.Linear(784, 32), nn.Sigmoid(), nn.Linear(32, 10))
opt = torch.optim.Adam(m.parameters())
nn.functional.cross_entropy(m(torch.from_numpy(x)), torch.from_numpy(y)).backward()
opt.step()
"""

JAX = """
import jax
import jax.numpy as jnp

def loss(ps):
    h = jax.nn.sigmoid(x @ ps[0] + ps[1])
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h @ ps[2] + ps[3]), y[:, None], 1))

@jax.jit
def step(ps, ms, vs):
    ds = jax.grad(loss)(ps)
    ms = [0.9 * m + 0.1 * d for m, d in zip(ms, ds)]
    vs = [0.999 * v + 0.001 * d * d for v, d in zip(vs, ds)]
    return [p - 0.001 * (m / 0.1) / (jnp.sqrt(v / 0.001) + 1e-8) for p, m, v in zip(ps, ms, vs)], ms, vs

ps = [rng.random(s, dtype=np.float32) for s in ((784, 32), (32,), (32, 10), (10,))]
zeros = [np.zeros_like(p) for p in ps]
jax.block_until_ready(step(ps, zeros, zeros))
"""

STEPS = {"NumPy alone": "", "fluxrs": FLUXRS, "torch": TORCH, "jax.jit": JAX}
ROUNDS = 5


def measured(code: str) -> tuple[float, float]:
    """Seconds and MiB of a process."""
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", DATA + code], env={**os.environ, **THREADS})
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    assert status == 0, "the step failed"
    return seconds, used.ru_maxrss / 1024


def main() -> None:
    pin()
    rounds = [[measured(code) for code in STEPS.values()] for _ in range(ROUNDS)]
    medians = [
        [statistics.median(v) for v in zip(*own, strict=True)] for own in zip(*rounds, strict=True)
    ]
    ours = medians[list(STEPS).index("fluxrs")]
    print("start: seconds to the first finished step, MiB at most; then fluxrs' share of each")
    for library, (seconds, size) in zip(STEPS, medians, strict=True):
        print(
            f"  {library:14}{seconds:8.3f} s {size:8.0f} MiB {ours[0] / seconds:8.2f}{ours[1] / size:8.2f}"
        )


if __name__ == "__main__":
    main()
