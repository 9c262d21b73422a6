"""A small causal transformer reads the prose of this repository, character by character, and writes some.

python examples/chartransformer.py [--gpu] [--steps 1000] [--seeds 0 1 2] [--out build]

The text and its last tenth, for tests, are those of charlstm.py. Two pre-norm blocks see the 64 characters before each
one; in the test every character has at least half of them. For every seed a character of the unseen text costs less than
2.1 bits, and nine of ten words of what is sampled are words of the text.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import trange

import fluxrs
from charlstm import draw, encoded, readable
from fluxrs import (
    ADAM,
    Chain,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    MultiHeadAttention,
    SkipConnection,
    Tensor,
    add,
    anneal,
    back,
    clipnorm,
    cosine,
    cpu,
    gelu,
    gpu,
    logitcrossentropy,
    no_grad,
    params,
    testmode,
    treelike,
    warmup,
)

SEEN, DIM, HEADS, BATCH = 64, 128, 4, 32


def block() -> Chain:
    """y = x + attention(norm(x)), z = y + net(norm(y)), with dropout."""
    attention = MultiHeadAttention(DIM, HEADS, causal=True)
    net = Chain(Dense(DIM, 4 * DIM, gelu), Dense(4 * DIM, DIM))
    return Chain(
        SkipConnection(Chain(LayerNorm(DIM), attention, Dropout(0.1)), add),
        SkipConnection(Chain(LayerNorm(DIM), net, Dropout(0.1)), add),
    )


@treelike
class Reader:
    """Characters (N, t) to the logits (N, t, letters) of those that follow each; t is at most 64."""

    def __init__(self, letters: int) -> None:
        self.letter, self.place = Embedding(letters, DIM), Embedding(SEEN, DIM)
        self.body = Chain(Dropout(0.1), block(), block(), LayerNorm(DIM), Dense(DIM, letters))

    def __call__(self, x: Any) -> Tensor:
        y: Tensor = self.body(self.letter(x) + self.place(np.arange(np.shape(x)[-1])))
        return y


def cost(m: Reader, rows: Any, first: int = 0) -> Tensor:
    """The mean loss of rows of characters, from the place `first` on."""
    logits, following = m(rows[:, :-1])[:, first:], rows[:, first + 1 :]
    return logitcrossentropy(logits.reshape(-1, logits.shape[-1]), following.reshape(-1))


def bits(m: Reader, codes: Any) -> float:
    """What a character of a text costs, in bits."""
    half = SEEN // 2
    rows = np.lib.stride_tricks.sliding_window_view(codes, SEEN + 1)[::half]
    testmode(m)
    with no_grad():
        parts = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        total = sum(float(cost(m, part, half)) * len(part) for part in parts)
    testmode(m, False)
    return total / len(rows) / float(np.log(2))


def fit(
    codes: Any, unseen: Any, letters: int, seed: int, steps: int, to: Any
) -> tuple[Reader, list[float]]:
    """A trained net, and what a character of the unseen text costs after each tenth of the steps."""
    fluxrs.seed(seed)
    random = np.random.default_rng(seed)
    m = to(Reader(letters))
    ps = params(m)
    opt = ADAM(ps, 0.003)
    rate = anneal(opt, warmup(steps // 10, cosine(0.003, steps)))
    costs: list[float] = []
    bar = trange(steps, desc=f"seed {seed}", unit="step")
    for step in bar:
        starts = random.integers(0, len(codes) - SEEN, (BATCH, 1))
        back(cost(m, codes[starts + np.arange(SEEN + 1)]))
        clipnorm(ps, 1.0)
        opt()
        rate()
        if (step + 1) % max(steps // 10, 1) == 0:
            costs.append(bits(m, unseen))
            bar.set_postfix(bits=f"{costs[-1]:.2f}")
    return m, costs


def write(m: Reader, alphabet: str, count: int, temperature: float, seed: int) -> str:
    """A text that the net makes up, character by character."""
    random = np.random.default_rng(seed)
    testmode(m)
    out = [alphabet.index(letter) for letter in ". "]
    with no_grad():
        for _ in range(count):
            seen = np.array(out[-SEEN:])
            logits = np.asarray(m(seen[None])[0, -1]) / temperature
            p = np.exp(logits - logits.max(), dtype="float64")
            out.append(int(random.choice(len(p), p=p / p.sum())))
    return "".join(alphabet[i] for i in out[2:])


def main(argv: list[str] | None = None) -> list[tuple[float, float]]:
    """Train, write, draw; of each seed the bits for a character, and the share of readable words."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gpu", action="store_true", help="train on the GPU")
    options.add_argument("--steps", type=int, default=1000)
    options.add_argument(
        "--characters", type=int, default=10**9, help="how much of the text is read"
    )
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("build"))
    given = options.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    text, alphabet, codes, unseen = encoded(given.characters)
    curves: dict[int, list[float]] = {}
    figures: list[tuple[float, float]] = []
    sample = ""
    for seed in given.seeds:
        to = gpu if given.gpu else lambda x: x
        m, curves[seed] = fit(codes, unseen, len(alphabet), seed, given.steps, to)
        sample = write(cpu(m), alphabet, 1500, 0.6, seed)
        figures.append((curves[seed][-1], readable(sample, text)))
        bits_, share = figures[-1]
        print(f"seed {seed}: {bits_:.2f} bits, {share:.0%} of the words: {sample[:300]}")
    picture = given.out / "chartransformer.png"
    try:
        draw(picture, curves, sample, "tenth of the steps")
        print(f"the curves and a sample are in {picture.resolve()}")
    except ImportError:
        print("no picture: matplotlib is not installed")
    return figures


if __name__ == "__main__":
    main()
