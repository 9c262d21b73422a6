"""What the data sets of images have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..typing import DTypeLike, PathLike
from .idx import read_idx
from .store import File, find

Array = np.ndarray[Any, Any]


def chosen(dataset: str, split: str, splits: Sequence[str]) -> str:
    """The split, if there is one of that name."""
    if split not in splits:
        raise ValueError(
            f"{dataset}: the split is one of {', '.join(map(repr, splits))}, got {split!r}"
        )
    return split


def scaled(images: Array, most: int, dtype: DTypeLike) -> Array:
    """From 0 to 1 in a floating type; as they are stored in another."""
    kind = np.dtype(dtype)
    if kind.kind != "f":
        return images.astype(kind, copy=False)
    return np.divide(images, most, dtype=kind)


def idx_files(
    urls: Sequence[str], digests: dict[str, tuple[str, int]]
) -> dict[str, tuple[File, File]]:
    """The files of images and labels of each split, by the names and digests under which MNIST's were published."""
    files = {}
    for split, start in (("train", "train"), ("test", "t10k")):
        pair = []
        for kind in ("images-idx3", "labels-idx1"):
            name = f"{start}-{kind}-ubyte"
            sha256, size = digests[name]
            plain = (name, name.replace("-idx", ".idx"))
            addresses = tuple(f"{url}{name}.gz" for url in urls)
            pair.append(File(f"{name}.gz", addresses, sha256, size, plain))
        files[split] = (pair[0], pair[1])
    return files


def idx_images(
    dataset: str, files: dict[str, tuple[File, File]], split: str, folder: PathLike | None
) -> Array:
    """Images (N, 28, 28) of bytes."""
    path = find(dataset, files[chosen(dataset, split, [*files])][0], folder)
    images = read_idx(path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise _other(path, images, "bytes of shape (N, 28, 28)")
    return images


def idx_labels(
    dataset: str, files: dict[str, tuple[File, File]], split: str, folder: PathLike | None
) -> Array:
    """Labels (N,) from 0 to 9, as int64."""
    path = find(dataset, files[chosen(dataset, split, [*files])][1], folder)
    labels = read_idx(path)
    if labels.dtype != np.uint8 or labels.ndim != 1 or (labels.size and labels.max() > 9):
        raise _other(path, labels, "N bytes from 0 to 9")
    return labels.astype(np.int64)


def _other(path: Path, got: Array, wanted: str) -> ValueError:
    return ValueError(f"{path} holds {got.dtype} of shape {got.shape}; wanted are {wanted}")


def paired(dataset: str, images: Array, labels: Array) -> tuple[Array, Array]:
    """Images and labels, if they are as many."""
    if len(images) != len(labels):
        raise ValueError(f"{dataset}: {len(images)} images and {len(labels)} labels")
    return images, labels
