"""Write docs/ops.md from what the ops say of themselves, and check the links of every page.

python tools/docs.py            write the page, check the links
python tools/docs.py --check    write nothing: fail if the page is not what they say
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "ops.md"

HEAD = """\
# Ops

Made by `make docs` from what each op says of itself: the op table (`crates/fluxrs/src/ops/table.rs`) and the
functions' own descriptions in `crates/fluxrs-python/src`. Each is a function of `fluxrs` and, where its first
operand is a tensor, a method. Lists, NumPy arrays and numbers are taken for tensors; every axis may be negative.
Gradients exist to any order, but for what gives truth values, integers or whole numbers. NumPy's functions of the same
names take tensors and lead here.
"""

ELEMENTWISE = """
## Elementwise

Operands broadcast as in NumPy. Accuracy is the largest error on the CPU, in units in the last place; 0 is correctly
rounded.
"""


def line(op: dict[str, Any]) -> str:
    call = f"{op['name']}({', '.join(op['operands'])})"
    doc = " ".join(op["doc"].split()).replace("|", "\\|")
    return f"| `{call}` | {doc} | {op['ulp']} |"


def elementwise(table: list[dict[str, Any]]) -> str:
    """A table for each class of op, in the op table's order."""
    classes: dict[str, list[dict[str, Any]]] = {}
    for op in table:
        classes.setdefault(op["class"], []).append(op)
    parts = [ELEMENTWISE]
    for name, ops in classes.items():
        parts.append(f"\n### {name.capitalize()}\n\n| op | what it is | ulp |\n|---|---|---|\n")
        parts.extend(line(op) + "\n" for op in ops)
    return "".join(parts)


def example(source: str, names: dict[str, Any]) -> str:
    """An example with what it gives."""
    value = eval(source, names)
    return f"```pycon\n>>> {source}\n{'' if value is None else repr(value) + chr(10)}```\n"


def entry(function: Any, names: dict[str, Any]) -> str:
    """A function's signature, description and examples."""
    lines = (function.__doc__ or "").splitlines()
    examples = [text[4:] for text in lines if text.startswith(">>> ")]
    text = "\n".join(text for text in lines if not text.startswith(">>> ")).strip()
    shown = "".join(example(source, names) for source in examples)
    signature = str(inspect.signature(function)).replace("Ellipsis", "...")
    return f"\n`{function.__name__}{signature}`\n\n{text}\n\n{shown}"


def page(core: Any) -> str:
    """The reference page: the op table by class, then every other function by section."""
    import numpy as np

    import fluxrs

    sections: dict[str, list[str]] = {}
    for name, section in core.reference():
        sections.setdefault(section, []).append(name)
    parts = [HEAD, elementwise(core.op_table())]
    names = {**vars(fluxrs), "fluxrs": fluxrs, "np": np}
    for section, functions in sections.items():
        if section != "Elementwise":
            core.seed(1)
            parts.append(f"\n## {section}\n")
            parts.extend(entry(getattr(core, name), names) for name in functions)
    return "".join(parts)


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def prose(text: str) -> str:
    """A page without its code, where brackets are not links and `#` is not a heading."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(text: str) -> set[str]:
    """The names that a page's headings can be linked by, as code hosts make them."""
    found = re.findall(
        r"^#+ (.+?)\s*$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in found}


def broken(path: Path) -> Iterator[str]:
    """Links of a page to files and headings that are not there. Addresses elsewhere are not asked."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists():
            yield f"{path.relative_to(ROOT)}: no file {target}"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text("utf-8")):
            yield f"{path.relative_to(ROOT)}: no heading {target}"


def main(check: bool) -> None:
    from fluxrs import _core

    text = page(_core)
    wrong = []
    if not check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, "utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != text:
        wrong.append("docs/ops.md is not what the ops say: run `make docs`")
    wrong += [fault for path in pages() for fault in broken(path)]
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(pages())} pages: every link leads somewhere")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
