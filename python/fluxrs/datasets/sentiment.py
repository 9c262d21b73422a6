"""Sentiment: 11,855 sentences of film reviews, judged phrase by phrase. Source: Socher et al., EMNLP 2013."""

from __future__ import annotations

import re
import zlib

from ..typing import PathLike
from .images import chosen
from .store import File, find, folder_of
from .table import MOST, text
from .trees import DEEPEST, Tree

__all__ = ["Tree", "dev", "test", "train"]

FILE = File(
    "trainDevTestTrees_PTB.zip",
    ("https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip",),
    "5c613a4f673fc74097d523a2c83f38e0cc462984d847b82c7aaf36b01cbbbfcc",
    789539,
    also=("sentiment.zip",),
)
SPLITS = ("train", "dev", "test")
_TOKEN = re.compile(r"[()]|[^ ()]+")  # some words have other spaces in them


def train(*, folder: PathLike | None = None) -> list[Tree]:
    """`sentiment.train()`: 8,544 trees, whose values are pairs of a judgement and, for a leaf, a word.

    Judgements are from 0, very negative, to 4, very positive; inner nodes have None for a word. `folder`, or else
    FLUXRS_DATA or the cache folder, holds the archive or its text files, or is where it is downloaded to.
    Raises OSError if it cannot be had and ValueError for another.
    """
    return _trees("train", folder)


def dev(*, folder: PathLike | None = None) -> list[Tree]:
    """`sentiment.dev()`: 1,101 trees to choose a model by."""
    return _trees("dev", folder)


def test(*, folder: PathLike | None = None) -> list[Tree]:
    """`sentiment.test()`: 2,210 trees to test it on."""
    return _trees("test", folder)


vars(test)["__test__"] = False  # pytest would collect it wherever it is imported


def parse(line: str) -> Tree:
    """The tree that a line is, as `(3 (2 good) (2 film))`; ValueError for any other.

    >>> parse("(3 (2 good) (2 film))").leaves()
    [(2, 'good'), (2, 'film')]
    """
    tokens = _TOKEN.findall(line)
    open_: list[Tree] = []
    i, done = 0, None
    while i < len(tokens) and done is None:
        if tokens[i] == "(":
            label = tokens[i + 1] if i + 1 < len(tokens) else ""
            if label not in ("0", "1", "2", "3", "4") or len(open_) >= DEEPEST:
                raise ValueError(f"after ( stands {label!r} and no judgement from 0 to 4")
            open_.append(Tree((int(label), None)))
            i += 2
        elif not open_:
            break
        elif tokens[i] == ")":
            tree = open_.pop()
            if not tree.children and tree.value[1] is None:
                raise ValueError("a node has neither a word nor children")
            if open_:
                if open_[-1].value[1] is not None:
                    raise ValueError("a node has a word and children")
                open_[-1].children.append(tree)
            else:
                done = tree
            i += 1
        else:
            tree = open_[-1]
            if tree.children or tree.value[1] is not None:
                raise ValueError("a node has two words, or a word and children")
            tree.value = (tree.value[0], tokens[i].replace("\\", ""))
            i += 1
    if done is None or i < len(tokens):
        raise ValueError("it is no one tree in brackets")
    return done


def _trees(split: str, folder: PathLike | None) -> list[Tree]:
    chosen("sentiment", split, SPLITS)
    base = folder_of(folder)
    for place in (base / "sentiment" / "trees", base / "sentiment", base / "trees", base):
        if (place / f"{split}.txt").is_file():
            where, lines = str(place / f"{split}.txt"), text(place / f"{split}.txt")
            break
    else:
        path = find("sentiment", FILE, folder)
        where, lines = f"{path}: {split}.txt", _unpacked(path, f"trees/{split}.txt")
    out = []
    for number, line in enumerate(lines.split("\n"), 1):
        line = line.rstrip("\r")
        if line:
            try:
                out.append(parse(line))
            except ValueError as error:
                raise ValueError(f"{where}, line {number}: {error}: {line[:80]!r}") from None
    if not out:
        raise ValueError(f"{where} is empty")
    return out


def _unpacked(path: object, name: str) -> str:
    """A text of the archive, read where it lies: nothing is written."""
    import zipfile

    try:
        with zipfile.ZipFile(str(path)) as archive:
            entry = archive.getinfo(name)
            with archive.open(entry) as file:
                data = file.read(MOST + 1)
    except KeyError:
        raise ValueError(f"{path} has no {name}") from None
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is no whole archive: {error}") from error
    if len(data) > MOST:
        raise ValueError(f"{path}: {name} has more than {MOST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {name} is no text in utf-8: {error}") from error
