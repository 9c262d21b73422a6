"""fluxrs beside PyTorch (eager, compiled) and JAX (jit), in alternating rounds on two threads.

    python benchmarks/run.py [--rounds N] [CASE …]

Each library runs in a process of its own and they take turns, so that what else the machine does falls on all
of them; a figure is the median of its rounds, and only the ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

LIBRARIES = ["fluxrs", "torch", "torch.compile", "jax.jit"]

# Each case, and its bound: at most so much of the named (None: of the fastest other) library's time.
CASES = {
    "page": ("W 2×5: forward, gradient, update", 0.7, None),
    "sgd": ("Dense(784, 32, σ), Dense(32, 10), softmax, mse: one sample, SGD", 0.6, None),
    "adam64": ("the same, 64 samples, ADAM", None, None),
    "lenet": ("two 5×5 convolutions, pools, three Dense: 64 × 1 × 28 × 28, ADAM", 0.8, None),
    "resnet": (
        "two residual blocks of 3×3, 64 channels, batch norm: 32 × 3 × 32 × 32, SGD",
        0.9,
        None,
    ),
    "lstm": ("LSTM(96, 128), 50 steps, batch 32, Dense at each step, ADAM", 0.6, None),
    "transformer": ("a pre-norm block: 16 × 128 tokens, 256 wide, 4 heads, ADAM", 0.9, None),
    "embedding": ("Embedding(100,000, 128), 2,048 tokens, ADAM", 0.8, None),
    "mlp256": ("784-1024-1024-10, relu, cross-entropy: 256 samples, ADAM", 0.85, None),
    "adam25m": ("ADAM alone, 20 tensors of 1.25 million", 0.9, None),
    "chain4m": ("value and gradient of a mean of tanh, σ and exp, 4 million", 0.6, None),
    "hvp": ("u_xx + u_yy of a net, 4,096 points, and the gradient of its square", 0.7, None),
    "unrolled": ("LSTM 96 → 128 as a loop in Python: 50 steps, batch 32, ADAM", 1.2, None),
    "softmax_rows": ("cross-entropy of 4096 × 1000 and its gradient", 0.6, None),
    "norm_rows": ("layer norm of 4096 × 768 and its gradients", 0.6, None),
    "adds": ("c = a + b of ten tracked numbers, kept, a thousand at a time", 0.25, "torch"),
}

THREADS = dict.fromkeys(
    ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2"
)


class Worker:
    """A library's process for one case; `missing` says why it has none."""

    def __init__(self, library: str, case: str, script: str = "worker.py") -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(script)), library, case],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **THREADS},
        )
        self.times: list[float] = []
        self.missing = ""

    def wait(self) -> None:
        said = self.line()
        if said != "ready":
            self.missing = said.removeprefix("missing ") or "it failed"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def turn(self, word: str = "go") -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self.times.append(float(self.line()))
        return self.times[-1]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measured(case: str, rounds: int) -> dict[str, float]:
    """Median seconds a step of each library that has the case."""
    workers = {library: Worker(library, case) for library in LIBRARIES}
    for worker in workers.values():
        worker.wait()
    for library, worker in workers.items():
        if worker.missing not in ("", "no such case"):
            print(f"  {library}: not measured: {worker.missing}")
    there = {library: w for library, w in workers.items() if not w.missing}
    for _ in range(rounds):
        for worker in there.values():
            worker.turn()
    for worker in workers.values():
        worker.stop()
    return {library: statistics.median(w.times) for library, w in there.items()}


def report(case: str, times: dict[str, float]) -> None:
    what, bound, against = CASES[case]
    print(f"\n{case}: {what}")
    ours = times.get("fluxrs")
    for library, seconds in times.items():
        ratio = f"{ours / seconds:6.2f}" if ours and library != "fluxrs" else "      "
        print(f"  {library:14} {1e6 * seconds:9.3f} µs  {ratio}")
    others = {k: v for k, v in times.items() if k != "fluxrs" and against in (None, k)}
    if ours and others and bound:
        fastest = min(others, key=others.__getitem__)
        ratio = ours / others[fastest]
        verdict = "reached" if ratio <= bound else "not reached"
        print(f"  {ratio:.2f} of {fastest}; bound {bound}: {verdict}")


def pin() -> None:
    """Two cores, for all that this process starts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    pin()
    print("µs a step, median; then fluxrs' time over the library's")
    for case in chosen.cases or CASES:
        if case not in CASES:
            parser.error(f"no case {case!r}: {', '.join(CASES)}")
        report(case, measured(case, chosen.rounds))


if __name__ == "__main__":
    main()
