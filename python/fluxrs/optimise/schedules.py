"""Learning rates that change: functions of the number of steps taken, and their callback."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .step import Optimiser

Schedule = Callable[[int], float]


def exponential(η: float, factor: float, every: int = 1) -> Schedule:
    """`exponential(η, factor, every=1)`: η · factor^⌊t / every⌋.

    >>> exponential(0.1, 0.5, every=10)(25)
    0.025
    """
    _check_count("exponential", "every", every)
    return lambda t: η * factor ** (t // every)


def cosine(η: float, steps: int, end: float = 0.0) -> Schedule:
    """`cosine(η, steps, end=0)`: half a cosine from η down to `end`. Source: arXiv 1608.03983.

    >>> cosine(0.1, 100)(50)
    0.05
    """
    _check_count("cosine", "steps", steps)

    def rate(t: int) -> float:
        return end + (η - end) * (1 + math.cos(math.pi * min(t / steps, 1))) / 2

    return rate


def warmup(steps: int, schedule: Schedule) -> Schedule:
    """`warmup(steps, schedule)`: up to the schedule's first rate in `steps` steps, then along it.

    The first step has 1/steps of that rate, step number `steps` all of it.

    >>> warmup(10, cosine(0.1, 100))(4)
    0.05
    """
    return lambda t: schedule(0) * (t + 1) / steps if t < steps else schedule(t - steps)


def _check_count(schedule: str, name: str, n: Any) -> None:
    if not n > 0:
        raise ValueError(f"{schedule}: {name} must be a number of steps above 0, got {n!r}")


def anneal(opt: Optimiser, schedule: Schedule) -> Callable[[], None]:
    """`anneal(opt, schedule)`: a callback for `train` that sets `opt.η` after every step.

    The rate of the first step is set at once.

    >>> import fluxrs
    >>> opt = fluxrs.SGD(fluxrs.params(fluxrs.Dense(2, 1)))
    >>> callback = anneal(opt, cosine(0.2, 100))
    >>> opt.η
    0.2
    """
    if not isinstance(opt, Optimiser) or not callable(schedule):
        raise TypeError(
            f"anneal takes an optimiser and a schedule, as in anneal(opt, cosine(0.1, 1000)); got {opt!r} and {schedule!r}"
        )

    def callback() -> None:
        opt.η = schedule(opt.t)

    callback()
    return callback
