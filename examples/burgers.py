"""A physics-informed net: Burgers' equation u_t + u u_x = ν u_xx, solved by a net that is told nothing else.

python examples/burgers.py [--gpu] [--steps 3000] [--seeds 0 1 2] [--out build]

u(0, x) = −sin πx and u(t, ±1) = 0, for t from 0 to 1, with ν = 0.05: a wave that steepens towards x = 0. The loss is how
much the net violates the equation at random points, with u_t, u_x and u_xx from gradients of gradients; the start and
the edges hold by the form of the solution. Beside the exact solution (Hopf, 1950; Cole, 1951) the relative error in the
2-norm is below 1 % for every seed. Source: Raissi, Perdikaris and Karniadakis, arXiv 1711.10561.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import fluxrs
from fluxrs import (
    ADAM,
    Chain,
    Dense,
    Tensor,
    anneal,
    back,
    cosine,
    cpu,
    glorot_normal,
    gpu,
    gradient,
    params,
    rand,
    sin,
    sum,
    tanh,
)

ν = 0.05


def solution(m: Chain, z: Any) -> Tensor:
    """u at the points z = (t, x), as a column: −sin πx at t = 0, and 0 at x = ±1, whatever the net says."""
    t, x = z[:, :1], z[:, 1:]
    u: Tensor = -sin(np.pi * x) + t * (1 - x * x) * m(z)
    return u


def residual(m: Chain, z: Tensor) -> Tensor:
    """u_t + u u_x − ν u_xx at the points."""
    (slopes,) = gradient(lambda z: sum(solution(m, z)), z, nest=True)
    u_x = lambda z: sum(gradient(lambda z: sum(solution(m, z)), z, nest=True)[0][:, 1])
    (bends,) = gradient(u_x, z, nest=True)
    u = solution(m, z)[:, 0]
    violation: Tensor = slopes[:, 0] + u * slopes[:, 1] - ν * bends[:, 1]
    return violation


def exact(t: Any, x: Any) -> Any:
    """The solution by Cole's and Hopf's integral, with Hermite's quadrature."""
    nodes, weights = np.polynomial.hermite.hermgauss(100)
    y = x[..., None] - np.sqrt(4 * ν * t[..., None]) * nodes
    f = weights * np.exp(-np.cos(np.pi * y) / (2 * np.pi * ν))
    return -(np.sin(np.pi * y) * f).sum(-1) / f.sum(-1)


def fit(seed: int, steps: int, to: Any) -> Chain:
    """A net trained at new random points in each step."""
    fluxrs.seed(seed)
    widths = [2, 32, 32, 32]
    layers = [
        Dense(n, k, tanh, initW=glorot_normal) for n, k in zip(widths, widths[1:], strict=False)
    ]
    m: Chain = to(Chain(*layers, Dense(32, 1)))
    opt = ADAM(params(m), 0.005)
    rate = anneal(opt, cosine(0.005, steps))
    bar = tqdm(range(steps), desc=f"seed {seed}", unit="step")
    for step in bar:
        z = to(rand(512, 2)) * [1.0, 2.0] - [0.0, 1.0]
        loss = sum(residual(m, z) ** 2) / len(z)
        back(loss)
        opt()
        rate()
        if step % 100 == 0:
            bar.set_postfix(loss=f"{float(loss):.1e}")
    return cpu(m)


def compare(m: Chain) -> tuple[Any, Any]:
    """The net's u and the exact one on a grid of times and places."""
    t, x = np.meshgrid(np.linspace(0, 1, 51), np.linspace(-1, 1, 201), indexing="ij")
    z = np.stack([t.ravel(), x.ravel()], axis=-1).astype("float32")
    return np.asarray(fluxrs.data(solution(m, fluxrs.tensor(z)))).reshape(t.shape), exact(t, x)


def draw(file: Path, u: Any, truth: Any) -> None:
    """The solution over time and place, and at three times beside the exact one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure: Any = plt.figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(u.T, extent=(0, 1, -1, 1), origin="lower", aspect="auto", cmap="RdBu")
    left.set(xlabel="t", ylabel="x", title="u")
    figure.colorbar(image, ax=left)
    x = np.linspace(-1, 1, u.shape[1])
    for i, row in enumerate((0, len(u) // 3, len(u) - 1)):
        right.plot(x, u[row], f"C{i}", label=f"t = {row / (len(u) - 1):.2f}")
        right.plot(x, truth[row], "k:", lw=1)
    right.set(
        xlabel="x", xticks=[-1, -0.5, 0, 0.5, 1], title="the net, and the exact solution dotted"
    )
    right.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> list[float]:
    """Train, compare, draw; the relative error of each seed."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gpu", action="store_true", help="train on the GPU")
    options.add_argument("--steps", type=int, default=3000)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("build"))
    given = options.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    to = gpu if given.gpu else lambda x: x
    errors: list[float] = []
    for seed in given.seeds:
        u, truth = compare(fit(seed, given.steps, to))
        errors.append(float(np.linalg.norm(u - truth) / np.linalg.norm(truth)))
        print(f"seed {seed}: relative error {errors[-1]:.2%}")
    picture = given.out / "burgers.png"
    try:
        draw(picture, u, truth)
        print(f"the solution is in {picture.resolve()}")
    except ImportError:
        print("no picture: matplotlib is not installed")
    return errors


if __name__ == "__main__":
    main()
