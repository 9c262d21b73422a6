"""Write the stubs in python/fluxrs: _core.pyi from the native module's own signatures, __init__.pyi.

python tools/stubs.py            write the stubs
python tools/stubs.py --check    write nothing: fail if a stub is not what the modules say

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

import surface
from fluxrs import _core

STUB = Path(__file__).resolve().parent.parent / "python" / "fluxrs" / "_core.pyi"
PACKAGE = STUB.with_name("__init__.pyi")

HEAD = '''\
"""The native module. Written by tools/stubs.py from the module's own signatures."""

# ruff: noqa
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, final, overload

import numpy as np

from .typing import ArrayLike, DTypeLike, Terms

_P = TypeVar("_P")
'''

BASES = {
    "DimensionMismatch": "ValueError",
    "DeviceError": "RuntimeError",
    "Grads": "Mapping[Tensor, Tensor]",
}

# The types of arguments, by name; and of the names that stand for several shapes or axes.
ARGUMENTS = {
    "axis": "int | Sequence[int] | None", "keepdims": "bool", "ddof": "float", "nest": "bool",
    "path": "str", "dtype": "DTypeLike | None", "x": "ArrayLike", "y": "ArrayLike", "z": "ArrayLike",
    "value": "ArrayLike", "repeats": "ArrayLike", "indices": "ArrayLike", "low": "ArrayLike | None",
    "high": "ArrayLike | None", "delta": "ArrayLike", "start": "float", "stop": "float | None",
    "step": "float", "num": "int", "n": "int", "m": "int | None", "k": "int", "offset": "int",
    "axis1": "int", "axis2": "int", "source": "int | Sequence[int]", "tensors": "Terms",
    "destination": "int | Sequence[int]", "shift": "int | Sequence[int]",
    "reps": "int | Sequence[int]", "parts": "int | Sequence[int]", "width": "ArrayLike",
    "spec": "str", "device": "str", "f": "Callable[..., Any]",
    "*shape": "int | Sequence[int]", "*axes": "int | Sequence[int] | None",
}  # fmt: skip

# Where a name means something else in one function.
EXCEPTIONS = {
    "full.shape": "int | Sequence[int]", "Params.xs": "Iterable[Tensor]", "elu.y": "float",
    "leakyrelu.y": "ArrayLike", "celu.y": "float", "randint.low": "int", "randint.high": "int", "bernoulli.p": "ArrayLike",
    "permutation.n": "int", "linspace.stop": "float", "evaluate.*xs": "Any", "explain.*xs": "Any",
    "einsum.*xs": "ArrayLike", "istracked.x": "object", "isleaf.x": "object", "data.x": "Any",
    "gpu.x": "Any", "cpu.x": "Any", "__eq__.value": "Any", "__ne__.value": "Any",
    "__setitem__.value": "Any", "Grads.__getitem__.key": "Tensor", "Grads.get.p": "Tensor", "drop_gradients.x": "Any", "squared_error.x": "Any",
    "squared_error.y": "Any", "affine.x": "Any", "state.x": "Any",
    "custom.value": "Any", "checkpointed.value": "Any", "grad.x": "Any", "asarray.x": "Any",
    "from_dlpack.x": "Any", "param.x": "Terms", "tensor.x": "Terms", "_set_fault.n": "Any",
    "clip.x": "ArrayLike", "attention.q": "ArrayLike", "attention.k": "ArrayLike", "attention.v": "ArrayLike",
    "attention.mask": "ArrayLike | None", "attention.causal": "bool", "attention.scale": "float | None",
    **{f"{f}.x": "Terms" for f in ("sum", "prod", "mean", "max", "min", "any", "all")},
}  # fmt: skip


def differentiators(name: str, result: str) -> str:
    """The overloads by the arguments' number: by parameters, by up to three tensors, by any."""
    cases = [
        ("Callable[[], Any], ps: Params", "Grads"),
        ("Callable[[Tensor], Any], x: ArrayLike, /", "tuple[Tensor]"),
        ("Callable[[Tensor, Tensor], Any], x: ArrayLike, y: ArrayLike, /", "tuple[Tensor, Tensor]"),
        (
            "Callable[[Tensor, Tensor, Tensor], Any], x: ArrayLike, y: ArrayLike, z: ArrayLike, /",
            "tuple[Tensor, Tensor, Tensor]",
        ),
        ("Callable[..., Any], *args: ArrayLike", "tuple[Tensor, ...]"),
    ]
    star = [", *", ", *", ", *", ", *", ""]
    return "".join(
        f"@overload\ndef {name}(f: {given}{s}, nest: bool = False) -> {result.format(r)}: ...\n"
        for (given, r), s in zip(cases, star, strict=True)
    )


# Facts that no signature says: the result depends on the arguments, or keywords have twins.
WHOLE = {
    "gradient": differentiators("gradient", "{}"),
    "withgradient": differentiators("withgradient", "tuple[Tensor, {}]"),
    "back": """\
@overload
def back(x: Tensor, Δ: ArrayLike | None = None) -> None: ...
@overload
def back(x: Tensor, *, delta: ArrayLike) -> None: ...
""",
    "update": """\
@overload
def update(p: _P, Δ: ArrayLike) -> _P: ...
@overload
def update(p: _P, *, delta: ArrayLike) -> _P: ...
""",
    "data": "def data(x: _P) -> _P: ...\n",
    "no_grad.__call__": "    def __call__(self, f: _P, /) -> _P: ...\n",
}

RESULTS = {
    "queued": "int", "queue_position": "int", "discard": "None", "change": "None",
    "__len__": "int", "__float__": "float", "__int__": "int", "__index__": "int",
    "__bool__": "bool", "__round__": "Any", "__hash__": "int", "__repr__": "str", "__str__": "str",
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
    "random_state": "Any", "passing": "AbstractContextManager[int]",
    "take_gradients": "Deltas | None", "rules": "dict[str, tuple[str, ...]]",
    "devices": "list[Any]", "op_table": "list[dict[str, Any]]", "reference": "list[tuple[str, str]]", "split": "list[Tensor]",
    "stack": "Tensor", "affine": "Tensor | None", "squared_error": "Tensor | None", "counters": "dict[str, int]", "__iter__": "Iterator[Tensor]",
    "list": "list[Tensor]",
}  # fmt: skip

ATTRIBUTES = {
    "shape": "tuple[int, ...]", "ndim": "int", "size": "int", "dtype": "np.dtype[Any]",
    "T": "Tensor", "device": "str", "nbytes": "int", "itemsize": "int",
}  # fmt: skip

# CPython's flag of types that may be subclassed.
SUBCLASSABLE = 1 << 10

# Names that every object has, and that no user calls.
# `__getattr__` raises; a checker that saw it would take any attribute for one there is.
INHERITED = {
    "__doc__", "__module__", "__new__", "__getattr__", "__getattribute__", "__setattr__", "__delattr__",
}  # fmt: skip


def parameters(f: Any, owner: str = "") -> str:
    """The parameters of `f` as they stand in a signature."""
    out, star = [], False
    given = list(inspect.signature(f).parameters.values())
    for i, p in enumerate(given):
        if p.kind is p.VAR_POSITIONAL or (p.kind is p.KEYWORD_ONLY and not star):
            star = True
            if p.kind is p.KEYWORD_ONLY:
                out.append("*")
        out.append(parameter(p, owner or f.__name__))
        following = given[i + 1].kind if i + 1 < len(given) else None
        if p.kind is p.POSITIONAL_ONLY and following is not p.POSITIONAL_ONLY:
            out.append("/")
    return ", ".join(out)


def parameter(p: inspect.Parameter, owner: str) -> str:
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    if p.name == "self":
        return "self"
    name = f"{stars}{p.name}"
    kind = EXCEPTIONS.get(f"{owner}.{name}", ARGUMENTS.get(name, "Any"))
    if p.default is None and kind not in ("Any", "object") and "None" not in kind:
        kind = f"{kind} | None"
    text = f"{name}: {kind}"
    if p.default is p.empty:
        return text
    plain = isinstance(p.default, (int, float, str, tuple, type(None)))
    return f"{text} = {p.default!r}" if plain else f"{text} = ..."


def function(name: str, f: Any, indent: str = "", owner: str = "") -> str:
    if (owner + name if indent else name) in WHOLE:
        return WHOLE[owner + name]
    result = RESULTS.get(name, "Tensor")
    try:
        arguments = parameters(f, f"{owner}{name}")
    except ValueError:
        arguments = "self, *args: Any, **kwargs: Any" if indent else "*args: Any, **kwargs: Any"
    ignore = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    return f"{indent}def {name}({arguments}) -> {result}: ...{ignore}\n"


def members(cls: type) -> Iterator[str]:
    """A class's own attributes and methods, its constructor first if it can be called."""
    if cls.__text_signature__ is not None:
        arguments = ", ".join(["cls", *filter(None, [parameters(cls, cls.__name__)])])
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
            # A method's argument is an operator's or another thing's, by its class.
            own = cls in (_core.Grads, _core.no_grad)
            yield function(name, x, "    ", f"{cls.__name__}." if own else "")
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
    for path, text in ((STUB, stub()), (PACKAGE, surface.stub())):
        if check and (not path.exists() or path.read_text("utf-8") != text):
            sys.exit(f"python/fluxrs/{path.name} is not what the modules say: run `make docs`")
        if not check:
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
