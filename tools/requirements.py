"""Print what pyproject.toml asks for: the dependencies and the extras named, one requirement a line.

pip can install a project's extras only by building the project; this lets the two happen apart.
Reads the two tables by their shape, because Python 3.10 has no TOML reader.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TEXT = Path(__file__).resolve().parent.parent.joinpath("pyproject.toml").read_text("utf-8")


def listed(name: str) -> list[str]:
    """The strings of the array `name = […]`."""
    found = re.search(rf"^{name} = \[((?:\"[^\"]*\"|[^\"\]])*)\]", TEXT, re.MULTILINE)
    if not found:
        sys.exit(f"pyproject.toml has no list named {name!r}")
    return re.findall(r'"([^"]*)"', found[1])


def expanded(name: str) -> list[str]:
    """The same, with `fluxrs[extra]` replaced by what that extra lists."""
    out = []
    for requirement in listed(name):
        own = re.fullmatch(r"fluxrs\[(\w+)\]", requirement)
        out += expanded(own[1]) if own else [requirement]
    return out


if __name__ == "__main__":
    wanted = [r for name in ("dependencies", *sys.argv[1:]) for r in expanded(name)]
    print("\n".join(dict.fromkeys(wanted)))
