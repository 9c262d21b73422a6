"""The nets' cases in PyTorch, eager and compiled, and in JAX, with the steps that their documentation shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import nets

Run = Callable[[int], None]


def torch_nets(compiled: bool) -> dict[str, Callable[[], Run]]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Residual(nn.Module):
        def __init__(self, body: nn.Module) -> None:
            super().__init__()
            self.body = body

        def forward(self, x):
            return x + self.body(x)

    class Attention(nn.Module):
        """Four heads over one product for queries, keys and values."""

        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(256, 768), nn.Linear(256, 256)

        def forward(self, x):
            n, t, d = x.shape
            q, k, v = self.qkv(x).view(n, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
            h = F.scaled_dot_product_attention(q, k, v)
            return self.out(h.transpose(1, 2).reshape(n, t, d))

    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.dense = nn.LSTM(96, 128), nn.Linear(128, 96)

        def forward(self, x):
            return self.dense(self.lstm(x)[0]).flatten(0, 1)

    def stepped(
        m: nn.Module, x: torch.Tensor, y: torch.Tensor, rule: Callable, loss: Callable
    ) -> Run:
        opt = rule(m.parameters())
        fast, step = (torch.compile(m), torch.compile(opt.step)) if compiled else (m, opt.step)

        def run(n: int) -> None:
            for _ in range(n):
                opt.zero_grad()
                loss(fast(x), y).backward()
                step()

        return run

    def adam(ps):
        return torch.optim.Adam(ps, 0.001)

    def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
        return [torch.from_numpy(a) for a in arrays]

    def lenet() -> Run:
        m = nn.Sequential(
            *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )
        return stepped(m, *tensors(*nets.images(64, 1, 28)), adam, F.cross_entropy)

    def resnet() -> Run:
        def norm(i: int, o: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o))

        blocks = [
            nn.Sequential(Residual(nn.Sequential(norm(64, 64), nn.ReLU(), norm(64, 64))), nn.ReLU())
            for _ in range(2)
        ]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
        m = nn.Sequential(norm(3, 64), nn.ReLU(), *blocks, *head)
        data = tensors(*nets.images(32, 3, 32))
        return stepped(m, *data, lambda ps: torch.optim.SGD(ps, 0.01), F.cross_entropy)

    def lstm() -> Run:
        x, y = nets.sequence()
        return stepped(Sequence(), *tensors(x, y.ravel()), adam, F.cross_entropy)

    def transformer() -> Run:
        mlp = (nn.LayerNorm(256), nn.Linear(256, 1024), nn.GELU("tanh"), nn.Linear(1024, 256))
        attention = nn.Sequential(nn.LayerNorm(256), Attention())
        m = nn.Sequential(Residual(attention), Residual(nn.Sequential(*mlp)))
        return stepped(m, *tensors(*nets.tokens()), adam, F.mse_loss)

    def embedding() -> Run:
        return stepped(nn.Embedding(100_000, 128), *tensors(*nets.words()), adam, F.mse_loss)

    cases = [lenet, resnet, lstm, transformer, embedding]
    return {case.__name__: case for case in cases}


def jax_nets(stepped: Callable[..., Run]) -> dict[str, Callable[[], Run]]:
    import jax
    import jax.numpy as jnp
    from jax import lax

    rng = np.random.default_rng(1)

    def dense(i: int, o: int) -> dict:
        return {"w": weights((i, o), i), "b": np.zeros(o, np.float32)}

    def filters(i: int, o: int, k: int) -> dict:
        return {"w": weights((o, i, k, k), i * k * k), "b": np.zeros((o, 1, 1), np.float32)}

    def weights(shape: tuple[int, ...], fan: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)

    def affine(p: dict, x):
        return x @ p["w"] + p["b"]

    def conv(p: dict, x, pad: int):
        return lax.conv_general_dilated(x, p["w"], (1, 1), [(pad, pad)] * 2) + p["b"]

    def pool(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def cross_entropy(logits, y):
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))

    def sgd(t, ps, state, ds):
        return jax.tree.map(lambda p, d: p - 0.01 * d, ps, ds), state

    def adam(t, ps, state, ds):
        m = jax.tree.map(lambda m, d: 0.9 * m + 0.1 * d, state[0], ds)
        v = jax.tree.map(lambda v, d: 0.999 * v + 0.001 * d * d, state[1], ds)
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t

        def moved(p, m, v):
            return p - 0.001 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8)

        return jax.tree.map(moved, ps, m, v), (m, v)

    def trained(ps, x: np.ndarray, y: np.ndarray, loss: Callable, rule: Callable) -> Run:
        zeros = () if rule is sgd else tuple(jax.tree.map(jnp.zeros_like, ps) for _ in range(2))

        def step(state, x, y):
            t, ps, moments = state
            ps, moments = rule(t + 1, ps, moments, jax.grad(loss)(ps, x, y))
            return t + 1, ps, moments

        return stepped(step, (np.float32(0), ps, zeros), x, y)

    def lenet() -> Run:
        ps = [filters(1, 6, 5), filters(6, 16, 5), dense(400, 120), dense(120, 84), dense(84, 10)]

        def loss(ps, x, y):
            x = pool(jax.nn.relu(conv(ps[0], x, 2)))
            x = pool(jax.nn.relu(conv(ps[1], x, 0))).reshape(len(x), -1)
            x = jax.nn.relu(affine(ps[3], jax.nn.relu(affine(ps[2], x))))
            return cross_entropy(affine(ps[4], x), y)

        return trained(ps, *nets.images(64, 1, 28), loss, adam)

    def resnet() -> Run:
        def layer(i: int, o: int) -> dict:
            shape = (o, 1, 1)
            scale = {"γ": np.ones(shape, np.float32), "β": np.zeros(shape, np.float32)}
            return {**filters(i, o, 3), **scale}

        def norm(p: dict, x):
            x = conv(p, x, 1)
            mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
            return (x - mean) * lax.rsqrt(var + 1e-5) * p["γ"] + p["β"]

        def loss(ps, x, y):
            x = jax.nn.relu(norm(ps[0], x))
            for a, b in (ps[1:3], ps[3:5]):
                x = jax.nn.relu(x + norm(b, jax.nn.relu(norm(a, x))))
            return cross_entropy(affine(ps[5], x.mean((2, 3))), y)

        ps = [layer(3, 64), *(layer(64, 64) for _ in range(4)), dense(64, 10)]
        return trained(ps, *nets.images(32, 3, 32), loss, sgd)

    def lstm() -> Run:
        ps = {"x": dense(96, 512), "h": weights((128, 512), 128), "y": dense(128, 96)}

        def loss(ps, x, y):
            def cell(state, z):
                h, c = state
                i, f, g, o = jnp.split(z + h @ ps["h"], 4, -1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zeros = jnp.zeros((x.shape[1], 128))
            hs = lax.scan(cell, (zeros, zeros), affine(ps["x"], x))[1]
            return cross_entropy(affine(ps["y"], hs).reshape(-1, 96), y)

        x, y = nets.sequence()
        return trained(ps, x, y.ravel(), loss, adam)

    def transformer() -> Run:
        def scale() -> dict:
            return {"γ": np.ones(256, np.float32), "β": np.zeros(256, np.float32)}

        def norm(p: dict, x):
            mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            return (x - mean) * lax.rsqrt(var + 1e-5) * p["γ"] + p["β"]

        def loss(ps, x, y):
            n, t, d = x.shape
            q, k, v = jnp.split(
                affine(ps["qkv"], norm(ps["n1"], x)).reshape(n, t, 12, d // 4), 3, 2
            )
            x = x + affine(ps["out"], jax.nn.dot_product_attention(q, k, v).reshape(n, t, d))
            h = jax.nn.gelu(affine(ps["up"], norm(ps["n2"], x)))
            return jnp.mean((x + affine(ps["down"], h) - y) ** 2)

        ps = {"qkv": dense(256, 768), "out": dense(256, 256), "n1": scale(), "n2": scale()}
        ps |= {"up": dense(256, 1024), "down": dense(1024, 256)}
        return trained(ps, *nets.tokens(), loss, adam)

    def embedding() -> Run:
        i, y = nets.words()
        return trained(
            weights((100_000, 128), 1), i, y, lambda w, i, y: jnp.mean((w[i] - y) ** 2), adam
        )

    cases = [lenet, resnet, lstm, transformer, embedding]
    return {case.__name__: case for case in cases}
