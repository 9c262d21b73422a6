"""An autoencoder and a variational one, of handwritten digits.

python examples/vae.py [--gpu] [--epochs 200] [--seeds 0 1 2] [--out build]

Both press each of scikit-learn's images of 8 × 8 pixels into a few numbers and draw it again from these. The
autoencoder, of 16 numbers, leaves a mean squared error below 0.006 on images that it has not seen; as many principal
components leave 0.011. The variational one, of 8, learns a distribution as well: numbers drawn at random become new
digits, and its bound on the log-likelihood of unseen images, whose pixels count as probabilities of ink, is above −26
nats. Both hold for every seed.
Source: Kingma and Welling, arXiv 1312.6114.
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
    batches,
    cosine,
    cpu,
    exp,
    gpu,
    logitbinarycrossentropy,
    mse,
    no_grad,
    params,
    randn,
    randn_like,
    sum,
    swish,
    train,
    treelike,
    σ,
)

try:
    from sklearn.datasets import load_digits
except ImportError:
    raise SystemExit("the digits come with scikit-learn:\n    pip install scikit-learn") from None


def data(seed: int) -> tuple[Any, Any]:
    """Images (N, 64) with values from 0 to 1: 80 % to train with, 20 % to test."""
    images = (np.asarray(load_digits(return_X_y=True)[0]) / 16).astype("float32")
    order = np.random.default_rng(seed).permutation(len(images))
    return images[order[360:]], images[order[:360]]


def autoencoder(n: int = 16) -> Chain:
    """Through n numbers and back."""
    inner = Chain(Dense(64, 128, swish), Dense(128, n))
    return Chain(inner, Chain(Dense(n, 128, swish), Dense(128, 64, σ)))


@treelike
class VAE:
    """`VAE(n)`: each image is a normal distribution over n numbers, and each of these is an image."""

    def __init__(self, n: int = 8) -> None:
        self.n = n
        self.body = Dense(64, 128, swish)
        self.mean, self.logvar = Dense(128, n), Dense(128, n)
        self.decoder = Chain(Dense(n, 128, swish), Dense(128, 64))

    def bound(self, x: Any) -> Tensor:
        """A lower bound on the mean of log p(x): how well x is drawn again, less the divergence from N(0, 1)."""
        h = self.body(x)
        μ, logσ2 = self.mean(h), self.logvar(h)
        z = μ + exp(logσ2 / 2) * randn_like(μ)
        drawn = sum(logitbinarycrossentropy(self.decoder(z), x))
        divergence = sum(exp(logσ2) + μ**2 - 1 - logσ2) / 2
        return -(drawn + divergence) / len(x)

    def sample(self, count: int) -> Any:
        """New images (count, 64)."""
        with no_grad():
            return np.asarray(σ(self.decoder(randn(count, self.n))))


def fit(loss: Any, m: Any, x: Any, epochs: int, title: str) -> None:
    """Train with a rate that goes down to 0."""
    opt, rows = ADAM(params(m), 0.003), batches(x, size=64)
    rate = anneal(opt, cosine(0.003, epochs * len(rows)))
    for _ in tqdm(range(epochs), desc=title, unit="epoch"):
        train(loss, rows, opt, cb=rate, progress=False)


def components(x: Any, test: Any, n: int) -> float:
    """The mean squared error that n principal components leave."""
    mean = x.mean(0)
    _, _, directions = np.linalg.svd(x - mean, full_matrices=False)
    kept = (test - mean) @ directions[:n].T @ directions[:n] + mean
    return float(((kept - test) ** 2).mean())


def run(seed: int, epochs: int, to: Any) -> tuple[Chain, VAE, Any, tuple[float, float, float]]:
    """Both models, unseen images, and the figures: the autoencoder's error, that of components, the bound."""
    fluxrs.seed(seed)
    x, test = data(seed)
    ae, vae = to((autoencoder(), VAE()))
    fit(lambda x: mse(ae(x), x), ae, x, epochs, f"seed {seed}, autoencoder")
    fit(lambda x: -vae.bound(x), vae, x, epochs, f"seed {seed}, variational")
    with no_grad():
        error = float(mse(ae(test), test))
        bound = float(np.mean([float(vae.bound(test)) for _ in range(20)]))
    return cpu(ae), cpu(vae), test, (error, components(x, test, 16), bound)


def draw(file: Path, ae: Chain, vae: VAE, test: Any) -> None:
    """Images, what the autoencoder makes of them, and images that are new."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure: Any = plt.figure(figsize=(10, 4), layout="constrained")
    count = 14
    with no_grad():
        rows = [("unseen", test[:count]), ("drawn again", np.asarray(ae(test[:count])))]
    rows += [("new", vae.sample(count)), ("new", vae.sample(count))]
    for axes, (title, images) in zip(figure.subplots(len(rows), count), rows, strict=True):
        axes[0].set_title(title, loc="left", fontsize=10)
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set_axis_off()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> list[tuple[float, float, float]]:
    """Train, test, draw; the figures of each seed."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gpu", action="store_true", help="train on the GPU")
    options.add_argument("--epochs", type=int, default=200)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("build"))
    given = options.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    to = gpu if given.gpu else lambda x: x
    figures: list[tuple[float, float, float]] = []
    for seed in given.seeds:
        ae, vae, test, found = run(seed, given.epochs, to)
        figures.append(found)
        error, linear, bound = found
        print(f"seed {seed}: error {error:.4f} (components {linear:.4f}), bound {bound:.1f} nats")
    picture = given.out / "vae.png"
    try:
        draw(picture, ae, vae, test)
        print(f"the digits are in {picture.resolve()}")
    except ImportError:
        print("no picture: matplotlib is not installed")
    return figures


if __name__ == "__main__":
    main()
