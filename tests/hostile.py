"""Every public function, method and class with hostile values in every place. Run by test_hostile.py, a child a share:

    python tests/hostile.py SEED PART PARTS SECONDS FILE

All of it once, or as long as SECONDS. FILE has the call under way, for a process that ends by itself. What is found is
printed, a line each.
"""

from __future__ import annotations

import copy
import fcntl
import inspect
import itertools
import math
import os
import pickle
import random
import re
import signal
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from typing import Any
from urllib.request import OpenerDirector

import numpy as np

import fluxrs
from fluxrs import ADAM, Chain, Dense, Tensor, back, params, tensor
from hostile_objects import Hostile, Make, objects
from hostile_surface import methods, numpys, public, takes
from hostile_values import ARRAYS, HONESTS, NUMBERS, OTHERS, G

#: Under a sanitizer, which needs very many addresses, everything takes longer.
SANITIZED = "san.so" in os.environ.get("LD_PRELOAD", "")
SLOWER = 20 if SANITIZED else 1


class Hangs(BaseException):
    """The call did not end in time."""


DOCUMENTED = (
    ValueError, TypeError, IndexError, KeyError, MemoryError, OverflowError, FloatingPointError, Hostile,
    fluxrs.StopException, RuntimeError, OSError, StopIteration, BufferError,
    pickle.PicklingError, RecursionError,
)  # fmt: skip
# Words of the inside of the library, of Rust or of PyO3.
LEAKS = re.compile(
    r"fault inside|\bPy(Tensor|Leaf|Params|Grads|Any|Cell)\b|panicked|RefCell|[Bb]orrowed|unwrap|Rust|\bpyo3\b|_core\."
)


class Trial:
    def __init__(self, seed: int, until: float, current: int) -> None:
        self.until, self.current, self.calls, self.found = until, current, 0, {}
        self.out = fcntl.fcntl(1, fcntl.F_DUPFD, 100)
        self.strict = True
        self.seed, self.random = seed, random.Random(seed)
        self.hostile: list[tuple[str, Make]] = objects(G)
        self.hostile += [(k, v) for k, v in (*ARRAYS.items(), *OTHERS.items())]
        self.hostile += [(f"{n!s:.20}", lambda n=n: n) for n in NUMBERS]
        self.honest = list(HONESTS.items())
        self.bits = training()

    def draw_for(self, name: str) -> None:
        """What is drawn for one name does not change with what else is public."""
        self.random = random.Random(f"{self.seed} {name}")

    def over(self) -> bool:
        return time.monotonic() > self.until

    def note(self, what: str, problem: str) -> None:
        # Once for each call and kind of problem.
        key = (what.split("(")[0], problem.split(":")[0])
        if key not in self.found:
            self.found[key] = f"{what}: {problem}"
            self.say("FOUND", f"{what}: {problem}")

    def say(self, *words: object) -> None:
        # A hostile path may be 1.
        line = " ".join(map(str, words)).encode("ascii", "backslashreplace") + b"\n"
        os.write(self.out, line)

    def call(self, what: str, f: Callable[[], Any]) -> bool:
        """True if it returned a value."""
        self.calls += 1
        G.left = 20
        self.strict = "inside " not in what and "__array_" not in what
        os.pwrite(self.current, what.encode("utf-8", "replace")[:500].ljust(500), 0)
        signal.setitimer(signal.ITIMER_REAL, 10 * SLOWER)
        began = time.monotonic()
        try:
            use(f(), what)
            return True
        except DOCUMENTED as error:
            self.judge(what, error)
        except Hangs:
            self.note(what, "hangs")
        except BaseException as error:
            self.judge(what, error, documented=False)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if time.monotonic() - began > 3 * SLOWER:
                self.note(what, "takes long")
        return False

    def judge(self, what: str, error: BaseException, documented: bool = True) -> None:
        text = str(error)
        if documented and isinstance(error, Hostile):
            return
        kind = type(error).__name__
        if isinstance(error, AttributeError) and text.startswith("Can't pickle"):
            return
        if (
            not documented
            and not ours_raised(error)
            and (
                self.strict
                or not isinstance(error, (AttributeError, AssertionError, ArithmeticError))
            )
        ):
            self.note(what, f"{kind}: {text[:300]} [{where(error)}]")
        elif documented and LEAKS.search(text):
            self.note(what, f"leaks: {kind}: {text[:300]} [{where(error)}]")
        elif (
            documented
            and not text
            and not isinstance(error, (Hostile, MemoryError, StopIteration, fluxrs.StopException))
        ):
            self.note(what, f"says nothing: {kind} [{where(error)}]")

    def still_works(self, what: str) -> None:
        got = training()
        if got != self.bits:
            self.note(what, f"training gives other bits afterwards: {got} and not {self.bits}")
            self.bits = got

    def good_calls(
        self, name: str, f: Callable[..., Any], least: int, most: int
    ) -> list[list[str]]:
        """Some lists of honest values that `f` takes."""
        self.draw_for(name)
        found: list[list[str]] = []
        for n in range(least, most + 1):
            tried = 0
            while tried < 60 and sum(len(g) == n for g in found) < 2:
                tried += 1
                names = [k for k, _ in self.random.choices(self.honest, k=n)]
                if self.call(
                    f"{name}({', '.join(names)})",
                    lambda names=names: f(*(HONESTS[k]() for k in names)),
                ):
                    found.append(names)
                if n == 0:
                    break
        return found

    def attack(self, name: str, f: Callable[..., Any], share: int) -> None:
        least, most, keywords = takes(f)
        good = self.good_calls(name, f, least, most) or [
            [self.random.choice(self.honest)[0]] * max(least, 1)
        ]
        places = [(g, i) for g in good for i in range(len(g))] + [
            (g, k) for g in good for k in keywords
        ]
        for _ in range(share):
            if self.over() or not places:
                break
            names, place = self.random.choice(places)
            what, make = self.random.choice(self.hostile)

            def run() -> Any:
                values: list[Any] = [HONESTS[k]() for k in names]
                extra: dict[str, Any] = {}
                try:
                    bad = make()
                except (Hostile, TypeError, ValueError, MemoryError) as error:
                    raise Hostile from error
                if isinstance(place, int):
                    values[place] = bad
                else:
                    extra[place] = bad
                return f(*values, **extra)

            shown = ", ".join(what if i == place else k for i, k in enumerate(names))
            self.call(
                f"{name}({shown}{'' if isinstance(place, int) else f', {place}={what}'})", run
            )
        self.still_works(name)


