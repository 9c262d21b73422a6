"""Handwritten digits: train a small network from three seeds, save it, load it, draw what it does.

python examples/digits.py [--gpu] [--epochs 30] [--seeds 0 1 2] [--out build]

The data are the 1,797 real images of 8 × 8 pixels that come with scikit-learn.
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
    Chain,
    Dense,
    Dropout,
    accuracy,
    anneal,
    batches,
    cosine,
    gpu,
    load,
    logitcrossentropy,
    onecold,
    onehotbatch,
    params,
    relu,
    save,
    testmode,
    train,
)

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit(
        "the digits come with scikit-learn, the picture is made by matplotlib:\n"
        "    pip install scikit-learn matplotlib"
    ) from None


def data(seed: int) -> tuple[Any, ...]:
    """Images with values between 0 and 1 and their labels: 80 % to train with, 20 % to test."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    return tuple(
        train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=seed)
    )


def fit(seed: int, epochs: int, to: Any) -> tuple[Chain, list[tuple[float, float, float]]]:
    """A trained model, and for every epoch its loss, its training and its test accuracy."""
    fluxrs.seed(seed)
    x, x_test, labels, labels_test = data(seed)
    m = to(Chain(Dense(64, 128, relu), Dropout(0.3), Dense(128, 10)))

    def loss(x: Any, y: Any) -> fluxrs.Tensor:
        return logitcrossentropy(m(x), y)

    x, x_test, y = to((fluxrs.tensor(x), fluxrs.tensor(x_test), onehotbatch(labels, range(10))))
    opt = ADAM(params(m), 0.003)
    pairs = batches(x, y, 32)
    rate = anneal(opt, cosine(0.003, epochs * len(pairs)))
    curve: list[tuple[float, float, float]] = []
    bar = tqdm(range(epochs), desc=f"seed {seed}", unit="epoch")
    for _ in bar:
        train(loss, pairs, opt, cb=rate, progress=False)
        testmode(m)
        curve.append((float(loss(x, y)), accuracy(m(x), labels), accuracy(m(x_test), labels_test)))
        testmode(m, False)
        bar.set_postfix(loss=f"{curve[-1][0]:.3f}", test=f"{curve[-1][2]:.1%}")
    return testmode(m), curve


def draw(file: Path, curves: dict[int, Any], images: Any, labels: Any, predicted: Any) -> None:
    """Loss and accuracy while training, and some test digits with what the model takes them for."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure: Any = plt.figure(figsize=(10, 6.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[3, 2])
    left, right = top.subplots(1, 2)
    for i, (seed, curve) in enumerate(curves.items()):
        loss, train_accuracy, test_accuracy = zip(*curve, strict=True)
        steps = range(1, len(loss) + 1)
        left.plot(steps, loss, f"C{i}", label=f"seed {seed}")
        right.plot(steps, train_accuracy, f"C{i}", ls=":", lw=1)
        right.plot(steps, test_accuracy, f"C{i}", label=f"seed {seed}: {test_accuracy[-1]:.1%}")
    left.set(title="Training loss", xlabel="epoch", yscale="log")
    right.set(title="Accuracy (test; training dotted)", xlabel="epoch", ylim=(0.85, 1.005))
    left.legend()
    right.legend(loc="lower right")
    wrong = np.flatnonzero(predicted != labels)[:4]
    rest = np.setdiff1d(np.arange(len(labels)), wrong)[: 20 - len(wrong)]
    shown = np.concatenate([wrong, rest])
    bottom.suptitle(
        "Test digits and their predictions; mistakes first, in red, with the truth in brackets"
    )
    for ax, i in zip(bottom.subplots(2, 10).flat, shown, strict=True):
        ax.imshow(images[i].reshape(8, 8), cmap="gray_r")
        right_ = predicted[i] == labels[i]
        title = f"{predicted[i]}" if right_ else f"{predicted[i]} ({labels[i]})"
        ax.set_title(title, color="black" if right_ else "red", fontsize=11)
        ax.set_axis_off()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> list[float]:
    """Train, save, load, draw; the test accuracies."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gpu", action="store_true", help="train on the GPU")
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("build"))
    given = options.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    model_file, picture = given.out / "digits.safetensors", given.out / "digits.png"
    start = time.perf_counter()
    curves: dict[int, Any] = {}
    m = Chain()
    for seed in given.seeds:
        m, curves[seed] = fit(seed, given.epochs, gpu if given.gpu else lambda x: x)
    seconds = time.perf_counter() - start
    print(f"trained {len(curves)} times on {m[0].W.device} in {seconds:.1f} s")
    for seed, curve in curves.items():
        print(f"seed {seed}: test accuracy {curve[-1][2]:.2%}")

    _, x_test, _, labels_test = data(given.seeds[-1])
    save(model_file, model=m)
    again = load(model_file)["model"]
    predicted = np.asarray(onecold(again(x_test)))
    x_there = gpu(fluxrs.tensor(x_test)) if given.gpu else x_test
    if not np.array_equal(predicted, np.asarray(onecold(m(x_there)))):
        raise SystemExit("the model from the file predicts something else than the one saved")
    print(f"the model loaded from {model_file.resolve()} predicts the same")
    try:
        draw(picture, curves, x_test, labels_test, predicted)
        print(f"curves and digits are in {picture.resolve()}")
    except ImportError:
        print("no picture: matplotlib is not installed")
    return [curve[-1][2] for curve in curves.values()]


if __name__ == "__main__":
    main()
