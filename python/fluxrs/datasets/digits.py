"""Digits: 5,620 handwritten digits of 8 × 8 pixels, each 0 to 16. Source: Alpaydin and Kaynak, UCI, 1998."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ..typing import DTypeLike, PathLike
from .images import Array, chosen, scaled
from .store import File, find
from .table import rows

__all__ = ["arrays", "classes", "images", "labels"]

classes = tuple(range(10))
# How many of each class optdigits.names says that there are: the files were published without a digest.
COUNTS = {
    "train": (376, 389, 380, 389, 387, 376, 377, 387, 380, 382),
    "test": (178, 182, 177, 183, 181, 182, 181, 179, 174, 180),
}
URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/"


def images(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> Array:
    """`digits.images(split="train")`: the images, (N, 8, 8), from 0 for the paper to 1 for ink.

    3,823 of the split "train", by 30 writers; 1,797 of "test", by 13 others, which are those that scikit-learn
    has. With `dtype="uint8"` as they are stored, from 0 to 16. `folder`, or else FLUXRS_DATA or the cache
    folder, holds the files or is where they are downloaded to; they are checked by their lengths and the numbers
    of each class, since no digest of them was published. Raises OSError if they cannot be had and ValueError for others.
    """
    return scaled(_table(split, folder)[:, :64].reshape(-1, 8, 8), 16, dtype)


def labels(split: str = "train", *, folder: PathLike | None = None) -> Array:
    """`digits.labels(split="train")`: the digit of each image, (N,)."""
    return _table(split, folder)[:, 64].astype(np.int64)


def arrays(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> tuple[Array, Array]:
    """`digits.arrays(split="train")`: images (N, 1, 8, 8) and labels (N,), for `batches`."""
    table = _table(split, folder)
    pixels = scaled(table[:, :64].reshape(-1, 1, 8, 8), 16, dtype)
    return pixels, table[:, 64].astype(np.int64)


def _table(split: str, folder: PathLike | None) -> Array:
    return _read(find("digits", FILES[chosen("digits", split, [*FILES])], folder))


def _read(path: Path) -> Array:
    wanted = "64 numbers from 0 to 16 and a digit, divided by commas"
    return np.array(rows(path, 65, _digit, wanted), dtype=np.uint8)


def _digit(cells: list[str]) -> list[int]:
    numbers = [int(cell) for cell in cells]
    if min(numbers) < 0 or max(numbers[:64]) > 16 or numbers[64] > 9:
        raise ValueError
    return numbers


def _check(path: Path, split: str) -> None:
    counts = tuple(np.bincount(_read(path)[:, 64], minlength=10).tolist())
    if counts != COUNTS[split]:
        raise ValueError(
            f"it has {counts} of the digits 0 to 9, the published file {COUNTS[split]}"
        )


FILES = {
    split: File(
        f"optdigits.{end}",
        (f"{URL}optdigits.{end}",),
        size=size,
        check=partial(_check, split=split),
    )
    for split, end, size in (("train", "tra", 563639), ("test", "tes", 264712))
}
