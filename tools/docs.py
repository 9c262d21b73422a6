"""Write docs/ops.md from the op table, and check the links of every page.

python tools/docs.py            write the page, check the links
python tools/docs.py --check    write nothing: fail if the page is not what the table says
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "ops.md"

HEAD = """\
# Elementwise ops

Made by `make docs` from the op table (`crates/fluxrs/src/ops/table.rs`), which is where an op is added or
changed. Each is a function of `fluxrs` and, where its first operand is a tensor, a method. Operands broadcast
as in NumPy; gradients exist to any order unless a line says otherwise.

Accuracy is the largest error on the CPU, in units in the last place; 0 is correctly rounded.
"""


def line(op: dict[str, Any]) -> str:
    call = f"{op['name']}({', '.join(op['operands'])})"
    doc = " ".join(op["doc"].split()).replace("|", "\\|")
    return f"| `{call}` | {doc} | {op['ulp']} |"


def page(table: list[dict[str, Any]]) -> str:
    """The reference page: a table for each class of op, in the op table's order."""
    classes: dict[str, list[dict[str, Any]]] = {}
    for op in table:
        classes.setdefault(op["class"], []).append(op)
    parts = [HEAD]
    for name, ops in classes.items():
        parts.append(f"\n## {name.capitalize()}\n\n| op | what it is | ulp |\n|---|---|---|\n")
        parts.extend(line(op) + "\n" for op in ops)
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

    text = page(_core.op_table())
    wrong = []
    if not check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, "utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != text:
        wrong.append("docs/ops.md is not what the op table says: run `make docs`")
    wrong += [fault for path in pages() for fault in broken(path)]
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(pages())} pages: every link leads somewhere")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
