"""Types for annotations: what functions and layers take where they want an array."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol, Union

import numpy as np

__all__ = ["ArrayLike", "DTypeLike", "PathLike"]


class SupportsArray(Protocol):
    """Tensors, NumPy's arrays and numbers, one-hot arrays, and whatever else says how it is an array."""

    def __array__(self) -> np.ndarray[Any, Any]: ...


# Lists of lists of numbers, too: what is in them is seen when the call is made.
ArrayLike = Union[SupportsArray, float, list[Any], tuple[Any, ...], range]  # noqa: UP007
Terms = Union[ArrayLike, Iterator[ArrayLike]]  # noqa: UP007
DTypeLike = Union[str, type, "np.dtype[Any]"]  # noqa: UP007
PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]  # noqa: UP007
