"""Reading what `save` wrote: the structure in the header is built node by node, never trusted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from inspect import get_annotations
from typing import Any, ClassVar, get_args, get_origin

import numpy as np

from . import _core, safetensors
from ._core import Params, Tensor, param, tensor
from .typing import PathLike

VERSION = 2  # 1 had no checksum
DEPTH = 1000  # of lists in lists; C code that walks a tree needs a stack
KEY = 1000  # parts of a dict's key, which are all hashed, shared ones again and again
FUNCTIONS = (
    "identity", "σ", "logσ", "relu", "leakyrelu", "elu", "selu", "swish", "softplus", "softsign",
    "gelu", "gelu_erf", "tanh", "mish", "celu", "glu", "hardsigmoid", "hardswish", "prelu", "normcdf",
    "softmax", "logsoftmax", "exp", "log", "sqrt", "abs", "sin", "cos", "mse", "mae", "huber",
    "crossentropy", "logitcrossentropy", "binarycrossentropy", "logitbinarycrossentropy",
    "kldivergence", "cosine_similarity", "ctc", "normalise", "glorot_uniform", "glorot_normal",
    "kaiming_uniform", "kaiming_normal", "orthogonal", "truncated_normal", "sparse_init", "initn",
    "add", "multiply", "maximum", "flatten",
)  # fmt: skip


class UnknownName(TypeError):
    """A file names a class or function that `load` was not told of."""


def load(path: PathLike, /, types: Any = ()) -> dict[str, Any]:
    """`load(path, types=())`: what `save` wrote, as a dict.

    `types` lists your own classes and functions that the file may name; each stands for its
    qualified name, whichever module it was in when the file was written. A mapping gives them
    other names: `{"Old": New}`. Raises ValueError for a file that is damaged or not ours,
    TypeError for names that are not known.
    """
    given = _given(types)
    arrays, metadata = safetensors.read(path)
    name = os.fsdecode(path)
    if "fluxrs" not in metadata:
        raise ValueError(f"load: {name} has no model in it; load_weights(path, model) reads arrays")
    try:
        return _build(arrays, metadata, given)
    except UnknownName as error:
        raise TypeError(f"load: {name} {error}") from None
    except (
        LookupError,
        ArithmeticError,
        AttributeError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        raise ValueError(f"load: {name} is damaged: {error}") from error


def _build(
    arrays: dict[str, Any], metadata: dict[str, str], given: dict[str, Any]
) -> dict[str, Any]:
    header = safetensors.parse(metadata["fluxrs"])
    version, nodes, names = header["version"], header["nodes"], header["names"]
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(f"it is of version {version!r}, and {VERSION} is known here")
    if version > 1 and safetensors.CHECKSUM not in metadata:
        raise ValueError("it has no checksum")
    reader = Reader(arrays, _resolved(nodes, given))
    for node in nodes:
        reader.add(node)
    return {name: reader.decode(x) for name, x in _dict(names).items()}


def known() -> dict[str, Any]:
    """The names of ours that a file may use."""
    import fluxrs

    ours = {n: getattr(fluxrs, n) for n in FUNCTIONS}
    ours |= {n: x for n, x in vars(fluxrs).items() if hasattr(x, "__treelike__")}
    return {f"fluxrs.{n}": x for n, x in ours.items()}


def _given(types: Any) -> dict[str, Any]:
    """The user's classes and functions, each by the name it is looked for."""
    if isinstance(types, Mapping):
        named = dict(types)
    else:
        listed = types if isinstance(types, (list, tuple, set, frozenset)) else [types]
        for x in listed:
            if not (callable(x) and hasattr(x, "__qualname__") and hasattr(x, "__module__")):
                raise TypeError(f"load: types lists classes and functions, got {x!r}")
        named = {f"{x.__module__}.{x.__qualname__}": x for x in listed}
        # The module may have been another one, `__main__` above all, when the file was written.
        for x in listed:
            short = x.__qualname__
            same = [y for y in listed if y.__qualname__ == short]
            if all(y is x for y in same):
                named.setdefault(short, x)
    for name, x in named.items():
        if not isinstance(name, str) or not callable(x):
            raise TypeError(f"load: types maps names to classes and functions, got {name!r}: {x!r}")
    return named


def _resolved(nodes: Iterable[Any], given: dict[str, Any]) -> dict[str, Any]:
    """The objects that the names in the file stand for. Raises UnknownName with all those that are unknown."""
    ours, found, unknown = known(), {}, {}
    for node in nodes:
        name = node.get("object", node.get("function"))
        if name is None or name in found:
            continue
        if not isinstance(name, str):
            raise ValueError(f"a class called {name!r}")
        parts = name.split(".")
        # Of names given, the one that says most of the file's name.
        tails = [".".join(parts[i:]) for i in range(min(len(parts), 50))]
        candidates = [t for t in tails if t in given]
        if name in ours:
            found[name] = ours[name]
        elif candidates and (name in given or not name.startswith("fluxrs.")):
            found[name] = given[candidates[0]]
        else:
            unknown[name] = parts[-1]
    if unknown:
        short = list(dict.fromkeys(unknown.values()))
        listed = ", ".join(short) + ("," if len(short) == 1 else "")
        raise UnknownName(
            f"names {', '.join(map(repr, unknown))}; if you trust it, load(path, types=({listed}))"
        )
    return found


