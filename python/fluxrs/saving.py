"""Models in files: safetensors, with the structure as JSON in the header's metadata.

A file holds data only. Loading makes objects of classes and finds functions that are known
beforehand, ours and those in `types`; nothing that a file names is imported or called.
"""

from __future__ import annotations

import json
import math
import types as kinds
from typing import Any

import numpy as np

from . import _core, safetensors
from ._core import DimensionMismatch, Params, Tensor, isleaf, istracked, param, tensor
from .treelike import fields, loadparams, named_params

VERSION = 1
FUNCTIONS = (
    "identity", "σ", "logσ", "relu", "leakyrelu", "elu", "selu", "swish", "softplus", "softsign",
    "gelu", "tanh", "softmax", "logsoftmax", "exp", "log", "sqrt", "abs", "sin", "cos", "mse",
    "crossentropy", "logitcrossentropy", "binarycrossentropy", "logitbinarycrossentropy",
    "normalise", "glorot_uniform", "glorot_normal", "initn",
)  # fmt: skip


class UnknownName(TypeError):
    """A file names a class or function that `load` was not told of."""


def save(path: Any, /, **things: Any) -> None:
    """`save(path, **things)`: models, optimisers, arrays, numbers and any nest of them, in one file.

    What is shared stays shared. The file is replaced as a whole or not at all. A lambda, a
    local class or something else that a file cannot name: TypeError, with its place.

    >>> import fluxrs, tempfile, os
    >>> file = os.path.join(tempfile.mkdtemp(), "model.st")
    >>> save(file, model=fluxrs.Chain(fluxrs.Dense(3, 2, fluxrs.relu), fluxrs.softmax), epoch=7)
    >>> load(file)
    {'model': Chain(Dense(3, 2, relu), softmax), 'epoch': 7}
    """
    writer = Writer()
    names = {name: writer.encode(x, name) for name, x in things.items()}
    header = {"version": VERSION, "names": names, "nodes": writer.nodes}
    safetensors.write(path, writer.arrays, {"fluxrs": json.dumps(header, ensure_ascii=False)})


def load(path: Any, /, types: Any = ()) -> dict[str, Any]:
    """`load(path, types=())`: what `save` wrote, as a dict.

    `types` lists your own classes and functions that the file may name. Raises ValueError
    for a file that is damaged or not ours, TypeError for a name that is not known.
    """
    arrays, metadata = safetensors.read(path)
    if "fluxrs" not in metadata:
        raise ValueError(f"load: {path} has no model in it; load_weights(path, model) reads arrays")
    names = known(types)
    try:
        header = json.loads(metadata["fluxrs"])
        if header["version"] != VERSION:
            raise ValueError(f"it is of version {header['version']!r}, and {VERSION} is known here")
        reader = Reader(arrays, names)
        for node in header["nodes"]:
            reader.done.append(reader.build(node))
        return {str(name): reader.decode(x) for name, x in header["names"].items()}
    except UnknownName as error:
        raise TypeError(f"load: {path} {error}") from None
    except (LookupError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"load: {path} is damaged: {error}") from error


def save_weights(path: Any, m: Any, /) -> None:
    """`save_weights(path, m)`: the parameters of `m` alone, as a plain safetensors file.

    Their names are their paths in the model, for example `layers.0.W`.
    """
    safetensors.write(path, {n: np.asarray(p) for n, p in named_params(m).items()}, {})


def load_weights(path: Any, m: Any, /) -> None:
    """`load_weights(path, m)`: parameters from a file of `save_weights`, or any such file, into `m`.

    A parameter that is missing, unknown or of another shape: a ValueError that lists the
    differences, and `m` is as it was.

    >>> import fluxrs, tempfile, os
    >>> file = os.path.join(tempfile.mkdtemp(), "weights.st")
    >>> a, b = fluxrs.Dense(3, 2), fluxrs.Dense(3, 2)
    >>> save_weights(file, a)
    >>> load_weights(file, b)
    >>> bool((a.W == b.W).all())
    True
    """
    arrays, _ = safetensors.read(path)
    try:
        loadparams(m, arrays)
    except (DimensionMismatch, ValueError) as error:
        error.args = (f"load_weights: {path}: {error}",)
        raise


