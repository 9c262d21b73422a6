"""Fashion-MNIST: 70,000 pictures of clothes of 28 × 28 pixels. Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747."""

from __future__ import annotations

from ..typing import DTypeLike, PathLike
from .images import Array, idx_files, idx_images, idx_labels, paired, scaled

__all__ = ["arrays", "classes", "images", "labels"]

classes = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FILES = idx_files(
    [
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
    {
        "train-images-idx3-ubyte": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            26421880,
        ),
        "train-labels-idx1-ubyte": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            29515,
        ),
        "t10k-images-idx3-ubyte": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            4422102,
        ),
        "t10k-labels-idx1-ubyte": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            5148,
        ),
    },
)


def images(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> Array:
    """`fashionmnist.images(split="train")`: the images, (N, 28, 28), from 0 for the ground to 1 for white.

    60,000 of the split "train", 10,000 of "test". With `dtype="uint8"` as they are
    stored, from 0 to 255. `folder`, or else FLUXRS_DATA or the cache folder, holds the files or is where they
    are downloaded to. Raises OSError if they cannot be had and ValueError for files that are none.
    """
    return scaled(idx_images("fashionmnist", FILES, split, folder), 255, dtype)


def labels(split: str = "train", *, folder: PathLike | None = None) -> Array:
    """`fashionmnist.labels(split="train")`: the class of each image, (N,), integers from 0 to 9."""
    return idx_labels("fashionmnist", FILES, split, folder)


def arrays(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> tuple[Array, Array]:
    """`fashionmnist.arrays(split="train")`: images (N, 1, 28, 28) and labels (N,), for `batches`."""
    pixels = images(split, folder=folder, dtype=dtype)
    return paired("fashionmnist", pixels[:, None], labels(split, folder=folder))
