"""Iris: 50 flowers of each of three species, four lengths each. Source: Fisher, Annals of Eugenics 7 (1936)."""

from __future__ import annotations

from math import isfinite

import numpy as np

from ..typing import PathLike
from .images import Array
from .store import File, find
from .table import rows

__all__ = ["arrays", "classes", "features", "labels"]

classes = ("Iris-setosa", "Iris-versicolor", "Iris-virginica")
FILE = File(
    "iris.data",
    ("https://archive.ics.uci.edu/ml/machine-learning-databases/iris/iris.data",),
    "6f608b71a7317216319b4d27b4d9bc84e6abd734eda7872b71a458569e2656c0",
    also=("iris.csv",),
)


def features(*, folder: PathLike | None = None) -> Array:
    """`iris.features()`: (150, 4) in centimetres: length and width of the sepals, then of the petals.

    The file is UCI's, whose rows 35 and 38 differ from Fisher's. `folder`, or else FLUXRS_DATA or the cache
    folder, holds it or is where it is downloaded to. Raises OSError if it cannot be had and ValueError for
    another.
    """
    return np.array([row[:4] for row in _table(folder)], dtype=np.float32)


def labels(*, folder: PathLike | None = None) -> list[str]:
    """`iris.labels()`: the species of each flower, one of `iris.classes`."""
    return [row[4] for row in _table(folder)]


def arrays(*, folder: PathLike | None = None) -> tuple[Array, Array]:
    """`iris.arrays()`: features (150, 4) and labels (150,) that count the classes, for `batches`."""
    table = _table(folder)
    numbers = np.array([classes.index(row[4]) for row in table], dtype=np.int64)
    return np.array([row[:4] for row in table], dtype=np.float32), numbers


def _table(folder: PathLike | None) -> list[tuple[float, float, float, float, str]]:
    wanted = "four lengths and a species, as 5.1,3.5,1.4,0.2,Iris-setosa"
    return rows(find("iris", FILE, folder), 5, _flower, wanted)


def _flower(cells: list[str]) -> tuple[float, float, float, float, str]:
    a, b, c, d = (float(cell) for cell in cells[:4])
    species = cells[4].strip()
    if species not in classes or not all(isfinite(x) and x >= 0 for x in (a, b, c, d)):
        raise ValueError
    return a, b, c, d, species
