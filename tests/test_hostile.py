"""What is public, given hostile values in every place, ends in a value or in a documented exception, and works afterwards."""

import os
import subprocess
import sys

import pytest

from hostile import SLOWER

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")

PARTS = 2
SECONDS = int(os.environ.get("FLUXRS_FUZZ_SECONDS", 0)) // PARTS


@pytest.mark.parametrize("part", range(PARTS))
def test_hostile_values(part, tmp_path):
    seed = int.from_bytes(os.urandom(4), "little") if SECONDS else 1
    under_way = tmp_path / "call"
    arguments = [str(x) for x in (seed, part, PARTS, SECONDS, under_way)]
    program = os.path.join(os.path.dirname(__file__), "hostile.py")
    child = subprocess.run(
        [sys.executable, program, *arguments],
        capture_output=True,
        text=True,
        timeout=(120 + 2 * SECONDS) * SLOWER,
    )
    told = (
        f"seed {seed}, part {part}: ended by {child.returncode} in {under_way.read_text().strip()}"
    )
    found = [line for line in child.stdout.splitlines() if line.startswith("FOUND")]
    assert not found, "\n".join([told, *found])
    assert child.stdout.rstrip().rpartition("\n")[2].startswith("DONE"), told + child.stderr[-2000:]
