"""The same cases in PyTorch, eager and compiled, and in JAX: each as its own users write a fast step.

The compiled ones are given the whole step (forward, gradient, update) as one function, which is the fastest
form that either has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from peer_loops import jax_loops, torch_loops
from peer_nets import jax_nets, torch_nets

Run = Callable[[int], None]
SIZES = [(32, 784), (32,), (10, 32), (10,)]


def data(batch: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Weights, input and target of the digits' cases."""
    rng = np.random.default_rng(0)
    lead = (batch,) if batch > 1 else ()
    weights = [(0.05 * rng.standard_normal(s)).astype(np.float32) for s in SIZES]
    x, y = (rng.random((*lead, n), dtype=np.float32) for n in (784, 10))
    return weights, x, y


def page_data() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(s, dtype=np.float32) for s in ((2, 5), (2,), (5,), (2,))]


def torch_eager() -> dict[str, Callable[[], Run]]:
    import torch

    torch.set_num_threads(2)

    def page() -> Run:
        W, b, x, y = map(torch.from_numpy, page_data())
        W.requires_grad_()
        b.requires_grad_()

        def run(n: int) -> None:
            for _ in range(n):
                loss = ((y - (W @ x + b)) ** 2).sum()
                dW, db = torch.autograd.grad(loss, (W, b))
                with torch.no_grad():
                    W.sub_(dW, alpha=0.01)
                    b.sub_(db, alpha=0.01)

        return run

    def digits(batch: int, rule: Callable) -> Run:
        _, x, y = data(batch)
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        nn = torch.nn
        m = nn.Sequential(nn.Linear(784, 32), nn.Sigmoid(), nn.Linear(32, 10), nn.Softmax(-1))
        opt = rule(m.parameters())

        def run(n: int) -> None:
            for _ in range(n):
                opt.zero_grad()
                nn.functional.mse_loss(m(x), y).backward()
                opt.step()

        return run

    def adds() -> Run:
        a = torch.arange(10.0, requires_grad=True)
        b = torch.ones(10, requires_grad=True)

        def run(n: int) -> None:
            for _ in range(n // 1000):
                kept = [a + b for _ in range(1000)]
                del kept

        return run

    return {
        "page": page,
        "sgd": lambda: digits(1, lambda ps: torch.optim.SGD(ps, 0.1)),
        "adam64": lambda: digits(64, lambda ps: torch.optim.Adam(ps, 0.001)),
        "adds": adds,
        **torch_nets(compiled=False),
        **torch_loops(compiled=False),
    }


def torch_compile() -> dict[str, Callable[[], Run]]:
    import torch

    torch.set_num_threads(2)

    def stepped(step: Callable, state: list, x: object, y: object) -> Run:
        fast = torch.compile(step)

        def run(n: int) -> None:
            nonlocal state
            with torch.no_grad():
                for _ in range(n):
                    state = fast(state, x, y)

        return run

    def page() -> Run:
        W, b, x, y = map(torch.from_numpy, page_data())

        def loss(ws, x, y):
            return ((y - (ws[0] @ x + ws[1])) ** 2).sum()

        def step(ws, x, y):
            return [w - 0.01 * d for w, d in zip(ws, torch.func.grad(loss)(ws, x, y), strict=True)]

        return stepped(step, [W, b], x, y)

    def loss(ws, x, y):
        h = torch.sigmoid(x @ ws[0].T + ws[1])
        return torch.nn.functional.mse_loss(torch.softmax(h @ ws[2].T + ws[3], -1), y)

    def sgd() -> Run:
        weights, x, y = data(1)

        def step(ws, x, y):
            return [w - 0.1 * d for w, d in zip(ws, torch.func.grad(loss)(ws, x, y), strict=True)]

        ws = [torch.from_numpy(w) for w in weights]
        return stepped(step, ws, torch.from_numpy(x), torch.from_numpy(y))

    def adam64() -> Run:
        weights, x, y = data(64)
        ws = [torch.from_numpy(w) for w in weights]
        zeros = [torch.zeros_like(w) for w in ws]

        def step(state, x, y):
            ws, ms, vs, t = state
            return adam(ws, ms, vs, t, torch.func.grad(loss)(ws, x, y), torch.sqrt)

        state = [ws, zeros, [z.clone() for z in zeros], torch.zeros(())]
        return stepped(step, state, torch.from_numpy(x), torch.from_numpy(y))

    steps = {"page": page, "sgd": sgd, "adam64": adam64}
    return {**steps, **torch_nets(compiled=True), **torch_loops(compiled=True)}


def adam(ws, ms, vs, t, ds, sqrt):
    """ADAM as its paper has it, on lists of either library's arrays."""
    t = t + 1
    ms = [0.9 * m + 0.1 * d for m, d in zip(ms, ds, strict=True)]
    vs = [0.999 * v + 0.001 * d * d for v, d in zip(vs, ds, strict=True)]
    c1, c2 = 1 - 0.9**t, 1 - 0.999**t
    ws = [w - 0.001 * (m / c1) / (sqrt(v / c2) + 1e-8) for w, m, v in zip(ws, ms, vs, strict=True)]
    return [ws, ms, vs, t]


def jax_jit() -> dict[str, Callable[[], Run]]:
    import jax
    import jax.numpy as jnp

    def stepped(step: Callable, state: list, x: object, y: object) -> Run:
        fast = jax.jit(step, donate_argnums=0)
        state, x, y = jax.tree.map(jnp.asarray, (state, x, y))

        def run(n: int) -> None:
            nonlocal state
            for _ in range(n):
                state = fast(state, x, y)
            jax.block_until_ready(state)

        return run

    def page() -> Run:
        W, b, x, y = page_data()

        def loss(ws, x, y):
            return ((y - (ws[0] @ x + ws[1])) ** 2).sum()

        def step(ws, x, y):
            return [w - 0.01 * d for w, d in zip(ws, jax.grad(loss)(ws, x, y), strict=True)]

        return stepped(step, [W, b], x, y)

    def loss(ws, x, y):
        h = jax.nn.sigmoid(x @ ws[0].T + ws[1])
        return jnp.mean((jax.nn.softmax(h @ ws[2].T + ws[3]) - y) ** 2)

    def sgd() -> Run:
        def step(ws, x, y):
            return [w - 0.1 * d for w, d in zip(ws, jax.grad(loss)(ws, x, y), strict=True)]

        return stepped(step, *data(1))

    def adam64() -> Run:
        def step(state, x, y):
            ws, ms, vs, t = state
            return adam(ws, ms, vs, t, jax.grad(loss)(ws, x, y), jnp.sqrt)

        ws, x, y = data(64)
        zeros = [np.zeros_like(w) for w in ws]
        return stepped(step, [ws, zeros, [z.copy() for z in zeros], np.float32(0)], x, y)

    def adds() -> Run:
        a, b = jnp.arange(10.0), jnp.ones(10)

        def run(n: int) -> None:
            for _ in range(n // 1000):
                kept = [a + b for _ in range(1000)]
                jax.block_until_ready(kept)

        return run

    def trained(ps, x, y, loss: Callable) -> Run:
        """Steps of ADAM."""

        def step(state, x, y):
            ps, ms, vs, t = state
            leaves, form = jax.tree.flatten(ps)
            ds = jax.tree.leaves(jax.grad(loss)(ps, x, y))
            ws, ms, vs, t = adam(leaves, ms, vs, t, ds, jnp.sqrt)
            return [jax.tree.unflatten(form, ws), ms, vs, t]

        zeros = [np.zeros_like(w) for w in jax.tree.leaves(ps)]
        return stepped(step, [ps, zeros, [z.copy() for z in zeros], np.float32(0)], x, y)

    steps = {"page": page, "sgd": sgd, "adam64": adam64, "adds": adds}
    return {**steps, **jax_nets(stepped), **jax_loops(trained)}


LIBRARIES = {"torch": torch_eager, "torch.compile": torch_compile, "jax.jit": jax_jit}
