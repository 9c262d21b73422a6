"""The cases where arithmetic counts in PyTorch, eager and compiled, and in JAX, in the fastest form that each documents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import loops

Run = Callable[[int], None]


def torch_loops(compiled: bool) -> dict[str, Callable[[], Run]]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    fast = torch.compile if compiled else (lambda f: f)
    tensor = torch.from_numpy

    def stepped(m: nn.Module, loss: Callable) -> Run:
        opt = torch.optim.Adam(m.parameters(), 0.001, fused=not compiled)
        value, step = fast(loss), fast(opt.step)

        def run(n: int) -> None:
            for _ in range(n):
                opt.zero_grad()
                value().backward()
                step()

        return run

    def slopes(loss: Callable, ps: list) -> Run:
        """Value and gradients."""
        value = fast(loss)

        def run(n: int) -> None:
            for _ in range(n):
                torch.autograd.grad(value(), ps, allow_unused=True)

        return run

    def mlp256() -> Run:
        x, y = map(tensor, loops.samples())
        wide = nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU()
        m = nn.Sequential(*wide, nn.Linear(1024, 10))
        return stepped(m, lambda: F.cross_entropy(m(x), y))

    def adam25m() -> Run:
        ws, ds = loops.tensors()
        ps, ds = [nn.Parameter(tensor(w)) for w in ws], [tensor(d) for d in ds]
        opt = torch.optim.Adam(ps, 0.001, fused=not compiled)
        step = fast(opt.step)
        for p, d in zip(ps, ds, strict=True):
            p.grad = d

        def run(n: int) -> None:
            for _ in range(n):
                step()

        return run

    def chain4m() -> Run:
        x = tensor(loops.line()).requires_grad_()
        chain = lambda: (
            torch.tanh(1.3 * x + 0.2) * torch.sigmoid(x) + 0.7 * torch.exp(-(x**2))
        ).mean()
        return slopes(chain, [x])

    def hvp() -> Run:
        z = tensor(loops.points())
        layers = [nn.Linear(a, b) for a, b in ((2, 64), (64, 64), (64, 64))]
        m = nn.Sequential(*(f for layer in layers for f in (layer, nn.Tanh())), nn.Linear(64, 1))
        sides = torch.eye(2)[:, None].expand(2, *z.shape).contiguous()

        def bend(side):
            along = lambda f: lambda z: torch.func.jvp(f, (z,), (side,))[1]
            return along(along(m))(z)

        return slopes(lambda: ((bend(sides[0]) + bend(sides[1])) ** 2).mean(), list(m.parameters()))

    def unrolled() -> Run:
        x, y = map(tensor, loops.sequence())
        cell = nn.LSTMCell(96, 128)
        opt = torch.optim.Adam(cell.parameters(), 0.001, fused=not compiled)
        turn, step = fast(cell), fast(opt.step)

        def run(n: int) -> None:
            for _ in range(n):
                opt.zero_grad()
                state = (torch.zeros(32, 128), torch.zeros(32, 128))
                for t in range(50):
                    state = turn(x[t], state)
                ((state[0] - y) ** 2).mean().backward()
                step()

        return run

    def softmax_rows() -> Run:
        x, y = map(tensor, loops.classes())
        x.requires_grad_()
        return slopes(lambda: F.cross_entropy(x, y), [x])

    def norm_rows() -> Run:
        x, y = map(tensor, loops.features())
        x.requires_grad_()
        m = nn.LayerNorm(768)
        return slopes(lambda: (m(x) * y).sum(), [x, *m.parameters()])

    cases = [mlp256, adam25m, chain4m, hvp, unrolled, softmax_rows, norm_rows]
    return {case.__name__: case for case in cases}


def jax_loops(trained: Callable[..., Run]) -> dict[str, Callable[[], Run]]:
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(1)

    def dense(i: int, o: int) -> tuple[np.ndarray, np.ndarray]:
        return (rng.standard_normal((i, o)) / np.sqrt(i)).astype(np.float32), np.zeros(
            o, np.float32
        )

    def net(ps, x, σ):
        for w, b in ps[:-1]:
            x = σ(x @ w + b)
        return x @ ps[-1][0] + ps[-1][1]

    def cross_entropy(logits, y):
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * y, -1))

    def repeated(f: Callable, *given: object) -> Run:
        fast, given = jax.jit(f), jax.tree.map(jnp.asarray, given)

        def run(n: int) -> None:
            for _ in range(n):
                jax.block_until_ready(fast(*given))

        return run

    def mlp256() -> Run:
        ps = [dense(784, 1024), dense(1024, 1024), dense(1024, 10)]
        loss = lambda ps, x, y: cross_entropy(net(ps, x, jax.nn.relu), y)
        return trained(ps, *loops.samples(), loss)

    def adam25m() -> Run:
        ws, ds = loops.tensors()
        slope = lambda ps, x, y: sum(jnp.vdot(p, d) for p, d in zip(ps, x, strict=True))
        return trained(ws, ds, np.float32(0), slope)

    def chain4m() -> Run:
        def chain(x):
            return (jnp.tanh(1.3 * x + 0.2) * jax.nn.sigmoid(x) + 0.7 * jnp.exp(-(x**2))).mean()

        return repeated(jax.value_and_grad(chain), loops.line())

    def hvp() -> Run:
        def loss(ps, z):
            u = lambda z: net(ps, z, jnp.tanh)

            def bend(k):
                side = jnp.zeros_like(z).at[:, k].set(1)
                along = lambda f: lambda z: jax.jvp(f, (z,), (side,))[1]
                return along(along(u))(z)

            return jnp.mean((bend(0) + bend(1)) ** 2)

        ps = [dense(2, 64), dense(64, 64), dense(64, 64), dense(64, 1)]
        return repeated(jax.grad(loss), ps, loops.points())

    def unrolled() -> Run:
        def loss(ps, x, y):
            h = c = jnp.zeros((32, 128))
            for t in range(50):
                z = x[t] @ ps[0][0] + h @ ps[1][0] + ps[0][1]
                i, f, g, o = jnp.split(z, 4, -1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return jnp.mean((h - y) ** 2)

        return trained([dense(96, 512), dense(128, 512)], *loops.sequence(), loss)

    def softmax_rows() -> Run:
        return repeated(jax.value_and_grad(cross_entropy), *loops.classes())

    def norm_rows() -> Run:
        def loss(x, γ, β, y):
            mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            return jnp.sum(((x - mean) * jax.lax.rsqrt(var + 1e-5) * γ + β) * y)

        x, y = loops.features()
        γ, β = np.ones(768, np.float32), np.zeros(768, np.float32)
        return repeated(jax.grad(loss, (0, 1, 2)), x, γ, β, y)

    cases = [mlp256, adam25m, chain4m, hvp, unrolled, softmax_rows, norm_rows]
    return {case.__name__: case for case in cases}
