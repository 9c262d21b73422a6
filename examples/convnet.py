"""A convolutional net reads handwritten digits.

python examples/convnet.py [--gpu] [--epochs 25] [--seeds 0 1 2] [--out build]

The data are the 1,797 images of 8 × 8 pixels that come with scikit-learn; four fifths train, the rest tests. While
training, a thread moves the images of the next batches by a pixel now and then. The accuracy on the test images is at least
98.5 % for every seed. The picture has the first layer's kernels, the test images that are mistaken, and which pixels
the net looks at: the slope of its answer by each.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import fluxrs
from fluxrs import (
    ADAM,
    BatchNorm,
    Chain,
    Conv,
    Dense,
    Dropout,
    MaxPool,
    accuracy,
    anneal,
    batches,
    cosine,
    flatten,
    gpu,
    gradient,
    logitcrossentropy,
    params,
    relu,
    testmode,
    train,
)

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit("the digits come with scikit-learn:\n    pip install scikit-learn") from None


def data(seed: int) -> tuple[Any, ...]:
    """Images (N, 1, 8, 8) with values from 0 to 1 and their labels: to train with, and to test."""
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    images = (images / 16).astype("float32").reshape(-1, 1, 8, 8)
    return tuple(
        train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=seed)
    )


def net() -> Chain:
    """Two convolutions of 3 × 3, each with a pool of 2 × 2 behind it."""
    return Chain(
        Conv((3, 3), (1, 32), relu, pad=1),
        BatchNorm(32),
        MaxPool(2),
        Conv((3, 3), (32, 64), relu, pad=1),
        BatchNorm(64),
        MaxPool(2),
        flatten,
        Dropout(0.4),
        Dense(64 * 2 * 2, 10),
    )


def moved(images: Any, random: np.random.Generator) -> Any:
    """Images moved by a pixel along either axis, two of five for each; what comes in is paper."""
    wide = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    way = (2, len(images), 1, 1)
    down, right = np.where(random.random(way) < 0.6, 1, random.integers(0, 3, way))
    rows, columns = down + np.arange(8)[:, None], right + np.arange(8)
    return wide[np.arange(len(images))[:, None, None], 0, rows, columns][:, None]


def fit(seed: int, epochs: int, to: Any) -> tuple[Chain, list[tuple[float, float]]]:
    """A trained net, and for every epoch its loss and its accuracy on the test images."""
    fluxrs.seed(seed)
    random = np.random.default_rng(seed)
    x, x_test, labels, labels_test = data(seed)
    m, x_test = to((net(), fluxrs.tensor(x_test)))

    def loss(x: Any, y: Any) -> fluxrs.Tensor:
        return logitcrossentropy(m(x), y, smoothing=0.1)

    prepare = lambda batch: to((fluxrs.tensor(moved(batch[0], random)), fluxrs.tensor(batch[1])))
    pairs = batches(x, labels, size=32, seed=seed, to=prepare, background=True)
    opt = ADAM(params(m), 0.003)
    rate = anneal(opt, cosine(0.003, epochs * len(pairs)))
    curve: list[tuple[float, float]] = []
    bar = tqdm(range(epochs), desc=f"seed {seed}", unit="epoch")
    for _ in bar:
        train(loss, pairs, opt, cb=rate, progress=False)
        testmode(m)
        curve.append((float(loss(x_test, labels_test)), accuracy(m(x_test), labels_test)))
        testmode(m, False)
        bar.set_postfix(loss=f"{curve[-1][0]:.3f}", test=f"{curve[-1][1]:.1%}")
    return testmode(m), curve


def draw(file: Path, m: Chain, curves: dict[int, Any], images: Any, labels: Any) -> None:
    """Curves, kernels, mistakes, and which pixels the answers depend on."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    logits = np.asarray(m(images))
    predicted = logits.argmax(-1)
    (slopes,) = gradient(lambda x: m(x).max(axis=-1).sum(), images)
    figure: Any = plt.figure(figsize=(10, 8), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[3, 2, 2])
    left, right = top.subplots(1, 2)
    for i, (seed, curve) in enumerate(curves.items()):
        loss, right_ones = zip(*curve, strict=True)
        left.plot(range(1, len(loss) + 1), loss, f"C{i}", label=f"seed {seed}")
        right.plot(range(1, len(loss) + 1), right_ones, f"C{i}", label=f"{right_ones[-1]:.1%}")
    left.set(title="Loss on test images", xlabel="epoch", yscale="log")
    right.set(title="Accuracy on test images", xlabel="epoch", ylim=(0.9, 1.002))
    right.legend(loc="lower right")
    middle.suptitle("Kernels of the first layer")
    kernels = np.asarray(m[0].W).reshape(32, 3, 3)
    for ax, kernel in zip(middle.subplots(2, 16).flat, kernels, strict=True):
        ax.imshow(kernel, cmap="RdBu", vmin=-abs(kernels).max(), vmax=abs(kernels).max())
        ax.set_axis_off()
    bottom.suptitle("Test images, mistakes first, and the slope of the answer by each pixel")
    wrong = np.flatnonzero(predicted != labels)[:10]
    shown = np.concatenate([wrong, np.setdiff1d(np.arange(len(labels)), wrong)])[:10]
    for pair, i in zip(bottom.subplots(2, 10).T, shown, strict=True):
        pair[0].imshow(np.asarray(images)[i, 0], cmap="gray_r")
        pair[1].imshow(np.asarray(slopes)[i, 0], cmap="RdBu")
        same = predicted[i] == labels[i]
        title = f"{predicted[i]}" if same else f"{predicted[i]} ({labels[i]})"
        pair[0].set_title(title, color="black" if same else "red", fontsize=11)
        for ax in pair:
            ax.set_axis_off()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> list[float]:
    """Train, test, draw; the test accuracies."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gpu", action="store_true", help="train on the GPU")
    options.add_argument("--epochs", type=int, default=25)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("build"))
    given = options.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    curves: dict[int, Any] = {}
    m = Chain()
    for seed in given.seeds:
        m, curves[seed] = fit(seed, given.epochs, gpu if given.gpu else lambda x: x)
    seconds = time.perf_counter() - start
    print(f"trained {len(curves)} times in {seconds:.1f} s")
    for seed, curve in curves.items():
        print(f"seed {seed}: test accuracy {curve[-1][1]:.2%}")
    picture = given.out / "convnet.png"
    try:
        _, x_test, _, labels_test = data(given.seeds[-1])
        draw(picture, fluxrs.cpu(m), curves, fluxrs.tensor(x_test), labels_test)
        print(f"curves, kernels and digits are in {picture.resolve()}")
    except ImportError:
        print("no picture: matplotlib is not installed")
    return [curve[-1][1] for curve in curves.values()]


if __name__ == "__main__":
    main()
