"""Data sets in their published formats, from a folder, from the cache, or downloaded to it.

Each is a module: `mnist`, `fashionmnist`, `cifar10` and `digits` have `images`, `labels` and `arrays`; `iris`
has `features`, `labels` and `arrays`; `cmudict` has `phones`, `symbols`, `rawdict` and `entries`;
`sentiment` has `train`, `dev` and `test`. Files are looked for in the argument `folder`, else in the
folder that the environment variable FLUXRS_DATA names, else in the user's cache folder, there in a folder of
the data set's name or directly. What is missing is downloaded over HTTPS and checked by its SHA-256.
"""

from . import cifar10, cmudict, digits, fashionmnist, iris, mnist, sentiment
from .idx import read_idx

__all__ = [
    "cifar10", "cmudict", "digits", "fashionmnist", "iris", "mnist", "read_idx", "sentiment",
]  # fmt: skip
