"""The safetensors file format: a length, a JSON header, the arrays' bytes one after another.

Our files have a checksum among the metadata; files of others are read without one. Reading takes
time and memory in proportion to the file, whatever is in it.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from .files import CHUNK, leftovers, replacing

Array = np.ndarray[Any, Any]
Header = dict[str, dict[str, Any]]

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
CODES = {np.dtype(d): code for code, d in DTYPES.items() if code != "BF16"}
MAX_HEADER = 100_000_000
METADATA = "__metadata__"
CHECKSUM = "fluxrs.crc32"


def write(path: Any, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write the arrays; whatever happens, `path` is afterwards the old file or the whole new one."""
    names = sorted(arrays, key=lambda n: (-arrays[n].itemsize, n))
    header: Header = {}
    end = 0
    for name in names:
        a = arrays[name]
        dtype = a.dtype.newbyteorder("<")
        if dtype not in CODES:
            raise TypeError(f"save: {name} has dtype {a.dtype}, which the format cannot hold")
        if name == METADATA:
            raise ValueError(f"save: {METADATA} is a name of the format's own; rename the array")
        span = [end, end + a.nbytes]
        header[name] = {"dtype": CODES[dtype], "shape": list(a.shape), "data_offsets": span}
        end += a.nbytes
    checksum = _checksum(header, metadata)
    with replacing(path) as file:
        # The header comes first in the file, and the checksum in it is known last.
        start = _head(header, metadata, checksum)
        file.write(start)
        for name in names:
            for part in _parts(_little_endian(arrays[name])):
                checksum = zlib.crc32(part, checksum)
                file.write(part)
        file.seek(0)
        file.write(_head(header, metadata, checksum))


def _head(header: Header, metadata: Mapping[str, str], checksum: int) -> bytes:
    full = {METADATA: {**metadata, CHECKSUM: f"{checksum:08x}"}, **header}
    text = json.dumps(full, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"save: the structure takes {len(text)} bytes, and the format allows {MAX_HEADER}; "
            "keep many numbers in an array"
        )
    return struct.pack("<Q", len(text)) + text


def _checksum(header: Header, metadata: Mapping[str, str]) -> int:
    """The checksum of all that a header says, in whichever order; that of the data goes on from it."""
    said = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}
    plain = {name: text for name, text in metadata.items() if name != CHECKSUM}
    return zlib.crc32(json.dumps([plain, said], sort_keys=True).encode())


def _little_endian(a: Array) -> Array:
    return np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<"))


def _parts(a: Array) -> Iterator[memoryview]:
    """The bytes of a contiguous array, a piece at a time."""
    view = a.reshape(-1).view(np.uint8).data
    return (view[i : i + CHUNK] for i in range(0, len(view), CHUNK))


def read(path: Any) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays by name, and the metadata. Raises ValueError for anything but a sound file."""
    name = os.fsdecode(path)
    with open(name, "rb", opener=_opener) as file:
        try:
            return _read(file)
        except (ValueError, RecursionError, LookupError, TypeError) as error:
            raise ValueError(
                f"{name} is damaged or no safetensors file: {error}{rest(name)}"
            ) from error


def rest(path: Any) -> str:
    """For the message about a damaged file: what killed saves to it have left."""
    left = ", ".join(leftovers(path))
    return f"; a save that was killed left {left}, which may be whole" if left else ""


def _opener(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for its writer


def _read(file: BinaryIO) -> tuple[dict[str, Array], dict[str, str]]:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size < 8:
        raise ValueError(f"it has {status.st_size} bytes")
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    if length > min(MAX_HEADER, status.st_size - 8):
        raise ValueError(f"a header of {length} bytes in a file of {status.st_size}")
    header, metadata = _parse(_exactly(file, length))
    order = _layout(header, status.st_size - 8 - length)
    checksum = _checksum(header, metadata)
    arrays = {}
    for name in order:
        arrays[name], checksum = _array(file, header[name], checksum)
    expected = metadata.get(CHECKSUM, f"{checksum:08x}")
    if expected != f"{checksum:08x}":
        raise ValueError(f"its checksum is {checksum:08x}, and should be {expected}")
    return arrays, metadata


def _exactly(file: BinaryIO, n: int) -> bytes:
    data = file.read(n)
    if len(data) != n:
        raise ValueError("it became shorter while it was read")
    return data


def _parse(text: bytes) -> tuple[Header, dict[str, str]]:
    if not text.startswith(b"{"):
        raise ValueError("the header is no JSON object")
    header = parse(text.decode())
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("the metadata is no map of strings")
    return header, metadata


def parse(text: str) -> Any:
    """JSON from a file that is not to be trusted."""
    return json.loads(
        text,
        object_pairs_hook=_unique,
        parse_int=lambda digits: int(_short(digits)),
        parse_float=lambda digits: float(_short(digits)),
        parse_constant=_short,
    )


def _short(digits: str) -> str:
    """Digits whose conversion takes no time to speak of; it grows with the square of their count."""
    if len(digits) > 4301 or digits[-1] in "Ny":
        raise ValueError(f"a number written {digits[:10]}… with {len(digits)} characters")
    return digits


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return dict(pairs)


def _layout(header: Header, size: int) -> list[str]:
    """The names in the order of their arrays, which must fill the body without holes or overlaps."""
    for name, entry in header.items():
        (begin, stop), shape = entry["data_offsets"], entry["shape"]
        numbers = [begin, stop, *shape]
        if (
            not isinstance(shape, list)
            or len(shape) > 64
            or not all(type(n) is int and 0 <= n < 2**63 for n in numbers)
            or entry["dtype"] not in DTYPES
        ):
            raise ValueError(f"{name[:50]!r} is described by {str(entry)[:200]}")
    order = sorted(header, key=lambda name: header[name]["data_offsets"])
    end = 0
    for name in order:
        begin, stop = header[name]["data_offsets"]
        width = np.dtype(DTYPES[header[name]["dtype"]]).itemsize
        if begin != end or stop - begin != math.prod(header[name]["shape"]) * width:
            raise ValueError(f"{name[:50]!r} is not where, or as long as, its shape says")
        end = stop
    if end != size:
        raise ValueError(f"the arrays take {end} bytes, the file has {size}")
    return order


def _array(file: BinaryIO, entry: dict[str, Any], checksum: int) -> tuple[Array, int]:
    """The next array of the file, and the checksum with its bytes."""
    a: Array = np.empty(entry["shape"], DTYPES[entry["dtype"]])
    for part in _parts(a):
        if file.readinto(part) != len(part):  # type: ignore[attr-defined]
            raise ValueError("it became shorter while it was read")
        checksum = zlib.crc32(part, checksum)
    if entry["dtype"] == "BOOL" and a.size and a.view(np.uint8).max() > 1:
        raise ValueError("a boolean that is neither 0 nor 1")
    if entry["dtype"] == "BF16":
        a = (a.astype("<u4") << 16).view("<f4")
    return a, checksum
