"""Work and memory grow with a model, not with its square: counted at n and at 2n."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fluxrs
from fluxrs import ADAM, SGD, Chain, Diagonal, Params, back, checkpoint, gradient, param

counters: Callable[[], dict[str, int]] = fluxrs._core.counters  # type: ignore[attr-defined]


def model(n: int) -> Chain:
    return Chain(*(Diagonal(2) for _ in range(n)))


def walks(n: int, _: Path) -> None:
    m = model(n)
    assert len(fluxrs.params(m)) == 2 * n
    fluxrs.loadparams(fluxrs.mapleaves(lambda x: x, m), fluxrs.params(m))


def nests(n: int, _: Path) -> None:
    m: Any = Diagonal(2)
    for _ in range(n // 4):
        m = Chain(m)
    assert len(fluxrs.params(m)) == 2


def files(n: int, tmp_path: Path) -> None:
    m = model(n)
    fluxrs.save(tmp_path / "model.st", m=m, opt=ADAM(fluxrs.params(m)))
    assert len(fluxrs.load(tmp_path / "model.st")["m"].layers) == n
    fluxrs.save_weights(tmp_path / "weights.st", m)
    fluxrs.load_weights(tmp_path / "weights.st", m)


def steps(n: int, _: Path) -> None:
    ps = Params([param([1.0, 2.0]) for _ in range(n)])
    opt = ADAM(ps)
    for _ in range(2):
        back(sum((p**2).sum() for p in ps))
        opt()


def grads(n: int, _: Path) -> None:
    ps = Params([param([1.0, 2.0]) for _ in range(n)])
    found = gradient(lambda: sum((p**2).sum() for p in ps), ps)
    assert all((found[p] is not None) and p in found for p in ps)
    SGD(ps[::-1])()


def steps_whose_gradients_are_kept(n: int, _: Path) -> None:
    ps = Params([param([1.0, 2.0])])
    opt, kept = SGD(ps), []
    for _ in range(n):
        kept.append(gradient(lambda: (ps[0] ** 2).sum(), ps))
        opt()


def checkpoints(n: int, _: Path) -> None:
    ps = [param([1.0, 1.0]) for _ in range(n)]
    x = fluxrs.tensor([1.0, 1.0])
    for p in ps:
        x = checkpoint(lambda x, p=p: x * p, x)
    back(x.sum())
    assert float(fluxrs.grad(ps[0])[0]) == 1


def captured(n: int, _: Path) -> None:
    """As `checkpoints`, of functions that have what they work on around them."""
    ps = [param([1.0, 1.0]) for _ in range(n)]
    x = fluxrs.tensor([1.0, 1.0])
    for p in ps:
        x = checkpoint(lambda x=x, p=p: x * p)
    back(x.sum())
    assert float(fluxrs.grad(ps[0])[0]) == 1


def losses_read_afterwards(n: int, _: Path) -> None:
    p = param([1.0, 2.0])
    losses = [(p * float(i)).tanh().sum() for i in range(n)]
    assert len([float(l) for l in losses]) == n


def batches_read_by_steps(n: int, _: Path) -> None:
    p = param([1.0, 2.0])
    opt = SGD([p])
    x = fluxrs.tensor([1.0, 2.0])
    for batch in [(x * float(i)).tanh() for i in range(n)]:
        back((p * batch).sum())
        opt()


def rows(n: int, _: Path) -> None:
    fluxrs.hessian(lambda x: (x[:2] ** 3).sum(), np.ones(n // 10))


CASES = [
    walks, nests, files, steps, grads, steps_whose_gradients_are_kept, checkpoints, captured,
    losses_read_afterwards, batches_read_by_steps, rows,
]  # fmt: skip


def cost(case: Callable[[int, Path], None], n: int, tmp_path: Path) -> tuple[int, int]:
    """Python's calls and the steps of the engine's passes."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    before = counters()["steps"]
    sys.setprofile(count)
    try:
        case(n, tmp_path)
    finally:
        sys.setprofile(None)
    return calls, counters()["steps"] - before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_linear(case: Callable[[int, Path], None], tmp_path: Path) -> None:
    case(410, tmp_path)
    small, large = cost(case, 200, tmp_path), cost(case, 400, tmp_path)
    for what, a, b in zip(("calls", "steps"), small, large, strict=True):
        assert b <= 2.3 * a + 500, f"{a} {what} for 200, {b} for 400"


DEEP = """
import fluxrs
p = fluxrs.param([1.0])
def chain(link, n=30_000):
    x = p * 1
    for _ in range(n):
        x = link(x)
    return x
links = [
    lambda x: fluxrs.checkpoint(lambda x: x * 1, x),
    lambda x: fluxrs.checkpoint(lambda: x * 1),
    lambda x: fluxrs.hook(lambda d, x=x: d, x),
    lambda x: x + 1,
    lambda x: x.reshape(1, 1).reshape(1),
]
for link in links:
    y = chain(link)
    fluxrs.evaluate(y)
    del y
    y = chain(link)
    del y
losses = [(p * 1).sum() for _ in range(30_000)]
total = sum(fluxrs.gradient(lambda: l, fluxrs.Params([p]))[p] for l in losses)
fluxrs.update(p, -0.1 * total)
del total, losses
assert float(p[0]) < 0
print("done")
"""


def test_deep_graphs_are_dropped_without_nesting() -> None:
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, timeout=240)
    assert done.stdout == "done\n", done.stderr[-2000:]
