"""Recurrent layers: cells, Recur, which keeps their state, and what runs them over sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import DimensionMismatch, Tensor, concatenate, data, param, tanh, zeros
from ..activations import name_of
from ..activations import σ as sigmoid
from ..names import keywords
from ..scanning import leaves, mapped, scan, strong, traced_state
from ..treelike import treelike, walk
from ..typing import ArrayLike
from ..utils import glorot_uniform, initn
from .basic import Init, Layer, activation, like, made, whole, wrong_input


@treelike
@keywords
class RNNCell:
    """`RNNCell(in, out, σ=tanh)`: h = σ(x @ Wi.T + h @ Wh.T + b); called as `h, y = cell(h, x)`, y = h.

    `Wi` is (out, in), `Wh` (out, out), `b` (out,); `h` (out,) is the state to begin with, and trained.

    >>> import fluxrs
    >>> cell = RNNCell(2, 3)
    >>> h, y = cell(cell.h, fluxrs.rand(2))
    >>> y.shape
    (3,)
    """

    Wi: Tensor
    Wh: Tensor
    b: Tensor
    h: Tensor
    σ: Layer

    def __init__(
        self, n_in: int, n_out: int, /, σ: Layer = tanh, *, init: Init = glorot_uniform
    ) -> None:
        self.σ = activation("RNNCell", σ)
        self.Wi, self.Wh, self.b, self.h = _parameters("RNNCell", n_in, n_out, 1, init)

    def _check(self) -> None:
        _check_parameters(self, 1)

    @property
    def start(self) -> Tensor:
        """The state to begin with."""
        return self.h

    def __call__(self, h: Tensor, x: ArrayLike) -> tuple[Tensor, Tensor]:
        t = _input(self, x, h)
        new: Tensor = self.σ(t @ self.Wi.T + h @ self.Wh.T + self.b)
        return new, new

    def __repr__(self) -> str:
        σ = "" if self.σ is tanh else f", {name_of(self.σ)}"
        return f"RNNCell({_sizes(self)}{σ})"


@treelike
class LSTMCell:
    """`LSTMCell(in, out)`: called as `(h, c), y = cell((h, c), x)`, y = h.

    i, f, g, o = σ, σ, tanh, σ of the quarters of x @ Wi.T + h @ Wh.T + b; c = f · c + i · g; h = o · tanh(c).
    `Wi` is (4 out, in), `Wh` (4 out, out), `b` (4 out,), with 1 for the forget gate f. The states to begin with,
    `h` and `c`, are (out,), and trained. Source: Gers, Schmidhuber, Cummins, "Learning to forget", 2000.

    >>> import fluxrs
    >>> cell = LSTMCell(2, 3)
    >>> state, y = cell((cell.h, cell.c), fluxrs.rand(5, 2))
    >>> y.shape
    (5, 3)
    """

    Wi: Tensor
    Wh: Tensor
    b: Tensor
    h: Tensor
    c: Tensor

    def __init__(self, n_in: int, n_out: int, /, *, init: Init = glorot_uniform) -> None:
        self.Wi, self.Wh, self.b, self.h = _parameters("LSTMCell", n_in, n_out, 4, init)
        bias = np.zeros(4 * n_out, np.float32)
        bias[n_out : 2 * n_out] = 1
        self.b = param(bias)
        self.c = made("LSTMCell", "initn", initn, n_out)

    def _check(self) -> None:
        _check_parameters(self, 4)

    @property
    def start(self) -> tuple[Tensor, Tensor]:
        """The state to begin with."""
        return self.h, self.c

    def __call__(
        self, state: tuple[Tensor, Tensor], x: ArrayLike
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        h, c = state
        t = _input(self, x, h)
        n = len(self.h)
        z = t @ self.Wi.T + h @ self.Wh.T + self.b
        i, f = sigmoid(z[..., :n]), sigmoid(z[..., n : 2 * n])
        g, o = tanh(z[..., 2 * n : 3 * n]), sigmoid(z[..., 3 * n :])
        c = f * c + i * g
        h = o * tanh(c)
        return (h, c), h

    def __repr__(self) -> str:
        return f"LSTMCell({_sizes(self)})"


@treelike
class GRUCell:
    """`GRUCell(in, out)`: called as `h, y = cell(h, x)`, y = h.

    With the thirds of u = x @ Wi.T + b and v = h @ Wh.T: r = σ(u₁ + v₁), z = σ(u₂ + v₂),
    h̃ = tanh(u₃ + r · v₃), h = (1 − z) · h̃ + z · h. `Wi` is (3 out, in), `Wh` (3 out, out), `b` (3 out,); the
    state to begin with, `h`, is (out,), and trained. Source: arXiv 1406.1078v1, which resets after the product.

    >>> import fluxrs
    >>> cell = GRUCell(2, 3)
    >>> h, y = cell(cell.h, fluxrs.rand(5, 2))
    >>> y.shape
    (5, 3)
    """

    Wi: Tensor
    Wh: Tensor
    b: Tensor
    h: Tensor

    def __init__(self, n_in: int, n_out: int, /, *, init: Init = glorot_uniform) -> None:
        self.Wi, self.Wh, self.b, self.h = _parameters("GRUCell", n_in, n_out, 3, init)

    def _check(self) -> None:
        _check_parameters(self, 3)

    @property
    def start(self) -> Tensor:
        """The state to begin with."""
        return self.h

    def __call__(self, h: Tensor, x: ArrayLike) -> tuple[Tensor, Tensor]:
        t = _input(self, x, h)
        n = len(self.h)
        u, v = t @ self.Wi.T + self.b, h @ self.Wh.T
        r, z = sigmoid(u[..., :n] + v[..., :n]), sigmoid(u[..., n : 2 * n] + v[..., n : 2 * n])
        h = (1 - z) * tanh(u[..., 2 * n :] + r * v[..., 2 * n :]) + z * h
        return h, h

    def __repr__(self) -> str:
        return f"GRUCell({_sizes(self)})"


@treelike("cell", "init", "state")
class Recur:
    """`Recur(cell, init=None)`: a layer with a state, which `state, y = cell(state, *xs)` carries from call to call.

    A call takes one sample (in,) or a batch (N, in), and makes one step; or a sequence (T, N, in), and
    returns the y of its T steps, (T, …), in one `scan`. `init`, the state to begin with and after `reset`, is
    `cell.start` unless it is given; where the cell makes a larger state of it, for a batch, it is broadcast. A batch of
    another size needs a `reset`.

    >>> import fluxrs
    >>> accumulate = Recur(lambda s, x: (s + x, s + x), fluxrs.tensor(0.0))
    >>> [float(accumulate(x)) for x in (1, 2, 3)]
    [1.0, 3.0, 6.0]
    >>> float(accumulate.state)
    6.0
    """

    cell: Callable[..., Any]
    init: Any
    state: Any

    def __init__(self, cell: Callable[..., Any], init: Any = None, /) -> None:
        if not callable(cell):
            raise TypeError(f"Recur: the cell is {cell!r}, which cannot be called")
        if init is None and not hasattr(cell, "start"):
            raise TypeError(
                f"Recur: {cell!r} has no attribute start, so the state to begin with must be given: Recur(cell, init)"
            )
        self.cell = cell
        self.init = getattr(cell, "start", None) if init is None else init
        self.state = self.init

    def __call__(self, *xs: Any) -> Any:
        for x in xs:
            if isinstance(x, (list, tuple)):
                raise TypeError(
                    f"{self!r} takes a tensor, got a {type(x).__name__}: over(m, seq) applies a model to each "
                    "element of a list; a tensor of three axes (time, batch, features) is a sequence"
                )
        if xs and np.ndim(xs[0]) == 3:
            return _along([self], lambda rows: self._step(*rows), xs)
        if self.state is self.init:
            with _core.replay(_core.random_state()):
                new, _ = self._called(*xs)
            self.state = _widened(self.init, new)
        old = self.state
        y = self._step(*xs)
        self._check_shapes(old)
        return y

    def _step(self, *xs: Any) -> Any:
        """The next y; the state goes on."""
        self.state, y = self._called(*xs)
        return y

    def _check_shapes(self, old: Any) -> None:
        for a, b in zip(leaves(old), leaves(self.state), strict=True):
            if a.shape != b.shape:
                self.state = old
                raise DimensionMismatch(
                    f"{self!r}: the state went from shape {a.shape} to {b.shape}; {_RESET}"
                )

    def _called(self, *xs: Any) -> tuple[Any, Any]:
        try:
            out = self.cell(self.state, *xs)
        except DimensionMismatch as error:
            if self.state is self.init or _RESET in str(error):
                raise
            raise DimensionMismatch(
                f"{error}; if the batch has another size than before: {_RESET}"
            ) from None
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"{self!r}: a cell returns (state, y), got a {type(out).__name__}")
        return mapped(strong, out[0]), out[1]

    def __repr__(self) -> str:
        return f"Recur({self.cell!r})"


_RESET = "a batch of another size starts from a fresh state: call reset(m) before it"


def _widened(init: Any, new: Any) -> Any:
    """The state to begin with, in the shapes that the cell makes of it."""
    shapes = iter([x.shape for x in leaves(new)])
    return mapped(lambda x, _: _broadcast(strong(x, "state"), next(shapes)), init)


def _broadcast(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x.shape == shape else x.broadcast_to(shape)


def _along(recurs: Sequence[Recur], f: Callable[[Any], Any], xs: Any) -> Any:
    """f(x) for each row x of `xs`, as one scan that carries the states of `recurs`."""

    before = [r.state for r in recurs]
    fresh = [r.state is r.init for r in recurs]

    def probe(states: Any, x: Any) -> tuple[Any, Any]:
        for r, s, is_fresh in zip(recurs, states, fresh, strict=True):
            r.state = r.init if is_fresh else s
        y = f(x)
        return [r.state for r in recurs], y

    def step(states: Any, x: Any) -> tuple[Any, Any]:
        for r, s in zip(recurs, states, strict=True):
            r.state = s
        y = f(x)
        for r, s in zip(recurs, states, strict=True):
            r._check_shapes(s)
        return [r.state for r in recurs], y

    states = before
    try:
        if any(fresh):
            new = traced_state(probe, before, xs)
            states = [
                _widened(s, n) if is_fresh else s
                for s, n, is_fresh in zip(before, new, fresh, strict=True)
            ]
        states, ys = scan(step, states, xs)
    except BaseException:
        for r, s in zip(recurs, before, strict=True):
            r.state = s
        raise
    for r, s in zip(recurs, states, strict=True):
        r.state = s
    return ys


@keywords
def RNN(n_in: int, n_out: int, /, σ: Layer = tanh, *, init: Init = glorot_uniform) -> Recur:
    """`RNN(in, out, σ=tanh)`: a recurrent layer of `RNNCell`s. See `Recur` for what it takes.

    >>> import fluxrs
    >>> RNN(2, 3)(fluxrs.rand(7, 5, 2)).shape
    (7, 5, 3)
    """
    return Recur(RNNCell(n_in, n_out, σ, init=init))


@keywords
def LSTM(n_in: int, n_out: int, /, *, init: Init = glorot_uniform) -> Recur:
    """`LSTM(in, out)`: a recurrent layer of `LSTMCell`s. See `Recur` for what it takes.

    >>> import fluxrs
    >>> LSTM(2, 3)(fluxrs.rand(7, 5, 2)).shape
    (7, 5, 3)
    """
    return Recur(LSTMCell(n_in, n_out, init=init))


@keywords
def GRU(n_in: int, n_out: int, /, *, init: Init = glorot_uniform) -> Recur:
    """`GRU(in, out)`: a recurrent layer of `GRUCell`s. See `Recur` for what it takes.

    >>> import fluxrs
    >>> GRU(2, 3)(fluxrs.rand(7, 5, 2)).shape
    (7, 5, 3)
    """
    return Recur(GRUCell(n_in, n_out, init=init))


@treelike
class Bidirectional:
    """`Bidirectional(f, b)`: the y of `f` over a sequence (T, N, in) beside those of `b` from its end, on the last axis.

    >>> import fluxrs
    >>> m = Bidirectional(LSTM(2, 3), LSTM(2, 3))
    >>> m(fluxrs.rand(7, 5, 2)).shape
    (7, 5, 6)
    """

    forward: Layer
    backward: Layer

    def __init__(self, forward: Layer, backward: Layer, /) -> None:
        self.forward, self.backward = forward, backward

    def __call__(self, x: ArrayLike) -> Tensor:
        if np.ndim(x) != 3:
            raise DimensionMismatch(
                f"{self!r} takes a sequence (time, batch, features), got shape {np.shape(x)}"
            )
        return concatenate([over(self.forward, x), flip(self.backward, x)], axis=-1)

    def __repr__(self) -> str:
        return f"Bidirectional({self.forward!r}, {self.backward!r})"


def reset(m: Any, /) -> None:
    """`reset(m)`: put every recurrent layer of `m` back to the state it begins with.

    >>> m = Recur(lambda s, x: (s + x, s + x), 0.0)
    >>> float(m(2.0)), float(m(2.0))
    (2.0, 4.0)
    >>> reset(m)
    >>> float(m(2.0))
    2.0
    """
    for r in _recurs(m):
        r.state = r.init


def truncate(m: Any, /) -> None:
    """`truncate(m)`: keep the states of the recurrent layers of `m`, and forget how they came about.

    Gradients of what comes afterwards go back no further.

    >>> import fluxrs
    >>> m = RNN(2, 3)
    >>> _ = m(fluxrs.rand(2))
    >>> truncate(m)
    >>> fluxrs.istracked(m.state)
    False
    """
    for r in _recurs(m):
        if r.state is not r.init:
            r.state = mapped(lambda x, _: data(x), r.state)


def over(m: Callable[[Any], Any], xs: Any, /) -> Any:
    """`over(m, xs)`: m(x) for each x of a sequence: a list for a list, and for a tensor, in one `scan`, a tensor.

    Recurrent layers in `m` carry their states from step to step.

    >>> import fluxrs
    >>> m = fluxrs.Chain(LSTM(2, 3), fluxrs.Dense(3, 1))
    >>> over(m, fluxrs.rand(7, 5, 2)).shape
    (7, 5, 1)
    >>> [y.shape for y in over(m, [fluxrs.rand(5, 2), fluxrs.rand(5, 2)])]
    [(5, 1), (5, 1)]
    """
    if hasattr(xs, "shape"):
        return _along(_recurs(m), m, xs)
    return [m(x) for x in xs]


def flip(f: Any, xs: Any = None, **axes: Any) -> Any:
    """`flip(f, xs)`: f over a sequence from its end, in the order of `xs`. `flip(x, axis=None)`: NumPy's flip.

    >>> import fluxrs
    >>> running = Recur(lambda s, x: (s + x, s + x), 0.0)
    >>> flip(running, fluxrs.tensor([1.0, 2.0, 3.0])).tolist()
    [6.0, 5.0, 3.0]
    >>> flip([[1, 2], [3, 4]], axis=1).tolist()
    [[2.0, 1.0], [4.0, 3.0]]
    """
    if not callable(f) or isinstance(f, Tensor):
        return _core.flip(f, **axes) if xs is None else _core.flip(f, xs, **axes)
    return over(f, xs[::-1])[::-1]


def _recurs(m: Any) -> list[Recur]:
    return [node for _, node in walk(m) if isinstance(node, Recur)]


# Common to the cells -----------------------------------------------------------------------------


def _parameters(cell: str, n_in: Any, n_out: Any, gates: int, init: Init) -> tuple[Tensor, ...]:
    """Wi, Wh, b and h."""
    n_in, n_out = whole(cell, n_in), whole(cell, n_out)
    Wi = made(cell, "init", init, gates * n_out, n_in)
    Wh = made(cell, "init", init, gates * n_out, n_out)
    return Wi, Wh, param(zeros(gates * n_out)), param(initn(n_out))


def _check_parameters(cell: Any, gates: int) -> None:
    n = len(cell.h) if cell.h.ndim == 1 else -1
    states = [cell.h, *([cell.c] if hasattr(cell, "c") else [])]
    fit = cell.Wi.ndim == 2 and len(cell.Wi) == gates * n and cell.Wh.shape == (gates * n, n)
    if not fit or cell.b.shape != (gates * n,) or any(s.shape != (n,) for s in states):
        shapes = [p.shape for p in (cell.Wi, cell.Wh, cell.b, *states)]
        raise DimensionMismatch(
            f"{type(cell).__name__}: parameters of shapes {shapes} do not fit together"
        )


def _sizes(cell: Any) -> str:
    return f"{cell.Wi.shape[1]}, {len(cell.h)}"


def _input(cell: Any, x: ArrayLike, h: Tensor) -> Any:
    """The input in the weights' dtype, checked."""
    t = like(x, cell.Wi)
    if not t.shape or t.shape[-1] != cell.Wi.shape[1]:
        raise wrong_input(cell, cell.Wi.shape[1], t.shape)
    if h.ndim > 1 and h.shape[:-1] != t.shape[:-1]:
        raise DimensionMismatch(
            f"{cell!r}: the state has shape {h.shape}, from an earlier call, and the input {t.shape}; {_RESET}"
        )
    return t
