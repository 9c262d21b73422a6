"""Connectionist temporal classification: labels without knowing when each is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import (
    DimensionMismatch,
    Tensor,
    concatenate,
    cpu,
    logaddexp,
    logsoftmax,
    maximum,
    take_along_axis,
    where,
)
from ..onehot import tensor_of
from ..scanning import scan
from ..typing import ArrayLike

# The logarithm of a probability that is as good as 0. Unlike −∞ it has slopes of every order.
NEVER = -1e30


def ctc(
    logits: ArrayLike,
    labels: ArrayLike | Sequence[Sequence[int]],
    *,
    lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int = -1,
) -> Tensor:
    """`ctc(logits, labels, lengths=None, label_lengths=None, blank=-1)`: −Σ log p(labels) / N.

    `logits` are (time, N, classes), or (time, classes) of one sample; p(labels) is the sum over all paths that
    give the labels once repetitions are joined and blanks left out. `labels` are N sequences of integers, or an
    array (N, L) of which `label_lengths` counts; `lengths` counts the steps of each sample. `blank` is the
    class of no label, by default the last. Raises DimensionMismatch for shapes that do not fit, ValueError for a
    label that is no class, or that are more than the steps have room for.
    Source: Graves, Fernández, Gomez and Schmidhuber, ICML 2006.

    >>> import fluxrs
    >>> round(float(ctc(fluxrs.zeros(2, 3), [0])), 4)
    1.0986
    """
    x = tensor_of(logits)
    single = x.ndim == 2
    if single:
        x, labels = x.reshape(x.shape[0], 1, x.shape[1]), [labels]
        lengths, label_lengths = (None if n is None else [n] for n in (lengths, label_lengths))
    if x.ndim != 3 or x.shape[2] < 1:
        raise DimensionMismatch(
            f"ctc: logits are (time, N, classes) or (time, classes), got shape {x.shape}"
        )
    steps, n, classes = x.shape
    if not -classes <= blank < classes:
        raise ValueError(f"ctc: the blank {blank} is none of the {classes} classes")
    blank %= classes
    sequences = _sequences(labels, label_lengths, n)
    times = _counts("lengths", lengths, n, steps)
    _check(sequences, times, classes, blank)

    width = max((len(s) for s in sequences), default=0)
    states = np.full((n, 2 * width + 1), blank)  # blank, label, blank, …, label, blank
    for row, s in zip(states, sequences, strict=True):
        row[1 : 2 * len(s) : 2] = s
    # Two states on, past a blank, unless that would join a label repeated.
    skips = np.zeros(states.shape, dtype=bool)
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    ends = np.array([2 * len(s) for s in sequences]).reshape(n, 1)

    def there(a: Any) -> Tensor:
        return tensor_of(np.asarray(a), x)

    logp = maximum(take_along_axis(logsoftmax(x), there(states[None]), -1), NEVER)
    total = _forward(logp, there(skips), there(np.arange(steps).reshape(-1, 1, 1) < times), there)
    last = take_along_axis(total, there(ends), -1)
    before = take_along_axis(total, there(np.maximum(ends - 1, 0)), -1)
    both = where(there(ends == 0), last, logaddexp(last, before))
    likelihood = where(both < NEVER / 2, -np.inf, both)
    return -_core.sum(likelihood) / max(n, 1)


def _forward(logp: Tensor, skips: Tensor, alive: Tensor, there: Any) -> Tensor:
    """log Σ p over the paths that are in each state at the end of each sample: (N, states)."""
    _, n, states = logp.shape
    start = np.full((n, states + 2), NEVER, dtype=logp.dtype)
    start[:, 2] = 0  # before the first step, from where the first two states are reached
    wall: Tensor = there(start[:, :2])
    α: Tensor = there(start[:, 2:])

    def step(α: Tensor, row: Any) -> tuple[Tensor, None]:
        emitted, going = row
        one = concatenate([wall[:, :1], α], axis=1)[:, :-1]
        two = where(skips, concatenate([wall, α], axis=1)[:, :-2], NEVER)
        return where(going, logaddexp(logaddexp(α, one), two) + emitted, α), None

    end: Tensor = scan(step, α, (logp, alive))[0]
    return end


def _sequences(labels: Any, counts: Any, n: int) -> list[np.ndarray[Any, Any]]:
    """The labels of each sample."""
    if isinstance(labels, (Tensor, np.ndarray)):
        rows = [*_host(labels)]
    else:
        rows = [np.asarray(row, dtype=None if len(row) else "int64") for row in labels]
    if len(rows) != n:
        raise DimensionMismatch(f"ctc: labels of {len(rows)} samples for logits of {n}")
    if any(row.ndim != 1 or row.dtype.kind not in "iu" for row in rows):
        raise TypeError("ctc: the labels of a sample are a sequence of integers")
    if counts is None:
        return rows
    width = max((len(row) for row in rows), default=0)
    known = _counts("label_lengths", counts, n, width).ravel()
    return [row[:k] for row, k in zip(rows, known, strict=True)]


def _host(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(cpu(x) if isinstance(x, Tensor) else x)


def _counts(name: str, given: Any, n: int, most: int) -> np.ndarray[Any, Any]:
    """A number for each sample, as a column."""
    if given is None:
        return np.full((n, 1), most)
    counts = _host(given)
    if counts.shape != (n,) or (n and counts.dtype.kind not in "iu"):
        raise DimensionMismatch(f"ctc: {name} are {n} integers, got {given!r}")
    if ((counts < 0) | (counts > most)).any():
        raise ValueError(f"ctc: {name} are between 0 and {most}, got {counts.tolist()}")
    return counts.reshape(n, 1)


def _check(sequences: list[Any], times: np.ndarray[Any, Any], classes: int, blank: int) -> None:
    """Labels that are classes, and steps for all of them: equal neighbours need a blank between."""
    for i, (s, time) in enumerate(zip(sequences, times[:, 0], strict=True)):
        wrong = s[(s < 0) | (s >= classes) | (s == blank)]
        if wrong.size:
            raise ValueError(
                f"ctc: the label {wrong[0]} of sample {i} is no class from 0 to {classes - 1} but the blank, {blank}"
            )
        needed = len(s) + int((s[1:] == s[:-1]).sum())
        if needed > time:
            raise ValueError(
                f"ctc: the {len(s)} labels of sample {i} need {needed} steps, and it has {time}"
            )
