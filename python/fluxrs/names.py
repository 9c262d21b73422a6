"""Greek names and their ASCII twins: the one place that knows both spellings.

A signature is written once, with the symbols of the formula. `keywords` makes it take
either spelling, and turns an unknown keyword into an error that names the nearest one.
Python reads `ϵ` in a program as `ε`; what users see says `ϵ`.
"""

from __future__ import annotations

import functools
import inspect
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
    "δ": "delta",
    "initα": "initalpha",
    "initβ": "initbeta",
    "initγ": "initgamma",
}

# Other libraries' names of ours.
ELSEWHERE = {
    "lr": ("η",),
    "learning_rate": ("η",),
    "stepsize": ("η",),
    "beta": ("β1", "β2"),
    "betas": ("β1", "β2"),
    "momentum": ("ρ",),
    "alpha": ("ρ",),
    "epsilon": ("ε",),
    "weight_decay": ("decay",),
    "padding": ("pad",),
    "kernel_size": ("k",),
    "dim": ("axis", "axes"),
    "dims": ("axis", "axes"),
    "dim0": ("axis1",),
    "dim1": ("axis2",),
    "keepdim": ("keepdims",),
    "unbiased": ("ddof",),
    "correction": ("ddof",),
    "min": ("low",),
    "max": ("high",),
    "a_min": ("low",),
    "a_max": ("high",),
    "size": ("shape",),
    "input": ("x",),
    "a": ("x",),
    "other": ("y",),
    "shift": ("shifts",),
}


def greek(name: str, known: Iterable[str]) -> str:
    """The one of the known names whose ASCII twin this is; else the name itself."""
    return next((g for g in known if TWINS.get(g) == name), name)


def written(name: str) -> str:
    """A name as the pages have it."""
    return name.replace("ε", "ϵ")


def shown(name: str) -> str:
    """A name for a message, with its twin if it has one."""
    return f"{written(name)}, or {TWINS[name]}," if name in TWINS else name


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
        title = type(args[0]).__name__ if f.__name__ == "__init__" and args else _title(f)
        return f(*args, **_canonical(title, names, given))

    if "ε" in names:
        signature = inspect.signature(f)
        parameters = [p.replace(name=written(p.name)) for p in signature.parameters.values()]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.names = tuple(n for n in names if n != "self")  # type: ignore[attr-defined]
    return cast(F, call)


def _decorate_class(cls: type) -> None:
    init = vars(cls)["__init__"]
    type.__setattr__(cls, "__init__", keywords(init))
    for greek in {n for c in cls.__mro__ for n in c.__dict__.get("__annotations__", ())}:
        if greek in TWINS:
            setattr(cls, TWINS[greek], _alias(greek))


def _alias(greek: str) -> property:
    def get(self: Any) -> Any:
        return getattr(self, greek)

    def put(self: Any, value: Any) -> None:
        setattr(self, greek, value)

    return property(get, put, doc=f"The same as `{written(greek)}`.")


def _keyword_names(f: Any) -> tuple[str, ...]:
    code = f.__code__
    return tuple(
        code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    )


def _canonical(title: str, names: Iterable[str], given: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for spelled, value in given.items():
        name = normalize("NFKC", spelled)
        if name not in names:
            name = greek(name, names)
        if name not in names:
            raise TypeError(unknown(title, spelled, [n for n in names if n != "self"]))
        if name in out:
            raise TypeError(
                f"{title}: {written(name)} and {TWINS[name]} are one keyword; give one of them"
            )
        out[name] = value
    return out


def unknown(title: str, spelled: str, known: Iterable[str]) -> str:
    """The message for a keyword that a function does not have."""
    return f"{title} has no keyword {spelled!r}; {nearest(title, spelled, known)}"


def nearest(title: str, spelled: str, known: Iterable[str]) -> str:
    """Known names that one that is not known may have meant."""
    from difflib import get_close_matches  # here, since it takes milliseconds to import

    known = list(known)
    if spelled == "weight_decay" and title != "ADAMW" and "decay" in known:
        return "weight decay is ADAMW's decay, ADAMW(params, η, decay=…)"
    same = [n for n in ELSEWHERE.get(spelled, ()) if n in known]
    spellings = known + [TWINS[n] for n in known if n in TWINS]
    near = get_close_matches(normalize("NFKC", spelled), spellings, 1, cutoff=0.5)
    meant = same or [greek(n, known) for n in near]
    if meant:
        return f"did you mean {' and '.join(map(_both, meant))}?"
    return f"it has {', '.join(map(_both, known)) or 'none'}"


def _both(name: str) -> str:
    return f"{TWINS[name]} ({written(name)})" if name in TWINS else name


def _title(f: Any) -> str:
    return str(f.__qualname__).removesuffix(".__init__")
