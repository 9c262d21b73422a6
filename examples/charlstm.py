"""A character-level LSTM reads the prose of this repository, and writes some.

python examples/charlstm.py [--gpu] [--epochs 8] [--seeds 0 1 2] [--out build]

The text is what the pages and the comments of the sources say, some 290,000 characters; its last tenth is for tests. An
LSTM reads it in 32 places at once, 50 characters a step, its state carried on from step to step. For every seed a
character of the unseen text costs less than 2.1 bits, and nine of ten words of what is sampled are words of the text.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import fluxrs
from fluxrs import (
    ADAM,
    LSTM,
    Chain,
    Dense,
    Dropout,
    Embedding,
    anneal,
    clipnorm,
    cosine,
    cpu,
    gpu,
    logitcrossentropy,
    no_grad,
    params,
    reset,
    testmode,
    train,
    truncate,
)

ROOT = Path(__file__).resolve().parent.parent
PLACES, STEPS = 32, 50


def prose() -> str:
    """Pages without their code and tables, and the comments of the sources."""
    parts: list[str] = []
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]):
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
        parts.append(re.sub(r"^[|#<].*$", "", text, flags=re.M))
    for source in sorted(ROOT.glob("crates/**/*.rs")):
        lines = re.findall(r"^\s*//[/!]? (.*)$", source.read_text("utf-8"), flags=re.M)
        parts.append("\n".join(lines))
    text = re.sub(r"[^a-zA-Z0-9 .,;:'()\-\n]", "", "\n".join(parts))
    return re.sub(r"\s+", " ", text)


def encoded(characters: int = 10**9) -> tuple[str, str, Any, Any]:
    """The text, its alphabet, and as indices in that what is read and the last tenth, which is not."""
    text = prose()[:characters]
    alphabet = "".join(sorted(set(text)))
    codes = np.array([alphabet.index(letter) for letter in text], dtype=np.int64)
    split = len(codes) * 9 // 10
    return text, alphabet, codes[:split], codes[split:]


def sequences(codes: Any) -> Iterator[tuple[Any, Any]]:
    """Characters (50, 32) and those that follow them; each column goes on where it was in the last item."""
    columns = codes[: len(codes) // PLACES * PLACES].reshape(PLACES, -1).T
    for i in range(0, len(columns) - 1, STEPS):
        x, y = columns[i : i + STEPS], columns[i + 1 : i + STEPS + 1]
        yield x[: len(y)], y


def net(letters: int) -> Chain:
    """From characters to the logits of the next ones."""
    return Chain(Embedding(letters, 32), LSTM(32, 192), Dropout(0.1), Dense(192, letters))


def bits(m: Chain, codes: Any) -> float:
    """What a character of a text costs, in bits."""
    testmode(m)
    reset(m)
    with no_grad():
        losses = [float(logitcrossentropy(m(x), y)) for x, y in sequences(codes)]
    reset(m)
    testmode(m, False)
    return float(np.mean(losses) / np.log(2))


def fit(
    codes: Any, unseen: Any, letters: int, seed: int, epochs: int, to: Any
) -> tuple[Chain, list[float]]:
    """A trained net, and what a character of the unseen text costs after each epoch."""
    fluxrs.seed(seed)
    m: Chain = to(net(letters))
    ps = params(m)
    opt = ADAM(ps, 0.005)
    items = list(sequences(codes))
    rate = anneal(opt, cosine(0.005, epochs * len(items)))

    def loss(x: Any, y: Any) -> fluxrs.Tensor:
        l = logitcrossentropy(m(x), y)
        truncate(m)  # the next item's gradients end where it begins
        return l

    costs: list[float] = []
    bar = tqdm(range(epochs), desc=f"seed {seed}", unit="epoch")
    for _ in bar:
        reset(m)
        train(loss, items, [lambda: clipnorm(ps, 5.0), opt], cb=rate, progress=False)
        costs.append(bits(m, unseen))
        bar.set_postfix(bits=f"{costs[-1]:.2f}")
    return m, costs


def write(m: Chain, alphabet: str, count: int, temperature: float, seed: int) -> str:
    """A text that the net makes up, character by character."""
    random = np.random.default_rng(seed)
    testmode(m)
    reset(m)
    out = ". "
    with no_grad():
        for letter in out[:-1]:
            m(np.array([alphabet.index(letter)]))
        for _ in range(count):
            logits = np.asarray(m(np.array([alphabet.index(out[-1])])))[0] / temperature
            p = np.exp(logits - logits.max(), dtype="float64")
            out += alphabet[random.choice(len(p), p=p / p.sum())]
    reset(m)
    return out[2:]


def readable(sample: str, text: str) -> float:
    """The share of the words of a sample that the text has as well; its last may be cut off."""
    known = set(re.findall(r"[a-z]+", text.lower()))
    words = re.findall(r"[a-z]+", sample.lower())[:-1]
    return sum(w in known for w in words) / max(len(words), 1)


def draw(file: Path, curves: dict[int, list[float]], sample: str, unit: str = "epoch") -> None:
    """The costs while training, and a sample."""
    import textwrap

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure: Any = plt.figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (seed, costs) in enumerate(curves.items()):
        left.plot(range(1, len(costs) + 1), costs, f"C{i}", label=f"seed {seed}: {costs[-1]:.2f}")
    left.set(title="Bits for a character of unseen text", xlabel=unit)
    left.legend()
    right.text(0, 1, textwrap.fill(sample, 60), va="top", family="monospace", fontsize=8)
    right.set_axis_off()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> list[tuple[float, float]]:
    """Train, write, draw; of each seed the bits for a character, and the share of readable words."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gpu", action="store_true", help="train on the GPU")
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument(
        "--characters", type=int, default=10**9, help="how much of the text is read"
    )
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("build"))
    given = options.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    to = gpu if given.gpu else lambda x: x
    text, alphabet, codes, unseen = encoded(given.characters)
    curves: dict[int, list[float]] = {}
    figures: list[tuple[float, float]] = []
    for seed in given.seeds:
        m, curves[seed] = fit(codes, unseen, len(alphabet), seed, given.epochs, to)
        sample = write(cpu(m), alphabet, 1500, 0.6, seed)
        figures.append((curves[seed][-1], readable(sample, text)))
        print(
            f"seed {seed}: {figures[-1][0]:.2f} bits, {figures[-1][1]:.0%} of the words: {sample[:300]}"
        )
    picture = given.out / "charlstm.png"
    try:
        draw(picture, curves, sample)
        print(f"the curves and a sample are in {picture.resolve()}")
    except ImportError:
        print("no picture: matplotlib is not installed")
    return figures


if __name__ == "__main__":
    main()
