"""Batches of the rows of arrays, and the thread that prepares them."""

from __future__ import annotations

import atexit
import math
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ._core import Tensor, evaluate, permutation
from .names import keywords
from .treelike import walk

# Batches that are ready while one is in use.
AHEAD = 2
_running: weakref.WeakSet[_Ahead] = weakref.WeakSet()


class Batches:
    """The result of `batches`: as often as it is iterated, the batches, in a new order if shuffled."""

    def __init__(
        self,
        arrays: Sequence[Any],
        size: int,
        shuffle: bool,
        drop_last: bool,
        seed: int | None,
        background: bool,
        to: Callable[[Any], Any] | None,
    ) -> None:
        self.arrays = [np.asarray(x) if isinstance(x, (list, tuple, range)) else x for x in arrays]
        self.size, self.shuffle, self.drop_last = size, shuffle, drop_last
        self.seed, self.background, self.to = seed, background, to
        self.epoch = 0

    def __len__(self) -> int:
        rows = len(self.arrays[0])
        return rows // self.size if self.drop_last else math.ceil(rows / self.size)

    def __iter__(self) -> Iterator[Any]:
        order = self._order()
        parts = [order[i * self.size : (i + 1) * self.size] for i in range(len(self))]
        return _ahead(self._take, parts) if self.background else map(self._take, parts)

    def _order(self) -> np.ndarray[Any, Any]:
        """The rows in the order of this epoch; the first call is the first epoch."""
        rows = len(self.arrays[0])
        self.epoch += 1
        if not self.shuffle:
            return np.arange(rows)
        if self.seed is None:
            return np.asarray(permutation(rows))
        return np.random.default_rng([self.seed, self.epoch]).permutation(rows)

    def _take(self, rows: np.ndarray[Any, Any]) -> Any:
        batch: Any = tuple(x[rows] for x in self.arrays)
        if len(batch) == 1:
            (batch,) = batch
        return batch if self.to is None else self.to(batch)

    def __repr__(self) -> str:
        return f"batches of {self.size} of {len(self.arrays[0])} samples"


@keywords
def batches(
    *arrays: Any,
    size: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    seed: int | None = None,
    background: bool = False,
    to: Callable[[Any], Any] | None = None,
) -> Batches:
    """`batches(*arrays, size, shuffle=True, drop_last=False, seed=None, background=False, to=None)`.

    For `train`: tuples of `size` rows of each array, one array by itself. The last batch may be smaller,
    unless `drop_last` leaves it out. Each iteration has a new order, that of `fluxrs.seed`, or with `seed`
    one of its own. `to` is called with each batch, as `gpu` to move it. With `background` a thread
    prepares up to two batches ahead; it ends with the loop, however that ends, and what it raises is
    raised in the loop. `size` may also be the last of the arguments, `batches(x, y, 32)`. Raises
    ValueError if the numbers of rows differ.

    >>> import numpy as np
    >>> [len(x) for x, y in batches(np.zeros((5, 3)), np.zeros(5), size=2)]
    [2, 2, 1]
    >>> [x.tolist() for x in batches(range(5), size=2, shuffle=False, drop_last=True, background=True)]
    [[0, 1], [2, 3]]
    """
    if size is None and arrays and np.ndim(arrays[-1]) == 0:
        *arrays, size = arrays  # type: ignore[assignment]
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise TypeError(f"batches: size must be a whole number, got {size!r}")
    if size < 1:  # type: ignore[operator]
        raise ValueError(f"batches: size must be >= 1, got {size}")
    if not arrays:
        raise TypeError(
            "batches takes arrays and the size of a batch, as in batches(x, y, size=32)"
        )
    for x in arrays:
        several = isinstance(x, tuple) and len({np.shape(a) for a in x if hasattr(a, "shape")}) > 1
        if not hasattr(x, "__len__") or several:
            raise TypeError(
                f"batches takes arrays whose rows are the samples, as in batches(x, y, size=32); got a {type(x).__name__}"
            )
    rows = [len(x) for x in arrays]
    if len(set(rows)) > 1:
        raise ValueError(
            f"batches: the arrays have {', '.join(map(str, rows))} rows; they must be as many"
        )
    if seed is not None and (not hasattr(seed, "__index__") or seed < 0):
        raise ValueError(f"batches: seed must be a whole number >= 0, got {seed!r}")
    if to is not None and not callable(to):
        raise TypeError(f"batches: to is called with each batch, as gpu is; got {to!r}")
    return Batches(arrays, int(size), shuffle, drop_last, seed, background, to)  # type: ignore[arg-type]


class _Ahead:
    """A thread that calls `f` with each of the items, at most `AHEAD` results before they are taken."""

    def __init__(self, f: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.room, self.stopped = threading.Semaphore(AHEAD), threading.Event()
        self.ready: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        args = (f, items, self.room, self.stopped, self.ready)
        # A daemon, since an iterator that is never dropped must not keep the interpreter from ending.
        self.thread = threading.Thread(
            target=_prepare, args=args, name="fluxrs-batches", daemon=True
        )
        _running.add(self)

    def next(self) -> tuple[bool, Any]:
        """What is next, or False and the error; with None at the end."""
        while True:
            try:
                # Without a limit Windows does not hear Ctrl-C here.
                return self.ready.get(timeout=0.2)
            except queue.Empty:
                if not self.thread.is_alive() and self.ready.empty():
                    return False, RuntimeError(
                        "batches: the thread that prepares them is gone, as it is after a fork; begin the loop anew"
                    )

    def stop(self) -> None:
        """Wait for the thread to end, which is after the batch that it prepares."""
        self.stopped.set()
        self.room.release()
        # Ctrl-C may have come while it was starting: then it cannot be joined yet, or never began.
        for _ in range(1000):
            if self.thread.is_alive() or self.thread not in threading.enumerate():
                break
            time.sleep(0.001)
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join()  # but not where the collector called from the thread itself


def _prepare(f: Any, items: Any, room: Any, stopped: Any, ready: Any) -> None:
    try:
        for item in items:
            room.acquire()
            if stopped.is_set():
                return
            result = f(item)
            evaluate([t for _, t in walk(result) if isinstance(t, Tensor)])
            ready.put((True, result))
            del result  # or it would live until the next is made
        ready.put((False, None))
    except BaseException as error:
        ready.put((False, error))


def _ahead(f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    ahead = _Ahead(f, items)
    try:
        ahead.thread.start()
        while True:
            more, result = ahead.next()
            if not more:
                if result is not None:
                    raise result
                return
            ahead.room.release()
            yield result
            del result
    finally:
        ahead.stop()


@atexit.register
def _stop_all() -> None:
    """Before the interpreter goes: a thread that still computes then would be in its way."""
    for ahead in list(_running):
        ahead.stop()
