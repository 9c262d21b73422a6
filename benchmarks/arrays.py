"""Single array operations, many a case, each written once for all libraries: bytes are what they cost.

    python benchmarks/arrays.py [GROUP …]

Each library runs in a process of its own and they take turns; a figure is the median of its rounds. The last line of a
group is the geometric mean of fluxrs' time over the fastest other library's.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from run import Worker, pin
from worker import steps, timed

ROUNDS = 5
LIBRARIES = ["fluxrs", "numpy", "torch", "jax.jit"]
Work = tuple[Callable[..., Any], tuple[np.ndarray, ...]]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def reductions(lib: SimpleNamespace) -> Iterator[tuple[str, Work]]:
    for shape in ((4096, 4096), (10_000_000,), (100, 100, 1000)):
        x = normal(*shape)
        for axis in (*range(len(shape)), None) if len(shape) > 1 else (None,):
            for name in ("sum", "max", "var"):
                f = getattr(lib, name)
                label = f"{name} of {shape} over {'all' if axis is None else f'axis {axis}'}"
                yield label, (lambda x, f=f, axis=axis: f(x, axis), (x,))


def moves(lib: SimpleNamespace) -> Iterator[tuple[str, Work]]:
    x, y = normal(2048, 2048), normal(2048, 2048)
    rng = np.random.default_rng(1)
    rows, some = rng.permutation(2048), rng.integers(0, 2048, 2048)
    yield "a copy", (lambda x: lib.copy(x), (x,))
    yield "x.T + y", (lambda x, y: x.T + y, (x, y))
    yield "x[::2, ::2] + 1", (lambda x: x[::2, ::2] + 1, (x,))
    yield "concatenate, rows", (lambda x, y: lib.concatenate([x, y], 0), (x, y))
    yield "concatenate, columns", (lambda x, y: lib.concatenate([x, y], 1), (x, y))
    yield "gather of rows", (lambda x, i: x[i], (x, rows))
    yield "gather of columns", (lambda x, i: x[:, i], (x, rows))
    yield "scatter-add of rows", (lib.scatter_add, (x, some, y))
    yield "sort, axis 1", (lambda x: lib.sort(x, 1), (x,))
    yield "cumsum, axis 0", (lambda x: lib.cumsum(x, 0), (x,))
    yield "cumsum, axis 1", (lambda x: lib.cumsum(x, 1), (x,))


OPERATIONS = ("sum", "max", "var", "copy", "concatenate", "scatter_add", "sort", "cumsum")
GROUPS = {"reductions": reductions, "moves": moves}


def of_fluxrs() -> SimpleNamespace:
    import fluxrs

    def scatter_add(x: Any, i: Any, y: Any) -> Any:
        """Rows of y added to a table of zeros: the gradient of a gather."""
        return fluxrs.gradient(lambda table: (table[i] * y).sum(), x)[0]

    return SimpleNamespace(
        tensor=fluxrs.tensor,
        jit=lambda f: f,
        ready=fluxrs.evaluate,
        copy=lambda x: x * 1,
        sum=lambda x, axis: x.sum(axis),
        max=lambda x, axis: x.max(axis),
        var=lambda x, axis: x.var(axis),
        concatenate=fluxrs.concatenate,
        scatter_add=scatter_add,
        sort=fluxrs.sort,
        cumsum=fluxrs.cumsum,
    )


def of_numpy() -> SimpleNamespace:
    def scatter_add(x: Any, i: Any, y: Any) -> Any:
        out = np.zeros_like(x)
        np.add.at(out, i, y)
        return out

    return SimpleNamespace(
        tensor=np.asarray,
        jit=lambda f: f,
        ready=lambda y: y,
        copy=np.copy,
        sum=np.sum,
        max=np.max,
        var=np.var,
        concatenate=np.concatenate,
        scatter_add=scatter_add,
        sort=np.sort,
        cumsum=np.cumsum,
    )


def of_torch() -> SimpleNamespace:
    import torch

    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    over = lambda axis: {} if axis is None else {"dim": axis}
    return SimpleNamespace(
        tensor=torch.from_numpy,
        jit=lambda f: f,
        ready=lambda y: y,
        copy=torch.clone,
        sum=lambda x, axis: x.sum(**over(axis)),
        max=lambda x, axis: x.amax(**over(axis)),
        var=lambda x, axis: x.var(**over(axis), correction=0),
        concatenate=torch.cat,
        scatter_add=lambda x, i, y: torch.zeros_like(x).index_add_(0, i, y),
        sort=lambda x, axis: torch.sort(x, axis)[0],
        cumsum=torch.cumsum,
    )


def of_jax() -> SimpleNamespace:
    import jax
    import jax.numpy as jnp

    return SimpleNamespace(
        tensor=jnp.asarray,
        jit=jax.jit,
        ready=jax.block_until_ready,
        copy=lambda x: x * 1,
        sum=jnp.sum,
        max=jnp.max,
        var=jnp.var,
        concatenate=jnp.concatenate,
        scatter_add=lambda x, i, y: jnp.zeros_like(x).at[i].add(y),
        sort=jnp.sort,
        cumsum=jnp.cumsum,
    )


MAKERS = {"fluxrs": of_fluxrs, "numpy": of_numpy, "torch": of_torch, "jax.jit": of_jax}


def serve(library: str, group: str) -> None:
    """Answers each line, a case's label, with the seconds of one round of it; the first prepares the case."""
    lib = MAKERS[library]()
    print("ready", flush=True)
    label, run, n = "", None, 0
    for line in sys.stdin:
        if line.strip() != label:
            label = line.strip()
            run = prepared(lib, *dict(GROUPS[group](lib))[label])
            n = steps(run)
        print(timed(run, n) / n, flush=True)


def prepared(
    lib: SimpleNamespace, f: Callable, arrays: tuple[np.ndarray, ...]
) -> Callable[[int], None]:
    fast, given = lib.jit(f), [lib.tensor(a) for a in arrays]

    def run(n: int) -> None:
        for _ in range(n):
            lib.ready(fast(*given))

    return run


def compare(group: str) -> None:
    workers = {library: Worker(library, group, "arrays.py") for library in LIBRARIES}
    for worker in workers.values():
        worker.wait()
    print(f"\n{group}: µs, median; then fluxrs' time over the fastest other's")
    print(f"{'':36}" + "".join(f"{library:>11}" for library in LIBRARIES))
    shares = []
    for label in dict(GROUPS[group](SimpleNamespace(**dict.fromkeys(OPERATIONS)))):
        rounds = [[w.turn(label) for w in workers.values()] for _ in range(ROUNDS)]
        ours, *others = (statistics.median(times) for times in zip(*rounds, strict=True))
        shares.append(ours / min(others))
        row = "".join(f"{1e6 * seconds:11.1f}" for seconds in (ours, *others))
        print(f"{label:36}{row}{shares[-1]:8.2f}", flush=True)
    for worker in workers.values():
        worker.stop()
    print(f"{'geometric mean':80}{statistics.geometric_mean(shares):8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in LIBRARIES:
        serve(*sys.argv[1:])
    else:
        pin()
        for group in sys.argv[1:] or GROUPS:
            compare(group)
