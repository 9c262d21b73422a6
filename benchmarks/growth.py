"""How cost grows: each line is flat where it is linear.

    python benchmarks/growth.py [PICTURE]

Time a node of chains, a step against its batch, a process's memory against depth, and the first step against the number of
parameters; with a picture if a file is named.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import fluxrs
from fluxrs import ADAM, SGD, Chain, Dense, back, evaluate, logitcrossentropy, param, params, relu
from run import pin

Line = list[tuple[int, float]]


def best(f: Callable[[], object], times: int = 3) -> float:
    def once() -> float:
        begun = time.perf_counter()
        f()
        return time.perf_counter() - begun

    return min(once() for _ in range(times))


def nodes() -> Line:
    """Nanoseconds a node to build, run and free a chain of small additions."""
    x = param(fluxrs.rand(10))

    def chain(n: int) -> None:
        y = x
        for _ in range(n):
            y = y + 1
        evaluate(y)

    return [
        (n, 1e9 * best(lambda n=n: chain(n)) / n)
        for n in (10, 100, 1000, 10_000, 100_000, 1_000_000)
    ]


def batch() -> Line:
    """Microseconds a sample in a step of 784-128-10."""
    m = Chain(Dense(784, 128, relu), Dense(128, 10))
    opt = ADAM(params(m))

    def steps(n: int) -> float:
        x, y = fluxrs.rand(n, 784), fluxrs.onehotbatch([k % 10 for k in range(n)], range(10))
        evaluate(x)

        def step() -> None:
            back(logitcrossentropy(m(x), y))
            opt()
            evaluate(list(params(m)))

        step()
        return best(step, 5)

    return [(4**k, 1e6 * steps(4**k) / 4**k) for k in range(9)]


def parameters() -> Line:
    """Microseconds a parameter in the first step over n parameters of four numbers."""

    def first(n: int) -> float:
        ps = [param(fluxrs.rand(4)) for _ in range(n)]
        evaluate(ps)
        opt = SGD(ps, 0.1)

        def step() -> None:
            total = ps[0].sum()
            for p in ps[1:]:
                total = total + p.sum()
            back(total)
            opt()
            evaluate(ps)

        return best(step, 1)

    return [(n, 1e6 * first(n) / n) for n in (10, 100, 1000, 4000, 32_000)]


def deep(layers: int) -> float:
    """MiB of this process after a step through so many layers of 256 × 256 with 256 samples."""
    m = Chain(*(Dense(256, 256, relu) for _ in range(layers)))
    opt = SGD(params(m), 0.01)
    for _ in range(2):
        back(m(fluxrs.rand(256, 256)).sum())
        opt()
    evaluate(list(params(m)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def depth() -> Line:
    """MiB a layer, above those of a process with one layer; a layer's weights, and its activation, are a quarter MiB each."""

    def child(layers: int) -> float:
        code = f"import growth; print(growth.deep({layers}))"
        return float(subprocess.check_output([sys.executable, "-c", code], cwd=sys.path[0]))

    base = child(1)
    return [(n, (child(n) - base) / (n - 1)) for n in (10, 100, 400, 1600)]


FIGURES = {
    "nodes of a chain: ns a node": nodes,
    "batch: µs a sample": batch,
    "parameters, first step: µs each": parameters,
    "depth: MiB a layer": depth,
}


def draw(file: str, lines: dict[str, Line]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for axis, (title, line) in zip(axes.flat, lines.items(), strict=True):
        axis.loglog(*zip(*line, strict=True), marker="o")
        axis.set_title(title)
        axis.set_ylim(min(v for _, v in line) / 3, max(v for _, v in line) * 3)
        axis.grid(alpha=0.3)
    plt.savefig(file, dpi=100)


def main() -> None:
    pin()
    lines = {}
    for title, figure in FIGURES.items():
        lines[title] = figure()
        print(title, flush=True)
        for n, cost in lines[title]:
            print(f"  {n:10,} {cost:10.3f}", flush=True)
    if sys.argv[1:]:
        draw(sys.argv[1], lines)


if __name__ == "__main__":
    main()
