"""The stub of the package itself, python/fluxrs/__init__.pyi: what type checkers see of `import fluxrs`.

Every public name is exported by name, which no checker can see of a list that is computed. Functions and
classes whose keywords have twins are declared with both spellings. Written and checked by tools/stubs.py.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import fluxrs
from fluxrs import _core
from fluxrs.names import TWINS

HEAD = '''\
"""The package. Written by tools/stubs.py from the modules."""

# ruff: noqa
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import datasets as datasets, optimise as optimise, tracker as tracker, typing as typing
from .layers import basic as _basic, conv as _conv, normalise as _normalise, recurrent as _recurrent
from .layers.basic import Init, Layer
from .layers.conv import Lengths
from .layers.windows import Pad
from .optimise import optimisers as _optimisers
from .typing import ArrayLike, SupportsArray
'''

MODULES = [m for n, m in sorted(sys.modules.items()) if n.startswith("fluxrs.") and m is not _core]


def stub() -> str:
    """The whole stub."""
    hidden = [n for n in _core.__all__ if hasattr(builtins, n)]
    names = sorted({*fluxrs.__all__, *hidden})
    exports, declared = [], []
    for name in names:
        thing = getattr(fluxrs, name)
        node = definition(name, thing)
        if node is None:
            module, original = home(name, thing)
            exports.append(
                f"from {module.__name__.replace('fluxrs', '', 1)} import {original} as {name}\n"
            )
        else:
            declared.append(node)
    listed = "".join(f"    {n!r},\n" for n in sorted(fluxrs.__all__)).replace("'", '"')
    # Checkers differ in whether they take `ϵ` for `ε`, as Python does; the pages write `ϵ`.
    return "".join(
        [HEAD, *sorted(exports), "\n__version__: str\n__all__ = [\n", listed, "]\n\n", *declared]
    ).replace("ε", "ϵ")


def home(name: str, thing: Any) -> tuple[ModuleType, str]:
    """The module that a name is exported from, and what it is called there."""
    own = sys.modules.get(getattr(thing, "__module__", None) or "")
    for module in (*filter(None, [own]), _core, *MODULES):
        if module is not fluxrs and vars(module).get(name) is thing:
            return module, name
    for original, x in vars(_core).items():
        if x is thing:
            return _core, original
    raise LookupError(f"{name} is in no module")


def definition(name: str, thing: Any) -> str | None:
    """The declaration of a function or class with twins; None for any other."""
    own = getattr(thing, "__init__", None) if isinstance(thing, type) else thing
    if not set(getattr(own, "names", ())) & TWINS.keys():
        return None
    module = importlib.import_module(thing.__module__)
    tree = ast.parse(inspect.getsource(module))
    (node,) = (n for n in tree.body if getattr(n, "name", None) == name)
    if isinstance(node, ast.FunctionDef):
        return signature(node)
    assert isinstance(node, ast.ClassDef)
    base = f"_{module.__name__.rpartition('.')[2]}.{name}"
    return f"class {name}({base}):\n" + "".join(f"    {line}\n" for line in members(node))


def members(cls: ast.ClassDef) -> Iterator[str]:
    """The attributes' twins, and the constructor."""
    (init,) = (n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    given = (*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs)
    types = {a.arg: a.annotation for a in given if a.annotation}
    fields = [n for n in cls.body if isinstance(n, ast.AnnAssign)]
    types |= {n.target.id: n.annotation for n in fields if isinstance(n.target, ast.Name)}
    for name, annotation in types.items():
        if name in TWINS and not name.startswith("init"):
            yield f"{TWINS[name]}: {ast.unparse(annotation)}"
    yield signature(init).rstrip()


def signature(f: ast.FunctionDef) -> str:
    """A function's signature with the twins of its keywords beside them."""
    a = f.args
    for arg in (*a.args, *a.kwonlyargs):
        if arg.arg in TWINS:
            a.kwonlyargs.append(ast.arg(TWINS[arg.arg], arg.annotation))
            a.kw_defaults.append(ast.Constant(...))
    f.decorator_list = []
    f.body = [ast.Expr(ast.Constant(...))]
    return ast.unparse(f).replace(":\n    ...", ": ...") + "\n"
