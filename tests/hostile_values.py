"""Arrays, numbers and other things that a function may not expect, and honest values that it may."""

from __future__ import annotations

import math
import os
import threading
import types
from typing import Any

import numpy as np

import fluxrs
from fluxrs import ADAM, SGD, Chain, Dense, Params, Tensor, param, tensor
from hostile_objects import Counts, Endless, Hostile, Longer, Make, OfTensor, World, raises


def overlapping() -> Any:
    return np.lib.stride_tricks.as_strided(np.arange(9.0, dtype="float32"), (4, 4), (4, 4))


def read_only() -> Any:
    x = np.arange(6.0).reshape(2, 3)
    x.flags.writeable = False
    return x


def circular() -> Any:
    xs: list[Any] = [1.0]
    xs.append(xs)
    return xs


def out_of_range() -> Any:
    return fluxrs.take(tensor([1.0, 2.0]), tensor([7], dtype="int64") + 0, axis=0)


def singular() -> Any:
    return fluxrs.inv(fluxrs.zeros(2, 2) + 0)


def bad_loss() -> Any:
    return (param([1.0, 2.0]) * math.inf).sum()


ARRAYS: dict[str, Make] = {
    "a masked array": lambda: np.ma.masked_array(np.ones((2, 3)), mask=[[0, 1, 0]] * 2),
    "a matrix": lambda: np.matrix([[1.0, 2, 3], [4, 5, 6]]),
    "a recarray": lambda: np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
    "a structured array": lambda: np.zeros(3, dtype=[("a", "i4"), ("b", "f4")]),
    "an array of objects": lambda: np.array([1.0, None, object()], dtype=object),
    "an array of numbers as objects": lambda: np.array([1.0, 2, 3], dtype=object),
    "dates": lambda: np.array(["2020-01-01"], "datetime64[D]"),
    "times": lambda: np.array([3], "timedelta64[s]"),
    "float16": lambda: np.ones((2, 3), "float16"),
    "longdouble": lambda: np.ones((2, 3), "longdouble"),
    "complex": lambda: np.ones((2, 3), "complex64"),
    "big-endian": lambda: np.ones((2, 3), ">f4"),
    "big-endian integers": lambda: np.ones(3, ">i8"),
    "uint64": lambda: np.full(3, 2**64 - 1, "uint64"),
    "int8": lambda: np.ones(3, "int8"),
    "strides of zero": lambda: np.broadcast_to(np.float32(1), (2, 3)),
    "very many axes": lambda: np.ones((1,) * 32),
    "an enormous broadcast": lambda: np.broadcast_to(np.float32(1), (2**40, 2**20)),
    "a length of zero beside an enormous one": lambda: np.broadcast_to(np.float32(1), (0, 2**60)),
    "negative strides": lambda: np.arange(6.0, dtype="float32").reshape(2, 3)[::-1, ::-1],
    "read-only": read_only,
    "overlapping": overlapping,
    "not aligned": lambda: np.frombuffer(b"\0" * 25, "uint8")[1:].view("float32"),
    "bools of other bytes": lambda: np.array([0, 1, 7], "uint8").view(bool),
    "bytes": lambda: np.array([b"ab"]),
    "text": lambda: np.array(["ab"]),
    "nothing": lambda: np.zeros((0, 3), "float32"),
    "a number": lambda: np.array(3.0),
    "float16's number": lambda: np.float16(3),
    "longdouble's number": lambda: np.longdouble(3),
    "complex number": lambda: np.complex128(3),
    "a date": lambda: np.datetime64("2020-01-01"),
    "no time": lambda: np.timedelta64("NaT"),
    "void": lambda: np.void(b"ab"),
    "uint64's number": lambda: np.uint64(2**64 - 1),
    "bool's number": lambda: np.bool_(True),
    "NaN and infinity": lambda: np.array([math.nan, math.inf, -math.inf], "float32"),
    "a subclass": lambda: np.ones((2, 3)).view(type("Sub", (np.ndarray,), {})),
    "a hostile subclass": lambda: np.ones((2, 3)).view(type("Sub", (np.ndarray,), {"__array_finalize__": raises_later})),
    "a memoryview": lambda: memoryview(np.ones(3)),
    "a bytearray": lambda: bytearray(b"abc"),
    "an iterator of NumPy's": lambda: np.nditer(np.ones(3)),
}  # fmt: skip


def raises_later(self: Any, other: Any) -> None:
    if getattr(other, "ndim", 0) == 1:
        raise Hostile


NUMBERS: list[Any] = [
    10**400, -(10**400), 2**63, 2**63 - 1, -(2**63), 2**62, 2**61 + 1, 2**32, 2**31, -1, 0, -0.0, math.nan, math.inf, -math.inf,
    1e308, 5e-324, 2**53 + 1, 1j, True, False, 1.5, 10**20, -(2**31) - 1,
]  # fmt: skip

