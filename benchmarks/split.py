"""Where the page's step goes: Python, building the graph, looking up its plan, kernels.

    python benchmarks/split.py [PATH OF THE page_step EXAMPLE]

The spans of `fluxrs.profile` say what looking up and running take, and Rust's `page_step` (the same step
without Python) what building the graph takes. Python is what is left of the whole step.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fluxrs
from ours import page

STEPS = 2000
ROUNDS = 15


def whole() -> float:
    """Microseconds of a step, called from Python without a profiler."""
    run = page()
    run(STEPS)
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        run(STEPS)
        rounds.append((time.perf_counter() - begun) / STEPS)
    return 1e6 * statistics.median(rounds)


def spans() -> dict[str, float]:
    """Microseconds a step of each category of the engine's spans."""
    run = page()
    run(STEPS)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        with fluxrs.profile(str(trace)):
            run(STEPS)
        events = json.loads(trace.read_text("utf-8"))["traceEvents"]
    sums: dict[str, float] = {}
    for event in events:
        if event.get("ph") == "X":
            sums[event["cat"]] = sums.get(event["cat"], 0.0) + event["dur"]
    return {category: total / STEPS for category, total in sums.items()}


def building(example: str) -> float:
    said = subprocess.run([example], capture_output=True, text=True, check=True).stdout
    return float(dict(line.split() for line in said.splitlines())["graph"]) / 1e3


def main() -> None:
    total, engine = whole(), spans()
    look_up, run, kernels = (engine.get(name, 0.0) for name in ("plan", "run", "kernel"))
    rest = total - look_up - run
    rows = {}
    if len(sys.argv) > 1:
        rows["building the graph"] = building(sys.argv[1])
        rows["Python and bindings"] = rest - rows["building the graph"]
    else:
        rows["Python, bindings and building the graph"] = rest
    rows["plan: gathering, key, look-up"] = look_up
    rows["run: binding buffers, committing"] = run - kernels
    rows["kernels"] = kernels
    print(f"the page's step: {total:.2f} µs")
    for name, µs in rows.items():
        print(f"  {name:42} {µs:6.2f} µs  {µs / total:5.0%}")


if __name__ == "__main__":
    main()
