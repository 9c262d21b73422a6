"""What to send when the GPU fails."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

import numpy as np

from . import _core
from ._core import Params, gradient, param, tensor
from .moving import cpu


def _data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype("float32")


def _slope(f: Callable[..., _core.Tensor]) -> Callable[..., _core.Tensor]:
    def slope(x: _core.Tensor) -> _core.Tensor:
        p = param(x)
        return gradient(lambda: f(p), Params([p]))[p]

    return slope


def _long(x: _core.Tensor) -> _core.Tensor:
    return _core.cumsum(x.reshape(-1))


_ROWS = np.random.default_rng(1).integers(0, 7, 300)

#: A line for each kind of kernel: what it computes, and of which array. The CPU's values are the right ones.
CHECKS: dict[str, tuple[Callable[[_core.Tensor], _core.Tensor], np.ndarray]] = {
    "elementwise": (lambda x: _core.exp(x * 45) + _core.tanh(x), _data(1000)),
    "NaN and Inf": (
        lambda x: _core.stack([x == x, x < 1, _core.isnan(x)], 0),
        np.array([np.nan, np.inf, -np.inf, 0, 1], "float32"),
    ),
    "views": (lambda x: x.T[::-1] * x.reshape(30, 50), _data(50, 30)),
    "sum of all": (lambda x: x.sum(), _data(300_000)),
    "sums of rows and columns": (lambda x: _core.hstack([x.sum(0), x.sum(1)]), _data(300, 500)),
    "softmax": (lambda x: _core.softmax(x, 1), _data(20, 700)),
    "product": (lambda x: x @ x.T, _data(130, 70)),
    "running sum": (_long, _data(5000)),
    "argmax": (lambda x: _core.argmax(x), _data(50_000)),
    "sort": (lambda x: _core.sort(x), _data(5000)),
    "rows by number": (lambda x: x[_ROWS], _data(7, 5)),
    "their gradient": (_slope(lambda x: (x[_ROWS] ** 2).sum()), _data(7, 5)),
    "solve": (lambda x: _core.solve(x + 9 * _core.eye(12).to(x.device), x), _data(12, 12)),
    "random numbers": (lambda x: _seeded(x), _data(1000)),
}


def _seeded(x: _core.Tensor) -> _core.Tensor:
    with _core.replay((3, 0)):
        return _core.rand_like(x)


def _check(f: Callable[[_core.Tensor], _core.Tensor], x: np.ndarray, device: str) -> str:
    want = np.asarray(f(tensor(x)), "float64")
    try:
        got = np.asarray(cpu(f(tensor(x).to(device))), "float64")
    except Exception as error:  # noqa: BLE001 - whatever it is belongs into the report
        return f"{type(error).__name__}: {error}"
    with np.errstate(invalid="ignore"):
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        near = np.abs(got - want) <= 1e-4 * np.maximum(1, np.abs(want))
    wrong = np.flatnonzero(~(same | near))
    if not wrong.size:
        return "ok"
    i = wrong[0]
    return f"WRONG at {wrong.size} of {want.size}, first at {i}: {got.flat[i]!r} instead of {want.flat[i]!r}"


def gpu_report() -> None:
    """`gpu_report()`: prints what to send when something fails on the GPU.

    Versions, settings, every adapter with its driver, limits and features, and for each that can be used
    whether a line for each kind of kernel gives the CPU's values there.

    >>> import fluxrs
    >>> fluxrs.gpu_report()
    fluxrs ...
    """
    print(f"fluxrs {_core.__version__}, Python {platform.python_version()}, {platform.platform()}")
    settings = {k: v for k, v in os.environ.items() if k.startswith(("FLUXRS_GPU", "VK_", "WGPU_"))}
    print(f"settings: {settings or 'none'}")
    for line, details in zip(_core.devices(), ["", *_core.gpu_details()], strict=True):
        print(line)
        if details:
            print(f"    {details}")
        if line.startswith("gpu:"):
            for name, (f, x) in CHECKS.items():
                print(f"    {name}: {_check(f, x, line.split(' ', 1)[0])}")
                sys.stdout.flush()
    if _core.has_gpu():
        print(f"counts: {_core.counters()}")
