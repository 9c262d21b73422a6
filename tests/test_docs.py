"""Every block of Python in the documentation runs, page by page, and shows what it says.

A block is run as it stands, in one namespace a page. After `# →` stands the repr of the expression
before it; a block with `>>>` is a doctest; `...` matches anything.
"""

import ast
import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from fluxrs._core import has_gpu
from test_datasets import BYTES, FLOWERS, SENTENCES, WORDS, idx, row, write

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(p for p in DOCS.glob("*.md") if p.name not in ("README.md", "ops.md"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CHECKER = doctest.OutputChecker()


def blocks(page):
    """The page's Python blocks, each with the number of the line before it."""
    text = page.read_text("utf-8")
    for m in re.finditer(r"^```python\n(.*?)^```$", text, flags=re.M | re.S):
        yield text[: m.start(1)].count("\n"), m.group(1)


def run(source, names, where):
    """Execute a block; compare the expressions that have a value beside them."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        module = ast.Module([node], [])
        expected = lines[node.end_lineno - 1][node.end_col_offset :].partition("# →")[2].strip()
        if isinstance(node, ast.Expr) and expected:
            got = repr(eval(compile(ast.Expression(node.value), where, "eval"), names))
            ok = CHECKER.check_output(expected + "\n", got + "\n", FLAGS)
            assert ok, f"{where}, {lines[node.lineno - 1]}: got {got}"
        else:
            exec(compile(module, where, "exec"), names)


def run_doctest(source, names, where):
    """Run the examples of a block with prompts."""
    test = doctest.DocTestParser().get_doctest(source, names, where, where, 0)
    said = []
    results = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    assert results.failed == 0, "".join(said)


def small_files(folder):
    """A little of each data set, as the page about them reads it."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 28, 28)).astype("uint8")
    labels = (np.arange(64) % 10).astype("uint8")
    for data in ("mnist", "fashionmnist"):
        for split in ("train", "t10k"):
            names = (f"{data}__{split}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
            write(folder, **dict(zip(names, (idx(pixels), idx(labels)), strict=True)))
    rows = b"".join(row(k % 10, k % 17) for k in range(40))
    write(folder, **{f"cifar10__{name}": data for name, data in BYTES.items()})
    write(
        folder,
        **{
            "digits__optdigits.tra": rows,
            "digits__optdigits.tes": rows,
            "iris__iris.data": FLOWERS,
        },
    )
    write(
        folder,
        **{"cmudict__cmudict-0.7b": WORDS, "cmudict__cmudict-0.7b.phones": b"AA\tvowel\nB\tstop\n"},
    )
    write(
        folder,
        **{"cmudict__cmudict-0.7b.symbols": b"AA\nAA0\nAA1\nAA2\nB\nHH\nAH0\nL\nOW1\nR\nD\n"},
    )
    write(folder, **{"sentiment__train.txt": SENTENCES.encode()})


@pytest.mark.parametrize("page", PAGES, ids=[p.stem for p in PAGES])
def test_page(page, tmp_path, monkeypatch):
    if page.stem == "gpu" and not has_gpu():
        pytest.skip("no GPU")
    monkeypatch.chdir(tmp_path)
    if page.stem in ("data", "model-zoo"):
        small_files(tmp_path)
        monkeypatch.setenv("FLUXRS_DATA", str(tmp_path))
    names = {"__name__": page.stem}
    found = list(blocks(page))
    assert found, f"{page.name} has no code"
    for line, source in found:
        where = f"{page.name}, line {line}"
        (run_doctest if ">>>" in source else run)(source, names, where)


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text("utf-8")
    for page in PAGES:
        assert f"({page.name})" in index
