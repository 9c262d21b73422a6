"""Install the wheel of a folder into a scratch environment; print its size and its import time.

    python tools/wheel.py dist

The time is what `import fluxrs` adds to `import numpy`: the median of fresh interpreters. The size is a
bound (the exit status is 1 past it); the time is printed beside its own and judged by the reader, since a
busy machine says nothing about the wheel.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

MEGABYTES = 15
MILLISECONDS = 50
ROUNDS = 15

TIMED = """
import time, numpy
begun = time.perf_counter()
import fluxrs
print(time.perf_counter() - begun)
"""


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def import_time(wheel: Path) -> float:
    """Milliseconds that the installed wheel's import takes once NumPy is there."""
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        python = Path(scratch) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel)
        # -P or its like is not in Python 3.10: from the scratch folder, no checkout is in the way.
        rounds = [
            subprocess.run(
                [python, "-c", TIMED], cwd=scratch, capture_output=True, text=True, check=True
            )
            for _ in range(ROUNDS + 1)
        ]
    # The first round reads the files from disk and writes the byte code.
    return 1e3 * statistics.median(float(r.stdout) for r in rounds[1:])


def main(folder: str) -> None:
    wheels = sorted(Path(folder).glob("fluxrs-*.whl"))
    if len(wheels) != 1:
        sys.exit(f"{folder}: expected one wheel, found {[w.name for w in wheels]}")
    (wheel,) = wheels
    with zipfile.ZipFile(wheel) as content:
        names = {Path(name).name for name in content.namelist()}
    missing = {"LICENSE", "THIRD-PARTY-LICENSES"} - names
    if missing:
        sys.exit(f"{wheel} lacks {', '.join(sorted(missing))}")
    size = wheel.stat().st_size / 1e6
    print(wheel)
    print(f"size         {size:6.2f} MB  (bound {MEGABYTES} MB)", flush=True)
    print(f"import time  {import_time(wheel):6.1f} ms  beyond NumPy's (bound {MILLISECONDS} ms)")
    if size >= MEGABYTES:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
