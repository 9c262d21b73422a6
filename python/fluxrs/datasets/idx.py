"""IDX, the format of MNIST: an array of numbers after its type and its lengths."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ..typing import PathLike

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST = 1 << 30  # bytes of an array


def read_idx(path: PathLike) -> np.ndarray[Any, Any]:
    """`read_idx(path)`: the array in an IDX file, gzipped or not.

    Raises ValueError for a file that is none, is cut short or goes on.
    Source: the page of MNIST, http://yann.lecun.com/exdb/mnist.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "numbers-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> read_idx(path).tolist()
    [7, 8, 9]
    """
    path = Path(path)  # type: ignore[arg-type]
    with opened(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES:
            raise ValueError(f"{path} is no IDX file: it begins with {head.hex(' ') or 'nothing'}")
        dtype, axes = np.dtype(TYPES[head[2]]), head[3]
        lengths = file.read(4 * axes)
        if len(lengths) < 4 * axes:
            raise ValueError(f"{path} is cut short: it ends within its {axes} lengths")
        shape = tuple(np.frombuffer(lengths, ">u4").tolist())
        size = math.prod(shape) * dtype.itemsize
        if size > MOST or axes > 32:
            raise ValueError(
                f"{path} says that it holds an array of shape {shape}, more than {MOST} bytes"
            )
        data = _up_to(size, file)
        if len(data) < size:
            raise ValueError(
                f"{path} is cut short: it has {len(data)} of the {size} bytes of an array of shape {shape}"
            )
        if file.read(1):
            raise ValueError(f"{path} goes on after the {size} bytes of an array of shape {shape}")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _up_to(size: int, file: IO[bytes]) -> bytearray:
    """That many bytes, or what there is: memory is taken as they come, whatever the file says."""
    data = bytearray()
    while len(data) < size and (block := file.read(min(size - len(data), 1 << 20))):
        data += block
    return data


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read, unpacked if it is gzipped; a broken one is a ValueError."""
    import gzip

    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not packed:
            yield plain
            return
        try:
            with gzip.GzipFile(fileobj=plain) as file:
                yield cast(IO[bytes], file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is no whole gzip file: {error}") from error
