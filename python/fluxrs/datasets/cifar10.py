"""CIFAR-10: 60,000 photographs of 32 × 32 pixels in ten classes. Source: Krizhevsky, 2009."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..typing import DTypeLike, PathLike
from .images import Array, chosen, scaled
from .store import File, find, folder_of

__all__ = ["arrays", "classes", "images", "labels"]

classes = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FILE = File(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170052171,
)
MEMBERS = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
FOLDER = "cifar-10-batches-bin"
RECORD = 1 + 3 * 32 * 32  # a label, then red, green and blue
MOST = 10000 * RECORD


def images(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> Array:
    """`cifar10.images(split="train")`: the images, (N, 3, 32, 32), from 0 to 1: red, green and blue.

    50,000 of the split "train", 10,000 of "test". With `dtype="uint8"` as they are stored, from 0 to 255.
    `folder`, or else FLUXRS_DATA or the cache folder, holds the archive of the binary version, or its
    `.bin` files, or is where it is downloaded to. Raises OSError if it cannot be had and ValueError for another.
    """
    return scaled(_records(split, folder)[:, 1:].reshape(-1, 3, 32, 32), 255, dtype)


def labels(split: str = "train", *, folder: PathLike | None = None) -> Array:
    """`cifar10.labels(split="train")`: the class of each image, (N,), which counts `cifar10.classes`."""
    return _records(split, folder)[:, 0].astype(np.int64)


def arrays(
    split: str = "train", *, folder: PathLike | None = None, dtype: DTypeLike = "float32"
) -> tuple[Array, Array]:
    """`cifar10.arrays(split="train")`: images (N, 3, 32, 32) and labels (N,), for `batches`."""
    records = _records(split, folder)
    return scaled(records[:, 1:].reshape(-1, 3, 32, 32), 255, dtype), records[:, 0].astype(np.int64)


def _records(split: str, folder: PathLike | None) -> Array:
    """Rows of a label and its pixels."""
    members = MEMBERS[chosen("cifar10", split, [*MEMBERS])]
    base = folder_of(folder)
    for place in (base / "cifar10" / FOLDER, base / "cifar10", base / FOLDER, base):
        if all((place / name).is_file() for name in members):
            parts = [_checked(f"{place / name}", _content(place / name)) for name in members]
            break
    else:
        path = find("cifar10", FILE, folder)
        found = dict(_unpacked(path, members))
        if missing := [name for name in members if name not in found]:
            raise ValueError(f"{path} has no {FOLDER}/{missing[0]}")
        parts = [found[name] for name in members]
    return np.concatenate(parts)


def _content(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(MOST + 1)


def _unpacked(path: Path, members: tuple[str, ...]) -> Iterator[tuple[str, Array]]:
    """The files of the archive, read where they lie: nothing is written."""
    import tarfile

    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                name = entry.name.rpartition("/")[2]
                if entry.name not in (name, f"{FOLDER}/{name}") or name not in members:
                    continue
                file = archive.extractfile(entry) if entry.isfile() and entry.size <= MOST else None
                if file is None:
                    raise ValueError(f"{path}: {entry.name} is no file of up to {MOST} bytes")
                yield name, _checked(f"{path}: {name}", file.read(MOST + 1))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(f"{path} is no whole archive: {error}") from error


def _checked(what: str, data: bytes) -> Array:
    if not data or len(data) % RECORD or len(data) > MOST:
        raise ValueError(
            f"{what} has {len(data)} bytes; wanted are up to 10000 records of {RECORD}"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{what} has the label {records[:, 0].max()}; there are ten classes")
    return records
