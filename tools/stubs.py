"""Write python/fluxrs/_core.pyi from the native module's own signatures.

python tools/stubs.py            write the stub
python tools/stubs.py --check    write nothing: fail if the stub is not what the module says

Names, kinds and defaults of parameters come from the module; only what a signature cannot say,
the types, is in the tables below. What is not in a table is a tensor as a result, and anything as
an argument.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fluxrs import _core

STUB = Path(__file__).resolve().parent.parent / "python" / "fluxrs" / "_core.pyi"

HEAD = '''\
"""The native module. Written by tools/stubs.py from the module's own signatures."""

# ruff: noqa
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

import numpy as np
'''

BASES = {
    "DimensionMismatch": "ValueError",
    "DeviceError": "RuntimeError",
    "Grads": "Mapping[Tensor, Tensor]",
}

ARGUMENTS = {
    "axis": "int | Sequence[int] | None",
    "keepdims": "bool",
    "ddof": "int",
    "nest": "bool",
    "path": "str",
}

RESULTS = {
    "queued": "int", "discard": "None",
    "__len__": "int", "__float__": "float", "__int__": "int", "__index__": "int",
    "__bool__": "bool", "__hash__": "int", "__repr__": "str", "__str__": "str",
    "__format__": "str", "_repr_html_": "str", "__setitem__": "None", "__delitem__": "None",
    "__init__": "None", "__exit__": "Any", "__enter__": "Any", "__complex__": "complex",
    "__contains__": "bool", "__array__": "np.ndarray[Any, Any]", "numpy": "np.ndarray[Any, Any]",
    "tolist": "Any", "item": "Any", "__reduce__": "Any", "__getnewargs__": "Any",
    "__setstate__": "None", "__getstate__": "Any", "__deepcopy__": "Any", "__copy__": "Any",
    "__dlpack__": "Any", "__dlpack_device__": "tuple[int, int]", "__array_ufunc__": "Any",
    "__array_function__": "Any", "keys": "Any", "values": "Any", "items": "Any", "get": "Any",
    "istracked": "bool", "isleaf": "bool", "has_gpu": "bool", "seed": "None", "commit": "None",
    "back": "None", "drop_gradients": "None", "step": "None", "explain": "Any", "debug": "Any",
    "profile": "Any", "synchronize": "None", "forward": "tuple[Any, Callable[..., Any]]",
    "gradient": "Any", "withgradient": "Any", "grad": "Any", "data": "Any", "update": "Any",
    "evaluate": "Any", "gpu": "Any", "cpu": "Any", "to": "Any", "asarray": "Tensor",
    "no_grad": "AbstractContextManager[None]", "replay": "AbstractContextManager[None]",
    "random_state": "Any", "leaves": "list[Tensor]", "vjp": "list[Tensor | None]",
    "take_gradients": "Deltas | None", "rules": "dict[str, tuple[str, ...]]",
    "devices": "list[Any]", "op_table": "list[dict[str, Any]]", "split": "list[Tensor]",
    "stack": "Tensor", "affine": "Tensor | None", "squared_error": "Tensor | None", "counters": "dict[str, int]", "__iter__": "Iterator[Tensor]",
    "list": "list[Tensor]",
}  # fmt: skip

ATTRIBUTES = {
    "shape": "tuple[int, ...]", "ndim": "int", "size": "int", "dtype": "np.dtype[Any]",
    "T": "Tensor", "device": "str", "nbytes": "int", "itemsize": "int",
}  # fmt: skip

# CPython's flag of types that may be subclassed.
SUBCLASSABLE = 1 << 10

# What every object has, and what no user calls.
INHERITED = {"__doc__", "__module__", "__new__", "__getattribute__", "__setattr__", "__delattr__"}


def parameters(f: Any) -> str:
    """The parameters of `f` as they stand in a signature."""
    out, star = [], False
    given = list(inspect.signature(f).parameters.values())
    for i, p in enumerate(given):
        if p.kind is p.VAR_POSITIONAL or (p.kind is p.KEYWORD_ONLY and not star):
            star = True
            if p.kind is p.KEYWORD_ONLY:
                out.append("*")
        out.append(parameter(p))
        following = given[i + 1].kind if i + 1 < len(given) else None
        if p.kind is p.POSITIONAL_ONLY and following is not p.POSITIONAL_ONLY:
            out.append("/")
    return ", ".join(out)


def parameter(p: inspect.Parameter) -> str:
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    if p.name == "self":
        return "self"
    text = f"{stars}{p.name}: {'Any' if stars else ARGUMENTS.get(p.name, 'Any')}"
    if p.default is p.empty:
        return text
    plain = isinstance(p.default, (int, float, str, tuple, type(None)))
    return f"{text} = {p.default!r}" if plain else f"{text} = ..."


def function(name: str, f: Any, indent: str = "") -> str:
    result = RESULTS.get(name, "Tensor")
    try:
        arguments = parameters(f)
    except ValueError:
        arguments = "self, *args: Any, **kwargs: Any" if indent else "*args: Any, **kwargs: Any"
    ignore = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    return f"{indent}def {name}({arguments}) -> {result}: ...{ignore}\n"


def members(cls: type) -> Iterator[str]:
    """A class's own attributes and methods, its constructor first if it can be called."""
    if cls.__text_signature__ is not None:
        arguments = ", ".join(["cls", *filter(None, [parameters(cls)])])
        yield f"    def __new__({arguments}) -> {cls.__name__}: ...\n"
    for name, x in sorted(vars(cls).items()):
        if name in INHERITED or (x is None and name != "__hash__"):
            if x is None:
                yield f"    {name}: None\n"
        elif inspect.isgetsetdescriptor(x):
            yield f"    {name}: {ATTRIBUTES.get(name, 'Any')}\n"
        elif isinstance(x, (classmethod, staticmethod)) or inspect.isbuiltin(x):
            static = isinstance(x, staticmethod)
            yield f"    @{'staticmethod' if static else 'classmethod'}\n"
            yield function(name, getattr(cls, name), "    ").replace(
                "(", "(" if static else "(cls, ", 1
            )
        elif callable(x):
            yield function(name, x, "    ")
        else:
            yield f"    {name}: Any\n"


def stub() -> str:
    """The whole stub: classes, then functions, in alphabetical order."""
    public = {n: x for n, x in sorted(vars(_core).items()) if not n.startswith("__")}
    parts = [HEAD]
    if hasattr(_core, "__all__"):
        parts.append("\n__all__ = [\n" + "".join(f'    "{n}",\n' for n in _core.__all__) + "]\n")
    for name, x in public.items():
        if isinstance(x, type):
            body = "".join(members(x)) if not issubclass(x, BaseException) else ""
            base = f"({BASES[name]})" if name in BASES else ""
            final = "" if x.__flags__ & SUBCLASSABLE else "@final\n"
            parts.append(f"\n{final}class {name}{base}:{'' if body else ' ...'}\n{body}")
    parts.append("\n__version__: str\n")
    for name, x in public.items():
        if not isinstance(x, type):
            parts.append(function(name, x) if callable(x) else f"{name}: Any\n")
    return "".join(parts)


def main(check: bool) -> None:
    text = stub()
    if check and (not STUB.exists() or STUB.read_text("utf-8") != text):
        sys.exit("python/fluxrs/_core.pyi is not what the module says: run `make stubs`")
    if not check:
        STUB.write_text(text, "utf-8")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