def where(error: BaseException) -> str:
    """The last places of the error's trace outside this file."""
    trace, out = error.__traceback__, []
    while trace:
        at = trace.tb_frame.f_code
        if at.co_filename != __file__:
            out.append(f"{os.path.basename(at.co_filename)}:{trace.tb_lineno} {at.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(out[-3:]))


def ours_raised(error: BaseException) -> bool:
    """True if the error came out of Python's or NumPy's code that a hostile object runs by itself."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now and id(now) not in seen:
        if isinstance(now, Hostile):
            return True
        seen.add(id(now))
        now = now.__cause__ or now.__context__
    return False


def use(x: Any, what: str) -> None:
    """Reads what came of a call."""
    if isinstance(x, Tensor):
        if x.size <= 10**6:
            np.asarray(x)
            repr(x)
        return
    if isinstance(x, (types.GeneratorType, itertools.count)) or hasattr(type(x), "__next__"):
        for y in itertools.islice(x, 3):
            use(y, what)
        return
    if isinstance(x, (list, tuple)):
        for y in x[:5]:
            use(y, what)
        return
    if type(x).__module__.split(".")[0] in ("fluxrs", "contextlib"):
        repr(x)
        if hasattr(type(x), "__enter__"):
            with x:
                float((G.p * 2).sum())


def training() -> str:
    """A training step: its bits."""
    fluxrs.seed(5)
    rows = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
    m = Chain(Dense(3, 5, fluxrs.tanh), Dense(5, 2))
    opt = ADAM(params(m), 0.01)
    for _ in range(2):
        back((m(rows) ** 2).mean() + (fluxrs.softmax(m(rows)) * fluxrs.rand(4, 2)).sum())
        opt()
    return b"".join(np.asarray(p).tobytes() for p in params(m)).hex()[-96:]


def instances(things: dict[str, Any], trial: Trial) -> dict[str, Make]:
    """For each class a way to make one, found by trying."""
    makers: dict[str, Make] = {
        f"of {k}": v
        for k, v in HONESTS.items()
        if k in ("matrix", "p", "Params", "chain", "optimiser")
    }
    makers["of p.data"], makers["of p.grad"] = OTHERS["p.data"], OTHERS["p.grad"]
    makers["of Grads"] = OTHERS["Grads"]
    for name, cls in things.items():
        if not isinstance(cls, type) or issubclass(cls, BaseException):
            continue
        least, most, _ = takes(cls)
        for good in trial.good_calls(name, cls, least, most)[:1]:
            makers[name] = lambda cls=cls, good=good: cls(*(HONESTS[k]() for k in good))
    return makers


def attack_method(trial: Trial, name: str, make: Make, method: str, share: int) -> None:
    def f(*values: Any, **more: Any) -> Any:
        it = make()
        try:
            act = (
                getattr(it, method) if method[:2] != "__" else getattr(type(it), method).__get__(it)
            )
        except AttributeError:
            return None
        if not callable(act):
            return act
        out = act(*values, **more)
        if method == "__enter__":
            type(it).__exit__(it, None, None, None)
        return out

    if method == "__exit__":
        return
    try:
        f.__signature__ = inspect.signature(getattr(make(), method))  # type: ignore[attr-defined]
    except Exception:
        f.__signature__ = inspect.signature(lambda a=None, b=None: None)  # type: ignore[attr-defined]
    trial.attack(f"{name}.{method}", f, share)


def attribute(trial: Trial, name: str, make: Make, share: int) -> None:
    """Attributes are set to hostile values, and deleted."""
    trial.draw_for(name)
    names = [n for n in dir(make()) if n[0] != "_"]
    for n in names:
        for what, bad in trial.random.choices(trial.hostile, k=share):

            def run(n: str = n, bad: Make = bad) -> Any:
                it = make()
                try:
                    value = bad()
                except (TypeError, ValueError, MemoryError) as error:
                    raise Hostile from error
                try:
                    setattr(it, n, value)
                except AttributeError:
                    return None
                return it

            trial.call(f"inside {name}.{n} = {what}", run)


def copies(trial: Trial, name: str, x: Any) -> None:
    acts: list[tuple[str, Callable[[Any], Any]]] = [
        ("copy", copy.copy),
        ("deepcopy", copy.deepcopy),
    ]
    acts += [(f"pickle {v}", lambda x, v=v: pickle.loads(pickle.dumps(x, v))) for v in (0, 2, 5)]
    for act, f in acts:
        trial.call(f"{act} of {name}", lambda f=f: f(x()))


def main(seed: int, part: int, parts: int, seconds: float, file: str) -> None:
    import resource

    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 << 20, 10 << 20))
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    current = fcntl.fcntl(os.open(file, os.O_RDWR | os.O_CREAT), fcntl.F_DUPFD, 100)

    def hang(*_: Any) -> None:
        raise Hangs

    signal.signal(signal.SIGALRM, hang)
    nothing = os.open(os.devnull, os.O_RDWR)
    trial = Trial(seed, time.monotonic() + seconds if seconds else math.inf, current)
    for standard in range(3):
        os.dup2(nothing, standard)
    share = 12 if seconds else 2
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["FLUXRS_DATA"] = folder
        OpenerDirector.open = unreachable  # nothing is asked of the network
        while True:
            jobs = all_jobs(trial, share)
            if seconds:
                random.Random(trial.seed).shuffle(jobs)
            for job in jobs[part::parts]:
                if trial.over():
                    break
                job()
            trial.seed += 1
            if trial.over() or not seconds:
                break
        os.chdir("/")
    trial.still_works("all")
    trial.say("DONE", trial.calls)


def unreachable(*_: Any, **__: Any) -> None:
    raise OSError("no network")


def all_jobs(trial: Trial, share: int) -> list[Callable[[], None]]:
    things = public()
    makers = instances(things, trial)
    things |= {
        f"inside {name}": lambda *a, f=f, **k: f(tensor([[1.0, 2], [3, 4]]), *a, **k)
        for name, f in numpys().items()
    }
    jobs: list[Callable[[], None]] = []
    for name, f in things.items():
        jobs.append(lambda name=name, f=f: trial.attack(name, f, share))
        if "inside" not in name:
            jobs.append(lambda name=name, f=f: copies(trial, name, lambda: f))
    for name, make in makers.items():
        jobs.append(lambda name=name, make=make: copies(trial, f"{name}'s instance", make))
        jobs.append(lambda name=name, make=make: attribute(trial, name, make, 2))
        for method in methods(type(make())):
            jobs.append(
                lambda name=name, make=make, method=method: attack_method(
                    trial, name, make, method, share
                )
            )
    return jobs


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), float(sys.argv[4]), sys.argv[5])
