"""Tables in text: a row a line, its cells divided by commas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 1 << 26  # bytes


def text(path: Path, encoding: str = "utf-8") -> str:
    """A text file of bounded size."""
    if path.stat().st_size > MOST:
        raise ValueError(f"{path} has more than {MOST} bytes")
    data = path.read_bytes()
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in {encoding}: {error}") from error


def rows(path: Path, cells: int, parse: Callable[[list[str]], Any], wanted: str) -> list[Any]:
    """The rows as `parse` makes them of their cells; empty lines are none."""
    out = []
    for number, line in enumerate(text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = line.split(",")
            if len(found) != cells:
                raise ValueError
            out.append(parse(found))
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: wanted is {wanted}, got {line[:80]!r}"
            ) from None
    if not out:
        raise ValueError(f"{path} is empty")
    return out
