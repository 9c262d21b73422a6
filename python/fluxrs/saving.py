"""Models in files: safetensors, with the structure as JSON in the header's metadata.

A file holds data only. Loading makes objects of classes and finds functions that are known
beforehand, ours and those in `types`; nothing that a file names is imported or called.
"""

from __future__ import annotations

import json
import math
import os
import types as kinds
from typing import Any, NoReturn

import numpy as np

from . import safetensors
from ._core import DimensionMismatch, Params, Tensor, isleaf, istracked
from .loading import DEPTH, VERSION, check, check_whole, known
from .treelike import fields, loadparams, named_params, state
from .typing import PathLike


def save(path: PathLike, /, *unnamed: NoReturn, **things: Any) -> None:
    """`save(path, **things)`: models, optimisers, arrays, numbers and any nest of them, in one file.

    What is shared stays shared. The file is replaced as a whole or not at all. A lambda, a
    local class or something else that a file cannot name: TypeError, with its place.

    >>> import fluxrs, tempfile, os
    >>> file = os.path.join(tempfile.mkdtemp(), "model.st")
    >>> save(file, model=fluxrs.Chain(fluxrs.Dense(3, 2, fluxrs.relu), fluxrs.softmax), epoch=7)
    >>> fluxrs.load(file)
    {'model': Chain(Dense(3, 2, relu), softmax), 'epoch': 7}
    """
    if unnamed or not things:
        raise TypeError("save takes things by name after the path, as in save(path, model=m)")
    writer = Writer()
    try:
        names = {name: writer.encode(x, name) for name, x in things.items()}
    except RecursionError:
        raise ValueError("save: lists, tuples, dicts or objects are nested too deep") from None
    header = {"version": VERSION, "names": names, "nodes": writer.nodes}
    safetensors.write(path, writer.arrays, {"fluxrs": json.dumps(header)})


def save_weights(path: PathLike, m: Any, /) -> None:
    """`save_weights(path, m)`: the parameters of `m` alone, as a plain safetensors file.

    Their names are their paths in the model, for example `layers.0.W`.
    """
    safetensors.write(path, {n: np.asarray(p) for n, p in named_params(m).items()}, {})


def load_weights(path: PathLike, m: Any, /) -> None:
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
        error.args = (f"load_weights: {os.fsdecode(path)}: {error}",)
        raise


class Writer:
    """Things as JSON: numbers and strings as they are, all else a numbered node, children first."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self.seen: dict[int, tuple[Any, int | None]] = {}
        self.depth = 0

    def encode(self, x: Any, path: str) -> Any:
        """The JSON for `x`."""
        if x is None or type(x) in (bool, int, str) or (type(x) is float and math.isfinite(x)):
            return x
        if id(x) not in self.seen:
            self.seen[id(x)] = (x, None)
            self.depth += 1
            if self.depth > DEPTH:
                raise RecursionError
            self.nodes.append(self.node(x, path))
            self.depth -= 1
            self.seen[id(x)] = (x, len(self.nodes) - 1)
        number = self.seen[id(x)][1]
        if number is None:
            raise TypeError(f"save: {path} contains itself")
        return {"node": number}

    def node(self, x: Any, path: str) -> dict[str, Any]:
        """The node for `x`."""
        if type(x) is float:
            return {"float": repr(x)}
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(f"save: {path} is a masked array; save x.filled(…) and x.mask")
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
        own = state(x) if hasattr(x, "__dict__") else fields(x) or {}
        try:
            check(type(x), own)
            check_whole(x)
        except (TypeError, ValueError) as error:
            raise type(error)(f"save: {path} could not be loaded: {error}") from error
        return {
            "object": name(type(x), path),
            "fields": {n: self.encode(v, f"{path}.{n}") for n, v in own.items()},
        }

    def array(self, x: Any, path: str) -> str:
        """Keep an array under its path."""
        path = path.encode(errors="replace").decode()
        while path in self.arrays or path == safetensors.METADATA:
            path += "'"
        self.arrays[path] = x
        return path


def plain(cls: type) -> bool:
    """True if an object of the class is its attributes and no more, so that `load` can make it."""
    try:
        object.__new__(cls)
    except TypeError:
        return False
    return True


def kind(x: Any) -> str:
    """The kind of object that an array is loaded as."""
    if isinstance(x, Tensor):
        return "param" if istracked(x) and isleaf(x) else "state" if isleaf(x) else "tensor"
    return "array"


def name(x: Any, path: str) -> str:
    """The name by which `load` finds a class or function."""
    for ours, known_ in known().items():
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
