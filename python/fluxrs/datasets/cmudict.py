"""CMUDict: how some 130,000 English words are said in America. Source: Carnegie Mellon University, version 0.7b."""

from __future__ import annotations

import re

from ..typing import PathLike
from .store import File, find
from .table import text

__all__ = ["alphabet", "cmudict", "entries", "phones", "rawdict", "symbols"]

URL = "https://svn.code.sf.net/p/cmusphinx/code/trunk/cmudict/cmudict-0.7b"
FILES = {
    end: File(f"cmudict-0.7b{end}", (f"{URL}{end}",), digest, also=(f"cmudict{end}",))
    for end, digest in (
        ("", "209a8b4cd265013e96f4658632a9878103b0c5abf62b50d4ef3ae1be226b29e4"),
        (".phones", "ffb588a5e55684723582c7256e1d2f9fadb130011392d9e59237c76e34c2cfd6"),
        (".symbols", "408ccaae803641c6d7b626b6299949320c2dbca96b2220fd3fb17887b023b027"),
    )
}
_WORD = re.compile(r"[A-Za-z0-9_\-.]+")
_PHONE = re.compile(r"[A-Z]{1,3}[0-2]?")


def phones(*, folder: PathLike | None = None) -> list[str]:
    """`cmudict.phones()`: the 39 phones, as `AA` and `CH`.

    `folder`, or else FLUXRS_DATA or the cache folder, holds the file or is where it is downloaded to.
    Raises OSError if it cannot be had and ValueError for another.
    """
    return [line[0] for line in _lines(".phones", folder)]


def symbols(*, folder: PathLike | None = None) -> list[str]:
    """`cmudict.symbols()`: the phones, those of vowels also with their stress, as `AA0`, `AA1` and `AA2`."""
    return [line[0] for line in _lines(".symbols", folder)]


def rawdict(*, folder: PathLike | None = None) -> dict[str, list[str]]:
    """`cmudict.rawdict()`: every entry as it stands: `HELLO(1)` is the second way to say `HELLO`."""
    return {word: said for word, *said in _lines("", folder)}


def cmudict(*, folder: PathLike | None = None) -> dict[str, list[str]]:
    """`cmudict.cmudict()`: the entries of words of letters, digits, `_`, `-` and `.`, and their symbols."""
    return {w: said for w, said in rawdict(folder=folder).items() if _WORD.fullmatch(w)}


entries = cmudict


def alphabet() -> list[str]:
    """`cmudict.alphabet()`: the characters of the words of `cmudict()`.

    >>> import fluxrs
    >>> "".join(fluxrs.datasets.cmudict.alphabet())
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.'
    """
    return [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."]


def _lines(end: str, folder: PathLike | None) -> list[list[str]]:
    """The words of each line that is no comment."""
    path = find("cmudict", FILES[end], folder)
    out = []
    for number, line in enumerate(text(path, "latin-1").split("\n"), 1):
        words = [] if line.startswith(";;;") else line.split()
        if not words:
            continue
        said = {"": words[1:], ".phones": words[:1], ".symbols": words}[end]
        if (
            not said
            or not all(map(_PHONE.fullmatch, said))
            or (end == ".symbols" and len(said) > 1)
        ):
            raise ValueError(f"{path}, line {number} has other than phones: {line[:80]!r}")
        out.append(words)
    if not out:
        raise ValueError(f"{path} is empty")
    return out
