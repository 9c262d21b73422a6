"""Products of float32 matrices beside PyTorch's, in alternating rounds on two threads.

    python benchmarks/products.py [--rounds N] [--libraries NAME,NAME] [CASE …]

A case is m×k×n; `256tx2048x1024` has A stored transposed, `2048x1024x256t` B. A library `name=FOLDER` is the fluxrs in
that folder, to compare two of them.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

THREADS = dict.fromkeys(
    ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2"
)
SECONDS = 0.02  # of a case in one round, or one product
REST = 0.2  # after NumPy's turn: OpenBLAS's threads are busy waiting for that long

CASES = {
    "square": "256x256x256 512x512x512 1024x1024x1024 2048x2048x2048",
    "transformer": "2048x256x256 2048x256x768 2048x256x1024 2048x1024x256",
    "its gradients by weights, Aᵀ·B": "256tx2048x256 256tx2048x768 256tx2048x1024 1024tx2048x256",
    "its gradients by inputs, A·Bᵀ": "2048x256x256t 2048x768x256t 2048x1024x256t 2048x256x1024t",
    "dense": "256x784x1024 256x1024x1024 784tx256x1024 1024tx256x1024 256x1024x1024t",
    "LSTM": "1600x96x512 32x128x512 32x512x128t 512tx1600x128 512tx1600x96",
    "small": "64x784x32 64x784x32t 784tx64x32 32tx64x784 256x1024x10",
}


def sizes(case: str) -> tuple[int, int, int, bool, bool]:
    """m, k, n, and whether A and B are stored transposed."""
    found = re.fullmatch(r"(\d+)(t?)x(\d+)x(\d+)(t?)", case)
    if not found:
        sys.exit(f"no case {case!r}: write 256x1024x1024, 256tx2048x1024 or 2048x256x1024t")
    m, at, k, n, bt = found.groups()
    return int(m), int(k), int(n), bool(at), bool(bt)


def prepared(library: str, case: str) -> Callable[[], object]:
    """One product, materialised; peers write to memory that they were given."""
    import numpy as np

    m, k, n, at, bt = sizes(case)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if at else (m, k), dtype=np.float32)
    b = rng.standard_normal((n, k) if bt else (k, n), dtype=np.float32)
    if library == "numpy":
        c = np.empty((m, n), np.float32)
        x, y = a.T if at else a, b.T if bt else b
        return lambda: np.matmul(x, y, out=c)
    if library == "torch":
        import torch

        torch.set_num_threads(2)
        to, tx, ty = torch.empty(m, n), torch.from_numpy(a), torch.from_numpy(b)
        tx, ty = tx.T if at else tx, ty.T if bt else ty
        return lambda: torch.mm(tx, ty, out=to)
    import fluxrs

    fx, fy = fluxrs.tensor(a), fluxrs.tensor(b)

    def ours() -> None:
        fluxrs.evaluate((fx.T if at else fx) @ (fy.T if bt else fy))

    return ours


def answer(library: str) -> None:
    """Reads cases and says what a product took."""
    if "=" in library:
        sys.path.insert(0, library.partition("=")[2])
    runs: dict[str, tuple[Callable[[], object], int]] = {}
    for line in sys.stdin:
        case = line.strip()
        if case not in runs:
            run = prepared(library, case)
            for _ in range(3):
                run()
            begun = time.perf_counter()
            run()
            runs[case] = run, max(1, round(SECONDS / (time.perf_counter() - begun)))
        run, n = runs[case]
        run()
        begun = time.perf_counter()
        for _ in range(n):
            run()
        print((time.perf_counter() - begun) / n, flush=True)


def measured(libraries: list[str], cases: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of each case in each library."""
    workers = {
        library: subprocess.Popen(
            [sys.executable, __file__, "--answer", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **THREADS},
        )
        for library in libraries
    }
    times: dict[str, dict[str, float]] = {}
    for case in cases:
        rows: dict[str, list[float]] = {library: [] for library in libraries}
        for _ in range(rounds):
            for library, worker in workers.items():
                assert worker.stdin is not None
                assert worker.stdout is not None
                print(case, file=worker.stdin, flush=True)
                rows[library].append(float(worker.stdout.readline()))
                if library == "numpy":
                    time.sleep(REST)
        times[case] = {library: statistics.median(row) for library, row in rows.items()}
    for worker in workers.values():
        worker.communicate()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="or a group: " + ", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--libraries", default="fluxrs,torch")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.answer:
        return answer(chosen.answer)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    libraries: list[str] = chosen.libraries.split(",")
    groups = {name: CASES[name].split() for name in CASES}
    cases = [c for name in chosen.cases or CASES for c in groups.get(name, [name])]
    times = measured(libraries, cases, chosen.rounds)
    names = [library.partition("=")[0] for library in libraries]
    print("GF/s, median; then the first library's time over the fastest other's")
    print(f"{'':18}" + "".join(f"{name:>10}" for name in names))
    ratios = []
    for case in cases:
        m, k, n, *_ = sizes(case)
        ratios.append(times[case][libraries[0]] / min(times[case][x] for x in libraries[1:]))
        rates = "".join(f"{2e-9 * m * k * n / s:10.1f}" for s in times[case].values())
        print(f"{case:18}{rates}{ratios[-1]:8.2f}")
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"{'geometric mean':18}{'':{10 * len(names)}}{mean:8.2f}")
    return None


if __name__ == "__main__":
    main()