class Writer:
    """Things as JSON: numbers and strings as they are, all else a numbered node, children first."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self.seen: dict[int, tuple[Any, int | None]] = {}

    def encode(self, x: Any, path: str) -> Any:
        """The JSON for `x`."""
        if x is None or type(x) in (bool, int, str) or (type(x) is float and math.isfinite(x)):
            return x
        if id(x) not in self.seen:
            self.seen[id(x)] = (x, None)
            self.nodes.append(self.node(x, path))
            self.seen[id(x)] = (x, len(self.nodes) - 1)
        number = self.seen[id(x)][1]
        if number is None:
            raise TypeError(f"save: {path} contains itself")
        return {"node": number}

    def node(self, x: Any, path: str) -> dict[str, Any]:
        """The node for `x`."""
        if type(x) is float:
            return {"float": repr(x)}
        if isinstance(x, (Tensor, np.ndarray, np.generic)):
            return {kind(x): self.array(np.asarray(x), path)}
        if type(x) in (list, tuple, Params):
            items = [self.encode(c, f"{path}.{i}") for i, c in enumerate(x)]
            return {type(x).__name__: items}
        if type(x) is dict:
            keys = [self.encode(k, f"{path}.{k}") for k in x]
            return {
                "dict": [
                    [k, self.encode(x[n], f"{path}.{n}")] for k, n in zip(keys, x, strict=True)
                ]
            }
        if isinstance(x, (kinds.FunctionType, kinds.BuiltinFunctionType, np.ufunc, type)):
            return {"function": name(x, path)}
        if not plain(type(x)) or (not hasattr(x, "__dict__") and fields(x) is None):
            raise TypeError(f"save: {path} is a {type(x).__name__}, which a file cannot hold")
        state = vars(x) if hasattr(x, "__dict__") else fields(x) or {}
        return {
            "object": name(type(x), path),
            "fields": {n: self.encode(v, f"{path}.{n}") for n, v in state.items()},
        }

    def array(self, x: Any, path: str) -> str:
        """Keep an array under its path."""
        while path in self.arrays:
            path += "'"
        self.arrays[path] = x
        return path


def plain(cls: type) -> bool:
    """Whether an object of the class is its attributes and no more, so that `load` can make it."""
    try:
        object.__new__(cls)
    except TypeError:
        return False
    return True


def kind(x: Any) -> str:
    """What an array comes back as."""
    if isinstance(x, Tensor):
        return "param" if istracked(x) and isleaf(x) else "state" if isleaf(x) else "tensor"
    return "array"


def name(x: Any, path: str) -> str:
    """The name by which `load` finds a class or function."""
    for ours, known_ in known(()).items():
        if known_ is x:
            return ours
    module, qualname = getattr(x, "__module__", None), getattr(x, "__qualname__", "?")
    if "<" in qualname or module is None:
        what = "a lambda" if "<lambda>" in qualname else f"the local {qualname}"
        raise TypeError(
            f"save: {path} is {what}, which a file cannot name; define it at the top of a module, "
            "or keep the parameters alone with save_weights(path, model)"
        )
    return f"{module}.{qualname}"


def known(types: Any) -> dict[str, Any]:
    """The names that a file may use."""
    import fluxrs

    ours = {n: getattr(fluxrs, n) for n in FUNCTIONS}
    ours |= {n: x for n, x in vars(fluxrs).items() if hasattr(x, "__treelike__")}
    given = types if isinstance(types, (list, tuple, set)) else [types]
    for x in given:
        if not hasattr(x, "__qualname__"):
            raise TypeError(f"load: types lists classes and functions, got {x!r}")
    return {f"fluxrs.{n}": x for n, x in ours.items()} | {
        f"{x.__module__}.{x.__qualname__}": x for x in given
    }


class Reader:
    """Builds nodes in the order of the file."""

    def __init__(self, arrays: dict[str, Any], known: dict[str, Any]) -> None:
        self.arrays, self.known = arrays, known
        self.done: list[Any] = []

    def decode(self, x: Any) -> Any:
        """What a value in the JSON stands for."""
        if not isinstance(x, dict):
            if isinstance(x, list):
                raise ValueError("a list where a value was expected")
            return x
        number = x["node"]
        if type(number) is not int or number < 0:
            raise ValueError(f"node {number!r}")
        return self.done[number]

    def build(self, node: dict[str, Any]) -> Any:
        """The thing that a node describes."""
        if not node:
            raise ValueError("an empty node")
        tag, body = next(iter(node.items()))
        if tag == "object":
            return self.object(self.find(body), node["fields"])
        if tag == "dict":
            return {self.decode(k): self.decode(v) for k, v in body}
        if tag in ("list", "tuple", "Params"):
            items = [self.decode(x) for x in body]
            return {"list": list, "tuple": tuple, "Params": Params}[tag](items)
        return self.leaf(tag, body)

    def leaf(self, tag: str, body: Any) -> Any:
        """An array, a function, or a float that JSON does not have."""
        make: dict[str, Any] = {
            "param": param,
            "tensor": tensor,
            "state": _core.state,
            "array": np.array,
        }
        if tag in make:
            return make[tag](self.arrays[body])
        if tag == "function":
            return self.find(body)
        if tag == "float" and body in ("nan", "inf", "-inf"):
            return float(body)
        raise ValueError(f"a node of kind {tag!r}")

    def find(self, name: str) -> Any:
        """A class or function by its name in the file."""
        if name not in self.known:
            short = str(name).rpartition(".")[2]
            raise UnknownName(f"names {name!r}; if you trust it, load(path, types=({short},))")
        return self.known[name]

    def object(self, cls: Any, fields: dict[str, Any]) -> Any:
        """An object without its constructor having run."""
        if not isinstance(cls, type):
            raise ValueError(f"{cls!r} is no class")
        x: Any = object.__new__(cls)
        for n, value in fields.items():
            if not n.isidentifier() or n.startswith("__"):
                raise ValueError(f"a field called {n!r}")
            object.__setattr__(x, n, self.decode(value))
        missing = [n for n in needed(cls) if n not in fields and not hasattr(cls, n)]
        if missing:
            raise ValueError(f"a {cls.__name__} without {', '.join(missing)}")
        return x


def needed(cls: type) -> list[str]:
    """What an object is no use without: its named children, and what our classes declare."""
    names = list(getattr(cls, "__treelike__", None) or ())
    for c in cls.__mro__:
        if c.__module__.startswith("fluxrs."):
            names += c.__annotations__
    return names
