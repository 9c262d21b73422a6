"""Everything public: functions, classes, methods, and what NumPy asks its operands about."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import Any

import numpy as np

import fluxrs


def public() -> dict[str, Any]:
    """Functions and classes by their dotted names, one name each."""
    outside = [fluxrs, fluxrs.tracker, fluxrs.optimise, fluxrs.typing]
    modules = [
        *outside,
        *(
            importlib.import_module(m.name)
            for m in pkgutil.walk_packages(fluxrs.__path__, "fluxrs.")
        ),
    ]
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for module in modules:
        names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
        for name in sorted(n for n in names if n[0] != "_"):
            thing = getattr(module, name)
            ours = str(getattr(thing, "__module__", "fluxrs") or "fluxrs").split(".")[0] == "fluxrs"
            ours |= module in (fluxrs, fluxrs._core) and not isinstance(thing, type)
            if id(thing) in seen or not callable(thing) or not ours:
                continue
            seen.add(id(thing))
            found[
                f"{module.__name__}.{name}"
                if module in outside
                else f"inside {module.__name__}.{name}"
            ] = thing
    return found


# Of what every object has, these have a meaning of ours.
OURS = re.compile(
    r"__(new|init|init_subclass|subclasshook|class_getitem|getattribute|getattr|setattr|delattr|dir|sizeof|class|weakref|doc|dict|module|slots|annotations)__|__abstract|_abc_"
)


def methods(cls: type) -> list[str]:
    own = [n for n in dir(cls) if getattr(cls, n, None) is not getattr(object, n, None)]
    return [n for n in own if (n[0] != "_" or n[:2] == "__" == n[-2:]) and not OURS.match(n)]


def takes(f: Any) -> tuple[int, int, list[str]]:
    """How many values a call takes at the least and at the most, and the names of keywords."""
    try:
        given = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return 0, 3, []
    places = [a for a in given if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    least = sum(a.default is a.empty for a in places)
    most = len(places) + 2 * any(a.kind is a.VAR_POSITIONAL for a in given)
    return (
        least,
        min(most, 5),
        [a.name for a in given if a.kind in (a.KEYWORD_ONLY, a.POSITIONAL_OR_KEYWORD)],
    )


def numpys() -> dict[str, Any]:
    """What NumPy asks its operands about: ufuncs and functions that can be overridden."""
    asks = (np.ufunc, type(np.sum))
    return {
        f"np.{n}": f for n in dir(np) if isinstance(f := getattr(np, n), asks) and n != "unwrap"
    }