OTHERS: dict[str, Make] = {
    "None": lambda: None,
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "bytes": lambda: b"ab",
    "text": lambda: "ab",
    "a broken text": lambda: "\ud800",
    "NUL": lambda: "a\0b",
    "empty text": lambda: "",
    "a long text": lambda: "i" * 100_000,
    "a set": lambda: {1.0, 2.0},
    "a frozenset": lambda: frozenset("ab"),
    "a generator": lambda: (x for x in (1.0, 2.0)),
    "a generator that raises": lambda: (1 / 0 if False else raises() for _ in range(2)),
    "keys": lambda: {1: 2}.keys(),
    "items": lambda: {"a": 1}.items(),
    "a dict": lambda: {"a": [1.0], 3: None},
    "an empty list": list,
    "an empty tuple": lambda: (),
    "a list of lists": lambda: [[1.0], [2.0, 3.0]],
    "a list of None": lambda: [None, None],
    "a list of huge": lambda: [10**400, 1],
    "a list of itself": circular,
    "a list of text": lambda: ["a", "b"],
    "a tuple of huge": lambda: (2**62, 2**62),
    "a tuple of zero and huge": lambda: (0, 2**63 - 1, 2**63 - 1),
    "a tuple of negative": lambda: (-1, -1),
    "many axes": lambda: (1,) * 100,
    "a class": lambda: int,
    "our class": lambda: Tensor,
    "the type of types": lambda: type,
    "a module": lambda: math,
    "our module": lambda: fluxrs,
    "a function": lambda: lambda *a, **k: None,
    "a function that raises": lambda: raises,
    "a function of a list": lambda: lambda *a: [1.0, 2.0],
    "a function of a loss": lambda: lambda *a: (param([1.0]) * (a[0] if a else 1)).sum(),
    "a builtin": lambda: len,
    "a slice": lambda: slice(None, None, 0),
    "a huge slice": lambda: slice(10**400, None, -(10**400)),
    "a slice of text": lambda: slice("a", [], {}),
    "a range": lambda: range(3),
    "a huge range": lambda: range(0, 2**62, 2**61),
    "Longer": Longer,
    "Counts": Counts,
    "Endless": Endless,
    "an exception": lambda: Hostile(),
    "a tensor that is not read yet": lambda: tensor([[1.0, 2, 3], [4, 5, 6]]) * 2,
    "an index out of range, not read yet": out_of_range,
    "a singular matrix, not read yet": singular,
    "a bad loss": bad_loss,
    "an empty tensor": lambda: fluxrs.zeros(0, 3),
    "a tensor of many axes": lambda: fluxrs.zeros((1,) * 40),
    "a huge view": lambda: fluxrs.broadcast_to(tensor(1.0), (2**31, 2**31)),
    "a bool": lambda: tensor(True),
    "integers": lambda: tensor([2**62, -1], dtype="int64"),
    "p.data": lambda: param([1.0, 2.0, 3.0]).data,
    "p.grad": lambda: param([1.0, 2.0, 3.0]).grad,
    "a subclass of Tensor": lambda: OfTensor([1.0, 2.0, 3.0]),
    "one-hot": lambda: fluxrs.onehotbatch([0, 1], [0, 1, 2]),
    "a one-hot vector": lambda: fluxrs.onehot("a", "abc"),
    "Grads": lambda: fluxrs.gradient(lambda: (G.p * 2).sum(), Params([G.p])),
    "Params": lambda: Params([param([1.0])]),
    "no Params": lambda: Params([]),
    "a model": lambda: Chain(Dense(3, 2), fluxrs.relu),
    "an optimiser": lambda: ADAM([param([1.0])]),
    "iter of a tensor": lambda: iter(tensor([1.0, 2.0])),
    "a type's name": lambda: "float16",
    "a weird format": lambda: "ij,jk->ii",
    "a subscript of all letters": lambda: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "a lock": threading.Lock,
    "a thread": threading.Thread,
    "a file": lambda: open(os.devnull),  # noqa: SIM115
    "a namespace": lambda: types.SimpleNamespace(W=param([1.0])),
    "a weak proxy": lambda: __import__("weakref").proxy(G),
}  # fmt: skip

# Of these, calls that work are made.
G = World()
HONESTS: dict[str, Make] = {
    "matrix": lambda: tensor([[1.0, 2, 3], [4, 5, 7]]),
    "vector": lambda: tensor([0.1, 0.2, 0.3]),
    "square": lambda: tensor([[2.0, 1], [1, 3]], dtype="float64"),
    "p": lambda: param(np.ones((2, 3), "float32")),
    "result": lambda: param([0.5, 0.25, 0.125]) * 2,
    "loss": lambda: (param([0.5, 0.25, 0.125]) * 2).sum(),
    "integers": lambda: tensor([1, 0, 1], dtype="int64"),
    "bools": lambda: tensor([True, False, True]),
    "array": lambda: np.arange(6.0).reshape(2, 3),
    "list": lambda: [1.0, 2.0, 3.0],
    "0": lambda: 0,
    "1": lambda: 1,
    "2": lambda: 2,
    "0.5": lambda: 0.5,
    "True": lambda: True,
    "shape": lambda: (2, 3),
    "tensors": lambda: [tensor([1.0, 2, 3]), tensor([4.0, 5, 6])],
    "function": lambda: lambda *a: fluxrs.sum(a[0] if a else G.p),
    "elementwise": lambda: lambda x=1.0, *_: x * 2,
    "Params": lambda: Params([G.p]),
    "leaves": lambda: [G.p],
    "model": lambda: Dense(3, 2),
    "chain": lambda: Chain(Dense(3, 2), fluxrs.tanh),
    "optimiser": lambda: SGD([G.p], 0.1),
    "dtype": lambda: "float32",
    "einsum": lambda: "ij,ij->i",
    "text": lambda: "abc",
    "letter": lambda: "a",
    "file": lambda: "some.file",
    "slice": lambda: slice(0, 1),
    "data": lambda: [(np.ones((2, 3), "float32"), np.ones((2, 2), "float32"))],
    "minute": lambda: 60,
    "one-hot": lambda: fluxrs.onehotbatch("abca", "abc"),
    "classes": lambda: ["a", "b", "c"],
    "schedule": lambda: fluxrs.cosine(0.1, 10),
}  # fmt: skip
