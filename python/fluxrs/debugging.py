"""Seeing what the engine does: op by op, and over time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from . import _core

__all__ = ["debug", "profile"]


class debug:
    """`debug(on=True, *, nan=False)`: evaluate every op at its call, instead of whole computations.

    An error that depends on values, such as an index out of range, is then raised at the line
    that made it, and a slow line can be found by stepping. With `nan`, FloatingPointError is
    raised where a NaN first comes up: in the result of an op, at its call, or in a gradient, by
    `back` or `gradient`; the message names the op and its line. As a `with` statement it holds
    for the block, else until `debug(False)`.

    >>> import fluxrs
    >>> with fluxrs.debug(nan=True):
    ...     fluxrs.log(fluxrs.tensor(-1.0))
    Traceback (most recent call last):
    FloatingPointError: log: the result, of shape (), holds a NaN (made at ...)
    """

    def __init__(self, on: bool = True, *, nan: bool = False) -> None:
        self._before = _core._debug(on, on and nan)

    def __enter__(self) -> debug:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _core._debug(*self._before)


@contextmanager
def profile(path: str | os.PathLike[str] = "fluxrs-trace.json") -> Iterator[None]:
    """`with profile("trace.json"): …` writes what ran, kernel by kernel, as a Chrome trace.

    The file opens in ui.perfetto.dev, chrome://tracing and Speedscope. Times are microseconds.

    >>> import fluxrs, json, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "trace.json")
    >>> with fluxrs.profile(path):
    ...     _ = float(fluxrs.rand(100).sum())
    >>> {"gather and look up", "run"} <= {e["name"] for e in json.load(open(path))["traceEvents"]}
    True
    """
    path = os.fspath(path)
    _core._profile_start()
    try:
        yield
    finally:
        spans = _core._profile_stop()
        # A row for each kind of work: viewers want rows to have numbers, and names beside.
        rows = {category: row for row, category in enumerate(dict.fromkeys(s[1] for s in spans))}
        at = {"pid": os.getpid()}
        events: list[dict[str, Any]] = [
            {"name": "thread_name", "ph": "M", **at, "tid": row, "args": {"name": category}}
            for category, row in rows.items()
        ]
        events += [
            {
                "name": name,
                "cat": category,
                "ph": "X",
                "ts": start / 1000,
                "dur": length / 1000,
                **at,
                "tid": rows[category],
            }
            for name, category, start, length in spans
        ]
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ns"}, file)
