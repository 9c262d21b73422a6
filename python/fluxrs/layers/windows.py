"""The windows of convolutions and pools: lengths and margins for each spatial axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Pad = int | str | Sequence[int] | Sequence[Sequence[int]]


def lengths(name: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """A number for every spatial axis, given as one for all or as one each; `name` is for the error.

    >>> lengths("MaxPool: stride", 2, 3)
    (2, 2, 2)
    """
    given = tuple(value) if isinstance(value, (list, tuple)) else (value,) * axes
    if len(given) != axes or not all(map(_is_whole, given)):
        numbers = "one number" if axes == 1 else f"one number or {axes} of them"
        raise TypeError(f"{name} is {numbers}, got {value!r}")
    if min(given, default=least) < least:
        raise ValueError(f"{name} must be >= {least}, got {value!r}")
    return tuple(map(int, given))


def margins(
    name: str, pad: Any, kernel: Sequence[int], dilation: Sequence[int] | int = 1
) -> tuple[tuple[int, int], ...]:
    """What a pad adds before and after every spatial axis.

    `pad` is a number for all sides, one for each axis, or a pair (before, after) for each; or
    "same", with which a stride of 1 keeps the lengths: of an odd margin the larger part is behind.

    >>> margins("Conv: pad", (1, 0), (3, 3))
    ((1, 1), (0, 0))
    >>> margins("Conv: pad", "same", (2, 3))
    ((0, 1), (1, 1))
    """
    axes = len(kernel)
    if isinstance(pad, str):
        if pad != "same":
            raise ValueError(
                f'{name} is "same", a number, one an axis or a pair an axis, got {pad!r}'
            )
        wide = lengths(name, dilation, axes)
        whole = [d * (k - 1) for d, k in zip(wide, kernel, strict=True)]
        return tuple((n // 2, n - n // 2) for n in whole)
    sides = list(pad) if isinstance(pad, (list, tuple)) else [pad] * axes
    pairs = [s if isinstance(s, (list, tuple)) else (s, s) for s in sides]
    if len(pairs) != axes or any(len(p) != 2 or not all(map(_is_whole, p)) for p in pairs):
        raise TypeError(
            f'{name} is "same", a number, {axes} of them or {axes} pairs (before, after), got {pad!r}'
        )
    if any(n < 0 for pair in pairs for n in pair):
        raise ValueError(f"{name} must be >= 0, got {pad!r}")
    return tuple((int(before), int(after)) for before, after in pairs)


def _is_whole(n: Any) -> bool:
    return hasattr(n, "__index__") and not isinstance(n, bool)