class Reader:
    """Builds nodes in the order of the file; each refers to earlier ones only."""

    def __init__(self, arrays: dict[str, Any], names: dict[str, Any]) -> None:
        self.arrays, self.names = arrays, names
        self.done: list[Any] = []
        self.depths: list[int] = []
        self.sizes: list[int] = []

    def add(self, node: Any) -> None:
        """Build the next node."""
        self.depth, self.size = 0, 1
        thing = self.build(_dict(node))
        if self.depth >= DEPTH:
            raise ValueError(f"its lists or objects are nested more than {DEPTH} deep")
        self.done.append(thing)
        self.depths.append(self.depth + 1)
        self.sizes.append(min(self.size, KEY + 1))

    def decode(self, x: Any) -> Any:
        """The object that a value in the JSON stands for."""
        if isinstance(x, list):
            raise ValueError("a list where a value was expected")
        if not isinstance(x, dict):
            return x
        number = x["node"]
        if type(number) is not int or number < 0:
            raise ValueError(f"node {number!r}")
        thing = self.done[number]
        self.depth = max(self.depth, self.depths[number])
        self.size += self.sizes[number]
        return thing

    def build(self, node: dict[str, Any]) -> Any:
        """The thing that a node describes."""
        if not node:
            raise ValueError("an empty node")
        tag, body = next(iter(node.items()))
        if tag == "object":
            return self.object(self.names[body], _dict(node["fields"]))
        if tag == "dict":
            return self.mapping(_list(body))
        if tag in ("list", "tuple", "Params"):
            items = [self.decode(x) for x in _list(body)]
            return {"list": list, "tuple": tuple, "Params": Params}[tag](items)
        return self.leaf(tag, body)

    def leaf(self, tag: str, body: Any) -> Any:
        """An array, a function, or a float that JSON does not have."""
        make: dict[str, Callable[[Any], Any]] = {
            "param": param,
            "tensor": tensor,
            "state": _core.state,
            "array": lambda a: a,
        }
        if tag in make:
            # A node takes its array: many nodes of one array would be many times the file.
            return make[tag](self.arrays.pop(body))
        if tag == "function":
            return self.names[body]
        if tag == "float" and body in ("nan", "inf", "-inf"):
            return float(body)
        raise ValueError(f"a node of kind {tag!r}")

    def mapping(self, items: list[Any]) -> dict[Any, Any]:
        """A dict whose keys are cheap to hash and to tell apart."""
        keys = []
        for k, _ in map(_list, items):
            before, self.size = self.size, 0
            keys.append(self.decode(k))
            if self.size > KEY:
                raise ValueError(f"a dict's key with more than {KEY} parts")
            self.size += before
        if keys and max(Counter(map(hash, keys)).values()) > 100:
            raise ValueError("a dict's keys are chosen to be slow to tell apart")
        out = {k: self.decode(v) for k, (_, v) in zip(keys, items, strict=True)}
        if len(out) != len(items):
            raise ValueError("a dict has a key twice")
        return out

    def object(self, cls: Any, values: dict[str, Any]) -> Any:
        """An object without its constructor having run."""
        if not isinstance(cls, type):
            raise ValueError(f"{cls!r} is no class")
        x: Any = object.__new__(cls)
        things = {n: self.decode(value) for n, value in values.items()}
        check(cls, things)
        for n, thing in things.items():
            object.__setattr__(x, n, thing)
        check_whole(x)
        return x


def check(cls: type, things: dict[str, Any]) -> None:
    """True if these can be the attributes of an object; what cannot be loaded is not saved either."""
    declared, ours = _declared(cls), cls.__module__.startswith("fluxrs.")
    needed = [*(getattr(cls, "__treelike__", None) or ()), *declared]
    missing = [n for n in needed if n not in things and not hasattr(cls, n)]
    if missing:
        raise ValueError(f"a {cls.__name__} without {', '.join(dict.fromkeys(missing))}")
    for n, thing in things.items():
        if not n.isidentifier() or n.startswith("__"):
            raise ValueError(f"a field called {n!r}")
        if ours and n not in declared and hasattr(cls, n):
            raise ValueError(f"a field {n} in a {cls.__name__}, which has a method of that name")
        if ours and n in declared and not fits(thing, declared[n]):
            raise ValueError(f"{cls.__name__}.{n} is a {type(thing).__name__}")


def check_whole(x: Any) -> None:
    """True if the attributes of an object of ours fit each other."""
    if type(x).__module__.startswith("fluxrs.") and hasattr(x, "_check"):
        x._check()


def _list(x: Any) -> list[Any]:
    if not isinstance(x, list):
        raise ValueError(f"a {type(x).__name__} where a list was expected")
    return x


def _dict(x: Any) -> dict[str, Any]:
    if not isinstance(x, dict):
        raise ValueError(f"a {type(x).__name__} where an object was expected")
    return x


def _declared(cls: type) -> dict[str, Any]:
    """The attributes that our classes declare, with their types."""
    out: dict[str, Any] = {}
    for c in reversed(cls.__mro__):
        if c.__module__.startswith("fluxrs."):
            out |= get_annotations(c, eval_str=True)
    return {n: t for n, t in out.items() if get_origin(t) is not ClassVar}


def fits(x: Any, declared: Any) -> bool:
    """True if a value is of the type that a class declares: a class, Callable, Any, or a list or tuple."""
    origin = get_origin(declared)
    if declared is Any:
        return True
    if origin is list:
        return isinstance(x, list) and all(fits(i, get_args(declared)[0]) for i in x)
    if origin is not None:
        return callable(x) if origin is Callable else isinstance(x, origin)
    if declared in (int, float, bool):
        # A NumPy number was saved as an array without axes.
        number = isinstance(x, (int, float)) or (isinstance(x, (np.ndarray, Tensor)) and not x.ndim)
        return number and (declared is float or int(x) == x)
    return isinstance(x, declared)
