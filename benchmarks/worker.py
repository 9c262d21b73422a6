"""One library in a process of its own, taking its turns when the driver says.

    python benchmarks/worker.py LIBRARY CASE

Says `ready` (or `missing` and why) once the case is prepared and warm; then answers each line it reads with
the seconds a step took in one round.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

ROUND_SECONDS = 0.15
UNIT = {"adds": 1000}  # steps that a case can only take together


def prepared(library: str, case: str) -> Callable[[int], None] | str:
    """The case's `run`, or why there is none."""
    try:
        if library == "fluxrs":
            import ours

            makers = ours.LIBRARIES[library]
        else:
            import peers

            makers = peers.LIBRARIES[library]()
        return makers[case]() if case in makers else "no such case"
    except ImportError as e:
        return str(e).replace("\n", " ")


def timed(run: Callable[[int], None], n: int) -> float:
    begun = time.perf_counter()
    run(n)
    return time.perf_counter() - begun


def steps(run: Callable[[int], None], unit: int = 1) -> int:
    """The number of steps, a multiple of `unit`, that last about one round."""
    for _ in range(2):  # what compiles, compiles
        run(unit)
    n = unit
    while (seconds := timed(run, n)) < ROUND_SECONDS / 4:
        n *= 2
    return max(1, round(n * ROUND_SECONDS / seconds / unit)) * unit


def main(library: str, case: str) -> None:
    run = prepared(library, case)
    if isinstance(run, str):
        print(f"missing {run}", flush=True)
        return
    n = steps(run, UNIT.get(case, 1))
    print("ready", flush=True)
    for _ in sys.stdin:
        print(timed(run, n) / n, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
