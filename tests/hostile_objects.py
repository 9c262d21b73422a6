"""Objects that raise, lie, change what is read, or come back into the library, in each special method."""

from __future__ import annotations

import contextlib
import gc
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fluxrs
from fluxrs import SGD, Params, Tensor, back, param

Make = Callable[[], Any]


Make = Callable[[], Any]


class Hostile(Exception):
    """What a hostile object raises; no part of fluxrs may make another error of it than a documented one."""


NAMES = ["float", "int", "index", "complex", "array", "len", "iter", "next", "getitem", "bool", "eq", "hash", "repr", "str", "call", "contains", "enter", "dlpack", "dlpack_device", "array_interface", "array_struct", "array_function", "array_ufunc", "array_priority", "buffer", "fspath", "setitem", "getattr", "round", "length_hint", "add", "radd", "mul", "rmul", "matmul", "rmatmul", "pow", "neg", "lt", "class", "reduce_ex", "copy", "deepcopy", "missing", "keys"]  # fmt: skip


def raises(*_: Any, **__: Any) -> Any:
    raise Hostile("raised by a hostile object")


def with_method(method: str, act: Callable[..., Any], *bases: type) -> type:
    """A class whose special method `method` is `act`."""
    if method == "getitem" and act is not raises:
        act = until_five(act)
    if method == "next" and act is not raises:
        return type("Hasnext", bases, {"__next__": five_times(act), "__iter__": lambda self: self})
    name = f"__{method}__"
    if method == "keys":
        name = "keys"
    if method in ("array_interface", "array_struct", "class", "array_priority"):
        return type(f"Has{method}", bases, {name: property(act)})
    if method in ("eq", "lt"):
        return type(f"Has{method}", bases, {name: act, "__hash__": lambda self: 1})
    return type(f"Has{method}", bases, {name: act})


def five_times(act: Callable[..., Any]) -> Callable[..., Any]:
    """A `__next__` of five items."""

    def next_of(self: Any) -> Any:
        self.n = getattr(self, "n", 0) + 1
        if self.n > 5:
            raise StopIteration
        return act(self)

    return next_of


class World:
    """Things that re-entering objects work on."""

    def __init__(self) -> None:
        self.p = param(np.ones((2, 3), "float32"))
        self.opt = SGD([self.p], 1e-3)
        self.seen: list[Any] = []
        self.left = 0


def reenter(world: World, how: int) -> None:
    p = world.p
    # NumPy asks some attributes very often.
    world.left -= 1
    if world.left < 0:
        return
    if how == 0:
        fluxrs.evaluate(p * 2)
    elif how == 1:
        fluxrs.update(p, 1e-3)
    elif how == 2:
        back((p * p).sum())
        world.opt()
    elif how == 3:
        gc.collect()
    elif how == 4:
        other = threading.Thread(target=lambda: float((p * 2).sum()))
        other.start()
        other.join()
    elif how == 5:
        fluxrs.gradient(lambda: (p * 3).sum(), Params([p]))
    elif how == 6:
        with fluxrs.no_grad():
            np.asarray(p + 1)
    elif how == 7:
        for x in world.seen:
            if isinstance(x, (list, dict)):
                x.clear()
            elif isinstance(x, np.ndarray) and x.flags.writeable and x.flags.owndata:
                with contextlib.suppress(ValueError):
                    x.resize((0,), refcheck=False)
    elif how == 8:
        for x in world.seen:
            if isinstance(x, list) and len(x) < 50:
                x.extend([1.0, "a", None])
            elif isinstance(x, dict):
                x[len(x)] = object()
    else:
        fluxrs.seed(3)


# What a method would honestly return.
HONEST: dict[str, Any] = {
    "float": 1.0, "int": 1, "index": 1, "complex": 1j, "len": 3, "next": 1.0, "getitem": 1.0, "bool": True, "eq": True,
    "hash": 1, "repr": "r", "str": "s", "call": 1.0, "contains": True, "fspath": "f", "round": 1, "length_hint": 3, "lt": True,
}  # fmt: skip


