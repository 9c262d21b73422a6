"""MNIST: 70,000 handwritten digits of 28 × 28 pixels. Source: LeCun, Cortes and Burges."""

from __future__ import annotations

from ..typing import DTypeLike, PathLike
from .images import Array, idx_files, idx_images, idx_labels, paired, scaled

__all__ = ["arrays", "classes", "images", "labels"]

classes = tuple(range(10))
FILES = idx_files(
    [
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ],
    {
        "train-images-idx3-ubyte": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            9912422,
        ),
        "train-labels-idx1-ubyte": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            28881,
        ),
        "t10k-images-idx3-ubyte": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            1648877,
        ),
        "t10k-labels-idx1-ubyte": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            4542,
        ),
    },
)


def images(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> Array:
    """`mnist.images(split="train")`: the images, (N, 28, 28), from 0 for the paper to 1 for ink.

    60,000 of the split "train", 10,000 of "test". With `dtype="uint8"` as they are
    stored, from 0 to 255. `folder`, or else FLUXRS_DATA or the cache folder, holds the files or is where they
    are downloaded to. Raises OSError if they cannot be had and ValueError for files that are none.
    """
    return scaled(idx_images("mnist", FILES, split, folder), 255, dtype)


def labels(split: str = "train", *, folder: PathLike | None = None) -> Array:
    """`mnist.labels(split="train")`: the class of each image, (N,), integers from 0 to 9."""
    return idx_labels("mnist", FILES, split, folder)


def arrays(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> tuple[Array, Array]:
    """`mnist.arrays(split="train")`: images (N, 1, 28, 28) and labels (N,), for `batches`."""
    pixels = images(split, folder=folder, dtype=dtype)
    return paired("mnist", pixels[:, None], labels(split, folder=folder))
