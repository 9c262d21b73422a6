"""Greek names and their ASCII twins: the one place that knows both spellings.

A signature is written once, with the symbols of the formula. `keywords` makes it take
either spelling, and turns an unknown keyword into an error that names the nearest one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast
from unicodedata import normalize

F = TypeVar("F", bound=Callable[..., Any])

TWINS = {
    "η": "eta",
    "ρ": "rho",
    "β1": "beta1",
    "β2": "beta2",
    "ε": "eps",
    "σ": "activation",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "μ": "mean",
    "Δ": "delta",
    "initα": "initalpha",
    "initβ": "initbeta",
    "initγ": "initgamma",
}
GREEK = {ascii_: greek for greek, ascii_ in TWINS.items()}


def keywords(f: F) -> F:
    """Let a function, or a class's constructor, take both spellings of its keywords.

    On a class the attributes get their twins too, so that `opt.eta` is `opt.η`.
    """
    if isinstance(f, type):
        _decorate_class(f)
        return f
    names = _keyword_names(f)

    @functools.wraps(f)
    def call(*args: Any, **given: Any) -> Any:
        if not given:
            return f(*args)
        return f(*args, **_canonical(f, names, given))

    return cast(F, call)


def _decorate_class(cls: type) -> None:
    init = vars(cls)["__init__"]
    type.__setattr__(cls, "__init__", keywords(init))
    for greek in {*_keyword_names(init), *cls.__dict__.get("__annotations__", ())}:
        if greek in TWINS:
            setattr(cls, TWINS[greek], _alias(greek))


def _alias(greek: str) -> property:
    def get(self: Any) -> Any:
        return getattr(self, greek)

    def put(self: Any, value: Any) -> None:
        setattr(self, greek, value)

    return property(get, put, doc=f"The same as `{greek}`.")


def _keyword_names(f: Any) -> tuple[str, ...]:
    code = f.__code__
    return tuple(
        code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    )


def _canonical(f: Any, names: Iterable[str], given: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for spelled, value in given.items():
        name = normalize("NFKC", spelled)
        if name not in names:
            name = GREEK.get(name, name)
        if name not in names:
            raise TypeError(_unknown(f, spelled, names))
        if name in out:
            raise TypeError(
                f"{_title(f)}: {name} and {TWINS[name]} are one keyword; give one of them"
            )
        out[name] = value
    return out


def _unknown(f: Any, spelled: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches  # here, since it takes milliseconds to import

    known = [n for n in names if n != "self"]
    spellings = known + [TWINS[n] for n in known if n in TWINS]
    near = get_close_matches(spelled, spellings, 1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
    return f"{_title(f)} has no keyword {spelled!r}; {hint}"


def _title(f: Any) -> str:
    return str(f.__qualname__).removesuffix(".__init__")