def answer(method: str) -> Any:
    if method == "array":
        return np.ones((2, 3), "float32")
    if method == "iter":
        return iter([1.0, 2.0, 3.0])
    if method == "getitem":
        return 1.0
    return HONEST.get(method, NotImplemented)


def until_five(act: Callable[..., Any]) -> Callable[..., Any]:
    """A `__getitem__` by which iteration ends."""

    def getitem(self: Any, i: Any) -> Any:
        if isinstance(i, int) and i >= 5:
            raise IndexError
        return act(self, i)

    return getitem


LIES: dict[str, list[Any]] = {
    "float": ["a", None, 10**400, math.nan],
    "int": ["a", 10**400],
    "index": ["a", None, -1, 10**400, 2**62, True, 1.0],
    "len": [-1, 10**400, 2**62, "a", None, 0],
    "bool": ["a", None, 2],
    "hash": ["a", 10**400, None],
    "repr": [None, 3, "x" * 10**6, "\ud800"],
    "str": [None, "\ud800"],
    "eq": [NotImplemented, None, "a", np.array([True, False])],
    "array": [None, "a", 3, [1.0], np.array(["a"]), np.array([object()]), np.ones((0, 3)), np.array(1.0), np.ones(10**5)[::1000]],
    "iter": [None, 3, [1.0], iter([]), iter([None]), iter(["a", 1])],
    "getitem": [None, "a", object()],
    "array_interface": [None, 3, {}, {"shape": (2, 3)}, {"shape": (-1,), "typestr": "<f4", "data": (0, False), "version": 3}],
    "dlpack": [None, 3, object()],
    "fspath": [None, 3, b"f", "f\0f", "", "/nowhere/at/all"],
    "call": [None, (), "a", 3, [], np.ones(3), object()],
    "getattr": [None, 3, "a"],
    "length_hint": [-1, 10**400, "a"],
    "reduce_ex": [None, 3, (), (3,)],
    "copy": [None],
    "array_ufunc": [None, 3],
    "array_function": [None, 3],
    "keys": [None, 3, ["a"], [3]],
}  # fmt: skip


class Longer(list):  # type: ignore[type-arg]
    """A list that says 3 and yields 5."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter([1.0, 2.0, 3.0, 4.0, 5.0])

    def __getitem__(self, i: Any) -> Any:
        return 7.0


class Counts:
    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter([1.0, 2.0, 3.0, 4.0, 5.0])

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, int) and i < 5:
            return float(i)
        raise IndexError


class Endless:
    """The sequence of NumPy's nightmares, by the old protocol, up to a bound."""

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, int) and i < 1000:
            return self if i < 2 else 1.0
        raise IndexError


class OfTensor(Tensor):
    shape = (7, 7)  # type: ignore[assignment]
    dtype = "float16"  # type: ignore[assignment]

    def __len__(self) -> int:
        return 9

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Hostile


def objects(world: World) -> list[tuple[str, Make]]:
    out: list[tuple[str, Make]] = []
    for method in NAMES:
        cls = with_method(method, raises)
        out.append((f"raises in {method}", cls))
        for base in (list, tuple, dict, float, int, str):
            if method in (
                "float",
                "index",
                "len",
                "iter",
                "getitem",
                "bool",
                "eq",
                "hash",
                "repr",
                "add",
                "keys",
                "lt",
            ):
                out.append(
                    (f"{base.__name__} that raises in {method}", with_method(method, raises, base))
                )
        for k, lie in enumerate(LIES.get(method, ())):
            out.append(
                (
                    f"lies in {method} ({k})",
                    with_method(method, lambda self, *_, lie=lie, **__: lie),
                )
            )
        for how in range(10):

            def act(self: Any, *_: Any, how: int = how, method: str = method, **__: Any) -> Any:
                reenter(world, how)
                return answer(method)

            cls = with_method(method, act)
            out.append((f"comes back by {how} in {method}", cls))
            if method in ("float", "index", "array", "iter", "len", "getitem"):

                def among(cls: type = cls) -> Any:
                    xs = [1.0, cls(), 2.0, 3.0]
                    world.seen = [xs]
                    return xs

                out.append((f"a list with what comes back by {how} in {method}", among))
    return out
