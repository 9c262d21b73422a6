"""The safetensors file format: a length, a JSON header, the arrays' bytes one after another."""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
CODES = {np.dtype(d): code for code, d in DTYPES.items() if code != "BF16"}
MAX_HEADER = 100_000_000


def write(path: Any, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write the arrays; whatever happens, `path` is afterwards the old file or the whole new one."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts, end = [], 0
    for name in sorted(arrays, key=lambda n: (-arrays[n].itemsize, n)):
        a = np.asarray(arrays[name])
        a = np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")).reshape(a.shape)
        if a.dtype not in CODES:
            raise TypeError(f"save: {name} has dtype {a.dtype}, which the format cannot hold")
        header[name] = {
            "dtype": CODES[a.dtype],
            "shape": list(a.shape),
            "data_offsets": [end, end + a.nbytes],
        }
        parts.append(a.tobytes())
        end += a.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _replace(path, [struct.pack("<Q", len(text)), text, *parts])


def _replace(path: Any, parts: list[bytes]) -> None:
    target = os.path.realpath(os.fspath(path))
    temporary = f"{target}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise


def read(path: Any) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays by name, and the metadata. Raises ValueError for anything but a sound file."""
    with open(os.fspath(path), "rb") as file:
        raw = file.read()
    try:
        return _parse(raw)
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)} is damaged or no safetensors file: {error}") from error


def _parse(raw: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    if len(raw) < 8:
        raise ValueError(f"it has {len(raw)} bytes")
    (length,) = struct.unpack("<Q", raw[:8])
    if length > min(MAX_HEADER, len(raw) - 8):
        raise ValueError(f"a header of {length} bytes in a file of {len(raw)}")
    header = json.loads(raw[8 : 8 + length], object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("the metadata is no map of strings")
    body = memoryview(raw)[8 + length :]
    _check_layout(header, len(body))
    return {name: _array(body, entry) for name, entry in header.items()}, metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return dict(pairs)


def _check_layout(header: dict[str, Any], size: int) -> None:
    """The arrays must fill the body exactly, without holes or overlaps."""
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        shape = entry["shape"]
        numbers = [begin, stop, *shape]
        if not all(type(n) is int and n >= 0 for n in numbers) or entry["dtype"] not in DTYPES:
            raise ValueError(f"{name!r} is described by {entry!r}")
        width = np.dtype(DTYPES[entry["dtype"]]).itemsize
        if begin != end or stop - begin != math.prod(shape) * width:
            raise ValueError(f"{name!r} is not where, or as long as, its shape {shape} says")
        end = stop
    if end != size:
        raise ValueError(f"the arrays take {end} bytes, the file has {size}")


def _array(body: memoryview, entry: dict[str, Any]) -> Array:
    begin, stop = entry["data_offsets"]
    a: Array = np.frombuffer(body[begin:stop], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        a = (a.astype("<u4") << 16).view("<f4")
    return a
